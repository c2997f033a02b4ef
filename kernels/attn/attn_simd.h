/* attn_simd - attention over one block, written once for every vector unit.
 *
 * The file that includes this defines before: V_LANES (a power of two, at most 16), V_COLS (vectors side by side in the
 * registers), the type vf, and v_load v_load_bf16 v_load_i8 v_load_f8 (of codes that are no NaN) v_store v_set1 v_add
 * v_sub v_mul v_max v_exp v_tanh v_hmax v_hsum, v_expf with the bits of fc_expf, v_fma(a,b,c) = a*b + c,
 * v_keep(x, lo, hi), which puts -inf in the lanes outside [lo,hi), and v_store_rounded(row, i, x), x rounded to bf16 as
 * elements i and on of a row.
 *
 * v_store_code(row, i, x): whole numbers as codes i and on of a row, in V_QUADS bytes, else f32.
 *
 * V_PAIRS 1: it multiplies pairs of bf16. Then rounded rows and gathered bf16 tiles are of words of two neighbours
 * (pair_keys, pair_values), v_set1_pair(p) copies one to all lanes, and v_dot_pairs(a,b,c) adds both products to c.
 *
 * V_QUADS 1: it multiplies quads of bytes. Then queries, weights and tiles of int8 KV are of words of four neighbours
 * (quad_keys, quad_values, quad_products). Elsewhere their codes are f32, whose sums are the same whole numbers.
 *
 * order   a score is one chain over e, or pairs of e; a tile's sum adds its vectors first to last, then the lanes by
 *         v_hsum's tree; an output element is one chain over the tile's positions, or pairs of them. Positions that no
 *         row of a micro block sees are left out: they would add exactly zero. Nothing else depends on what shares a
 *         block
 */
#include "kernels/attn/attn_block.h"
#include "kernels/cpu/vmath.h"
#include "kernels/kv/kv_cpu.h"

#include <math.h>

#define ALWAYS static inline __attribute__((always_inline))

enum { TILE = FC_ATTN_TILE, MICRO = FC_ATTN_MICRO };

#include "kernels/attn/attn_gather.h"
#include "kernels/attn/attn_product.h"

/* The lines of the next tile's pages that are still to be asked for, a few at a time so that no load waits for them. A
 * tenth of the time at 16 rows over KV that lies in L3; with one micro block there is too little to hide it behind. */
typedef struct {
    const unsigned char *first; /* block of this head and layer in page 0 */
    const int32_t *pages;
    size_t page_bytes, lines, at, end, step;
} ahead;

static ahead ahead_of(const fc_attn_args *a, const int32_t *pages, int g, int steps) {
    const fc_kv_shape *s = &a->kv->shape;
    ahead n = {.first = fc_kv_block_at(a->kv, 0, a->layer, g).k, .pages = pages};
    n.page_bytes = fc_kv_block_bytes(s) * (size_t)s->G * (size_t)s->L;
    n.lines = (fc_kv_block_bytes(s) + 63) / 64;
    n.end = n.lines * (size_t)(TILE / s->P);
    n.step = n.end / (size_t)steps + 1;
    return n;
}

static inline void ahead_step(ahead *n) {
    for (size_t i = 0; i < n->step && n->at < n->end; i++, n->at++) {
        size_t page = n->at / n->lines;
        __builtin_prefetch(n->first + (size_t)n->pages[page] * n->page_bytes + (n->at - page * n->lines) * 64, 0, 2);
    }
}

/* Scales and caps the scores s in vectors v0 .. v1 (lanes, multiples of V_LANES), by one number and, unless it is NULL,
 * by one of each lane; the row sees lanes [lo,hi), the others become -inf. Returns the largest. */
static float scale_row(const fc_attn_args *a, float by, const float *each, float *s, int v0, int v1, int lo, int hi) {
    const vf scale = v_set1(by), cap = v_set1(a->soft_cap),
             per_cap = v_set1(a->soft_cap > 0 ? 1.0f / a->soft_cap : 0.0f);
    vf most = v_set1(-INFINITY);
    for (int i = v0; i < v1; i += V_LANES) {
        vf x = v_mul(v_load(s + i), scale);
        if (each) x = v_mul(x, v_load(each + i));
        if (a->soft_cap > 0) x = v_mul(cap, v_tanh(v_mul(x, per_cap)));
        if (i < lo || i + V_LANES > hi) x = v_keep(x, lo - i, hi - i);
        v_store(s + i, x);
        most = v_max(most, x);
    }
    return v_hmax(most);
}

/* They become weights exp(s - max), over bf16 KV rounded to bf16 once they are summed. Returns the sum. */
static float weigh_row(bool rounded, float *s, int v0, int v1, float max) {
    const vf m = v_set1(max);
    vf total = v_set1(0.0f);
    if (max == -INFINITY) return 0.0f; /* sees nothing here: fold passes over it */
    for (int i = v0; i < v1; i += V_LANES) {
        vf p = v_exp(v_sub(v_load(s + i), m));
        if (rounded) v_store_rounded(s, i, p);
        else v_store(s + i, p);
        total = v_add(total, p);
    }
    return v_hsum(total);
}

/* Over int8 KV, of R rows [R,TILE] of s: weights times V's scales become codes of 0 .. 255, the largest of a row 255.
 * sum: of weights; scale: what code 1 is, NaN where a V that is seen has no scale. Step by step for all rows: none of
 * them waits for another. */
static void weigh_codes(const float *v_scale, int R, float *s, int v0, int v1, const float *max, float *sum,
                        float *scale) {
    const vf magic = v_set1(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
    vf total[MICRO], most[MICRO], all[MICRO];
    float by[MICRO];
    for (int r = 0; r < R; r++) {
        const vf m = v_set1(max[r] == -INFINITY ? 0.0f : max[r]); /* sees nothing here: all weigh 0 */
        total[r] = most[r] = all[r] = v_set1(0.0f);
        for (int i = v0; i < v1; i += V_LANES) {
            vf p = v_exp(v_sub(v_load(s + r * TILE + i), m)), w = v_mul(p, v_load(v_scale + i));
            v_store(s + r * TILE + i, w);
            total[r] = v_add(total[r], p);
            most[r] = v_max(most[r], w);
            all[r] = v_add(all[r], w);
        }
    }
    for (int r = 0; r < R; r++) {
        const float largest = v_hmax(most[r]);
        sum[r] = v_hsum(total[r]);
        scale[r] = isfinite(v_hsum(all[r])) ? largest * (1.0f / 255.0f) : NAN;
        by[r] = largest >= FC_ATTN_TINY && largest < INFINITY ? 255.0f / largest : 0.0f;
    }
    for (int r = 0; r < R; r++)
        for (int i = v0; i < v1; i += V_LANES)
            v_store_code(s + r * TILE, i, v_sub(v_add(v_mul(v_load(s + r * TILE + i), v_set1(by[r])), magic), magic));
}

/* State (o,m,l) = itself and then state 2. An empty state (m = -inf) is the identity, exactly. less is
 * fc_expf(-|m2 - m|), not read where a state is empty. */
static inline void fold_by(float less, float *o, float *m, float *l, const float *o2, float m2, float l2, int E) {
    float keep, add;
    if (m2 == -INFINITY) return;
    if (*m == -INFINITY) {
        for (int e = 0; e < E; e += V_LANES) v_store(o + e, v_load(o2 + e));
        *m = m2;
        *l = l2;
        return;
    }
    keep = m2 > *m ? less : 1.0f; /* the other factor is exp(0) */
    add = m2 > *m ? 1.0f : less;
    for (int e = 0; e < E; e += V_LANES)
        v_store(o + e, v_fma(v_load(o2 + e), v_set1(add), v_mul(v_load(o + e), v_set1(keep))));
    *m = m2 > *m ? m2 : *m;
    *l = *l * keep + l2 * add;
}

static void fold_state(float *o, float *m, float *l, const float *o2, float m2, float l2, int E) {
    fold_by(fc_expf(-fabsf(m2 - *m)), o, m, l, o2, m2, l2, E);
}

/* fold_state of R rows: their exponentials at once. */
static void fold_rows(int R, float *o, float *m, float *l, const float *o2, const float *m2, const float *l2, int E) {
    float less[(MICRO + V_LANES - 1) / V_LANES * V_LANES] = {0};
    for (int r = 0; r < R; r++) less[r] = -fabsf(m2[r] - m[r]);
    for (int r = 0; r < R; r += V_LANES) v_store(less + r, v_expf(v_load(less + r)));
    for (int r = 0; r < R; r++)
        fold_by(less[r], o + (size_t)r * (size_t)E, &m[r], &l[r], o2 + (size_t)r * (size_t)E, m2[r], l2[r], E);
}

static void write_row(float *y, const float *o, float m, float l, int E) {
    const vf per = v_set1(m == -INFINITY ? 0.0f : 1.0f / l);
    for (int e = 0; e < E; e += V_LANES) v_store(y + e, m == -INFINITY ? per : v_mul(v_load(o + e), per));
}

/* What the numbers of a tile are: f32, words of two bf16, or codes, where V_QUADS is 1 in words of four. */
typedef enum { FLOATS, PAIRS, CODES } number;

static number number_of(fc_dtype kv) { return kv == FC_I8 ? CODES : V_PAIRS && kv == FC_BF16 ? PAIRS : FLOATS; }
static int word_of(number m) { return m == PAIRS ? 2 : V_QUADS && m == CODES ? 4 : 1; }

/* The products of R rows of n words with cols columns, a multiple of V_LANES: of weights (start NULL) or queries. */
static void multiply(number m, int R, const float *const *a, const int32_t *start, int n, const float *b, size_t ld,
                     float *out, int cols) {
#if V_QUADS
    for (int c = 0; m == CODES && c < cols; c += QUAD_COLS * V_LANES) {
        int vecs = (cols - c) / V_LANES < QUAD_COLS ? (cols - c) / V_LANES : QUAD_COLS;
        quad_products[start == NULL][vecs - 1][R - 1](a, start, n, b + c, ld, out + c, ld);
    }
    if (m == CODES) return;
#endif
    (void)start;
    product_wide(m == PAIRS, R, a, n, b, ld, out, ld, cols);
}

/* Tile of positions t0 .. t0+63, lying in w->k and w->v, for query vectors i .. i+R-1 of the block. */
static void micro_block(const fc_attn_args *a, int i, int R, int t0, const fc_attn_scratch *w, ahead *next) {
    const float *weights[MICRO];
    const int E = a->kv->shape.E;
    const number m = number_of(a->kv->shape.type);
    const int word = word_of(m);
    const bool codes = m == CODES;
    const size_t width = (size_t)E;
    int lo[MICRO], hi[MICRO], first = TILE, end = 0, v0, v1;
    for (int r = 0; r < R; r++) {
        int pos = w->pos[i + r], since = a->window > 0 ? pos - a->window + 1 - t0 : 0;
        lo[r] = since > 0 ? since : 0;
        hi[r] = pos - t0 + 1 < TILE ? pos - t0 + 1 : TILE;
        if (lo[r] >= hi[r]) continue;
        first = lo[r] < first ? lo[r] : first;
        end = hi[r] > end ? hi[r] : end;
    }
    if (first >= end) return;
    v0 = first & ~(V_LANES - 1);
    v1 = (end + V_LANES - 1) & ~(V_LANES - 1);
    multiply(m, R, w->q + i, w->q_start + i, E / word, w->k + v0, TILE, w->s + v0, v1 - v0);
    first /= word; /* from here on in words; the positions that this adds weigh 0 */
    end = (end + word - 1) / word;
    {
        float max[MICRO], sum[MICRO], scale[MICRO];
        for (int r = 0; r < R; r++) { /* all largest first: none of them waits for another */
            ahead_step(next);
            max[r] = scale_row(a, codes ? a->scale * w->q_scale[i + r] : a->scale, codes ? w->k_scale : NULL,
                               w->s + (size_t)r * TILE, v0, v1, lo[r], hi[r]);
        }
        if (codes) weigh_codes(w->v_scale, R, w->s, v0, v1, max, sum, scale);
        for (int r = 0; r < R; r++) {
            float *s = w->s + (size_t)r * TILE;
            if (!codes) sum[r] = weigh_row(a->kv->shape.type == FC_BF16, s, v0, v1, max[r]);
            weights[r] = s + first;
        }
        multiply(m, R, weights, NULL, end - first, w->v + (size_t)first * width, width, w->o, E);
        for (int r = 0; codes && r < R; r++) {
            float *o = w->o + (size_t)r * width;
            for (int e = 0; e < E; e += V_LANES)
                v_store(o + e, v_add(v_mul(v_load(o + e), v_set1(scale[r])), v_set1(0.0f)));
        }
        for (int r = 0; r < R; r++) ahead_step(next);
        fold_rows(R, w->run_o + (size_t)i * width, w->run_m + i, w->run_l + i, w->o, max, sum, E);
    }
}

static void close_run(int n, int E, const fc_attn_scratch *w) {
    for (int i = 0; i < n; i++) {
        size_t at = (size_t)i * (size_t)E;
        fold_state(w->tot_o + at, &w->tot_m[i], &w->tot_l[i], w->run_o + at, w->run_m[i], w->run_l[i], E);
        w->run_m[i] = -INFINITY;
    }
}

static void block_write(const fc_attn_block *b, int n, const fc_attn_scratch *w) {
    const fc_attn_args *a = b->a;
    const int E = a->kv->shape.E, per_group = a->H / a->kv->shape.G;
    for (int i = 0; i < n; i++) {
        int row = (b->q0 + i) / per_group, h = b->g * per_group + (b->q0 + i) % per_group;
        const float *o = w->tot_o + (size_t)i * (size_t)E;
        if (b->item->part < 0) {
            size_t t = (size_t)a->item_rows[b->item->row + row];
            write_row(a->y + (t * (size_t)a->H + (size_t)h) * (size_t)E, o, w->tot_m[i], w->tot_l[i], E);
        } else {
            float *p = a->part + ((size_t)(b->item->part + row) * (size_t)a->H + (size_t)h) * (size_t)(E + 2);
            if (w->tot_m[i] == -INFINITY) memset(p, 0, (size_t)E * sizeof(float));
            else
                for (int e = 0; e < E; e += V_LANES) v_store(p + e, v_load(o + e));
            p[E] = w->tot_m[i];
            p[E + 1] = w->tot_l[i];
        }
    }
}

/* A query over int8 KV: codes of -127 .. 127 of one scale. */
static void query_codes(const float *q, int E, float *out, float *scale, int32_t *start) {
    const vf magic = v_set1(12582912.0f), zero = v_set1(0.0f);
    vf most = zero, any = zero, sum = zero, by;
    float largest;
    for (int e = 0; e < E; e += V_LANES) {
        vf x = v_load(q + e);
        most = v_max(most, v_max(x, v_sub(zero, x)));
        any = v_add(any, v_sub(x, x)); /* NaN where one is not finite */
    }
    largest = v_hmax(most);
    if (largest < FC_ATTN_TINY) largest = 0.0f;
    *scale = v_hsum(any) == 0.0f ? largest * (1.0f / 127.0f) : NAN;
    by = v_set1(*scale > 0.0f ? 127.0f / largest : 0.0f);
    for (int e = 0; e < E; e += V_LANES) {
        vf code = *scale >= 0.0f ? v_sub(v_add(v_mul(v_load(q + e), by), magic), magic) : zero;
        v_store_code(out, e, code);
        sum = v_add(sum, code);
    }
    *start = -128 * (int32_t)v_hsum(sum);
}

static void attn_block(const fc_attn_block *b, const fc_attn_scratch *w) {
    const fc_attn_args *a = b->a;
    const int P = a->kv->shape.P, E = a->kv->shape.E, n = b->q1 - b->q0, per_group = a->H / a->kv->shape.G;
    ahead next;
    const bool gathered = b->item->gather >= 0;
    int last = -1, since = INT32_MAX, tile = b->item->tile, end = tile + b->item->n_tiles, first = tile * TILE;
    for (int i = 0; i < n; i++) {
        int t = a->item_rows[b->item->row + (b->q0 + i) / per_group], h = b->g * per_group + (b->q0 + i) % per_group;
        w->q[i] = a->q + (size_t)t * (size_t)a->ldq + (size_t)h * (size_t)E;
        if (a->kv->shape.type == FC_BF16) {
            float *rounded = w->q_rounded + (size_t)i * (size_t)E;
            for (int e = 0; e < E; e += V_LANES) v_store_rounded(rounded, e, v_load(w->q[i] + e));
            w->q[i] = rounded;
        }
        if (a->kv->shape.type == FC_I8) {
            float *codes = w->q_rounded + (size_t)i * (size_t)E;
            query_codes(w->q[i], E, codes, w->q_scale + i, w->q_start + i);
            w->q[i] = codes;
        }
        w->pos[i] = a->pos[t];
        last = a->pos[t] > last ? a->pos[t] : last;
        since = a->pos[t] < since ? a->pos[t] : since;
        w->run_m[i] = w->tot_m[i] = -INFINITY;
        w->tot_l[i] = 0.0f;
    }
    /* the first position that any row sees */
    since = a->window > 0 && since - a->window + 1 > 0 ? since - a->window + 1 : 0;
    if (tile < since / TILE) tile = since / TILE;
    for (; tile < end && tile * TILE <= last; tile++) {
        int t0 = tile * TILE, lo = since > t0 ? since - t0 : 0, hi = last - t0 + 1 < TILE ? last - t0 + 1 : TILE;
        gather(a, gathered ? NULL : a->pages + b->item->pages + t0 / P,
               gathered ? a->slots + b->item->gather + (t0 - first) : NULL, b->g, lo, hi, w);
        next = (ahead){0};
        if (!gathered && n > MICRO && tile + 1 < end &&
            t0 + 2 * TILE - P <= last) /* not for a tile whose pages are not all there */
            next = ahead_of(a, a->pages + b->item->pages + (t0 + TILE) / P, b->g, 2 * n);
        for (int i = 0; i < n; i += MICRO) micro_block(a, i, n - i < MICRO ? n - i : MICRO, t0, w, &next);
        if (tile % FC_ATTN_RUN == FC_ATTN_RUN - 1) close_run(n, E, w);
    }
    close_run(n, E, w);
    block_write(b, n, w);
}

static void attn_fold(const fc_attn_args *a, int f, int h, const fc_attn_scratch *w) {
    const int E = a->kv->shape.E;
    w->run_m[0] = w->tot_m[0] = -INFINITY;
    w->tot_l[0] = 0.0f;
    for (int i = a->fold_off[f]; i < a->fold_off[f + 1]; i++) {
        int slot = a->fold_slot[i] & ~FC_ATTN_NEW_RUN;
        const float *p = a->part + ((size_t)slot * (size_t)a->H + (size_t)h) * (size_t)(E + 2);
        if (a->fold_slot[i] & FC_ATTN_NEW_RUN) close_run(1, E, w);
        fold_state(w->run_o, &w->run_m[0], &w->run_l[0], p, p[E], p[E + 1], E);
    }
    close_run(1, E, w);
    write_row(a->y + ((size_t)a->fold_row[f] * (size_t)a->H + (size_t)h) * (size_t)E, w->tot_o, w->tot_m[0],
              w->tot_l[0], E);
}
