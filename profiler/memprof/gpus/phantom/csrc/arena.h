/* Addresses of device memory. */
#ifndef MEMPROF_ARENA_H
#define MEMPROF_ARENA_H

#include <stdbool.h>
#include <stddef.h>

void *phantom_allocate(int device, size_t bytes); /* NULL: out of device memory */
bool phantom_free(void *address);                 /* false: not the start of an allocation */
void *phantom_reserve(size_t bytes, size_t alignment); /* an address range that holds no memory yet */
bool phantom_unreserve(void *address, size_t bytes);
int phantom_owner(const void *address); /* the device of an address, or -1 */

#endif
