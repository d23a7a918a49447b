/* The CUDA runtime: devices, errors, kernels. Memory and streams are in files of their own. */
#include "cudart.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static _Thread_local cudaError_t last_error;

cudaError_t phantom_error(cudaError_t error) {
    if (error != cudaSuccess) last_error = error;
    return error;
}

cudaError_t cudaPeekAtLastError(void) { return last_error; }

cudaError_t cudaGetLastError(void) {
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

/* ---- devices ---- */

cudaError_t cudaGetDeviceCount(int *count) {
    *count = phantom_device_count();
    return *count ? cudaSuccess : phantom_error(cudaErrorNoDevice);
}

cudaError_t cudaGetDevice(int *device) {
    *device = phantom_current_device();
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    if (!phantom_set_current_device(device)) return phantom_error(cudaErrorInvalidDevice);
    phantom_touch(device); /* since CUDA 12 this makes the context */
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

static void fill_limits(struct cudaDeviceProp *prop, const phantom_gpu *gpu) {
    prop->sharedMemPerBlock = (size_t)gpu->shared_memory_per_block_bytes;
    prop->sharedMemPerBlockOptin = (size_t)gpu->shared_memory_per_block_optin_bytes;
    prop->sharedMemPerMultiprocessor = (size_t)gpu->shared_memory_per_multiprocessor_bytes;
    prop->reservedSharedMemPerBlock = (size_t)gpu->reserved_shared_memory_per_block_bytes;
    prop->regsPerBlock = gpu->registers_per_block;
    prop->regsPerMultiprocessor = gpu->registers_per_multiprocessor;
    prop->maxThreadsPerMultiProcessor = gpu->max_threads_per_multiprocessor;
    prop->maxBlocksPerMultiProcessor = gpu->max_blocks_per_multiprocessor;
    prop->warpSize = 32;
    prop->maxThreadsPerBlock = 1024;
    prop->maxThreadsDim[0] = prop->maxThreadsDim[1] = 1024;
    prop->maxThreadsDim[2] = 64;
    prop->maxGridSize[0] = 2147483647;
    prop->maxGridSize[1] = prop->maxGridSize[2] = 65535;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *prop, int device) {
    if (device < 0 || device >= phantom_device_count()) return phantom_error(cudaErrorInvalidDevice);
    const phantom_gpu *gpu = phantom_gpu_now();
    memset(prop, 0, sizeof *prop);
    memcpy(prop->name, gpu->name, sizeof prop->name);
    phantom_uuid(device, (unsigned char *)prop->uuid.bytes);
    prop->totalGlobalMem = gpu->total_bytes;
    prop->major = gpu->capability_major;
    prop->minor = gpu->capability_minor;
    prop->multiProcessorCount = gpu->multiprocessors;
    prop->l2CacheSize = gpu->l2_cache_bytes;
    prop->memoryBusWidth = gpu->memory_bus_bits;
    fill_limits(prop, gpu);
    prop->memPitch = 2147483647;
    prop->totalConstMem = 65536;
    prop->textureAlignment = 512;
    prop->texturePitchAlignment = 32;
    prop->concurrentKernels = 1;
    prop->asyncEngineCount = 2;
    prop->unifiedAddressing = 1;
    prop->canMapHostMemory = 1;
    prop->cooperativeLaunch = 1;
    prop->streamPrioritiesSupported = 1;
    prop->pciBusID = device + 1;
#if CUDART_VERSION < 13000
    prop->clockRate = gpu->clock_khz;
    prop->memoryClockRate = gpu->memory_clock_khz;
#endif
    return cudaSuccess;
}

static bool gpu_attribute(enum cudaDeviceAttr attribute, const phantom_gpu *gpu, int *value) {
    switch (attribute) {
    case cudaDevAttrMultiProcessorCount: *value = gpu->multiprocessors; return true;
    case cudaDevAttrComputeCapabilityMajor: *value = gpu->capability_major; return true;
    case cudaDevAttrComputeCapabilityMinor: *value = gpu->capability_minor; return true;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = gpu->max_threads_per_multiprocessor; return true;
    case cudaDevAttrMaxBlocksPerMultiprocessor: *value = gpu->max_blocks_per_multiprocessor; return true;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = gpu->shared_memory_per_block_bytes; return true;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = gpu->shared_memory_per_block_optin_bytes; return true;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = gpu->shared_memory_per_multiprocessor_bytes;
        return true;
    case cudaDevAttrReservedSharedMemoryPerBlock:
        *value = gpu->reserved_shared_memory_per_block_bytes;
        return true;
    case cudaDevAttrMaxRegistersPerBlock: *value = gpu->registers_per_block; return true;
    case cudaDevAttrMaxRegistersPerMultiprocessor: *value = gpu->registers_per_multiprocessor; return true;
    case cudaDevAttrL2CacheSize: *value = gpu->l2_cache_bytes; return true;
    case cudaDevAttrClockRate: *value = gpu->clock_khz; return true;
    case cudaDevAttrMemoryClockRate: *value = gpu->memory_clock_khz; return true;
    case cudaDevAttrGlobalMemoryBusWidth: *value = gpu->memory_bus_bits; return true;
    default: return false;
    }
}

static int common_attribute(enum cudaDeviceAttr attribute) {
    switch (attribute) {
    case cudaDevAttrWarpSize: return 32;
    case cudaDevAttrMaxThreadsPerBlock:
    case cudaDevAttrMaxBlockDimX:
    case cudaDevAttrMaxBlockDimY: return 1024;
    case cudaDevAttrMaxBlockDimZ: return 64;
    case cudaDevAttrMaxGridDimX: return 2147483647;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ: return 65535;
    case cudaDevAttrTotalConstantMemory: return 65536;
    case cudaDevAttrTextureAlignment: return 512;
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrCanMapHostMemory:
    case cudaDevAttrCooperativeLaunch: return 1;
    default: return 0; /* a capability that is not asked for by PyTorch, or not there */
    }
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    if (device < 0 || device >= phantom_device_count()) return phantom_error(cudaErrorInvalidDevice);
    if (!gpu_attribute(attribute, phantom_gpu_now(), value)) *value = common_attribute(attribute);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int length, int device) {
    snprintf(text, (size_t)length, "0000:%02x:00.0", device + 1);
    return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer) {
    (void)device, (void)peer;
    *can = 0;
    return cudaSuccess;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char *symbol, void **function, unsigned int version,
                                             unsigned long long flags,
                                             enum cudaDriverEntryPointQueryResult *status) {
    (void)version, (void)flags;
    char second[128];
    snprintf(second, sizeof second, "%s_v2", symbol); /* a plain name stands for the newest form of the function */
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    *function = driver ? dlsym(driver, second) : NULL;
    if (driver && !*function) *function = dlsym(driver, symbol);
    if (status) *status = *function ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess; /* a missing symbol is told by the status alone */
}

#if CUDART_VERSION < 13000
cudaError_t cudaGetDriverEntryPoint(const char *symbol, void **function, unsigned long long flags,
                                    enum cudaDriverEntryPointQueryResult *status) {
    return cudaGetDriverEntryPointByVersion(symbol, function, CUDART_VERSION, flags, status);
}
#endif

/* ---- kernels: registered, asked about, and never run ---- */

void **__cudaRegisterFatBinary(void *fat_binary) {
    phantom_register_code(fat_binary);
    return fat_binary; /* a handle that is only given back */
}
void __cudaRegisterFatBinaryEnd(void **handle) { (void)handle; }
void __cudaUnregisterFatBinary(void **handle) { phantom_unregister_code(handle); }
char __cudaInitModule(void **handle) { return (void)handle, 0; }

void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name, int limit, void *thread,
                            void *block, void *block_dim, void *grid_dim, int *warp) {
    (void)handle, (void)host, (void)device, (void)name, (void)limit;
    (void)thread, (void)block, (void)block_dim, (void)grid_dim, (void)warp;
}

void __cudaRegisterVar(void **handle, char *host, char *address, const char *name, int external, size_t bytes,
                       int constant, int global) {
    (void)handle, (void)host, (void)address, (void)name, (void)external, (void)bytes, (void)constant, (void)global;
}

/* A launch with <<<>>> pushes its configuration and pops it again in the kernel's host stub: what was pushed must
 * come back. Launches nest when an argument's copy constructor launches, hence a stack. */
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

/* What a real device refuses, so does this one: PyTorch relies on it to find shapes that no kernel takes. */
static cudaError_t check_launch(dim3 grid, dim3 block, const void *stream) {
    bool fits = grid.x && grid.y && grid.z && block.x && block.y && block.z && grid.x <= 2147483647 &&
                grid.y <= 65535 && grid.z <= 65535 && (size_t)block.x * block.y * block.z <= 1024 && block.z <= 64;
    if (!fits) return phantom_error(cudaErrorInvalidConfiguration);
    if (!phantom_code_architecture()) return phantom_error(cudaErrorNoKernelImageForDevice);
    if (!phantom_load(phantom_current_device(), PHANTOM_KERNELS)) return phantom_error(cudaErrorMemoryAllocation);
    phantom_launched(stream);
    return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t shared_bytes,
                             cudaStream_t stream) {
    (void)function, (void)arguments, (void)shared_bytes;
    return check_launch(grid, block, stream);
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared_bytes,
                               cudaStream_t stream) {
    (void)kernel, (void)arguments, (void)shared_bytes;
    return check_launch(grid, block, stream);
}

cudaError_t cudaLaunchCooperativeKernel(const void *function, dim3 grid, dim3 block, void **arguments,
                                        size_t shared_bytes, cudaStream_t stream) {
    (void)function, (void)arguments, (void)shared_bytes;
    return check_launch(grid, block, stream);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *config, const void *function, void **arguments) {
    (void)function, (void)arguments;
    return check_launch(config->gridDim, config->blockDim, config->stream);
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
    attributes->numRegs = 32; /* assumed: the true figure is in the kernel's code for that GPU */
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
