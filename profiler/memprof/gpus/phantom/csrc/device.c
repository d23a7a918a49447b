/* Which GPUs this process emulates, and which of CUDA's devices is current.
 *
 * The environment variable MEMPROF_PHANTOM describes the GPU. It is read at the first call that needs it and not when
 * the library is loaded, so that a fork server that never makes such a call can serve every GPU of the catalog.
 * CUDA_VISIBLE_DEVICES is read at the first call that needs a device, as the driver reads it in cuInit; NVML does
 * not.
 */
#include "device.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "visible.h"

/* MEMPROF_PHANTOM is "key=value;key=value;..." with the keys below and `devices`, the number of equal GPUs. */
typedef struct {
    const char *key;
    size_t offset;
} field;

#define FIELD(name) {#name, offsetof(phantom_gpu, name)}
static const field SIZE_FIELDS[] = {
    FIELD(total_bytes),   FIELD(nvml_total_bytes), FIELD(context_bytes),
    FIELD(kernels_bytes), FIELD(cublas_bytes),     FIELD(cudnn_bytes),
};

static const field INT_FIELDS[] = {
    FIELD(multiprocessors),
    FIELD(l2_cache_bytes),
    FIELD(shared_memory_per_block_bytes),
    FIELD(shared_memory_per_block_optin_bytes),
    FIELD(shared_memory_per_multiprocessor_bytes),
    FIELD(reserved_shared_memory_per_block_bytes),
    FIELD(registers_per_block),
    FIELD(registers_per_multiprocessor),
    FIELD(max_threads_per_multiprocessor),
    FIELD(max_blocks_per_multiprocessor),
    FIELD(clock_khz),
    FIELD(memory_clock_khz),
    FIELD(memory_bus_bits),
};
#undef FIELD

static phantom_gpu the_gpu;
static int gpu_count, device_count;
static int gpus_of_devices[PHANTOM_MAX_DEVICES];
static _Atomic bool gpu_is_read, devices_are_read, kept;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local int current_device;

static bool set_field(phantom_gpu *gpu, int *devices, const char *key, const char *value) {
    if (!strcmp(key, "name")) {
        snprintf(gpu->name, sizeof gpu->name, "%s", value);
        return true;
    }
    if (!strcmp(key, "compute_capability"))
        return sscanf(value, "%d.%d", &gpu->capability_major, &gpu->capability_minor) == 2;
    char *end;
    long long number = strtoll(value, &end, 10);
    if (*end || number < 0) return false;
    if (!strcmp(key, "devices")) return *devices = (int)number, number >= 1 && number <= PHANTOM_MAX_DEVICES;
    for (size_t i = 0; i < sizeof SIZE_FIELDS / sizeof *SIZE_FIELDS; i++)
        if (!strcmp(key, SIZE_FIELDS[i].key)) {
            size_t wide = (size_t)number;
            memcpy((char *)gpu + SIZE_FIELDS[i].offset, &wide, sizeof wide);
            return true;
        }
    for (size_t i = 0; i < sizeof INT_FIELDS / sizeof *INT_FIELDS; i++)
        if (!strcmp(key, INT_FIELDS[i].key)) {
            int narrow = (int)number;
            memcpy((char *)gpu + INT_FIELDS[i].offset, &narrow, sizeof narrow);
            return true;
        }
    return false;
}

static int parse(const char *text, phantom_gpu *gpu) {
    char copy[4096], *rest = copy, *pair;
    int devices = 1;
    memset(gpu, 0, sizeof *gpu);
    if (!text || snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy) return 0;
    while ((pair = strsep(&rest, ";"))) {
        char *value = strchr(pair, '=');
        if (!*pair) continue;
        if (value) *value++ = '\0';
        if (!value || !set_field(gpu, &devices, pair, value)) {
            fprintf(stderr, "memprof phantom: MEMPROF_PHANTOM: cannot read %s\n", pair);
            return 0;
        }
    }
    return gpu->total_bytes && gpu->multiprocessors ? devices : 0;
}

/* A child that was forked before its parent used a device may emulate another GPU than its parent would have. */
static void forget_after_fork(void) {
    pthread_mutex_init(&lock, NULL);
    if (atomic_load(&kept)) return;
    atomic_store(&gpu_is_read, false);
    atomic_store(&devices_are_read, false);
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, forget_after_fork); }

void phantom_keep_gpu(void) { atomic_store(&kept, true); }

static void read_gpu(void) {
    if (atomic_load(&gpu_is_read)) return;
    pthread_mutex_lock(&lock);
    if (!atomic_load(&gpu_is_read)) {
        gpu_count = parse(getenv("MEMPROF_PHANTOM"), &the_gpu);
        atomic_store(&gpu_is_read, true);
    }
    pthread_mutex_unlock(&lock);
}

static void read_devices(void) {
    if (atomic_load(&devices_are_read)) return;
    read_gpu();
    pthread_mutex_lock(&lock);
    if (!atomic_load(&devices_are_read)) {
        device_count = phantom_visible_gpus(getenv("CUDA_VISIBLE_DEVICES"), gpu_count, gpus_of_devices);
        atomic_store(&devices_are_read, true);
    }
    pthread_mutex_unlock(&lock);
}

const phantom_gpu *phantom_gpu_now(void) {
    read_gpu();
    return &the_gpu;
}

int phantom_gpu_count(void) {
    read_gpu();
    return gpu_count;
}

int phantom_device_count(void) {
    read_devices();
    return device_count;
}

bool phantom_is_device(int device) { return device >= 0 && device < phantom_device_count(); }

int phantom_gpu_index(int device) { return phantom_is_device(device) ? gpus_of_devices[device] : 0; }

int phantom_current_device(void) { return current_device; }

bool phantom_set_current_device(int device) {
    if (phantom_is_device(device)) current_device = device;
    return phantom_is_device(device);
}

/* CUDA 13 dropped Maxwell, Pascal and Volta, its libraries too: release notes of CUDA 13.0. */
bool phantom_too_old(int cuda_version) {
    const phantom_gpu *gpu = phantom_gpu_now();
    return cuda_version >= 13000 && 10 * gpu->capability_major + gpu->capability_minor < 75;
}
