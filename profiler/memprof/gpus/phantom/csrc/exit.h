/* A clean end of processes whose threads still use CUDA. */
#ifndef MEMPROF_EXIT_H
#define MEMPROF_EXIT_H

void phantom_watch_exit(void);   /* call it after PyTorch is loaded, so that its objects are destroyed later */
void phantom_rest_at_exit(void); /* holds other threads than the one that ends the process */

#endif
