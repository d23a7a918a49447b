/* A dispatch mode that changes no byte of device memory.
 *
 * If a TorchDispatchMode is active, operators and autograd avoid some work in place, for instance when gradients are
 * added up, because a mode could wrap tensors. The mode of `values: cpu` wraps none. So the function that they ask,
 * c10::impl::dispatch_mode_enabled() of libc10.so, does not count it for libtorch_cpu.so. It still does for
 * libtorch_python.so, which calls the mode.
 */
#define _GNU_SOURCE
#include "dispatch_modes.h"

#include <dlfcn.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#define ENABLED "_ZN3c104impl21dispatch_mode_enabledEv"
#define COUNT "_ZN3c104impl20TorchDispatchModeTLS9stack_lenEv"

static _Atomic uint64_t hidden;
static uintptr_t operators_start, operators_end; /* the addresses of libtorch_cpu.so */

static int find_operators(struct dl_phdr_info *library, size_t size, void *unused) {
    (void)size, (void)unused;
    const char *name = strrchr(library->dlpi_name, '/');
    if (!name || strcmp(name, "/libtorch_cpu.so") != 0) return 0;
    for (int i = 0; i < library->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &library->dlpi_phdr[i];
        uintptr_t end = library->dlpi_addr + part->p_vaddr + part->p_memsz;
        if (part->p_type == PT_LOAD && end > operators_end) operators_end = end;
    }
    operators_start = library->dlpi_addr;
    return 1;
}

void phantom_hide_modes(uint64_t count) {
    if (!operators_end) dl_iterate_phdr(find_operators, NULL);
    atomic_store(&hidden, count);
}

static void *find(const char *name) {
    void *library = dlopen("libc10.so", RTLD_LAZY | RTLD_NOLOAD);
    return library ? dlsym(library, name) : NULL;
}

bool mode_enabled(void) __asm__(ENABLED);

bool mode_enabled(void) {
    static bool (*real)(void);
    static int64_t (*count)(void);
    uintptr_t caller = (uintptr_t)__builtin_return_address(0);
    if (!real) {
        void *functions[] = {find(ENABLED), find(COUNT)};
        memcpy(&count, &functions[1], sizeof count);
        memcpy(&real, &functions[0], sizeof real);
    }
    if (!real || !real()) return false;
    bool asks_operator = caller >= operators_start && caller < operators_end;
    return !asks_operator || !count || (uint64_t)count() > atomic_load(&hidden);
}
