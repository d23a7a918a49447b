/* Collectives, sends and receives between processes. */
#ifndef MEMPROF_TRANSFERS_H
#define MEMPROF_TRANSFERS_H

#include <stddef.h>

#include "communicator.h"

typedef enum {
    ALL_REDUCE,
    REDUCE,
    REDUCE_SCATTER,
    ALL_GATHER,
    GATHER,
    ALL_TO_ALL,
    BROADCAST,
    SEND_RECEIVE,
    SPLIT,
} phantom_call;

typedef struct {
    ncclComm_t comm;
    phantom_call call;
    const void *from;
    void *to;
    size_t count; /* of elements, as NCCL's call has it */
    int type, operation, root;
    void *stream;
} phantom_collective;

void phantom_collect(const phantom_collective *asked);
void phantom_send_values(ncclComm_t comm, int to, const void *from, size_t count, int type, void *stream);
void phantom_receive_values(ncclComm_t comm, int from, void *to, size_t count, int type, void *stream);
/* Every rank learns the two numbers of each, in the order of the ranks. Waits. */
void phantom_exchange_numbers(ncclComm_t comm, const int numbers[2], int (*all)[2]);
void phantom_finish_transfers(ncclComm_t comm); /* waits for what it has begun */

#endif
