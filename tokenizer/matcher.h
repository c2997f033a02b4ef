/* matcher - what a text is cut at: a literal, a class of characters, or a regular expression of a tokenizer.json.
 *
 * Expressions are Oniguruma's (what `tokenizers` runs); they are rewritten for PCRE2 so that \s, \w and friends mean
 * the same characters, and what cannot be rewritten is FC_ERR_UNSUPPORTED, by name. Work is bounded: an expression
 * that backtracks beyond a budget in proportion to the text is an error, never a hang.
 */
#ifndef FC_TOKENIZER_MATCHER_H
#define FC_TOKENIZER_MATCHER_H

#include "engine/base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { FC_MATCH_LITERAL, FC_MATCH_CLASS, FC_MATCH_REGEX } fc_match_kind;

typedef struct {
    fc_match_kind kind;
    const char *name;           /* of the file, for errors; borrowed */
    fc_str text;                /* the literal, or the expression as it was given */
    bool (*in_class)(uint32_t); /* FC_MATCH_CLASS: one character at a time */
    void *code;                 /* compiled expression */
} fc_matcher;

/* name must outlive the matcher. A half-built matcher may be given to fini. */
fc_status fc_matcher_literal(fc_matcher *m, const char *name, const char *text, size_t size);
void fc_matcher_class(fc_matcher *m, const char *name, bool (*in_class)(uint32_t));
fc_status fc_matcher_regex(fc_matcher *m, const char *name, const char *pattern, size_t size);
void fc_matcher_fini(fc_matcher *m); /* zeroed is fine */

/* One thread's scratch for any number of matchers. init/fini, the caller holds it. */
typedef struct {
    void *data, *context;
    uint64_t budget; /* steps left, see fc_match_use_init */
} fc_match_use;

fc_status fc_match_use_init(fc_match_use *u, size_t text_size); /* the budget covers a text of this size */
void fc_match_use_fini(fc_match_use *u);

/* First match at or behind `from` in valid text: [*start,*end), never empty; *start == *end == size when there is none.
 * */
fc_status fc_matcher_next(const fc_matcher *m, fc_match_use *u, const char *text, size_t size, size_t from,
                          size_t *start, size_t *end);

#endif
