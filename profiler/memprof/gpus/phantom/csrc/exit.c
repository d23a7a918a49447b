/* A clean end for processes that exit right after a backward pass.
 *
 * PyTorch's autograd threads drop Python objects a moment after backward() has returned. If the interpreter is
 * already ending, CPython before 3.14 ends such a thread with pthread_exit, which cannot unwind PyTorch's frames and
 * aborts the process. This can happen with a real GPU as well, but there a program usually waits for the device
 * first, which a phantom does not need. So here the thread sleeps until the process ends, as CPython 3.14 lets it do.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void pthread_exit(void *value) {
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    while (!strncmp(name, "pt_autograd", strlen("pt_autograd"))) pause();
    void (*real)(void *) = (void (*)(void *))dlsym(RTLD_NEXT, "pthread_exit");
    real(value);
    abort(); /* not reached */
}
