/* The nodes of graphs, and what each depends on. */
#ifndef MEMPROF_GRAPH_NODES_H
#define MEMPROF_GRAPH_NODES_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>

/* Nodes in the order in which they were added, each once. */
typedef struct {
    cudaGraphNode_t *nodes;
    size_t count, capacity;
} phantom_nodes;

struct CUgraphNode_st {
    phantom_nodes dependencies;
    bool frees; /* memory: nothing needs to wait for it */
    bool seen;
};

bool phantom_insert_node(phantom_nodes *set, cudaGraphNode_t node); /* false: out of host memory */
bool phantom_insert_nodes(phantom_nodes *set, cudaGraphNode_t const *nodes, size_t count);
void phantom_clear_nodes(phantom_nodes *set);
cudaGraphNode_t phantom_make_node(phantom_nodes *graph, cudaGraphNode_t const *dependencies, size_t count);
void phantom_free_nodes(phantom_nodes *graph);
void phantom_mark_ancestors(const phantom_nodes *of); /* sets `seen` of these nodes and of all that they depend on */

#endif
