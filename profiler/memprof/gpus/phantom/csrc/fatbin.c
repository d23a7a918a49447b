/* The GPUs for which the kernels of this process were compiled.
 *
 * Libraries register their fat binaries with the CUDA runtime when they are loaded. A real runtime reads one at the
 * first launch; if it has no code for the GPU, the launch fails with "no kernel image is available". This one does
 * the same. PyTorch's binaries all have the same architectures, so the first that fits decides for all of them; every
 * header is read only if none fits.
 *
 * NVIDIA does not document the layout of the headers. It was found by reading PyTorch's own libraries, and a test
 * compares the result with `torch.cuda.get_arch_list()`. A binary with another layout counts as code for every GPU.
 */
#include "fatbin.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "device.h"

enum { WRAPPER_MAGIC = 0x466243b1, PTX = 1, CUBIN = 2 };
static const uint32_t FATBIN_MAGIC = 0xba55ed50;

typedef struct {
    int magic, version;
    const void *data;
} wrapper;

typedef struct {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t bytes; /* of all images, without this header */
} fatbin;

typedef struct {
    uint16_t kind, version;
    uint32_t header_bytes;
    uint64_t bytes; /* without this header */
    uint32_t rest[3];
    uint32_t architecture; /* 10 * major + minor */
} image;

static const wrapper **registered;
static size_t registered_count, registered_capacity;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint64_t answer; /* the GPU's capability, and the architecture that was found for it */

void phantom_register_code(const void *fat_binary) {
    pthread_mutex_lock(&lock);
    if (registered_count == registered_capacity) {
        size_t capacity = registered_capacity ? 2 * registered_capacity : 1024;
        const wrapper **grown = realloc(registered, capacity * sizeof *grown);
        if (grown) registered = grown, registered_capacity = capacity;
    }
    if (registered_count < registered_capacity) registered[registered_count++] = fat_binary;
    atomic_store(&answer, 0);
    pthread_mutex_unlock(&lock);
}

void phantom_unregister_code(const void *fat_binary) {
    pthread_mutex_lock(&lock);
    for (size_t i = registered_count; i-- > 0;)
        if (registered[i] == fat_binary) {
            registered[i] = registered[--registered_count];
            break;
        }
    pthread_mutex_unlock(&lock);
}

/* Machine code runs on later GPUs of the same major capability, PTX is compiled for any later GPU. */
static int fitting_architecture(const image *one, int capability) {
    int has = (int)one->architecture;
    if (one->kind == CUBIN) return has / 10 == capability / 10 && has <= capability ? has : 0;
    return one->kind == PTX && has <= capability ? capability : 0;
}

static int best_architecture(const wrapper *code, int capability) {
    const fatbin *header = code->magic == WRAPPER_MAGIC ? code->data : NULL;
    if (!header || header->magic != FATBIN_MAGIC) return capability;
    const char *at = (const char *)header + header->header_bytes, *end = at + header->bytes;
    int best = 0;
    while (at + sizeof(image) <= end) {
        const image *one = (const image *)at;
        int found = fitting_architecture(one, capability);
        if (found > best) best = found;
        at += one->header_bytes + one->bytes;
    }
    return best;
}

int phantom_code_architecture(void) {
    const phantom_gpu *gpu = phantom_gpu_now();
    int capability = 10 * gpu->capability_major + gpu->capability_minor;
    uint64_t known = atomic_load(&answer);
    if (known >> 32 == (uint64_t)capability) return (int)(known & UINT32_MAX);
    pthread_mutex_lock(&lock);
    int best = registered_count ? 0 : capability;
    for (size_t i = 0; i < registered_count && !best; i++) best = best_architecture(registered[i], capability);
    atomic_store(&answer, (uint64_t)capability << 32 | (uint32_t)best);
    pthread_mutex_unlock(&lock);
    return best;
}
