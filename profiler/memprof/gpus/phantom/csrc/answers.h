/* Answers to what an operator reads while it runs. */
#ifndef MEMPROF_ANSWERS_H
#define MEMPROF_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The next copies of this thread to the host give `words`, as many as they are long; further ones are not counted if
 * `all_known`. */
void phantom_answer_reads(const uint64_t *words, size_t count, bool all_known);

/* Ends that, and returns how many words were not read. */
uint64_t phantom_end_answers(void);

/* Fills `to` with the next words; false if there are too few. */
bool phantom_take_answer(void *to, size_t bytes);

/* Whether the host has the true values of what this thread reads now. */
bool phantom_knows_reads(void);

#endif
