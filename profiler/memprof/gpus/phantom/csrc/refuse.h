/* Functions that the phantom does not emulate. */
#ifndef MEMPROF_REFUSE_H
#define MEMPROF_REFUSE_H

/* Writes one line to stderr that names the function; not again while the same function is refused repeatedly. */
void phantom_refuse(const char *function);

#endif
