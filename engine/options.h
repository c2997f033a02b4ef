/* options - the one table of what can be set: a public row (fc_option) with the place that it sets, and how a value,
 * from text or JSON, is stored there. A leaf: it knows the structs of forkcast.h by offsets, and nobody who uses them.
 */
#ifndef FC_ENGINE_OPTIONS_H
#define FC_ENGINE_OPTIONS_H

#include "engine/forkcast.h"

/* A value of any kind; which members count is the kind's. Borrowed. */
typedef struct {
    bool yes;                 /* BOOL */
    int64_t whole;            /* INT, INT64; CHOICE: its place */
    uint64_t natural;         /* UINT64, BYTES; WORDS: bits */
    double real;              /* FLOAT */
    const char *text;         /* TEXT, PATH, WORD */
    const char *const *texts; /* TEXTS [n] */
    const int32_t *ids;       /* IDS, BIASES [n] */
    const float *values;      /* BIASES [n] */
    size_t n;
    bool replace; /* a list takes the place of what the target has set */
} fc_option_value;

typedef struct {
    fc_option o;
    size_t at;                  /* in fc_engine_options, fc_request or fc_sampling; of a list: its pointer */
    size_t count_at, values_at; /* of a list: its count; of BIASES: the values */
    fc_status (*check)(const fc_option_value *v); /* what no kind knows, or NULL */
    bool negated;                                 /* of BOOL: true is stored as false, so that zero is the default */
} fc_option_row;

enum { FC_OPTIONS_MAX = 64 };
const fc_option_row *fc_option_row_at(size_t i);
int fc_option_index(const char *name); /* -1: there is none */

/* Sentences of these two do not name the option. What it sets; FC_ERR_ARG where the target has no struct for it. */
fc_status fc_option_place(const fc_option_target *t, const fc_option *o, char **out);
/* Checks what no kind knows, and stores a copy. The value is in range. */
fc_status fc_option_store(fc_option_target *t, const fc_option_row *row, const fc_option_value *v);
/* The place of text [size] among the choices, or -1. */
int fc_option_choice(const fc_option *o, const char *text, size_t size);
/* "512M" to bytes. False: *out is UINT64_MAX where it is a number and too large, else 0. */
bool fc_option_bytes(const char *text, uint64_t *out);

enum { FC_BIAS_MAX = 1000000000 }; /* of a logit bias, either way */

#endif
