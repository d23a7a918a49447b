/* The CUDA runtime: streams, events, and the capture of graphs.
 *
 * Work is done the moment it is asked for, so every stream is always idle and every event has always happened.
 * Capture is a state of a stream; an event that was recorded in it carries the state to the streams that wait.
 */
#include "cudart.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct CUgraph_st {
    unsigned long long id;
    _Atomic size_t nodes;
    _Atomic int holders; /* the user, executable graphs, and the capture itself */
};

typedef struct stream_state {
    cudaStream_t handle; /* of a stream of the user's, or one of CUDA's three fixed handles */
    int priority;
    struct CUgraph_st *capture; /* NULL: not capturing */
    struct stream_state *next;
} stream_state;

struct CUevent_st {
    struct CUgraph_st *capture;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static stream_state *streams;
static _Atomic int captures_running;
static _Atomic unsigned long long next_capture = 1;

/* ---- streams ---- */

/* The state of a stream; made at first sight, since the default streams are never created. Call with the lock held. */
static stream_state *state_of(cudaStream_t stream) {
    for (stream_state *state = streams; state; state = state->next)
        if (state->handle == stream) return state;
    stream_state *made = calloc(1, sizeof *made);
    if (!made) abort();
    made->handle = stream;
    made->next = streams;
    streams = made;
    return made;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned int flags, int priority) {
    (void)flags;
    phantom_touch(phantom_current_device());
    char *handle = malloc(16);
    if (!handle) return phantom_error(cudaErrorMemoryAllocation);
    pthread_mutex_lock(&lock);
    stream_state *state = state_of((cudaStream_t)handle);
    state->priority = priority;
    *stream = state->handle;
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int flags) {
    return cudaStreamCreateWithPriority(stream, flags, 0);
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) { return cudaStreamCreateWithPriority(stream, 0, 0); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    pthread_mutex_lock(&lock);
    for (stream_state **link = &streams; *link; link = &(*link)->next) {
        stream_state *state = *link;
        if (state->handle != stream) continue;
        *link = state->next;
        free(state->handle);
        free(state);
        break;
    }
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

cudaError_t cudaStreamGetPriority(cudaStream_t stream, int *priority) {
    pthread_mutex_lock(&lock);
    *priority = state_of(stream)->priority;
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) { return (void)stream, cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return (void)stream, cudaSuccess; }

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data) {
    phantom_launched(stream);
    function(data);
    return cudaSuccess;
}

cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t callback, void *data, unsigned int flags) {
    (void)flags;
    callback(stream, cudaSuccess, data);
    return cudaSuccess;
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

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned int flags) {
    (void)flags;
    if (!atomic_load(&captures_running)) {
        event->capture = NULL;
        return cudaSuccess;
    }
    pthread_mutex_lock(&lock);
    event->capture = state_of(stream)->capture;
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    return cudaEventRecordWithFlags(event, stream, 0);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags) {
    (void)flags;
    if (!atomic_load(&captures_running) || !event->capture) return cudaSuccess;
    pthread_mutex_lock(&lock);
    state_of(stream)->capture = event->capture;
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) { return (void)event, cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t event) { return (void)event, cudaSuccess; }

/* No time passes on a phantom. A constant makes cuDNN's benchmark mode take the plan that its heuristics rank first;
 * it is not 0, since programs divide by it. */
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
    (void)start, (void)end;
    *milliseconds = 1e-3f;
    return cudaSuccess;
}

/* ---- capture ---- */

void phantom_launched(const void *stream) {
    if (!atomic_load(&captures_running)) return;
    pthread_mutex_lock(&lock);
    struct CUgraph_st *capture = state_of((cudaStream_t)(uintptr_t)stream)->capture;
    if (capture) atomic_fetch_add(&capture->nodes, 1);
    pthread_mutex_unlock(&lock);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
    (void)mode;
    if (!stream) return phantom_error(cudaErrorStreamCaptureUnsupported); /* the legacy stream cannot be captured */
    struct CUgraph_st *graph = calloc(1, sizeof *graph);
    if (!graph) return phantom_error(cudaErrorMemoryAllocation);
    graph->id = atomic_fetch_add(&next_capture, 1);
    graph->holders = 1;
    pthread_mutex_lock(&lock);
    stream_state *state = state_of(stream);
    bool busy = state->capture != NULL;
    if (!busy) {
        state->capture = graph;
        atomic_fetch_add(&captures_running, 1);
    }
    pthread_mutex_unlock(&lock);
    if (!busy) return cudaSuccess;
    free(graph);
    return phantom_error(cudaErrorIllegalState);
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    pthread_mutex_lock(&lock);
    struct CUgraph_st *captured = state_of(stream)->capture;
    for (stream_state *state = streams; state && captured; state = state->next)
        if (state->capture == captured) state->capture = NULL; /* streams that were forked into the capture */
    if (captured) atomic_fetch_sub(&captures_running, 1);
    pthread_mutex_unlock(&lock);
    *graph = captured;
    return captured ? cudaSuccess : phantom_error(cudaErrorIllegalState);
}

static cudaError_t capture_status(cudaStream_t stream, enum cudaStreamCaptureStatus *status, unsigned long long *id,
                                  cudaGraph_t *graph) {
    struct CUgraph_st *capture = NULL;
    if (atomic_load(&captures_running)) {
        pthread_mutex_lock(&lock);
        capture = state_of(stream)->capture;
        pthread_mutex_unlock(&lock);
    }
    *status = capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
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

cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode) {
    static _Thread_local enum cudaStreamCaptureMode current = cudaStreamCaptureModeGlobal;
    enum cudaStreamCaptureMode asked = *mode;
    *mode = current;
    current = asked;
    return cudaSuccess;
}

/* ---- graphs: counted, kept, and never run ---- */

static void release(struct CUgraph_st *graph) {
    if (atomic_fetch_sub(&graph->holders, 1) == 1) free(graph);
}

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
    release((struct CUgraph_st *)executable);
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
