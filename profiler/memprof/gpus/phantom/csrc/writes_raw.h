/* System calls that a library makes without the C library. */
#pragma once
#include "writes_scratch.h"

#pragma GCC visibility push(hidden)

/* From now on the wrappers also see this thread's renames and deletions that do not go through the C library. */
void raw_watch(void);
/* The thread has renamed or deleted the file for which it was watched. */
void raw_end(void);

#pragma GCC visibility pop
