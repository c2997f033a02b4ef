/* util_peft - PEFT folders with random adapters for tiny models, made in a temporary folder that is removed at exit. */
#ifndef FC_TESTS_ENGINE_UTIL_PEFT_H
#define FC_TESTS_ENGINE_UTIL_PEFT_H

#include "tests/util.h"

#include <stdbool.h>

typedef struct {
    const char *base;          /* the model's file: shapes come from it */
    uint64_t seed;             /* another one, another adapter */
    int r;                     /* rank of every linear module; 0: none, which is a head alone */
    bool score;                /* modules_to_save score */
    const int32_t *invocation; /* [n_invocation] alora_invocation_tokens */
    int n_invocation;
} peft_options;

/* Path of the folder: a new one for every call. */
const char *peft_folder(const peft_options *o);

#endif
