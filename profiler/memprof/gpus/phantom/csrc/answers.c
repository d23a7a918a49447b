/* Answers to what an operator reads while it runs: with `values: cpu`, the host computes them.
 *
 * An operator like `nonzero` copies one integer to the host and then allocates its output. The integer comes from here.
 * Answers belong to one thread, since an operator runs in one.
 */
#include "answers.h"

#include <stdlib.h>
#include <string.h>

static _Thread_local uint64_t *queue;
static _Thread_local size_t queued, taken;
static _Thread_local bool rest_known;

void phantom_answer_reads(const uint64_t *words, size_t count, bool all_known) {
    uint64_t *larger = count ? realloc(queue, count * sizeof *queue) : queue;
    if (count && !larger) count = 0;
    else queue = larger;
    if (count) memcpy(queue, words, count * sizeof *queue);
    queued = count;
    taken = 0;
    rest_known = all_known;
}

uint64_t phantom_end_answers(void) {
    uint64_t left = queued - taken;
    queued = taken = 0;
    rest_known = false;
    return left;
}

bool phantom_take_answer(void *to, size_t bytes) {
    size_t words = (bytes + sizeof *queue - 1) / sizeof *queue;
    if (!bytes || words > queued - taken) return false;
    memcpy(to, &queue[taken], bytes); /* little-endian: a shorter integer is the first bytes of a longer one */
    taken += words;
    return true;
}

bool phantom_knows_reads(void) { return rest_known; }
