/* How much of each GPU is taken, and by which process. */
#ifndef MEMPROF_LEDGER_H
#define MEMPROF_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* cudaMalloc hands out memory in these pages, as the driver does. */
enum { PHANTOM_PAGE_BYTES = 2 << 20 };

enum { PHANTOM_MAX_PROCESSES = 64 };

/* `gpu` is an index in the machine, and not one of CUDA's device numbers. */
bool phantom_take(int gpu, size_t bytes); /* false: more than the GPU has left */
void phantom_give_back(int gpu, size_t bytes);
size_t phantom_used_bytes(int gpu); /* contexts included */
size_t phantom_peak_bytes(int gpu);
int phantom_processes(int gpu, int capacity, int *pids, size_t *used_bytes); /* returns how many */
void phantom_count_unknown_workspace(void); /* one whose size cuDNN or another library does not report */
uint64_t phantom_unknown_workspaces(void);
void phantom_count_communicator(void); /* of NCCL, whose own memory is unknown */
uint64_t phantom_communicators(void);

#endif
