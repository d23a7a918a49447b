/* Changing the scratch folder. Other processes of the run may do the same at the same time: every step is one system
 * call that either happens or fails, and a folder that is already there is no failure. */
#include "writes_upper.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

static int make_folders(const char *path) {
    char folder[2 * PATH_MAX];
    strcpy(folder, path);
    for (char *slash = folder + scratch_files_length + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        if (kernel_mkdir(folder, 0700) && errno != EEXIST) return -1;
        *slash = '/';
    }
    return 0;
}

static mode_t mode_of(const char *path) {
    struct stat found;
    return kernel_lstat(path, &found) ? 0 : found.st_mode;
}

int upper_prepare(const struct place *place) {
    scratch_mark_used();
    if (make_folders(place->upper)) return -1;
    upper_show(place);
    return 0;
}

/* What was deleted in a folder must not come back if the program makes a file of that name and then the folder. */
int upper_hide(const struct place *place) {
    char mark[2 * PATH_MAX], inner[2 * PATH_MAX];
    scratch_mark_used();
    if (!place_mark(place, mark, sizeof mark) || !place_inner_marks(place, inner, sizeof inner)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (make_folders(mark)) return -1;
    if (S_ISDIR(mode_of(place->upper)) && kernel_rename(place->upper, inner)) return -1;
    int file = kernel_open(mark, O_WRONLY | O_CREAT, 0600);
    return file < 0 ? -1 : kernel_close(file);
}

int upper_hide_real(const struct place *place) {
    struct stat found;
    if (place_lstat_real(place, &found)) return 0;
    return S_ISDIR(found.st_mode) || scratch_is_older(place->path) ? upper_hide(place) : kernel_unlink(place->path);
}

void upper_show(const struct place *place) {
    char mark[2 * PATH_MAX];
    if (place_mark(place, mark, sizeof mark)) kernel_unlink(mark);
}

void upper_show_folder(const struct place *place) {
    char inner[2 * PATH_MAX];
    if (place_inner_marks(place, inner, sizeof inner)) kernel_rename(inner, place->upper);
    upper_show(place);
}

int upper_make_folder(const struct place *place, mode_t mode) {
    if (upper_prepare(place)) return -1;
    upper_show_folder(place);
    return kernel_mkdir(place->upper, mode | S_IRWXU) && errno != EEXIST ? -1 : 0;
}

/* Copies from one hole to the next. */
static int copy_data(int from, int to, off_t size) {
    for (off_t at = 0; at < size;) {
        off_t data = syscall(SYS_lseek, from, at, SEEK_DATA);
        if (data < 0) return errno == ENXIO ? 0 : -1; /* nothing but a hole is left */
        off_t end = syscall(SYS_lseek, from, data, SEEK_HOLE);
        if (end < 0 || syscall(SYS_lseek, to, data, SEEK_SET) < 0) return -1;
        for (at = data; at < end;)
            if (syscall(SYS_sendfile, to, from, &at, (size_t)(end - at)) <= 0) return -1;
    }
    return 0;
}

static int copy_file(int from, int to) {
    enum { CLONE = 0x40049409 }; /* FICLONE of linux/fs.h */
    struct stat found;
    if (syscall(SYS_ioctl, to, CLONE, from) == 0) return 0;
    if (kernel_fstat(from, &found) || syscall(SYS_ftruncate, to, found.st_size)) return -1;
    return copy_data(from, to, found.st_size);
}

/* Closes both and keeps the error of what was tried. */
static int copy_and_close(int source, int target) {
    int copied = target < 0 ? -1 : copy_file(source, target);
    int error = errno;
    kernel_close(source);
    if (target >= 0) kernel_close(target);
    errno = error;
    return copied;
}

static int create_like(int source, const char *to) {
    struct stat found;
    if (kernel_fstat(source, &found)) return -1;
    kernel_unlink(to); /* it may be a link to the real file */
    return kernel_open(to, O_WRONLY | O_CREAT | O_EXCL, (found.st_mode & 0777) | S_IRUSR | S_IWUSR);
}

int upper_copy(const char *from, const char *to) {
    int source = kernel_open(from, O_RDONLY, 0);
    if (source < 0) return -1;
    return copy_and_close(source, create_like(source, to));
}

int upper_copy_into(const char *from, const char *to) {
    int source = kernel_open(from, O_RDONLY, 0);
    if (source < 0) return -1;
    return copy_and_close(source, kernel_open(to, O_WRONLY | O_TRUNC, 0));
}

int upper_link_real(const struct place *place, const char *real) {
    char text[PATH_MAX + 1];
    snprintf(text, sizeof text, PLACE_MOVED "%s", real);
    if (upper_prepare(place)) return -1;
    kernel_unlink(place->upper);
    return kernel_symlink(text, place->upper);
}

static bool join(char *path, size_t size, const char *folder, const char *name) {
    return snprintf(path, size, "%s/%s", folder, name) < (int)size;
}

/* The next entry besides "." and ".."; NULL at the end. */
static struct dirent *next_entry(DIR *folder) {
    struct dirent *entry = REAL(readdir)(folder);
    while (entry && (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))) entry = REAL(readdir)(folder);
    return entry;
}

static int drop_folder(const char *path) {
    char inside[2 * PATH_MAX];
    DIR *folder = REAL(opendir)(path);
    if (!folder) return -1;
    for (struct dirent *entry; (entry = next_entry(folder));) {
        if (!join(inside, sizeof inside, path, entry->d_name)) continue;
        if (kernel_unlink(inside) && errno == EISDIR) drop_folder(inside);
    }
    REAL(closedir)(folder);
    return kernel_rmdir(path);
}

int upper_drop(const struct place *place) {
    if (S_ISDIR(place->upper_mode)) return drop_folder(place->upper);
    return place->upper_mode ? kernel_unlink(place->upper) : 0;
}

static bool any_entry_is_seen(const struct place *place, const char *path) {
    struct place inside;
    DIR *folder = REAL(opendir)(path);
    bool seen = false;
    if (!folder) return false;
    for (struct dirent *entry; !seen && (entry = next_entry(folder));)
        seen = !place_marked_name(entry->d_name) && place_enter(&inside, place, entry->d_name) &&
               place_is_seen(&inside);
    REAL(closedir)(folder);
    return seen;
}

bool upper_folder_is_empty(const struct place *place) {
    return !any_entry_is_seen(place, place->upper) && !any_entry_is_seen(place, place->path);
}
