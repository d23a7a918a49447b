/* Messages between the processes of a communicator, in a file that they all map.
 *
 * MEMPROF_PHANTOM_MAILBOXES names the folder of these files, one for each communicator. Each rank has a ring of bytes
 * for each other rank. What arrives is kept in a list until the call that it is for takes it.
 */
#include "mailbox.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RING_BYTES = 2304 << 10, ALIGNMENT = 8 };

_Static_assert(RING_BYTES > 2 * PHANTOM_MOST_VALUES_BYTES + sizeof(phantom_header) + ALIGNMENT, "a message has room");

typedef struct {
    _Atomic uint64_t written, read; /* bytes since the start */
    char bytes[RING_BYTES];
} ring;

typedef struct {
    phantom_member members[PHANTOM_MAX_RANKS];
    _Atomic uint32_t bells[PHANTOM_MAX_RANKS];
    _Atomic int joined;
    _Alignas(4096) ring rings[]; /* from each rank to each rank */
} shared_page;

struct phantom_mailbox {
    int ranks, rank;
    shared_page *page;
    phantom_message *arrived[PHANTOM_MAX_RANKS];
    phantom_mailbox *next;
};

static phantom_mailbox *mailboxes; /* of this process; none is closed, since work may still be pending */

static ring *ring_between(const phantom_mailbox *mailbox, int from, int to) {
    return &mailbox->page->rings[from * mailbox->ranks + to];
}

static void ring_bell(phantom_mailbox *mailbox, int rank) {
    _Atomic uint32_t *bell = &mailbox->page->bells[rank];
    atomic_fetch_add(bell, 1);
    syscall(SYS_futex, bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* ---- joining ---- */

static shared_page *map(const char *path, int ranks) {
    size_t bytes = sizeof(shared_page) + sizeof(ring) * (size_t)(ranks * ranks);
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) return NULL;
    void *mapped = ftruncate(file, (off_t)bytes) == 0
                       ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
                       : MAP_FAILED;
    close(file);
    return mapped == MAP_FAILED ? NULL : mapped;
}

static int world_rank(void) {
    const char *rank = getenv("RANK");
    return rank && *rank ? atoi(rank) : -1;
}

static void join(phantom_mailbox *mailbox, int gpu, const char *path) {
    phantom_member *self = &mailbox->page->members[mailbox->rank];
    self->gpu = gpu;
    self->world_rank = world_rank();
    atomic_store(&self->pid, getpid());
    if (atomic_fetch_add(&mailbox->page->joined, 1) + 1 == mailbox->ranks) unlink(path); /* nobody else will open it */
    for (int rank = 0; rank < mailbox->ranks; rank++) ring_bell(mailbox, rank);
}

phantom_mailbox *phantom_open_mailbox(uint64_t id, int ranks, int rank, int gpu) {
    const char *folder = getenv("MEMPROF_PHANTOM_MAILBOXES");
    char path[PATH_MAX];
    if (!folder || ranks > PHANTOM_MAX_RANKS) return NULL;
    if (snprintf(path, sizeof path, "%s/%016llx", folder, (unsigned long long)id) >= (int)sizeof path) return NULL;
    phantom_mailbox *made = calloc(1, sizeof *made);
    if (!made) return NULL;
    made->ranks = ranks;
    made->rank = rank;
    made->page = map(path, ranks);
    if (!made->page) {
        free(made);
        return NULL;
    }
    made->next = mailboxes;
    mailboxes = made;
    join(made, gpu, path);
    return made;
}

const phantom_member *phantom_member_of(const phantom_mailbox *mailbox, int rank) {
    return &mailbox->page->members[rank];
}

_Atomic uint32_t *phantom_bell_of(phantom_mailbox *mailbox) { return &mailbox->page->bells[mailbox->rank]; }

/* ---- rings ---- */

static void put(ring *r, uint64_t at, const void *from, size_t bytes) {
    size_t start = at % RING_BYTES, until_end = RING_BYTES - start, head = bytes < until_end ? bytes : until_end;
    memcpy(r->bytes + start, from, head);
    memcpy(r->bytes, (const char *)from + head, bytes - head);
}

static void take(const ring *r, uint64_t at, void *to, size_t bytes) {
    size_t start = at % RING_BYTES, until_end = RING_BYTES - start, head = bytes < until_end ? bytes : until_end;
    memcpy(to, r->bytes + start, head);
    memcpy((char *)to + head, r->bytes, bytes - head);
}

static size_t body_bytes(const phantom_header *header) {
    if (header->known == NOTHING_KNOWN) return 0;
    return header->values_bytes * (header->known == SOME_KNOWN ? 2UL : 1UL);
}

static size_t whole_bytes(const phantom_header *header) {
    return (sizeof *header + body_bytes(header) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

bool phantom_send(phantom_mailbox *mailbox, int to, const phantom_header *header, const char *values,
                  const char *known) {
    ring *r = ring_between(mailbox, mailbox->rank, to);
    uint64_t at = atomic_load(&r->written);
    size_t body = body_bytes(header);
    if (at - atomic_load(&r->read) + whole_bytes(header) > RING_BYTES) return false;
    put(r, at, header, sizeof *header);
    if (body) put(r, at + sizeof *header, values, header->values_bytes);
    if (body > header->values_bytes) put(r, at + sizeof *header + header->values_bytes, known, header->values_bytes);
    atomic_store(&r->written, at + whole_bytes(header));
    ring_bell(mailbox, to);
    return true;
}

static void keep(phantom_mailbox *mailbox, int from, phantom_message *message) {
    phantom_message **link = &mailbox->arrived[from];
    while (*link) link = &(*link)->next;
    *link = message;
    message->next = NULL;
}

static void receive_from(phantom_mailbox *mailbox, int from) {
    ring *r = ring_between(mailbox, from, mailbox->rank);
    uint64_t at = atomic_load(&r->read);
    bool any = false;
    while (at < atomic_load(&r->written)) {
        phantom_header header;
        take(r, at, &header, sizeof header);
        phantom_message *message = malloc(sizeof *message + body_bytes(&header));
        if (!message) break;
        message->header = header;
        take(r, at + sizeof header, message->values, body_bytes(&header));
        keep(mailbox, from, message);
        atomic_store(&r->read, at += whole_bytes(&header));
        any = true;
    }
    if (any) ring_bell(mailbox, from); /* it may be waiting for room */
}

void phantom_receive(void) {
    for (phantom_mailbox *mailbox = mailboxes; mailbox; mailbox = mailbox->next)
        for (int from = 0; from < mailbox->ranks; from++) receive_from(mailbox, from);
}

phantom_message *phantom_find_message(const phantom_mailbox *mailbox, int from, bool paired, uint64_t number) {
    phantom_message *message = mailbox->arrived[from];
    while (message && (message->header.paired != paired || message->header.number != number)) message = message->next;
    return message;
}

void phantom_remove_message(phantom_mailbox *mailbox, int from, phantom_message *message) {
    phantom_message **link = &mailbox->arrived[from];
    while (*link && *link != message) link = &(*link)->next;
    if (*link) *link = message->next;
    free(message);
}
