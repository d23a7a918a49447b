/* Waiting for other ranks, with a time limit.
 *
 * MEMPROF_NCCL_TIMEOUT is the limit in seconds. By default it is PyTorch's own for NCCL. A process that cannot go on
 * writes one line to stderr and ends with EXIT_STATUS, so that no run hangs.
 */
#include "waiting.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "mailbox.h"
#include "pending.h"
#include "process.h"

enum { EXIT_STATUS = 124 }; /* that of timeout(1) */

/* kProcessGroupNCCLDefaultTimeout in torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp: 10 minutes. */
static const double DEFAULT_LIMIT_SECONDS = 600;
static const double FIRST_NOTICE_SECONDS = 30;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static double limit(void) {
    const char *text = getenv("MEMPROF_NCCL_TIMEOUT");
    double seconds = text ? strtod(text, NULL) : 0;
    return seconds > 0 ? seconds : DEFAULT_LIMIT_SECONDS;
}

int phantom_shown_rank(const phantom_wait *wait, int rank) {
    const phantom_member *member = phantom_member_of(wait->mailbox, rank);
    return atomic_load(&member->pid) && member->world_rank >= 0 ? member->world_rank : rank;
}

/* "rank 1" or "ranks 1, 2, 3". A rank that has not joined is named by its number in the communicator. */
static const char *missing(const phantom_wait *wait, char *text, size_t size) {
    size_t used = 0;
    int count = 0;
    for (int rank = 0; rank < wait->ranks; rank++) count += wait->is_missing(wait, rank);
    used += (size_t)snprintf(text, size, count == 1 ? "rank" : "ranks");
    for (int rank = 0, shown = 0; rank < wait->ranks && used < size; rank++)
        if (wait->is_missing(wait, rank))
            used += (size_t)snprintf(text + used, size - used, "%s%d", shown++ ? ", " : " ",
                                     phantom_shown_rank(wait, rank));
    return text;
}

void phantom_give_up(const phantom_wait *wait, const char *problem) {
    fprintf(stderr, "memprof phantom: rank %d %s; the process ends with status %d\n",
            phantom_shown_rank(wait, wait->rank), problem, EXIT_STATUS);
    _exit(EXIT_STATUS);
}

bool phantom_is_over(const phantom_wait *wait) {
    for (int rank = 0; rank < wait->ranks; rank++)
        if (wait->is_missing(wait, rank)) return false;
    return true;
}

/* What it sent before it ended counts. */
static void look_for_ended(const phantom_wait *wait) {
    char problem[256];
    for (int rank = 0; rank < wait->ranks; rank++) {
        pid_t pid = (pid_t)atomic_load(&phantom_member_of(wait->mailbox, rank)->pid);
        if (!pid || !wait->is_missing(wait, rank) || !phantom_has_ended(pid)) continue;
        phantom_receive();
        if (!wait->is_missing(wait, rank)) continue;
        snprintf(problem, sizeof problem, "waits in %s for rank %d, whose process %d has ended", wait->call,
                 phantom_shown_rank(wait, rank), (int)pid);
        phantom_give_up(wait, problem);
    }
}

void phantom_look_for_missing(phantom_wait *wait) {
    char ranks[128], problem[400];
    if (!wait->since) wait->since = now();
    double waited = now() - wait->since;
    look_for_ended(wait);
    if (phantom_is_over(wait)) return;
    if (waited >= limit()) {
        snprintf(problem, sizeof problem, "has waited %.0f s in %s for %s; MEMPROF_NCCL_TIMEOUT=%.0f is the limit",
                 waited, wait->call, missing(wait, ranks, sizeof ranks), limit());
        phantom_give_up(wait, problem);
    }
    if (waited >= FIRST_NOTICE_SECONDS && !wait->noticed) {
        wait->noticed = true;
        fprintf(stderr, "memprof phantom: rank %d has waited %.0f s in %s for %s; the limit is %.0f s\n",
                phantom_shown_rank(wait, wait->rank), waited, wait->call, missing(wait, ranks, sizeof ranks), limit());
    }
}

void phantom_wait_for_ranks(phantom_wait *wait) {
    _Atomic uint32_t *bell = phantom_bell_of(wait->mailbox);
    for (;;) {
        uint32_t seen = atomic_load(bell);
        phantom_lock_pending();
        phantom_receive();
        bool over = phantom_is_over(wait);
        if (!over) phantom_look_for_missing(wait);
        phantom_unlock_pending();
        if (over) return;
        phantom_wait_for_bell(bell, seen);
    }
}
