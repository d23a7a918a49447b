/* Where a path leads, in the tree that the program sees: the real files with those of the scratch folder over them. */
#pragma once
#include "writes_scratch.h"

#pragma GCC visibility push(hidden)

/* A link of the scratch folder that starts with two slashes stands for a real file that the program has moved. */
#define PLACE_MOVED "/"

struct place {
    char upper[2 * PATH_MAX]; /* the place in the scratch folder */
    char *path;               /* the end of `upper`: the absolute path, without links, "." and ".." */
    char source[PATH_MAX];    /* set by place_to_read for a file that was moved: its real path */
    mode_t upper_mode;        /* what the scratch folder holds there; 0: nothing */
    bool moved;               /* it holds a link to a real file, which the program has moved here */
    bool apart;               /* only the scratch folder has the folder around it, so there is no real file */
    bool hidden;              /* the program sees nothing there: it has deleted what is real */
    bool detour;              /* the kernel would not find `path`: the way leads over the scratch folder */
    bool unknown;             /* it leads to no absolute path; the real function knows what to say */
};

/* Follows the path from the folder `dirfd`; a link at its end only if `follow`. -1 with errno if it cannot exist. */
int place_find(struct place *place, int dirfd, const char *path, bool follow);
/* The path for the real function: `given`, unless the kernel would follow it elsewhere. An absolute path needs no
 * folder, so it may be used with the descriptor that was given. */
static inline const char *place_as_given(const struct place *place, const char *given) {
    return place->detour ? place->path : given;
}

extern const char place_gone[];
/* The path to read instead of `given`: `given` itself, which may be NULL, if the scratch folder has no say,
 * `place_gone` with errno if the program has deleted it. */
const char *place_to_read(struct place *place, int dirfd, const char *given, bool follow);
/* What the real folder has there, whether or not the program sees it; a link is not followed. -1 if it has nothing. */
int place_lstat_real(const struct place *place, struct stat *found);
bool place_has_real(const struct place *place);
bool place_has_real_folder(const struct place *place);
/* Whether it is the scratch folder that has what the program sees; of a folder, it must be the only one. */
bool place_is_in_upper(const struct place *place);
/* Whether the program sees something there. */
bool place_is_seen(const struct place *place);
/* Whether the program sees a folder there; one that only the scratch folder has counts. */
bool place_is_folder(const struct place *place);
/* Writes the path of the folder around it. */
void place_parent_of(const struct place *place, char parent[PATH_MAX]);
/* Whether the real folder around it exists. */
bool place_has_real_parent(const struct place *place);
/* 0 if the program may create or delete entries in the folder around it, else -1 with errno. */
int place_may_change(const struct place *place);
/* Makes `inside` the entry `name` of a folder; false if the path is too long. */
bool place_enter(struct place *inside, const struct place *folder, const char *name);
/* Writes the path of the mark that says that the program has deleted it; false if it is too long. */
bool place_mark(const struct place *place, char *mark, size_t size);
/* Writes where the marks of what was in a deleted folder are kept. */
bool place_inner_marks(const struct place *place, char *folder, size_t size);
/* The name that a mark hides ("" for a folder of marks), or NULL if the entry of the scratch folder is no mark. */
const char *place_marked_name(const char *entry);

#pragma GCC visibility pop
