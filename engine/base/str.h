/* str - a growing byte string, always with a NUL behind. init/fini; zeroed is empty. */
#ifndef FC_BASE_STR_H
#define FC_BASE_STR_H

#include "engine/base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    char *data; /* NULL when nothing was ever put */
    size_t size, cap;
} fc_str;

void fc_str_fini(fc_str *s);
void fc_str_clear(fc_str *s); /* keeps the memory */
fc_status fc_str_put(fc_str *s, const char *text, size_t size);
fc_status fc_str_puts(fc_str *s, const char *text);
fc_status fc_str_printf(fc_str *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *fc_str_text(const fc_str *s); /* never NULL */

bool fc_ends_with(const char *text, const char *end);
/* Appends the bytes that base64 text stands for, with or without '=' at its end. FC_ERR_FORMAT names the character. */
fc_status fc_str_put_base64(fc_str *s, const char *text);

/* Length of the longest prefix of text that ends between UTF-8 sequences: an incomplete sequence at the
 * end is left out, an invalid byte counts as complete. */
size_t fc_utf8_complete(const char *text, size_t size);
/* True when text is valid UTF-8 (no overlong forms, no surrogates); else *at is the first bad byte. */
bool fc_utf8_valid(const char *text, size_t size, size_t *at);

#endif
