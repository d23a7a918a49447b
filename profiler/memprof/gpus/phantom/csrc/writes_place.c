/* Following a path through the real files and the scratch folder at once, one part after the other.
 *
 * The scratch folder mirrors absolute paths without links, so that each file has one place in it, however the program
 * names the file. A mark next to a place says that the program has deleted what the real folder has there.
 */
#include "writes_place.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char place_gone[] = "";
static const char mark_prefix[] = ".memprof-deleted.", inner_prefix[] = ".memprof-deleted-in.";
enum { MOST_LINKS = 40 /* as the kernel */ };

struct walk {
    struct place *place;
    char rest[2 * PATH_MAX]; /* what is still to be followed */
    char *next;              /* in `rest` */
    int links;
    bool follow;
    bool in_upper; /* the scratch folder has the folder that is reached */
    bool apart;    /* nothing else has it */
};

static int fail(int error) {
    errno = error;
    return -1;
}

static bool is_folder(const char *path) {
    struct stat found;
    return kernel_lstat(path, &found) == 0 && S_ISDIR(found.st_mode);
}

/* Finds out again what has the folder that is reached, from the top. */
static void look_from_top(struct walk *walk) {
    struct place *place = walk->place;
    walk->in_upper = scratch_used();
    walk->apart = false;
    for (char *end = place->path; walk->in_upper && *end;) {
        end += 1 + strcspn(end + 1, "/");
        char cut = *end;
        *end = '\0';
        walk->in_upper = is_folder(place->upper);
        walk->apart = walk->in_upper && (walk->apart || !is_folder(place->path));
        *end = cut;
    }
    place->upper_mode = walk->in_upper ? S_IFDIR : 0;
    place->apart = walk->apart;
}

/* A path that the kernel reports, such as that of the current folder, may lie in the scratch folder. */
static const char *outside_scratch(struct place *place, const char *path) {
    size_t length = scratch_files_length;
    if (strncmp(path, scratch_files, length) || (path[length] && path[length] != '/')) return path;
    place->detour = true;
    return path + length;
}

static int begin_at(struct walk *walk, const char *folder) {
    struct place *place = walk->place;
    folder = outside_scratch(place, folder);
    if (!strcmp(folder, "/")) folder = "";
    if (strlen(folder) >= PATH_MAX) return fail(ENAMETOOLONG);
    strcpy(place->path, folder);
    look_from_top(walk);
    return 0;
}

/* Where a relative path begins: the current folder or that of a descriptor. */
static int begin(struct walk *walk, int dirfd, const char *path) {
    char folder[PATH_MAX], descriptor[32];
    if (!path) return fail(EFAULT); /* as the kernel answers */
    if (strlen(path) >= PATH_MAX) return fail(ENAMETOOLONG);
    if (*path == '/') {
        strcpy(walk->rest, outside_scratch(walk->place, path));
        return begin_at(walk, "");
    }
    strcpy(walk->rest, path);
    ssize_t length;
    if (dirfd == AT_FDCWD) {
        length = syscall(SYS_getcwd, folder, sizeof folder) - 1;
    } else {
        snprintf(descriptor, sizeof descriptor, "/proc/self/fd/%d", dirfd);
        length = kernel_readlink(descriptor, folder, sizeof folder - 1);
    }
    walk->place->unknown = length <= 0 || *folder != '/';
    if (walk->place->unknown) return fail(ENOENT);
    folder[length] = '\0';
    return begin_at(walk, folder);
}

static void leave_folder(struct walk *walk) {
    char *slash = strrchr(walk->place->path, '/');
    if (slash) *slash = '\0';
    look_from_top(walk);
}

/* Puts the text of a link in front of what is still to be followed. */
static int follow_link(struct walk *walk, const char *text) {
    char rest[2 * PATH_MAX];
    if (++walk->links > MOST_LINKS) return fail(ELOOP);
    if (snprintf(rest, sizeof rest, "%s/%s", text, walk->next) >= (int)sizeof rest) return fail(ENAMETOOLONG);
    leave_folder(walk); /* the link itself is no part of the path */
    strcpy(walk->rest, rest);
    walk->next = walk->rest;
    return *text == '/' ? begin_at(walk, "") : 0;
}

/* What the scratch folder has at the place that was just reached. Returns 1 if it is a link to be followed. */
static int look_in_upper(struct walk *walk, bool last, char *text, size_t size) {
    struct place *place = walk->place;
    char mark[2 * PATH_MAX];
    struct stat found;
    if (place_mark(place, mark, sizeof mark) && kernel_exists(mark)) {
        place->hidden = true;
        walk->in_upper = false;
        return 0;
    }
    if (kernel_lstat(place->upper, &found)) {
        walk->in_upper = false;
        return 0;
    }
    place->upper_mode = found.st_mode;
    walk->in_upper = S_ISDIR(found.st_mode);
    if (!S_ISLNK(found.st_mode)) return 0;
    ssize_t length = kernel_readlink(place->upper, text, size - 1);
    text[length > 0 ? length : 0] = '\0';
    place->moved = !strncmp(text, PLACE_MOVED "/", 2);
    if (place->moved) place->upper_mode = S_IFREG;
    if (place->moved || (last && !walk->follow)) return 0;
    place->detour = true;
    return 1;
}

static int step(struct walk *walk, const char *part, size_t length) {
    struct place *place = walk->place;
    char text[PATH_MAX];
    bool last = !*walk->next;
    size_t reached = strlen(place->path);
    if (length > NAME_MAX || reached + length + 2 > PATH_MAX) return fail(ENAMETOOLONG);
    place->path[reached] = '/';
    memmove(place->path + reached + 1, part, length);
    place->path[reached + 1 + length] = '\0';
    place->upper_mode = 0;
    place->moved = false;
    place->apart = walk->apart;
    if (walk->in_upper && look_in_upper(walk, last, text, sizeof text)) return follow_link(walk, text);
    if (place->upper_mode && !last && !walk->in_upper) return fail(ENOTDIR);
    walk->apart = walk->in_upper && (walk->apart || !is_folder(place->path));
    if (place->upper_mode || place->hidden) return 0;
    ssize_t link = fail(ENOENT);
    if (!place->apart) link = kernel_readlink(place->path, text, sizeof text - 1);
    if (link < 0 && (errno == ENOTDIR || (errno == ENOENT && !last))) return -1;
    if (link <= 0 || (last && !walk->follow)) return 0;
    text[link] = '\0';
    return follow_link(walk, text);
}

static int walk_on(struct walk *walk) {
    for (walk->next = walk->rest; *walk->next;) {
        while (*walk->next == '/') walk->next++;
        const char *part = walk->next;
        size_t length = strcspn(part, "/");
        walk->next += length;
        if (*walk->next && !walk->next[strspn(walk->next, "/")]) walk->follow = true; /* "name/" is what it leads to */
        while (*walk->next == '/') walk->next++;
        if (!length) continue;
        if (walk->place->hidden) return fail(ENOENT); /* a deleted folder has nothing in it */
        if (length == 1 && *part == '.') continue;
        if (length == 2 && part[0] == '.' && part[1] == '.') {
            if (*walk->place->path && !place_is_folder(walk->place)) return fail(ENOTDIR);
            leave_folder(walk);
        } else if (step(walk, part, length)) {
            return -1;
        }
    }
    return 0;
}

int place_find(struct place *place, int dirfd, const char *path, bool follow) {
    struct walk walk = {.place = place, .follow = follow};
    strcpy(place->upper, scratch_files);
    place->path = place->upper + scratch_files_length;
    *place->path = '\0';
    place->upper_mode = 0;
    place->moved = place->apart = place->hidden = place->detour = place->unknown = false;
    if (begin(&walk, dirfd, path) || walk_on(&walk)) return -1;
    if (place->apart && !place->upper_mode) place->hidden = true; /* the kernel may find something there all the same */
    if (!*place->path) strcpy(place->path, "/");
    return 0;
}

const char *place_to_read(struct place *place, int dirfd, const char *given, bool follow) {
    if (!scratch_used() || !given || !*given) return given;
    if (place_find(place, dirfd, given, follow)) return place->unknown ? given : place_gone;
    if (place->hidden) {
        errno = ENOENT;
        return place_gone;
    }
    if (place->moved) {
        ssize_t length = kernel_readlink(place->upper, place->source, sizeof place->source - 1);
        place->source[length > 0 ? length : 0] = '\0';
        return place->source;
    }
    if (place_is_in_upper(place)) return place->upper;
    return place_as_given(place, given);
}

int place_lstat_real(const struct place *place, struct stat *found) {
    return place->apart ? fail(ENOENT) : kernel_lstat(place->path, found);
}

bool place_has_real(const struct place *place) { return !place->apart && kernel_exists(place->path); }
bool place_has_real_folder(const struct place *place) { return !place->apart && is_folder(place->path); }

bool place_is_in_upper(const struct place *place) {
    return place->upper_mode && !(S_ISDIR(place->upper_mode) && place_has_real_folder(place));
}

bool place_is_seen(const struct place *place) {
    return !place->hidden && (place->upper_mode || place_has_real(place));
}

bool place_is_folder(const struct place *place) {
    if (place->hidden) return false;
    return place->upper_mode ? S_ISDIR(place->upper_mode) : place_has_real_folder(place);
}

void place_parent_of(const struct place *place, char parent[PATH_MAX]) {
    strcpy(parent, place->path);
    char *slash = strrchr(parent, '/');
    slash[slash == parent] = '\0';
}

bool place_has_real_parent(const struct place *place) {
    char parent[PATH_MAX];
    place_parent_of(place, parent);
    return !place->apart && is_folder(parent);
}

int place_may_change(const struct place *place) {
    char parent[PATH_MAX];
    place_parent_of(place, parent);
    if (place_has_real_parent(place)) return kernel_access(parent, W_OK | X_OK);
    struct place folder;
    if (place_find(&folder, AT_FDCWD, parent, true)) return -1;
    return place_is_folder(&folder) ? 0 : fail(place_is_seen(&folder) ? ENOTDIR : ENOENT);
}

bool place_enter(struct place *inside, const struct place *folder, const char *name) {
    char path[PATH_MAX];
    const char *slash = folder->path[1] ? "/" : "";
    if (snprintf(path, sizeof path, "%s%s%s", folder->path, slash, name) >= (int)sizeof path) return false;
    return place_find(inside, AT_FDCWD, path, false) == 0;
}

static bool with_prefix(const struct place *place, const char *prefix, char *path, size_t size) {
    const char *slash = strrchr(place->upper, '/');
    int before = (int)(slash - place->upper);
    return snprintf(path, size, "%.*s/%s%s", before, place->upper, prefix, slash + 1) < (int)size;
}

bool place_mark(const struct place *place, char *mark, size_t size) {
    return with_prefix(place, mark_prefix, mark, size);
}

bool place_inner_marks(const struct place *place, char *folder, size_t size) {
    return with_prefix(place, inner_prefix, folder, size);
}

const char *place_marked_name(const char *entry) {
    size_t length = sizeof mark_prefix - 1;
    if (!strncmp(entry, inner_prefix, sizeof inner_prefix - 1)) return "";
    return strncmp(entry, mark_prefix, length) ? NULL : entry + length;
}
