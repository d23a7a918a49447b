/* The version of CUDA that this process has.
 *
 * A library that was compiled before it was installed can meet another minor version of CUDA than that of its headers.
 * So memprof names the version of the installed wheels in MEMPROF_PHANTOM_CUDA.
 */
#include "cuda_version.h"

#include <cuda_runtime_api.h>
#include <stdlib.h>

int phantom_cuda_version(void) {
    const char *installed = getenv("MEMPROF_PHANTOM_CUDA");
    int version = installed ? atoi(installed) : 0;
    return version > 0 ? version : CUDART_VERSION;
}
