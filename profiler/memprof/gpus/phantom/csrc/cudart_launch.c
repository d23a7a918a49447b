/* The CUDA runtime: kernels. They are registered, their attributes are answered, and they never run; what a few of
 * them compute for small tensors is computed on the host. */
#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <string.h>

#include "capture_state.h"
#include "context.h"
#include "cudart.h"
#include "cudart_stream.h"
#include "device.h"
#include "fatbin.h"
#include "kernel_values.h"
#include "kernels.h"
#include "stream_table.h"

void **__cudaRegisterFatBinary(void *fat_binary) {
    phantom_register_code(fat_binary);
    return fat_binary; /* a handle that the runtime only gets back */
}
void __cudaRegisterFatBinaryEnd(void **handle) { (void)handle; }
void __cudaUnregisterFatBinary(void **handle) { phantom_unregister_code(handle); }
char __cudaInitModule(void **handle) { return (void)handle, 0; }

void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name, int limit, void *thread,
                            void *block, void *block_dim, void *grid_dim, int *warp) {
    phantom_add_kernel(host, name);
    (void)handle, (void)device, (void)limit;
    (void)thread, (void)block, (void)block_dim, (void)grid_dim, (void)warp;
}

void __cudaRegisterVar(void **handle, char *host, char *address, const char *name, int external, size_t bytes,
                       int constant, int global) {
    (void)handle, (void)host, (void)address, (void)name, (void)external, (void)bytes, (void)constant, (void)global;
}

/* A launch with <<<>>> pushes its configuration, and the kernel's host stub pops it again. Launches nest if the copy
 * constructor of an argument launches, hence a stack. */
typedef struct {
    dim3 grid, block;
    size_t shared_bytes;
    void *stream;
} launch;

static _Thread_local launch launches[32];
static _Thread_local unsigned launch_depth;

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes, void *stream) {
    launches[launch_depth++ % 32] = (launch){grid, block, shared_bytes, stream};
    return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared_bytes, void *stream) {
    launch popped = launches[--launch_depth % 32];
    *grid = popped.grid;
    *block = popped.block;
    *shared_bytes = popped.shared_bytes;
    memcpy(stream, &popped.stream, sizeof popped.stream);
    return cudaSuccess;
}

/* Refuses what a real device refuses: PyTorch relies on it to find shapes that no kernel accepts. */
static cudaError_t check_launch(dim3 grid, dim3 block) {
    cudaError_t error = phantom_require_device();
    if (error) return error;
    bool fits = grid.x && grid.y && grid.z && block.x && block.y && block.z && grid.x <= 2147483647 &&
                grid.y <= 65535 && grid.z <= 65535 && (size_t)block.x * block.y * block.z <= 1024 && block.z <= 64;
    if (!fits) return phantom_error(cudaErrorInvalidConfiguration);
    if (!phantom_code_architecture()) return phantom_error(cudaErrorNoKernelImageForDevice);
    if (!phantom_load_code(phantom_current_device(), PHANTOM_KERNELS)) return phantom_error(cudaErrorMemoryAllocation);
    return cudaSuccess;
}

static cudaError_t launch_kernel(const void *function, dim3 grid, dim3 block, void **arguments, cudaStream_t stream) {
    cudaError_t error = check_launch(grid, block);
    if (error) return error;
    phantom_launched(stream);
    phantom_run_kernel(function, arguments, grid.x, grid.y, !phantom_capture_of(phantom_stream_of(stream)));
    return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t shared_bytes,
                             cudaStream_t stream) {
    (void)shared_bytes;
    return launch_kernel(function, grid, block, arguments, stream);
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared_bytes,
                               cudaStream_t stream) {
    (void)shared_bytes;
    return launch_kernel(kernel, grid, block, arguments, stream);
}

cudaError_t cudaLaunchCooperativeKernel(const void *function, dim3 grid, dim3 block, void **arguments,
                                        size_t shared_bytes, cudaStream_t stream) {
    (void)shared_bytes;
    return launch_kernel(function, grid, block, arguments, stream);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *config, const void *function, void **arguments) {
    return launch_kernel(function, config->gridDim, config->blockDim, arguments, config->stream);
}

cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *function) {
    memcpy(kernel, &function, sizeof function);
    return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *attributes, const void *function) {
    (void)function;
    const phantom_gpu *gpu = phantom_gpu_now();
    int architecture = phantom_code_architecture(); /* 86 on 8.9: PyTorch's wheels hold no code for Ada alone */
    if (!architecture) return phantom_error(cudaErrorNoKernelImageForDevice);
    memset(attributes, 0, sizeof *attributes);
    attributes->maxThreadsPerBlock = 1024;
    attributes->numRegs = 32; /* assumed: the real figure is in the kernel's code for that GPU */
    attributes->ptxVersion = attributes->binaryVersion = architecture;
    attributes->maxDynamicSharedSizeBytes = gpu->shared_memory_per_block_optin_bytes;
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value) {
    (void)function, (void)attribute, (void)value;
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *function, int block_size,
                                                                   size_t shared_bytes, unsigned int flags) {
    (void)function, (void)flags;
    const phantom_gpu *gpu = phantom_gpu_now();
    int most = gpu->max_blocks_per_multiprocessor;
    int by_threads = gpu->max_threads_per_multiprocessor / (block_size > 0 ? block_size : 1);
    if (by_threads < most) most = by_threads;
    size_t by_shared = shared_bytes ? (size_t)gpu->shared_memory_per_multiprocessor_bytes / shared_bytes : (size_t)most;
    if (by_shared < (size_t)most) most = (int)by_shared;
    *blocks = most > 0 ? most : 1;
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *function, int block_size,
                                                          size_t shared_bytes) {
    return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, block_size, shared_bytes, 0);
}
