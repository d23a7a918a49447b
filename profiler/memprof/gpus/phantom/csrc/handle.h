/* The first field of every handle of cuBLAS, cuDNN, cuSOLVER and cuSPARSE: symbols.toml's `launched` relies on it. */
#ifndef MEMPROF_HANDLE_H
#define MEMPROF_HANDLE_H

typedef struct {
    void *stream;
} phantom_handle;

#endif
