/* Values that came from the host, by their address on the device. */
#ifndef MEMPROF_VALUES_H
#define MEMPROF_VALUES_H

#include <stdbool.h>
#include <stddef.h>

bool phantom_has_values(const void *start, size_t bytes); /* for any byte of the range */
void phantom_keep_values(const void *start, const void *values, size_t bytes);
void phantom_recall_values(void *to, const void *start, size_t bytes); /* zeros if no value is known */
void phantom_forget_values(const void *start, size_t bytes);

#endif
