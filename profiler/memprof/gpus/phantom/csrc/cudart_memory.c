/* The CUDA runtime: memory of the device and of the host, and copies between them. */
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "capture_state.h"
#include "context.h"
#include "copies.h"
#include "cudart.h"
#include "cudart_stream.h"
#include "device.h"
#include "ledger.h"
#include "managed.h"
#include "stream_table.h"
#include "values.h"

/* ---- memory of the device ---- */

cudaError_t cudaMalloc(void **address, size_t bytes) {
    int device = phantom_current_device();
    cudaError_t error = phantom_require_device();
    if (!error) error = phantom_capture_forbids_unsafe_call();
    if (error) return error;
    phantom_open_context(device);
    *address = bytes ? phantom_allocate(device, bytes) : NULL;
    return *address || !bytes ? cudaSuccess : phantom_error(cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void *address) {
    cudaError_t error = phantom_require_device();
    if (error) return error;
    if (!address) { /* the usual way to make the context */
        phantom_open_context(phantom_current_device());
        return cudaSuccess;
    }
    error = phantom_capture_forbids_unsafe_call();
    if (error) return error;
    int device = phantom_owner(address);
    if (device < 0 && phantom_free_managed(address)) return cudaSuccess;
    if (device >= 0) phantom_wait_for_device(device); /* as the real one does before it frees */
    return phantom_free(address) ? cudaSuccess : phantom_error(cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
    int device = phantom_current_device();
    cudaError_t error = phantom_require_device();
    if (error) return error;
    phantom_open_context(device);
    *total_bytes = phantom_gpu_now()->total_bytes;
    *free_bytes = *total_bytes - phantom_used_bytes(phantom_gpu_index(device));
    return cudaSuccess;
}

/* ---- managed memory ---- */

cudaError_t cudaMallocManaged(void **address, size_t bytes, unsigned int flags) {
    cudaError_t error = phantom_require_device();
    if (!error) error = phantom_capture_forbids_unsafe_call();
    if (error) return error;
    if (!bytes || (flags != cudaMemAttachGlobal && flags != cudaMemAttachHost)) return phantom_error(cudaErrorInvalidValue);
    phantom_open_context(phantom_current_device());
    *address = phantom_allocate_managed(bytes);
    return *address ? cudaSuccess : phantom_error(cudaErrorMemoryAllocation);
}

/* A location that is no device is the host, or the part of the host that is near a processor. */
static cudaError_t prefetch(const void *address, size_t bytes, int device, cudaStream_t stream) {
    phantom_launched(stream);
    bool known = phantom_move_managed(address, bytes, phantom_is_device(device) ? phantom_gpu_index(device) : -1);
    return known ? cudaSuccess : phantom_error(cudaErrorInvalidValue);
}

#if CUDART_VERSION >= 13000
cudaError_t cudaMemPrefetchAsync(const void *address, size_t bytes, struct cudaMemLocation location,
                                 unsigned int flags, cudaStream_t stream) {
    (void)flags;
    return prefetch(address, bytes, location.type == cudaMemLocationTypeDevice ? location.id : cudaCpuDeviceId, stream);
}
#else
cudaError_t cudaMemPrefetchAsync(const void *address, size_t bytes, int device, cudaStream_t stream) {
    return prefetch(address, bytes, device, stream);
}
#endif

/* ---- memory of the host: pinned memory is ordinary memory that cudaPointerGetAttributes calls "host" ---- */

typedef struct host_block {
    char *start;
    size_t bytes;
    bool owned;
    struct host_block *next;
} host_block;

static host_block *host_blocks;
static pthread_mutex_t host_lock = PTHREAD_MUTEX_INITIALIZER;

static cudaError_t remember_host(void *start, size_t bytes, bool owned) {
    host_block *added = malloc(sizeof *added);
    if (!added) return phantom_error(cudaErrorMemoryAllocation);
    pthread_mutex_lock(&host_lock);
    *added = (host_block){start, bytes, owned, host_blocks};
    host_blocks = added;
    pthread_mutex_unlock(&host_lock);
    return cudaSuccess;
}

static cudaError_t forget_host(void *start) {
    cudaError_t error = cudaErrorInvalidValue;
    pthread_mutex_lock(&host_lock);
    for (host_block **link = &host_blocks; *link; link = &(*link)->next) {
        host_block *block = *link;
        if (block->start != start) continue;
        *link = block->next;
        if (block->owned) free(block->start);
        free(block);
        error = cudaSuccess;
        break;
    }
    pthread_mutex_unlock(&host_lock);
    return phantom_error(error);
}

static bool is_host(const void *address) {
    bool found = false;
    pthread_mutex_lock(&host_lock);
    for (host_block *block = host_blocks; block && !found; block = block->next)
        found = (const char *)address >= block->start && (const char *)address < block->start + block->bytes;
    pthread_mutex_unlock(&host_lock);
    return found;
}

cudaError_t cudaHostAlloc(void **address, size_t bytes, unsigned int flags) {
    (void)flags;
    cudaError_t error = phantom_require_device();
    if (error) return error;
    size_t whole = (bytes + 4095) / 4096 * 4096;
    *address = aligned_alloc(4096, whole ? whole : 4096);
    return *address ? remember_host(*address, bytes, true) : phantom_error(cudaErrorMemoryAllocation);
}

cudaError_t cudaMallocHost(void **address, size_t bytes) { return cudaHostAlloc(address, bytes, 0); }

cudaError_t cudaFreeHost(void *address) { return address ? forget_host(address) : cudaSuccess; }

cudaError_t cudaHostRegister(void *address, size_t bytes, unsigned int flags) {
    (void)flags;
    return remember_host(address, bytes, false);
}

cudaError_t cudaHostUnregister(void *address) { return forget_host(address); }

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *address) {
    memset(attributes, 0, sizeof *attributes);
    int owner = phantom_owner(address);
    bool managed = owner < 0 && phantom_is_managed(address);
    attributes->device = owner >= 0 ? owner : phantom_current_device();
    attributes->type = owner >= 0          ? cudaMemoryTypeDevice
                       : managed          ? cudaMemoryTypeManaged
                       : is_host(address) ? cudaMemoryTypeHost
                                          : cudaMemoryTypeUnregistered;
    if (owner >= 0 || managed) memcpy(&attributes->devicePointer, &address, sizeof address);
    if (owner < 0) memcpy(&attributes->hostPointer, &address, sizeof address);
    return cudaSuccess;
}

/* ---- copies ---- */

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    (void)kind; /* the addresses say which side is the device's */
    phantom_copy(to, from, bytes);
    return cudaSuccess;
}

/* A copy into memory of the device is not made while it is captured. */
static bool is_captured(cudaStream_t stream) { return phantom_capture_of(phantom_stream_of(stream)); }

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream) {
    phantom_launched(stream);
    if (is_captured(stream) && phantom_owner(to) >= 0) return phantom_forget_values(to, bytes), cudaSuccess;
    return cudaMemcpy(to, from, bytes, kind);
}

cudaError_t cudaMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device, size_t bytes,
                                cudaStream_t stream) {
    (void)to_device, (void)from_device;
    return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                              size_t height, enum cudaMemcpyKind kind, cudaStream_t stream) {
    for (size_t row = 0; row < height; row++)
        cudaMemcpy((char *)to + row * to_pitch, (const char *)from + row * from_pitch, width, kind);
    phantom_launched(stream);
    return cudaSuccess;
}

cudaError_t cudaMemset(void *to, int value, size_t bytes) {
    phantom_fill(to, value, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
    phantom_launched(stream);
    if (is_captured(stream)) return phantom_forget_values(to, bytes), cudaSuccess;
    return cudaMemset(to, value, bytes);
}

/* Variables of device code are not emulated: they all have one page, which takes what is written to it. */
cudaError_t cudaGetSymbolAddress(void **address, const void *symbol) {
    (void)symbol;
    static _Alignas(4096) char page[1 << 16];
    *address = page;
    return cudaSuccess;
}

cudaError_t cudaMemcpyToSymbol(const void *symbol, const void *from, size_t bytes, size_t offset,
                               enum cudaMemcpyKind kind) {
    (void)symbol, (void)from, (void)bytes, (void)offset, (void)kind;
    return cudaSuccess;
}
