/* like - a model of published shapes with random weights, without a file: "like:NAME" or "like:NAME:TYPE".
 *
 * For measuring: NAME is a preset of `forkcast tiny --like`, TYPE that of the matrices (BF16 unless said). Matrices
 * with one spread of values share some MiB of random rows that their memory repeats, so that a model of any size takes
 * next to none until a backend packs it; vectors and tokenizer are those of `forkcast tiny`.
 */
#ifndef FC_WEIGHTS_LIKE_H
#define FC_WEIGHTS_LIKE_H

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "weights_tools/weights.h"

enum { FC_LIKE_POOLS = 16 };

typedef struct {
    fc_tensor *tensors; /* [n] */
    size_t n;
    fc_arena arena; /* names and vectors */
    struct {
        double spread;
        unsigned char *base; /* [bytes] the pool, again and again */
        size_t bytes;
    } pools[FC_LIKE_POOLS];
    int n_pools;
} fc_like;

bool fc_like_named(const char *path); /* begins with "like:" */

/* meta: a GGUF of configuration and tokenizer alone, of which no file is left; the caller closes it. */
fc_status fc_like_open(const char *path, fc_map *meta, fc_like *out);
void fc_like_close(fc_like *l); /* zeroed and half-built are fine */

#endif
