/* Values that came from the host. The device has no memory to hold them, so they are kept here by address.
 *
 * Small copies to the device are remembered, so that a scalar, a label or one element of a list comes back; whatever a
 * kernel should have written reads as zeros. Which addresses a kernel writes is not known: one that works in place on
 * such a value leaves the old one. Memory that is allocated anew holds nothing of before, whether the driver hands it
 * out or PyTorch's caching allocator does.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "phantom.h"

typedef struct {
    const char *start;
    size_t bytes;
    char *values;
} note;

enum { NOTES_LIMIT_BYTES = 32 << 20 };

/* A few steps of training read a few losses and norms; a loop that does not end soon reads more than this. */
enum { ZEROS_WORTH_A_LINE = 2000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static note *notes; /* in the order of their addresses; no two overlap */
static size_t note_count, note_capacity, noted_bytes;

/* The first note that ends behind `start`. */
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

void phantom_forget_values(const void *start, size_t bytes) {
    pthread_mutex_lock(&lock);
    forget(start, bytes);
    pthread_mutex_unlock(&lock);
}

static void copy_on_device(char *to, const char *from, size_t bytes) {
    char values[PHANTOM_SMALL_COPY_BYTES];
    if (!is_noted(from, bytes) && !is_noted(to, bytes)) return;
    recall(values, from, bytes);
    remember(to, values, bytes);
}

/* A program that waits for a value which a kernel would compute waits for ever, and is told why. */
static void count_zeros_read(void) {
    static int reads;
    if (++reads == ZEROS_WORTH_A_LINE)
        fprintf(stderr,
                "memprof phantom: the program has read %d results of kernels, which do not run: each was zeros. "
                "A loop that waits for one of them does not end.\n",
                reads);
}

void phantom_copy(void *to, const void *from, size_t bytes) {
    bool to_device = phantom_owner(to) >= 0, from_device = phantom_owner(from) >= 0;
    if (!to_device && !from_device) {
        memmove(to, from, bytes);
        return;
    }
    pthread_mutex_lock(&lock);
    if (!to_device && !is_noted(from, bytes)) count_zeros_read();
    if (!to_device) recall(to, from, bytes);
    else if (bytes > PHANTOM_SMALL_COPY_BYTES) forget(to, bytes);
    else if (from_device) copy_on_device(to, from, bytes);
    else if (bytes) remember(to, from, bytes);
    pthread_mutex_unlock(&lock);
}

void phantom_fill(void *to, int value, size_t bytes) {
    if (phantom_owner(to) < 0) {
        memset(to, value, bytes);
        return;
    }
    char values[PHANTOM_SMALL_COPY_BYTES];
    pthread_mutex_lock(&lock);
    if (bytes > sizeof values || !(value || is_noted(to, bytes))) {
        forget(to, bytes);
    } else if (bytes) {
        memset(values, value, bytes);
        remember(to, values, bytes);
    }
    pthread_mutex_unlock(&lock);
}

/* PyTorch's allocators tell its profiler of every block that they hand out or take back (then `bytes` is negative), with
 * c10::reportMemoryUsageToProfiler(void *, int64_t, size_t, size_t, c10::Device) of libc10.so; a Device is two bytes.
 * Standing in front of it is the one way to learn that memory is used anew. */
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
