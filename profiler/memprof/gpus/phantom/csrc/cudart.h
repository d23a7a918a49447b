/* What the parts of the CUDA runtime's stand-in share. */
#ifndef MEMPROF_CUDART_H
#define MEMPROF_CUDART_H

#include <cuda_runtime_api.h>
#include <pthread.h>

#include "phantom.h"

/* Remembers `error` for cudaGetLastError and returns it. */
cudaError_t phantom_error(cudaError_t error);

/* A graph, and the capture that makes it. */
typedef struct CUgraph_st {
    unsigned long long id;
    _Atomic size_t nodes;
    _Atomic int holders; /* the user, executable graphs, and the capture itself */
    cudaStream_t origin;
    enum cudaStreamCaptureMode mode;
    pthread_t thread;
    bool invalid;
    struct CUgraph_st *next_running;
} phantom_graph;

/* A stream. It outlives its destruction, since events name it. */
typedef struct CUstream_st {
    int device, priority;
    _Atomic uint64_t asked;          /* number of the last work that it was asked for */
    _Atomic uint64_t waited;         /* the host has waited for all its work up to this number */
    _Atomic(phantom_graph *) capture; /* NULL: it is not being captured */
    size_t last_node;                /* of its own in the capture */
    bool unjoined;                   /* it has nodes that the stream which began the capture did not wait for yet */
    struct wait_edge *edges;         /* the streams that it waited for */
    struct CUstream_st *next;
} phantom_stream;

struct CUevent_st {
    phantom_stream *stream;     /* NULL: never recorded */
    uint64_t number;            /* done when the work of its stream up to this number is done */
    unsigned long long capture; /* the id of the capture that it was recorded in, or 0 */
    size_t node;                /* the last of its stream's in that capture */
};

/* cudart_stream.c */
phantom_stream *phantom_stream_of(cudaStream_t handle); /* of the current device, where it is a default stream */
void phantom_wait_for_device(int device);
bool phantom_end_capture_of_streams(phantom_graph *graph); /* true where one was forked and not joined again */

/* cudart_graph.c */
bool phantom_capture_add(phantom_stream *stream); /* true where the work is in a graph now, and not in the stream */
void phantom_capture_record(phantom_stream *stream, cudaEvent_t event);

/* Each returns cudaErrorStreamCaptureUnsupported and the like where a capture forbids the call, which
 * also invalidates the capture. */
cudaError_t phantom_capture_wait(phantom_stream *stream, cudaEvent_t event, unsigned int flags);
cudaError_t phantom_capture_forbids_sync(phantom_stream *stream);
cudaError_t phantom_capture_forbids_event(cudaEvent_t event);
cudaError_t phantom_capture_forbids_device(void);
cudaError_t phantom_capture_forbids_unsafe_call(void);

#endif
