/* Wrappers of the functions that tell about a file or change its properties: each asks for the path to use instead. */
#include "writes_place.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <utime.h>

/* `where` is the path to use for the argument `path`; an absolute one needs no folder. */
#define INSTEAD(dirfd, follow)                                                              \
    struct place place;                                                                     \
    const char *where = place_to_read(&place, dirfd, path, follow);                         \
    if (where == place_gone) return -1

#define ON_PATH(type, name, follow, parameters, arguments)                                  \
    type name parameters {                                                                  \
        INSTEAD(AT_FDCWD, follow);                                                          \
        return REAL(name) arguments;                                                        \
    }

#define AT_FOLDER(type, name, follow, parameters, arguments)                                \
    type name parameters {                                                                  \
        INSTEAD(dirfd, follow);                                                             \
        return REAL(name) arguments;                                                        \
    }

/* Before glibc 2.33 these were no functions of the library, so they ask the kernel. */
static int stat_at(int dirfd, const char *path, struct stat *found, int flags) {
    INSTEAD(dirfd, !(flags & AT_SYMLINK_NOFOLLOW));
    return (int)syscall(SYS_newfstatat, dirfd, where, found, flags);
}

int stat(const char *path, struct stat *found) { return stat_at(AT_FDCWD, path, found, 0); }
int lstat(const char *path, struct stat *found) { return stat_at(AT_FDCWD, path, found, AT_SYMLINK_NOFOLLOW); }
int fstatat(int dirfd, const char *path, struct stat *found, int flags) { return stat_at(dirfd, path, found, flags); }

/* On x86-64 struct stat64 is struct stat. */
int stat64(const char *path, struct stat64 *found) { return stat_at(AT_FDCWD, path, (struct stat *)found, 0); }
int lstat64(const char *path, struct stat64 *found) {
    return stat_at(AT_FDCWD, path, (struct stat *)found, AT_SYMLINK_NOFOLLOW);
}
int fstatat64(int dirfd, const char *path, struct stat64 *found, int flags) {
    return stat_at(dirfd, path, (struct stat *)found, flags);
}

/* What programs call that were compiled with an older glibc; the first argument is the version of the structure. */
int __xstat(int version, const char *path, struct stat *found);
int __lxstat(int version, const char *path, struct stat *found);
int __fxstatat(int version, int dirfd, const char *path, struct stat *found, int flags);
int __xstat64(int version, const char *path, struct stat64 *found);
int __lxstat64(int version, const char *path, struct stat64 *found);
int __fxstatat64(int version, int dirfd, const char *path, struct stat64 *found, int flags);

int __xstat(int version, const char *path, struct stat *found) { return (void)version, stat(path, found); }
int __lxstat(int version, const char *path, struct stat *found) { return (void)version, lstat(path, found); }
int __fxstatat(int version, int dirfd, const char *path, struct stat *found, int flags) {
    return (void)version, fstatat(dirfd, path, found, flags);
}
int __xstat64(int version, const char *path, struct stat64 *found) { return (void)version, stat64(path, found); }
int __lxstat64(int version, const char *path, struct stat64 *found) { return (void)version, lstat64(path, found); }
int __fxstatat64(int version, int dirfd, const char *path, struct stat64 *found, int flags) {
    return (void)version, fstatat64(dirfd, path, found, flags);
}

AT_FOLDER(int, statx, !(flags & AT_SYMLINK_NOFOLLOW),
          (int dirfd, const char *restrict path, int flags, unsigned mask, struct statx *restrict found),
          (dirfd, where, flags, mask, found))

ON_PATH(int, access, true, (const char *path, int mode), (where, mode))
ON_PATH(int, euidaccess, true, (const char *path, int mode), (where, mode))
ON_PATH(int, eaccess, true, (const char *path, int mode), (where, mode))
AT_FOLDER(int, faccessat, !(flags & AT_SYMLINK_NOFOLLOW), (int dirfd, const char *path, int mode, int flags),
          (dirfd, where, mode, flags))

ON_PATH(int, chmod, true, (const char *path, mode_t mode), (where, mode))
AT_FOLDER(int, fchmodat, !(flags & AT_SYMLINK_NOFOLLOW), (int dirfd, const char *path, mode_t mode, int flags),
          (dirfd, where, mode, flags))
ON_PATH(int, chown, true, (const char *path, uid_t user, gid_t group), (where, user, group))
ON_PATH(int, lchown, false, (const char *path, uid_t user, gid_t group), (where, user, group))
AT_FOLDER(int, fchownat, !(flags & AT_SYMLINK_NOFOLLOW),
          (int dirfd, const char *path, uid_t user, gid_t group, int flags), (dirfd, where, user, group, flags))

ON_PATH(int, utime, true, (const char *path, const struct utimbuf *times), (where, times))
ON_PATH(int, utimes, true, (const char *path, const struct timeval times[2]), (where, times))
ON_PATH(int, lutimes, false, (const char *path, const struct timeval times[2]), (where, times))
AT_FOLDER(int, utimensat, !(flags & AT_SYMLINK_NOFOLLOW),
          (int dirfd, const char *path, const struct timespec times[2], int flags), (dirfd, where, times, flags))

ON_PATH(ssize_t, readlink, false, (const char *restrict path, char *restrict text, size_t size), (where, text, size))
AT_FOLDER(ssize_t, readlinkat, false, (int dirfd, const char *restrict path, char *restrict text, size_t size),
          (dirfd, where, text, size))

ON_PATH(ssize_t, getxattr, true, (const char *path, const char *name, void *value, size_t size),
        (where, name, value, size))
ON_PATH(ssize_t, lgetxattr, false, (const char *path, const char *name, void *value, size_t size),
        (where, name, value, size))
ON_PATH(ssize_t, listxattr, true, (const char *path, char *list, size_t size), (where, list, size))
ON_PATH(ssize_t, llistxattr, false, (const char *path, char *list, size_t size), (where, list, size))
ON_PATH(int, setxattr, true, (const char *path, const char *name, const void *value, size_t size, int flags),
        (where, name, value, size, flags))
ON_PATH(int, lsetxattr, false, (const char *path, const char *name, const void *value, size_t size, int flags),
        (where, name, value, size, flags))
ON_PATH(int, removexattr, true, (const char *path, const char *name), (where, name))
ON_PATH(int, lremovexattr, false, (const char *path, const char *name), (where, name))

ON_PATH(int, statfs, true, (const char *path, struct statfs *found), (where, found))
ON_PATH(int, statfs64, true, (const char *path, struct statfs64 *found), (where, found))
ON_PATH(int, statvfs, true, (const char *restrict path, struct statvfs *restrict found), (where, found))
ON_PATH(int, statvfs64, true, (const char *restrict path, struct statvfs64 *restrict found), (where, found))

ON_PATH(int, chdir, true, (const char *path), (where))

/* The current folder may be one that only the scratch folder has; the program knows it by its own name. */
char *getcwd(char *buffer, size_t size) {
    char *folder = REAL(getcwd)(buffer, size);
    size_t length = scratch_files_length;
    if (folder && scratch_used() && !strncmp(folder, scratch_files, length) && folder[length] == '/')
        memmove(folder, folder + length, strlen(folder + length) + 1);
    return folder;
}

char *realpath(const char *restrict path, char *restrict resolved) {
    struct place place;
    if (!scratch_used()) return REAL(realpath)(path, resolved);
    if (place_find(&place, AT_FDCWD, path, true) && !place.unknown) return NULL;
    if (place.unknown || (!place.upper_mode && !place.hidden && !place.detour)) return REAL(realpath)(path, resolved);
    if (!place_is_seen(&place)) {
        errno = ENOENT;
        return NULL;
    }
    return resolved ? strcpy(resolved, place.path) : strdup(place.path);
}
