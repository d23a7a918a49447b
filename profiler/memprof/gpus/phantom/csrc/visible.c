/* CUDA_VISIBLE_DEVICES: which GPUs CUDA shows, and in what order.
 *
 * The CUDA Programming Guide, "CUDA Environment Variables", has the rules: a list of indices, or of UUIDs that may be
 * shortened to a beginning that only one GPU has; it ends at the first entry that names no GPU. The guide does not
 * mention three cases; _parse_visible_devices of torch/cuda/__init__.py does: what follows the digits of an index is
 * ignored, the first entry decides between indices and UUIDs, and a list that names a GPU twice shows none. real.py has
 * the same rules for real GPUs.
 */
#include "visible.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "uuid.h"

static bool is_uuid(const char *entry) { return !strncmp(entry, "GPU-", 4); }

static int find_by_index(const char *entry, int gpu_count) {
    char *end;
    long index = strtol(entry, &end, 10);
    return end != entry && index >= 0 && index < gpu_count ? (int)index : -1;
}

static int find_by_uuid(const char *entry, size_t length, int gpu_count) {
    int found = -1;
    if (!is_uuid(entry)) return -1;
    for (int gpu = 0; gpu < gpu_count; gpu++) {
        char uuid[PHANTOM_UUID_TEXT_BYTES];
        phantom_uuid_text(gpu, uuid);
        if (strncmp(uuid, entry, length)) continue;
        if (found >= 0) return -1;
        found = gpu;
    }
    return found;
}

int phantom_visible_gpus(const char *list, int gpu_count, int *gpus) {
    for (int gpu = 0; !list && gpu < gpu_count; gpu++) gpus[gpu] = gpu;
    if (!list) return gpu_count;
    bool by_uuid = is_uuid(list);
    int count = 0;
    for (const char *entry = list;;) {
        size_t length = strcspn(entry, ",");
        int gpu = by_uuid ? find_by_uuid(entry, length, gpu_count) : find_by_index(entry, gpu_count);
        if (gpu < 0) return count;
        for (int i = 0; i < count; i++)
            if (gpus[i] == gpu) return 0;
        gpus[count++] = gpu;
        if (!entry[length]) return count;
        entry += length + 1;
    }
}
