/* The CUDA driver: virtual memory, which expandable segments need. Addresses are reserved, memory is mapped to them. */
#include <cuda.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "arena.h"
#include "context.h"
#include "device.h"
#include "ledger.h"
#include "managed.h"

typedef struct {
    size_t bytes;
    int gpu;
    _Atomic int holders; /* its creator, and each mapping */
} physical;

typedef struct mapping {
    CUdeviceptr address;
    physical *memory;
    struct mapping *next;
} mapping;

static mapping *mappings;
static pthread_mutex_t mapping_lock = PTHREAD_MUTEX_INITIALIZER;

static void release(physical *memory) {
    if (atomic_fetch_sub(&memory->holders, 1) != 1) return;
    phantom_give_back(memory->gpu, memory->bytes);
    free(memory);
}

CUresult cuMemGetAllocationGranularity(size_t *bytes, const CUmemAllocationProp *properties,
                                       CUmemAllocationGranularity_flags option) {
    (void)properties, (void)option;
    *bytes = PHANTOM_PAGE_BYTES;
    return CUDA_SUCCESS;
}

CUresult cuMemAddressReserve(CUdeviceptr *address, size_t bytes, size_t alignment, CUdeviceptr wish,
                             unsigned long long flags) {
    (void)wish, (void)flags;
    *address = (CUdeviceptr)(uintptr_t)phantom_reserve(bytes, alignment);
    return *address ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemAddressFree(CUdeviceptr address, size_t bytes) {
    return phantom_unreserve((void *)(uintptr_t)address, bytes) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes, const CUmemAllocationProp *properties,
                     unsigned long long flags) {
    (void)flags;
    int device = properties->location.id, gpu = phantom_gpu_index(device);
    if (!phantom_is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    phantom_open_context(device);
    if (!phantom_take_from_managed(gpu, bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
    physical *memory = malloc(sizeof *memory);
    if (!memory) return phantom_give_back(gpu, bytes), CUDA_ERROR_OUT_OF_MEMORY;
    *memory = (physical){bytes, gpu, 1};
    *handle = (CUmemGenericAllocationHandle)(uintptr_t)memory;
    return CUDA_SUCCESS;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
    release((physical *)(uintptr_t)handle);
    return CUDA_SUCCESS;
}

CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
                  unsigned long long flags) {
    (void)bytes, (void)offset, (void)flags;
    mapping *added = malloc(sizeof *added);
    if (!added) return CUDA_ERROR_OUT_OF_MEMORY;
    physical *memory = (physical *)(uintptr_t)handle;
    atomic_fetch_add(&memory->holders, 1);
    pthread_mutex_lock(&mapping_lock);
    *added = (mapping){address, memory, mappings};
    mappings = added;
    pthread_mutex_unlock(&mapping_lock);
    return CUDA_SUCCESS;
}

CUresult cuMemUnmap(CUdeviceptr address, size_t bytes) {
    pthread_mutex_lock(&mapping_lock);
    for (mapping **link = &mappings; *link;) {
        mapping *found = *link;
        if (found->address < address || found->address >= address + bytes) {
            link = &found->next;
            continue;
        }
        *link = found->next;
        release(found->memory);
        free(found);
    }
    pthread_mutex_unlock(&mapping_lock);
    return CUDA_SUCCESS;
}

CUresult cuMemSetAccess(CUdeviceptr address, size_t bytes, const CUmemAccessDesc *access, size_t count) {
    (void)address, (void)bytes, (void)access, (void)count;
    return CUDA_SUCCESS;
}
