/* Deciding by the first bytes that are written.
 *
 * A file whose name tells nothing is opened as the program asked. If its first bytes are those of a tensor file, a file
 * of the scratch folder takes the place of the descriptor (dup3), and the real file is put back as it was: one that was
 * just made is removed, one that was just emptied gets its old bytes. A file that has lost its name stays where it is.
 *
 * The device and number of the file are kept with each descriptor: a descriptor may be closed and used again without
 * this library seeing it.
 */
#include "writes_watch.h"

#include "writes_kind.h"
#include "writes_raw.h"
#include "writes_upper.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { MOST_SAVED_BYTES = 256 << 20 };

struct identity {
    dev_t device;
    ino_t number;
};

_Atomic unsigned char watch_states[WATCH_MOST];
static struct identity identities[WATCH_MOST];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pid_t owner; /* a child of vfork shares this memory, but not the descriptors */

static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork(void) { pthread_mutex_unlock(&lock); }

static void after_fork_in_child(void) {
    for (int file = 0; file < WATCH_MOST; file++)
        if (watch_state_of(file)) watch_states[file] = WATCH_NONE; /* the parent decides about its files */
    owner = getpid();
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void watch_prepare(void) {
    owner = getpid();
    if (scratch_active) pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

void watch_begin(int file, enum watch_state state) {
    struct stat found;
    if ((unsigned)file >= WATCH_MOST || !state || owner != getpid() || kernel_fstat(file, &found)) return;
    identities[file] = (struct identity){.device = found.st_dev, .number = found.st_ino};
    watch_states[file] = (unsigned char)state;
}

static void forget_saved(int file) {
    char saved[PATH_MAX];
    struct stat found = {.st_dev = identities[file].device, .st_ino = identities[file].number};
    if (!scratch_saved_name(saved, sizeof saved, &found)) kernel_unlink(saved);
}

void watch_end(int file) {
    enum watch_state state = watch_state_of(file);
    if (!state || owner != getpid()) return;
    int error = errno;
    watch_states[file] = WATCH_NONE;
    if (state == WATCH_SAVED) forget_saved(file);
    errno = error;
}

bool watch_save(const char *path) {
    char saved[PATH_MAX];
    struct stat found;
    if (kernel_stat(path, &found) || found.st_size > MOST_SAVED_BYTES) return false;
    if (scratch_saved_name(saved, sizeof saved, &found) || upper_copy(path, saved)) return false;
    struct timespec times[] = {found.st_atim, found.st_mtim};
    syscall(SYS_utimensat, AT_FDCWD, saved, times, 0);
    return true;
}

/* The old bytes go back into the same file, which may have other names. */
static void restore(const char *path, const struct stat *file) {
    char saved[PATH_MAX];
    struct stat old;
    if (scratch_saved_name(saved, sizeof saved, file) || kernel_stat(saved, &old)) return;
    if (upper_copy_into(saved, path)) return;
    struct timespec times[] = {old.st_atim, old.st_mtim};
    syscall(SYS_utimensat, AT_FDCWD, path, times, 0);
    kernel_unlink(saved);
}

static void put_back(enum watch_state state, const char *path, const struct stat *file) {
    if (state == WATCH_CREATED) kernel_unlink(path);
    if (state == WATCH_EMPTY) syscall(SYS_truncate, path, 0);
    if (state == WATCH_SAVED) restore(path, file);
}

/* A descriptor of the scratch file for `place`, with what the real file has so far. */
static int open_upper(int file, const struct place *place, const struct stat *found) {
    int flags = (int)syscall(SYS_fcntl, file, F_GETFL);
    if (upper_prepare(place)) return -1;
    kernel_unlink(place->upper);
    if (found->st_size && upper_copy(place->path, place->upper)) return -1;
    int upper = kernel_open(place->upper, (flags & (O_ACCMODE | O_APPEND | O_SYNC)) | O_CREAT, found->st_mode & 0777);
    if (upper >= 0) syscall(SYS_lseek, upper, syscall(SYS_lseek, file, 0, SEEK_CUR), SEEK_SET);
    return upper;
}

static int move_to_scratch(int file, enum watch_state state, const struct stat *found) {
    char descriptor[32], path[PATH_MAX];
    struct place place;
    snprintf(descriptor, sizeof descriptor, "/proc/self/fd/%d", file);
    ssize_t length = kernel_readlink(descriptor, path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    struct stat named;
    if (place_find(&place, AT_FDCWD, path, false) || scratch_leaves_alone(place.path)) return 0;
    if (kernel_lstat(place.path, &named) || named.st_dev != found->st_dev || named.st_ino != found->st_ino) return 0;
    int upper = open_upper(file, &place, found);
    if (upper < 0) return -1;
    int close_on_exec = (int)syscall(SYS_fcntl, file, F_GETFD) & FD_CLOEXEC;
    int moved = (int)syscall(SYS_dup3, upper, file, close_on_exec ? O_CLOEXEC : 0);
    kernel_close(upper);
    if (moved < 0) return -1;
    put_back(state, place.path, found);
    watch_begin(file, WATCH_SCRATCH);
    if (state == WATCH_CREATED) raw_watch(); /* it may be a file that will be renamed */
    return 0;
}

/* What the file will begin with once `bytes` are written at `at`. */
static enum kind kind_after(int file, off_t at, const void *bytes, size_t count) {
    unsigned char head[KIND_HEAD_BYTES];
    char descriptor[32];
    size_t known = at < KIND_HEAD_BYTES ? (size_t)at : KIND_HEAD_BYTES;
    if (known) { /* the descriptor itself may be for writing only */
        snprintf(descriptor, sizeof descriptor, "/proc/self/fd/%d", file);
        int reader = kernel_open(descriptor, O_RDONLY, 0);
        ssize_t length = reader < 0 ? -1 : syscall(SYS_pread64, reader, head, known, 0);
        if (reader >= 0) kernel_close(reader);
        if (length < (ssize_t)known) return KIND_UNDECIDED;
    }
    size_t added = count < sizeof head - known ? count : sizeof head - known;
    memcpy(head + known, bytes, added);
    return kind_of_bytes(head, known + added);
}

static int decide(int file, off_t offset, const void *bytes, size_t count) {
    struct stat found;
    enum watch_state state = watch_state_of(file);
    if (!state || state == WATCH_SCRATCH) return 0;
    struct identity was = identities[file];
    if (kernel_fstat(file, &found) || found.st_dev != was.device || found.st_ino != was.number) {
        watch_states[file] = WATCH_NONE; /* closed and used again */
        return 0;
    }
    bool at_end = syscall(SYS_fcntl, file, F_GETFL) & O_APPEND;
    off_t at = at_end ? found.st_size : offset >= 0 ? offset : syscall(SYS_lseek, file, 0, SEEK_CUR);
    enum kind kind = at < 0 ? KIND_OTHER : kind_after(file, at, bytes, count);
    if (kind == KIND_TENSORS) return move_to_scratch(file, state, &found);
    if (kind == KIND_OTHER) watch_end(file);
    return 0;
}

int watch_bytes(int file, off_t offset, const void *bytes, size_t count) {
    if (!count || owner != getpid()) return 0;
    int error = errno;
    pthread_mutex_lock(&lock);
    int decided = decide(file, offset, bytes, count);
    pthread_mutex_unlock(&lock);
    if (!decided) errno = error;
    return decided;
}

int watch_parts(int file, off_t offset, const struct iovec *parts, int count) {
    unsigned char head[KIND_HEAD_BYTES];
    size_t length = 0;
    for (int i = 0; i < count && length < sizeof head; i++) {
        size_t added = parts[i].iov_len < sizeof head - length ? parts[i].iov_len : sizeof head - length;
        if (added) memcpy(head + length, parts[i].iov_base, added);
        length += added;
    }
    return watch_bytes(file, offset, head, length);
}

int watch_file(int file, off_t offset, int from, const off_t *from_offset) {
    unsigned char head[KIND_HEAD_BYTES];
    int error = errno;
    off_t at = from_offset ? *from_offset : syscall(SYS_lseek, from, 0, SEEK_CUR);
    ssize_t length = at < 0 ? -1 : syscall(SYS_pread64, from, head, sizeof head, at);
    errno = error;
    return length > 0 ? watch_bytes(file, offset, head, (size_t)length) : 0;
}
