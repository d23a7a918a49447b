/* The real cuDNN: found among the loaded libraries, else loaded. */
#include "cudnn_library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

void *phantom_real_cudnn(const char *name) {
    static void *library;
    if (!library) library = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_NOLOAD);
    if (!library) library = dlopen("libcudnn.so.9", RTLD_NOW);
    void *function = library ? dlsym(library, name) : NULL;
    if (!function) {
        fprintf(stderr, "memprof phantom: libcudnn.so.9 has no %s\n", name);
        abort();
    }
    return function;
}
