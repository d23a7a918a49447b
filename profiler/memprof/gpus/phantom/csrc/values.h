/* Values on the device that are known, by their address. */
#ifndef MEMPROF_VALUES_H
#define MEMPROF_VALUES_H

#include <stdbool.h>
#include <stddef.h>

bool phantom_has_values(const void *start, size_t bytes); /* for any byte of the range */
void phantom_keep_values(const void *start, const void *values, size_t bytes);
void phantom_recall_values(void *to, const void *start, size_t bytes); /* zeros if no value is known */
/* Likewise, and sets each byte of `known` to whether the value is known. */
void phantom_recall_known(char *to, char *known, const void *start, size_t bytes);
/* Keeps the values whose byte of `known` is set, and forgets the others. */
void phantom_keep_known(const void *start, const char *values, const char *known, size_t bytes);
const void *phantom_next_values(const void *start); /* the first address from `start` on that has any; NULL: none */
void phantom_forget_values(const void *start, size_t bytes);
void phantom_forget_all_values(void);

#endif
