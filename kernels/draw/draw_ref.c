/* The steps of draw.h one after another on whole rows, in double, each filter by a full sort. */
#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "kernels/draw/draw.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

typedef struct {
    double key; /* small first */
    double p;
    int id;
} entry;

static int by_key_then_id(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* p = softmax of l; excluded ids have l = -inf and p = 0. Returns how many are left. */
static int softmax(const double *l, double *p, int V) {
    double max = -INFINITY, sum = 0.0;
    int n = 0;
    for (int i = 0; i < V; i++) max = fmax(max, l[i]);
    for (int i = 0; i < V; i++) sum += p[i] = l[i] > -INFINITY ? exp(l[i] - max) : 0.0;
    for (int i = 0; i < V; i++) {
        p[i] /= sum;
        n += l[i] > -INFINITY;
    }
    return n;
}

/* Excludes all but the shortest prefix, in the order of key(i), that has `count` ids or mass `mass`. */
static void keep_prefix(double *l, const double *p, const double *key, int V, int count, double mass, entry *e) {
    double sum = 0.0;
    int n = 0, kept = 0;
    for (int i = 0; i < V; i++)
        if (l[i] > -INFINITY) e[n++] = (entry){key[i], p[i], i};
    qsort(e, (size_t)n, sizeof *e, by_key_then_id);
    while (kept < n && kept < count && (kept == 0 || sum < mass)) sum += e[kept++].p;
    for (int i = kept; i < n; i++) l[e[i].id] = -INFINITY;
}

typedef struct {
    double *l, *p, *key, *logits; /* [V] each */
    entry *e;                     /* [V] */
} room;

static void filters(const fc_draw_row *r, int V, const room *m) {
    double entropy = 0.0, largest = 0.0;
    int n = softmax(m->l, m->p, V);
    if (r->top_k > 0) {
        for (int i = 0; i < V; i++) m->key[i] = -m->l[i];
        keep_prefix(m->l, m->p, m->key, V, r->top_k, INFINITY, m->e);
        n = softmax(m->l, m->p, V);
    }
    if (r->typical_p < 1.0f) {
        for (int i = 0; i < V; i++) entropy -= m->p[i] > 0.0 ? m->p[i] * log(m->p[i]) : 0.0;
        for (int i = 0; i < V; i++) m->key[i] = m->p[i] > 0.0 ? fabs(-log(m->p[i]) - entropy) : INFINITY;
        keep_prefix(m->l, m->p, m->key, V, n, (double)r->typical_p, m->e);
        n = softmax(m->l, m->p, V);
    }
    if (r->top_p < 1.0f) {
        for (int i = 0; i < V; i++) m->key[i] = -m->l[i];
        keep_prefix(m->l, m->p, m->key, V, n, (double)r->top_p, m->e);
        softmax(m->l, m->p, V);
    }
    for (int i = 0; i < V; i++) largest = fmax(largest, m->p[i]);
    for (int i = 0; i < V; i++)
        if (m->p[i] < (double)r->min_p * largest) m->l[i] = -INFINITY;
    softmax(m->l, m->p, V);
}

/* The row as it came: of a list, every other id is -inf. */
static void read_logits(const fc_draw_args *a, const fc_draw_row *r, double *l) {
    for (int i = 0; i < a->V; i++)
        l[i] = r->n_ids ? -INFINITY : (double)a->logits[(size_t)r->row * (size_t)a->V + (size_t)i];
    for (int i = 0; i < r->n_ids; i++) l[a->list_id[r->ids + i]] = (double)a->list_value[r->values + i];
}

static void refuse(const fc_draw_args *a, const fc_draw_row *r, fc_row_state st) {
    for (int i = r->member; i < r->member + r->n_members; i++) {
        a->token[i] = -(int32_t)st;
        a->logprob[i] = NAN;
    }
}

static fc_row_state row_ref(const fc_draw_args *a, const fc_draw_row *r, const room *m) {
    double lse;
    int best = 0, n;
    read_logits(a, r, m->l);
    for (int i = 0; i < a->V; i++) {
        m->logits[i] = m->l[i];
        if (!(m->l[i] < INFINITY)) return FC_ROW_BROKEN;
    }
    n = softmax(m->l, m->p, a->V);
    if (n == 0) return FC_ROW_EMPTY;
    for (int i = 1; i < a->V; i++) best = m->l[i] > m->l[best] ? i : best;
    lse = m->l[best] - log(m->p[best]);
    for (int i = r->bias; i < r->bias + r->n_bias; i++) m->l[a->bias_id[i]] += (double)a->bias_value[i];
    for (int i = r->seen; i < r->seen + r->n_seen; i++) {
        double *l = m->l + a->seen_id[i], count = a->seen_count[i];
        *l = *l > 0.0 ? *l / (double)r->repetition : *l * (double)r->repetition;
        *l -= (double)r->frequency * count + (count > 0.0 ? (double)r->presence : 0.0);
    }
    best = 0;
    for (int i = 0; i < a->V; i++) {
        if (!(m->l[i] < INFINITY)) return FC_ROW_CHANGED_BROKEN;
        best = m->l[i] > m->l[best] ? i : best;
    }
    if (m->l[best] == -INFINITY) return FC_ROW_CHANGED_EMPTY;
    if (r->temperature > 0.0f) {
        for (int i = 0; i < a->V; i++) m->l[i] /= (double)r->temperature;
        filters(r, a->V, m);
    }
    for (int i = r->member; i < r->member + r->n_members; i++) {
        const fc_draw_member *k = a->members + i;
        double u = fc_rng_uniform(k->seed, k->candidate, k->attempt, k->position), sum = 0.0;
        int id = best;
        if (r->temperature > 0.0f)
            for (int j = 0; j < a->V && sum <= u; j++) {
                sum += m->p[j];
                if (m->p[j] > 0.0) id = j; /* when rounding keeps the sum below u: the last id that has a weight */
            }
        a->token[i] = id;
        a->logprob[i] = (float)(m->logits[id] - lse);
    }
    return FC_ROW_OK;
}

fc_status fc_draw_ref(fc_stream s, const fc_draw_args *a) {
    size_t V = (size_t)a->V;
    fc_status st = FC_OK;
    void *doubles = NULL, *entries = NULL;
    (void)s; /* the CPU has one queue: program order */
    FC_TRY(fc_alloc(4 * V, sizeof(double), "draw_ref", &doubles));
    FC_TRY_GOTO(st, fc_alloc(V, sizeof(entry), "draw_ref", &entries), end);
    {
        double *d = doubles;
        room m = {d, d + V, d + 2 * V, d + 3 * V, entries};
        for (int i = 0; i < a->n_rows; i++) {
            fc_row_state row = row_ref(a, a->rows + i, &m);
            if (row) refuse(a, a->rows + i, row);
        }
    }
end:
    fc_free(entries);
    fc_free(doubles);
    return st;
}
