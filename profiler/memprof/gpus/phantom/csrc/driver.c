/* The CUDA driver, libcuda.so.1: what PyTorch opens by name, and what its jiterator and Triton need.
 *
 * cuInit, cuGetExportTable and cuGetProcAddress fail on purpose: then the CUDA runtimes that are linked statically
 * into cuDNN and NCCL find no device and do nothing.
 */
#include <cuda.h>
#include <stdint.h>
#include <string.h>

#include "arena.h"
#include "context.h"
#include "cuda_version.h"
#include "cudart_stream.h"
#include "device.h"
#include "refuse.h"
#include "uuid.h"
#include "values.h"

/* ---- what must fail ---- */

CUresult cuInit(unsigned int flags) { return (void)flags, CUDA_ERROR_NO_DEVICE; }

CUresult cuGetExportTable(const void **table, const CUuuid *id) {
    (void)table, (void)id;
    return CUDA_ERROR_NOT_SUPPORTED;
}

#undef cuGetProcAddress
CUresult cuGetProcAddress(const char *symbol, void **function, int version, cuuint64_t flags) {
    (void)symbol, (void)function, (void)version, (void)flags;
    return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuGetProcAddress_v2(const char *symbol, void **function, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult *status) {
    (void)symbol, (void)function, (void)version, (void)flags, (void)status;
    return CUDA_ERROR_NOT_SUPPORTED;
}

/* ---- devices and contexts ---- */

CUresult cuDriverGetVersion(int *version) {
    *version = phantom_cuda_version();
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count) {
    *count = phantom_device_count();
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    *device = ordinal;
    return phantom_is_device(ordinal) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

/* The runtime's attributes have the driver's numbers. */
extern int cudaDeviceGetAttribute(int *value, int attribute, int device);
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
    if (attribute == CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED) return *value = 1, CUDA_SUCCESS;
    return cudaDeviceGetAttribute(value, (int)attribute, device) ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device) {
    if (!phantom_is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    phantom_uuid(phantom_gpu_index(device), (unsigned char *)uuid->bytes);
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned int *flags, int *active) {
    if (!phantom_is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    *flags = 0;
    *active = phantom_has_context(device);
    return CUDA_SUCCESS;
}

static CUcontext context_of(int device) { return (CUcontext)(uintptr_t)(0x1000 + 16 * device); }

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    if (!phantom_is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    phantom_open_context(device);
    *context = context_of(device);
    return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *context) {
    int device = phantom_current_device();
    *context = phantom_has_context(device) ? context_of(device) : NULL;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device) {
    *device = phantom_current_device();
    return phantom_has_context(*device) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cuCtxSetCurrent(CUcontext context) {
    if (context) phantom_set_current_device((int)(((uintptr_t)context - 0x1000) / 16));
    return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char **text) {
    *text = error == CUDA_ERROR_OUT_OF_MEMORY   ? "out of memory"
            : error == CUDA_ERROR_NOT_SUPPORTED ? "not supported by the phantom GPU"
            : error == CUDA_SUCCESS             ? "no error"
                                                : "error on the phantom GPU";
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char **text) {
    *text = error == CUDA_ERROR_OUT_OF_MEMORY   ? "CUDA_ERROR_OUT_OF_MEMORY"
            : error == CUDA_ERROR_NOT_SUPPORTED ? "CUDA_ERROR_NOT_SUPPORTED"
            : error == CUDA_SUCCESS             ? "CUDA_SUCCESS"
                                                : "CUDA_ERROR_UNKNOWN";
    return CUDA_SUCCESS;
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr address) {
    int owner = phantom_owner((const void *)(uintptr_t)address);
    if (owner < 0) return CUDA_ERROR_INVALID_VALUE;
    CUcontext context = context_of(owner);
    CUmemorytype type = CU_MEMORYTYPE_DEVICE;
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: return memcpy(data, &context, sizeof context), CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: return memcpy(data, &type, sizeof type), CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: return memcpy(data, &owner, sizeof owner), CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: return memcpy(data, &address, sizeof address), CUDA_SUCCESS;
    default: return phantom_refuse("cuPointerGetAttribute"), CUDA_ERROR_NOT_SUPPORTED;
    }
}

/* ---- code that was compiled at run time (by PyTorch's jiterator, by Triton, by cuDNN): loaded, and never run ---- */

/* Handles that are only passed back, and never read. */
static void *const A_MODULE = (void *)0x2000, *const A_FUNCTION = (void *)0x3000;

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    (void)image;
    *module = A_MODULE;
    return CUDA_SUCCESS;
}

CUresult cuModuleLoad(CUmodule *module, const char *path) {
    (void)path;
    *module = A_MODULE;
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    (void)module, (void)name;
    *function = A_FUNCTION;
    return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule module) { return (void)module, CUDA_SUCCESS; }

CUresult cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *jit_options, void **jit_values,
                           unsigned int jit_count, CUlibraryOption *options, void **values, unsigned int count) {
    (void)code, (void)jit_options, (void)jit_values, (void)jit_count, (void)options, (void)values, (void)count;
    *library = A_MODULE;
    return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name) {
    (void)library, (void)name;
    *kernel = A_FUNCTION;
    return CUDA_SUCCESS;
}

CUresult cuLibraryUnload(CUlibrary library) { return (void)library, CUDA_SUCCESS; }

CUresult cuKernelGetFunction(CUfunction *function, CUkernel kernel) {
    (void)kernel;
    *function = A_FUNCTION;
    return CUDA_SUCCESS;
}

CUresult cuKernelSetAttribute(CUfunction_attribute attribute, int value, CUkernel kernel, CUdevice device) {
    (void)attribute, (void)value, (void)kernel, (void)device;
    return CUDA_SUCCESS;
}

/* The real figures are in the kernel's code, which is not read here: no spills, and registers that always fit. */
CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function) {
    (void)function;
    *value = attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024
             : attribute == CU_FUNC_ATTRIBUTE_NUM_REGS            ? 32
                                                                  : 0;
    return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function, int block_size,
                                                     size_t shared_bytes) {
    extern int cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *, const void *, int, size_t);
    (void)function;
    cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, NULL, block_size, shared_bytes);
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
                        unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared_bytes,
                        CUstream stream, void **arguments, void **extra) {
    (void)function, (void)grid_x, (void)grid_y, (void)grid_z, (void)block_x, (void)block_y, (void)block_z;
    (void)shared_bytes, (void)arguments, (void)extra;
    phantom_forget_all_values(); /* its parameters are not known */
    phantom_launched(stream);
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **arguments, void **extra) {
    (void)function, (void)arguments, (void)extra;
    phantom_forget_all_values();
    phantom_launched(config->hStream);
    return CUDA_SUCCESS;
}
