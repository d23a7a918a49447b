/* Choosing where a file is opened. */
#pragma once
#include "writes_place.h"
#include "writes_watch.h"

#pragma GCC visibility push(hidden)

struct opening {
    struct place place;
    const char *path;       /* what to open, from the folder that the program named */
    enum watch_state watch; /* of the descriptor that will be had */
};

/* Chooses what to open for `given` and does what must be done before. -1 with errno: opening fails. */
int opening_choose(struct opening *opening, int dirfd, const char *given, int flags);
/* Whether these flags let a program write, or make or empty a file. */
bool opening_writes(int flags);

#pragma GCC visibility pop
