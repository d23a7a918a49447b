/* cuDNN: the real library chooses the plans and reports the workspace of each one.
 *
 * NVIDIA documents how to build plans without a device ("deviceless ahead-of-time compilation"): a device-properties
 * descriptor made from JSON replaces the handle of a real device. The calls of the backend API are passed on with
 * only that changed, and executing a plan does nothing. If cuDNN does not accept the JSON, plans are empty, and each
 * one is counted as a workspace of unknown size.
 */
#include <cudnn_adv.h>
#include <cudnn_cnn.h>
#include <cudnn_graph.h>
#include <cudnn_ops.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "cuda_version.h"
#include "cudart_stream.h"
#include "cudnn_library.h"
#include "cudnn_split_k.h"
#include "device.h"
#include "handle.h"
#include "ledger.h"

/* The device-properties descriptor came with cuDNN 9.8: older headers lack the names; the numbers never change. */
enum {
    DEVICEPROP_DESCRIPTOR = 38,
    ENGINEHEUR_DEVICEPROP = 204,
    EXECUTION_PLAN_DEVICEPROP = 407,
    ENGINE_DEVICEPROP = 1307,
    DEVICEPROP_JSON = 2702,
    FIRST_VERSION_WITH_DEVICEPROP = 90800,
    FIRST_VERSION_FOR_B200 = 91900, /* 9.10 crashes when it plans for compute capability 10.0; 9.19 does not */
};

struct cudnnContext {
    phantom_handle base;
};

/* ---- handles ---- */

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
    if (phantom_too_old(phantom_cuda_version())) return CUDNN_STATUS_ARCH_MISMATCH;
    if (!phantom_load_code(phantom_current_device(), PHANTOM_CUDNN)) return CUDNN_STATUS_ALLOC_FAILED;
    *handle = calloc(1, sizeof **handle);
    return *handle ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_ALLOC_FAILED;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
    free(handle);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
    handle->base.stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t *stream) {
    *stream = handle->base.stream;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- the device as cuDNN's JSON describes it ---- */

static int device_json(char *text, size_t capacity) {
    const phantom_gpu *gpu = phantom_gpu_now();
    return snprintf(text, capacity,
                    "{\"cudaDeviceId\": 0, \"deviceVer\": %d, \"driverVer\": %d, "
                    "\"maxGridSize\": [2147483647, 65535, 65535], \"maxBlockSize\": [1024, 1024, 64], "
                    "\"regsPerBlock\": %d, \"multiProcessorCount\": %d, \"smClockRateKHz\": %d, "
                    "\"memClockRateKHz\": %d, \"memoryBusWidth\": %d, \"totalGlobalMem\": %zu, \"l2CacheSize\": %d, "
                    "\"warpSize\": 32, \"maxSharedMemoryPerBlock\": %d, \"maxSharedMemoryPerBlockOptin\": %d, "
                    "\"reservedSharedMemoryPerBlock\": %d, \"maxRegistersPerSM\": %d, \"pciDeviceId\": 0, "
                    "\"maxCtasPerSM\": %d, \"maxThreadsPerBlock\": 1024, \"maxThreadsPerSM\": %d, \"isTccDriver\": 0, "
                    "\"supportCoopLaunch\": 1, \"smCountOrigin\": 0, \"deviceName\": \"%s\"}",
                    100 * gpu->capability_major + 10 * gpu->capability_minor, phantom_cuda_version(),
                    gpu->registers_per_block,
                    gpu->multiprocessors, gpu->clock_khz, gpu->memory_clock_khz, gpu->memory_bus_bits,
                    gpu->total_bytes, gpu->l2_cache_bytes, gpu->shared_memory_per_block_bytes,
                    gpu->shared_memory_per_block_optin_bytes, gpu->reserved_shared_memory_per_block_bytes,
                    gpu->registers_per_multiprocessor, gpu->max_blocks_per_multiprocessor,
                    gpu->max_threads_per_multiprocessor, gpu->name);
}

static bool has_capability(int major, int minor) {
    const phantom_gpu *gpu = phantom_gpu_now();
    return gpu->capability_major == major && gpu->capability_minor == minor;
}

static cudnnBackendDescriptor_t make_device(void) {
    REAL(cudnnGetVersion);
    REAL(cudnnBackendCreateDescriptor);
    REAL(cudnnBackendSetAttribute);
    REAL(cudnnBackendFinalize);
    char json[2048];
    cudnnBackendDescriptor_t made = NULL;
    if (real_cudnnGetVersion() < (has_capability(10, 0) ? FIRST_VERSION_FOR_B200 : FIRST_VERSION_WITH_DEVICEPROP)) return NULL;
    if (real_cudnnBackendCreateDescriptor((cudnnBackendDescriptorType_t)DEVICEPROP_DESCRIPTOR, &made)) return NULL;
    int length = device_json(json, sizeof json);
    cudnnBackendAttributeName_t attribute = (cudnnBackendAttributeName_t)DEVICEPROP_JSON;
    if (real_cudnnBackendSetAttribute(made, attribute, CUDNN_TYPE_CHAR, length, json)) return NULL;
    return real_cudnnBackendFinalize(made) ? NULL : made;
}

static cudnnBackendDescriptor_t device;
static pthread_once_t device_once = PTHREAD_ONCE_INIT;

static void make_device_once(void) { device = make_device(); }

/* Whether cuDNN reports workspaces for this GPU; if not, plans are empty. self_test.py calls it too. */
bool phantom_cudnn_answers(void) {
    pthread_once(&device_once, make_device_once);
    return device != NULL;
}

static cudnnStatus_t set_device(cudnnBackendDescriptor_t descriptor, int attribute) {
    REAL(cudnnBackendSetAttribute);
    return real_cudnnBackendSetAttribute(descriptor, (cudnnBackendAttributeName_t)attribute,
                                         CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &device);
}

/* ---- descriptors that need the device before they are finalized ---- */

typedef struct needing {
    cudnnBackendDescriptor_t descriptor;
    int attribute;
    struct needing *next;
} needing;

enum { NEEDING_SLOTS = 1024 };
static needing *needing_slots[NEEDING_SLOTS];
static pthread_mutex_t needing_lock = PTHREAD_MUTEX_INITIALIZER;

static needing **needing_slot(cudnnBackendDescriptor_t descriptor) {
    return &needing_slots[((uintptr_t)descriptor >> 4) % NEEDING_SLOTS];
}

static void need_device(cudnnBackendDescriptor_t descriptor, int attribute) {
    needing *added = malloc(sizeof *added);
    if (!added) abort();
    pthread_mutex_lock(&needing_lock);
    needing **slot = needing_slot(descriptor);
    *added = (needing){descriptor, attribute, *slot};
    *slot = added;
    pthread_mutex_unlock(&needing_lock);
}

/* The attribute that takes the device, or 0; asked once for each descriptor. */
static int take_needed_device(cudnnBackendDescriptor_t descriptor) {
    int attribute = 0;
    pthread_mutex_lock(&needing_lock);
    for (needing **link = needing_slot(descriptor); *link; link = &(*link)->next) {
        needing *found = *link;
        if (found->descriptor != descriptor) continue;
        attribute = found->attribute;
        *link = found->next;
        free(found);
        break;
    }
    pthread_mutex_unlock(&needing_lock);
    return attribute;
}

/* ---- the backend API ---- */

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *descriptor) {
    REAL(cudnnBackendCreateDescriptor);
    if (!phantom_cudnn_answers()) {
        cudnnBackendDescriptorType_t *made = malloc(sizeof *made);
        if (made) *made = type;
        *descriptor = made;
        return made ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_ALLOC_FAILED;
    }
    cudnnStatus_t status = real_cudnnBackendCreateDescriptor(type, descriptor);
    if (status) return status;
    if (type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR) need_device(*descriptor, ENGINEHEUR_DEVICEPROP);
    if (type == CUDNN_BACKEND_ENGINE_DESCRIPTOR) need_device(*descriptor, ENGINE_DEVICEPROP);
    return status;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
    REAL(cudnnBackendDestroyDescriptor);
    if (!phantom_cudnn_answers()) {
        free(descriptor);
        return CUDNN_STATUS_SUCCESS;
    }
    take_needed_device(descriptor);
    return real_cudnnBackendDestroyDescriptor(descriptor);
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void *values) {
    REAL(cudnnBackendSetAttribute);
    if (!phantom_cudnn_answers() || name == CUDNN_ATTR_OPERATIONGRAPH_HANDLE) return CUDNN_STATUS_SUCCESS;
    if (name == CUDNN_ATTR_EXECUTION_PLAN_HANDLE) return set_device(descriptor, EXECUTION_PLAN_DEVICEPROP);
    return real_cudnnBackendSetAttribute(descriptor, name, type, count, values);
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
    REAL(cudnnBackendFinalize);
    if (!phantom_cudnn_answers()) return CUDNN_STATUS_SUCCESS;
    int attribute = take_needed_device(descriptor);
    if (attribute) set_device(descriptor, attribute);
    return real_cudnnBackendFinalize(descriptor);
}

/* Without an answer a heuristic has one result, a plan needs no workspace, and the rest is empty. */
static cudnnStatus_t get_empty(cudnnBackendAttributeName_t name, int64_t *count, void *values) {
    static const int64_t nothing;
    bool one = name == CUDNN_ATTR_ENGINEHEUR_RESULTS || name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE;
    if (name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE) {
        phantom_count_unknown_workspace();
        memcpy(values, &nothing, sizeof nothing);
    }
    if (count) *count = one;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(const cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t requested, int64_t *count,
                                       void *values) {
    REAL(cudnnBackendGetAttribute);
    if (!phantom_cudnn_answers()) return get_empty(name, count, values);
    cudnnStatus_t status = real_cudnnBackendGetAttribute(descriptor, name, type, requested, count, values);
    if (name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE && !status && has_capability(9, 0))
        *(int64_t *)values = phantom_workspace_on_hopper(descriptor, *(int64_t *)values);
    return status;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t variant) {
    (void)plan, (void)variant;
    phantom_launched(handle->base.stream);
    return CUDNN_STATUS_SUCCESS;
}
