/* cuDNN's CTC loss: calls that need a handle of a real device.
 *
 * Its workspace is not documented: modelled as the two tables of the forward-backward algorithm, a float for each
 * step, sample and position between labels, and counted as a workspace of unknown size.
 */
#include <cudnn_adv.h>
#include <cudnn_ops.h>

#include "cudnn_library.h"
#include "ledger.h"

/* The longest label that cuDNN accepts, for calls that leave the labels on the device. */
enum { LONGEST_LABEL = 255 };

static cudnnStatus_t need(cudnnTensorDescriptor_t probabilities, int longest, size_t *bytes) {
    REAL(cudnnGetTensorNdDescriptor);
    cudnnDataType_t type;
    int rank, shape[3] = {0}, strides[3]; /* steps, samples, labels */
    cudnnStatus_t status = real_cudnnGetTensorNdDescriptor(probabilities, 3, &type, &rank, shape, strides);
    phantom_count_unknown_workspace();
    *bytes = 2 * sizeof(float) * (size_t)shape[0] * (size_t)shape[1] * (size_t)(2 * longest + 1);
    return status;
}

cudnnStatus_t cudnnGetCTCLossWorkspaceSize(cudnnHandle_t handle, const cudnnTensorDescriptor_t probabilities,
                                           const cudnnTensorDescriptor_t gradients, const int *labels,
                                           const int *label_lengths, const int *input_lengths,
                                           cudnnCTCLossAlgo_t algorithm, cudnnCTCLossDescriptor_t loss,
                                           size_t *bytes) {
    REAL(cudnnGetTensorNdDescriptor);
    (void)handle, (void)gradients, (void)labels, (void)input_lengths, (void)algorithm, (void)loss;
    cudnnDataType_t type;
    int rank, shape[3] = {0}, strides[3], longest = 0;
    real_cudnnGetTensorNdDescriptor(probabilities, 3, &type, &rank, shape, strides);
    for (int i = 0; i < shape[1]; i++)
        if (label_lengths[i] > longest) longest = label_lengths[i];
    return need(probabilities, longest, bytes);
}

cudnnStatus_t cudnnGetCTCLossWorkspaceSize_v8(cudnnHandle_t handle, cudnnCTCLossAlgo_t algorithm,
                                              cudnnCTCLossDescriptor_t loss,
                                              const cudnnTensorDescriptor_t probabilities,
                                              const cudnnTensorDescriptor_t gradients, size_t *bytes) {
    (void)handle, (void)algorithm, (void)loss, (void)gradients;
    return need(probabilities, LONGEST_LABEL, bytes);
}
