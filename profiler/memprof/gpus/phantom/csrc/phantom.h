/* The hollow device: what the stand-ins for CUDA's libraries share.
 *
 * A process is told which GPU it plays by the environment variable MEMPROF_PHANTOM, read at the first CUDA call that
 * needs a device, so that a fork server that never makes one can serve every GPU of the catalog.
 */
#ifndef MEMPROF_PHANTOM_H
#define MEMPROF_PHANTOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PHANTOM_MAX_DEVICES = 16, PHANTOM_MAX_PROCESSES = 64, PHANTOM_NAME_LENGTH = 256 };

/* Copies up to this size keep their values (scalars, labels, seeds); larger ones are dropped. */
enum { PHANTOM_SMALL_COPY_BYTES = 64 << 10 };

/* cudaMalloc hands out memory in these pages, as the driver does. */
enum { PHANTOM_PAGE_BYTES = 2 << 20 };

/* One GPU of the catalog: the fields have the names that gpus.toml gives them. */
typedef struct {
    char name[PHANTOM_NAME_LENGTH];
    int capability_major, capability_minor;
    int multiprocessors;
    size_t total_bytes;
    size_t context_bytes;
    size_t kernels_bytes, cublas_bytes, cudnn_bytes; /* 0 where nobody measured them */
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

/* What is loaded onto a device when its first kernel is launched. */
typedef enum { PHANTOM_KERNELS, PHANTOM_CUBLAS, PHANTOM_CUDNN, PHANTOM_CODES } phantom_code;

/* device.c */
int phantom_device_count(void);            /* 0 where MEMPROF_PHANTOM is missing or wrong */
const phantom_gpu *phantom_gpu_now(void);  /* the GPU that this process plays; every device is of this kind */
int phantom_current_device(void);          /* of the calling thread */
bool phantom_set_current_device(int device);
void phantom_touch(int device);            /* makes the device's context, as the first real use does */
bool phantom_touched(int device);
bool phantom_load(int device, phantom_code code); /* takes what that code takes, once; false: past the GPU's memory */
void phantom_uuid(int device, unsigned char uuid[16]);
bool phantom_too_old(int cuda_version);    /* whether CUDA's libraries of that version no longer know this GPU */

/* ledger.c: how much of each device is taken, by which process; shared between processes where a file is named */
bool phantom_take(int device, size_t bytes);        /* false: past the GPU's memory */
void phantom_give_back(int device, size_t bytes);
size_t phantom_used_bytes(int device);              /* contexts included */
size_t phantom_peak_bytes(int device);
int phantom_processes(int device, int capacity, int *pids, size_t *used_bytes);
void phantom_count_unknown_workspace(void);
uint64_t phantom_unknown_workspaces(void);
void phantom_refuse(const char *function);          /* says once, on stderr, which function is not emulated */

/* arena.c: addresses without memory behind them */
void *phantom_allocate(int device, size_t bytes);   /* NULL: out of device memory */
bool phantom_free(void *address);
void *phantom_reserve(size_t bytes, size_t alignment);      /* an address range that holds nothing yet */
bool phantom_unreserve(void *address, size_t bytes);
int phantom_owner(const void *address);             /* the device of an address, or -1 */

/* values.c */
void phantom_forget_values(const void *start, size_t bytes); /* memory that holds nothing any more */
void phantom_copy(void *to, const void *from, size_t bytes);
void phantom_fill(void *to, int value, size_t bytes);

/* cudnn.c */
bool phantom_cudnn_answers(void); /* whether the real cuDNN says workspaces for this GPU */

/* fatbin.c: the code that this process has registered */
void phantom_register_code(const void *fat_binary);
void phantom_unregister_code(const void *fat_binary);
int phantom_code_architecture(void); /* of the code that this GPU runs, as 86; 0: there is none for it */

/* cudart_stream.c */
void phantom_launched(const void *stream);          /* counts one node where the stream is being captured */

#endif
