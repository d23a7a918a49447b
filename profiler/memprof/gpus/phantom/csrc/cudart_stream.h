/* Work that is launched on streams. */
#ifndef MEMPROF_CUDART_STREAM_H
#define MEMPROF_CUDART_STREAM_H

/* Counts one piece of work on `stream`, or one node of a graph if the stream is being captured. */
void phantom_launched(const void *stream);

#endif
