/* Copies and fills: the addresses say which side is the device's, as with unified addressing.
 *
 * Copies of at most SMALL_COPY_BYTES to the device keep their values (scalars, labels, seeds); larger ones are
 * dropped. A copy to the host gives the values that are known, and zeros for what a kernel should have written.
 */
#include "copies.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "answers.h"
#include "arena.h"
#include "values.h"

enum { SMALL_COPY_BYTES = 64 << 10 };

/* A few steps of training read a few losses and norms; a loop that does not end soon reads more than this. */
enum { ZEROS_WORTH_A_LINE = 2000 };

static void copy_on_device(void *to, const void *from, size_t bytes) {
    char values[SMALL_COPY_BYTES];
    char known[SMALL_COPY_BYTES];
    if (!phantom_has_values(from, bytes) && !phantom_has_values(to, bytes)) return;
    phantom_recall_known(values, known, from, bytes);
    phantom_keep_known(to, values, known, bytes);
}

static _Atomic uint64_t zeros_read;

uint64_t phantom_zeros_read(void) { return atomic_load(&zeros_read); }

/* A program that waits for a value which a kernel would compute waits forever: one line gives the reason. */
void phantom_count_zeros_read(void) {
    if (atomic_fetch_add(&zeros_read, 1) + 1 == ZEROS_WORTH_A_LINE)
        fprintf(stderr,
                "memprof phantom: the program has read %d results of kernels, which do not run: each was zeros. "
                "A loop that waits for one of them does not end.\n",
                ZEROS_WORTH_A_LINE);
}

void phantom_copy(void *to, const void *from, size_t bytes) {
    bool to_device = phantom_owner(to) >= 0, from_device = phantom_owner(from) >= 0;
    if (!to_device && !from_device) {
        memmove(to, from, bytes);
        return;
    }
    if (!to_device && phantom_take_answer(to, bytes)) return;
    if (!to_device && bytes <= SMALL_COPY_BYTES && !phantom_knows_reads() && !phantom_has_values(from, bytes))
        phantom_count_zeros_read();
    if (!to_device) phantom_recall_values(to, from, bytes);
    else if (bytes > SMALL_COPY_BYTES) phantom_forget_values(to, bytes);
    else if (from_device) copy_on_device(to, from, bytes);
    else if (bytes) phantom_keep_values(to, from, bytes);
}

void phantom_fill(void *to, int value, size_t bytes) {
    if (phantom_owner(to) < 0) {
        memset(to, value, bytes);
        return;
    }
    char values[SMALL_COPY_BYTES];
    if (bytes > sizeof values) {
        phantom_forget_values(to, bytes);
    } else if (bytes) {
        memset(values, value, bytes);
        phantom_keep_values(to, values, bytes);
    }
}
