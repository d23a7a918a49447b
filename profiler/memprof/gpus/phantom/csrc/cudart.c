/* The CUDA runtime: errors and devices. */
#include "cudart.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "context.h"
#include "cuda_version.h"
#include "device.h"
#include "exit.h"
#include "uuid.h"

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

cudaError_t phantom_require_device(void) {
    return phantom_device_count() ? cudaSuccess : phantom_error(cudaErrorNoDevice);
}

static cudaError_t check_device(int device) {
    cudaError_t error = phantom_require_device();
    if (error) return error;
    return phantom_is_device(device) ? cudaSuccess : phantom_error(cudaErrorInvalidDevice);
}

cudaError_t cudaGetDeviceCount(int *count) {
    *count = phantom_device_count();
    return phantom_require_device();
}

cudaError_t cudaGetDevice(int *device) {
    phantom_rest_at_exit();
    *device = phantom_current_device();
    return phantom_require_device();
}

cudaError_t cudaSetDevice(int device) {
    cudaError_t error = check_device(device);
    if (error) return error;
    phantom_set_current_device(device);
    phantom_open_context(device); /* cudaSetDevice makes the context since CUDA 12 */
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) {
    *version = phantom_cuda_version();
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = phantom_cuda_version();
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
    cudaError_t error = check_device(device);
    if (error) return error;
    const phantom_gpu *gpu = phantom_gpu_now();
    memset(prop, 0, sizeof *prop);
    memcpy(prop->name, gpu->name, sizeof prop->name);
    phantom_uuid(phantom_gpu_index(device), (unsigned char *)prop->uuid.bytes);
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
    prop->managedMemory = prop->concurrentManagedAccess = 1; /* since Pascal, on Linux */
    prop->cooperativeLaunch = 1;
    prop->streamPrioritiesSupported = 1;
    prop->pciBusID = phantom_gpu_index(device) + 1;
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
    case cudaDevAttrManagedMemory:
    case cudaDevAttrConcurrentManagedAccess: /* since Pascal, on Linux */
    case cudaDevAttrCooperativeLaunch: return 1;
    default: return 0; /* a capability that this GPU lacks, or that PyTorch does not ask for */
    }
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    cudaError_t error = check_device(device);
    if (error) return error;
    if (!gpu_attribute(attribute, phantom_gpu_now(), value)) *value = common_attribute(attribute);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int length, int device) {
    cudaError_t error = check_device(device);
    if (!error) snprintf(text, (size_t)length, "0000:%02x:00.0", phantom_gpu_index(device) + 1);
    return error;
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
    snprintf(second, sizeof second, "%s_v2", symbol); /* a plain name means the newest form of the function */
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    *function = driver ? dlsym(driver, second) : NULL;
    if (driver && !*function) *function = dlsym(driver, symbol);
    if (status) *status = *function ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess; /* only the status reports a missing symbol */
}

#if CUDART_VERSION < 13000
cudaError_t cudaGetDriverEntryPoint(const char *symbol, void **function, unsigned long long flags,
                                    enum cudaDriverEntryPointQueryResult *status) {
    return cudaGetDriverEntryPointByVersion(symbol, function, phantom_cuda_version(), flags, status);
}
#endif
