/* What PyTorch's caching allocator counts in each process of a run: libphantom_torch.so, preloaded by `memprof run`.
 *
 * The allocator reports each allocation and free, with its totals, to c10::reportMemoryUsageToProfiler, and each
 * request that the GPU could not serve to c10::reportOutOfMemoryToProfiler. Both are functions of libc10.so that other
 * libraries call, so definitions in a preloaded library come first. Those here note the highest totals in the file that
 * MEMPROF_COUNTERS names, and go on to the real functions. So the peaks are also right if the program resets PyTorch's
 * own peaks, or is killed. counters.py reads the same layout.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device.h"
#include "torch_blocks.h"

enum { CUDA = 1, PROCESSES = 256 }; /* c10::DeviceType::CUDA, torch/headeronly/core/DeviceType.h */

typedef struct {
    _Atomic uint64_t allocated_bytes; /* the highest total */
    _Atomic uint64_t reserved_bytes;
    _Atomic uint64_t refusals; /* requests for which there was no memory */
    _Atomic uint64_t wanted_bytes; /* the most that would have been reserved with one of them */
} gpu_counters;

typedef struct {
    _Atomic int64_t pid; /* 0: free; a row stays after its process has ended */
    int64_t rank;        /* of torchrun; -1: none */
    gpu_counters gpus[PHANTOM_MAX_DEVICES];
} process_counters;

typedef struct {
    _Atomic uint64_t uncounted; /* processes for which there was no row */
    process_counters processes[PROCESSES];
} counters_page;

typedef struct {
    int8_t type, index;
} c10_device; /* c10::Device, c10/core/Device.h */

typedef void usage_report(void *, int64_t, size_t, size_t, c10_device);
typedef void refusal_report(int64_t, size_t, size_t, c10_device);

#define USAGE "_ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE"
#define REFUSAL "_ZN3c1027reportOutOfMemoryToProfilerElmmNS_6DeviceE"
usage_report counters_note_usage __asm__(USAGE);
refusal_report counters_note_refusal __asm__(REFUSAL);

static process_counters *own_row;
static bool decided; /* own_row is the row of this process, or there is none */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void forget_after_fork(void) {
    pthread_mutex_init(&lock, NULL);
    own_row = NULL;
    decided = false;
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, forget_after_fork); }

static counters_page *open_page(void) {
    const char *path = getenv("MEMPROF_COUNTERS");
    int file = path && *path ? open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (file < 0) return NULL;
    void *shared = ftruncate(file, sizeof(counters_page)) == 0
                       ? mmap(NULL, sizeof(counters_page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
                       : MAP_FAILED;
    close(file);
    return shared == MAP_FAILED ? NULL : shared;
}

static process_counters *claim_row(counters_page *page) {
    const char *rank = getenv("RANK");
    for (int i = 0; i < PROCESSES; i++) {
        int64_t free_row = 0;
        process_counters *row = &page->processes[i];
        if (!atomic_compare_exchange_strong(&row->pid, &free_row, getpid())) continue;
        row->rank = rank && *rank ? atoi(rank) : -1;
        return row;
    }
    atomic_fetch_add(&page->uncounted, 1);
    return NULL;
}

/* The counters of a device in this process; NULL if there is no place for them. */
static gpu_counters *counters_of(c10_device device) {
    if (device.type != CUDA || !phantom_is_device(device.index)) return NULL;
    pthread_mutex_lock(&lock);
    if (!decided) {
        counters_page *page = open_page();
        own_row = page ? claim_row(page) : NULL;
        decided = true;
    }
    pthread_mutex_unlock(&lock);
    return own_row ? &own_row->gpus[phantom_gpu_index(device.index)] : NULL;
}

/* Another thread may raise the same peak: devices have locks of their own, and several may be one GPU. */
static void raise_peak(_Atomic uint64_t *peak_bytes, uint64_t total) {
    uint64_t peak = atomic_load(peak_bytes);
    while (peak < total && !atomic_compare_exchange_weak(peak_bytes, &peak, total)) {
    }
}

/* PyTorch's libraries are not in the global scope, where RTLD_NEXT searches. */
static void *real(const char *name) {
    void *c10 = dlopen("libc10.so", RTLD_LAZY | RTLD_NOLOAD);
    return c10 ? dlsym(c10, name) : NULL;
}

void counters_note_usage(void *block, int64_t change, size_t allocated, size_t reserved, c10_device device) {
    gpu_counters *counters = counters_of(device);
    if (counters) {
        raise_peak(&counters->allocated_bytes, allocated);
        raise_peak(&counters->reserved_bytes, reserved);
    }
    phantom_note_block(block, change);
    static usage_report *report;
    if (!report) report = (usage_report *)real(USAGE);
    if (report) report(block, change, allocated, reserved, device);
}

void counters_note_refusal(int64_t requested, size_t allocated, size_t reserved, c10_device device) {
    gpu_counters *counters = counters_of(device);
    if (counters) {
        atomic_fetch_add(&counters->refusals, 1);
        raise_peak(&counters->wanted_bytes, reserved + (size_t)requested);
    }
    static refusal_report *report;
    if (!report) report = (refusal_report *)real(REFUSAL);
    if (report) report(requested, allocated, reserved, device);
}
