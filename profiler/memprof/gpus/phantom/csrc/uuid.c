/* The UUIDs of the emulated GPUs: they differ in the last byte. */
#include "uuid.h"

#include <stdio.h>
#include <string.h>

void phantom_uuid(int gpu, unsigned char uuid[16]) {
    memcpy(uuid, "memprof-phantom", 15);
    uuid[15] = (unsigned char)gpu;
}

void phantom_uuid_text(int gpu, char text[PHANTOM_UUID_TEXT_BYTES]) {
    unsigned char u[16];
    phantom_uuid(gpu, u);
    snprintf(text, PHANTOM_UUID_TEXT_BYTES,
             "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2], u[3], u[4],
             u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
}
