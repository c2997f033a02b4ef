#include "kernels/logprob/list.h"

static float list_max(const float *v, int n) {
    float m = -INFINITY;
    int bad = 0;
    for (int i = 0; i < n; i++) {
        m = v[i] > m ? v[i] : m;
        bad |= v[i] != v[i];
    }
    return bad ? NAN : m;
}

/* The tree over 256 places of which only n hold something: x + 0 is x, so a step adds those neighbours alone that are
 * both there. place rises; both arrays are used up. */
static float sparse_tree(uint8_t *place, float *w, int n) {
    while (n > 1) {
        int k = 0;
        for (int i = 0; i < n; k++) {
            uint8_t up = place[i] / 2;
            w[k] = w[i++];
            if (i < n && place[i] / 2 == up) w[k] += w[i++];
            place[k] = up;
        }
        n = k;
    }
    return w[0];
}

int fc_list_tiles(const fc_tile_ops *ops, const fc_id_list *l, float scale, int32_t *tile, float *top, float *sum) {
    int k = 0;
    for (int i = 0, end; i < l->n; i = end, k++) {
        uint8_t place[FC_TILE];
        float w[FC_TILE];
        tile[k] = l->id[i] / FC_TILE;
        for (end = i; end < l->n && l->id[end] / FC_TILE == tile[k]; end++)
            place[end - i] = (uint8_t)(l->id[end] % FC_TILE);
        top[k] = list_max(l->value + i, end - i);
        sum[k] = 0.0f;
        if (top[k] == -INFINITY) continue;
        ops->weights(l->value + i, end - i, top[k], scale, w);
        sum[k] = sparse_tree(place, w, end - i);
    }
    return k;
}

fc_row_state fc_list_lse(const fc_tile_ops *ops, const fc_id_list *l, int32_t *tile, float *top, float *sum,
                         int *n_tiles, fc_row_lse *out) {
    *n_tiles = fc_list_tiles(ops, l, 1.0f, tile, top, sum);
    return fc_tops_lse(top, sum, *n_tiles, out);
}
