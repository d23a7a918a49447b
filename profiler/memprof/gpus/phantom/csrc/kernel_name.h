/* The name of a kernel as C++ writes it, and its parts. */
#ifndef MEMPROF_KERNEL_NAME_H
#define MEMPROF_KERNEL_NAME_H

#include <stdbool.h>
#include <stddef.h>

/* A part of a name; it belongs to the name. */
typedef struct {
    const char *text;
    size_t length;
} part;

char *phantom_readable_name(const char *mangled); /* to be freed; NULL if it is not C++, or there is no host memory */
bool phantom_begins(part text, const char *with);
const char *phantom_find(part text, const char *word);
/* The items between the first `opening` bracket of `text` and its end, without those in inner brackets. */
size_t phantom_split(part text, char opening, part *items, size_t capacity);
part phantom_parameters(const char *name); /* from the bracket of the function's own parameters on */
part phantom_lambda_parameters(part text); /* likewise of its last lambda; of length 0 if there is none */

#endif
