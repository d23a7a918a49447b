/* Descriptors whose first bytes show whether tensors are written, and those that lead into the scratch folder. */
#pragma once
#include "writes_scratch.h"

#include <sys/uio.h> /* struct iovec */

#pragma GCC visibility push(hidden)

enum watch_state {
    WATCH_NONE,
    WATCH_CREATED,  /* opening it has made the file */
    WATCH_EMPTY,    /* the file was there and empty */
    WATCH_INTACT,   /* the file was there, and its bytes still are */
    WATCH_SAVED,    /* opening it has emptied the file, whose old bytes are kept until the first write */
    WATCH_SCRATCH,  /* it is a file of the scratch folder: blocks of zeros become holes */
};

enum { WATCH_MOST = 1 << 16 }; /* descriptors above it are not watched */
extern _Atomic unsigned char watch_states[WATCH_MOST];

static inline enum watch_state watch_state_of(int file) {
    if ((unsigned)file >= WATCH_MOST) return WATCH_NONE;
    return (enum watch_state)atomic_load_explicit(&watch_states[file], memory_order_relaxed);
}

/* Watches a descriptor that was just opened. Negative ones are ignored, so the result of open can be given. */
void watch_begin(int file, enum watch_state state);
/* The descriptor is being closed. */
void watch_end(int file);
/* Keeps the bytes of a file that is about to be emptied; false if that is not possible. */
bool watch_save(const char *path);
/* Call before bytes are written at `offset`, or at the current position if it is negative. It may put a file of the
 * scratch folder in the place of the descriptor. -1 with errno: the bytes must not be written. */
int watch_bytes(int file, off_t offset, const void *bytes, size_t count);
/* The same for bytes in several parts. */
int watch_parts(int file, off_t offset, const struct iovec *parts, int count);
/* The same for bytes that come from the descriptor `from`, at `*from_offset` or at its current position. */
int watch_file(int file, off_t offset, int from, const off_t *from_offset);

#pragma GCC visibility pop
