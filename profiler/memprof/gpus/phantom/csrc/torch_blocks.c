/* The blocks that PyTorch's allocators have handed out: new ones have no values, and a kernel that is given a pointer
 * writes at most to the end of its block.
 *
 * The allocators report every block that they hand out or take back (then `bytes` is negative) to PyTorch's profiler,
 * with c10::reportMemoryUsageToProfiler(void *, int64_t, size_t, size_t, c10::Device) of libc10.so; a Device is two
 * bytes. Only a function that replaces it learns that memory is used again.
 */
#define _GNU_SOURCE
#include "torch_blocks.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "values.h"

typedef struct {
    const char *start, *end;
    uint64_t number;
} block;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static block *blocks; /* in the order of their addresses */
static size_t block_count, block_capacity;
static uint64_t last_number; /* each block has its own, also if its address was used before */

/* The first block that ends after `address`. */
static size_t find_block(const char *address) {
    size_t low = 0, high = block_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (blocks[middle].end <= address) low = middle + 1;
        else high = middle;
    }
    return low;
}

static void remove_block(const char *start) {
    size_t at = find_block(start);
    if (at == block_count || blocks[at].start != start) return;
    memmove(blocks + at, blocks + at + 1, (block_count - at - 1) * sizeof *blocks);
    block_count--;
}

static void add_block(const char *start, size_t bytes) {
    if (block_count == block_capacity) {
        size_t capacity = block_capacity ? 2 * block_capacity : 1024;
        block *larger = realloc(blocks, capacity * sizeof *larger);
        if (!larger) return;
        blocks = larger;
        block_capacity = capacity;
    }
    size_t at = find_block(start);
    memmove(blocks + at + 1, blocks + at, (block_count - at) * sizeof *blocks);
    blocks[at] = (block){start, start + bytes, ++last_number};
    block_count++;
}

/* Memory that is in no block is the program's own: then `bytes` alone is the limit. */
void phantom_forget_written(const void *address, size_t bytes) {
    const char *start = phantom_next_values(address), *from = address, *limit = from + bytes;
    if (!start || start >= limit) return;
    pthread_mutex_lock(&lock);
    size_t at = find_block(from);
    if (at < block_count && blocks[at].start <= from && blocks[at].end < limit) limit = blocks[at].end;
    pthread_mutex_unlock(&lock);
    phantom_forget_values(from, (size_t)(limit - from));
}

void phantom_forget_outputs(void *const *addresses, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (phantom_owner(addresses[i]) >= 0) phantom_forget_written(addresses[i], SIZE_MAX / 2);
}

uint64_t phantom_block_at(const void *address, const void **start, size_t *bytes) {
    pthread_mutex_lock(&lock);
    size_t at = find_block(address);
    bool found = at < block_count && blocks[at].start <= (const char *)address;
    uint64_t number = found ? blocks[at].number : 0;
    if (found) {
        *start = blocks[at].start;
        *bytes = (size_t)(blocks[at].end - blocks[at].start);
    }
    pthread_mutex_unlock(&lock);
    return number;
}

void phantom_note_block(void *address, int64_t bytes) {
    if (bytes > 0) phantom_forget_values(address, (size_t)bytes);
    pthread_mutex_lock(&lock);
    remove_block(address);
    if (bytes > 0) add_block(address, (size_t)bytes);
    pthread_mutex_unlock(&lock);
}

void memory_reported(void *block, int64_t bytes, size_t allocated, size_t reserved, uint16_t device)
    __asm__("_ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE");

void memory_reported(void *address, int64_t bytes, size_t allocated, size_t reserved, uint16_t device) {
    static void (*real)(void *, int64_t, size_t, size_t, uint16_t);
    phantom_note_block(address, bytes);
    if (!real) {
        void *library = dlopen("libc10.so", RTLD_LAZY | RTLD_NOLOAD);
        void *function = library ? dlsym(library, "_ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE") : NULL;
        memcpy(&real, &function, sizeof real);
    }
    if (real) real(address, bytes, allocated, reserved, device);
}
