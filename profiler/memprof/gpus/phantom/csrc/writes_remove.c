/* Wrappers of the functions that delete, and of mkdir. Deleting a user's checkpoint is only noted: the program sees it
 * gone, its bytes stay. */
#include "writes_kind.h"
#include "writes_raw.h"
#include "writes_upper.h"

#include <errno.h>
#include <stdio.h>

static int fail(int error) {
    errno = error;
    return -1;
}

/* A program may delete a whole folder of files one by one: the last folder's answer is kept. */
static bool folder_has_tensors(const char *path) {
    static __thread struct { dev_t device; ino_t number; bool tensors; } last;
    struct stat found;
    if (kernel_stat(path, &found)) return false;
    if (last.device != found.st_dev || last.number != found.st_ino) {
        last.tensors = kind_of_folder(path, false);
        last.device = found.st_dev;
        last.number = found.st_ino;
    }
    return last.tensors;
}

static bool leads_to_tensors(const char *link) {
    struct stat found;
    if (kernel_stat(link, &found)) return false;
    return S_ISDIR(found.st_mode) ? folder_has_tensors(link) : S_ISREG(found.st_mode) && kind_of_file(link);
}

/* Whether the file stays: it was there before the run, and it is a checkpoint or lies in a folder that has one. */
static bool is_kept(const struct place *place, const struct stat *found) {
    char around[PATH_MAX];
    if (S_ISDIR(found->st_mode) || !scratch_is_older(place->path)) return false;
    if (kind_of_name(place->path)) return true;
    if (S_ISREG(found->st_mode) && kind_of_file(place->path)) return true;
    if (S_ISLNK(found->st_mode) && leads_to_tensors(place->path)) return true;
    place_parent_of(place, around);
    return folder_has_tensors(around);
}

static int remove_from_upper(const struct place *place) {
    if (S_ISDIR(place->upper_mode)) return fail(EISDIR);
    return upper_drop(place) ? -1 : upper_hide_real(place);
}

static int remove_file(int dirfd, const char *path) {
    struct place place;
    struct stat found;
    raw_end();
    if (!scratch_active) return REAL(unlinkat)(dirfd, path, 0);
    if (place_find(&place, dirfd, path, false)) return place.unknown ? REAL(unlinkat)(dirfd, path, 0) : -1;
    if (place.hidden) return fail(ENOENT);
    if (place_is_in_upper(&place)) return remove_from_upper(&place);
    path = place_as_given(&place, path);
    if (scratch_leaves_alone(place.path)) return REAL(unlinkat)(dirfd, path, 0);
    if (place_lstat_real(&place, &found)) return place.upper_mode ? fail(EISDIR) : REAL(unlinkat)(dirfd, path, 0);
    if (is_kept(&place, &found)) return place_may_change(&place) ? -1 : upper_hide(&place);
    return REAL(unlinkat)(dirfd, path, 0);
}

/* Deletes the real folder if nothing is left in it, else notes that it is deleted. */
static int remove_merged(const struct place *place) {
    if (!upper_folder_is_empty(place)) return fail(ENOTEMPTY);
    if (!place_has_real_folder(place)) return upper_drop(place) ? -1 : upper_hide_real(place);
    if (kernel_rmdir(place->path) == 0) return upper_drop(place);
    return errno == ENOTEMPTY ? upper_hide(place) : -1;
}

static int remove_folder(int dirfd, const char *path) {
    struct place place;
    if (!scratch_used()) return REAL(unlinkat)(dirfd, path, AT_REMOVEDIR);
    if (place_find(&place, dirfd, path, false)) return place.unknown ? REAL(unlinkat)(dirfd, path, AT_REMOVEDIR) : -1;
    if (place.hidden) return fail(ENOENT);
    if (place.upper_mode && !S_ISDIR(place.upper_mode)) return fail(ENOTDIR);
    if (place.upper_mode) return remove_merged(&place);
    return REAL(unlinkat)(dirfd, place_as_given(&place, path), AT_REMOVEDIR);
}

int unlink(const char *path) { return remove_file(AT_FDCWD, path); }
int rmdir(const char *path) { return remove_folder(AT_FDCWD, path); }

int unlinkat(int dirfd, const char *path, int flags) {
    return flags & AT_REMOVEDIR ? remove_folder(dirfd, path) : remove_file(dirfd, path);
}

int remove(const char *path) {
    struct place place;
    if (!scratch_active) return REAL(remove)(path);
    if (remove_file(AT_FDCWD, path) == 0) return 0;
    if (errno != EISDIR && errno != EPERM) return -1;
    bool folder = !place_find(&place, AT_FDCWD, path, false) && place_is_folder(&place);
    return folder ? remove_folder(AT_FDCWD, path) : -1;
}

/* A folder that was deleted is seen again, without what was in it: those files have marks of their own. */
static int make_again(const struct place *place, mode_t mode) {
    if (!place_has_real_folder(place)) return upper_make_folder(place, mode);
    upper_show_folder(place);
    return 0;
}

static int make_folder(int dirfd, const char *path, mode_t mode) {
    struct place place;
    if (!scratch_active) return REAL(mkdirat)(dirfd, path, mode);
    if (place_find(&place, dirfd, path, false)) return place.unknown ? REAL(mkdirat)(dirfd, path, mode) : -1;
    path = place_as_given(&place, path);
    if (scratch_leaves_alone(place.path)) return REAL(mkdirat)(dirfd, path, mode);
    if (place.hidden) return make_again(&place, mode);
    if (place_is_seen(&place)) return fail(EEXIST);
    if (!kind_of_folder_name(place.path) && place_has_real_parent(&place))
        return REAL(mkdirat)(dirfd, path, mode);
    return place_may_change(&place) ? -1 : upper_make_folder(&place, mode);
}

int mkdir(const char *path, mode_t mode) { return make_folder(AT_FDCWD, path, mode); }
int mkdirat(int dirfd, const char *path, mode_t mode) { return make_folder(dirfd, path, mode); }
