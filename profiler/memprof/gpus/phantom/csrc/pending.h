/* Work on a stream whose values are not there yet, because they come from other processes. */
#ifndef MEMPROF_PENDING_H
#define MEMPROF_PENDING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct phantom_pending {
    const char *start; /* where its values go; no bytes: it has none, or they were overwritten */
    size_t bytes;
    const _Atomic uint64_t *waited; /* of its stream: the host has waited for the work up to this number */
    uint64_t number;
    _Atomic uint32_t *bell; /* changes when something has arrived */
    bool (*is_ready)(struct phantom_pending *);
    void (*look)(struct phantom_pending *);   /* called while the host waits for it */
    void (*finish)(struct phantom_pending *); /* writes the values, and frees it */
    struct phantom_pending *next;
} phantom_pending;

void phantom_lock_pending(void); /* the functions above run with this lock, and those below are called with it */
void phantom_unlock_pending(void);
void phantom_wait_for_bell(_Atomic uint32_t *bell, uint32_t seen); /* a moment at most; without the lock */

typedef bool phantom_choice(const phantom_pending *pending, const void *about, size_t bytes);

void phantom_add_pending(phantom_pending *added);
void phantom_finish_ready(void);

/* Those below lock by themselves. */
void phantom_settle(phantom_choice *concerns, const void *about, size_t bytes); /* waits for what it concerns */
void phantom_settle_values(const void *start, size_t bytes);     /* before they are read, or written in part */
void phantom_overwrite_pending(const void *start, size_t bytes); /* before all of them are written */
void phantom_overwrite_all_pending(void);
void phantom_settle_waited(void);                            /* after the host has waited for a stream */
const void *phantom_next_pending(const void *start); /* the first address from `start` on whose value is pending */

#endif
