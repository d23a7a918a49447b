/* Wrappers of the functions that give a file a further name, and of truncate. */
#include "writes_choose.h"
#include "writes_kind.h"
#include "writes_upper.h"

#include <errno.h>
#include <stdio.h>

static int fail(int error) {
    errno = error;
    return -1;
}

/* A real file whose bytes must not change, under no name. */
static bool is_tensors(const struct place *place) {
    struct stat found;
    if (place_lstat_real(place, &found) || !S_ISREG(found.st_mode)) return false;
    return kind_of_name(place->path) || kind_of_file(place->path);
}

/* The new name is one of the scratch folder. `given` may lead to a file without a name: /proc/self/fd/7. */
static int link_in_upper(const struct place *from, const char *given, const struct place *to) {
    if (place_is_seen(to)) return fail(EEXIST);
    if (place_is_folder(from)) return fail(EPERM);
    if (place_may_change(to) || upper_prepare(to)) return -1;
    if (from->upper_mode) return (int)syscall(SYS_linkat, AT_FDCWD, from->upper, AT_FDCWD, to->upper, 0);
    if (is_tensors(from)) return upper_link_real(to, from->path);
    return upper_copy(place_has_real(from) ? from->path : given, to->upper);
}

int linkat(int from_dirfd, const char *from, int to_dirfd, const char *to, int flags) {
    struct place source, target;
    int flag = flags & AT_SYMLINK_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW;
    if (!scratch_active || flags & AT_EMPTY_PATH) return REAL(linkat)(from_dirfd, from, to_dirfd, to, flags);
    if (place_find(&source, from_dirfd, from, flags & AT_SYMLINK_FOLLOW))
        return source.unknown ? REAL(linkat)(from_dirfd, from, to_dirfd, to, flags) : -1;
    if (!place_is_seen(&source) && faccessat(from_dirfd, from, F_OK, flag)) return fail(ENOENT);
    if (place_find(&target, to_dirfd, to, false))
        return target.unknown ? REAL(linkat)(from_dirfd, from, to_dirfd, to, flags) : -1;
    bool scratch = source.upper_mode || is_tensors(&source) || target.hidden || target.upper_mode ||
                   !place_has_real_parent(&target) ||
                   (kind_of_name(target.path) && !scratch_leaves_alone(target.path));
    if (scratch) return link_in_upper(&source, from, &target);
    return REAL(linkat)(from_dirfd, place_as_given(&source, from), to_dirfd, place_as_given(&target, to), flags);
}

int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

/* Whether a link to `text` at the place would lead into the scratch folder. */
static bool leads_into_scratch(const struct place *link, const char *text) {
    char around[PATH_MAX], path[2 * PATH_MAX];
    struct place target;
    if (!scratch_used()) return false;
    place_parent_of(link, around);
    snprintf(path, sizeof path, "%s%s%s", *text == '/' ? "" : around, *text == '/' ? "" : "/", text);
    if (place_find(&target, AT_FDCWD, path, true) || !target.upper_mode || target.hidden) return false;
    return !S_ISDIR(target.upper_mode) || !place_has_real_folder(&target);
}

/* `volatile`, since the headers say that no text is NULL, and the compiler would drop the comparison. */
static bool is_null(const char *volatile text) { return !text; }

int symlinkat(const char *text, int dirfd, const char *path) {
    struct place place;
    if (!scratch_active || is_null(text)) return REAL(symlinkat)(text, dirfd, path);
    if (place_find(&place, dirfd, path, false)) return place.unknown ? REAL(symlinkat)(text, dirfd, path) : -1;
    path = place_as_given(&place, path);
    if (scratch_leaves_alone(place.path)) return REAL(symlinkat)(text, dirfd, path);
    if (place_is_seen(&place)) return fail(EEXIST);
    bool scratch = place.hidden || kind_of_name(place.path) || !place_has_real_parent(&place);
    if (!scratch && !leads_into_scratch(&place, text)) return REAL(symlinkat)(text, dirfd, path);
    if (place_may_change(&place) || upper_prepare(&place)) return -1;
    return kernel_symlink(text, place.upper);
}

int symlink(const char *text, const char *path) { return symlinkat(text, AT_FDCWD, path); }

int truncate(const char *path, off_t length) {
    struct opening opening;
    if (!scratch_active) return REAL(truncate)(path, length);
    return opening_choose(&opening, AT_FDCWD, path, O_WRONLY) ? -1 : REAL(truncate)(opening.path, length);
}

int truncate64(const char *path, off64_t length) { return truncate(path, length); }
