/* NCCL: communicators whose ranks are all in this process, as with one rank, or with DataParallel.
 *
 * With one rank a collective is a copy. With several ranks in one process the results have no values, as those of
 * kernels. Communicators of several processes are refused: what a program does next depends on what they exchange,
 * and a phantom exchanges nothing (PyTorch's backend "fake" replaces the other ranks). NCCL's own buffers on the
 * device are not documented: taken as 0 B, and each communicator is counted as a workspace of unknown size.
 *
 * The signatures are from NVIDIA's reference for NCCL; no header is needed, since a communicator is opaque.
 */
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

enum { SUCCESS = 0, SYSTEM_ERROR = 2, INVALID_ARGUMENT = 4, INVALID_USAGE = 5 };

typedef struct {
    int ranks, rank;
} *ncclComm_t;

typedef struct {
    char bytes[128];
} ncclUniqueId;

static size_t type_bytes(int type) {
    static const size_t BYTES[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1}; /* ncclInt8, ncclUint8, ncclInt32, ... */
    return type >= 0 && (size_t)type < sizeof BYTES / sizeof *BYTES ? BYTES[type] : 0;
}

/* ---- communicators ---- */

static int make(ncclComm_t *made, int ranks, int rank) {
    phantom_open_context(phantom_current_device());
    *made = malloc(sizeof **made);
    if (!*made) return SYSTEM_ERROR;
    (*made)->ranks = ranks;
    (*made)->rank = rank;
    phantom_count_unknown_workspace();
    return SUCCESS;
}

static int make_alone(ncclComm_t *made, int ranks, const char *function) {
    if (ranks == 1) return make(made, 1, 0);
    phantom_refuse(function);
    return INVALID_USAGE;
}

int ncclGetUniqueId(ncclUniqueId *id) {
    memset(id, 0, sizeof *id);
    memcpy(id->bytes, "memprof phantom", 15);
    return SUCCESS;
}

int ncclCommInitRank(ncclComm_t *made, int ranks, ncclUniqueId id, int rank) {
    (void)id, (void)rank;
    return make_alone(made, ranks, "ncclCommInitRank with several processes");
}

int ncclCommInitRankConfig(ncclComm_t *made, int ranks, ncclUniqueId id, int rank, void *config) {
    (void)id, (void)rank, (void)config;
    return make_alone(made, ranks, "ncclCommInitRankConfig with several processes");
}

int ncclCommInitRankScalable(ncclComm_t *made, int ranks, int rank, int id_count, ncclUniqueId *ids, void *config) {
    (void)rank, (void)id_count, (void)ids, (void)config;
    return make_alone(made, ranks, "ncclCommInitRankScalable with several processes");
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
    (void)key, (void)config;
    *made = NULL;
    return color < 0 ? SUCCESS : make_alone(made, whole->ranks, "ncclCommSplit with several ranks");
}

int ncclCommDestroy(ncclComm_t comm) {
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

static int exchange(const void *from, void *to, size_t count, int type, ncclComm_t comm, void *stream) {
    phantom_launched(stream);
    if (comm->ranks == 1 && from != to) phantom_copy(to, from, count * type_bytes(type));
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
    return exchange(from, to, count, type, comm, stream);
}

int ncclAllGather(const void *from, void *to, size_t count, int type, ncclComm_t comm, void *stream) {
    return exchange(from, to, count, type, comm, stream);
}

int ncclAlltoAll(const void *from, void *to, size_t count, int type, ncclComm_t comm, void *stream) {
    return exchange(from, to, count, type, comm, stream);
}

int ncclGather(const void *from, void *to, size_t count, int type, int root, ncclComm_t comm, void *stream) {
    (void)root;
    return exchange(from, to, count, type, comm, stream);
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
