/* Renames and deletions that do not go through the C library.
 *
 * safetensors writes a temporary file and renames it with a system call of its own (the crate rustix), which no
 * preloaded library sees. Linux 5.11 and newer can send such a call to a signal handler: PR_SET_SYSCALL_USER_DISPATCH,
 * https://docs.kernel.org/admin-guide/syscall-user-dispatch.html. It concerns one thread, ends with fork and exec, and
 * leaves the C library's own calls alone. A thread asks for it when it has written a new file of tensors, and ends it
 * when it renames or deletes a file. On older kernels such a rename fails, since the file is in the scratch folder: nothing is lost.
 */
#include "writes_raw.h"

#include <errno.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <ucontext.h>

enum { DISPATCH = 59, DISPATCH_ON = 1, BY_DISPATCH = 2 /* si_code */, LET = 0, STOP = 1 };

struct range {
    uintptr_t wanted; /* an address in it */
    uintptr_t start;
    size_t length;
};

static const struct raw_wrappers *wrappers;
static __thread volatile char selector __attribute__((tls_model("initial-exec")));
static struct sigaction former;

/* The segment of the C library that holds its code. */
static int find_segment(struct dl_phdr_info *object, size_t size, void *data) {
    struct range *range = data;
    (void)size;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        uintptr_t start = object->dlpi_addr + segment->p_vaddr;
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X)) continue;
        if (range->wanted < start || range->wanted >= start + segment->p_memsz) continue;
        range->start = start;
        range->length = segment->p_memsz;
        return 1;
    }
    return 0;
}

static long plain_call(long number, const greg_t *registers) {
    register long fourth __asm__("r10") = registers[REG_R10];
    register long fifth __asm__("r8") = registers[REG_R8];
    register long sixth __asm__("r9") = registers[REG_R9];
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(registers[REG_RDI]), "S"(registers[REG_RSI]), "d"(registers[REG_RDX]),
                       "r"(fourth), "r"(fifth), "r"(sixth)
                     : "rcx", "r11", "memory");
    return result;
}

/* Calls the wrapper; false if the call has none here. */
static bool call_wrapper(long number, const greg_t *registers, long *result) {
    long first = registers[REG_RDI], second = registers[REG_RSI], third = registers[REG_RDX];
    const char *path = (const char *)first, *next_path = (const char *)second;
    const char *last_path = (const char *)registers[REG_R10];
    switch (number) {
    case SYS_rename: *result = wrappers->rename(AT_FDCWD, path, AT_FDCWD, next_path, 0); break;
    case SYS_renameat: *result = wrappers->rename((int)first, next_path, (int)third, last_path, 0); break;
    case SYS_renameat2:
        *result = wrappers->rename((int)first, next_path, (int)third, last_path, (unsigned)registers[REG_R8]);
        break;
    case SYS_link: *result = wrappers->link(AT_FDCWD, path, AT_FDCWD, next_path, 0); break;
    case SYS_linkat:
        *result = wrappers->link((int)first, next_path, (int)third, last_path, (int)registers[REG_R8]);
        break;
    case SYS_unlink: *result = wrappers->unlink(AT_FDCWD, path, 0); break;
    case SYS_unlinkat: *result = wrappers->unlink((int)first, next_path, (int)third); break;
    default: return false;
    }
    if (*result < 0) *result = -errno;
    return true;
}

/* A new thread or process begins on another stack, so the program makes that call itself. */
static bool begins_elsewhere(long number) {
    return number == SYS_clone || number == SYS_clone3 || number == SYS_fork || number == SYS_vfork ||
           number == SYS_rt_sigreturn;
}

static void pass_to_former(int number, siginfo_t *info, void *context) {
    if (former.sa_flags & SA_SIGINFO) {
        former.sa_sigaction(number, info, context);
    } else if (former.sa_handler == SIG_DFL) {
        sigaction(SIGSYS, &former, NULL);
        raise(SIGSYS);
    } else if (former.sa_handler != SIG_IGN) {
        former.sa_handler(number);
    }
}

static void on_call(int number, siginfo_t *info, void *context) {
    if (info->si_code != BY_DISPATCH) {
        pass_to_former(number, info, context);
        return;
    }
    int error = errno;
    long call = info->si_syscall, result;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    selector = LET;
    if (begins_elsewhere(call)) {
        registers[REG_RIP] -= 2; /* the length of the instruction `syscall` */
    } else {
        bool wrapped = call_wrapper(call, registers, &result);
        registers[REG_RAX] = wrapped ? result : plain_call(call, registers);
        if (!wrapped) selector = STOP; /* the wrappers have ended it */
    }
    errno = error;
}

static bool install(void) {
    struct sigaction action = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART}, now;
    if (sigaction(SIGSYS, NULL, &now)) return false;
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_call) return true;
    former = now;
    return sigaction(SIGSYS, &action, NULL) == 0;
}

void raw_prepare(const struct raw_wrappers *given) { wrappers = given; }

void raw_end(void) { selector = LET; }

void raw_watch(void) {
    struct range libc = {.wanted = (uintptr_t)REAL(syscall)};
    if (!wrappers || !dl_iterate_phdr(find_segment, &libc) || !install()) return;
    selector = LET;
    if (prctl(DISPATCH, DISPATCH_ON, libc.start, libc.length, &selector) == 0) selector = STOP;
}
