/* Which files hold tensors.
 *
 * A name decides where only checkpoints have such names. Everything else is decided by the first bytes, so that a .bin
 * file or a .pkl file is a checkpoint only if PyTorch, safetensors, NumPy or HDF5 wrote it.
 */
#include "writes_kind.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>

/* .distcp and .metadata: torch.distributed.checkpoint. .pt2: torch.export. */
static const char *const endings[] = {
    ".pt", ".pth", ".ckpt", ".safetensors", ".distcp", ".npy", ".npz", ".pt2",
    ".safetensors.index.json", ".bin.index.json",
};
/* Files that say which checkpoint is the newest one, or belong to one: DeepSpeed, Megatron, MMEngine, transformers. */
static const char *const names[] = {
    ".metadata", ".metadata.tmp", "latest", "latest_checkpointed_iteration.txt", "last_checkpoint",
    "trainer_state.json",
};

static bool has_ending(const char *name) {
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t ending = strlen(endings[i]);
        if (length >= ending && !strcasecmp(name + length - ending, endings[i])) return true;
    }
    return false;
}

/* A folder of transformers or Accelerate and what is in it: checkpoint-500, checkpoint_0, tmp-checkpoint-500. */
static bool is_in_checkpoint_folder(const char *path) {
    static const char word[] = "checkpoint";
    for (const char *at = path; (at = strstr(at, word)); at++) {
        const char *end = at + sizeof word - 1;
        if ((*end == '-' || *end == '_') && isdigit((unsigned char)end[1])) return true;
    }
    return false;
}

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool kind_of_folder_name(const char *path) {
    return has_ending(last_part(path)) || is_in_checkpoint_folder(scratch_below_start(path));
}

bool kind_of_name(const char *path) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(last_part(path), names[i])) return true;
    return kind_of_folder_name(path);
}

static uint64_t little_endian(const unsigned char *bytes, int count) {
    uint64_t value = 0;
    for (int i = count; i-- > 0;) value = value << 8 | bytes[i];
    return value;
}

static bool starts_with(const unsigned char *head, size_t length, const char *magic, size_t size) {
    return length >= size && !memcmp(head, magic, size);
}

static bool ends_with(const char *name, size_t length, const char *ending) {
    size_t size = strlen(ending);
    return length >= size && !memcmp(name + length - size, ending, size);
}

/* The local header of a zip's first entry: 30 bytes, of which two at 26 give the length of the name that follows.
 * PyTorch writes NAME/data.pkl first, or NAME/archive_format in torch.export; NumPy's entries end with .npy. */
static enum kind kind_of_zip(const unsigned char *head, size_t length) {
    enum { HEADER = 30, NAME_LENGTH = 26 };
    if (length < HEADER) return KIND_UNDECIDED;
    size_t name_length = little_endian(head + NAME_LENGTH, 2);
    if (name_length > KIND_HEAD_BYTES - HEADER) return KIND_OTHER;
    if (length < HEADER + name_length) return KIND_UNDECIDED;
    const char *name = (const char *)head + HEADER;
    bool tensors = ends_with(name, name_length, "/data.pkl") || ends_with(name, name_length, "/archive_format") ||
                   ends_with(name, name_length, ".npy");
    return tensors ? KIND_TENSORS : KIND_OTHER;
}

/* torch.save before zip files: the pickle of the number 0x1950a86a20f9469cfc6c. Else a pickle whose first objects are
 * tensors or modules, which names the functions that rebuild them. */
static enum kind kind_of_pickle(const unsigned char *head, size_t length) {
    static const char magic[] = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    static const char *const rebuilding[] = {"torch._utils", "torch.storage", "torch.nn."};
    if (starts_with(head, length, magic, sizeof magic - 1)) return KIND_TENSORS;
    for (size_t i = 0; i < sizeof rebuilding / sizeof *rebuilding; i++)
        if (memmem(head, length, rebuilding[i], strlen(rebuilding[i]))) return KIND_TENSORS;
    return length < KIND_HEAD_BYTES ? KIND_UNDECIDED : KIND_OTHER;
}

/* The length of the JSON header in 8 bytes, then the header, which has at most 100 MB:
 * https://github.com/huggingface/safetensors#format */
static enum kind kind_of_safetensors(const unsigned char *head, size_t length) {
    enum { LENGTH = 8, MOST = 100000000 };
    if (length < LENGTH) return KIND_UNDECIDED;
    uint64_t header = little_endian(head, LENGTH);
    if (header < 2 || header > MOST) return KIND_OTHER;
    if (length < LENGTH + 2) return KIND_UNDECIDED;
    return head[LENGTH] == '{' && strchr("\"} ", head[LENGTH + 1]) ? KIND_TENSORS : KIND_OTHER;
}

enum kind kind_of_bytes(const unsigned char *head, size_t length) {
    static const unsigned char nothing[8]; /* HDF5 may write its first bytes last */
    if (!length || !memcmp(head, nothing, length < sizeof nothing ? length : sizeof nothing)) return KIND_UNDECIDED;
    if (starts_with(head, length, "PK\x03\x04", 4)) return kind_of_zip(head, length);
    if (starts_with(head, length, "\x93NUMPY", 6)) return KIND_TENSORS;
    if (starts_with(head, length, "\x89HDF\r\n\x1a\n", 8)) return KIND_TENSORS;
    if (*head == 0x80 && (length < 2 || head[1] <= 5)) return kind_of_pickle(head, length); /* protocols 2 to 5 */
    return kind_of_safetensors(head, length);
}

bool kind_of_file(const char *path) {
    unsigned char head[KIND_HEAD_BYTES];
    int file = kernel_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (file < 0) return false;
    ssize_t length = syscall(SYS_pread64, file, head, sizeof head, 0);
    kernel_close(file);
    return length > 0 && kind_of_bytes(head, (size_t)length) == KIND_TENSORS;
}

/* Names decide; of the others only .bin files are opened, which older transformers and Accelerate write: a folder may
 * hold a hundred thousand pictures. */
static bool entry_holds_tensors(const char *path, const struct dirent *entry, bool deep) {
    size_t length = strlen(entry->d_name);
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) return false;
    char inside[PATH_MAX];
    if (snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name) >= (int)sizeof inside) return false;
    if (entry->d_type == DT_DIR) return deep && kind_of_folder(inside, true);
    return kind_of_name(inside) || (length > 4 && !strcmp(entry->d_name + length - 4, ".bin") && kind_of_file(inside));
}

bool kind_of_folder(const char *path, bool deep) {
    DIR *folder = REAL(opendir)(path);
    if (!folder) return false;
    bool found = false;
    for (struct dirent *entry; !found && (entry = REAL(readdir)(folder));)
        found = entry_holds_tensors(path, entry, deep);
    REAL(closedir)(folder);
    return found;
}
