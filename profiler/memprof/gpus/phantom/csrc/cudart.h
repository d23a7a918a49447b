/* Errors of the CUDA runtime, and the devices that its calls need. */
#ifndef MEMPROF_CUDART_H
#define MEMPROF_CUDART_H

#include <cuda_runtime_api.h>

/* Remembers `error` for cudaGetLastError and returns it. */
cudaError_t phantom_error(cudaError_t error);

/* cudaErrorNoDevice if the process has no device: every call that needs one fails so. */
cudaError_t phantom_require_device(void);

#endif
