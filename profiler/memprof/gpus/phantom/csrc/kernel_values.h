/* What a launched kernel does to the values that are known. */
#ifndef MEMPROF_KERNEL_VALUES_H
#define MEMPROF_KERNEL_VALUES_H

#include <stdbool.h>
#include <stddef.h>

/* `blocks` and `rows` are the width and the height of the grid. `computes` is false while a graph is captured: the
 * kernel is not run then, and its results are not known. */
void phantom_run_kernel(const void *function, void **arguments, size_t blocks, size_t rows, bool computes);

#endif
