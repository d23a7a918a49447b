/* The CUDA runtime: the capture of graphs, and graphs.
 *
 * Capture is a state of a stream; an event that was recorded in it carries the state to the streams that wait. What a
 * real capture forbids is forbidden here too, since code that a phantom lets through must not fail on a card: the rules
 * are those of the CUDA Programming Guide, "CUDA Graphs", prohibited and unhandled operations. A graph's nodes are
 * counted, kept, and never run.
 */
#include "cudart.h"

#include <stdatomic.h>
#include <stdlib.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static phantom_graph *running; /* the captures under way */
static _Atomic int captures_running;
static _Atomic unsigned long long next_capture = 1;
static _Thread_local enum cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;

/* ---- capture ---- */

/* Call with the lock held. */
static phantom_graph *find_running(unsigned long long id) {
    phantom_graph *graph = running;
    while (graph && graph->id != id) graph = graph->next_running;
    return id ? graph : NULL;
}

bool phantom_capture_add(phantom_stream *stream) {
    if (!atomic_load(&captures_running)) return false;
    phantom_graph *capture = atomic_load(&stream->capture);
    if (!capture) return false;
    stream->last_node = 1 + atomic_fetch_add(&capture->nodes, 1);
    stream->unjoined = stream != capture->origin;
    return true;
}

void phantom_capture_record(phantom_stream *stream, cudaEvent_t event) {
    phantom_graph *capture = atomic_load(&captures_running) ? atomic_load(&stream->capture) : NULL;
    event->capture = capture ? capture->id : 0;
    event->node = stream->last_node;
}

static cudaError_t invalidate(phantom_graph *capture, cudaError_t error) {
    if (capture) capture->invalid = true;
    return phantom_error(error);
}

/* Call with the lock held. What has nodes that the capture's own stream does not know of in the end is an error. */
static void join(phantom_stream *stream, phantom_graph *capture, cudaEvent_t event) {
    if (atomic_exchange(&stream->capture, capture) != capture) {
        stream->last_node = 0;
        stream->unjoined = false;
    }
    phantom_stream *source = event->stream;
    if (stream == source || !source->unjoined || event->node < source->last_node) return;
    source->unjoined = false;
    stream->unjoined = stream != capture->origin;
}

/* A stream that waits for an event of a capture joins it; one in a capture must wait for nothing outside. */
cudaError_t phantom_capture_wait(phantom_stream *stream, cudaEvent_t event, unsigned int flags) {
    if (!atomic_load(&captures_running) || !event->stream) return cudaSuccess;
    pthread_mutex_lock(&lock);
    phantom_graph *own = atomic_load(&stream->capture), *of_event = find_running(event->capture);
    cudaError_t error = cudaSuccess;
    if (own && own != of_event && !(flags & cudaEventWaitExternal))
        error = invalidate(own, of_event ? cudaErrorStreamCaptureMerge : cudaErrorStreamCaptureIsolation);
    else if (of_event) join(stream, of_event, event);
    pthread_mutex_unlock(&lock);
    return error;
}

cudaError_t phantom_capture_forbids_sync(phantom_stream *stream) {
    if (!atomic_load(&captures_running)) return cudaSuccess;
    phantom_graph *capture = atomic_load(&stream->capture);
    return capture ? invalidate(capture, cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

cudaError_t phantom_capture_forbids_event(cudaEvent_t event) {
    if (!atomic_load(&captures_running) || !event->capture) return cudaSuccess;
    pthread_mutex_lock(&lock);
    phantom_graph *capture = find_running(event->capture);
    cudaError_t error = capture ? invalidate(capture, cudaErrorCapturedEvent) : cudaSuccess;
    pthread_mutex_unlock(&lock);
    return error;
}

cudaError_t phantom_capture_forbids_device(void) {
    if (!atomic_load(&captures_running)) return cudaSuccess;
    cudaError_t error = cudaSuccess;
    pthread_mutex_lock(&lock);
    for (phantom_graph *capture = running; capture; capture = capture->next_running)
        if (capture->origin->device == phantom_current_device())
            error = invalidate(capture, cudaErrorStreamCaptureUnsupported);
    pthread_mutex_unlock(&lock);
    return error;
}

/* cudaMalloc, cudaEventQuery and the like are "potentially unsafe": cudaThreadExchangeStreamCaptureMode has the rules. */
cudaError_t phantom_capture_forbids_unsafe_call(void) {
    if (!atomic_load(&captures_running) || thread_mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
    cudaError_t error = cudaSuccess;
    pthread_mutex_lock(&lock);
    for (phantom_graph *capture = running; capture; capture = capture->next_running) {
        bool own = pthread_equal(capture->thread, pthread_self()) && capture->mode != cudaStreamCaptureModeRelaxed;
        bool of_all = thread_mode == cudaStreamCaptureModeGlobal && capture->mode == cudaStreamCaptureModeGlobal;
        if (own || of_all) error = invalidate(capture, cudaErrorStreamCaptureUnsupported);
    }
    pthread_mutex_unlock(&lock);
    return error;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode) {
    enum cudaStreamCaptureMode asked = *mode;
    *mode = thread_mode;
    thread_mode = asked;
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, enum cudaStreamCaptureMode mode) {
    if (!handle || handle == cudaStreamLegacy) return phantom_error(cudaErrorStreamCaptureUnsupported);
    phantom_stream *stream = phantom_stream_of(handle);
    if (atomic_load(&stream->capture)) return phantom_error(cudaErrorIllegalState);
    phantom_graph *graph = calloc(1, sizeof *graph);
    if (!graph) return phantom_error(cudaErrorMemoryAllocation);
    graph->id = atomic_fetch_add(&next_capture, 1);
    graph->holders = 1;
    graph->origin = stream;
    graph->mode = mode;
    graph->thread = pthread_self();
    pthread_mutex_lock(&lock);
    graph->next_running = running;
    running = graph;
    pthread_mutex_unlock(&lock);
    atomic_store(&stream->capture, graph);
    atomic_fetch_add(&captures_running, 1);
    return cudaSuccess;
}

static void release(phantom_graph *graph) {
    if (atomic_fetch_sub(&graph->holders, 1) == 1) free(graph);
}

/* Takes the capture from all streams that are in it; true where one of them was forked and not joined again. */
static bool leave_capture(phantom_graph *graph) {
    bool unjoined = phantom_end_capture_of_streams(graph);
    pthread_mutex_lock(&lock);
    phantom_graph **link = &running;
    while (*link != graph) link = &(*link)->next_running;
    *link = graph->next_running;
    pthread_mutex_unlock(&lock);
    atomic_fetch_sub(&captures_running, 1);
    return unjoined;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *graph) {
    *graph = NULL;
    phantom_stream *stream = phantom_stream_of(handle);
    phantom_graph *captured = atomic_load(&stream->capture);
    if (!captured) return phantom_error(cudaErrorIllegalState);
    if (stream != captured->origin) return invalidate(captured, cudaErrorStreamCaptureUnmatched);
    bool unjoined = leave_capture(captured), invalid = captured->invalid;
    if (!invalid && !unjoined) return *graph = captured, cudaSuccess;
    release(captured);
    return phantom_error(invalid ? cudaErrorStreamCaptureInvalidated : cudaErrorStreamCaptureUnjoined);
}

static cudaError_t capture_status(cudaStream_t stream, enum cudaStreamCaptureStatus *status, unsigned long long *id,
                                  cudaGraph_t *graph) {
    phantom_graph *capture = NULL;
    if (atomic_load(&captures_running)) capture = atomic_load(&phantom_stream_of(stream)->capture);
    *status = !capture           ? cudaStreamCaptureStatusNone
              : capture->invalid ? cudaStreamCaptureStatusInvalidated
                                 : cudaStreamCaptureStatusActive;
    if (id) *id = capture ? capture->id : 0;
    if (graph) *graph = capture;
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
    return capture_status(stream, status, NULL, NULL);
}

#if CUDART_VERSION >= 13000
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, enum cudaStreamCaptureStatus *status,
                                     unsigned long long *id, cudaGraph_t *graph, const cudaGraphNode_t **dependencies,
                                     const cudaGraphEdgeData **edges, size_t *count) {
    if (edges) *edges = NULL;
#else
cudaError_t cudaStreamGetCaptureInfo_v2(cudaStream_t stream, enum cudaStreamCaptureStatus *status,
                                        unsigned long long *id, cudaGraph_t *graph,
                                        const cudaGraphNode_t **dependencies, size_t *count) {
#endif
    if (dependencies) *dependencies = NULL;
    if (count) *count = 0;
    return capture_status(stream, status, id, graph);
}

/* ---- graphs ---- */

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count) {
    size_t there = atomic_load(&graph->nodes);
    for (size_t i = 0; nodes && i < *count; i++) nodes[i] = i < there ? (cudaGraphNode_t)(i + 1) : NULL;
    if (!nodes || *count > there) *count = there;
    return cudaSuccess;
}

cudaError_t cudaGraphNodeGetDependencies(cudaGraphNode_t node, cudaGraphNode_t *dependencies,
#if CUDART_VERSION >= 13000
                                         cudaGraphEdgeData *edges,
#endif
                                         size_t *count) {
    (void)node, (void)dependencies;
#if CUDART_VERSION >= 13000
    (void)edges;
#endif
    *count = 0;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags) {
    (void)flags;
    atomic_fetch_add(&graph->holders, 1);
    *executable = (cudaGraphExec_t)graph;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags) {
    return cudaGraphInstantiate(executable, graph, flags);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
    (void)executable;
    phantom_launched(stream);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    release(graph);
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    release((phantom_graph *)executable);
    return cudaSuccess;
}

/* A user object is something that the graph must destroy when it dies; PyTorch keeps its random state so. */
struct CUuserObject_st {
    cudaHostFn_t destroy;
    void *data;
    _Atomic unsigned holders;
};

cudaError_t cudaUserObjectCreate(cudaUserObject_t *object, void *data, cudaHostFn_t destroy, unsigned int references,
                                 unsigned int flags) {
    (void)flags;
    *object = malloc(sizeof **object);
    if (!*object) return phantom_error(cudaErrorMemoryAllocation);
    **object = (struct CUuserObject_st){destroy, data, references};
    return cudaSuccess;
}

cudaError_t cudaUserObjectRelease(cudaUserObject_t object, unsigned int references) {
    if (atomic_fetch_sub(&object->holders, references) == references) {
        object->destroy(object->data);
        free(object);
    }
    return cudaSuccess;
}

/* The graph's share of the object is never let go: a few bytes a graph, for as long as the process lives. */
cudaError_t cudaGraphRetainUserObject(cudaGraph_t graph, cudaUserObject_t object, unsigned int references,
                                      unsigned int flags) {
    (void)graph;
    if (!(flags & cudaGraphUserObjectMove)) atomic_fetch_add(&object->holders, references);
    return cudaSuccess;
}
