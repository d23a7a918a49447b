/* The CUDA runtime: streams and events. */
#include "cudart_stream.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "capture_state.h"
#include "context.h"
#include "cudart.h"
#include "device.h"
#include "exit.h"
#include "graph_nodes.h"
#include "stream_table.h"

void phantom_launched(const void *handle) {
    phantom_stream *stream = phantom_stream_of((cudaStream_t)(uintptr_t)handle);
    if (!phantom_capture_add(stream)) phantom_request_work(stream);
}

static cudaError_t query(const phantom_stream *stream, uint64_t number) {
    return phantom_query_work(stream, number) ? cudaSuccess : phantom_error(cudaErrorNotReady);
}

cudaError_t cudaDeviceSynchronize(void) {
    cudaError_t error = phantom_require_device();
    if (!error) error = phantom_capture_forbids_device();
    if (!error) phantom_wait_for_device(phantom_current_device());
    return error;
}

/* ---- streams ---- */

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *handle, unsigned int flags, int priority) {
    (void)flags;
    cudaError_t error = phantom_require_device();
    if (error) return error;
    phantom_open_context(phantom_current_device());
    phantom_stream *made = phantom_add_stream(phantom_current_device(), priority);
    if (!made) return phantom_error(cudaErrorMemoryAllocation);
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
    return forbidden ? forbidden : query(stream, atomic_load(&stream->requested));
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
    phantom_stream *stream = phantom_stream_of(handle);
    cudaError_t forbidden = phantom_capture_forbids_sync(stream);
    if (!forbidden) phantom_wait_for_stream(stream);
    return forbidden;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned int flags) {
    phantom_stream *stream = phantom_stream_of(handle);
    cudaError_t forbidden = phantom_capture_wait(stream, event, flags);
    if (!forbidden && event->stream && !event->capture && event->stream != stream)
        phantom_add_wait(stream, event->stream, event->number);
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

/* ---- events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags) {
    (void)flags;
    cudaError_t error = phantom_require_device();
    if (error) return error;
    *event = calloc(1, sizeof **event);
    return *event ? cudaSuccess : phantom_error(cudaErrorMemoryAllocation);
}

cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    phantom_clear_nodes(&event->nodes);
    free(event);
    return cudaSuccess;
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t handle, unsigned int flags) {
    (void)flags;
    phantom_stream *stream = phantom_stream_of(handle);
    event->stream = stream;
    event->number = atomic_load(&stream->requested);
    phantom_capture_record(stream, event);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    return cudaEventRecordWithFlags(event, stream, 0);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    phantom_rest_at_exit();
    cudaError_t forbidden = phantom_capture_forbids_event(event);
    if (!forbidden) forbidden = phantom_capture_forbids_unsafe_call();
    return forbidden || !event->stream ? forbidden : query(event->stream, event->number);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    cudaError_t forbidden = phantom_capture_forbids_event(event);
    if (!forbidden && event->stream) phantom_wait_for_work(event->stream, event->number);
    return forbidden;
}

/* No time passes on a phantom. A constant makes cuDNN's benchmark mode choose the plan that its heuristics rank first.
 * It is long for a kernel: triton.testing.do_bench and autotuners repeat one until their 25 to 100 ms are over. */
static const float MILLISECONDS_BETWEEN_EVENTS = 10;

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
    if (!start->stream || !end->stream) return phantom_error(cudaErrorInvalidResourceHandle);
    if (!phantom_is_done(start->stream, start->number) || !phantom_is_done(end->stream, end->number))
        return phantom_error(cudaErrorNotReady);
    *milliseconds = MILLISECONDS_BETWEEN_EVENTS;
    return cudaSuccess;
}
