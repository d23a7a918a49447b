/* Hiding a dispatch mode from PyTorch's C++ code. */
#ifndef MEMPROF_DISPATCH_MODES_H
#define MEMPROF_DISPATCH_MODES_H

#include <stdint.h>

/* Lets PyTorch's C++ code behave as if the first `count` dispatch modes of each thread were not there. */
void phantom_hide_modes(uint64_t count);

#endif
