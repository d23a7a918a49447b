/* NCCL: communicators, and the memory that NCCL hands out.
 *
 * A communicator has its ranks in several processes of one `memprof run`, which meet in a file that has the name of
 * the unique id; or in this process, as with DataParallel; or it has one rank.
 *
 * MEMPROF_PHANTOM_PEERS=absent runs one rank of many: communicators of any size are made, and nobody is waited for.
 *
 * NCCL's own buffers on the device are not documented. Each communicator is counted, and takes the bytes that
 * MEMPROF_PHANTOM_NCCL_BYTES names: none by default.
 */
#include "nccl_communicator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "arena.h"
#include "communicator.h"
#include "context.h"
#include "device.h"
#include "exit.h"
#include "ledger.h"
#include "mailbox.h"
#include "refuse.h"
#include "transfers.h"
#include "waiting.h"

enum { SUCCESS = 0, UNHANDLED_CUDA_ERROR = 1, SYSTEM_ERROR = 2, INVALID_ARGUMENT = 4, INVALID_USAGE = 5 };

typedef struct {
    char text[16];
    uint64_t number; /* the name of the mailbox */
    char rest[104];
} ncclUniqueId;

_Static_assert(sizeof(ncclUniqueId) == 128, "NCCL_UNIQUE_ID_BYTES");

bool phantom_peers_are_absent(void) {
    const char *peers = getenv("MEMPROF_PHANTOM_PEERS");
    return peers && !strcmp(peers, "absent");
}

static size_t bytes_of_each(void) {
    const char *bytes = getenv("MEMPROF_PHANTOM_NCCL_BYTES");
    return bytes ? strtoull(bytes, NULL, 10) : 0;
}

static int make(ncclComm_t *made, int ranks, int rank) {
    int device = phantom_current_device();
    size_t bytes = bytes_of_each();
    phantom_watch_exit();
    phantom_open_context(device);
    int gpu = phantom_gpu_index(device);
    if (bytes && !phantom_take(gpu, bytes)) return UNHANDLED_CUDA_ERROR;
    *made = calloc(1, sizeof **made);
    if (!*made) return SYSTEM_ERROR;
    (*made)->ranks = ranks;
    (*made)->rank = rank;
    (*made)->gpu = gpu;
    (*made)->bytes = bytes;
    phantom_count_communicator();
    return SUCCESS;
}

/* ---- between processes ---- */

static bool has_not_joined(const phantom_wait *wait, int rank) {
    return !atomic_load(&phantom_member_of(wait->mailbox, rank)->pid);
}

/* NCCL refuses two ranks on one GPU, too. */
static bool share_a_gpu(phantom_mailbox *mailbox, int ranks) {
    for (int a = 0; a < ranks; a++)
        for (int b = 0; b < a; b++)
            if (phantom_member_of(mailbox, a)->gpu == phantom_member_of(mailbox, b)->gpu) {
                fprintf(stderr,
                        "memprof phantom: NCCL needs a GPU for each rank, and ranks %d and %d both use GPU %d; write for "
                        "example --gpu h100-80gb:%d, and torch.cuda.set_device(LOCAL_RANK) in the script\n",
                        b, a, phantom_member_of(mailbox, a)->gpu, ranks);
                return true;
            }
    return false;
}

static int make_between(ncclComm_t *made, int ranks, int rank, uint64_t id, const char *call) {
    int status = make(made, ranks, rank);
    if (status) return status;
    (*made)->id = id;
    (*made)->mailbox = phantom_open_mailbox(id, ranks, rank, (*made)->gpu);
    if (!(*made)->mailbox) return SYSTEM_ERROR;
    phantom_wait wait = {
        .call = call, .mailbox = (*made)->mailbox, .rank = rank, .ranks = ranks, .is_missing = has_not_joined};
    phantom_wait_for_ranks(&wait);
    return share_a_gpu((*made)->mailbox, ranks) ? INVALID_USAGE : SUCCESS;
}

static int make_any(ncclComm_t *made, int ranks, int rank, const ncclUniqueId *id, const char *function) {
    if (ranks == 1 || phantom_peers_are_absent()) return make(made, ranks, rank);
    if (getenv("MEMPROF_PHANTOM_MAILBOXES") && ranks <= PHANTOM_MAX_RANKS)
        return make_between(made, ranks, rank, id->number, "the start of a process group");
    phantom_refuse(function);
    return INVALID_USAGE;
}

int ncclGetUniqueId(ncclUniqueId *id) {
    memset(id, 0, sizeof *id);
    strcpy(id->text, "memprof phantom");
    return getrandom(&id->number, sizeof id->number, 0) == sizeof id->number ? SUCCESS : SYSTEM_ERROR;
}

int ncclCommInitRank(ncclComm_t *made, int ranks, ncclUniqueId id, int rank) {
    return make_any(made, ranks, rank, &id, "ncclCommInitRank with several processes");
}

int ncclCommInitRankConfig(ncclComm_t *made, int ranks, ncclUniqueId id, int rank, void *config) {
    (void)config;
    return make_any(made, ranks, rank, &id, "ncclCommInitRankConfig with several processes");
}

int ncclCommInitRankScalable(ncclComm_t *made, int ranks, int rank, int id_count, ncclUniqueId *ids, void *config) {
    (void)id_count, (void)config;
    return make_any(made, ranks, rank, ids, "ncclCommInitRankScalable with several processes");
}

int ncclCommInitAll(ncclComm_t *made, int devices, const int *list) {
    int before = phantom_current_device(), status = SUCCESS;
    for (int i = 0; i < devices && !status; i++) {
        if (!phantom_set_current_device(list ? list[i] : i)) status = INVALID_ARGUMENT;
        else status = make(&made[i], devices, i);
    }
    phantom_set_current_device(before);
    return status;
}

/* ---- splitting ---- */

enum { COLOR, KEY };

/* The place of `rank` among the ranks of its color, which are ordered by their keys and then by their ranks. */
static int place_of(int rank, const int (*all)[2], int ranks, int *size) {
    int place = 0;
    *size = 0;
    for (int other = 0; other < ranks; other++) {
        if (all[other][COLOR] != all[rank][COLOR]) continue;
        *size += 1;
        place += all[other][KEY] < all[rank][KEY] || (all[other][KEY] == all[rank][KEY] && other < rank);
    }
    return place;
}

/* The same number on all ranks of a color: FNV-1a of the whole's id, the number of its calls, and the color. */
static uint64_t id_of_part(ncclComm_t whole, int color) {
    uint64_t hash = 0xcbf29ce484222325, words[] = {whole->id, whole->calls, (uint64_t)color};
    const unsigned char *bytes = (const unsigned char *)words;
    for (size_t i = 0; i < sizeof words; i++) hash = (hash ^ bytes[i]) * 0x100000001b3;
    return hash;
}

static int split_between(ncclComm_t whole, int color, int key, ncclComm_t *made) {
    int all[PHANTOM_MAX_RANKS][2], size;
    phantom_exchange_numbers(whole, (const int[2]){color, key}, all);
    if (color < 0) return SUCCESS;
    int rank = place_of(whole->rank, (const int(*)[2])all, whole->ranks, &size);
    if (size == 1) return make(made, 1, 0);
    return make_between(made, size, rank, id_of_part(whole, color), "a split of the process group");
}

int ncclCommSplit(ncclComm_t whole, int color, int key, ncclComm_t *made, void *config) {
    (void)config;
    *made = NULL;
    if (whole->mailbox) return split_between(whole, color, key, made);
    if (color < 0) return SUCCESS;
    if (whole->ranks == 1 || phantom_peers_are_absent()) return make(made, 1, whole->ranks == 1 ? 0 : key);
    phantom_refuse("ncclCommSplit with several ranks in one process");
    return INVALID_USAGE;
}

/* ---- the end, and questions ---- */

/* One that has a mailbox is kept: calls of it may still be pending. */
static int end(ncclComm_t comm) {
    if (comm && comm->bytes) phantom_give_back(comm->gpu, comm->bytes);
    if (comm && comm->mailbox) comm->bytes = 0;
    else free(comm);
    return SUCCESS;
}

int ncclCommDestroy(ncclComm_t comm) {
    if (comm && comm->mailbox) phantom_finish_transfers(comm);
    return end(comm);
}

int ncclCommAbort(ncclComm_t comm) {
    if (comm) comm->aborted = true;
    return ncclCommDestroy(comm);
}

int ncclCommFinalize(ncclComm_t comm) {
    if (comm->mailbox) phantom_finish_transfers(comm);
    return SUCCESS;
}

int ncclCommCount(ncclComm_t comm, int *count) {
    *count = comm->ranks;
    return SUCCESS;
}

int ncclCommUserRank(ncclComm_t comm, int *rank) {
    *rank = comm->rank;
    return SUCCESS;
}

int ncclCommGetAsyncError(ncclComm_t comm, int *error) {
    (void)comm;
    *error = SUCCESS;
    return SUCCESS;
}

/* ---- memory ---- */

int ncclMemAlloc(void **address, size_t bytes) {
    phantom_open_context(phantom_current_device());
    *address = phantom_allocate(phantom_current_device(), bytes);
    return *address ? SUCCESS : SYSTEM_ERROR;
}

int ncclMemFree(void *address) { return phantom_free(address) ? SUCCESS : INVALID_ARGUMENT; }

int ncclCommRegister(ncclComm_t comm, void *buffer, size_t bytes, void **handle) {
    (void)comm, (void)bytes;
    *handle = buffer;
    return SUCCESS;
}

int ncclCommDeregister(ncclComm_t comm, void *handle) { return (void)comm, (void)handle, SUCCESS; }
