/* The CUDA runtime: the stream-ordered allocator behind PyTorch's `backend:cudaMallocAsync`.
 *
 * One pool for each device. How the driver's pools grow and choose is not documented. The model: a pool grows by
 * multiples of 32 MiB, an allocation gets the smallest free range that is large enough, neighbours merge when they
 * are freed, and a segment can be given back if all of it is free.
 *
 * The stream that freed memory can use it again at once; others can if they have waited for it, or if the free is
 * done. If there is no memory left, another stream may wait for it (cudaMemPoolReuseAllowInternalDependencies).
 */
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "capture_state.h"
#include "context.h"
#include "cudart.h"
#include "cudart_stream.h"
#include "device.h"
#include "stream_table.h"
#include "values.h"

enum { SEGMENT_BYTES = 32 << 20, STEP_BYTES = 512 };

typedef struct range {
    char *start;
    size_t bytes;
    bool taken;
    bool first; /* of its segment: it never merges with the one before */
    phantom_stream *freed_on; /* NULL: every stream may use it */
    uint64_t freed_at;        /* the number of the free among the work of that stream */
    struct range *next;
} range;

struct CUmemPoolHandle_st {
    int device;
    range *ranges; /* in the order of their addresses */
    uint64_t threshold, reserved, reserved_high, used, used_high;
};

static struct CUmemPoolHandle_st pools[PHANTOM_MAX_DEVICES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static cudaMemPool_t pool_of(int device) {
    pools[device].device = device;
    return &pools[device];
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int device) {
    if (!phantom_is_device(device)) return phantom_error(cudaErrorInvalidDevice);
    *pool = pool_of(device);
    return cudaSuccess;
}

/* ---- the ranges. Call with the lock held. ---- */

static bool may_use(const range *r, phantom_stream *stream) {
    return !r->freed_on || r->freed_on == stream || phantom_has_waited(stream, r->freed_on, r->freed_at);
}

/* `stream` may be NULL, for a stream that waits for every free. */
static range *smallest_fit(cudaMemPool_t pool, size_t bytes, phantom_stream *stream) {
    range *best = NULL;
    for (range *r = pool->ranges; r; r = r->next)
        if (!r->taken && r->bytes >= bytes && (!stream || may_use(r, stream)) && (!best || r->bytes < best->bytes))
            best = r;
    return best;
}

static range *add_range(cudaMemPool_t pool, range added) {
    range *made = malloc(sizeof *made), **link = &pool->ranges;
    if (!made) return NULL;
    while (*link && (*link)->start < added.start) link = &(*link)->next;
    *made = added;
    made->next = *link;
    *link = made;
    return made;
}

static range *grow(cudaMemPool_t pool, size_t bytes) {
    size_t whole = (bytes + SEGMENT_BYTES - 1) / SEGMENT_BYTES * SEGMENT_BYTES;
    char *start = phantom_allocate(pool->device, whole);
    range *made = start ? add_range(pool, (range){.start = start, .bytes = whole, .first = true}) : NULL;
    if (start && !made) phantom_free(start);
    if (!made) return NULL;
    pool->reserved += whole;
    if (pool->reserved > pool->reserved_high) pool->reserved_high = pool->reserved;
    return made;
}

/* Gives back segments that are entirely free, as long as the pool holds more than `keep` bytes. */
static void trim(cudaMemPool_t pool, uint64_t keep) {
    for (range **link = &pool->ranges; *link && pool->reserved > keep;) {
        range *r = *link;
        if (r->taken || !r->first || (r->next && !r->next->first)) {
            link = &r->next;
            continue;
        }
        *link = r->next;
        pool->reserved -= r->bytes;
        phantom_free(r->start);
        free(r);
    }
}

/* Free neighbours become one unless two streams freed them; the whole then waits for the free that is not done. */
static void merge(cudaMemPool_t pool) {
    for (range *r = pool->ranges; r; r = r->next)
        if (!r->taken && r->freed_on && phantom_is_done(r->freed_on, r->freed_at)) r->freed_on = NULL;
    for (range *r = pool->ranges; r && r->next;) {
        range *after = r->next;
        bool alike = !r->freed_on || !after->freed_on || r->freed_on == after->freed_on;
        if (r->taken || after->taken || after->first || !alike) {
            r = after;
            continue;
        }
        if (!r->freed_on || (after->freed_on && after->freed_at > r->freed_at)) r->freed_at = after->freed_at;
        if (!r->freed_on) r->freed_on = after->freed_on;
        r->bytes += after->bytes;
        r->next = after->next;
        free(after);
    }
}

static void *take(cudaMemPool_t pool, size_t bytes, phantom_stream *stream) {
    merge(pool);
    range *found = smallest_fit(pool, bytes, stream);
    if (!found) found = grow(pool, bytes);
    if (!found) { /* cached segments take the memory */
        trim(pool, 0);
        found = grow(pool, bytes);
    }
    if (!found) found = smallest_fit(pool, bytes, NULL);
    if (!found) return NULL;
    if (found->bytes > bytes) {
        range rest = {.start = found->start + bytes, .bytes = found->bytes - bytes,
                      .freed_on = found->freed_on, .freed_at = found->freed_at};
        if (add_range(pool, rest)) found->bytes = bytes;
    }
    found->taken = true;
    pool->used += found->bytes;
    if (pool->used > pool->used_high) pool->used_high = pool->used;
    return found->start;
}

static bool give_back(cudaMemPool_t pool, const void *address, phantom_stream *stream) {
    range *found = pool->ranges;
    while (found && found->start != address) found = found->next;
    if (!found || !found->taken) return false;
    phantom_forget_values(found->start, found->bytes);
    found->taken = false;
    found->freed_on = phantom_capture_of(stream) ? NULL : stream; /* the order in a graph is not followed */
    found->freed_at = atomic_load(&stream->requested);
    pool->used -= found->bytes;
    merge(pool);
    trim(pool, pool->threshold);
    return true;
}

/* ---- allocation ---- */

cudaError_t cudaMallocAsync(void **address, size_t bytes, cudaStream_t stream) {
    cudaError_t error = phantom_require_device();
    if (error) return error;
    int device = phantom_stream_of(stream)->device;
    phantom_open_context(device);
    size_t whole = (bytes + STEP_BYTES - 1) / STEP_BYTES * STEP_BYTES;
    pthread_mutex_lock(&lock);
    *address = whole ? take(pool_of(device), whole, phantom_stream_of(stream)) : NULL;
    pthread_mutex_unlock(&lock);
    phantom_launched(stream);
    if (*address || !bytes) return cudaSuccess;
    return phantom_error(cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeAsync(void *address, cudaStream_t stream) {
    int device = phantom_owner(address);
    if (device < 0) return phantom_error(cudaErrorInvalidValue);
    phantom_stream *own = phantom_stream_of(stream);
    if (!phantom_capture_add_free(own)) phantom_request_work(own);
    pthread_mutex_lock(&lock);
    bool known = give_back(pool_of(device), address, own);
    pthread_mutex_unlock(&lock);
    return known ? cudaSuccess : phantom_error(cudaErrorInvalidValue);
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t keep) {
    pthread_mutex_lock(&lock);
    merge(pool);
    trim(pool, keep);
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

/* ---- attributes ---- */

static uint64_t *attribute_of(cudaMemPool_t pool, enum cudaMemPoolAttr attribute) {
    switch (attribute) {
    case cudaMemPoolAttrReleaseThreshold: return &pool->threshold;
    case cudaMemPoolAttrReservedMemCurrent: return &pool->reserved;
    case cudaMemPoolAttrReservedMemHigh: return &pool->reserved_high;
    case cudaMemPoolAttrUsedMemCurrent: return &pool->used;
    case cudaMemPoolAttrUsedMemHigh: return &pool->used_high;
    default: return NULL;
    }
}

cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, enum cudaMemPoolAttr attribute, void *value) {
    pthread_mutex_lock(&lock);
    uint64_t *field = attribute_of(pool, attribute);
    if (field) memcpy(value, field, sizeof *field);
    else *(int *)value = 1; /* all memory may be used again */
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

/* Setting a high-water mark resets it to the current value, as the driver does. */
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, enum cudaMemPoolAttr attribute, void *value) {
    pthread_mutex_lock(&lock);
    if (attribute == cudaMemPoolAttrReleaseThreshold) memcpy(&pool->threshold, value, sizeof pool->threshold);
    if (attribute == cudaMemPoolAttrReservedMemHigh) pool->reserved_high = pool->reserved;
    if (attribute == cudaMemPoolAttrUsedMemHigh) pool->used_high = pool->used;
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

cudaError_t cudaMemPoolSetAccess(cudaMemPool_t pool, const struct cudaMemAccessDesc *access, size_t count) {
    (void)pool, (void)access, (void)count;
    return cudaSuccess;
}

/* Graphs allocate in the same pool, so they have no memory of their own. */
cudaError_t cudaDeviceGetGraphMemAttribute(int device, enum cudaGraphMemAttributeType attribute, void *value) {
    (void)device, (void)attribute;
    memset(value, 0, sizeof(uint64_t));
    return cudaSuccess;
}
