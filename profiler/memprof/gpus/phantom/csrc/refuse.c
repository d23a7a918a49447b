/* Functions that the phantom does not emulate: one line on stderr names them. */
#include "refuse.h"

#include <stdatomic.h>
#include <stdio.h>

void phantom_refuse(const char *function) {
    static _Atomic(const char *) last;
    if (atomic_exchange(&last, function) != function)
        fprintf(stderr, "memprof phantom: %s is not emulated; the call was refused\n", function);
}
