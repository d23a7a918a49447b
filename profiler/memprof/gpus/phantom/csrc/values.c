/* Values that came from the host, by their address on the device, which has no memory for them.
 *
 * Small copies to the device are kept here, so that a scalar, a label or one element of a list can be read back.
 * Which addresses a kernel writes is not known: a kernel that works in place on such a value leaves the old one.
 * Newly allocated memory has no values, whether the driver or PyTorch's caching allocator hands it out.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "values.h"

typedef struct {
    const char *start;
    size_t bytes;
    char *values;
} note;

enum { NOTES_LIMIT_BYTES = 32 << 20 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static note *notes; /* in the order of their addresses; no two overlap */
static size_t note_count, note_capacity, noted_bytes;

/* The first note that ends after `start`. */
static size_t find_note(const char *start) {
    size_t low = 0, high = note_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (notes[middle].start + notes[middle].bytes <= start) low = middle + 1;
        else high = middle;
    }
    return low;
}

static bool is_noted(const char *start, size_t bytes) {
    size_t first = find_note(start);
    return first < note_count && notes[first].start < start + bytes;
}

static void forget(const char *start, size_t bytes) {
    size_t first = find_note(start), end = first;
    for (; end < note_count && notes[end].start < start + bytes; end++) {
        noted_bytes -= notes[end].bytes;
        free(notes[end].values);
    }
    if (end == first) return;
    memmove(notes + first, notes + end, (note_count - end) * sizeof *notes);
    note_count -= end - first;
}

static bool make_room_for_a_note(void) {
    if (note_count < note_capacity) return true;
    size_t capacity = note_capacity ? 2 * note_capacity : 256;
    note *larger = realloc(notes, capacity * sizeof *notes);
    if (!larger) return false;
    notes = larger;
    note_capacity = capacity;
    return true;
}

/* What is known of `bytes` at `start`, and zeros for the rest. */
static void recall(char *to, const char *start, size_t bytes) {
    memset(to, 0, bytes);
    for (size_t i = find_note(start); i < note_count && notes[i].start < start + bytes; i++) {
        const char *from = notes[i].start > start ? notes[i].start : start;
        const char *note_end = notes[i].start + notes[i].bytes;
        const char *end = start + bytes < note_end ? start + bytes : note_end;
        memcpy(to + (from - start), notes[i].values + (from - notes[i].start), (size_t)(end - from));
    }
}

/* Notes that the new values overlap become one with them. */
static void remember(const char *start, const char *values, size_t bytes) {
    const char *low = start, *high = start + bytes;
    for (size_t i = find_note(start); i < note_count && notes[i].start < start + bytes; i++) {
        if (notes[i].start < low) low = notes[i].start;
        if (notes[i].start + notes[i].bytes > high) high = notes[i].start + notes[i].bytes;
    }
    size_t whole = (size_t)(high - low);
    char *kept = malloc(whole);
    if (!kept) return;
    recall(kept, low, whole);
    memcpy(kept + (start - low), values, bytes);
    forget(low, whole);
    if (note_count && noted_bytes + whole > NOTES_LIMIT_BYTES) forget(notes[0].start, PTRDIFF_MAX);
    if (!make_room_for_a_note()) {
        free(kept);
        return;
    }
    size_t at = find_note(low);
    memmove(notes + at + 1, notes + at, (note_count - at) * sizeof *notes);
    notes[at] = (note){low, whole, kept};
    note_count++;
    noted_bytes += whole;
}

bool phantom_has_values(const void *start, size_t bytes) {
    pthread_mutex_lock(&lock);
    bool found = is_noted(start, bytes);
    pthread_mutex_unlock(&lock);
    return found;
}

void phantom_keep_values(const void *start, const void *values, size_t bytes) {
    pthread_mutex_lock(&lock);
    remember(start, values, bytes);
    pthread_mutex_unlock(&lock);
}

void phantom_recall_values(void *to, const void *start, size_t bytes) {
    pthread_mutex_lock(&lock);
    recall(to, start, bytes);
    pthread_mutex_unlock(&lock);
}

void phantom_forget_values(const void *start, size_t bytes) {
    pthread_mutex_lock(&lock);
    forget(start, bytes);
    pthread_mutex_unlock(&lock);
}

/* PyTorch's allocators report every block that they hand out or take back (then `bytes` is negative) to its profiler,
 * with c10::reportMemoryUsageToProfiler(void *, int64_t, size_t, size_t, c10::Device) of libc10.so; a Device is two
 * bytes. Only a function that replaces it learns that memory is used again. */
void memory_reported(void *block, int64_t bytes, size_t allocated, size_t reserved, uint16_t device)
    __asm__("_ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE");

void memory_reported(void *block, int64_t bytes, size_t allocated, size_t reserved, uint16_t device) {
    static void (*real)(void *, int64_t, size_t, size_t, uint16_t);
    if (bytes > 0) phantom_forget_values(block, (size_t)bytes);
    if (!real) {
        void *library = dlopen("libc10.so", RTLD_LAZY | RTLD_NOLOAD);
        void *function = library ? dlsym(library, "_ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE") : NULL;
        memcpy(&real, &function, sizeof real);
    }
    if (real) real(block, bytes, allocated, reserved, device);
}
