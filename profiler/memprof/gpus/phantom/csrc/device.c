/* Which GPU this process plays, and which of its devices is current. */
#include "phantom.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* MEMPROF_PHANTOM is "key=value;key=value;..." with the keys below and `devices`, the number of equal GPUs. */
typedef struct {
    const char *key;
    size_t offset;
} field;

#define FIELD(name) {#name, offsetof(phantom_gpu, name)}
static const field SIZE_FIELDS[] = {
    FIELD(total_bytes), FIELD(context_bytes), FIELD(kernels_bytes), FIELD(cublas_bytes), FIELD(cudnn_bytes),
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
static int device_count;
static bool latched;
static bool touched[PHANTOM_MAX_DEVICES];
static _Atomic bool loaded[PHANTOM_MAX_DEVICES][PHANTOM_CODES];
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

/* A child forked before its parent used a device may play another GPU than its parent would have. */
static void forget_after_fork(void) {
    pthread_mutex_init(&lock, NULL);
    for (int i = 0; i < PHANTOM_MAX_DEVICES; i++)
        if (touched[i]) return;
    latched = false;
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, forget_after_fork); }

static void latch(void) {
    pthread_mutex_lock(&lock);
    if (!latched) {
        device_count = parse(getenv("MEMPROF_PHANTOM"), &the_gpu);
        latched = true;
    }
    pthread_mutex_unlock(&lock);
}

/* CUDA_VISIBLE_DEVICES hides phantoms as it hides real GPUs; only its emptiness and length matter, all being alike. */
static int visible(int count) {
    const char *text = getenv("CUDA_VISIBLE_DEVICES");
    if (!text) return count;
    if (!*text || !strcmp(text, "-1")) return 0;
    int named = 1;
    for (const char *c = text; *c; c++) named += *c == ',';
    return named < count ? named : count;
}

int phantom_device_count(void) {
    latch();
    return visible(device_count);
}

const phantom_gpu *phantom_gpu_now(void) {
    latch();
    return &the_gpu;
}

int phantom_current_device(void) { return current_device; }

bool phantom_set_current_device(int device) {
    if (device < 0 || device >= phantom_device_count()) return false;
    current_device = device;
    return true;
}

void phantom_touch(int device) {
    if (device < 0 || device >= PHANTOM_MAX_DEVICES) return;
    const phantom_gpu *gpu = phantom_gpu_now();
    pthread_mutex_lock(&lock);
    bool first = !touched[device];
    touched[device] = true;
    pthread_mutex_unlock(&lock);
    if (first) phantom_take(device, gpu->context_bytes);
}

bool phantom_load(int device, phantom_code code) {
    if (device < 0 || device >= PHANTOM_MAX_DEVICES) return true;
    phantom_touch(device);
    if (atomic_exchange(&loaded[device][code], true)) return true;
    const phantom_gpu *gpu = phantom_gpu_now();
    const size_t bytes[PHANTOM_CODES] = {gpu->kernels_bytes, gpu->cublas_bytes, gpu->cudnn_bytes};
    if (!bytes[code] || phantom_take(device, bytes[code])) return true;
    atomic_store(&loaded[device][code], false); /* PyTorch frees its cache and tries again */
    return false;
}

bool phantom_touched(int device) { return device >= 0 && device < PHANTOM_MAX_DEVICES && touched[device]; }

/* CUDA 13 dropped Maxwell, Pascal and Volta, its libraries too: release notes of CUDA 13.0. */
bool phantom_too_old(int cuda_version) {
    const phantom_gpu *gpu = phantom_gpu_now();
    return cuda_version >= 13000 && 10 * gpu->capability_major + gpu->capability_minor < 75;
}

void phantom_uuid(int device, unsigned char uuid[16]) {
    memcpy(uuid, "memprof-phantom", 15);
    uuid[15] = (unsigned char)device;
}
