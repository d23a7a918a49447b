/* NCCL: communicators whose ranks are all in this process, as with one rank, or with DataParallel.
 *
 * With one rank a collective is a copy. With several ranks in one process the results have no values, as those of
 * kernels. Communicators of several processes are refused: what a program does next depends on what they exchange.
 *
 * MEMPROF_PHANTOM_PEERS=absent runs one rank of many: communicators of any size are made, and the other ranks send
 * what this rank sends. So sizes and flags that all ranks share come back right. What another rank alone knows does not
 * arrive: the receiver keeps what it had.
 *
 * NCCL's own buffers on the device are not documented. Each communicator is counted, and takes the bytes that
 * MEMPROF_PHANTOM_NCCL_BYTES names: none by default.
 *
 * The signatures are from NVIDIA's reference for NCCL; no header is needed, since a communicator is opaque.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "context.h"
#include "copies.h"
#include "cudart_stream.h"
#include "device.h"
#include "ledger.h"
#include "refuse.h"

enum { SUCCESS = 0, UNHANDLED_CUDA_ERROR = 1, SYSTEM_ERROR = 2, INVALID_ARGUMENT = 4, INVALID_USAGE = 5 };

typedef struct {
    int ranks, rank; /* ranks is 1 if the communicator was split off: NCCL does not say how many others joined */
    int gpu;
    size_t bytes; /* of device memory */
} *ncclComm_t;

typedef struct {
    char bytes[128];
} ncclUniqueId;

static size_t type_bytes(int type) {
    static const size_t BYTES[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1}; /* ncclInt8, ncclUint8, ncclInt32, ... */
    return type >= 0 && (size_t)type < sizeof BYTES / sizeof *BYTES ? BYTES[type] : 0;
}

/* ---- communicators ---- */

static bool peers_are_absent(void) {
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
    phantom_open_context(device);
    int gpu = phantom_gpu_index(device);
    if (bytes && !phantom_take(gpu, bytes)) return UNHANDLED_CUDA_ERROR;
    *made = malloc(sizeof **made);
    if (!*made) return SYSTEM_ERROR;
    (*made)->ranks = ranks;
    (*made)->rank = rank;
    (*made)->gpu = gpu;
    (*made)->bytes = bytes;
    phantom_count_communicator();
    return SUCCESS;
}

static int make_one(ncclComm_t *made, int ranks, int rank, const char *function) {
    if (ranks == 1 || peers_are_absent()) return make(made, ranks, rank);
    phantom_refuse(function);
    return INVALID_USAGE;
}

int ncclGetUniqueId(ncclUniqueId *id) {
    memset(id, 0, sizeof *id);
    memcpy(id->bytes, "memprof phantom", 15);
    return SUCCESS;
}

int ncclCommInitRank(ncclComm_t *made, int ranks, ncclUniqueId id, int rank) {
    (void)id;
    return make_one(made, ranks, rank, "ncclCommInitRank with several processes");
}

int ncclCommInitRankConfig(ncclComm_t *made, int ranks, ncclUniqueId id, int rank, void *config) {
    (void)id, (void)config;
    return make_one(made, ranks, rank, "ncclCommInitRankConfig with several processes");
}

int ncclCommInitRankScalable(ncclComm_t *made, int ranks, int rank, int id_count, ncclUniqueId *ids, void *config) {
    (void)id_count, (void)ids, (void)config;
    return make_one(made, ranks, rank, "ncclCommInitRankScalable with several processes");
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

int ncclCommSplit(ncclComm_t whole, int color, int key, ncclComm_t *made, void *config) {
    (void)config;
    *made = NULL;
    if (color < 0) return SUCCESS;
    if (peers_are_absent()) return make(made, 1, key);
    return make_one(made, whole->ranks, 0, "ncclCommSplit with several ranks");
}

int ncclCommDestroy(ncclComm_t comm) {
    if (comm && comm->bytes) phantom_give_back(comm->gpu, comm->bytes);
    free(comm);
    return SUCCESS;
}

int ncclCommAbort(ncclComm_t comm) { return ncclCommDestroy(comm); }
int ncclCommFinalize(ncclComm_t comm) { return (void)comm, SUCCESS; }

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

/* ---- collectives ---- */

static bool has_values(ncclComm_t comm) { return comm->ranks == 1 || peers_are_absent(); }

static int exchange(const void *from, void *to, size_t count, int type, ncclComm_t comm, void *stream) {
    phantom_launched(stream);
    if (has_values(comm) && to && from != to) phantom_copy(to, from, count * type_bytes(type));
    return SUCCESS;
}

/* The values of `count` elements come from each rank: all of them send what this one sends. */
static int collect(const void *from, void *to, size_t count, int type, ncclComm_t comm, void *stream) {
    size_t bytes = count * type_bytes(type);
    phantom_launched(stream);
    for (int rank = 0; has_values(comm) && to && bytes && rank < comm->ranks; rank++) {
        char *place = (char *)to + (size_t)rank * bytes;
        if (place != from) phantom_copy(place, from, bytes);
    }
    return SUCCESS;
}

int ncclAllReduce(const void *from, void *to, size_t count, int type, int op, ncclComm_t comm, void *stream) {
    (void)op;
    return exchange(from, to, count, type, comm, stream);
}

int ncclReduce(const void *from, void *to, size_t count, int type, int op, int root, ncclComm_t comm, void *stream) {
    (void)op, (void)root;
    return exchange(from, to, count, type, comm, stream);
}

int ncclReduceScatter(const void *from, void *to, size_t count, int type, int op, ncclComm_t comm, void *stream) {
    (void)op;
    size_t place = comm->ranks > 1 ? (size_t)comm->rank * count * type_bytes(type) : 0;
    return exchange((const char *)from + place, to, count, type, comm, stream);
}

int ncclAllGather(const void *from, void *to, size_t count, int type, ncclComm_t comm, void *stream) {
    return collect(from, to, count, type, comm, stream);
}

int ncclAlltoAll(const void *from, void *to, size_t count, int type, ncclComm_t comm, void *stream) {
    return exchange(from, to, count * (size_t)comm->ranks, type, comm, stream);
}

int ncclGather(const void *from, void *to, size_t count, int type, int root, ncclComm_t comm, void *stream) {
    (void)root;
    return collect(from, to, count, type, comm, stream);
}

int ncclBroadcast(const void *from, void *to, size_t count, int type, int root, ncclComm_t comm, void *stream) {
    (void)root;
    return exchange(from, to, count, type, comm, stream);
}

int ncclBcast(void *buffer, size_t count, int type, int root, ncclComm_t comm, void *stream) {
    return ncclBroadcast(buffer, buffer, count, type, root, comm, stream);
}

/* To itself only, and then one of a pair in a group: the receiver finds no values. */
int ncclSend(const void *from, size_t count, int type, int peer, ncclComm_t comm, void *stream) {
    (void)peer;
    return exchange(from, (void *)(uintptr_t)from, count, type, comm, stream);
}

int ncclRecv(void *to, size_t count, int type, int peer, ncclComm_t comm, void *stream) {
    (void)peer;
    return exchange(to, to, count, type, comm, stream);
}

int ncclRedOpCreatePreMulSum(int *op, void *scalar, int type, int residence, ncclComm_t comm) {
    (void)scalar, (void)type, (void)residence, (void)comm;
    *op = 5; /* the first number after the built-in ones */
    return SUCCESS;
}
