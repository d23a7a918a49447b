/* Reductions of small tensors. */
#ifndef MEMPROF_REDUCTIONS_H
#define MEMPROF_REDUCTIONS_H

#include <stdbool.h>

#include "kernels.h"

bool phantom_run_reduction(const kernel_plan *plan, char *reduce); /* false if it was not computed */
void phantom_forget_reduced(char *const *reduce); /* the operation is not known: neither is its output */

#endif
