/* Wrappers of the functions that write to a descriptor or close it. Most are not watched: one load decides. */
#include "writes_sparse.h"
#include "writes_watch.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>

/* Whether the call goes on; when it returns, `state` is that of the descriptor. */
#define DECIDED(call) \
    ((state == WATCH_NONE || state == WATCH_SCRATCH || (call) == 0) && (state = watch_state_of(file), true))

ssize_t write(int file, const void *bytes, size_t count) {
    enum watch_state state = watch_state_of(file);
    if (!state) return REAL(write)(file, bytes, count);
    if (!DECIDED(watch_bytes(file, -1, bytes, count))) return -1;
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = count};
    return state == WATCH_SCRATCH ? sparse_write(file, &part, 1) : REAL(write)(file, bytes, count);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    enum watch_state state = watch_state_of(file);
    if (!state) return REAL(writev)(file, parts, count);
    if (!DECIDED(watch_parts(file, -1, parts, count))) return -1;
    return state == WATCH_SCRATCH ? sparse_write(file, parts, count) : REAL(writev)(file, parts, count);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t offset) {
    enum watch_state state = watch_state_of(file);
    return DECIDED(watch_bytes(file, offset, bytes, count)) ? REAL(pwrite)(file, bytes, count, offset) : -1;
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset) {
    enum watch_state state = watch_state_of(file);
    return DECIDED(watch_bytes(file, offset, bytes, count)) ? REAL(pwrite64)(file, bytes, count, offset) : -1;
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t offset) {
    enum watch_state state = watch_state_of(file);
    return DECIDED(watch_parts(file, offset, parts, count)) ? REAL(pwritev)(file, parts, count, offset) : -1;
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t offset) {
    enum watch_state state = watch_state_of(file);
    return DECIDED(watch_parts(file, offset, parts, count)) ? REAL(pwritev64)(file, parts, count, offset) : -1;
}

ssize_t pwritev2(int file, const struct iovec *parts, int count, off_t offset, int flags) {
    enum watch_state state = watch_state_of(file);
    return DECIDED(watch_parts(file, offset, parts, count)) ? REAL(pwritev2)(file, parts, count, offset, flags) : -1;
}

ssize_t pwritev64v2(int file, const struct iovec *parts, int count, off64_t offset, int flags) {
    enum watch_state state = watch_state_of(file);
    return DECIDED(watch_parts(file, offset, parts, count)) ? REAL(pwritev64v2)(file, parts, count, offset, flags) : -1;
}

ssize_t sendfile(int file, int from, off_t *from_offset, size_t count) {
    enum watch_state state = watch_state_of(file);
    return DECIDED(watch_file(file, -1, from, from_offset)) ? REAL(sendfile)(file, from, from_offset, count) : -1;
}

ssize_t sendfile64(int file, int from, off64_t *from_offset, size_t count) {
    enum watch_state state = watch_state_of(file);
    return DECIDED(watch_file(file, -1, from, from_offset)) ? REAL(sendfile64)(file, from, from_offset, count) : -1;
}

ssize_t copy_file_range(int from, off64_t *from_offset, int file, off64_t *offset, size_t count, unsigned flags) {
    enum watch_state state = watch_state_of(file);
    if (!DECIDED(watch_file(file, offset ? *offset : -1, from, from_offset))) return -1;
    return REAL(copy_file_range)(from, from_offset, file, offset, count, flags);
}

/* `cp` asks the file system to share the blocks of a file before it copies them. */
int ioctl(int file, unsigned long request, ...) {
    enum { CLONE = 0x40049409 }; /* FICLONE of linux/fs.h */
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    enum watch_state state = request == CLONE ? watch_state_of(file) : WATCH_NONE;
    off_t start = 0;
    return DECIDED(watch_file(file, 0, (int)(intptr_t)argument, &start)) ? REAL(ioctl)(file, request, argument) : -1;
}

static int descriptor_of(FILE *stream) {
    int error = errno, file = fileno_unlocked(stream); /* a stream in memory has none */
    errno = error;
    return file;
}

size_t fwrite(const void *bytes, size_t size, size_t count, FILE *stream) {
    int file = descriptor_of(stream);
    enum watch_state state = watch_state_of(file);
    return DECIDED(watch_bytes(file, -1, bytes, size * count)) ? REAL(fwrite)(bytes, size, count, stream) : 0;
}

int close(int file) {
    if (watch_state_of(file)) watch_end(file);
    return REAL(close)(file);
}

int fclose(FILE *stream) {
    int file = descriptor_of(stream);
    if (watch_state_of(file)) watch_end(file);
    return REAL(fclose)(stream);
}
