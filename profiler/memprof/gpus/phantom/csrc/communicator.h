/* A communicator of NCCL. */
#ifndef MEMPROF_COMMUNICATOR_H
#define MEMPROF_COMMUNICATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mailbox.h"

typedef struct {
    int ranks, rank; /* with absent peers ranks is 1 if it was split off: NCCL does not say how many others joined */
    int gpu;
    size_t bytes; /* of device memory */
    /* Only of communicators between processes: */
    phantom_mailbox *mailbox; /* NULL: all ranks are in this process, or absent */
    uint64_t id;
    uint64_t calls;                                               /* of all ranks */
    uint64_t sent[PHANTOM_MAX_RANKS], received[PHANTOM_MAX_RANKS]; /* between two */
    bool aborted;
} *ncclComm_t;

#endif
