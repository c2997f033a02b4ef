#include "kernels/attn/attn_load.h"

enum { SOFTMAX = 20 /* operations a score; an exponential counts as 16 */ };
static const double WIDENING = 1.4; /* a tile of codes is made bf16 in shared memory first */
static const double FOLDING = 0.6;  /* of a unit: who folds waits for the last one; both measured on an H100 */

static int least(int a, int b) { return a < b ? a : b; }
static int most(int a, int b) { return a > b ? a : b; }
static double most_of(double a, double b) { return a > b ? a : b; }

/* Blocks of a processor: attn_shape.BLOCKS. */
static int blocks(fc_dtype type, int E) { return E <= 64 ? 3 : E <= 128 || type != FC_F32 ? 2 : 1; }

/* Query vectors that n of a unit are filled up to: attn_unit_run. */
static int computed(int n, const fc_kv_shape *k) {
    return n > 32 && k->type != FC_F32 && k->E <= 128 ? 64 : (n + 15) / 16 * 16;
}

/* Tiles of an item that query vectors v0 .. v0 + n - 1 see: attn_view_open. */
static int tiles_seen(const fc_attn_args *a, const fc_attn_item *it, int per, int v0, int n) {
    int first = a->pos[a->item_rows[it->row + v0 / per]], last = first, since, to;
    for (int r = v0 / per; r <= (v0 + n - 1) / per; r++) {
        int pos = a->pos[a->item_rows[it->row + r]];
        first = least(first, pos);
        last = most(last, pos);
    }
    since = a->window > 0 ? most(first - a->window + 1, 0) / FC_ATTN_TILE : 0;
    since = most(it->tile, since);
    to = least(it->tile + it->n_tiles, last / FC_ATTN_TILE + 1);
    return most(to - since, 0);
}

fc_load fc_attn_load_cuda(const fc_attn_args *a, const fc_load_device *d) {
    const fc_kv_shape *k = &a->kv->shape;
    const int per = a->H / k->G, unit = fc_attn_unit_vectors(k->type, k->E), tensor = k->type != FC_F32;
    const double tile = (double)FC_ATTN_TILE / k->P * (double)fc_kv_block_bytes(k); /* of one KV head */
    double scores = 0, states = 0, all = 0, places = (double)d->sms * blocks(k->type, k->E), longest = 0, units = 0;
    fc_load l = {.launches = 1};
    for (int i = 0; i < a->n_items; i++) {
        const fc_attn_item *it = &a->items[i];
        int vectors = it->n_rows * per, widest = 0;
        for (int v0 = 0; v0 < vectors; v0 += unit) {
            int n = least(vectors - v0, unit), seen = tiles_seen(a, it, per, v0, n);
            widest = most(widest, seen);
            scores += (double)computed(n, k) * seen * FC_ATTN_TILE * k->G;
            l.cache += tile * seen * k->G;
            all += (double)seen * k->G;
            units += k->G;
            longest = seen > longest ? seen : longest;
        }
        l.memory += tile * widest * k->G;
        if (it->part >= 0) states += it->n_rows;
    }
    l.ops[tensor ? FC_UNIT_BF16 : FC_UNIT_F32] += 4 * scores * k->E;
    l.ops[FC_UNIT_F32] += SOFTMAX * scores;
    fc_load_array(&l, d, 8.0 * a->T * a->H * k->E);
    fc_load_array(&l, d, 2 * 4 * states * a->H * (k->E + 2)); /* written, and read by who folds */
    l.busy = longest > 0 && all < longest * places ? all / (longest * places) : 1;
    l.units = most_of(units / places, units > 0);
    l.tiles = most_of(all / places, longest) * (fc_kv_scaled(k->type) ? WIDENING : 1);
    if (units > 0 && states > 0) l.units += FOLDING;
    return l;
}
