/* How much of each GPU is taken, and by which process.
 *
 * MEMPROF_PHANTOM_LEDGER names the ledger's file: then all processes of one `memprof run` share the phantom's memory,
 * as they would share a GPU, and memprof reads the peak at the end. If it names a folder, with a slash at the end,
 * each process has its own phantom, and its ledger is there under its process id, for `memprof monitor` to read. Else
 * the ledger is private to the process. ledger.py reads the same layout.
 */
#include "ledger.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device.h"
#include "process.h"

typedef struct {
    _Atomic int64_t pid; /* 0: free */
    _Atomic uint64_t used_bytes[PHANTOM_MAX_DEVICES];
    _Atomic uint64_t peak_bytes[PHANTOM_MAX_DEVICES];
} process_row;

typedef struct {
    _Atomic uint64_t used_bytes[PHANTOM_MAX_DEVICES];
    _Atomic uint64_t peak_bytes[PHANTOM_MAX_DEVICES];
    _Atomic uint64_t unknown_workspaces;
    _Atomic uint64_t communicators;
    _Atomic uint64_t total_bytes; /* of each GPU */
    _Atomic uint64_t gpus;
    char gpu_name[PHANTOM_NAME_LENGTH];
    process_row processes[PHANTOM_MAX_PROCESSES];
} ledger_page;

static ledger_page private_page;
static ledger_page *page;
static process_row *own_row;
static int64_t own_pid;
static char own_file[PATH_MAX]; /* empty unless the ledger is this process's own */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int open_file(void) {
    const char *path = getenv("MEMPROF_PHANTOM_LEDGER");
    size_t length = path ? strlen(path) : 0;
    if (!length) return -1;
    if (path[length - 1] != '/') return open(path, O_RDWR | O_CLOEXEC);
    int needed = snprintf(own_file, sizeof own_file, "%s%d.ledger", path, (int)own_pid);
    if (needed >= (int)sizeof own_file) *own_file = '\0';
    int file = open(own_file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) *own_file = '\0';
    return file;
}

static ledger_page *open_page(void) {
    int file = open_file();
    if (file < 0) return &private_page;
    void *shared = ftruncate(file, sizeof(ledger_page)) == 0
                       ? mmap(NULL, sizeof(ledger_page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
                       : MAP_FAILED;
    close(file);
    return shared == MAP_FAILED ? &private_page : shared;
}

/* Gives back what killed processes had, as the driver would have done. A row with this process's id that is not its
 * own is from before an exec. */
static void remove_dead_processes(void) {
    for (int i = 0; i < PHANTOM_MAX_PROCESSES; i++) {
        process_row *row = &page->processes[i];
        int64_t pid = atomic_load(&row->pid);
        if (pid <= 0 || row == own_row || (pid != own_pid && !phantom_has_ended((pid_t)pid))) continue;
        if (!atomic_compare_exchange_strong(&row->pid, &pid, -1)) continue;
        for (int gpu = 0; gpu < PHANTOM_MAX_DEVICES; gpu++)
            atomic_fetch_sub(&page->used_bytes[gpu], atomic_exchange(&row->used_bytes[gpu], 0));
        atomic_store(&row->pid, 0);
    }
}

static void claim_row(void) {
    for (int i = 0; i < PHANTOM_MAX_PROCESSES; i++) {
        int64_t free_row = 0;
        if (atomic_compare_exchange_strong(&page->processes[i].pid, &free_row, own_pid)) {
            own_row = &page->processes[i];
            for (int gpu = 0; gpu < PHANTOM_MAX_DEVICES; gpu++)
                atomic_store(&own_row->peak_bytes[gpu], 0); /* of the process that had the row before */
            return;
        }
    }
}

static void describe_gpu(void) {
    const phantom_gpu *spec = phantom_gpu_now();
    memcpy(page->gpu_name, spec->name, sizeof page->gpu_name);
    atomic_store(&page->gpus, (uint64_t)phantom_gpu_count());
    atomic_store(&page->total_bytes, spec->total_bytes);
}

static void forget_after_fork(void) {
    pthread_mutex_init(&lock, NULL);
    *own_file = '\0';
    if (page == &private_page) memset(&private_page, 0, sizeof private_page);
    page = NULL;
    own_row = NULL;
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, forget_after_fork); }

__attribute__((destructor)) static void leave(void) {
    if (!own_row || own_pid != getpid()) return;
    for (int gpu = 0; gpu < PHANTOM_MAX_DEVICES; gpu++)
        atomic_fetch_sub(&page->used_bytes[gpu], atomic_exchange(&own_row->used_bytes[gpu], 0));
    atomic_store(&own_row->pid, 0);
    if (*own_file) unlink(own_file);
}

static ledger_page *ledger(void) {
    if (page) return page;
    pthread_mutex_lock(&lock);
    if (!page) {
        own_pid = getpid();
        ledger_page *opened = open_page();
        page = opened;
        describe_gpu();
        remove_dead_processes();
        claim_row();
    }
    pthread_mutex_unlock(&lock);
    return page;
}

static void raise_peak(_Atomic uint64_t *peak_bytes, uint64_t used) {
    uint64_t peak = atomic_load(peak_bytes);
    while (peak < used && !atomic_compare_exchange_weak(peak_bytes, &peak, used)) {
    }
}

static bool take_within(ledger_page *book, int gpu, size_t bytes, size_t limit) {
    uint64_t used = atomic_load(&book->used_bytes[gpu]);
    do {
        if (used + bytes > limit) return false;
    } while (!atomic_compare_exchange_weak(&book->used_bytes[gpu], &used, used + bytes));
    raise_peak(&book->peak_bytes[gpu], used + bytes);
    if (own_row) {
        uint64_t before = atomic_fetch_add(&own_row->used_bytes[gpu], bytes);
        raise_peak(&own_row->peak_bytes[gpu], before + bytes);
    }
    return true;
}

bool phantom_take(int gpu, size_t bytes) {
    ledger_page *book = ledger();
    size_t limit = phantom_gpu_now()->total_bytes;
    if (take_within(book, gpu, bytes, limit)) return true;
    remove_dead_processes();
    return take_within(book, gpu, bytes, limit);
}

void phantom_give_back(int gpu, size_t bytes) {
    atomic_fetch_sub(&ledger()->used_bytes[gpu], bytes);
    if (own_row) atomic_fetch_sub(&own_row->used_bytes[gpu], bytes);
}

size_t phantom_used_bytes(int gpu) {
    ledger_page *book = ledger();
    remove_dead_processes();
    return atomic_load(&book->used_bytes[gpu]);
}

size_t phantom_peak_bytes(int gpu) { return atomic_load(&ledger()->peak_bytes[gpu]); }

int phantom_processes(int gpu, int capacity, int *pids, size_t *used_bytes) {
    ledger_page *book = ledger();
    int count = 0;
    remove_dead_processes();
    for (int i = 0; i < PHANTOM_MAX_PROCESSES && count < capacity; i++) {
        int64_t pid = atomic_load(&book->processes[i].pid);
        uint64_t used = atomic_load(&book->processes[i].used_bytes[gpu]);
        if (pid <= 0 || !used) continue;
        pids[count] = (int)pid;
        used_bytes[count++] = used;
    }
    return count;
}

void phantom_count_unknown_workspace(void) { atomic_fetch_add(&ledger()->unknown_workspaces, 1); }

uint64_t phantom_unknown_workspaces(void) { return atomic_load(&ledger()->unknown_workspaces); }

void phantom_count_communicator(void) { atomic_fetch_add(&ledger()->communicators, 1); }

uint64_t phantom_communicators(void) { return atomic_load(&ledger()->communicators); }
