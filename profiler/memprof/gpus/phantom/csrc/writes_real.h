/* Calls that pass by the wrappers of libphantom_files.so: the next library's function, and the kernel itself. */
#pragma once

#undef _FORTIFY_SOURCE /* its inline versions of open and readlink would stand in the way of the wrappers */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The function that a program would reach without this library; looked up once for each place that calls it. */
#define REAL(name)                                                                              \
    ({                                                                                          \
        static __typeof__(&(name)) found_;                                                      \
        if (!found_) found_ = (__typeof__(&(name)))dlsym(RTLD_NEXT, #name);                     \
        found_;                                                                                 \
    })

/* What the wrappers themselves do with files, by absolute path. */
static inline int kernel_open(const char *path, int flags, mode_t mode) {
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, mode);
}
static inline int kernel_close(int file) { return (int)syscall(SYS_close, file); }
static inline int kernel_stat(const char *path, struct stat *found) {
    return (int)syscall(SYS_newfstatat, AT_FDCWD, path, found, 0);
}
static inline int kernel_lstat(const char *path, struct stat *found) {
    return (int)syscall(SYS_newfstatat, AT_FDCWD, path, found, AT_SYMLINK_NOFOLLOW);
}
static inline int kernel_fstat(int file, struct stat *found) { return (int)syscall(SYS_fstat, file, found); }
static inline ssize_t kernel_readlink(const char *path, char *text, size_t size) {
    return syscall(SYS_readlinkat, AT_FDCWD, path, text, size);
}
static inline int kernel_unlink(const char *path) { return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0); }
static inline int kernel_rmdir(const char *path) { return (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR); }
static inline int kernel_mkdir(const char *path, mode_t mode) {
    return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}
static inline int kernel_rename(const char *from, const char *to) {
    return (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
}
static inline int kernel_symlink(const char *text, const char *path) {
    return (int)syscall(SYS_symlinkat, text, AT_FDCWD, path);
}
static inline int kernel_access(const char *path, int mode) {
    return (int)syscall(SYS_faccessat, AT_FDCWD, path, mode);
}
static inline bool kernel_exists(const char *path) {
    struct stat found;
    return kernel_lstat(path, &found) == 0;
}
