/* Hands the wrappers to what sees the calls that do not go through the C library, when the library is loaded. */
#include "writes_raw.h"

#include <stdio.h>

__attribute__((constructor)) static void writes_start(void) {
    static const struct raw_wrappers wrappers = {.rename = renameat2, .link = linkat, .unlink = unlinkat};
    raw_prepare(&wrappers);
}
