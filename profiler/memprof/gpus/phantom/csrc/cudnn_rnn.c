/* cuDNN's recurrent networks: calls that need a handle of a real device.
 *
 * The layout of the weights is documented, so it is exact. The reserve space for backward and the workspace are not:
 * both are modelled, and each is counted as a workspace of unknown size.
 */
#include <cudnn_adv.h>
#include <cudnn_graph.h>
#include <cudnn_ops.h>
#include <stdlib.h>
#include <string.h>

#include "cudnn_library.h"
#include "device.h"
#include "ledger.h"

struct cudnnRNNStruct {
    cudnnRNNMode_t mode;
    cudnnDataType_t type;
    int directions, layers;
    size_t input_size, hidden_size, output_size; /* output: the projection if there is one, else hidden */
    bool projected, biased;
};

struct cudnnRNNDataStruct {
    size_t steps, batch;
};

static size_t element_bytes(cudnnDataType_t type) {
    return type == CUDNN_DATA_DOUBLE ? 8 : type == CUDNN_DATA_FLOAT ? 4 : 2;
}

static size_t gates(const struct cudnnRNNStruct *rnn) {
    return rnn->mode == CUDNN_LSTM ? 4 : rnn->mode == CUDNN_GRU ? 3 : 1;
}

cudnnStatus_t cudnnCreateRNNDescriptor(cudnnRNNDescriptor_t *rnn) {
    *rnn = calloc(1, sizeof **rnn);
    return *rnn ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_ALLOC_FAILED;
}

cudnnStatus_t cudnnDestroyRNNDescriptor(cudnnRNNDescriptor_t rnn) {
    free(rnn);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetRNNDescriptor_v8(cudnnRNNDescriptor_t rnn, cudnnRNNAlgo_t algorithm, cudnnRNNMode_t mode,
                                       cudnnRNNBiasMode_t bias, cudnnDirectionMode_t direction,
                                       cudnnRNNInputMode_t input, cudnnDataType_t type, cudnnDataType_t math_precision,
                                       cudnnMathType_t math, int32_t input_size, int32_t hidden_size,
                                       int32_t projection_size, int32_t layers, cudnnDropoutDescriptor_t dropout,
                                       uint32_t flags) {
    (void)algorithm, (void)input, (void)math_precision, (void)math, (void)dropout, (void)flags;
    *rnn = (struct cudnnRNNStruct){
        .mode = mode,
        .type = type,
        .directions = direction == CUDNN_BIDIRECTIONAL ? 2 : 1,
        .layers = layers,
        .input_size = (size_t)input_size,
        .hidden_size = (size_t)hidden_size,
        .output_size = (size_t)(projection_size ? projection_size : hidden_size),
        .projected = projection_size && projection_size != hidden_size,
        .biased = bias != CUDNN_RNN_NO_BIAS,
    };
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateRNNDataDescriptor(cudnnRNNDataDescriptor_t *data) {
    *data = calloc(1, sizeof **data);
    return *data ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_ALLOC_FAILED;
}

cudnnStatus_t cudnnDestroyRNNDataDescriptor(cudnnRNNDataDescriptor_t data) {
    free(data);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetRNNDataDescriptor(cudnnRNNDataDescriptor_t data, cudnnDataType_t type,
                                        cudnnRNNDataLayout_t layout, int steps, int batch, int vector,
                                        const int lengths[], void *fill) {
    (void)type, (void)layout, (void)vector, (void)lengths, (void)fill;
    data->steps = (size_t)steps;
    data->batch = (size_t)batch;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- the weights: all matrices of all layers, then all biases ---- */

static size_t layer_inputs(const struct cudnnRNNStruct *rnn, int pseudo_layer) {
    return pseudo_layer < rnn->directions ? rnn->input_size : rnn->output_size * (size_t)rnn->directions;
}

/* Rows and columns of one matrix of a pseudo layer: a gate's input part, its recurrent part, or the projection. */
static bool matrix_shape(const struct cudnnRNNStruct *rnn, int pseudo_layer, size_t id, size_t *rows, size_t *columns) {
    *rows = id < 2 * gates(rnn) ? rnn->hidden_size : rnn->output_size;
    *columns = id < gates(rnn)       ? layer_inputs(rnn, pseudo_layer)
               : id < 2 * gates(rnn) ? rnn->output_size
                                     : rnn->hidden_size;
    return id < 2 * gates(rnn) + rnn->projected;
}

/* Elements before matrix `id` of `pseudo_layer`; for a layer after the last, those of all matrices. */
static size_t matrix_offset(const struct cudnnRNNStruct *rnn, int pseudo_layer, size_t id) {
    size_t offset = 0, rows, columns;
    for (int layer = 0; layer <= pseudo_layer && layer < rnn->layers * rnn->directions; layer++)
        for (size_t i = 0; (layer < pseudo_layer || i < id) && matrix_shape(rnn, layer, i, &rows, &columns); i++)
            offset += rows * columns;
    return offset;
}

static size_t all_matrices(const struct cudnnRNNStruct *rnn) {
    return matrix_offset(rnn, rnn->layers * rnn->directions, 0);
}

static size_t biases_of_layer(const struct cudnnRNNStruct *rnn) {
    return rnn->biased ? 2 * gates(rnn) * rnn->hidden_size : 0;
}

cudnnStatus_t cudnnGetRNNWeightSpaceSize(cudnnHandle_t handle, cudnnRNNDescriptor_t rnn, size_t *bytes) {
    (void)handle;
    size_t biases = biases_of_layer(rnn) * (size_t)(rnn->layers * rnn->directions);
    *bytes = (all_matrices(rnn) + biases) * element_bytes(rnn->type);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t describe(cudnnTensorDescriptor_t tensor, cudnnDataType_t type, size_t rows, size_t columns) {
    REAL(cudnnSetTensorNdDescriptor);
    int shape[3] = {1, (int)rows, (int)columns}, strides[3] = {(int)(rows * columns), (int)columns, 1};
    return real_cudnnSetTensorNdDescriptor(tensor, type, 3, shape, strides);
}

cudnnStatus_t cudnnGetRNNWeightParams(cudnnHandle_t handle, cudnnRNNDescriptor_t rnn, int32_t pseudo_layer,
                                      size_t weight_bytes, const void *weights, int32_t id,
                                      cudnnTensorDescriptor_t matrix, void **matrix_address,
                                      cudnnTensorDescriptor_t bias, void **bias_address) {
    (void)handle, (void)weight_bytes;
    uintptr_t base = (uintptr_t)weights, element = element_bytes(rnn->type);
    size_t rows, columns;
    if (!matrix_shape(rnn, pseudo_layer, (size_t)id, &rows, &columns)) return CUDNN_STATUS_BAD_PARAM;
    bool has_bias = rnn->biased && (size_t)id < 2 * gates(rnn);
    size_t matrix_at = matrix_offset(rnn, pseudo_layer, (size_t)id);
    size_t bias_at = all_matrices(rnn) + biases_of_layer(rnn) * (size_t)pseudo_layer + rnn->hidden_size * (size_t)id;
    /* PyTorch asks for the matrix and for the bias in turn, with NULL for the other one. */
    if (matrix_address) *matrix_address = (void *)(base + matrix_at * element);
    if (bias_address) *bias_address = has_bias ? (void *)(base + bias_at * element) : NULL;
    cudnnStatus_t status = matrix ? describe(matrix, rnn->type, rows, columns) : CUDNN_STATUS_SUCCESS;
    return status || !bias || !has_bias ? status : describe(bias, rnn->type, rnn->hidden_size, 1);
}

/* ---- what cuDNN takes in addition to the weights: modelled ---- */

/* Reserved for backward: each gate, the cell and the output of every step of every pseudo layer. Workspace: the gates
 * of one layer for all steps. A model, not cuDNN's answer. */
cudnnStatus_t cudnnGetRNNTempSpaceSizes(cudnnHandle_t handle, cudnnRNNDescriptor_t rnn, cudnnForwardMode_t mode,
                                        cudnnRNNDataDescriptor_t data, size_t *workspace_bytes,
                                        size_t *reserve_bytes) {
    (void)handle;
    size_t cells = data->steps * data->batch * rnn->hidden_size * element_bytes(rnn->type);
    size_t pseudo_layers = (size_t)(rnn->layers * rnn->directions);
    phantom_count_unknown_workspace();
    *workspace_bytes = cells * gates(rnn) * (size_t)rnn->directions;
    if (reserve_bytes) *reserve_bytes = mode == CUDNN_FWD_MODE_TRAINING ? cells * (gates(rnn) + 2) * pseudo_layers : 0;
    return CUDNN_STATUS_SUCCESS;
}

/* The generator's states for dropout between layers: modelled as 16 B for each thread that the GPU can hold. */
cudnnStatus_t cudnnDropoutGetStatesSize(cudnnHandle_t handle, size_t *bytes) {
    (void)handle;
    const phantom_gpu *gpu = phantom_gpu_now();
    phantom_count_unknown_workspace();
    *bytes = (size_t)gpu->multiprocessors * (size_t)gpu->max_threads_per_multiprocessor * 16;
    return CUDNN_STATUS_SUCCESS;
}
