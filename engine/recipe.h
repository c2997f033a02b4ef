/* recipe - what a recipe holds once read; for recipe.c and recipe_read.c.
 *
 * Everything with a pointer lives in `arena` until the recipe is closed, what fc_recipe_request made in `request` until
 * its next call.
 */
#ifndef FC_ENGINE_RECIPE_H
#define FC_ENGINE_RECIPE_H

#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "engine/forkcast.h"
#include "engine/taxonomy.h"
#include "engine/template.h"

struct fc_recipe {
    fc_arena arena, request;
    const char *name;   /* in messages */
    const char *folder; /* relative paths start there; "" is the working folder */
    fc_recipe_info info;
    fc_option_target set; /* into info */
    bool given[64];       /* by place in the table: the document says it */
    bool says_alignment;  /* has the object `alignment` */
    bool has_alignment_template, has_suffix;
    fc_template novelty_template; /* {prompt} unless said */
    fc_template alignment_template, suffix;
    const char *const *labels; /* [n_labels]; NULL: the engine's default */
    size_t n_labels;
    const char *taxonomy_path; /* resolved, or NULL */
    fc_taxonomy *taxonomy;     /* or NULL */
};

/* Reads the document into r, which holds name, folder and the defaults; opens no other file. */
fc_status fc_recipe_read(const fc_json *root, struct fc_recipe *r);

#endif
