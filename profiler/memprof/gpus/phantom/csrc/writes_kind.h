/* Which files hold tensors, by name and by content. */
#pragma once
#include "writes_scratch.h"

#pragma GCC visibility push(hidden)

enum kind { KIND_OTHER, KIND_TENSORS, KIND_UNDECIDED /* more bytes are needed */ };

/* Enough to decide: a pickle of a dictionary may begin with other values than tensors. */
enum { KIND_HEAD_BYTES = 4096 };

/* By the name of a file alone: best.pt, model.safetensors, checkpoint-500/config.json. */
bool kind_of_name(const char *path);
/* By the name of a folder alone: checkpoint-500, step=3.ckpt. */
bool kind_of_folder_name(const char *path);
/* By the first bytes. */
enum kind kind_of_bytes(const unsigned char *head, size_t length);
/* By the first bytes of a regular file; false if it cannot be read. */
bool kind_of_file(const char *path);
/* Whether the folder holds, in itself or if `deep` in any folder below it, files with tensors. */
bool kind_of_folder(const char *path, bool deep);

#pragma GCC visibility pop
