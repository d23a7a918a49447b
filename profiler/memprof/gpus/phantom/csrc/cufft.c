/* cuFFT: plans that remember their stream, and transforms that are not computed.
 *
 * The work area of a plan is not documented, and the real library reports it only if there is a device: it is
 * modelled as one copy of the complex data, and each is counted as a workspace of unknown size.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "context.h"
#include "cudart_stream.h"
#include "device.h"
#include "ledger.h"

/* From NVIDIA's reference for cuFFT; a plan is a small number. */
enum { SUCCESS = 0, INVALID_PLAN = 1, ALLOC_FAILED = 2 };
typedef int cufftHandle;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void **streams; /* of each plan */
static int plan_count, plan_capacity;

int cufftCreate(cufftHandle *plan) {
    phantom_open_context(phantom_current_device());
    pthread_mutex_lock(&lock);
    if (plan_count == plan_capacity) {
        int capacity = plan_capacity ? 2 * plan_capacity : 64;
        void **larger = realloc(streams, (size_t)capacity * sizeof *streams);
        if (larger) streams = larger, plan_capacity = capacity;
    }
    bool made = plan_count < plan_capacity;
    if (made) streams[*plan = plan_count++] = NULL;
    pthread_mutex_unlock(&lock);
    return made ? SUCCESS : ALLOC_FAILED;
}

int cufftDestroy(cufftHandle plan) { return (void)plan, SUCCESS; }

int cufftSetStream(cufftHandle plan, void *stream) {
    pthread_mutex_lock(&lock);
    bool known = plan >= 0 && plan < plan_count;
    if (known) streams[plan] = stream;
    pthread_mutex_unlock(&lock);
    return known ? SUCCESS : INVALID_PLAN;
}

int cufftXtExec(cufftHandle plan, void *input, void *output, int direction) {
    (void)input, (void)output, (void)direction;
    pthread_mutex_lock(&lock);
    bool known = plan >= 0 && plan < plan_count;
    void *stream = known ? streams[plan] : NULL;
    pthread_mutex_unlock(&lock);
    if (known) phantom_launched(stream);
    return known ? SUCCESS : INVALID_PLAN;
}

/* Bytes of a complex number of each cudaDataType that PyTorch transforms: halves, doubles, else floats. */
static size_t complex_bytes(int type) {
    enum { R_64F = 1, R_16F = 2, C_64F = 5, C_16F = 6, R_16BF = 14, C_16BF = 15 };
    bool half = type == R_16F || type == C_16F || type == R_16BF || type == C_16BF;
    return half ? 4 : type == R_64F || type == C_64F ? 16 : 8;
}

int cufftXtMakePlanMany(cufftHandle plan, int rank, long long *n, long long *input_shape, long long input_stride,
                        long long input_step, int input_type, long long *output_shape, long long output_stride,
                        long long output_step, int output_type, long long batch, size_t *work_bytes, int type) {
    (void)plan, (void)input_shape, (void)input_stride, (void)input_step, (void)input_type;
    (void)output_shape, (void)output_stride, (void)output_step, (void)output_type;
    size_t elements = (size_t)batch;
    for (int i = 0; i < rank; i++) elements *= (size_t)n[i];
    phantom_count_unknown_workspace();
    *work_bytes = elements * complex_bytes(type);
    return SUCCESS;
}
