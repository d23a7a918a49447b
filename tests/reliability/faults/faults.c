/* Fault injection: lets the n-th call that writes below a folder fail, in any process that has this library preloaded.
 *
 * MEMPROF_FAULTS names a file that all processes map: the number of calls so far, the first one that fails, the last
 * one, and the error. MEMPROF_FAULTS_BELOW is the folder. Deleting never fails, so that a program can clean up.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

typedef struct {
    int64_t calls, first, last, error;
} Plan;

static Plan *plan;
static const char *below;

__attribute__((constructor)) static void start(void) {
    const char *name = getenv("MEMPROF_FAULTS");
    below = getenv("MEMPROF_FAULTS_BELOW");
    if (!name || !below) return;
    int file = open(name, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) plan = mapped;
}

/* Whether this call fails; a call on a path outside the folder is not counted. */
static int fails(const char *path) {
    size_t length = below ? strlen(below) : 0;
    if (!plan || strncmp(path, below, length) || (path[length] && path[length] != '/')) return 0;
    int64_t number = __atomic_add_fetch(&plan->calls, 1, __ATOMIC_SEQ_CST);
    if (number < plan->first || number > plan->last) return 0;
    errno = (int)plan->error;
    return 1;
}

static int fails_open(int file) {
    char link[64], path[PATH_MAX];
    if (!plan) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(path);
}

static int fails_at(int folder, const char *path) {
    char link[64], whole[2 * PATH_MAX];
    if (!plan) return 0;
    if (*path == '/') return fails(path);
    if (folder == AT_FDCWD) {
        if (!getcwd(whole, PATH_MAX)) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, whole, PATH_MAX - 1);
        if (length < 0) return 0;
        whole[length] = 0;
    }
    strncat(whole, "/", 2);
    strncat(whole, path, PATH_MAX - 1);
    return fails(whole);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRITES(flags) (((flags) & O_ACCMODE) != O_RDONLY || ((flags) & O_CREAT))
#define MODE(flags)                                                    \
    mode_t mode = 0;                                                   \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                             \
        va_list rest;                                                  \
        va_start(rest, flags);                                         \
        mode = va_arg(rest, mode_t);                                   \
        va_end(rest);                                                  \
    }

int open(const char *path, int flags, ...) {
    MODE(flags)
    return WRITES(flags) && fails_at(AT_FDCWD, path) ? -1 : REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE(flags)
    return WRITES(flags) && fails_at(AT_FDCWD, path) ? -1 : REAL(open64)(path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...) {
    MODE(flags)
    return WRITES(flags) && fails_at(folder, path) ? -1 : REAL(openat)(folder, path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...) {
    MODE(flags)
    return WRITES(flags) && fails_at(folder, path) ? -1 : REAL(openat64)(folder, path, flags, mode);
}

FILE *fopen(const char *path, const char *how) {
    return strpbrk(how, "wa+") && fails_at(AT_FDCWD, path) ? NULL : REAL(fopen)(path, how);
}

FILE *fopen64(const char *path, const char *how) {
    return strpbrk(how, "wa+") && fails_at(AT_FDCWD, path) ? NULL : REAL(fopen64)(path, how);
}

ssize_t write(int file, const void *data, size_t size) { return fails_open(file) ? -1 : REAL(write)(file, data, size); }

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) {
    return fails_open(file) ? -1 : REAL(pwrite64)(file, data, size, offset);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    return fails_open(file) ? -1 : REAL(writev)(file, parts, count);
}

int fsync(int file) { return fails_open(file) ? -1 : REAL(fsync)(file); }

int fdatasync(int file) { return fails_open(file) ? -1 : REAL(fdatasync)(file); }

int ftruncate64(int file, off64_t size) { return fails_open(file) ? -1 : REAL(ftruncate64)(file, size); }

int mkdir(const char *path, mode_t mode) { return fails_at(AT_FDCWD, path) ? -1 : REAL(mkdir)(path, mode); }

int mkdirat(int folder, const char *path, mode_t mode) {
    return fails_at(folder, path) ? -1 : REAL(mkdirat)(folder, path, mode);
}

int rename(const char *from, const char *to) { return fails_at(AT_FDCWD, to) ? -1 : REAL(rename)(from, to); }

int renameat(int one, const char *from, int other, const char *to) {
    return fails_at(other, to) ? -1 : REAL(renameat)(one, from, other, to);
}

int symlink(const char *target, const char *path) { return fails_at(AT_FDCWD, path) ? -1 : REAL(symlink)(target, path); }

int link(const char *from, const char *to) { return fails_at(AT_FDCWD, to) ? -1 : REAL(link)(from, to); }
