/* cuDNN's batch normalization: calls that need a handle of a real device.
 *
 * Its workspace is not documented. The model is an H200 with cuDNN 9.19: there all 52 layers of MobileNetV2 in
 * float32 and channels_last, forward and backward, took what these rules give: partial sums of 64 channels for each
 * tile of rows. In the default memory format no layer took a workspace.
 */
#include <cudnn_ops.h>

#include "cudnn_library.h"

enum { CHANNELS_PER_GROUP = 64, MAX_RANK = 8 };

typedef struct {
    size_t rows_per_tile, bytes_per_tile, bytes;
} scratch;

static const scratch FORWARD = {64, 516, 1072}, BACKWARD = {96, 512, 1056};

static size_t ceil_div(size_t value, size_t unit) { return (value + unit - 1) / unit; }

static cudnnStatus_t need(cudnnBatchNormMode_t mode, const cudnnTensorDescriptor_t x, scratch rule, size_t *bytes) {
    REAL(cudnnGetTensorNdDescriptor);
    cudnnDataType_t type;
    int rank, shape[MAX_RANK], strides[MAX_RANK];
    cudnnStatus_t status = real_cudnnGetTensorNdDescriptor(x, MAX_RANK, &type, &rank, shape, strides);
    *bytes = 0;
    if (status || mode != CUDNN_BATCHNORM_SPATIAL_PERSISTENT || strides[1] != 1) return status;
    size_t groups = ceil_div((size_t)shape[1], CHANNELS_PER_GROUP), rows = (size_t)shape[0];
    for (int i = 2; i < rank; i++) rows *= (size_t)shape[i];
    *bytes = groups * (rule.bytes_per_tile * ceil_div(rows, rule.rows_per_tile) + 4) + rule.bytes;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, cudnnBatchNormOps_t operations, const cudnnTensorDescriptor_t x,
    const cudnnTensorDescriptor_t z, const cudnnTensorDescriptor_t y, const cudnnTensorDescriptor_t statistics,
    const cudnnActivationDescriptor_t activation, size_t *bytes) {
    (void)handle, (void)operations, (void)z, (void)y, (void)statistics, (void)activation;
    return need(mode, x, FORWARD, bytes);
}

cudnnStatus_t cudnnGetBatchNormalizationTrainingExReserveSpaceSize(cudnnHandle_t handle, cudnnBatchNormMode_t mode,
                                                                   cudnnBatchNormOps_t operations,
                                                                   const cudnnActivationDescriptor_t activation,
                                                                   const cudnnTensorDescriptor_t x, size_t *bytes) {
    (void)handle, (void)mode, (void)operations, (void)activation, (void)x;
    *bytes = 0; /* as on that GPU */
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetBatchNormalizationBackwardExWorkspaceSize(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, cudnnBatchNormOps_t operations, const cudnnTensorDescriptor_t x,
    const cudnnTensorDescriptor_t y, const cudnnTensorDescriptor_t dy, const cudnnTensorDescriptor_t dz,
    const cudnnTensorDescriptor_t dx, const cudnnTensorDescriptor_t statistics,
    const cudnnActivationDescriptor_t activation, size_t *bytes) {
    (void)handle, (void)operations, (void)y, (void)dy, (void)dz, (void)dx, (void)statistics, (void)activation;
    return need(mode, x, BACKWARD, bytes);
}
