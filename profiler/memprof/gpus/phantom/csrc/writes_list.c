/* Wrappers of the functions that list a folder: what the scratch folder has is added, what is deleted is left out. */
#include "writes_place.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The entries of a folder in the scratch folder. */
struct entry {
    bool hidden; /* a mark says that it is deleted */
    struct dirent64 what;
};

struct listing {
    DIR *folder;
    struct listing *next;
    struct entry *entries; /* in the order of their names */
    size_t count, given;
    bool added; /* the entries are to be given after those of the folder itself */
};

static struct listing *listings;
static _Atomic int listing_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int compare(const void *left, const void *right) {
    return strcmp(((const struct entry *)left)->what.d_name, ((const struct entry *)right)->what.d_name);
}

static bool add_entry(struct listing *listing, size_t *room, const struct dirent64 *what) {
    if (!strcmp(what->d_name, ".") || !strcmp(what->d_name, "..")) return true;
    if (listing->count == *room) {
        *room = *room ? 2 * *room : 16;
        struct entry *more = realloc(listing->entries, *room * sizeof *more);
        if (!more) return false;
        listing->entries = more;
    }
    const char *hidden = place_marked_name(what->d_name);
    struct entry *entry = &listing->entries[listing->count++];
    entry->hidden = hidden;
    entry->what = *what;
    if (hidden) strcpy(entry->what.d_name, hidden);
    return true;
}

/* A link that stands for a moved file is shown as a file. */
static void name_type(const char *folder, struct entry *entry) {
    char path[2 * PATH_MAX], text[3];
    if (entry->what.d_type != DT_LNK) return;
    if (snprintf(path, sizeof path, "%s/%s", folder, entry->what.d_name) >= (int)sizeof path) return;
    bool moved = kernel_readlink(path, text, 2) == 2 && !memcmp(text, PLACE_MOVED "/", 2);
    if (moved) entry->what.d_type = DT_REG;
}

static bool read_upper(struct listing *listing, const char *path) {
    size_t room = 0;
    DIR *folder = REAL(opendir)(path);
    if (!folder) return false;
    bool complete = true;
    for (struct dirent64 *what; complete && (what = REAL(readdir64)(folder));)
        complete = add_entry(listing, &room, what);
    REAL(closedir)(folder);
    for (size_t i = 0; i < listing->count; i++) name_type(path, &listing->entries[i]);
    if (listing->count) qsort(listing->entries, listing->count, sizeof *listing->entries, compare);
    return complete;
}

static DIR *keep(DIR *folder, struct listing *listing) {
    listing->folder = folder;
    pthread_mutex_lock(&lock);
    listing->next = listings;
    listings = listing;
    listing_count++;
    pthread_mutex_unlock(&lock);
    return folder;
}

/* Adds to an open folder what the scratch folder has in `upper`; `itself` if that is the folder that is open. */
static DIR *merge(DIR *folder, const char *upper, bool itself) {
    struct listing *listing = folder ? calloc(1, sizeof *listing) : NULL;
    if (!listing) return folder;
    listing->added = !itself;
    if (read_upper(listing, upper) && listing->count) return keep(folder, listing);
    free(listing->entries);
    free(listing);
    return folder;
}

DIR *opendir(const char *path) {
    struct place place;
    if (!scratch_used() || !*path) return REAL(opendir)(path);
    const char *where = place_to_read(&place, AT_FDCWD, path, true);
    if (where == place_gone) return NULL;
    DIR *folder = REAL(opendir)(where);
    bool has_upper = !place.unknown && S_ISDIR(place.upper_mode);
    return has_upper ? merge(folder, place.upper, where == place.upper) : folder;
}

DIR *fdopendir(int file) {
    char descriptor[32];
    struct place place;
    DIR *folder = REAL(fdopendir)(file);
    if (!folder || !scratch_used()) return folder;
    snprintf(descriptor, sizeof descriptor, "/proc/self/fd/%d", file);
    if (place_find(&place, file, ".", true) || !S_ISDIR(place.upper_mode)) return folder;
    return merge(folder, place.upper, place.detour);
}

static struct listing **find(DIR *folder) {
    struct listing **at = &listings;
    while (*at && (*at)->folder != folder) at = &(*at)->next;
    return at;
}

static struct entry *look_up(const struct listing *listing, const struct dirent64 *what) {
    struct entry wanted = {.what = *what};
    return bsearch(&wanted, listing->entries, listing->count, sizeof wanted, compare);
}

/* What is shown for an entry of the open folder: in a real folder nothing if the scratch folder hides it or has one of
 * the same name, which is given later. */
static struct dirent64 *shown(const struct listing *listing, struct dirent64 *what) {
    struct entry *found = look_up(listing, what);
    if (listing->added) return found ? NULL : what;
    return !found ? what : found->hidden || place_marked_name(what->d_name) ? NULL : &found->what;
}

static struct dirent64 *next_of(struct listing *listing) {
    for (struct dirent64 *what; (what = REAL(readdir64)(listing->folder));) {
        struct dirent64 *entry = shown(listing, what);
        if (entry) return entry;
    }
    while (listing->added && listing->given < listing->count) {
        struct entry *entry = &listing->entries[listing->given++];
        if (!entry->hidden) return &entry->what;
    }
    return NULL;
}

struct dirent64 *readdir64(DIR *folder) {
    if (!listing_count) return REAL(readdir64)(folder);
    pthread_mutex_lock(&lock);
    struct listing *listing = *find(folder);
    pthread_mutex_unlock(&lock);
    return listing ? next_of(listing) : REAL(readdir64)(folder);
}

/* On x86-64 struct dirent is struct dirent64. */
struct dirent *readdir(DIR *folder) { return (struct dirent *)readdir64(folder); }

void rewinddir(DIR *folder) {
    pthread_mutex_lock(&lock);
    struct listing *listing = *find(folder);
    if (listing) listing->given = 0;
    pthread_mutex_unlock(&lock);
    REAL(rewinddir)(folder);
}

int closedir(DIR *folder) {
    pthread_mutex_lock(&lock);
    struct listing **at = find(folder), *listing = *at;
    if (listing) {
        *at = listing->next;
        listing_count--;
    }
    pthread_mutex_unlock(&lock);
    if (listing) {
        free(listing->entries);
        free(listing);
    }
    return REAL(closedir)(folder);
}
