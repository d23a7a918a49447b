/* The captures that are running, and what each forbids.
 *
 * Capture is a state of a stream; an event that was recorded in it passes the state on to the streams that wait for
 * it. What a real capture forbids is forbidden here too, since code that runs on a phantom must not fail on a GPU:
 * the rules are those of the CUDA Programming Guide, "CUDA Graphs", prohibited and unhandled operations.
 */
#include "capture_state.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "cudart.h"
#include "device.h"
#include "graph_nodes.h"
#include "stream_table.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static phantom_graph *running; /* the captures under way */
static _Atomic int captures_running;
static _Atomic unsigned long long next_capture = 1;
static _Thread_local enum cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;

/* ---- beginning and ending ---- */

phantom_graph *phantom_begin_capture(phantom_stream *stream, enum cudaStreamCaptureMode mode) {
    phantom_graph *graph = calloc(1, sizeof *graph);
    if (!graph) return NULL;
    graph->id = atomic_fetch_add(&next_capture, 1);
    graph->holders = 1;
    graph->origin = stream;
    graph->mode = mode;
    graph->thread = pthread_self();
    pthread_mutex_lock(&lock);
    graph->next_running = running;
    running = graph;
    pthread_mutex_unlock(&lock);
    phantom_clear_nodes(&stream->last_nodes);
    atomic_store(&stream->capture, graph);
    atomic_fetch_add(&captures_running, 1);
    return graph;
}

bool phantom_end_capture(phantom_graph *graph) {
    phantom_mark_ancestors(&graph->origin->last_nodes);
    bool unjoined = phantom_end_capture_of_streams(graph);
    phantom_clear_nodes(&graph->origin->last_nodes);
    atomic_store(&graph->origin->capture, NULL); /* which may be a default stream */
    pthread_mutex_lock(&lock);
    phantom_graph **link = &running;
    while (*link != graph) link = &(*link)->next_running;
    *link = graph->next_running;
    pthread_mutex_unlock(&lock);
    atomic_fetch_sub(&captures_running, 1);
    return unjoined;
}

phantom_graph *phantom_capture_of(phantom_stream *stream) {
    return atomic_load(&captures_running) ? atomic_load(&stream->capture) : NULL;
}

cudaError_t phantom_invalidate_capture(phantom_graph *capture, cudaError_t error) {
    if (capture) capture->invalid = true;
    return phantom_error(error);
}

enum cudaStreamCaptureMode phantom_exchange_capture_mode(enum cudaStreamCaptureMode mode) {
    enum cudaStreamCaptureMode before = thread_mode;
    thread_mode = mode;
    return before;
}

void phantom_release_graph(phantom_graph *graph) {
    if (atomic_fetch_sub(&graph->holders, 1) != 1) return;
    phantom_free_nodes(&graph->nodes);
    free(graph);
}

/* ---- nodes and events ---- */

/* Call with the lock held. */
static phantom_graph *find_running(unsigned long long id) {
    phantom_graph *graph = running;
    while (graph && graph->id != id) graph = graph->next_running;
    return id ? graph : NULL;
}

static bool add_node(phantom_stream *stream, bool frees) {
    phantom_graph *capture = phantom_capture_of(stream);
    if (!capture) return false;
    pthread_mutex_lock(&lock);
    phantom_nodes *last = &stream->last_nodes;
    cudaGraphNode_t node = phantom_make_node(&capture->nodes, last->nodes, last->count);
    last->count = 0;
    if (node) node->frees = frees, phantom_insert_node(last, node);
    pthread_mutex_unlock(&lock);
    return true;
}

bool phantom_capture_add(phantom_stream *stream) { return add_node(stream, false); }

bool phantom_capture_add_free(phantom_stream *stream) { return add_node(stream, true); }

void phantom_capture_depend(phantom_stream *stream, cudaGraphNode_t const *nodes, size_t count, bool replaces) {
    pthread_mutex_lock(&lock);
    if (replaces) stream->last_nodes.count = 0;
    for (size_t i = 0; i < count; i++) phantom_insert_node(&stream->last_nodes, nodes[i]);
    pthread_mutex_unlock(&lock);
}

void phantom_capture_record(phantom_stream *stream, cudaEvent_t event) {
    phantom_graph *capture = phantom_capture_of(stream);
    event->capture = capture ? capture->id : 0;
    event->nodes.count = 0;
    if (capture) phantom_insert_nodes(&event->nodes, stream->last_nodes.nodes, stream->last_nodes.count);
}

/* Call with the lock held. */
static void join(phantom_stream *stream, phantom_graph *capture, cudaEvent_t event) {
    if (atomic_exchange(&stream->capture, capture) != capture) stream->last_nodes.count = 0;
    for (size_t i = 0; i < event->nodes.count; i++) phantom_insert_node(&stream->last_nodes, event->nodes.nodes[i]);
}

/* A stream that waits for an event of a capture joins it; one in a capture must wait for nothing outside. */
cudaError_t phantom_capture_wait(phantom_stream *stream, cudaEvent_t event, unsigned int flags) {
    if (!atomic_load(&captures_running) || !event->stream) return cudaSuccess;
    pthread_mutex_lock(&lock);
    phantom_graph *own = atomic_load(&stream->capture), *of_event = find_running(event->capture);
    cudaError_t error = cudaSuccess;
    if (own && own != of_event && !(flags & cudaEventWaitExternal))
        error = phantom_invalidate_capture(own, of_event ? cudaErrorStreamCaptureMerge
                                                         : cudaErrorStreamCaptureIsolation);
    else if (of_event) join(stream, of_event, event);
    pthread_mutex_unlock(&lock);
    return error;
}

/* ---- what a capture forbids ---- */

cudaError_t phantom_capture_forbids_sync(phantom_stream *stream) {
    phantom_graph *capture = phantom_capture_of(stream);
    return capture ? phantom_invalidate_capture(capture, cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

cudaError_t phantom_capture_forbids_event(cudaEvent_t event) {
    if (!atomic_load(&captures_running) || !event->capture) return cudaSuccess;
    pthread_mutex_lock(&lock);
    phantom_graph *capture = find_running(event->capture);
    cudaError_t error = capture ? phantom_invalidate_capture(capture, cudaErrorCapturedEvent) : cudaSuccess;
    pthread_mutex_unlock(&lock);
    return error;
}

cudaError_t phantom_capture_forbids_device(void) {
    if (!atomic_load(&captures_running)) return cudaSuccess;
    cudaError_t error = cudaSuccess;
    pthread_mutex_lock(&lock);
    for (phantom_graph *capture = running; capture; capture = capture->next_running)
        if (capture->origin->device == phantom_current_device())
            error = phantom_invalidate_capture(capture, cudaErrorStreamCaptureUnsupported);
    pthread_mutex_unlock(&lock);
    return error;
}

/* cudaMalloc, cudaEventQuery and others are "potentially unsafe": the rules are in the reference of
 * cudaThreadExchangeStreamCaptureMode. */
cudaError_t phantom_capture_forbids_unsafe_call(void) {
    if (!atomic_load(&captures_running) || thread_mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
    cudaError_t error = cudaSuccess;
    pthread_mutex_lock(&lock);
    for (phantom_graph *capture = running; capture; capture = capture->next_running) {
        bool own = pthread_equal(capture->thread, pthread_self()) && capture->mode != cudaStreamCaptureModeRelaxed;
        bool of_all = thread_mode == cudaStreamCaptureModeGlobal && capture->mode == cudaStreamCaptureModeGlobal;
        if (own || of_all) error = phantom_invalidate_capture(capture, cudaErrorStreamCaptureUnsupported);
    }
    pthread_mutex_unlock(&lock);
    return error;
}
