/* Addresses of device memory: they hold nothing and cannot be read or written, so 80 GB need no host memory. */
#include "arena.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "device.h"
#include "ledger.h"
#include "managed.h"
#include "values.h"

typedef struct {
    char *start;
    size_t bytes;
    int device;
} block;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static block *blocks; /* in the order of their addresses */
static size_t block_count, block_capacity;
static char *arena;

enum { MIB = 1 << 20, CHUNK_BYTES = 32 * MIB };

/* The policy for addresses. If the caching allocator breaks ties between free blocks by address, the policy decides
 * which block it uses again. MEMPROF_PHANTOM_ADDRESSES names it: address_order.py explains the values; the first is
 * the default. */
typedef enum { DRIVER, ASCENDING, DESCENDING, MIXED } policy;

static policy chosen_policy(void) {
    static const char *const NAMES[] = {"driver", "ascending", "descending", "mixed"};
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

/* Each device gets its own window, three times as large as its memory: chunks of 32 MiB may hold little more than
 * half of that, and fragmentation needs space. The base is the address of the first segment in a published snapshot. */
static const uintptr_t ARENA_BASE = 0x704400000;

static size_t window_bytes(void) {
    size_t window = 3 * phantom_gpu_now()->total_bytes;
    return (window + CHUNK_BYTES - 1) / CHUNK_BYTES * CHUNK_BYTES;
}

static char *window_start(int device) { return arena + (size_t)device * window_bytes(); }

static bool open_arena(void) {
    if (arena) return true;
    size_t bytes = window_bytes() * (size_t)phantom_device_count();
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *at = mmap((void *)ARENA_BASE, bytes, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
    if (at == MAP_FAILED) at = mmap(NULL, bytes + PHANTOM_PAGE_BYTES, PROT_NONE, flags, -1, 0);
    if (at == MAP_FAILED) return false;
    uintptr_t aligned = ((uintptr_t)at + PHANTOM_PAGE_BYTES - 1) / PHANTOM_PAGE_BYTES * PHANTOM_PAGE_BYTES;
    arena = (char *)aligned;
    return true;
}

static char *find_lowest(char *from, char *end, size_t bytes, size_t *position) {
    size_t i = 0;
    for (char *gap = from;; gap = blocks[i].start + blocks[i].bytes) {
        while (i < block_count && blocks[i].start + blocks[i].bytes <= gap) i++;
        char *limit = i < block_count && blocks[i].start < end ? blocks[i].start : end;
        *position = i;
        if ((size_t)(limit - gap) >= bytes) return gap;
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

/* A random bit; the sequence is the same in every process. */
static bool random_bit(void) {
    static uint64_t state = 0x9e3779b97f4a7c15; /* xorshift64, https://doi.org/10.18637/jss.v008.i14 */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state >> 63;
}

/* The array `items` with a gap for one more at `position`, reallocated if needed; NULL if there is no host memory. */
static void *with_gap(void *items, size_t *count, size_t *capacity, size_t position, size_t item_bytes) {
    if (*count == *capacity) {
        size_t larger = *capacity ? 2 * *capacity : 256;
        items = realloc(items, larger * item_bytes);
        if (!items) return NULL;
        *capacity = larger;
    }
    char *gap = (char *)items + position * item_bytes;
    memmove(gap + item_bytes, gap, (*count - position) * item_bytes);
    ++*count;
    return items;
}

/* ---- the driver's policy: chunks of addresses, the newest first, and in a chunk the smallest gap ----
 *
 * Found on an H200 with driver 580.159: these rules give all 1,944 addresses that its cudaMalloc gave, with frees
 * between (tests/gpus/phantom/driver_addresses.json). A request that fits in no chunk opens a new chunk, a multiple
 * of 32 MiB, below the others; an empty chunk is closed. A gap between chunks is used again only if 32 MiB more would
 * fit. */

typedef struct {
    char *start, *usable, *end; /* the context itself has what is before `usable` */
    int device;
    unsigned number; /* higher is newer */
    bool first;      /* it came with the context, and is never closed */
} chunk;

static chunk *chunks; /* in the order of their addresses */
static size_t chunk_count, chunk_capacity;
static unsigned chunks_opened;

static bool insert_chunk(size_t position, chunk added) {
    chunk *opened = with_gap(chunks, &chunk_count, &chunk_capacity, position, sizeof *chunks);
    if (!opened) return false;
    chunks = opened;
    chunks[position] = added;
    return true;
}

/* The first chunk above or at `address`. */
static size_t chunk_from(const char *address) {
    size_t i = 0;
    while (i < chunk_count && chunks[i].start < address) i++;
    return i;
}

/* The chunks of a new context, in MiB from an address 512 MiB below the top of the window. */
static const struct {
    long start, usable, end;
} FIRST_CHUNKS[] = {{414, 490, 512}, {0, 0, 414}, {-512, -8, 0}};

static bool open_first_chunks(int device) {
    char *from = window_start(device) + window_bytes() - 512 * MIB;
    size_t i = chunk_from(window_start(device));
    if (i < chunk_count && chunks[i].device == device) return true;
    for (size_t n = 0; n < sizeof FIRST_CHUNKS / sizeof *FIRST_CHUNKS; n++) {
        char *start = from + FIRST_CHUNKS[n].start * MIB, *usable = from + FIRST_CHUNKS[n].usable * MIB;
        chunk first = {start, usable, from + FIRST_CHUNKS[n].end * MIB, device, chunks_opened++, true};
        if (!insert_chunk(i, first)) return false;
    }
    return true;
}

static bool open_chunk(int device, size_t bytes) {
    size_t length = (bytes + CHUNK_BYTES - 1) / CHUNK_BYTES * CHUNK_BYTES;
    size_t lowest = chunk_from(window_start(device)), i = chunk_from(window_start(device) + window_bytes()) - 1;
    for (; i > lowest && (size_t)(chunks[i].start - chunks[i - 1].end) < length + CHUNK_BYTES; i--) continue;
    if (i == lowest && (size_t)(chunks[i].start - window_start(device)) < length) return false;
    char *start = chunks[i].start - length;
    return insert_chunk(i, (chunk){start, start, chunks[i].start, device, chunks_opened++, false});
}

static void close_chunk_if_empty(const char *freed) {
    size_t i = chunk_from(freed + 1);
    if (!i || freed >= chunks[--i].end || chunks[i].first) return;
    for (size_t b = 0; b < block_count && blocks[b].start < chunks[i].end; b++)
        if (blocks[b].start >= chunks[i].start) return;
    memmove(chunks + i, chunks + i + 1, (chunk_count - i - 1) * sizeof *chunks);
    chunk_count--;
}

static char *find_in_chunks(int device, size_t bytes, size_t *position) {
    char *best = NULL;
    size_t smallest = 0, b = 0;
    unsigned newest = 0;
    for (chunk *c = chunks; c < chunks + chunk_count; c++) {
        if (c->device != device) continue;
        while (b < block_count && blocks[b].start < c->start) b++;
        for (char *gap = c->usable; gap < c->end; b++) {
            char *limit = b < block_count && blocks[b].start < c->end ? blocks[b].start : c->end;
            size_t size = (size_t)(limit - gap);
            if (size >= bytes && (!best || c->number > newest || (c->number == newest && size < smallest)))
                best = gap, smallest = size, newest = c->number, *position = b;
            if (limit == c->end) break;
            gap = limit + blocks[b].bytes;
        }
    }
    return best;
}

static char *find_as_driver(int device, size_t bytes, size_t *position) {
    if (!open_first_chunks(device)) return NULL;
    char *found = find_in_chunks(device, bytes, position);
    return found || !open_chunk(device, bytes) ? found : find_in_chunks(device, bytes, position);
}

static char *find_gap(int device, size_t bytes, size_t *position) {
    char *from = window_start(device), *end = from + window_bytes();
    policy now = chosen_policy();
    if (now == DRIVER) return find_as_driver(device, bytes, position);
    if (now == DESCENDING || (now == MIXED && random_bit())) return find_highest(from, end, bytes, position);
    return find_lowest(from, end, bytes, position);
}

static bool insert_block(size_t position, block added) {
    block *opened = with_gap(blocks, &block_count, &block_capacity, position, sizeof *blocks);
    if (!opened) return false;
    blocks = opened;
    blocks[position] = added;
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
    if (whole < bytes || !phantom_take_from_managed(phantom_gpu_index(device), whole)) return NULL;
    pthread_mutex_lock(&lock);
    char *start = open_arena() ? find_gap(device, whole, &position) : NULL;
    if (start && !insert_block(position, (block){start, whole, device})) start = NULL;
    pthread_mutex_unlock(&lock);
    if (!start) phantom_give_back(phantom_gpu_index(device), whole);
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
        close_chunk_if_empty(freed.start);
    }
    pthread_mutex_unlock(&lock);
    if (!known) return false;
    phantom_forget_values(freed.start, freed.bytes);
    phantom_give_back(phantom_gpu_index(freed.device), freed.bytes);
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
