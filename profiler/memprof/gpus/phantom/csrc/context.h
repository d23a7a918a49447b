/* What CUDA itself takes of a device's memory: the context and the code that is loaded into it. */
#ifndef MEMPROF_CONTEXT_H
#define MEMPROF_CONTEXT_H

#include <stdbool.h>

/* Code that is loaded onto a device when its first kernel is launched. */
typedef enum { PHANTOM_KERNELS, PHANTOM_CUBLAS, PHANTOM_CUDNN, PHANTOM_CODES } phantom_code;

void phantom_open_context(int device); /* once for each device; ignores numbers that are no device */
bool phantom_has_context(int device);
bool phantom_load_code(int device, phantom_code code); /* once for each; false: out of device memory */

#endif
