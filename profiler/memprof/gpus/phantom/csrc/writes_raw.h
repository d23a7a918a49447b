/* System calls that a library makes without the C library. */
#pragma once
#include "writes_scratch.h"

#pragma GCC visibility push(hidden)

/* What such a call goes to instead. They are handed in, since they call functions of this file themselves. */
struct raw_wrappers {
    int (*rename)(int from_dirfd, const char *from, int to_dirfd, const char *to, unsigned flags);
    int (*link)(int from_dirfd, const char *from, int to_dirfd, const char *to, int flags);
    int (*unlink)(int dirfd, const char *path, int flags);
};

void raw_prepare(const struct raw_wrappers *given);

/* From now on the wrappers also see this thread's renames and deletions that do not go through the C library. */
void raw_watch(void);
/* The thread has renamed or deleted the file for which it was watched. */
void raw_end(void);

#pragma GCC visibility pop
