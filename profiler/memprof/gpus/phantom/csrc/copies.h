/* Copies and fills between host and device. */
#ifndef MEMPROF_COPIES_H
#define MEMPROF_COPIES_H

#include <stddef.h>

void phantom_copy(void *to, const void *from, size_t bytes);
void phantom_fill(void *to, int value, size_t bytes);

#endif
