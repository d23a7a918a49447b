/* The nodes of graphs, and what each depends on. Nothing runs, so a node has no other content. */
#include "graph_nodes.h"

#include <stdlib.h>

bool phantom_insert_node(phantom_nodes *set, cudaGraphNode_t node) {
    for (size_t i = 0; i < set->count; i++)
        if (set->nodes[i] == node) return true;
    return phantom_insert_nodes(set, &node, 1);
}

bool phantom_insert_nodes(phantom_nodes *set, cudaGraphNode_t const *nodes, size_t count) {
    if (set->count + count > set->capacity) {
        size_t capacity = 2 * set->capacity + count;
        cudaGraphNode_t *larger = realloc(set->nodes, capacity * sizeof *larger);
        if (!larger) return false;
        set->nodes = larger;
        set->capacity = capacity;
    }
    for (size_t i = 0; i < count; i++) set->nodes[set->count++] = nodes[i];
    return true;
}

void phantom_clear_nodes(phantom_nodes *set) {
    free(set->nodes);
    *set = (phantom_nodes){0};
}

cudaGraphNode_t phantom_make_node(phantom_nodes *graph, cudaGraphNode_t const *dependencies, size_t count) {
    cudaGraphNode_t made = calloc(1, sizeof *made);
    if (made && phantom_insert_nodes(&made->dependencies, dependencies, count) && phantom_insert_nodes(graph, &made, 1))
        return made;
    if (made) phantom_clear_nodes(&made->dependencies);
    free(made);
    return NULL;
}

void phantom_free_nodes(phantom_nodes *graph) {
    for (size_t i = 0; i < graph->count; i++) {
        phantom_clear_nodes(&graph->nodes[i]->dependencies);
        free(graph->nodes[i]);
    }
    phantom_clear_nodes(graph);
}

void phantom_mark_ancestors(const phantom_nodes *of) {
    phantom_nodes waiting = {0};
    phantom_insert_nodes(&waiting, of->nodes, of->count);
    while (waiting.count) {
        cudaGraphNode_t node = waiting.nodes[--waiting.count];
        if (node->seen) continue;
        node->seen = true;
        phantom_insert_nodes(&waiting, node->dependencies.nodes, node->dependencies.count);
    }
    phantom_clear_nodes(&waiting);
}
