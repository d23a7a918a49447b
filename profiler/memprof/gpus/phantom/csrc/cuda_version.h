/* The version of CUDA that this process has, as CUDART_VERSION counts: 13000 for 13.0. */
#ifndef MEMPROF_CUDA_VERSION_H
#define MEMPROF_CUDA_VERSION_H

int phantom_cuda_version(void);

#endif
