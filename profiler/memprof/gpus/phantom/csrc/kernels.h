/* The kernels that libraries register with the CUDA runtime, and what each does to values of the device. */
#ifndef MEMPROF_KERNELS_H
#define MEMPROF_KERNELS_H

#include "functor.h"

enum { WRITTEN_LIMIT = 24 };

typedef enum {
    OTHER_KERNEL,    /* it writes to its pointers, and what it writes is unknown */
    CONTIGUOUS,      /* (n, functor, array of operands, ...) */
    CONTIGUOUS_CAST, /* likewise, and at the end the types of the inputs and of the output */
    STRIDED,         /* (n, lambda that has offsets, array of operands, functor) */
    ENUMERATED,      /* (n, lambda of the index, output): arange */
    REDUCED,         /* (ReduceOp) */
    CONCATENATED,    /* (output, inputs, sizes and strides of the output, dimension, its stride): cat */
    SCANNED,         /* (tensors and sizes at the positions of `scans`): cumsum */
    ADDED_TO_LIST,   /* (list of tensors, functor, plus, scalar): _foreach_add_, as optimizers count their steps */
} kernel_shape;

typedef enum { SUM, MEAN, ALL, ANY, LARGEST, SMALLEST } reduction;

/* Where a parameter has pointers through which the kernel may write: a pointer is a structure of one word. */
typedef struct {
    int position, first_word, words;
} written;

/* Positions of the parameters of a cumulative sum; -1: the kernel has no such size, it is 1. Elements are summed up
 * along `row`; `inner` is the number of those after it. */
typedef struct {
    int output, input, outer, row, inner;
} scan_parameters;

enum { WORDS_OF_REDUCTION = -1 }; /* a ReduceOp: the second pointer that it has after its tables */

typedef struct {
    kernel_shape shape;
    functor does;       /* of the elementwise shapes */
    reduction reduces;  /* of REDUCED, and its types: */
    element from, accumulated, to;
    int dimensions, batch, strides, unit; /* of CONCATENATED: numbers in its template; `from` is its type */
    scan_parameters scans;                /* of SCANNED; `from` is its type */
    int written_count; /* where it writes, if what it writes cannot be computed */
    written written[WRITTEN_LIMIT];
} kernel_plan;

void phantom_add_kernel(const void *function, const char *mangled_name);
const kernel_plan *phantom_plan_of(const void *function); /* NULL if it is unknown */

#endif
