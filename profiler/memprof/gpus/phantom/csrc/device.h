/* Which GPUs this process emulates, and which of them are CUDA's devices.
 *
 * A GPU has its index in the machine, as NVML counts. A device has CUDA's number for it, which is another one if
 * CUDA_VISIBLE_DEVICES leaves out GPUs or orders them in another way.
 */
#ifndef MEMPROF_DEVICE_H
#define MEMPROF_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PHANTOM_MAX_DEVICES = 16, PHANTOM_NAME_LENGTH = 256 };

/* One GPU of the catalog: the fields have the names that gpus.toml gives them. */
typedef struct {
    char name[PHANTOM_NAME_LENGTH];
    int capability_major, capability_minor;
    int multiprocessors;
    size_t total_bytes;
    size_t nvml_total_bytes; /* with what the driver reserves; 0 if it is unknown */
    size_t context_bytes;
    size_t kernels_bytes, cublas_bytes, cudnn_bytes; /* 0 if they were not measured */
    int l2_cache_bytes;
    int shared_memory_per_block_bytes;
    int shared_memory_per_block_optin_bytes;
    int shared_memory_per_multiprocessor_bytes;
    int reserved_shared_memory_per_block_bytes;
    int registers_per_block;
    int registers_per_multiprocessor;
    int max_threads_per_multiprocessor;
    int max_blocks_per_multiprocessor;
    int clock_khz;
    int memory_clock_khz;
    int memory_bus_bits;
} phantom_gpu;

const phantom_gpu *phantom_gpu_now(void); /* the GPU that this process emulates; all its GPUs are of this kind */
int phantom_gpu_count(void);              /* 0 if MEMPROF_PHANTOM is missing or wrong */
int phantom_device_count(void);           /* of the GPUs that CUDA_VISIBLE_DEVICES leaves */
bool phantom_is_device(int device);
int phantom_gpu_index(int device);        /* the GPU that a device is */
int phantom_current_device(void);         /* of the calling thread */
bool phantom_set_current_device(int device); /* false: there is no such device */
bool phantom_too_old(int cuda_version);   /* whether CUDA's libraries of that version no longer support this GPU */
void phantom_keep_gpu(void);              /* from now on forked children emulate the same GPU */

#endif
