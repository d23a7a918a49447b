/* Communicators of NCCL. */
#ifndef MEMPROF_NCCL_COMMUNICATOR_H
#define MEMPROF_NCCL_COMMUNICATOR_H

#include <stdbool.h>

bool phantom_peers_are_absent(void); /* this process is one rank of many, and runs alone */

#endif
