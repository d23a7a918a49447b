/* Addresses without memory behind them: nothing here can be read or written, and 80 GB cost nothing.
 *
 * Small host-to-device copies are remembered beside the arena by address and size, so that a scalar or a label that
 * was put on the device comes back; whatever a kernel should have written reads as zeros.
 */
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

typedef struct {
    const void *address;
    void *values;
    size_t bytes;
} note;

enum { NOTE_SLOTS = 1 << 14, NOTES_LIMIT_BYTES = 32 << 20 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static block *blocks; /* in the order of their addresses */
static size_t block_count, block_capacity;
static char *arena, *arena_end;
static note notes[NOTE_SLOTS];
static size_t noted_bytes;

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
    if (known) phantom_give_back(freed.device, freed.bytes);
    return known;
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
    if (known) munmap(address, bytes);
    return known;
}

int phantom_owner(const void *address) {
    pthread_mutex_lock(&lock);
    block *found = find_block(address);
    int device = found ? found->device : -1;
    pthread_mutex_unlock(&lock);
    return device;
}

static note *note_slot(const void *address) {
    return &notes[((uintptr_t)address >> 2) * 0x9E3779B97F4A7C15u >> 50];
}

static void forget_note(note *old) {
    noted_bytes -= old->bytes;
    free(old->values);
    *old = (note){0};
}

/* Room for `bytes` values at `address`, replacing what was remembered there; NULL where none can be had. */
static void *write_note(const void *address, size_t bytes) {
    note *slot = note_slot(address);
    forget_note(slot);
    if (bytes > PHANTOM_SMALL_COPY_BYTES) return NULL;
    if (noted_bytes + bytes > NOTES_LIMIT_BYTES)
        for (int i = 0; i < NOTE_SLOTS; i++) forget_note(&notes[i]);
    void *values = malloc(bytes);
    if (!values) return NULL;
    *slot = (note){address, values, bytes};
    noted_bytes += bytes;
    return values;
}

static const void *read_note(const void *address, size_t bytes) {
    note *slot = note_slot(address);
    return slot->address == address && slot->bytes == bytes ? slot->values : NULL;
}

void phantom_copy(void *to, const void *from, size_t bytes) {
    pthread_mutex_lock(&lock);
    bool to_device = find_block(to), from_device = find_block(from);
    if (to_device) {
        const void *values = from_device ? read_note(from, bytes) : from;
        if (values && bytes <= PHANTOM_SMALL_COPY_BYTES) {
            char kept[PHANTOM_SMALL_COPY_BYTES]; /* writing a note may drop the one that is read */
            memcpy(kept, values, bytes);
            void *room = write_note(to, bytes);
            if (room) memcpy(room, kept, bytes);
        } else {
            write_note(to, SIZE_MAX);
        }
    } else if (from_device) {
        const void *values = read_note(from, bytes);
        if (values) memcpy(to, values, bytes);
        else memset(to, 0, bytes);
    } else {
        memmove(to, from, bytes);
    }
    pthread_mutex_unlock(&lock);
}

void phantom_fill(void *to, int value, size_t bytes) {
    pthread_mutex_lock(&lock);
    if (find_block(to)) {
        void *room = write_note(to, value ? bytes : SIZE_MAX);
        if (room) memset(room, value, bytes);
    } else {
        memset(to, value, bytes);
    }
    pthread_mutex_unlock(&lock);
}
