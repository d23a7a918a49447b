/* cuSOLVER: factorizations and eigenvalues that are not computed.
 *
 * The workspace of each one is not documented, and the real library reports it only if there is a device: it is
 * modelled as one copy of the matrices, and each is counted as a workspace of unknown size. The results, and the
 * status on the device, are zeros: "success". Objects that hold parameters are the real library's.
 *
 * The signatures are from NVIDIA's reference for cuSOLVER; no header is needed, since all pointers are `void *` here.
 */
#include <stdint.h>
#include <stdlib.h>

#include "context.h"
#include "device.h"
#include "handle.h"
#include "ledger.h"

enum { SUCCESS = 0, ALLOC_FAILED = 2 };

int cusolverDnCreate(phantom_handle **handle) {
    phantom_open_context(phantom_current_device());
    *handle = calloc(1, sizeof **handle);
    return *handle ? SUCCESS : ALLOC_FAILED;
}

int cusolverDnDestroy(phantom_handle *handle) {
    free(handle);
    return SUCCESS;
}

int cusolverDnSetStream(phantom_handle *handle, void *stream) {
    handle->stream = stream;
    return SUCCESS;
}

/* ---- workspaces, in elements ---- */

static int need(int *elements, long long rows, long long columns, long long matrices) {
    phantom_count_unknown_workspace();
    long long all = rows * columns * matrices;
    *elements = all < 1 ? 1 : all > INT32_MAX ? INT32_MAX : (int)all;
    return SUCCESS;
}

/* The same signature for the four types S, D, C and Z; complex ones of some functions have names of their own. */
#define SIZE_OF(name, arguments, rows, columns, matrices)                                                              \
    int cusolverDn##name##_bufferSize arguments { return need(elements, rows, columns, matrices); }
#define SIZES_OF(real, complex, arguments, rows, columns, matrices)                                                    \
    SIZE_OF(S##real, arguments, rows, columns, matrices)                                                               \
    SIZE_OF(D##real, arguments, rows, columns, matrices)                                                               \
    SIZE_OF(C##complex, arguments, rows, columns, matrices)                                                            \
    SIZE_OF(Z##complex, arguments, rows, columns, matrices)

#pragma GCC diagnostic ignored "-Wunused-parameter"

SIZES_OF(potrf, potrf, (void *handle, int part, int n, void *a, int lda, int *elements), n, n, 1)
SIZES_OF(getrf, getrf, (void *handle, int m, int n, void *a, int lda, int *elements), m, n, 1)
SIZES_OF(geqrf, geqrf, (void *handle, int m, int n, void *a, int lda, int *elements), m, n, 1)
SIZES_OF(sytrf, sytrf, (void *handle, int n, void *a, int lda, int *elements), n, n, 1)
SIZES_OF(gesvd, gesvd, (void *handle, int m, int n, int *elements), m, n, 1)
SIZES_OF(orgqr, ungqr, (void *handle, int m, int n, int k, void *a, int lda, void *tau, int *elements), m, n, 1)
SIZES_OF(ormqr, unmqr,
         (void *handle, int side, int transposed, int m, int n, int k, void *a, int lda, void *tau, void *c, int ldc,
          int *elements),
         m, n, 1)
SIZES_OF(syevd, heevd, (void *handle, int vectors, int part, int n, void *a, int lda, void *w, int *elements), n, n, 1)
SIZES_OF(syevj, heevj,
         (void *handle, int vectors, int part, int n, void *a, int lda, void *w, int *elements, void *parameters), n, n,
         1)
SIZES_OF(syevjBatched, heevjBatched,
         (void *handle, int vectors, int part, int n, void *a, int lda, void *w, int *elements, void *parameters,
          int batch),
         n, n, batch)
SIZES_OF(gesvdj, gesvdj,
         (void *handle, int vectors, int economic, int m, int n, void *a, int lda, void *s, void *u, int ldu, void *v,
          int ldv, int *elements, void *parameters),
         m, n, 1)
SIZES_OF(gesvdjBatched, gesvdjBatched,
         (void *handle, int vectors, int m, int n, void *a, int lda, void *s, void *u, int ldu, void *v, int ldv,
          int *elements, void *parameters, int batch),
         m, n, batch)
SIZES_OF(gesvdaStridedBatched, gesvdaStridedBatched,
         (void *handle, int vectors, int rank, int m, int n, void *a, int lda, long long a_step, void *s,
          long long s_step, void *u, int ldu, long long u_step, void *v, int ldv, long long v_step, int *elements,
          int batch),
         m, n, batch)

/* ---- workspaces of the functions for 64-bit sizes, in bytes. The type is a cudaDataType. ---- */

static int need_bytes(size_t *bytes, size_t *host_bytes, int64_t rows, int64_t columns, int64_t matrices, int type) {
    enum { R_64F = 1, C_32F = 4, C_64F = 5 };
    size_t element = type == C_64F ? 16 : type == R_64F || type == C_32F ? 8 : 4;
    phantom_count_unknown_workspace();
    *bytes = (size_t)(rows * columns * matrices) * element;
    *host_bytes = 0;
    return SUCCESS;
}

int cusolverDnXpotrf_bufferSize(void *handle, void *parameters, int part, int64_t n, int type, void *a, int64_t lda,
                                int computed, size_t *bytes, size_t *host_bytes) {
    return need_bytes(bytes, host_bytes, n, n, 1, type);
}

int cusolverDnXgeqrf_bufferSize(void *handle, void *parameters, int64_t m, int64_t n, int type, void *a, int64_t lda,
                                int tau_type, void *tau, int computed, size_t *bytes, size_t *host_bytes) {
    return need_bytes(bytes, host_bytes, m, n, 1, type);
}

int cusolverDnXsyevd_bufferSize(void *handle, void *parameters, int vectors, int part, int64_t n, int type, void *a,
                                int64_t lda, int w_type, void *w, int computed, size_t *bytes, size_t *host_bytes) {
    return need_bytes(bytes, host_bytes, n, n, 1, type);
}

int cusolverDnXsyevBatched_bufferSize(void *handle, void *parameters, int vectors, int part, int64_t n, int type,
                                      void *a, int64_t lda, int w_type, void *w, int computed, size_t *bytes,
                                      size_t *host_bytes, int64_t batch) {
    return need_bytes(bytes, host_bytes, n, n, batch, type);
}

int cusolverDnXsytrs_bufferSize(void *handle, int part, int64_t n, int64_t columns, int type, void *a, int64_t lda,
                                void *pivots, int b_type, void *b, int64_t ldb, size_t *bytes, size_t *host_bytes) {
    return need_bytes(bytes, host_bytes, n, columns, 1, type);
}

int cusolverDnXgeev_bufferSize(void *handle, void *parameters, int left, int right, int64_t n, int type, void *a,
                               int64_t lda, int w_type, void *w, int left_type, void *left_vectors, int64_t ld_left,
                               int right_type, void *right_vectors, int64_t ld_right, int computed, size_t *bytes,
                               size_t *host_bytes) {
    return need_bytes(bytes, host_bytes, n, n, 1, type);
}
