/* Addresses without memory behind them: nothing here can be read or written, and 80 GB cost nothing. */
#include "phantom.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct {
    char *start;
    size_t bytes;
    int device;
} block;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static block *blocks; /* in the order of their addresses */
static size_t block_count, block_capacity;
static char *arena, *arena_end;

/* The driver's policy for addresses. Where the caching allocator breaks ties between free blocks by address, this decides
 * which block it takes again. Snapshots of real runs show more than one, hence MEMPROF_PHANTOM_ADDRESSES, whose values
 * `addresses.py` explains; the first is the default. */
typedef enum { ASCENDING, DESCENDING, APART, MIXED } policy;

static policy chosen_policy(void) {
    static const char *const NAMES[] = {"ascending", "descending", "apart", "mixed"};
    static policy chosen;
    static bool known;
    const char *name = known ? NULL : getenv("MEMPROF_PHANTOM_ADDRESSES");
    known = true;
    if (!name || !*name) return chosen;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (!strcmp(name, NAMES[i])) return chosen = (policy)i;
    fprintf(stderr, "memprof phantom: MEMPROF_PHANTOM_ADDRESSES: there is no policy %s\n", name);
    return chosen;
}

/* Each device gets a window of its own, half as large again as its memory, so that fragmentation has room; where the
 * policy leaves 30 MiB free behind a segment of 2 MiB, seventeen times as large.
 * The base is where one published snapshot of a real run shows the driver's first segment. */
static const uintptr_t ARENA_BASE = 0x704400000;

static size_t window_bytes(void) {
    size_t total = phantom_gpu_now()->total_bytes;
    size_t window = chosen_policy() == APART ? 17 * total : total + total / 2;
    return (window + PHANTOM_PAGE_BYTES - 1) / PHANTOM_PAGE_BYTES * PHANTOM_PAGE_BYTES;
}

static bool open_arena(void) {
    if (arena) return true;
    size_t bytes = window_bytes() * (size_t)phantom_device_count();
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *at = mmap((void *)ARENA_BASE, bytes, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
    if (at == MAP_FAILED) at = mmap(NULL, bytes + PHANTOM_PAGE_BYTES, PROT_NONE, flags, -1, 0);
    if (at == MAP_FAILED) return false;
    uintptr_t aligned = ((uintptr_t)at + PHANTOM_PAGE_BYTES - 1) / PHANTOM_PAGE_BYTES * PHANTOM_PAGE_BYTES;
    arena = (char *)aligned;
    arena_end = arena + bytes;
    return true;
}

/* The lowest place at `from` or above, on steps of `step` from the arena's start, in the window that ends at `end`. */
static char *find_lowest(char *from, char *end, size_t bytes, size_t step, size_t *position) {
    size_t i = 0;
    for (char *gap = from;; gap = blocks[i].start + blocks[i].bytes) {
        while (i < block_count && blocks[i].start + blocks[i].bytes <= gap) i++;
        char *place = arena + ((size_t)(gap - arena) + step - 1) / step * step;
        char *limit = i < block_count && blocks[i].start < end ? blocks[i].start : end;
        *position = i;
        if (place <= limit && (size_t)(limit - place) >= bytes) return place;
        if (limit == end) return NULL;
    }
}

static char *find_highest(char *from, char *end, size_t bytes, size_t *position) {
    size_t i = block_count;
    while (i > 0 && blocks[i - 1].start >= end) i--;
    for (char *limit = end;; limit = blocks[--i].start) {
        char *gap = i > 0 && blocks[i - 1].start >= from ? blocks[i - 1].start + blocks[i - 1].bytes : from;
        *position = i;
        if ((size_t)(limit - gap) >= bytes) return limit - bytes;
        if (gap == from) return NULL;
    }
}

/* Heads or tails, in an order without any pattern that is the same in every process. */
static bool toss(void) {
    static uint64_t state = 0x9e3779b97f4a7c15; /* xorshift64, https://doi.org/10.18637/jss.v008.i14 */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state >> 63;
}

static char *find_gap(int device, size_t bytes, size_t *position) {
    enum { SEGMENT_BYTES = 20 << 20, SEGMENT_STEP_BYTES = 32 << 20 };
    char *from = arena + (size_t)device * window_bytes(), *end = from + window_bytes();
    policy now = chosen_policy();
    if (now == DESCENDING || (now == APART && bytes > SEGMENT_BYTES) || (now == MIXED && toss()))
        return find_highest(from, end, bytes, position);
    return find_lowest(from, end, bytes, now == APART ? SEGMENT_STEP_BYTES : PHANTOM_PAGE_BYTES, position);
}

static bool insert_block(size_t position, block added) {
    if (block_count == block_capacity) {
        size_t capacity = block_capacity ? 2 * block_capacity : 1024;
        block *larger = realloc(blocks, capacity * sizeof *blocks);
        if (!larger) return false;
        blocks = larger;
        block_capacity = capacity;
    }
    memmove(blocks + position + 1, blocks + position, (block_count - position) * sizeof *blocks);
    blocks[position] = added;
    block_count++;
    return true;
}

/* The block that holds `address`, or NULL. */
static block *find_block(const void *address) {
    size_t low = 0, high = block_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if ((const char *)address < blocks[middle].start) high = middle;
        else if ((const char *)address >= blocks[middle].start + blocks[middle].bytes) low = middle + 1;
        else return &blocks[middle];
    }
    return NULL;
}

void *phantom_allocate(int device, size_t bytes) {
    size_t whole = (bytes + PHANTOM_PAGE_BYTES - 1) / PHANTOM_PAGE_BYTES * PHANTOM_PAGE_BYTES, position;
    if (whole < bytes || !phantom_take(device, whole)) return NULL;
    pthread_mutex_lock(&lock);
    char *start = open_arena() ? find_gap(device, whole, &position) : NULL;
    if (start && !insert_block(position, (block){start, whole, device})) start = NULL;
    pthread_mutex_unlock(&lock);
    if (!start) phantom_give_back(device, whole);
    return start;
}

bool phantom_free(void *address) {
    pthread_mutex_lock(&lock);
    block *found = find_block(address), freed = {0};
    bool known = found && found->start == address;
    if (known) {
        freed = *found;
        memmove(found, found + 1, (size_t)(blocks + block_count - found - 1) * sizeof *blocks);
        block_count--;
    }
    pthread_mutex_unlock(&lock);
    if (!known) return false;
    phantom_forget_values(freed.start, freed.bytes);
    phantom_give_back(freed.device, freed.bytes);
    return true;
}

void *phantom_reserve(size_t bytes, size_t alignment) {
    size_t step = alignment > PHANTOM_PAGE_BYTES ? alignment : PHANTOM_PAGE_BYTES;
    char *start = mmap(NULL, bytes + step, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) return NULL;
    char *aligned = (char *)(((uintptr_t)start + step - 1) / step * step);
    if (aligned > start) munmap(start, (size_t)(aligned - start));
    munmap(aligned + bytes, step - (size_t)(aligned - start));
    pthread_mutex_lock(&lock);
    size_t position = 0;
    while (position < block_count && blocks[position].start < aligned) position++;
    bool kept = insert_block(position, (block){aligned, bytes, phantom_current_device()});
    pthread_mutex_unlock(&lock);
    return kept ? aligned : NULL;
}

bool phantom_unreserve(void *address, size_t bytes) {
    pthread_mutex_lock(&lock);
    block *found = find_block(address);
    bool known = found && found->start == address && found->bytes == bytes;
    if (known) {
        memmove(found, found + 1, (size_t)(blocks + block_count - found - 1) * sizeof *blocks);
        block_count--;
    }
    pthread_mutex_unlock(&lock);
    if (!known) return false;
    phantom_forget_values(address, bytes);
    munmap(address, bytes);
    return true;
}

int phantom_owner(const void *address) {
    pthread_mutex_lock(&lock);
    block *found = find_block(address);
    int device = found ? found->device : -1;
    pthread_mutex_unlock(&lock);
    return device;
}
