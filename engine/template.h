/* template - a text of the operator with named holes: {prompt}, {retrieved}, {history}, {keywords}, {history_1},
 * {keywords_1}, ...
 *
 * Literal text may name special tokens (pieces with special = true); what fills a hole is data and never does. {{ and
 * }} are literal braces. {retrieved} is what was looked up for this history elsewhere; it may be
 * empty. {history} is all names joined with ", ", {keywords} the keyword groups of those names joined
 * with "; ", and _i is the i-th name alone, from 1.
 */
#ifndef FC_ENGINE_TEMPLATE_H
#define FC_ENGINE_TEMPLATE_H

#include "engine/base/mem.h"
#include "engine/forkcast.h"

enum { FC_HOLE_INDEX_MAX = 999, FC_TEMPLATE_BYTES = 4 << 20 /* of a filled one: some contexts */ };

typedef enum { FC_HOLE_NONE = 0, FC_HOLE_PROMPT, FC_HOLE_RETRIEVED, FC_HOLE_HISTORY, FC_HOLE_KEYWORDS } fc_hole;

typedef struct {
    fc_hole hole;     /* NONE: literal text */
    int index;        /* of HISTORY and KEYWORDS: 0 all, else the i-th */
    const char *text; /* literal */
    size_t size;
} fc_template_part;

typedef struct fc_template {
    size_t n;
    const fc_template_part *parts; /* [n]; the arena's, as their text */
} fc_template;

/* An unknown hole or a single brace is FC_ERR_FORMAT, with the place. All memory is the arena's. */
fc_status fc_template_parse(const char *text, fc_arena *arena, fc_template *out);

/* What fills the holes, text by name. */
typedef struct {
    const char *prompt, *retrieved; /* NULL: not given */
    const char *const *history;
    const char *const *keywords; /* [n_history]; NULL without a taxonomy; an entry "" when the name has none */
    size_t n_history;
} fc_template_values;

/* The pieces of the filled template, in the arena. A hole without a value is FC_ERR_ARG and names the hole; so is more
 * than FC_TEMPLATE_BYTES, before it is made. */
fc_status fc_template_fill(const fc_template *t, const fc_template_values *v, fc_arena *arena, fc_prompt *out);

/* Whether the template has that hole, or one that shows the i-th (from 1) name or its keywords. */
bool fc_template_shows(const fc_template *t, fc_hole hole);
bool fc_template_shows_history(const fc_template *t, size_t i);

#endif
