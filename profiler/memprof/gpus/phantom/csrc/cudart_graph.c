/* The CUDA runtime: the capture of graphs, and graphs. A graph's nodes are counted and kept, and never run. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "capture_state.h"
#include "cudart.h"
#include "cudart_stream.h"
#include "graph_nodes.h"
#include "refuse.h"
#include "stream_table.h"
#include "values.h"

/* ---- capture ---- */

cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode) {
    *mode = phantom_exchange_capture_mode(*mode);
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, enum cudaStreamCaptureMode mode) {
    if (!handle || handle == cudaStreamLegacy) return phantom_error(cudaErrorStreamCaptureUnsupported);
    phantom_stream *stream = phantom_stream_of(handle);
    if (atomic_load(&stream->capture)) return phantom_error(cudaErrorIllegalState);
    return phantom_begin_capture(stream, mode) ? cudaSuccess : phantom_error(cudaErrorMemoryAllocation);
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *graph) {
    *graph = NULL;
    phantom_stream *stream = phantom_stream_of(handle);
    phantom_graph *captured = atomic_load(&stream->capture);
    if (!captured) return phantom_error(cudaErrorIllegalState);
    if (stream != captured->origin) return phantom_invalidate_capture(captured, cudaErrorStreamCaptureUnmatched);
    bool unjoined = phantom_end_capture(captured), invalid = captured->invalid;
    if (!invalid && !unjoined) return *graph = captured, cudaSuccess;
    phantom_release_graph(captured);
    return phantom_error(invalid ? cudaErrorStreamCaptureInvalidated : cudaErrorStreamCaptureUnjoined);
}

static cudaError_t capture_status(cudaStream_t stream, enum cudaStreamCaptureStatus *status, unsigned long long *id,
                                  cudaGraph_t *graph) {
    phantom_graph *capture = phantom_capture_of(phantom_stream_of(stream));
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
    phantom_stream *own = phantom_stream_of(stream);
    bool captured = phantom_capture_of(own);
    if (dependencies) *dependencies = captured ? own->last_nodes.nodes : NULL;
    if (count) *count = captured ? own->last_nodes.count : 0;
    return capture_status(stream, status, id, graph);
}

/* Sets what the next node of a stream depends on, or adds to it. */
cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t stream, cudaGraphNode_t *nodes,
#if CUDART_VERSION >= 13000
                                                const cudaGraphEdgeData *edges,
#endif
                                                size_t count, unsigned int flags) {
#if CUDART_VERSION >= 13000
    (void)edges;
#endif
    if (!phantom_capture_of(phantom_stream_of(stream))) return phantom_error(cudaErrorIllegalState);
    phantom_capture_depend(phantom_stream_of(stream), nodes, count, flags == cudaStreamSetCaptureDependencies);
    return cudaSuccess;
}

/* ---- graphs ---- */

static cudaError_t list_nodes(const phantom_nodes *found, cudaGraphNode_t *nodes, size_t *count) {
    for (size_t i = 0; nodes && i < *count; i++) nodes[i] = i < found->count ? found->nodes[i] : NULL;
    if (!nodes || *count > found->count) *count = found->count;
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count) {
    return list_nodes(&graph->nodes, nodes, count);
}

cudaError_t cudaGraphNodeGetDependencies(cudaGraphNode_t node, cudaGraphNode_t *dependencies,
#if CUDART_VERSION >= 13000
                                         cudaGraphEdgeData *edges,
#endif
                                         size_t *count) {
#if CUDART_VERSION >= 13000
    if (edges) memset(edges, 0, *count * sizeof *edges);
#endif
    return list_nodes(&node->dependencies, dependencies, count);
}

static cudaError_t add_empty_node(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *dependencies,
                                  size_t count) {
    *node = phantom_make_node(&graph->nodes, dependencies, count);
    return *node ? cudaSuccess : phantom_error(cudaErrorMemoryAllocation);
}

#if CUDART_VERSION >= 13000
/* Only empty nodes: PyTorch marks the end of a block's use with them. */
cudaError_t cudaGraphAddNode(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *dependencies,
                             const cudaGraphEdgeData *edges, size_t count, struct cudaGraphNodeParams *parameters) {
    (void)edges;
    if (parameters->type == cudaGraphNodeTypeEmpty) return add_empty_node(node, graph, dependencies, count);
    phantom_refuse("cudaGraphAddNode");
    return phantom_error(cudaErrorNotSupported);
}
#else
cudaError_t cudaGraphAddNode(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *dependencies,
                             size_t count, struct cudaGraphNodeParams *parameters) {
    if (parameters->type == cudaGraphNodeTypeEmpty) return add_empty_node(node, graph, dependencies, count);
    phantom_refuse("cudaGraphAddNode");
    return phantom_error(cudaErrorNotSupported);
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, enum cudaGraphNodeType *type) {
    *type = node->frees ? cudaGraphNodeTypeMemFree : cudaGraphNodeTypeKernel; /* the others are not told apart */
    return cudaSuccess;
}

cudaError_t cudaGraphAddEmptyNode(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *dependencies,
                                  size_t count) {
    return add_empty_node(node, graph, dependencies, count);
}
#endif

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
    phantom_forget_all_values(); /* what its kernels write is not known */
    phantom_launched(stream);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    phantom_release_graph(graph);
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    phantom_release_graph((phantom_graph *)executable);
    return cudaSuccess;
}

/* A user object is destroyed together with the graph that holds it; PyTorch keeps its random state in one. */
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

/* The graph's reference to the object is never released: a few bytes for each graph, until the process ends. */
cudaError_t cudaGraphRetainUserObject(cudaGraph_t graph, cudaUserObject_t object, unsigned int references,
                                      unsigned int flags) {
    (void)graph;
    if (!(flags & cudaGraphUserObjectMove)) atomic_fetch_add(&object->holders, references);
    return cudaSuccess;
}
