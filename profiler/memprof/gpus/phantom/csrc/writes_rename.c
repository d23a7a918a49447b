/* Wrappers of the functions that rename.
 *
 * A file of the scratch folder moves within it. A user's checkpoint stays where it is: the scratch folder gets a link
 * to it under the new name, and the old name is hidden. Everything else is renamed for real.
 */
#include "writes_kind.h"
#include "writes_raw.h"
#include "writes_upper.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct move {
    struct place from, to;
    struct stat found; /* of the real file that is moved */
    bool from_exists;  /* it is there and the program sees it */
    bool to_tensors;   /* under the new name only the scratch folder may have a file */
};

static int fail(int error) {
    errno = error;
    return -1;
}

static bool is_tensors(const char *path, const struct stat *found) {
    return kind_of_name(path) || (S_ISREG(found->st_mode) && kind_of_file(path));
}

static void look_at(struct move *move) {
    struct stat to = {.st_mode = 0};
    move->from_exists = !move->from.hidden && place_lstat_real(&move->from, &move->found) == 0;
    bool folder = move->from_exists && S_ISDIR(move->found.st_mode);
    place_lstat_real(&move->to, &to);
    move->to_tensors = folder ? kind_of_folder_name(move->to.path) : is_tensors(move->to.path, &to);
    bool other_folder = S_ISDIR(to.st_mode) && !place_is_folder(&move->to); /* which the program has deleted */
    move->to_tensors = move->to_tensors || other_folder || !place_has_real_parent(&move->to);
}

typedef int move_entry(const struct place *from, const struct place *to);

/* Calls `move` for each entry of the folder at `path`, which is `from` or its place in the scratch folder. */
static int for_each(const char *path, const struct place *from, const struct place *to, move_entry *move) {
    struct place inside, target;
    DIR *folder = REAL(opendir)(path);
    if (!folder) return errno == ENOENT ? 0 : -1;
    int moved = 0;
    for (struct dirent *entry; !moved && (entry = REAL(readdir)(folder));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") || place_marked_name(entry->d_name)) continue;
        if (place_enter(&inside, from, entry->d_name) && place_enter(&target, to, entry->d_name))
            moved = move(&inside, &target);
    }
    REAL(closedir)(folder);
    return moved;
}

static int move_upper_folder(const struct place *from, const struct place *to);

static int move_upper_file(const struct place *from, const struct place *to) {
    return upper_prepare(to) ? -1 : kernel_rename(from->upper, to->upper);
}

/* What the scratch folder has at `from` goes to `to`; a real folder of that name is left to the caller. */
static int move_upper_entry(const struct place *from, const struct place *to) {
    if (!place_is_in_upper(from)) return 0;
    if (S_ISDIR(from->upper_mode) ? move_upper_folder(from, to) : move_upper_file(from, to)) return -1;
    return upper_hide_real(from);
}

/* A real folder that is hidden under the new name keeps the marks of what was deleted in it. */
static int move_upper_folder(const struct place *from, const struct place *to) {
    if (upper_make_folder(to, 0700)) return -1;
    if (!place_has_real_folder(to)) return kernel_rename(from->upper, to->upper);
    return for_each(from->upper, from, to, move_upper_entry) ? -1 : upper_drop(from);
}

static int move_upper(struct move *move) {
    bool folder = S_ISDIR(move->from.upper_mode);
    if (place_is_seen(&move->to)) {
        if (folder != place_is_folder(&move->to)) return fail(folder ? ENOTDIR : EISDIR);
        if (folder && !upper_folder_is_empty(&move->to)) return fail(ENOTEMPTY);
    }
    if (place_may_change(&move->from) || place_may_change(&move->to)) return -1;
    return move_upper_entry(&move->from, &move->to);
}

static int copy_link(const char *link, const struct place *to) {
    char text[PATH_MAX];
    ssize_t length = kernel_readlink(link, text, sizeof text - 1);
    text[length > 0 ? length : 0] = '\0';
    kernel_unlink(to->upper);
    return kernel_symlink(text, to->upper);
}

/* Shows a real file under the new name: an older one with tensors by a link to it, any other by a copy. */
static int show_file(const char *from, const struct stat *found, const struct place *to) {
    if (upper_prepare(to)) return -1;
    if (S_ISLNK(found->st_mode)) return copy_link(from, to);
    bool stays = scratch_is_older(from) && is_tensors(from, found);
    return stays ? upper_link_real(to, from) : upper_copy(from, to->upper);
}

static int move_into_upper(struct move *move) {
    if (place_may_change(&move->from) || place_may_change(&move->to)) return -1;
    return show_file(move->from.path, &move->found, &move->to) ? -1 : upper_hide_real(&move->from);
}

/* What the scratch folder has under either name follows: nothing is left of the file that was replaced. */
static int move_really(struct move *move) {
    if (kernel_rename(move->from.path, move->to.path)) return -1;
    upper_show(&move->to);
    if (!S_ISDIR(move->to.upper_mode)) upper_drop(&move->to);
    if (!S_ISDIR(move->from.upper_mode)) return 0;
    return upper_prepare(&move->to) ? -1 : kernel_rename(move->from.upper, move->to.upper);
}

static int move_file(struct move *move) {
    bool kept = scratch_is_older(move->from.path) && is_tensors(move->from.path, &move->found);
    if (place_is_folder(&move->to)) return fail(EISDIR);
    return kept || move->to_tensors ? move_into_upper(move) : move_really(move);
}

static int show_elsewhere(const struct place *from, const struct place *to);

static int show_entry_elsewhere(const struct place *from, const struct place *to) {
    struct stat found;
    if (from->hidden || place_lstat_real(from, &found)) return 0;
    if (S_ISDIR(found.st_mode)) return show_elsewhere(from, to);
    return show_file(from->path, &found, to) ? -1 : upper_hide_real(from);
}

/* Shows what is in a real folder under the new name, and hides it under the old one. */
static int show_elsewhere(const struct place *from, const struct place *to) {
    if (upper_make_folder(to, 0700)) return -1;
    if (for_each(from->upper, from, to, move_upper_entry)) return -1;
    if (for_each(from->path, from, to, show_entry_elsewhere)) return -1;
    return kernel_rmdir(from->path) ? upper_hide(from) : upper_drop(from);
}

static int move_folder(struct move *move) {
    if (place_is_seen(&move->to)) {
        if (!place_is_folder(&move->to)) return fail(ENOTDIR);
        if (!upper_folder_is_empty(&move->to)) return fail(ENOTEMPTY);
    }
    bool taken = move->to_tensors || move->to.hidden || move->to.upper_mode;
    if (!taken && !kind_of_folder(move->from.path, true)) return move_really(move);
    if (place_may_change(&move->from) || place_may_change(&move->to)) return -1;
    return show_elsewhere(&move->from, &move->to);
}

/* Whether the real function does what the program would see. */
static bool is_plain(const struct move *move) {
    bool touched = move->from.upper_mode || move->from.hidden || move->to.upper_mode || move->to.hidden ||
                   move->from.detour || move->to.detour || move->to_tensors;
    if (touched || !move->from_exists) return !touched;
    if (S_ISDIR(move->found.st_mode)) return !kind_of_folder(move->from.path, true);
    return !is_tensors(move->from.path, &move->found) || !scratch_is_older(move->from.path);
}

static bool is_inside(const char *path, const char *folder) {
    size_t length = strlen(folder);
    return !strncmp(path, folder, length) && path[length] == '/';
}

static int move_merged(struct move *move, unsigned flags) {
    if (flags & ~(unsigned)RENAME_NOREPLACE) return fail(EINVAL);
    if (!move->from_exists && !move->from.upper_mode) return fail(ENOENT);
    if (is_inside(move->to.path, move->from.path)) return fail(EINVAL);
    if (is_inside(move->from.path, move->to.path)) return fail(ENOTEMPTY);
    if (flags & RENAME_NOREPLACE && place_is_seen(&move->to)) return fail(EEXIST);
    if (!strcmp(move->from.path, move->to.path)) return 0;
    if (place_is_in_upper(&move->from)) return move_upper(move);
    return S_ISDIR(move->found.st_mode) ? move_folder(move) : move_file(move);
}

/* "." and ".." name no entry that could be renamed. */
static bool is_dots(const char *path) {
    if (!path) return false;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    return !strcmp(name, ".") || !strcmp(name, "..");
}

int renameat2(int from_dirfd, const char *from, int to_dirfd, const char *to, unsigned flags) {
    struct move move;
    raw_end();
    if (!scratch_active) return REAL(renameat2)(from_dirfd, from, to_dirfd, to, flags);
    if (is_dots(from) || is_dots(to)) return fail(EBUSY);
    move.to.unknown = false;
    bool found = !place_find(&move.from, from_dirfd, from, false) && !place_find(&move.to, to_dirfd, to, false);
    if (!found && !move.from.unknown && !move.to.unknown) return -1;
    bool alone = found && scratch_leaves_alone(move.from.path) && scratch_leaves_alone(move.to.path);
    if (alone && !move.from.upper_mode) found = false;
    if (found) look_at(&move);
    if (!found || is_plain(&move)) return REAL(renameat2)(from_dirfd, from, to_dirfd, to, flags);
    return move_merged(&move, flags);
}

int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int renameat(int from_dirfd, const char *from, int to_dirfd, const char *to) {
    return renameat2(from_dirfd, from, to_dirfd, to, 0);
}
