/* Managed memory: pages that are with the host or with a GPU. */
#ifndef MEMPROF_MANAGED_H
#define MEMPROF_MANAGED_H

#include <stdbool.h>
#include <stddef.h>

void *phantom_allocate_managed(size_t bytes); /* NULL if the host has no memory */
bool phantom_is_managed(const void *address);
bool phantom_free_managed(void *address);                              /* false: it is none */
bool phantom_move_managed(const void *address, size_t bytes, int gpu); /* to a GPU, or to the host: -1 */
/* Takes memory of a GPU as phantom_take does; pages of managed memory go back to the host if they have to. */
bool phantom_take_from_managed(int gpu, size_t bytes);

#endif
