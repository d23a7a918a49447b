/* The tensors of a phantom are zeros, and a model may have more of them than the disk has room for. */
#include "writes_sparse.h"

#include <errno.h>
#include <string.h>

enum { BLOCK = 256 << 10 };

static bool is_zero(const char *bytes, size_t size) { return !*bytes && !memcmp(bytes, bytes + 1, size - 1); }

/* Makes a hole of the next `size` bytes; false if the file has data there already, or can have no holes. */
static bool skip(int file, size_t size) {
    struct stat found;
    off_t at = syscall(SYS_lseek, file, 0, SEEK_CUR);
    if (at < 0 || kernel_fstat(file, &found) || !S_ISREG(found.st_mode)) return false;
    off_t end = at + (off_t)size;
    if (at < found.st_size) {
        off_t data = syscall(SYS_lseek, file, at, SEEK_DATA);
        bool free = data < 0 ? errno == ENXIO : data >= end;
        if (syscall(SYS_lseek, file, at, SEEK_SET) != at || !free) return false;
    }
    if (end > found.st_size && syscall(SYS_ftruncate, file, end)) return false;
    return syscall(SYS_lseek, file, end, SEEK_SET) == end;
}

static ssize_t write_part(int file, const char *bytes, size_t size) {
    size_t done = 0;
    while (done < size) {
        size_t block = size - done < BLOCK ? size - done : BLOCK;
        ssize_t written = (ssize_t)block;
        if (block < BLOCK || !is_zero(bytes + done, block) || !skip(file, block))
            written = REAL(write)(file, bytes + done, block);
        if (written <= 0) return done ? (ssize_t)done : written;
        done += (size_t)written;
        if ((size_t)written < block) break;
    }
    return (ssize_t)done;
}

ssize_t sparse_write(int file, const struct iovec *parts, int count) {
    ssize_t done = 0;
    if (syscall(SYS_fcntl, file, F_GETFL) & O_APPEND) return REAL(writev)(file, parts, count);
    for (int i = 0; i < count; i++) {
        ssize_t written = write_part(file, parts[i].iov_base, parts[i].iov_len);
        if (written < 0) return done ? done : -1;
        done += written;
        if ((size_t)written < parts[i].iov_len) break;
    }
    return done;
}
