/* Reading the names of kernels. They are demangled by libstdc++, which PyTorch has loaded. */
#define _GNU_SOURCE
#include "kernel_name.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* Namespaces that say nothing about a kernel, and that differ between versions of PyTorch. */
static const char *const LEFT_OUT[] = {"at::native::", "(anonymous namespace)::", "at::detail::",
                                      "binary_internal::", "std::"};

static void leave_out_namespaces(char *name) {
    char *to = name;
    for (const char *from = name; *from;) {
        size_t skipped = 0;
        for (size_t i = 0; i < sizeof LEFT_OUT / sizeof *LEFT_OUT && !skipped; i++)
            if (!strncmp(from, LEFT_OUT[i], strlen(LEFT_OUT[i]))) skipped = strlen(LEFT_OUT[i]);
        if (skipped) from += skipped;
        else *to++ = *from++;
    }
    *to = '\0';
}

char *phantom_readable_name(const char *mangled) {
    static char *(*demangle)(const char *, char *, size_t *, int *);
    if (!demangle) {
        void *library = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD);
        void *function = library ? dlsym(library, "__cxa_demangle") : NULL;
        memcpy(&demangle, &function, sizeof demangle);
    }
    int status;
    char *name = demangle ? demangle(mangled, NULL, NULL, &status) : NULL;
    if (name) leave_out_namespaces(name);
    return name;
}

bool phantom_begins(part text, const char *with) {
    size_t length = strlen(with);
    return text.length >= length && !strncmp(text.text, with, length);
}

const char *phantom_find(part text, const char *word) { return memmem(text.text, text.length, word, strlen(word)); }

static int depth_change(char letter) {
    return letter == '<' || letter == '(' || letter == '{' ? 1 : letter == '>' || letter == ')' || letter == '}' ? -1 : 0;
}

size_t phantom_split(part text, char opening, part *items, size_t capacity) {
    const char *at = memchr(text.text, opening, text.length), *end = text.text + text.length;
    size_t count = 0;
    if (!at) return 0;
    const char *start = ++at;
    for (int depth = 1; at < end; at++) {
        depth += depth_change(*at);
        if (depth > 1 || (depth == 1 && *at != ',')) continue;
        const char *last = at;
        while (last > start && last[-1] == ' ') last--; /* "complex<float> >" */
        if (last > start && count < capacity) items[count++] = (part){start, (size_t)(last - start)};
        if (!depth) break;
        start = at + 2; /* after ", " */
    }
    return count;
}

part phantom_parameters(const char *name) {
    const char *end = name + strlen(name), *at = end;
    for (int depth = 0; at > name;) {
        depth -= depth_change(*--at);
        if (!depth) break;
    }
    return (part){at, (size_t)(end - at)};
}

part phantom_lambda_parameters(part text) {
    static const char WORD[] = "{lambda(";
    const char *last = NULL, *end = text.text + text.length;
    for (const char *at = text.text; (at = memmem(at, (size_t)(end - at), WORD, strlen(WORD))); at++) last = at;
    return last ? (part){last + strlen(WORD) - 1, (size_t)(end - last) - strlen(WORD) + 1} : (part){text.text, 0};
}
