/* draw_tree - a uniform number inverted on weights in the order of ids: first the tile of 256 ids, then the place in it
 *
 * Step 8 of draw.h. Whatever rounding does to the target, an id with weight comes out: a tile that adds nothing to the
 * running total and a side whose sum is 0 are never taken. Inner to kernels/draw and kernels/head.
 */
#ifndef FC_KERNELS_DRAW_TREE_H
#define FC_KERNELS_DRAW_TREE_H

#include "kernels/logprob/tile.h"

/* What logits are multiplied by at a temperature above 0. */
float fc_draw_scale(float temperature);

/* run [n]: running totals of tiles; target = u * run[n-1]. The first tile whose running total exceeds the target. */
int fc_draw_find_tile(const double *run, int n, double target);
/* What is left of the target in tile k. */
static inline double fc_draw_left(const double *run, int k, double target) {
    return k > 0 ? target - run[k - 1] : target;
}

/* Node i has the halves 2i and 2i+1; the tile's ids are nodes 256 .. 511. */
typedef struct {
    double factor;
    float node[2 * FC_TILE];
} fc_draw_tree;

/* Of the n logits v of one tile, whose largest is top; max is the row's. */
void fc_draw_tree_build(fc_draw_tree *t, const fc_tile_ops *ops, const float *v, int n, float top, float max,
                        float scale);
/* Place in the tile, 0 .. 255. */
int fc_draw_tree_find(const fc_draw_tree *t, double left);

#endif
