/* Values on the device that are known, by their address; the device has no memory for them.
 *
 * Small copies from the host are kept here, and what known kernels make of them, so that a scalar, a label or one
 * element of a list can be read back. What is not known reads as zeros. Values that are pending are waited for before
 * they are read.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pending.h"
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

static bool make_room_for_a_note(void) {
    if (note_count < note_capacity) return true;
    size_t capacity = note_capacity ? 2 * note_capacity : 256;
    note *larger = realloc(notes, capacity * sizeof *notes);
    if (!larger) return false;
    notes = larger;
    note_capacity = capacity;
    return true;
}

static void remove_notes(size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
        noted_bytes -= notes[i].bytes;
        free(notes[i].values);
    }
    memmove(notes + first, notes + end, (note_count - end) * sizeof *notes);
    note_count -= end - first;
}

static bool insert_note(size_t at, const char *start, const char *values, size_t bytes) {
    char *kept = make_room_for_a_note() ? malloc(bytes) : NULL;
    if (!kept) return false;
    memcpy(kept, values, bytes);
    memmove(notes + at + 1, notes + at, (note_count - at) * sizeof *notes);
    notes[at] = (note){start, bytes, kept};
    note_count++;
    noted_bytes += bytes;
    return true;
}

/* Cuts off the first bytes of a note. */
static void cut(note *n, size_t bytes) {
    n->start += bytes;
    n->bytes -= bytes;
    memmove(n->values, n->values + bytes, n->bytes);
    noted_bytes -= bytes;
}

/* Notes that reach beyond the range keep their parts outside of it. */
static void forget(const char *start, size_t bytes) {
    const char *limit = start + bytes;
    size_t first = find_note(start);
    if (first < note_count && notes[first].start < start) {
        const char *end = notes[first].start + notes[first].bytes;
        size_t before = (size_t)(start - notes[first].start);
        if (end > limit) insert_note(first + 1, limit, notes[first].values + before + bytes, (size_t)(end - limit));
        noted_bytes -= notes[first].bytes - before;
        notes[first++].bytes = before;
    }
    size_t end = first;
    while (end < note_count && notes[end].start + notes[end].bytes <= limit) end++;
    if (end > first) remove_notes(first, end);
    if (first < note_count && notes[first].start < limit) cut(&notes[first], (size_t)(limit - notes[first].start));
}

/* What is known of `bytes` at `start`, and zeros for the rest; `known` may be NULL. */
static void recall(char *to, char *known, const char *start, size_t bytes) {
    memset(to, 0, bytes);
    if (known) memset(known, 0, bytes);
    for (size_t i = find_note(start); i < note_count && notes[i].start < start + bytes; i++) {
        const char *from = notes[i].start > start ? notes[i].start : start;
        const char *note_end = notes[i].start + notes[i].bytes;
        const char *end = start + bytes < note_end ? start + bytes : note_end;
        memcpy(to + (from - start), notes[i].values + (from - notes[i].start), (size_t)(end - from));
        if (known) memset(known + (from - start), 1, (size_t)(end - from));
    }
}

/* Notes that the new values overlap become one with them. */
static void remember(const char *start, const char *values, size_t bytes) {
    const char *low = start, *high = start + bytes;
    for (size_t i = find_note(start); i < note_count && notes[i].start < start + bytes; i++) {
        if (notes[i].start < low) low = notes[i].start;
        if (notes[i].start + notes[i].bytes > high) high = notes[i].start + notes[i].bytes;
    }
    size_t whole = (size_t)(high - low), first = find_note(start);
    if (first < note_count && notes[first].start == low && notes[first].bytes == whole) {
        memcpy(notes[first].values + (start - low), values, bytes);
        return;
    }
    char *merged = malloc(whole);
    if (!merged) return;
    recall(merged, NULL, low, whole);
    memcpy(merged + (start - low), values, bytes);
    forget(low, whole);
    if (noted_bytes + whole > NOTES_LIMIT_BYTES) remove_notes(0, note_count);
    insert_note(find_note(low), low, merged, whole);
    free(merged);
}

bool phantom_has_values(const void *start, size_t bytes) {
    phantom_settle_values(start, bytes);
    pthread_mutex_lock(&lock);
    bool found = is_noted(start, bytes);
    pthread_mutex_unlock(&lock);
    return found;
}

void phantom_keep_values(const void *start, const void *values, size_t bytes) {
    phantom_overwrite_pending(start, bytes);
    pthread_mutex_lock(&lock);
    remember(start, values, bytes);
    pthread_mutex_unlock(&lock);
}

void phantom_recall_values(void *to, const void *start, size_t bytes) {
    phantom_settle_values(start, bytes);
    pthread_mutex_lock(&lock);
    recall(to, NULL, start, bytes);
    pthread_mutex_unlock(&lock);
}

void phantom_recall_known(char *to, char *known, const void *start, size_t bytes) {
    phantom_settle_values(start, bytes);
    pthread_mutex_lock(&lock);
    recall(to, known, start, bytes);
    pthread_mutex_unlock(&lock);
}

void phantom_keep_known(const void *start, const char *values, const char *known, size_t bytes) {
    phantom_overwrite_pending(start, bytes);
    pthread_mutex_lock(&lock);
    forget(start, bytes);
    for (size_t from = 0, end; from < bytes; from = end) {
        for (end = from; end < bytes && known[end] == known[from];) end++;
        if (known[from]) remember((const char *)start + from, values + from, end - from);
    }
    pthread_mutex_unlock(&lock);
}

const void *phantom_next_values(const void *start) {
    const char *pending = phantom_next_pending(start);
    pthread_mutex_lock(&lock);
    size_t first = find_note(start);
    const char *found = first < note_count ? notes[first].start : NULL;
    pthread_mutex_unlock(&lock);
    if (pending && (!found || pending < found)) found = pending;
    return found && found < (const char *)start ? start : found;
}

void phantom_forget_values(const void *start, size_t bytes) {
    phantom_overwrite_pending(start, bytes);
    pthread_mutex_lock(&lock);
    forget(start, bytes);
    pthread_mutex_unlock(&lock);
}

void phantom_forget_all_values(void) {
    phantom_overwrite_all_pending();
    pthread_mutex_lock(&lock);
    if (note_count) remove_notes(0, note_count);
    pthread_mutex_unlock(&lock);
}
