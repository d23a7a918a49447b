/* Elementwise kernels on small tensors. */
#ifndef MEMPROF_ELEMENTWISE_H
#define MEMPROF_ELEMENTWISE_H

#include <stdbool.h>

#include "kernels.h"

/* Each computes the output, or makes it unknown. `computes` is false while a graph is captured. */
void phantom_run_contiguous(const kernel_plan *plan, void **arguments);
void phantom_run_strided(const kernel_plan *plan, void **arguments, bool computes);
void phantom_run_enumeration(const kernel_plan *plan, void **arguments);

#endif
