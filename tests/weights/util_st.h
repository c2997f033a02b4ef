/* util_st - writes small safetensors files, right or wrong as a test asks, and a tiny Llama as Hugging Face saves it.
 */
#ifndef FC_TESTS_UTIL_ST_H
#define FC_TESTS_UTIL_ST_H

#include "engine/base/str.h"

#include <stdbool.h>
#include <stdint.h>

/* init with zeroes, undo with st_fini. */
typedef struct {
    fc_str header; /* JSON without the outer braces */
    fc_str data;
    uint64_t seed;
} st_file;

void st_fini(st_file *f);
/* An entry as it stands: `"name":{...}`. */
void st_raw(st_file *f, const char *entry);
/* A tensor of N rows of K (N == 0: a vector) of dtype F32, F16 or BF16, seeded small values. */
void st_tensor(st_file *f, const char *name, const char *dtype, uint64_t N, uint64_t K);
/* The whole file, appended to an empty out; spaces behind the header until the data begins at a multiple of align. */
void st_finish(const st_file *f, size_t align, fc_str *out);

/* V 24, D 32, 1 layer, H 4, G 2, E 8, F 48. part 0: all tensors; 1: embedding and norm; 2: the layer and the head. */
void st_llama(st_file *f, const char *dtype, int part);
extern const char st_llama_config[]; /* its config.json */

#endif
