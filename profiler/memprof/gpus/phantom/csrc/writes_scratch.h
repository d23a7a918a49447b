/* The scratch folder of this run: where it is, whether it holds anything yet, and what memprof wrote into it. */
#pragma once
#include "writes_real.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* Whether this process has a scratch folder. Without one every wrapper calls the real function at once. */
extern bool scratch_active;
/* One int in a page that all processes of the run share: 1 as soon as the scratch folder has a say about some path. */
extern _Atomic int *scratch_flag;
/* The folder that mirrors absolute paths, without a slash at the end. */
extern char scratch_files[PATH_MAX];
extern size_t scratch_files_length;

static inline bool scratch_used(void) { return atomic_load_explicit(scratch_flag, memory_order_relaxed); }
static inline void scratch_mark_used(void) { atomic_store(scratch_flag, 1); }

/* Whether writes below this absolute path are left alone: devices, and caches such as that of Hugging Face. */
bool scratch_leaves_alone(const char *path);
/* The part of an absolute path below the folder in which the run was started, or the path itself. */
const char *scratch_below_start(const char *path);
/* Whether the file or link was there before the run began. */
bool scratch_is_older(const char *path);
/* Writes the name of the file that keeps the old bytes of a file which was opened with O_TRUNC. */
int scratch_saved_name(char *name, size_t size, const struct stat *file);

#pragma GCC visibility pop
