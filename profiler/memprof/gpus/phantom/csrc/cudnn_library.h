/* The real cuDNN, for functions that replace some of its own. */
#ifndef MEMPROF_CUDNN_LIBRARY_H
#define MEMPROF_CUDNN_LIBRARY_H

/* The function of the real library; ends the process if the library has none of that name. */
void *phantom_real_cudnn(const char *name);

/* Makes `real_<function>` callable in the block that follows. */
#define REAL(function)                                                                                                 \
    static __typeof__(&function) real_##function;                                                                      \
    if (!real_##function) real_##function = (__typeof__(&function))phantom_real_cudnn(#function)

#endif
