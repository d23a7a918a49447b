/* The part of a workspace that cuDNN leaves out without a device. */
#ifndef MEMPROF_CUDNN_SPLIT_K_H
#define MEMPROF_CUDNN_SPLIT_K_H

#include <cudnn_graph.h>
#include <stdint.h>

/* The workspace of `plan` on a GPU of compute capability 9.0, of which cuDNN reports `reported` bytes without a device. */
int64_t phantom_workspace_on_hopper(cudnnBackendDescriptor_t plan, int64_t reported);

#endif
