/* recipe_builtin - the bytes of examples/recipes/interests-loglik.json and examples/interests.tsv, put into the program
 * by engine/embed_text.cmake when it is built. No NUL behind. */
#ifndef FC_ENGINE_RECIPE_BUILTIN_H
#define FC_ENGINE_RECIPE_BUILTIN_H

#include <stddef.h>

extern const unsigned char fc_builtin_recipe[];
extern const size_t fc_builtin_recipe_size;
extern const unsigned char fc_builtin_taxonomy[];
extern const size_t fc_builtin_taxonomy_size;

#endif
