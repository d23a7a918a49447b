/* Waiting for other ranks, with a time limit. */
#ifndef MEMPROF_WAITING_H
#define MEMPROF_WAITING_H

#include <stdbool.h>

#include "mailbox.h"

typedef struct phantom_wait {
    const char *call; /* as PyTorch names it */
    phantom_mailbox *mailbox;
    int rank; /* that waits */
    int ranks;
    bool (*is_missing)(const struct phantom_wait *wait, int rank);
    double since; /* seconds; 0: nobody has waited yet */
    bool noticed;
} phantom_wait;

/* Call both with the lock of pending.h held. */
bool phantom_is_over(const phantom_wait *wait);
/* Ends the process if the time is over, or if a missing rank has ended. */
void phantom_look_for_missing(phantom_wait *wait);

void phantom_wait_for_ranks(phantom_wait *wait); /* without the lock */
/* Ends the process with one line on stderr, which says what `wait` does and then `problem`. */
_Noreturn void phantom_give_up(const phantom_wait *wait, const char *problem);
int phantom_shown_rank(const phantom_wait *wait, int rank); /* as the user counts: torchrun's */

#endif
