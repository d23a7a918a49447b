/* Work on a stream whose values are not there yet, because they come from other processes.
 *
 * NCCL's calls return at once, and the device waits. On a phantom the host waits, as late as possible: when it waits
 * for the stream, or when a copy or a known kernel reads or changes the values. So ranks may call several
 * communicators in different orders, as on real GPUs, as long as no result depends on another in a circle.
 */
#include "pending.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A peer that has ended rings no bell. */
enum { LONGEST_SLEEP_NANOSECONDS = 20 * 1000 * 1000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static phantom_pending *first; /* in the order in which the work was requested */
static _Atomic size_t count;
static _Thread_local bool finishing;

void phantom_lock_pending(void) { pthread_mutex_lock(&lock); }

void phantom_unlock_pending(void) { pthread_mutex_unlock(&lock); }

void phantom_wait_for_bell(_Atomic uint32_t *bell, uint32_t seen) {
    struct timespec longest = {.tv_nsec = LONGEST_SLEEP_NANOSECONDS};
    syscall(SYS_futex, bell, FUTEX_WAIT, seen, &longest, NULL, 0);
}

static void forget_after_fork(void) {
    pthread_mutex_init(&lock, NULL);
    first = NULL;
    atomic_store(&count, 0);
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, forget_after_fork); }

static bool overlaps(const phantom_pending *p, const void *start, size_t bytes) {
    const char *from = start;
    return p->bytes && p->start < from + bytes && from < p->start + p->bytes;
}

/* Work that was requested before `p` and writes to the same place must be finished before it. */
static phantom_pending *before(phantom_pending *p) {
    for (phantom_pending *other = first; other != p; other = other->next)
        if (overlaps(other, p->start, p->bytes)) return other;
    return p;
}

static void finish(phantom_pending *p) {
    phantom_pending **link = &first;
    while (*link != p) link = &(*link)->next;
    *link = p->next;
    atomic_fetch_sub(&count, 1);
    finishing = true;
    p->finish(p);
    finishing = false;
}

static phantom_pending *find(phantom_choice *concerns, const void *about, size_t bytes) {
    phantom_pending *p = first;
    while (p && !concerns(p, about, bytes)) p = p->next;
    return p ? before(p) : NULL;
}

/* Another thread may add or finish work while this one sleeps, so the search begins anew. */
void phantom_settle(phantom_choice *concerns, const void *about, size_t bytes) {
    if (finishing || !atomic_load(&count)) return;
    phantom_pending *p;
    phantom_lock_pending();
    while ((p = find(concerns, about, bytes))) {
        uint32_t seen = atomic_load(p->bell);
        if (p->is_ready(p)) {
            finish(p);
            continue;
        }
        p->look(p);
        _Atomic uint32_t *bell = p->bell;
        phantom_unlock_pending();
        phantom_wait_for_bell(bell, seen);
        phantom_lock_pending();
    }
    phantom_unlock_pending();
}

static bool has_been_waited_for(const phantom_pending *p, const void *about, size_t bytes) {
    (void)about, (void)bytes;
    return p->number <= atomic_load(p->waited);
}

void phantom_settle_values(const void *start, size_t bytes) { phantom_settle(overlaps, start, bytes); }

void phantom_settle_waited(void) { phantom_settle(has_been_waited_for, NULL, 0); }

static bool is_covered(const phantom_pending *p, const char *start, size_t bytes) {
    return p->bytes && start <= p->start && p->start + p->bytes <= start + bytes;
}

/* What is overwritten needs no waiting. */
void phantom_overwrite_pending(const void *start, size_t bytes) {
    if (finishing || !atomic_load(&count)) return;
    phantom_lock_pending();
    for (phantom_pending *p = first; p; p = p->next)
        if (is_covered(p, start, bytes)) p->bytes = 0;
    phantom_unlock_pending();
    phantom_settle_values(start, bytes);
}

void phantom_overwrite_all_pending(void) {
    if (!atomic_load(&count)) return;
    phantom_lock_pending();
    for (phantom_pending *p = first; p; p = p->next) p->bytes = 0;
    phantom_unlock_pending();
}

const void *phantom_next_pending(const void *start) {
    const char *found = NULL;
    if (finishing || !atomic_load(&count)) return NULL;
    phantom_lock_pending();
    for (phantom_pending *p = first; p; p = p->next) {
        const char *from = p->start > (const char *)start ? p->start : start;
        if (from < p->start + p->bytes && (!found || from < found)) found = from;
    }
    phantom_unlock_pending();
    return found;
}

/* Call both with the lock held. */
void phantom_add_pending(phantom_pending *added) {
    phantom_pending **link = &first;
    while (*link) link = &(*link)->next;
    *link = added;
    added->next = NULL;
    atomic_fetch_add(&count, 1);
}

void phantom_finish_ready(void) {
    for (phantom_pending *p = first, *next; p; p = next) {
        next = p->next;
        if (before(p) == p && p->is_ready(p)) finish(p);
    }
}
