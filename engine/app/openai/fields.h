/* fields - the one table of what bodies of /v1/completions and /v1/chat/completions may hold, and what becomes
 * of each field. What is not in it is unknown, and ignored, as clients of the API expect. null is the same as absent.
 */
#ifndef FC_APP_OPENAI_FIELDS_H
#define FC_APP_OPENAI_FIELDS_H

#include "engine/app/openai/openai.h"

#include <stddef.h>

typedef enum {
    OPENAI_OWN = 0, /* read by parse.c and those that it calls */
    OPENAI_OPTION,  /* set in the request by the option table (engine/options.h) */
    OPENAI_TAKEN,   /* checked, and without effect on an answer by its nature */
    OPENAI_REFUSED, /* 400, unless it asks for nothing: false, an empty list or object */
    OPENAI_NEVER    /* 400 whatever it holds */
} openai_how;

enum { OPENAI_IN_COMPLETIONS = 1, OPENAI_IN_CHAT = 2, OPENAI_IN_BOTH = 3 };

typedef struct {
    const char *name;
    int where; /* OPENAI_IN_*: in the other body it is refused */
    openai_how how;
    const char *text; /* OPTION: the option's name where it is another; REFUSED, NEVER: why */
} openai_field;

size_t openai_field_count(void);
const openai_field *openai_field_at(size_t i);
const openai_field *openai_field_find(const char *name, size_t size); /* NULL: unknown */

#endif
