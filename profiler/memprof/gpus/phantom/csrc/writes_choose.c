/* Choosing where a file is opened for writing: at its real place, or in the scratch folder because it holds tensors. */
#include "writes_choose.h"
#include "writes_kind.h"
#include "writes_upper.h"

#include <errno.h>
#include <string.h>

struct real_file {
    bool exists; /* whether or not the program has deleted it */
    bool plain;  /* a regular file */
    bool empty;
    bool tensors;
};

static int fail(int error) {
    errno = error;
    return -1;
}

bool opening_writes(int flags) {
    if (flags & O_PATH || (flags & O_TMPFILE) == O_TMPFILE) return false;
    return (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
}

static struct real_file look_at(const struct place *place) {
    struct stat found;
    if (place_lstat_real(place, &found)) return (struct real_file){.tensors = kind_of_name(place->path)};
    bool plain = S_ISREG(found.st_mode);
    return (struct real_file){
        .exists = true,
        .plain = plain,
        .empty = plain && !found.st_size,
        .tensors = plain && (kind_of_name(place->path) || kind_of_file(place->path)),
    };
}

/* The scratch folder already has it. A link to a real file gives way to a file. */
static int reopen(struct opening *opening, int flags) {
    struct place *place = &opening->place;
    opening->path = place->upper;
    opening->watch = WATCH_SCRATCH;
    if (!place->moved || (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) return 0;
    char source[PATH_MAX];
    ssize_t length = kernel_readlink(place->upper, source, sizeof source - 1);
    source[length > 0 ? length : 0] = '\0';
    if (!(flags & O_TRUNC) || !(flags & O_CREAT)) return upper_copy(source, place->upper);
    return kernel_unlink(place->upper);
}

/* The program gets a file in the scratch folder; what the real one holds is copied unless it is emptied anyway. */
static int open_in_scratch(struct opening *opening, struct real_file real, int flags) {
    struct place *place = &opening->place;
    bool exists = real.exists && !place->hidden;
    if (exists && (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) return fail(EEXIST);
    if (!exists && !(flags & O_CREAT)) return fail(ENOENT);
    if (exists ? kernel_access(place->path, W_OK) : place_may_change(place)) return -1;
    if (upper_prepare(place)) return -1;
    char text[1];
    if (kernel_readlink(place->upper, text, 1) > 0) kernel_unlink(place->upper); /* never write through a link */
    if (exists && (!(flags & O_TRUNC) || !(flags & O_CREAT)) && upper_copy(place->path, place->upper)) return -1;
    opening->path = place->upper;
    opening->watch = WATCH_SCRATCH;
    return 0;
}

/* The real file is opened; its first bytes will tell whether it gets tensors. */
static int open_really(struct opening *opening, struct real_file real, int flags) {
    struct place *place = &opening->place;
    if (place->hidden) { /* it was deleted, and now there will be another one */
        if (!(flags & O_CREAT)) return fail(ENOENT);
        if (real.exists && kernel_unlink(place->path)) return -1;
        upper_show(place);
        real.exists = false;
    }
    if (!real.exists) opening->watch = WATCH_CREATED;
    else if (real.empty) opening->watch = WATCH_EMPTY;
    else if (!(flags & O_TRUNC)) opening->watch = WATCH_INTACT;
    else if (watch_save(place->path)) opening->watch = WATCH_SAVED;
    return 0;
}

static int choose_to_write(struct opening *opening, int dirfd, const char *given, int flags) {
    struct place *place = &opening->place;
    bool exclusive = (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
    if (place_find(place, dirfd, given, !exclusive && !(flags & O_NOFOLLOW))) return place->unknown ? 0 : -1;
    opening->path = place_as_given(place, given);
    if (scratch_leaves_alone(place->path)) return 0;
    if (S_ISDIR(place->upper_mode)) return fail(exclusive ? EEXIST : EISDIR);
    if (place->upper_mode) return reopen(opening, flags);
    struct real_file real = look_at(place);
    if (real.exists && !real.plain && !place->hidden) return 0; /* a folder, a device, a pipe */
    bool scratch = real.tensors || (real.exists && !real.plain) || !place_has_real_parent(place);
    return scratch ? open_in_scratch(opening, real, flags) : open_really(opening, real, flags);
}

int opening_choose(struct opening *opening, int dirfd, const char *given, int flags) {
    opening->path = given;
    opening->watch = WATCH_NONE;
    if (opening_writes(flags)) return choose_to_write(opening, dirfd, given, flags);
    opening->path = place_to_read(&opening->place, dirfd, given, !(flags & O_NOFOLLOW));
    return opening->path == place_gone ? -1 : 0;
}
