/* The CUDA runtime: streams, events, and when their work is done.
 *
 * The values of a copy are there at once, and kernels do not run. What a program can see of time is whether work is
 * done, and the caching allocator asks: a block that another stream used is free once an event recorded after its use
 * is done. A phantom answers as a GPU that is always busy would: work is done when the host has waited for it, or when
 * QUEUE_DEPTH later pieces of work have been asked for, since a real launch waits where its queue is full. Each answer
 * "not done" counts as one such piece, so that a loop that asks until it is done comes to an end.
 */
#include "cudart.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Assumed: launches block at about 1024 pending ones on current drivers; NVIDIA documents that there is a limit only. */
enum { QUEUE_DEPTH = 1024 };

typedef struct wait_edge {
    phantom_stream *stream;
    uint64_t number, made_at;
    struct wait_edge *next;
} wait_edge;

/* The handles NULL, cudaStreamLegacy and cudaStreamPerThread name a stream of the current device. */
enum { FIXED_HANDLES = 3 };

static phantom_stream defaults[PHANTOM_MAX_DEVICES][FIXED_HANDLES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static phantom_stream *streams; /* those of the user's */
static _Atomic uint64_t issued;

/* ---- when work is done ---- */

void phantom_launched(const void *handle) {
    phantom_stream *stream = phantom_stream_of((cudaStream_t)(uintptr_t)handle);
    if (phantom_capture_add(stream)) return;
    atomic_store_explicit(&stream->asked, 1 + atomic_fetch_add(&issued, 1), memory_order_relaxed);
}

static bool is_done(const phantom_stream *stream, uint64_t number) {
    return number <= atomic_load(&stream->waited) || atomic_load(&issued) - number >= QUEUE_DEPTH;
}

static cudaError_t query(const phantom_stream *stream, uint64_t number) {
    if (is_done(stream, number)) return cudaSuccess;
    atomic_fetch_add(&issued, 1);
    return phantom_error(cudaErrorNotReady);
}

/* Waiting for a stream is waiting for what it waited for. Call with the lock held. */
static void waited_for(phantom_stream *stream, uint64_t number) {
    if (number <= atomic_load(&stream->waited)) return;
    atomic_store(&stream->waited, number);
    for (wait_edge *edge = stream->edges; edge; edge = edge->next)
        if (edge->made_at <= number) waited_for(edge->stream, edge->number);
}

static void wait_for(phantom_stream *stream, uint64_t number) {
    pthread_mutex_lock(&lock);
    waited_for(stream, number);
    pthread_mutex_unlock(&lock);
}

void phantom_wait_for_device(int device) {
    uint64_t now = atomic_load(&issued);
    for (int i = 0; i < FIXED_HANDLES; i++) wait_for(&defaults[device][i], now);
    pthread_mutex_lock(&lock);
    for (phantom_stream *stream = streams; stream; stream = stream->next)
        if (stream->device == device) waited_for(stream, now);
    pthread_mutex_unlock(&lock);
}

cudaError_t cudaDeviceSynchronize(void) {
    cudaError_t forbidden = phantom_capture_forbids_device();
    if (!forbidden) phantom_wait_for_device(phantom_current_device());
    return forbidden;
}

/* ---- streams ---- */

phantom_stream *phantom_stream_of(cudaStream_t handle) {
    int device = phantom_current_device();
    if ((uintptr_t)handle >= FIXED_HANDLES) return handle;
    phantom_stream *stream = &defaults[device][(uintptr_t)handle];
    stream->device = device;
    return stream;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *handle, unsigned int flags, int priority) {
    (void)flags;
    phantom_touch(phantom_current_device());
    phantom_stream *made = calloc(1, sizeof *made);
    if (!made) return phantom_error(cudaErrorMemoryAllocation);
    made->device = phantom_current_device();
    made->priority = priority;
    pthread_mutex_lock(&lock);
    made->next = streams;
    streams = made;
    pthread_mutex_unlock(&lock);
    *handle = made;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int flags) {
    return cudaStreamCreateWithPriority(stream, flags, 0);
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) { return cudaStreamCreateWithPriority(stream, 0, 0); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) { return (void)stream, cudaSuccess; }

cudaError_t cudaStreamGetPriority(cudaStream_t stream, int *priority) {
    *priority = phantom_stream_of(stream)->priority;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
    phantom_stream *stream = phantom_stream_of(handle);
    cudaError_t forbidden = phantom_capture_forbids_sync(stream);
    return forbidden ? forbidden : query(stream, atomic_load(&stream->asked));
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
    phantom_stream *stream = phantom_stream_of(handle);
    cudaError_t forbidden = phantom_capture_forbids_sync(stream);
    if (!forbidden) wait_for(stream, atomic_load(&issued));
    return forbidden;
}

static void add_edge(phantom_stream *stream, phantom_stream *source, uint64_t number) {
    pthread_mutex_lock(&lock);
    wait_edge *edge = stream->edges;
    while (edge && edge->stream != source) edge = edge->next;
    if (!edge && (edge = calloc(1, sizeof *edge))) {
        edge->next = stream->edges;
        stream->edges = edge;
    }
    /* The newest stands for the older ones: what they covered is covered by it, or is done later than it could be. */
    if (edge) edge->stream = source, edge->number = number, edge->made_at = atomic_load(&issued);
    pthread_mutex_unlock(&lock);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned int flags) {
    phantom_stream *stream = phantom_stream_of(handle);
    cudaError_t forbidden = phantom_capture_wait(stream, event, flags);
    if (!forbidden && event->stream && !event->capture && event->stream != stream)
        add_edge(stream, event->stream, event->number);
    return forbidden;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data) {
    phantom_launched(stream);
    function(data);
    return cudaSuccess;
}

cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t callback, void *data, unsigned int flags) {
    (void)flags;
    phantom_launched(stream);
    callback(stream, cudaSuccess, data);
    return cudaSuccess;
}

bool phantom_end_capture_of_streams(phantom_graph *graph) {
    bool unjoined = false;
    pthread_mutex_lock(&lock);
    for (phantom_stream *stream = streams; stream; stream = stream->next) {
        if (atomic_load(&stream->capture) != graph) continue;
        unjoined |= stream->unjoined;
        atomic_store(&stream->capture, NULL);
    }
    pthread_mutex_unlock(&lock);
    atomic_store(&graph->origin->capture, NULL); /* which may be a default stream */
    return unjoined;
}

/* ---- events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags) {
    (void)flags;
    *event = calloc(1, sizeof **event);
    return *event ? cudaSuccess : phantom_error(cudaErrorMemoryAllocation);
}

cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    free(event);
    return cudaSuccess;
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t handle, unsigned int flags) {
    (void)flags;
    phantom_stream *stream = phantom_stream_of(handle);
    event->stream = stream;
    event->number = atomic_load(&stream->asked);
    phantom_capture_record(stream, event);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    return cudaEventRecordWithFlags(event, stream, 0);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    cudaError_t forbidden = phantom_capture_forbids_event(event);
    if (!forbidden) forbidden = phantom_capture_forbids_unsafe_call();
    return forbidden || !event->stream ? forbidden : query(event->stream, event->number);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    cudaError_t forbidden = phantom_capture_forbids_event(event);
    if (!forbidden && event->stream) wait_for(event->stream, event->number);
    return forbidden;
}

/* No time passes on a phantom. A constant makes cuDNN's benchmark mode take the plan that its heuristics rank first;
 * it is not 0, since programs divide by it. */
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
    if (!start->stream || !end->stream) return phantom_error(cudaErrorInvalidResourceHandle);
    if (!is_done(start->stream, start->number) || !is_done(end->stream, end->number))
        return phantom_error(cudaErrorNotReady);
    *milliseconds = 1e-3f;
    return cudaSuccess;
}
