/* Addresses without memory behind them: nothing here can be read or written, and 80 GB cost nothing. */
#include "phantom.h"

#include <pthread.h>
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

/* Each device gets a window of its own, half as large again as its memory, so that fragmentation has room.
 * The base is where one published snapshot of a real run shows the driver's first segment. */
static const uintptr_t ARENA_BASE = 0x704400000;

static size_t window_bytes(void) {
    size_t total = phantom_gpu_now()->total_bytes;
    return (total + total / 2 + PHANTOM_PAGE_BYTES - 1) / PHANTOM_PAGE_BYTES * PHANTOM_PAGE_BYTES;
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

/* The driver's policy for addresses, in this one place: the lowest gap of the device's window that is wide enough.
 * The caching allocator breaks ties between free blocks by address, so this decides which block it takes again. */
static char *find_gap(int device, size_t bytes, size_t *position) {
    char *gap = arena + (size_t)device * window_bytes(), *end = gap + window_bytes();
    size_t i = 0;
    while (i < block_count && blocks[i].start < gap) i++;
    for (; i < block_count && blocks[i].start < end; i++) {
        if ((size_t)(blocks[i].start - gap) >= bytes) break;
        gap = blocks[i].start + blocks[i].bytes;
    }
    *position = i;
    return (size_t)(end - gap) >= bytes ? gap : NULL;
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
