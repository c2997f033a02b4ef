#include "kernels/draw/draw_tree.h"

#include <float.h>

float fc_draw_scale(float temperature) { return 1.0f / temperature < FLT_MAX ? 1.0f / temperature : FLT_MAX; }

int fc_draw_find_tile(const double *run, int n, double target) {
    int lo = 0, hi = n - 1;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if (run[mid] > target) hi = mid;
        else lo = mid + 1;
    }
    return lo;
}

void fc_draw_tree_build(fc_draw_tree *t, const fc_tile_ops *ops, const float *v, int n, float top, float max,
                        float scale) {
    ops->weights(v, n, top, scale, t->node + FC_TILE);
    for (int i = FC_TILE - 1; i > 0; i--) t->node[i] = t->node[2 * i] + t->node[2 * i + 1];
    t->factor = fc_tile_factor(top, max, scale);
}

int fc_draw_tree_find(const fc_draw_tree *t, double left) {
    double target = left / t->factor; /* in the tile's own weights */
    int node = 1;
    while (node < FC_TILE) {
        double below = (double)t->node[2 * node];
        node *= 2;
        if (target < below || t->node[node + 1] == 0.0f) continue;
        target -= below;
        node++;
    }
    return node - FC_TILE;
}
