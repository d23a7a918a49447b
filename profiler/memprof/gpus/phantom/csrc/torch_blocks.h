/* The blocks that PyTorch's allocators have handed out. */
#ifndef MEMPROF_TORCH_BLOCKS_H
#define MEMPROF_TORCH_BLOCKS_H

#include <stddef.h>

/* Something unknown was written at `address`: at most `bytes`, and not beyond the end of its block. */
void phantom_forget_written(const void *address, size_t bytes);
/* Likewise, for those of the addresses that are a pointer to the device. */
void phantom_forget_outputs(void *const *addresses, size_t count);

#endif
