/* What the parts of the CUDA runtime's stand-in share. */
#ifndef MEMPROF_CUDART_H
#define MEMPROF_CUDART_H

#include <cuda_runtime_api.h>

#include "phantom.h"

/* Remembers `error` for cudaGetLastError and returns it. */
cudaError_t phantom_error(cudaError_t error);

#endif
