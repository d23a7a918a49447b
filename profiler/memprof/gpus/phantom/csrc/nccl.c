/* NCCL: the calls that exchange values.
 *
 * With one rank a collective is a copy. Ranks in several processes exchange small values (transfers.c). With several
 * ranks in one process the results have no values, as those of kernels.
 *
 * With absent peers, this rank alone runs, and the others send what this rank sends. So sizes and flags that all ranks
 * share come back right. What another rank alone knows does not arrive: the receiver keeps what it had.
 *
 * The signatures are from NVIDIA's reference for NCCL.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "communicator.h"
#include "copies.h"
#include "cudart_stream.h"
#include "nccl_communicator.h"
#include "nccl_types.h"
#include "transfers.h"

enum { SUCCESS = 0 };

static bool has_values(ncclComm_t comm) { return comm->ranks == 1 || phantom_peers_are_absent(); }

static int exchange(const void *from, void *to, size_t count, int type, ncclComm_t comm, void *stream) {
    phantom_launched(stream);
    if (has_values(comm) && to && from != to) phantom_copy(to, from, count * phantom_nccl_bytes(type));
    return SUCCESS;
}

/* The values of `count` elements come from each rank: all of them send what this one sends. */
static int collect(const void *from, void *to, size_t count, int type, ncclComm_t comm, void *stream) {
    size_t bytes = count * phantom_nccl_bytes(type);
    phantom_launched(stream);
    for (int rank = 0; has_values(comm) && to && bytes && rank < comm->ranks; rank++) {
        char *place = (char *)to + (size_t)rank * bytes;
        if (place != from) phantom_copy(place, from, bytes);
    }
    return SUCCESS;
}

static int between_processes(const phantom_collective *asked) {
    phantom_collect(asked);
    return SUCCESS;
}

/* The arguments that every collective has, with the names that they have in the functions below. */
#define ASKED(which, ...)                                                                                              \
    (&(phantom_collective){                                                                                            \
        .comm = comm, .call = (which), .from = from, .to = to, .count = count, .type = type, .stream = stream, __VA_ARGS__})

int ncclAllReduce(const void *from, void *to, size_t count, int type, int op, ncclComm_t comm, void *stream) {
    if (comm->mailbox) return between_processes(ASKED(ALL_REDUCE, .operation = op));
    return exchange(from, to, count, type, comm, stream);
}

int ncclReduce(const void *from, void *to, size_t count, int type, int op, int root, ncclComm_t comm, void *stream) {
    if (comm->mailbox) return between_processes(ASKED(REDUCE, .operation = op, .root = root));
    return exchange(from, to, count, type, comm, stream);
}

int ncclReduceScatter(const void *from, void *to, size_t count, int type, int op, ncclComm_t comm, void *stream) {
    if (comm->mailbox) return between_processes(ASKED(REDUCE_SCATTER, .operation = op));
    size_t place = comm->ranks > 1 ? (size_t)comm->rank * count * phantom_nccl_bytes(type) : 0;
    return exchange((const char *)from + place, to, count, type, comm, stream);
}

int ncclAllGather(const void *from, void *to, size_t count, int type, ncclComm_t comm, void *stream) {
    if (comm->mailbox) return between_processes(ASKED(ALL_GATHER, .root = 0));
    return collect(from, to, count, type, comm, stream);
}

int ncclAlltoAll(const void *from, void *to, size_t count, int type, ncclComm_t comm, void *stream) {
    if (comm->mailbox) return between_processes(ASKED(ALL_TO_ALL, .root = 0));
    return exchange(from, to, count * (size_t)comm->ranks, type, comm, stream);
}

int ncclGather(const void *from, void *to, size_t count, int type, int root, ncclComm_t comm, void *stream) {
    if (comm->mailbox) return between_processes(ASKED(GATHER, .root = root));
    return collect(from, to, count, type, comm, stream);
}

int ncclBroadcast(const void *from, void *to, size_t count, int type, int root, ncclComm_t comm, void *stream) {
    if (comm->mailbox) return between_processes(ASKED(BROADCAST, .root = root));
    return exchange(from, to, count, type, comm, stream);
}

int ncclBcast(void *buffer, size_t count, int type, int root, ncclComm_t comm, void *stream) {
    return ncclBroadcast(buffer, buffer, count, type, root, comm, stream);
}

/* In one process, to itself only, and then one of a pair in a group: the receiver finds no values. */
int ncclSend(const void *from, size_t count, int type, int peer, ncclComm_t comm, void *stream) {
    if (!comm->mailbox) return exchange(from, (void *)(uintptr_t)from, count, type, comm, stream);
    phantom_send_values(comm, peer, from, count, type, stream);
    return SUCCESS;
}

int ncclRecv(void *to, size_t count, int type, int peer, ncclComm_t comm, void *stream) {
    if (!comm->mailbox) return exchange(to, to, count, type, comm, stream);
    phantom_receive_values(comm, peer, to, count, type, stream);
    return SUCCESS;
}

/* `scalar` is on the device if `residence` is ncclScalarDevice, 0. */
int ncclRedOpCreatePreMulSum(int *op, void *scalar, int type, int residence, ncclComm_t comm) {
    char value[sizeof(double)] = {0};
    (void)residence, (void)comm;
    phantom_copy(value, scalar, phantom_nccl_bytes(type));
    *op = phantom_nccl_premultiplied(type, value);
    return SUCCESS;
}
