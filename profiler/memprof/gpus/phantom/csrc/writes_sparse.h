/* Writing to files of the scratch folder. */
#pragma once
#include "writes_real.h"

#include <sys/uio.h>

#pragma GCC visibility push(hidden)

/* As writev; long blocks of zeros become holes, which take no space on the disk. */
ssize_t sparse_write(int file, const struct iovec *parts, int count);

#pragma GCC visibility pop
