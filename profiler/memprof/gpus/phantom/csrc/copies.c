/* Copies and fills: the addresses say which side is the device's, as with unified addressing.
 *
 * Copies of at most SMALL_COPY_BYTES to the device keep their values (scalars, labels, seeds); larger ones are
 * dropped, apart from pickled objects of at most LARGEST_OBJECT_BYTES, which ranks exchange as tensors. A copy to the host
 * gives the values that are known, and zeros for what a kernel should have written.
 */
#include "copies.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answers.h"
#include "arena.h"
#include "values.h"

enum { SMALL_COPY_BYTES = 64 << 10, LARGEST_OBJECT_BYTES = 1 << 20 };

/* A few steps of training read a few losses and norms; a loop that does not end soon reads more than this. */
enum { ZEROS_WORTH_A_LINE = 2000 };

static void copy_on_device(void *to, const void *from, size_t bytes) {
    if (!phantom_has_values(from, bytes)) return phantom_forget_values(to, bytes);
    char *values = malloc(2 * bytes);
    if (!values) return phantom_forget_values(to, bytes);
    phantom_recall_known(values, values + bytes, from, bytes);
    phantom_keep_known(to, values, values + bytes, bytes);
    free(values);
}

/* The opcode PROTO with 4 or 5, and FRAME, or a large text or bytes; see pickletools.py of CPython. torch.distributed
 * pickles objects so. */
static bool is_pickle(const char *from, size_t bytes) {
    enum { PROTO = 0x80, FRAME = 0x95, BINUNICODE = 0x58, BINUNICODE8 = 0x8d, BINBYTES = 0x42, BINBYTES8 = 0x8e };
    const unsigned char *opcodes = (const unsigned char *)from;
    if (bytes < 3 || opcodes[0] != PROTO || opcodes[1] < 4 || opcodes[1] > 5) return false;
    return opcodes[2] == FRAME || opcodes[2] == BINUNICODE || opcodes[2] == BINUNICODE8 || opcodes[2] == BINBYTES ||
           opcodes[2] == BINBYTES8;
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
    else if (bytes > LARGEST_OBJECT_BYTES) phantom_forget_values(to, bytes);
    else if (from_device) copy_on_device(to, from, bytes);
    else if (bytes > SMALL_COPY_BYTES && !is_pickle(from, bytes)) phantom_forget_values(to, bytes);
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
