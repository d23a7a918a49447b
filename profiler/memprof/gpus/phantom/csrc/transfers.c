/* Collectives, sends and receives between processes.
 *
 * A rank sends what it knows of its values to the other ranks at once, and goes on. The call is pending until the
 * messages of all ranks are there. A message takes at most PHANTOM_MOST_VALUES_BYTES of values; larger ones are
 * unknown to the receiver, and only the call itself is matched. Each message names the call, so that ranks that call
 * in different order are found.
 */
#include "transfers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture_state.h"
#include "copies.h"
#include "cudart_stream.h"
#include "mailbox.h"
#include "nccl_types.h"
#include "pending.h"
#include "stream_table.h"
#include "values.h"
#include "waiting.h"

static const char *const NAMES[] = {
    [ALL_REDUCE] = "all_reduce", [REDUCE] = "reduce",         [REDUCE_SCATTER] = "reduce_scatter",
    [ALL_GATHER] = "all_gather", [GATHER] = "gather",         [ALL_TO_ALL] = "all_to_all",
    [BROADCAST] = "broadcast",   [SEND_RECEIVE] = "send/recv", [SPLIT] = "a split of the process group",
};

/* A call that has begun. */
typedef struct {
    phantom_pending pending;
    phantom_wait wait;
    ncclComm_t comm;
    phantom_header asked; /* what the messages must be */
    size_t part_bytes;    /* of each message; 0: it has no values */
    char *to;
    int peer;             /* of a receive; else -1 */
    char *own, *own_known; /* what this rank sends to itself; NULL: nothing */
} transfer;

static transfer *of_pending(const phantom_pending *pending) { return (transfer *)(uintptr_t)pending; }

static transfer *of_wait(const phantom_wait *wait) {
    return (transfer *)((uintptr_t)wait - offsetof(transfer, wait));
}

/* ---- which rank sends what to whom ---- */

static bool sends(const phantom_header *asked, int from, int to) {
    switch (asked->call) {
    case REDUCE:
    case GATHER: return to == asked->root;
    case BROADCAST: return from == asked->root && to != from;
    default: return true;
    }
}

static bool sends_a_part_to_each(int call) { return call == REDUCE_SCATTER || call == ALL_TO_ALL; }

static bool is_reduction(int call) { return call == ALL_REDUCE || call == REDUCE || call == REDUCE_SCATTER; }

static bool keeps_a_part_of_each(int call) { return call == ALL_GATHER || call == GATHER || call == ALL_TO_ALL; }

static bool gets_values(const transfer *t) {
    int call = t->asked.call, rank = t->comm->rank;
    return call == BROADCAST ? rank != t->asked.root : sends(&t->asked, rank, rank);
}

static size_t result_bytes(const transfer *t, size_t bytes) {
    return keeps_a_part_of_each(t->asked.call) ? bytes * (size_t)t->comm->ranks : bytes;
}

/* ---- messages ---- */

static phantom_message *message_from(const transfer *t, int rank) {
    return phantom_find_message(t->comm->mailbox, rank, t->asked.paired, t->asked.number);
}

static bool lacks_message(const phantom_wait *wait, int rank) {
    const transfer *t = of_wait(wait);
    if (t->peer >= 0 ? rank != t->peer : rank == t->comm->rank) return false;
    return !message_from(t, rank);
}

static uint8_t knowledge_of(const char *known, size_t bytes) {
    if (!memchr(known, 1, bytes)) return NOTHING_KNOWN;
    return memchr(known, 0, bytes) ? SOME_KNOWN : ALL_KNOWN;
}

typedef struct {
    phantom_wait wait;
    int to;
} sending;

static bool lacks_room(const phantom_wait *wait, int rank) {
    return rank == ((const sending *)(uintptr_t)wait)->to; /* asked only if there was none */
}

static phantom_wait wait_in(ncclComm_t comm, int call, bool (*is_missing)(const phantom_wait *, int)) {
    return (phantom_wait){
        .call = NAMES[call], .mailbox = comm->mailbox, .rank = comm->rank, .ranks = comm->ranks, .is_missing = is_missing};
}

/* The other rank makes room when it next calls NCCL or waits; this one then also reads, so that both can go on. */
static void send(ncclComm_t comm, int to, const phantom_header *header, const char *values, const char *known) {
    sending now = {wait_in(comm, header->call, lacks_room), to};
    _Atomic uint32_t *bell = phantom_bell_of(comm->mailbox);
    for (;;) {
        uint32_t seen = atomic_load(bell);
        phantom_lock_pending();
        bool sent = phantom_send(comm->mailbox, to, header, values, known);
        phantom_receive();
        if (!sent) phantom_look_for_missing(&now.wait);
        phantom_unlock_pending();
        if (sent) return;
        phantom_wait_for_bell(bell, seen);
    }
}

/* Sends what is known of `bytes` at `from`; without bytes the message only says that the rank has called. */
static void send_known(ncclComm_t comm, int to, phantom_header header, const char *from, size_t bytes) {
    char *values = bytes && phantom_has_values(from, bytes) ? malloc(2 * bytes) : NULL;
    header.known = NOTHING_KNOWN;
    if (values) {
        phantom_recall_known(values, values + bytes, from, bytes);
        header.values_bytes = (uint32_t)bytes;
        header.known = knowledge_of(values + bytes, bytes);
    }
    send(comm, to, &header, values, values + bytes);
    free(values);
}

/* ---- results ---- */

static _Noreturn void report_difference(const transfer *t, int from, const phantom_header *found) {
    const phantom_header *asked = &t->asked;
    char problem[400];
    snprintf(problem, sizeof problem,
             "calls %s of %llu %s where rank %d calls %s of %llu %s: the ranks call in different order, or with "
             "different sizes",
             NAMES[asked->call], (unsigned long long)asked->count, phantom_nccl_type_name(asked->type),
             phantom_shown_rank(&t->wait, from), NAMES[found->call], (unsigned long long)found->count,
             phantom_nccl_type_name(found->type));
    phantom_give_up(&t->wait, problem);
}

static void check(const transfer *t, int from, const phantom_header *found) {
    const phantom_header *asked = &t->asked;
    if (found->call != asked->call || found->count * phantom_nccl_bytes(found->type) !=
                                          asked->count * phantom_nccl_bytes(asked->type) ||
        found->root != asked->root)
        report_difference(t, from, found);
}

/* `known_space` has room for the flags of a message whose values are all known, or all unknown. */
static phantom_part part_of(const transfer *t, int rank, char *known_space) {
    if (t->peer < 0 && rank == t->comm->rank) return (phantom_part){t->own, t->own_known};
    const phantom_message *message = message_from(t, rank);
    if (!message || message->header.known == NOTHING_KNOWN) return (phantom_part){NULL, NULL};
    if (message->header.known == SOME_KNOWN)
        return (phantom_part){message->values, message->values + message->header.values_bytes};
    memset(known_space, 1, t->part_bytes);
    return (phantom_part){message->values, known_space};
}

static void keep_part(char *to, const phantom_part *part, size_t bytes) {
    if (part->values) phantom_keep_known(to, part->values, part->known, bytes);
    else phantom_forget_values(to, bytes);
}

static void keep_reduced(const transfer *t, const phantom_part *parts) {
    char *values = malloc(2 * t->part_bytes);
    if (!values) return;
    phantom_reduce(t->asked.type, t->asked.operation, parts, t->comm->ranks, t->asked.count, values,
                   values + t->part_bytes);
    phantom_keep_known(t->to, values, values + t->part_bytes, t->part_bytes);
    free(values);
}

static void keep_result(const transfer *t) {
    phantom_part parts[PHANTOM_MAX_RANKS];
    char *known = malloc(t->part_bytes * (size_t)t->comm->ranks);
    if (!known) return;
    for (int rank = 0; rank < t->comm->ranks; rank++)
        parts[rank] = part_of(t, rank, known + t->part_bytes * (size_t)rank);
    if (is_reduction(t->asked.call)) {
        keep_reduced(t, parts);
    } else if (keeps_a_part_of_each(t->asked.call)) {
        for (int rank = 0; rank < t->comm->ranks; rank++)
            keep_part(t->to + t->part_bytes * (size_t)rank, &parts[rank], t->part_bytes);
    } else {
        keep_part(t->to, &parts[t->peer >= 0 ? t->peer : t->asked.root], t->part_bytes);
    }
    free(known);
}

static bool is_ready(phantom_pending *pending) {
    const transfer *t = of_pending(pending);
    if (t->comm->aborted || phantom_is_over(&t->wait)) return true;
    phantom_receive();
    return phantom_is_over(&t->wait);
}

static void look(phantom_pending *pending) { phantom_look_for_missing(&of_pending(pending)->wait); }

static void finish(phantom_pending *pending) {
    transfer *t = of_pending(pending);
    for (int rank = 0; rank < t->comm->ranks; rank++) {
        const phantom_message *message = lacks_message(&t->wait, rank) ? NULL : message_from(t, rank);
        if (message && (t->peer < 0 || t->peer == rank)) check(t, rank, &message->header);
    }
    if (pending->bytes) keep_result(t);
    for (int rank = 0; rank < t->comm->ranks; rank++)
        if (t->peer < 0 || t->peer == rank)
            phantom_remove_message(t->comm->mailbox, rank, message_from(t, rank));
    free(t->own);
    free(t);
}

/* ---- calls ---- */

/* True if the call becomes a node of a graph, which does not run: then nothing is sent, on any rank. */
static bool is_captured(void *stream, void *to, size_t bytes) {
    phantom_launched(stream);
    if (!phantom_capture_of(phantom_stream_of(stream))) return false;
    if (to && bytes) phantom_forget_values(to, bytes);
    return true;
}

static transfer *begin(ncclComm_t comm, const phantom_header *asked, void *to, size_t part_bytes, void *stream) {
    transfer *t = calloc(1, sizeof *t);
    if (!t) abort(); /* 200 bytes: the process has no memory left */
    phantom_stream *on = phantom_stream_of(stream);
    t->comm = comm;
    t->asked = *asked;
    t->peer = -1;
    t->to = to;
    t->part_bytes = part_bytes;
    t->wait = wait_in(comm, asked->call, lacks_message);
    t->pending = (phantom_pending){.waited = &on->waited,
                                   .number = atomic_load(&on->requested),
                                   .bell = phantom_bell_of(comm->mailbox),
                                   .is_ready = is_ready,
                                   .look = look,
                                   .finish = finish};
    return t;
}

/* Results that are too large for messages are unknown at once. */
static void make_pending(transfer *t, size_t bytes) {
    size_t whole = result_bytes(t, bytes);
    if (gets_values(t) && t->part_bytes) {
        t->pending.start = t->to;
        t->pending.bytes = whole;
    } else if (gets_values(t) && t->to && bytes) {
        phantom_forget_values(t->to, whole);
    }
    phantom_lock_pending();
    phantom_add_pending(&t->pending);
    phantom_receive();
    phantom_finish_ready();
    phantom_unlock_pending();
}

static void keep_own(transfer *t, const char *from) {
    t->own = phantom_has_values(from, t->part_bytes) ? malloc(2 * t->part_bytes) : NULL;
    if (!t->own) return;
    t->own_known = t->own + t->part_bytes;
    phantom_recall_known(t->own, t->own_known, from, t->part_bytes);
}

static size_t bytes_if_small(size_t bytes) { return bytes <= PHANTOM_MOST_VALUES_BYTES ? bytes : 0; }

/* The numbers of calls need no lock: NCCL lets one thread at a time use a communicator. */
void phantom_collect(const phantom_collective *asked) {
    ncclComm_t comm = asked->comm;
    size_t bytes = asked->count * phantom_nccl_bytes(asked->type), small = bytes_if_small(bytes);
    phantom_header header = {.call = asked->call,
                             .count = asked->count,
                             .type = (int16_t)asked->type,
                             .operation = (int16_t)asked->operation,
                             .root = (int16_t)asked->root};
    if (is_captured(asked->stream, asked->to, bytes)) return;
    header.number = comm->calls++;
    transfer *t = begin(comm, &header, asked->to, small, asked->stream);
    for (int rank = 0; rank < comm->ranks; rank++) {
        const char *part = (const char *)asked->from + (sends_a_part_to_each(header.call) ? bytes * (size_t)rank : 0);
        bool has_values = small && sends(&header, comm->rank, rank);
        if (rank != comm->rank) send_known(comm, rank, header, part, has_values ? small : 0);
        else if (has_values && header.call != BROADCAST) keep_own(t, part);
    }
    if (header.call == BROADCAST && comm->rank == header.root && asked->to != asked->from)
        phantom_copy(asked->to, asked->from, bytes);
    make_pending(t, bytes);
}

void phantom_send_values(ncclComm_t comm, int to, const void *from, size_t count, int type, void *stream) {
    size_t bytes = count * phantom_nccl_bytes(type);
    phantom_header header = {.call = SEND_RECEIVE, .count = count, .type = (int16_t)type, .paired = true};
    if (is_captured(stream, NULL, 0)) return;
    header.number = comm->sent[to]++;
    send_known(comm, to, header, from, bytes_if_small(bytes));
}

void phantom_receive_values(ncclComm_t comm, int from, void *to, size_t count, int type, void *stream) {
    size_t bytes = count * phantom_nccl_bytes(type);
    phantom_header header = {.call = SEND_RECEIVE, .count = count, .type = (int16_t)type, .paired = true};
    if (is_captured(stream, to, bytes)) return;
    header.number = comm->received[from]++;
    transfer *t = begin(comm, &header, to, bytes_if_small(bytes), stream);
    t->peer = from;
    make_pending(t, bytes);
}

void phantom_exchange_numbers(ncclComm_t comm, const int numbers[2], int (*all)[2]) {
    transfer t = {.comm = comm, .peer = -1, .wait = wait_in(comm, SPLIT, lacks_message)};
    t.asked = (phantom_header){.call = SPLIT, .number = comm->calls++, .values_bytes = 2 * sizeof(int), .known = ALL_KNOWN};
    for (int rank = 0; rank < comm->ranks; rank++)
        if (rank != comm->rank) send(comm, rank, &t.asked, (const char *)numbers, NULL);
    phantom_wait_for_ranks(&t.wait);
    phantom_lock_pending();
    for (int rank = 0; rank < comm->ranks; rank++) {
        phantom_message *message = rank == comm->rank ? NULL : message_from(&t, rank);
        if (message) check(&t, rank, &message->header);
        memcpy(all[rank], message ? message->values : (const char *)numbers, sizeof all[rank]);
        phantom_remove_message(comm->mailbox, rank, message);
    }
    phantom_unlock_pending();
}

static bool belongs_to(const phantom_pending *pending, const void *comm, size_t bytes) {
    (void)bytes;
    return of_pending(pending)->comm == comm;
}

void phantom_finish_transfers(ncclComm_t comm) { phantom_settle(belongs_to, comm, 0); }
