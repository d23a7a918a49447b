/* NCCL's types of elements, and reductions of them. */
#ifndef MEMPROF_NCCL_TYPES_H
#define MEMPROF_NCCL_TYPES_H

#include <stdbool.h>
#include <stddef.h>

/* What each of several ranks sends. */
typedef struct {
    const char *values, *known; /* NULL: nothing is known; `known` has a byte for each byte of the values */
} phantom_part;

size_t phantom_nccl_bytes(int type); /* of one element; 0: there is no such type */
const char *phantom_nccl_type_name(int type);
int phantom_nccl_premultiplied(int type, const void *scalar); /* the new operation */
/* An element of the result is known if it is known of all ranks. */
void phantom_reduce(int type, int operation, const phantom_part *parts, int ranks, size_t count, char *values,
                    char *known);

#endif
