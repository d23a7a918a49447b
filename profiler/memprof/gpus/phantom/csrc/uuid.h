/* The UUIDs of the emulated GPUs. */
#ifndef MEMPROF_UUID_H
#define MEMPROF_UUID_H

enum { PHANTOM_UUID_TEXT_BYTES = 41 }; /* "GPU-", 32 digits, 4 hyphens and the end */

void phantom_uuid(int gpu, unsigned char uuid[16]);
void phantom_uuid_text(int gpu, char text[PHANTOM_UUID_TEXT_BYTES]); /* as NVML and nvidia-smi write it */

#endif
