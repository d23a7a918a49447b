/* Looking functions up by name: cuDNN opens cuBLASLt itself, so preloading does not replace what it finds there.
 *
 * cuDNN runs 1x1 convolutions and some products of its Winograd transforms with cuBLASLt, and offers such a plan only if
 * cuBLASLt has an algorithm for it. The real cuBLASLt finds none without a device. Here the functions that need a device
 * are the phantom's (cublas.c), and all others those of the library that was asked.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

typedef void *(*look_up)(void *library, const char *name);

static bool needs_device(const char *name) {
    static const char *const names[] = {
        "cublasLtCreate", "cublasLtDestroy", "cublasLtMatmul", "cublasLtMatmulAlgoGetHeuristic",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) return true;
    return false;
}

/* The last call must be a jump, which gcc and clang make of it with -O2: the real function reads the caller's address
 * from the stack to know which libraries are "next" (RTLD_NEXT). */
void *dlsym(void *library, const char *name) {
    static look_up real;
    if (!real) real = (look_up)dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
    return real(needs_device(name) ? RTLD_DEFAULT : library, name); /* the phantom's come first by default */
}
