/* Cumulative sums of small tensors: torch.cumsum. */
#ifndef MEMPROF_SCANS_H
#define MEMPROF_SCANS_H

#include <stdbool.h>

#include "kernels.h"

bool phantom_run_scan(const kernel_plan *plan, void **arguments); /* false: it was not computed */

#endif
