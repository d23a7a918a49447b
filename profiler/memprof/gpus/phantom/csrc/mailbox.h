/* Messages between the processes of a communicator. */
#ifndef MEMPROF_MAILBOX_H
#define MEMPROF_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PHANTOM_MAX_RANKS = 16, PHANTOM_MOST_VALUES_BYTES = 1 << 20 };

typedef struct phantom_mailbox phantom_mailbox;

typedef enum { NOTHING_KNOWN, ALL_KNOWN, SOME_KNOWN } knowledge;

/* What a rank tells another one. Messages of one kind of call between two ranks are numbered. */
typedef struct {
    uint64_t number;
    uint64_t count;        /* of elements, as NCCL's call has it */
    uint32_t values_bytes; /* 0: too large for a message, or not for this rank */
    int16_t call, type, operation, root;
    uint8_t known; /* knowledge; for SOME_KNOWN a byte for each byte of the values follows them */
    bool paired;   /* between two ranks, and not of all ranks */
} phantom_header;

typedef struct phantom_message {
    struct phantom_message *next;
    phantom_header header;
    char values[];
} phantom_message;

typedef struct {
    _Atomic int64_t pid; /* 0: it has not joined yet */
    int32_t gpu;         /* its index in the machine */
    int32_t world_rank;  /* of torchrun, or -1 */
} phantom_member;

/* NULL: the file cannot be used. */
phantom_mailbox *phantom_open_mailbox(uint64_t id, int ranks, int rank, int gpu);
const phantom_member *phantom_member_of(const phantom_mailbox *mailbox, int rank);
_Atomic uint32_t *phantom_bell_of(phantom_mailbox *mailbox); /* rings when something has arrived for this rank */

/* Call these with the lock of pending.h held. */
bool phantom_send(phantom_mailbox *mailbox, int to, const phantom_header *header, const char *values,
                  const char *known); /* false: there is no room until the other rank reads */
void phantom_receive(void);           /* takes what has arrived in all mailboxes of this process */
phantom_message *phantom_find_message(const phantom_mailbox *mailbox, int from, bool paired, uint64_t number);
void phantom_remove_message(phantom_mailbox *mailbox, int from, phantom_message *message);

#endif
