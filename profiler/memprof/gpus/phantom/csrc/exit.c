/* A clean end for processes that exit right after a backward pass, or with work of NCCL that nobody waited for.
 *
 * PyTorch's autograd threads drop Python objects a moment after backward() has returned. If the interpreter is
 * already ending, CPython before 3.14 ends such a thread with pthread_exit, which cannot unwind PyTorch's frames and
 * aborts the process. This can happen with a real GPU as well, but there a program usually waits for the device
 * first, which a phantom does not need. So here the thread sleeps until the process ends, as CPython 3.14 lets it do.
 */
#define _GNU_SOURCE
#include "exit.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
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

/* ---- the watchdog of a process group that the program does not destroy ----
 *
 * It asks every 100 ms whether work is done, and then uses objects of PyTorch that exit() destroys in the meantime. On
 * a real GPU there is rarely work left to ask about; on a phantom there is until the host waits for it.
 */
static const unsigned LONG_ENOUGH_SECONDS = 2; /* not forever: whoever ends the process may join the thread */
static _Atomic bool exiting;
static pthread_t exiting_thread;

static void note_exit(void) {
    exiting_thread = pthread_self();
    atomic_store(&exiting, true);
}

static void watch(void) { atexit(note_exit); }

void phantom_watch_exit(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch);
}

void phantom_rest_at_exit(void) {
    if (atomic_load(&exiting) && !pthread_equal(exiting_thread, pthread_self())) sleep(LONG_ENOUGH_SECONDS);
}
