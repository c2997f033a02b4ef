/* textio - what commands read and write: whole texts, lists of token ids, one answer on standard output. */
#ifndef FC_APP_TEXTIO_H
#define FC_APP_TEXTIO_H

#include "engine/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A whole file, pipe or device, or standard input for "-": at most 64 MiB, NUL behind, freed with fc_free. */
fc_status text_read(const char *path, char **text, size_t *size);

/* What stands behind the last slash of a path: a file's name travels, its folder does not. Borrowed. */
const char *text_file_name(const char *path);

/* To standard output, now. FC_ERR_IO where it cannot be written; FC_ERR_CANCELLED where its reader has gone, as `head`
 * does: nobody is left to be told. */
fc_status text_write(const char *text, size_t size);

/* One decimal id, all of text. */
bool text_id(const char *text, size_t size, int32_t *out);

/* Decimal ids separated by blanks, line breaks or commas. bad: the status where one is none, by where the text comes
 * from; `where` names that in the sentence. *ids [*n], NULL when there is none, is freed with fc_free. */
fc_status text_ids(const char *text, size_t size, const char *where, fc_status bad, int32_t **ids, size_t *n);

#endif
