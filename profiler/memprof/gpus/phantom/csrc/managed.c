/* Managed memory (cudaMallocManaged): one address for host and GPU, and pages that move between them.
 *
 * The host's memory holds the values. After NVIDIA's documentation of unified memory: pages have no memory until they
 * are first used, a prefetch moves them, and a GPU that is full gives pages back to the host. On a real GPU a kernel
 * moves the pages that it uses, too; here only a prefetch does. Pages count as 2 MiB.
 */
#include "managed.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ledger.h"

typedef struct managed_block {
    char *start;
    size_t bytes, pages;
    signed char *gpus; /* of each page: -1 for the host */
    struct managed_block *next;
} managed_block;

static managed_block *blocks; /* the newest first */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void *phantom_allocate_managed(size_t bytes) {
    managed_block *made = calloc(1, sizeof *made);
    size_t pages = (bytes + PHANTOM_PAGE_BYTES - 1) / PHANTOM_PAGE_BYTES;
    signed char *gpus = malloc(pages);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *start = made && gpus ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0) : MAP_FAILED;
    if (start == MAP_FAILED) {
        free(made);
        free(gpus);
        return NULL;
    }
    memset(gpus, -1, pages);
    pthread_mutex_lock(&lock);
    *made = (managed_block){start, bytes, pages, gpus, blocks};
    blocks = made;
    pthread_mutex_unlock(&lock);
    return start;
}

/* ---- call these with the lock held ---- */

static managed_block *find_block(const char *address) {
    managed_block *block = blocks;
    while (block && (address < block->start || address >= block->start + block->bytes)) block = block->next;
    return block;
}

static void move_to_host(managed_block *block, size_t page) {
    if (block->gpus[page] >= 0) phantom_give_back(block->gpus[page], PHANTOM_PAGE_BYTES);
    block->gpus[page] = -1;
}

static bool evict_page(int gpu) {
    for (managed_block *block = blocks; block; block = block->next)
        for (size_t page = 0; page < block->pages; page++)
            if (block->gpus[page] == gpu) return move_to_host(block, page), true;
    return false;
}

/* ---- for others ---- */

bool phantom_is_managed(const void *address) {
    pthread_mutex_lock(&lock);
    bool found = find_block(address);
    pthread_mutex_unlock(&lock);
    return found;
}

bool phantom_free_managed(void *address) {
    pthread_mutex_lock(&lock);
    managed_block *block = find_block(address), **link = &blocks;
    bool known = block && block->start == address;
    if (known) {
        for (size_t page = 0; page < block->pages; page++) move_to_host(block, page);
        while (*link != block) link = &(*link)->next;
        *link = block->next;
        munmap(block->start, block->bytes);
        free(block->gpus);
        free(block);
    }
    pthread_mutex_unlock(&lock);
    return known;
}

bool phantom_move_managed(const void *address, size_t bytes, int gpu) {
    pthread_mutex_lock(&lock);
    managed_block *block = find_block(address);
    size_t first = block ? (size_t)((const char *)address - block->start) / PHANTOM_PAGE_BYTES : 0;
    size_t end = first + (bytes + PHANTOM_PAGE_BYTES - 1) / PHANTOM_PAGE_BYTES;
    for (size_t page = first; block && page < end && page < block->pages; page++) {
        if (block->gpus[page] == gpu) continue;
        move_to_host(block, page);
        if (gpu < 0) continue;
        if (!phantom_take(gpu, PHANTOM_PAGE_BYTES)) break; /* the rest stays with the host */
        block->gpus[page] = (signed char)gpu;
    }
    pthread_mutex_unlock(&lock);
    return block;
}

bool phantom_take_from_managed(int gpu, size_t bytes) {
    if (phantom_take(gpu, bytes)) return true;
    pthread_mutex_lock(&lock);
    bool taken = false;
    while (!taken && evict_page(gpu)) taken = phantom_take(gpu, bytes);
    pthread_mutex_unlock(&lock);
    return taken;
}
