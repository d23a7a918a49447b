/* Copies and fills between host and device. */
#ifndef MEMPROF_COPIES_H
#define MEMPROF_COPIES_H

#include <stddef.h>
#include <stdint.h>

void phantom_copy(void *to, const void *from, size_t bytes);
uint64_t phantom_zeros_read(void); /* small copies to the host of values that are not known */
void phantom_count_zeros_read(void);  /* adds one, and says so once if they are many */
void phantom_fill(void *to, int value, size_t bytes);

#endif
