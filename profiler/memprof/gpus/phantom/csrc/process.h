/* Other processes of the run. */
#ifndef MEMPROF_PROCESS_H
#define MEMPROF_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

bool phantom_has_ended(pid_t pid); /* a zombie has, too */

#endif
