/* The streams of this process, and how far the work of each is done. */
#ifndef MEMPROF_STREAM_TABLE_H
#define MEMPROF_STREAM_TABLE_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>

#include "graph_nodes.h"

/* A stream. It is kept after cudaStreamDestroy, since events refer to it. */
typedef struct CUstream_st {
    int device, priority;
    _Atomic uint64_t requested;    /* number of the last work that was requested of it */
    _Atomic uint64_t waited;       /* the host has waited for all its work up to this number */
    _Atomic(cudaGraph_t) capture;  /* NULL: it is not being captured */
    phantom_nodes last_nodes;      /* in the capture: what its next node depends on */
    struct wait_edge *edges;       /* the streams that it waited for */
    struct CUstream_st *next;
} phantom_stream;

struct CUevent_st {
    phantom_stream *stream;     /* NULL: never recorded */
    uint64_t number;            /* done when the work of its stream up to this number is done */
    unsigned long long capture; /* the id of the capture that it was recorded in, or 0 */
    phantom_nodes nodes;        /* the last ones of its stream in that capture */
};

phantom_stream *phantom_stream_of(cudaStream_t handle); /* of the current device, if it is a default stream */
phantom_stream *phantom_add_stream(int device, int priority); /* NULL: out of host memory */
void phantom_request_work(phantom_stream *stream);
bool phantom_is_done(const phantom_stream *stream, uint64_t number);
bool phantom_query_work(const phantom_stream *stream, uint64_t number); /* as above; counts if it is not done */
void phantom_wait_for_work(phantom_stream *stream, uint64_t number);
void phantom_wait_for_stream(phantom_stream *stream); /* for all its work so far */
void phantom_wait_for_device(int device);
void phantom_add_wait(phantom_stream *stream, phantom_stream *source, uint64_t number);
/* Whether `waits` is such that work after it comes after the work of `source` up to `number`. */
bool phantom_has_waited(phantom_stream *waits, phantom_stream *source, uint64_t number);
/* True: one was forked and not joined again: a node of it is not marked as seen. */
bool phantom_end_capture_of_streams(cudaGraph_t graph);

#endif
