/* cuDNN: the real library chooses the plans and says what workspace each one takes.
 *
 * NVIDIA documents how to build plans with no device ("deviceless ahead-of-time compilation"): a device-properties
 * descriptor made from JSON stands where a handle of a real device would. The calls of the backend API are passed on
 * with that one exchange made, and executing a plan does nothing. Where cuDNN does not take the JSON, plans are hollow
 * and each one is counted as a workspace that nobody knows.
 */
#include <cudnn_adv.h>
#include <cudnn_cnn.h>
#include <cudnn_graph.h>
#include <cudnn_ops.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cudnn_real.h"
#include "handle.h"
#include "phantom.h"

/* The device-properties descriptor came with cuDNN 9.8; older headers lack its names, and every cuDNN keeps the numbers. */
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

void *phantom_real_cudnn(const char *name) {
    static void *library;
    if (!library) library = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_NOLOAD);
    if (!library) library = dlopen("libcudnn.so.9", RTLD_NOW);
    void *function = library ? dlsym(library, name) : NULL;
    if (!function) {
        fprintf(stderr, "memprof phantom: libcudnn.so.9 has no %s\n", name);
        abort();
    }
    return function;
}

/* ---- handles ---- */

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
    if (phantom_too_old(CUDART_VERSION)) return CUDNN_STATUS_ARCH_MISMATCH;
    if (!phantom_load(phantom_current_device(), PHANTOM_CUDNN)) return CUDNN_STATUS_ALLOC_FAILED;
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
                    100 * gpu->capability_major + 10 * gpu->capability_minor, CUDART_VERSION, gpu->registers_per_block,
                    gpu->multiprocessors, gpu->clock_khz, gpu->memory_clock_khz, gpu->memory_bus_bits,
                    gpu->total_bytes, gpu->l2_cache_bytes, gpu->shared_memory_per_block_bytes,
                    gpu->shared_memory_per_block_optin_bytes, gpu->reserved_shared_memory_per_block_bytes,
                    gpu->registers_per_multiprocessor, gpu->max_blocks_per_multiprocessor,
                    gpu->max_threads_per_multiprocessor, gpu->name);
}

static cudnnBackendDescriptor_t make_device(void) {
    REAL(cudnnGetVersion);
    REAL(cudnnBackendCreateDescriptor);
    REAL(cudnnBackendSetAttribute);
    REAL(cudnnBackendFinalize);
    char json[2048];
    cudnnBackendDescriptor_t made = NULL;
    const phantom_gpu *gpu = phantom_gpu_now();
    bool is_b200 = gpu->capability_major == 10 && gpu->capability_minor == 0;
    if (real_cudnnGetVersion() < (is_b200 ? FIRST_VERSION_FOR_B200 : FIRST_VERSION_WITH_DEVICEPROP)) return NULL;
    if (real_cudnnBackendCreateDescriptor((cudnnBackendDescriptorType_t)DEVICEPROP_DESCRIPTOR, &made)) return NULL;
    int length = device_json(json, sizeof json);
    cudnnBackendAttributeName_t attribute = (cudnnBackendAttributeName_t)DEVICEPROP_JSON;
    if (real_cudnnBackendSetAttribute(made, attribute, CUDNN_TYPE_CHAR, length, json)) return NULL;
    return real_cudnnBackendFinalize(made) ? NULL : made;
}

static cudnnBackendDescriptor_t device;
static pthread_once_t device_once = PTHREAD_ONCE_INIT;

static void make_device_once(void) { device = make_device(); }

/* True where cuDNN does not answer for this GPU, and plans are hollow. */
static bool hollow(void) {
    pthread_once(&device_once, make_device_once);
    return !device;
}

bool phantom_cudnn_answers(void) { return !hollow(); }

static cudnnStatus_t set_device(cudnnBackendDescriptor_t descriptor, int attribute) {
    REAL(cudnnBackendSetAttribute);
    return real_cudnnBackendSetAttribute(descriptor, (cudnnBackendAttributeName_t)attribute,
                                         CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &device);
}

/* ---- which descriptors want the device before they are finalized ---- */

typedef struct wanting {
    cudnnBackendDescriptor_t descriptor;
    int attribute;
    struct wanting *next;
} wanting;

enum { WANTING_SLOTS = 1024 };
static wanting *wanting_slots[WANTING_SLOTS];
static pthread_mutex_t wanting_lock = PTHREAD_MUTEX_INITIALIZER;

static wanting **wanting_slot(cudnnBackendDescriptor_t descriptor) {
    return &wanting_slots[((uintptr_t)descriptor >> 4) % WANTING_SLOTS];
}

static void want_device(cudnnBackendDescriptor_t descriptor, int attribute) {
    wanting *added = malloc(sizeof *added);
    if (!added) abort();
    pthread_mutex_lock(&wanting_lock);
    wanting **slot = wanting_slot(descriptor);
    *added = (wanting){descriptor, attribute, *slot};
    *slot = added;
    pthread_mutex_unlock(&wanting_lock);
}

/* The attribute that takes the device, or 0; asked once for each descriptor. */
static int wanted_device(cudnnBackendDescriptor_t descriptor) {
    int attribute = 0;
    pthread_mutex_lock(&wanting_lock);
    for (wanting **link = wanting_slot(descriptor); *link; link = &(*link)->next) {
        wanting *found = *link;
        if (found->descriptor != descriptor) continue;
        attribute = found->attribute;
        *link = found->next;
        free(found);
        break;
    }
    pthread_mutex_unlock(&wanting_lock);
    return attribute;
}

/* ---- the backend API ---- */

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *descriptor) {
    REAL(cudnnBackendCreateDescriptor);
    if (hollow()) {
        cudnnBackendDescriptorType_t *made = malloc(sizeof *made);
        if (made) *made = type;
        *descriptor = made;
        return made ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_ALLOC_FAILED;
    }
    cudnnStatus_t status = real_cudnnBackendCreateDescriptor(type, descriptor);
    if (status) return status;
    if (type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR) want_device(*descriptor, ENGINEHEUR_DEVICEPROP);
    if (type == CUDNN_BACKEND_ENGINE_DESCRIPTOR) want_device(*descriptor, ENGINE_DEVICEPROP);
    return status;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
    REAL(cudnnBackendDestroyDescriptor);
    if (hollow()) {
        free(descriptor);
        return CUDNN_STATUS_SUCCESS;
    }
    wanted_device(descriptor);
    return real_cudnnBackendDestroyDescriptor(descriptor);
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void *values) {
    REAL(cudnnBackendSetAttribute);
    if (hollow() || name == CUDNN_ATTR_OPERATIONGRAPH_HANDLE) return CUDNN_STATUS_SUCCESS;
    if (name == CUDNN_ATTR_EXECUTION_PLAN_HANDLE) return set_device(descriptor, EXECUTION_PLAN_DEVICEPROP);
    return real_cudnnBackendSetAttribute(descriptor, name, type, count, values);
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
    REAL(cudnnBackendFinalize);
    if (hollow()) return CUDNN_STATUS_SUCCESS;
    int attribute = wanted_device(descriptor);
    if (attribute) set_device(descriptor, attribute);
    return real_cudnnBackendFinalize(descriptor);
}

/* A hollow heuristic has one result, a hollow plan needs no workspace, and the rest is empty. */
static cudnnStatus_t get_hollow(cudnnBackendAttributeName_t name, int64_t *count, void *values) {
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
    if (hollow()) return get_hollow(name, count, values);
    return real_cudnnBackendGetAttribute(descriptor, name, type, requested, count, values);
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t variant) {
    (void)plan, (void)variant;
    phantom_launched(handle->base.stream);
    return CUDNN_STATUS_SUCCESS;
}
