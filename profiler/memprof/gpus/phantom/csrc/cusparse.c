/* cuSPARSE: products and solvers of sparse matrices that are not computed.
 *
 * Descriptors are host memory, kept by the real library. The workspace of a call is not documented, and the real
 * library reports it only if there is a device: it is taken as 0 B, and each is counted as a workspace of unknown
 * size. The number of elements of a sparse result depends on values, which a phantom does not have: it is 0.
 *
 * The signatures are from NVIDIA's reference for cuSPARSE; no header is needed, since all pointers are `void *` here.
 */
#include <stdlib.h>

#include "context.h"
#include "device.h"
#include "handle.h"
#include "ledger.h"

enum { SUCCESS = 0, ALLOC_FAILED = 2 };

int cusparseCreate(phantom_handle **handle) {
    phantom_open_context(phantom_current_device());
    *handle = calloc(1, sizeof **handle);
    return *handle ? SUCCESS : ALLOC_FAILED;
}

int cusparseDestroy(phantom_handle *handle) {
    free(handle);
    return SUCCESS;
}

int cusparseSetStream(phantom_handle *handle, void *stream) {
    handle->stream = stream;
    return SUCCESS;
}

static int need(size_t *bytes) {
    phantom_count_unknown_workspace();
    *bytes = 0;
    return SUCCESS;
}

#pragma GCC diagnostic ignored "-Wunused-parameter"

/* ---- the generic interface; a, b and c are descriptors ---- */

int cusparseSpMV_bufferSize(void *handle, int op, void *alpha, void *a, void *x, void *beta, void *y, int type,
                            int algorithm, size_t *bytes) {
    return need(bytes);
}

int cusparseSpMM_bufferSize(void *handle, int op_a, int op_b, void *alpha, void *a, void *b, void *beta, void *c,
                            int type, int algorithm, size_t *bytes) {
    return need(bytes);
}

int cusparseSDDMM_bufferSize(void *handle, int op_a, int op_b, void *alpha, void *a, void *b, void *beta, void *c,
                             int type, int algorithm, size_t *bytes) {
    return need(bytes);
}

int cusparseSpSV_bufferSize(void *handle, int op, void *alpha, void *a, void *x, void *y, int type, int algorithm,
                            void *solver, size_t *bytes) {
    return need(bytes);
}

int cusparseSpSM_bufferSize(void *handle, int op_a, int op_b, void *alpha, void *a, void *b, void *c, int type,
                            int algorithm, void *solver, size_t *bytes) {
    return need(bytes);
}

/* Called twice, first without a buffer; so is the next one. */
int cusparseSpGEMM_workEstimation(void *handle, int op_a, int op_b, void *alpha, void *a, void *b, void *beta, void *c,
                                  int type, int algorithm, void *product, size_t *bytes, void *buffer) {
    return buffer ? SUCCESS : need(bytes);
}

int cusparseSpGEMM_compute(void *handle, int op_a, int op_b, void *alpha, void *a, void *b, void *beta, void *c,
                           int type, int algorithm, void *product, size_t *bytes, void *buffer) {
    return buffer ? SUCCESS : need(bytes);
}

/* ---- the older functions ---- */

int cusparseXcoosort_bufferSizeExt(void *handle, int m, int n, int count, void *rows, void *columns, size_t *bytes) {
    return need(bytes);
}

int cusparseXcsrsort_bufferSizeExt(void *handle, int m, int n, int count, void *rows, void *columns, size_t *bytes) {
    return need(bytes);
}

/* The same signature for the four types. */
#define FOUR(name, arguments, body)                                                                                    \
    int cusparseS##name arguments body int cusparseD##name arguments body int cusparseC##name arguments body           \
        int cusparseZ##name arguments body

static int need_small(int *bytes) {
    phantom_count_unknown_workspace();
    *bytes = 0;
    return SUCCESS;
}

FOUR(csrgeam2_bufferSizeExt,
     (void *handle, int m, int n, void *alpha, void *a, int a_count, void *a_values, void *a_rows, void *a_columns,
      void *beta, void *b, int b_count, void *b_values, void *b_rows, void *b_columns, void *c, void *c_values,
      void *c_rows, void *c_columns, size_t *bytes),
     { return need(bytes); })
FOUR(bsrsv2_bufferSize,
     (void *handle, int direction, int op, int blocks, int count, void *a, void *values, void *rows, void *columns,
      int block, void *info, int *bytes),
     { return need_small(bytes); })
FOUR(bsrsm2_bufferSize,
     (void *handle, int direction, int op, int op_b, int blocks, int n, int count, void *a, void *values, void *rows,
      void *columns, int block, void *info, int *bytes),
     { return need_small(bytes); })

int cusparseXcsrgeam2Nnz(void *handle, int m, int n, void *a, int a_count, void *a_rows, void *a_columns, void *b,
                         int b_count, void *b_rows, void *b_columns, void *c, void *c_rows, int *count, void *buffer) {
    *count = 0;
    return SUCCESS;
}

int cusparseXbsrsv2_zeroPivot(void *handle, void *info, int *position) { return *position = -1, SUCCESS; }
int cusparseXbsrsm2_zeroPivot(void *handle, void *info, int *position) { return *position = -1, SUCCESS; }
