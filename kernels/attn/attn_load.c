#include "kernels/attn/attn_load.h"

enum { SOFTMAX = 20 /* operations a score; an exponential counts as 16 */ };
static const double WIDENING = 1.4; /* a tile of codes is made bf16 in shared memory first */
static const double FOLDING = 0.6;  /* of a unit: who folds waits for the last one; both measured on an H100 */
static const double WIDE_UNIT = 0.25, WIDE_TILE = 0.5; /* of a unit's and a tile's waits, by warpgroups; assumed */
enum { FOLDS = 4 /* of a block at once */ };

static int least(int a, int b) { return a < b ? a : b; }
static int most(int a, int b) { return a > b ? a : b; }
static double least_of(double a, double b) { return a < b ? a : b; }
static double most_of(double a, double b) { return a > b ? a : b; }

/* The kernels, and their launches. */
typedef enum { WIDE, SMALL, OTHER } form;

/* Blocks of a processor: attn_form.BLOCKS, where its shared memory is Hopper's; elsewhere it
 * holds as few as of large units, or one more. */
static int blocks(form f, const fc_kv_shape *k, const fc_load_device *d) {
    if (f == WIDE) return 1;
    if (f == SMALL && d->warpgroups) return k->E <= 64 ? 5 : k->E <= 96 || fc_kv_scaled(k->type) ? 4 : 3;
    return k->E <= 64 ? 3 : k->E <= 128 || k->type != FC_F32 ? 2 : 1;
}

static int unit_of(form f, const fc_kv_shape *k) {
    return f == WIDE ? FC_ATTN_WIDE_UNIT : f == SMALL ? FC_ATTN_FEW_UNIT : fc_attn_unit_vectors(k->type, k->E);
}

/* Query vectors that n of a unit are filled up to: attn_unit_run, wide_multiply. */
static int computed(form f, int n, const fc_kv_shape *k) {
    if (f == WIDE) return (n + FC_ATTN_WIDE_HALF - 1) / FC_ATTN_WIDE_HALF * FC_ATTN_WIDE_HALF;
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

static bool is_wide(const fc_attn_args *a, const fc_attn_item *it, const fc_load_device *d) {
    const fc_kv_shape *k = &a->kv->shape;
    return d->warpgroups && k->type == FC_BF16 && k->E <= 128 && it->n_rows * (a->H / k->G) >= FC_ATTN_WIDE_LEAST;
}

/* Of the launch for items of many query vectors, or of the other one. first: it reads q and makes the y of both. */
static fc_load load_of(const fc_attn_args *a, const fc_load_device *d, form f, bool first) {
    const fc_kv_shape *k = &a->kv->shape;
    const int per = a->H / k->G, unit = unit_of(f, k);
    const bool tensor = k->type != FC_F32, wide = f == WIDE;
    const double tile = (double)FC_ATTN_TILE / k->P * (double)fc_kv_block_bytes(k); /* of one KV head */
    const double places = (double)d->sms * blocks(f, k, d);
    double scores = 0, states = 0, all = 0, longest = 0, units = 0;
    fc_load l = {.launches = 1, .warpgroups = wide};
    for (int i = 0; i < a->n_items; i++) {
        const fc_attn_item *it = &a->items[i];
        int vectors = it->n_rows * per, widest = 0;
        if (it->part >= 0) states += it->n_rows;
        if (is_wide(a, it, d) != wide) continue;
        for (int v0 = 0; v0 < vectors; v0 += unit) {
            int n = least(vectors - v0, unit), seen = tiles_seen(a, it, per, v0, n);
            widest = most(widest, seen);
            scores += (double)computed(f, n, k) * seen * FC_ATTN_TILE * k->G;
            l.cache += tile * seen * k->G;
            all += (double)seen * k->G;
            units += k->G;
            longest = seen > longest ? seen : longest;
        }
        l.memory += tile * widest * k->G;
    }
    l.ops[tensor ? FC_UNIT_BF16 : FC_UNIT_F32] += 4 * scores * k->E;
    l.ops[FC_UNIT_F32] += SOFTMAX * scores;
    if (first) fc_load_array(&l, d, 8.0 * a->T * a->H * k->E);
    if (!wide) fc_load_array(&l, d, 2 * 4 * states * a->H * (k->E + 2)); /* written, and read by who folds */
    l.busy = longest > 0 && all < longest * places ? all / (longest * places) : 1;
    if (!wide && !first)
        l.busy = most_of(l.busy, least_of(1, states * a->H / 2 / FOLDS / places)); /* a fold has two states at least */
    l.units = most_of(units / places, units > 0) * (wide ? WIDE_UNIT : 1);
    l.tiles = most_of(all / places, longest) * (wide ? WIDE_TILE : fc_kv_scaled(k->type) ? WIDENING : 1);
    if (!wide && units > 0 && states > 0) l.units += FOLDING;
    return l;
}

int fc_attn_load_cuda(const fc_attn_args *a, const fc_load_device *d, fc_load out[2]) {
    const fc_kv_shape *k = &a->kv->shape;
    bool wide = false, left = a->n_items == 0, small = k->type != FC_F32 && k->E <= 128;
    int n = 0;
    for (int i = 0; i < a->n_items; i++) {
        const fc_attn_item *it = &a->items[i];
        wide |= is_wide(a, it, d);
        left |= !is_wide(a, it, d) || it->part >= 0;
        small &= is_wide(a, it, d) || fc_attn_width(it->n_rows * (a->H / k->G)) == FC_ATTN_FEW;
    }
    if (wide) out[n++] = load_of(a, d, WIDE, true);
    if (left) out[n] = load_of(a, d, small ? SMALL : OTHER, n == 0), n++;
    return n;
}
