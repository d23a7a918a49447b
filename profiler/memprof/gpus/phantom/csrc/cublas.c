/* cuBLAS and cuBLASLt: handles that remember their modes, and matrix products that are not computed.
 *
 * PyTorch allocates their workspaces with its own caching allocator, so they are counted already. cuBLASLt's
 * descriptors are host memory: the real library keeps them.
 */
#include <cuda_runtime_api.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "capture_state.h"
#include "context.h"
#include "cuda_version.h"
#include "cudart_stream.h"
#include "device.h"
#include "handle.h"
#include "torch_blocks.h"
#include "values.h"

/* cuBLAS's own headers need a header of CUDA C++ that is not among PyTorch's dependencies. These types are from
 * NVIDIA's reference for cuBLAS and cuBLASLt; they are the same in CUDA 11 to 13. */
typedef enum {
    CUBLAS_STATUS_SUCCESS = 0,
    CUBLAS_STATUS_NOT_INITIALIZED = 1,
    CUBLAS_STATUS_ALLOC_FAILED = 3,
    CUBLAS_STATUS_ARCH_MISMATCH = 8
} cublasStatus_t;

typedef struct {
    phantom_handle base;
    int math_mode;
    int pointer_mode;
} *cublasHandle_t;

typedef struct {
    struct {
        uint64_t data[8];
    } algo;
    size_t workspaceSize;
    cublasStatus_t state;
    float wavesCount;
    int reserved[4];
} cublasLtMatmulHeuristicResult_t;

cublasStatus_t cublasCreate_v2(cublasHandle_t *handle) {
    if (phantom_too_old(phantom_cuda_version())) return CUBLAS_STATUS_ARCH_MISMATCH;
    if (phantom_capture_forbids_unsafe_call()) return CUBLAS_STATUS_NOT_INITIALIZED; /* it would allocate */
    if (!phantom_load_code(phantom_current_device(), PHANTOM_CUBLAS)) return CUBLAS_STATUS_ALLOC_FAILED;
    *handle = calloc(1, sizeof **handle);
    return *handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, void *stream) {
    handle->base.stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, int mode) {
    handle->math_mode = mode;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetMathMode(cublasHandle_t handle, int *mode) {
    *mode = handle->math_mode;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetPointerMode_v2(cublasHandle_t handle, int mode) {
    handle->pointer_mode = mode;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetPointerMode_v2(cublasHandle_t handle, int *mode) {
    *mode = handle->pointer_mode;
    return CUBLAS_STATUS_SUCCESS;
}

/* cuDNN alone has a handle of cuBLASLt (cublaslt_lookup.c), and only passes it back. */
cublasStatus_t cublasLtCreate(void **handle) {
    static char never_read;
    *handle = &never_read;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(void *handle) { return (void)handle, CUBLAS_STATUS_SUCCESS; }

/* One algorithm always fits. Its workspace is 0: PyTorch gives every algorithm a workspace of a fixed size. That cuDNN's
 * products need none is an assumption: at the peaks of torchvision's models on an H200 (docs/fidelity) two had 400 B. */
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(void *handle, void *operation, void *a, void *b, void *c, void *d,
                                              void *preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int *returned) {
    (void)handle, (void)operation, (void)a, (void)b, (void)c, (void)d, (void)preference;
    *returned = requested > 0;
    if (*returned) memset(results, 0, sizeof *results);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(void *handle, void *operation, const void *alpha, const void *a, void *a_layout,
                              const void *b, void *b_layout, const void *beta, const void *c, void *c_layout, void *d,
                              void *d_layout, const void *algorithm, void *workspace, size_t workspace_bytes,
                              void *stream) {
    (void)handle, (void)operation, (void)alpha, (void)a, (void)a_layout, (void)b, (void)b_layout, (void)beta, (void)c;
    (void)c_layout, (void)d_layout, (void)algorithm, (void)workspace, (void)workspace_bytes;
    phantom_forget_outputs(&d, 1);
    phantom_launched(stream);
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- batched solvers also report to the host that their arguments are valid ---- */

#pragma GCC diagnostic ignored "-Wunused-parameter"

#define FOUR(name, arguments, body)                                                                                    \
    cublasStatus_t cublasS##name arguments body cublasStatus_t cublasD##name arguments body                            \
        cublasStatus_t cublasC##name arguments body cublasStatus_t cublasZ##name arguments body

static cublasStatus_t solve(cublasHandle_t handle, int *info) {
    *info = 0;
    phantom_forget_all_values(); /* the addresses of the matrices are on the device */
    phantom_launched(handle->base.stream);
    return CUBLAS_STATUS_SUCCESS;
}

FOUR(geqrfBatched, (cublasHandle_t handle, int m, int n, void *a, int lda, void *tau, int *info, int batch),
     { return solve(handle, info); })
FOUR(getrsBatched,
     (cublasHandle_t handle, int op, int n, int columns, void *a, int lda, void *pivots, void *b, int ldb, int *info,
      int batch),
     { return solve(handle, info); })
FOUR(gelsBatched,
     (cublasHandle_t handle, int op, int m, int n, int columns, void *a, int lda, void *c, int ldc, int *info,
      void *device_info, int batch),
     { return solve(handle, info); })
