/* The blocks that PyTorch's allocators have handed out. */
#ifndef MEMPROF_TORCH_BLOCKS_H
#define MEMPROF_TORCH_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

/* Something unknown was written at `address`: at most `bytes`, and not beyond the end of its block. */
void phantom_forget_written(const void *address, size_t bytes);
/* Likewise, for those of the addresses that are a pointer to the device. */
void phantom_forget_outputs(void *const *addresses, size_t count);
/* An allocator has handed out the block at `address`, or taken it back if `bytes` is negative. */
void phantom_note_block(void *address, int64_t bytes);
/* The number of the block with `address`, with its start and size; 0 if there is none. */
uint64_t phantom_block_at(const void *address, const void **start, size_t *bytes);

#endif
