/* The filters work on a list of (id, logit, weight). Before a list is made, ids that no filter could keep are left out
 * by a lower bound on the logit, so that a long vocabulary costs one pass over tile maxima and little else. */
#include "kernels/draw/draw_row.h"

#include <float.h>
#include <math.h>

/* The logit below which a weight is certainly under w (0 < w): w's own logit, less a margin for rounding. */
static float logit_under(const fc_draw_dist *d, double w) {
    double x = (double)d->max + (log(w) - 1e-3) / (double)d->scale;
    return (float)(x - 1e-6 * fabs(x));
}

/* Every id with a weight is at or above the bound, or the filters would drop it anyway. *total: mass of the row when
 * only top-p or typical-p ask for it, else untouched. */
static float lower_bound(fc_draw_dist *d, fc_draw_scratch *m, double *total) {
    const fc_draw_row *r = d->r;
    float bound = -FLT_MAX;
    if (r->top_k > 0) {
        float b;
        if (!d->x) return bound;
        b = fc_best_bound(m->top, d->n_tiles, r->top_k, m->key, m->digits);
        return b > bound ? b : bound;
    }
    if (r->typical_p < 1.0f) return bound;
    if (r->top_p < 1.0f) {
        /* V ids, each under (1-p)/2V of the mass, cannot hold the last 1-p of it. */
        *total = fc_draw_tiles(d, m);
        return logit_under(d, 0.5 * (1.0 - (double)r->top_p) * *total / d->V);
    }
    return r->min_p > 0.0f ? logit_under(d, (double)r->min_p) : bound;
}

/* The list shortened to what the cut keeps. Written always, counted when kept: no branch to guess. */
static void keep_cut(fc_draw_dist *d, fc_draw_scratch *m, fc_best_cut cut) {
    int n = 0;
    for (int i = 0; i < d->list.n; i++) {
        m->id[n] = m->id[i];
        m->value[n] = m->value[i];
        m->w[n] = m->w[i];
        n += fc_best_keeps(&cut, m->key[i]);
    }
    d->list.n = n;
}

static void key_by_value(const fc_draw_dist *d, fc_draw_scratch *m) {
    for (int i = 0; i < d->list.n; i++) m->key[i] = fc_best_key(m->value[i]);
}

/* Weights of the list; ids whose weight underflows to 0 could never be drawn and leave it. */
static void weigh(fc_draw_dist *d, fc_draw_scratch *m) {
    int n = 0;
    float w[FC_TILE];
    for (int i = 0; i < d->list.n; i += FC_TILE) {
        int k = d->list.n - i < FC_TILE ? d->list.n - i : FC_TILE;
        d->tiler.ops->weights(m->value + i, k, d->max, d->scale, w);
        for (int j = 0; j < k; j++) {
            m->id[n] = m->id[i + j];
            m->value[n] = m->value[i + j];
            m->w[n] = w[j];
            n += w[j] > 0.0f;
        }
    }
    d->list.n = n;
}

static double mass(const fc_draw_dist *d, const fc_draw_scratch *m) {
    double sum = 0.0;
    for (int i = 0; i < d->list.n; i++) sum += (double)m->w[i];
    return sum;
}

/* With y = log weight, -log p - H = mean(y) - y: the normaliser falls out. */
static void typical(fc_draw_dist *d, fc_draw_scratch *m, double p) {
    double total = mass(d, m), mean = 0.0;
    for (int i = 0; i < d->list.n; i++)
        mean += (double)m->w[i] * (((double)m->value[i] - (double)d->max) * (double)d->scale);
    mean /= total;
    for (int i = 0; i < d->list.n; i++) {
        double y = ((double)m->value[i] - (double)d->max) * (double)d->scale;
        m->key[i] = ~fc_best_key((float)fabs(mean - y)); /* smallest first */
    }
    keep_cut(d, m, fc_best_find(m->key, m->w, d->list.n, fmax(p * total, DBL_MIN), m->digits));
}

/* fc_best_collect from a list. */
static int shorten(const fc_id_list *l, float bound, int32_t *id, float *value) {
    int n = 0;
    for (int i = 0; i < l->n; i++) {
        id[n] = l->id[i];
        value[n] = l->value[i];
        n += l->value[i] >= bound;
    }
    return n;
}

void fc_draw_filter(fc_draw_dist *d, fc_draw_scratch *m) {
    const fc_draw_row *r = d->r;
    double total = 0.0;
    float bound = lower_bound(d, m, &total), most = 0.0f;
    int n;
    if (d->x) n = fc_best_collect(d->x, d->V, m->top, bound, m->id, m->value);
    else n = shorten(&d->list, bound, m->id, m->value);
    d->list = (fc_id_list){m->id, m->value, n};
    d->x = NULL;
    if (r->top_k > 0 && r->top_k < d->list.n) {
        key_by_value(d, m);
        keep_cut(d, m, fc_best_find(m->key, NULL, d->list.n, r->top_k, m->digits));
    }
    weigh(d, m);
    if (r->typical_p < 1.0f) typical(d, m, (double)r->typical_p);
    if (r->top_p < 1.0f) {
        if (total == 0.0) total = mass(d, m);
        key_by_value(d, m);
        keep_cut(d, m, fc_best_find(m->key, m->w, d->list.n, fmax((double)r->top_p * total, DBL_MIN), m->digits));
    }
    for (int i = 0; i < d->list.n; i++) most = m->w[i] > most ? m->w[i] : most;
    if (r->min_p > 0.0f) {
        float least = r->min_p * most;
        n = 0;
        for (int i = 0; i < d->list.n; i++) {
            m->id[n] = m->id[i];
            m->value[n] = m->value[i];
            n += m->w[i] >= least;
        }
        d->list.n = n;
    }
}
