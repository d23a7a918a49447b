/* CUDA_VISIBLE_DEVICES: which GPUs CUDA shows, and in what order. */
#ifndef MEMPROF_VISIBLE_H
#define MEMPROF_VISIBLE_H

/* Writes the GPUs that `list` shows of `gpu_count` to `gpus`, and returns how many; NULL shows all. */
int phantom_visible_gpus(const char *list, int gpu_count, int *gpus);

#endif
