/* Concatenation of small tensors: torch.cat. */
#ifndef MEMPROF_CONCATENATION_H
#define MEMPROF_CONCATENATION_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels.h"

bool phantom_run_concatenation(const kernel_plan *plan, void **arguments, size_t count); /* false: it was not computed */

#endif
