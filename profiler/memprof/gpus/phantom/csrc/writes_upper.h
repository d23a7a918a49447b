/* Changing the scratch folder: what it holds at a place, and which real files it hides. */
#pragma once
#include "writes_place.h"

#pragma GCC visibility push(hidden)

/* Makes the folders around a place of the scratch folder, and lets the program see what will be there. */
int upper_prepare(const struct place *place);
/* Hides what the real folder has at the place: the program has deleted it. */
int upper_hide(const struct place *place);
/* The program has deleted or moved what the scratch folder had at the place: the real file below it is hidden too, or
 * deleted if this run has made it. */
int upper_hide_real(const struct place *place);
/* The opposite: the real file is seen again, or another one in its place. */
void upper_show(const struct place *place);
/* The same for a folder: what was deleted in it stays deleted. */
void upper_show_folder(const struct place *place);
/* Makes a folder of the scratch folder; what was deleted in a real one of that name stays deleted. */
int upper_make_folder(const struct place *place, mode_t mode);
/* Copies a file; the new one has the permissions of the old one. Holes stay holes, blocks are shared if they can be. */
int upper_copy(const char *from, const char *to);
/* The same into a file that exists. */
int upper_copy_into(const char *from, const char *to);
/* Makes a link to a real file that the program has moved or linked to the place. */
int upper_link_real(const struct place *place, const char *real);
/* Removes what the scratch folder has at the place: a file, or a folder in which nothing but marks is left. */
int upper_drop(const struct place *place);
/* Whether the program sees a folder as empty. */
bool upper_folder_is_empty(const struct place *place);

#pragma GCC visibility pop
