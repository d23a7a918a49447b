/* The captures that are running, and what each forbids. */
#ifndef MEMPROF_CAPTURE_STATE_H
#define MEMPROF_CAPTURE_STATE_H

#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "graph_nodes.h"
#include "stream_table.h"

/* A graph, and the capture that makes it. */
typedef struct CUgraph_st {
    unsigned long long id;
    phantom_nodes nodes;
    _Atomic int holders; /* the user, executable graphs, and the capture itself */
    cudaStream_t origin; /* the stream that began the capture */
    enum cudaStreamCaptureMode mode;
    pthread_t thread;
    bool invalid;
    struct CUgraph_st *next_running;
} phantom_graph;

phantom_graph *phantom_begin_capture(phantom_stream *stream, enum cudaStreamCaptureMode mode); /* NULL: out of memory */
bool phantom_end_capture(phantom_graph *graph); /* true: a stream was forked and not joined again */
phantom_graph *phantom_capture_of(phantom_stream *stream); /* NULL: it is not being captured */
cudaError_t phantom_invalidate_capture(phantom_graph *capture, cudaError_t error); /* returns `error` */
enum cudaStreamCaptureMode phantom_exchange_capture_mode(enum cudaStreamCaptureMode mode); /* of the calling thread */
void phantom_release_graph(phantom_graph *graph);

bool phantom_capture_add(phantom_stream *stream); /* true: the work is now in a graph, and not in the stream */
bool phantom_capture_add_free(phantom_stream *stream); /* likewise, for a free of memory */
/* Replaces what the next node of a capturing stream depends on, or adds to it. */
void phantom_capture_depend(phantom_stream *stream, cudaGraphNode_t const *nodes, size_t count, bool replaces);
void phantom_capture_record(phantom_stream *stream, cudaEvent_t event);

/* Each returns cudaErrorStreamCaptureUnsupported or a similar error if a capture forbids the call, which also
 * invalidates the capture. */
cudaError_t phantom_capture_wait(phantom_stream *stream, cudaEvent_t event, unsigned int flags);
cudaError_t phantom_capture_forbids_sync(phantom_stream *stream);
cudaError_t phantom_capture_forbids_event(cudaEvent_t event);
cudaError_t phantom_capture_forbids_device(void);
cudaError_t phantom_capture_forbids_unsafe_call(void);

#endif
