/* Wrappers of the functions that open files. */
#include "writes_choose.h"
#include "writes_raw.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int open_at(int dirfd, const char *path, int flags, mode_t mode) {
    struct opening opening;
    if (!scratch_active || (!scratch_used() && !opening_writes(flags))) return REAL(openat)(dirfd, path, flags, mode);
    if (opening_choose(&opening, dirfd, path, flags)) return -1;
    if (opening.watch == WATCH_SCRATCH) mode |= S_IRUSR | S_IWUSR; /* later opens of it must not fail */
    if (opening.watch == WATCH_SCRATCH && flags & O_EXCL) raw_watch(); /* a temporary file, which will be renamed */
    int file = REAL(openat)(dirfd, opening.path, flags, mode);
    watch_begin(file, opening.watch);
    return file;
}

/* The third argument of open is there only if the flags make a file. */
#define MODE_OF(flags)                                                   \
    ({                                                                   \
        mode_t mode_ = 0;                                                \
        if ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE) {   \
            va_list rest_;                                               \
            va_start(rest_, flags);                                      \
            mode_ = va_arg(rest_, mode_t);                               \
            va_end(rest_);                                               \
        }                                                                \
        mode_;                                                           \
    })

int open(const char *path, int flags, ...) { return open_at(AT_FDCWD, path, flags, MODE_OF(flags)); }
int open64(const char *path, int flags, ...) { return open_at(AT_FDCWD, path, flags, MODE_OF(flags)); }
int openat(int dirfd, const char *path, int flags, ...) { return open_at(dirfd, path, flags, MODE_OF(flags)); }
int openat64(int dirfd, const char *path, int flags, ...) { return open_at(dirfd, path, flags, MODE_OF(flags)); }
int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode); }

/* What a program calls instead that was compiled with _FORTIFY_SOURCE. */
int __open_2(const char *path, int flags) { return open_at(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_at(AT_FDCWD, path, flags, 0); }
int __openat_2(int dirfd, const char *path, int flags) { return open_at(dirfd, path, flags, 0); }
int __openat64_2(int dirfd, const char *path, int flags) { return open_at(dirfd, path, flags, 0); }

static int flags_of_mode(const char *mode) {
    int flags = *mode == 'r' ? 0 : *mode == 'w' ? O_CREAT | O_TRUNC : O_CREAT | O_APPEND;
    size_t length = strcspn(mode, ","); /* ",ccs=" names an encoding */
    bool both = memchr(mode, '+', length);
    if (memchr(mode, 'x', length)) flags |= O_EXCL;
    return flags | (both ? O_RDWR : *mode == 'r' ? O_RDONLY : O_WRONLY);
}

typedef FILE *open_stream(const char *path, const char *mode, FILE *stream);

static FILE *open_new(const char *path, const char *mode, FILE *stream) {
    (void)stream;
    return REAL(fopen64)(path, mode);
}

static FILE *open_again(const char *path, const char *mode, FILE *stream) {
    return REAL(freopen64)(path, mode, stream);
}

/* libstdc++ opens streams so and then writes to their descriptors. */
static FILE *open_with(open_stream *call, const char *path, const char *mode, FILE *stream) {
    struct opening opening;
    int flags = flags_of_mode(mode);
    if (!scratch_active || (!scratch_used() && !opening_writes(flags))) return call(path, mode, stream);
    if (opening_choose(&opening, AT_FDCWD, path, flags)) return NULL;
    FILE *opened = call(opening.path, mode, stream);
    if (opened) watch_begin(fileno_unlocked(opened), opening.watch);
    return opened;
}

FILE *fopen(const char *path, const char *mode) { return open_with(open_new, path, mode, NULL); }
FILE *fopen64(const char *path, const char *mode) { return open_with(open_new, path, mode, NULL); }

static bool has_path(const char *path) { return path; } /* without one, freopen only changes the mode */

FILE *freopen(const char *path, const char *mode, FILE *stream) {
    return has_path(path) ? open_with(open_again, path, mode, stream) : REAL(freopen64)(path, mode, stream);
}

FILE *freopen64(const char *path, const char *mode, FILE *stream) {
    return has_path(path) ? open_with(open_again, path, mode, stream) : REAL(freopen64)(path, mode, stream);
}

/* The C library makes these files with a call of its own. */
static int watch_new(int file) {
    if (scratch_active && file >= 0) watch_begin(file, WATCH_CREATED);
    return file;
}

int mkstemp(char *path) { return watch_new(REAL(mkstemp)(path)); }
int mkstemp64(char *path) { return watch_new(REAL(mkstemp64)(path)); }
int mkostemp(char *path, int flags) { return watch_new(REAL(mkostemp)(path, flags)); }
int mkostemp64(char *path, int flags) { return watch_new(REAL(mkostemp64)(path, flags)); }
int mkstemps(char *path, int length) { return watch_new(REAL(mkstemps)(path, length)); }
int mkstemps64(char *path, int length) { return watch_new(REAL(mkstemps64)(path, length)); }
