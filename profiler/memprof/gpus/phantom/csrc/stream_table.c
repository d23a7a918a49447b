/* The streams of this process, and how far the work of each is done.
 *
 * The values of a copy are there at once, and kernels do not run. A program can only see whether work is done, and
 * the caching allocator asks: a block that another stream used is free once an event recorded after its use is done.
 * A phantom answers as a GPU that is always busy would: work is done when the host has waited for it, or when
 * 1024 later pieces of work have been requested, since a real launch waits if its queue is full. Each answer
 * "not done" counts as one such piece, so that a loop that asks until the work is done comes to an end.
 */
#include "stream_table.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "device.h"
#include "graph_nodes.h"
#include "pending.h"

/* Assumed: launches block at about 1024 pending ones on current drivers. NVIDIA documents only that a limit exists.
 * MEMPROF_PHANTOM_QUEUE is another number; with 0 all work is done at once, as on an idle GPU. */
enum { QUEUE_DEPTH = 1024 };

static uint64_t queue_depth(void) {
    static _Atomic int64_t chosen = -1;
    int64_t depth = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (depth >= 0) return (uint64_t)depth;
    const char *text = getenv("MEMPROF_PHANTOM_QUEUE");
    depth = text && *text ? strtoll(text, NULL, 10) : QUEUE_DEPTH;
    if (depth < 0) depth = QUEUE_DEPTH;
    atomic_store_explicit(&chosen, depth, memory_order_relaxed);
    return (uint64_t)depth;
}

typedef struct wait_edge {
    phantom_stream *stream;
    uint64_t number, made_at;
    struct wait_edge *next;
} wait_edge;

/* The handles NULL, cudaStreamLegacy and cudaStreamPerThread name a stream of the current device. */
enum { FIXED_HANDLES = 3 };

static phantom_stream defaults[PHANTOM_MAX_DEVICES][FIXED_HANDLES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static phantom_stream *streams; /* those that the program created */
static _Atomic uint64_t issued;

phantom_stream *phantom_stream_of(cudaStream_t handle) {
    int device = phantom_current_device();
    if ((uintptr_t)handle >= FIXED_HANDLES) return handle;
    phantom_stream *stream = &defaults[device][(uintptr_t)handle];
    stream->device = device;
    return stream;
}

phantom_stream *phantom_add_stream(int device, int priority) {
    phantom_stream *made = calloc(1, sizeof *made);
    if (!made) return NULL;
    made->device = device;
    made->priority = priority;
    pthread_mutex_lock(&lock);
    made->next = streams;
    streams = made;
    pthread_mutex_unlock(&lock);
    return made;
}

void phantom_request_work(phantom_stream *stream) {
    atomic_store_explicit(&stream->requested, 1 + atomic_fetch_add(&issued, 1), memory_order_relaxed);
}

bool phantom_is_done(const phantom_stream *stream, uint64_t number) {
    return number <= atomic_load(&stream->waited) || atomic_load(&issued) - number >= queue_depth();
}

bool phantom_query_work(const phantom_stream *stream, uint64_t number) {
    if (phantom_is_done(stream, number)) return true;
    atomic_fetch_add(&issued, 1);
    return false;
}

/* Waiting for a stream is waiting for what it waited for. Call with the lock held. */
static void mark_waited(phantom_stream *stream, uint64_t number) {
    if (number <= atomic_load(&stream->waited)) return;
    atomic_store(&stream->waited, number);
    for (wait_edge *edge = stream->edges; edge; edge = edge->next)
        if (edge->made_at <= number) mark_waited(edge->stream, edge->number);
}

void phantom_wait_for_work(phantom_stream *stream, uint64_t number) {
    pthread_mutex_lock(&lock);
    mark_waited(stream, number);
    pthread_mutex_unlock(&lock);
    phantom_settle_waited();
}

void phantom_wait_for_stream(phantom_stream *stream) { phantom_wait_for_work(stream, atomic_load(&issued)); }

void phantom_wait_for_device(int device) {
    uint64_t now = atomic_load(&issued);
    for (int i = 0; i < FIXED_HANDLES; i++) phantom_wait_for_work(&defaults[device][i], now);
    pthread_mutex_lock(&lock);
    for (phantom_stream *stream = streams; stream; stream = stream->next)
        if (stream->device == device) mark_waited(stream, now);
    pthread_mutex_unlock(&lock);
    phantom_settle_waited();
}

void phantom_add_wait(phantom_stream *stream, phantom_stream *source, uint64_t number) {
    pthread_mutex_lock(&lock);
    wait_edge *edge = stream->edges;
    while (edge && edge->stream != source) edge = edge->next;
    if (!edge && (edge = calloc(1, sizeof *edge))) {
        edge->next = stream->edges;
        stream->edges = edge;
    }
    /* The newest replaces the older ones: what they covered is covered by it, or is done later than it could be. */
    if (edge) edge->stream = source, edge->number = number, edge->made_at = atomic_load(&issued);
    pthread_mutex_unlock(&lock);
}

bool phantom_has_waited(phantom_stream *waits, phantom_stream *source, uint64_t number) {
    pthread_mutex_lock(&lock);
    wait_edge *edge = waits->edges;
    while (edge && (edge->stream != source || edge->number < number)) edge = edge->next;
    pthread_mutex_unlock(&lock);
    return edge;
}

/* A free needs no join, but what it waits for does: PyTorch captures some frees in a stream of its own. */
static bool is_joined(const phantom_nodes *last_nodes) {
    for (size_t i = 0; i < last_nodes->count; i++) {
        const struct CUgraphNode_st *node = last_nodes->nodes[i];
        if (!node->seen && !(node->frees && is_joined(&node->dependencies))) return false;
    }
    return true;
}

bool phantom_end_capture_of_streams(cudaGraph_t graph) {
    bool unjoined = false;
    pthread_mutex_lock(&lock);
    for (phantom_stream *stream = streams; stream; stream = stream->next) {
        if (atomic_load(&stream->capture) != graph) continue;
        unjoined |= !is_joined(&stream->last_nodes);
        phantom_clear_nodes(&stream->last_nodes);
        atomic_store(&stream->capture, NULL);
    }
    pthread_mutex_unlock(&lock);
    return unjoined;
}
