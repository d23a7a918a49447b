/* The scratch folder that `memprof run` makes and names in MEMPROF_WRITES.
 *
 * It holds `files`, which mirrors absolute paths; `saved`, old bytes of files that are being overwritten; `flag`, a
 * page that all processes of the run share; and `settings`, texts that end with a zero byte: when the run began (in
 * nanoseconds), the folder in which it began, and the folders that are left alone. writes.py writes it.
 */
#include "writes_scratch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { SETTINGS_BYTES = 1 << 16 };

static _Atomic int never_used;
static char scratch[PATH_MAX];
static char settings[SETTINGS_BYTES];
static size_t settings_length;
static int64_t start_ns;
static const char *start_folder;
static const char *left_alone; /* the first of the folders, the rest follow it */

bool scratch_active;
_Atomic int *scratch_flag = &never_used;
char scratch_files[PATH_MAX];
size_t scratch_files_length;

static int open_in_scratch(const char *name, int flags) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", scratch, name) >= (int)sizeof path) return -1;
    return kernel_open(path, flags, 0);
}

static bool map_flag(void) {
    int file = open_in_scratch("flag", O_RDWR);
    if (file < 0) return false;
    void *page = mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    kernel_close(file);
    if (page == MAP_FAILED) return false;
    scratch_flag = page;
    return true;
}

static bool read_settings(void) {
    int file = open_in_scratch("settings", O_RDONLY);
    if (file < 0) return false;
    ssize_t length = syscall(SYS_read, file, settings, sizeof settings - 1);
    kernel_close(file);
    if (length <= 0) return false;
    settings_length = (size_t)length;
    start_ns = strtoll(settings, NULL, 10);
    start_folder = settings + strlen(settings) + 1;
    left_alone = start_folder + strlen(start_folder) + 1;
    return left_alone <= settings + settings_length;
}

/* Before the program's own constructors: they may already write. */
__attribute__((constructor(101))) static void scratch_begin(void) {
    const char *folder = getenv("MEMPROF_WRITES");
    if (!folder || *folder != '/' || strlen(folder) + sizeof "/settings" > sizeof scratch) return;
    strcpy(scratch, folder);
    int length = snprintf(scratch_files, sizeof scratch_files, "%s/files", scratch);
    scratch_files_length = (size_t)length;
    scratch_active = read_settings() && map_flag();
}

static bool is_below(const char *path, const char *folder) {
    size_t length = strlen(folder);
    return length && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

bool scratch_leaves_alone(const char *path) {
    static const char *const of_the_kernel[] = {"/dev", "/proc", "/sys"};
    for (size_t i = 0; i < sizeof of_the_kernel / sizeof *of_the_kernel; i++)
        if (is_below(path, of_the_kernel[i])) return true;
    for (const char *folder = left_alone; folder < settings + settings_length; folder += strlen(folder) + 1)
        if (is_below(path, folder)) return true;
    return is_below(path, scratch);
}

const char *scratch_below_start(const char *path) {
    return is_below(path, start_folder) ? path + strlen(start_folder) : path;
}

/* By the time of birth, where the file system knows it; else by the last change of the file or its name. */
bool scratch_is_older(const char *path) {
    struct statx found;
    if (syscall(SYS_statx, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BTIME | STATX_CTIME, &found)) return false;
    struct statx_timestamp time = found.stx_mask & STATX_BTIME ? found.stx_btime : found.stx_ctime;
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec < start_ns;
}

int scratch_saved_name(char *name, size_t size, const struct stat *file) {
    int length = snprintf(name, size, "%s/saved/%jx-%jx", scratch, (uintmax_t)file->st_dev, (uintmax_t)file->st_ino);
    return length < (int)size ? 0 : -1;
}
