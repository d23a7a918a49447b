/* The code that this process has registered with the CUDA runtime. */
#ifndef MEMPROF_FATBIN_H
#define MEMPROF_FATBIN_H

void phantom_register_code(const void *fat_binary);
void phantom_unregister_code(const void *fat_binary);
int phantom_code_architecture(void); /* of the code that this GPU runs, 86 for 8.6; 0: there is none for it */

#endif
