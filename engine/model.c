#include "engine/model.h"

#include "engine/base/mem.h"
#include "engine/base/quant.h"
#include "engine/split.h"

#include <stdio.h>
#include <string.h>

/* Room for n floats, on every rank. */
static float *take_floats(fc_model *m, int n) {
    float *dev = m->vectors + m->vectors_used;
    FC_ASSERT(m->vectors_used + (size_t)n <= m->vectors_cap);
    m->vectors_used += ((size_t)n + 15) & ~(size_t)15; /* 64-byte steps */
    return dev;
}

static fc_status put_floats(fc_model *m, const float *host, int n, const float **out) {
    float *dev = take_floats(m, n);
    FC_TRY(m->be->upload(m->be, dev, host, (size_t)n * sizeof *host));
    *out = dev;
    return FC_OK;
}

/* n floats of one rank, at a place that it has taken on all. */
static fc_status put_rank(fc_model *m, int rank, float *dev, const float *host, int n) {
    if (m->be->ranks == 1) return m->be->upload(m->be, dev, host, (size_t)n * sizeof *host);
    return m->be->upload_to(m->be, rank, dev, host, (size_t)n * sizeof *host);
}

/* A vector of n elements as f32 on the backend. */
static fc_status load_vector(fc_model *m, const fc_weights *w, const char *name, int n, bool plus_one,
                             const float **out) {
    const fc_tensor *t;
    float *host;
    void *p;
    fc_status st;
    FC_TRY(fc_weights_need(w, name, 1, n, &t));
    FC_TRY(fc_alloc((size_t)n, sizeof *host, name, &p));
    host = p;
    st = fc_dequant_row(t->dtype, t->data, host, (size_t)n);
    if (!st && plus_one)
        for (int i = 0; i < n; i++) host[i] += 1.0f;
    if (!st) st = put_floats(m, host, n, out);
    fc_free(host);
    return st;
}

enum { PARTS = 3 };

/* One to three tensors of K columns, stacked. */
typedef struct {
    const char *name;
    int N;
    fc_split rows; /* what of them is a rank's */
} stack_part;

/* A matrix of n such parts, of which a rank has these columns. */
typedef struct {
    const stack_part *parts;
    int n, K;
    fc_split columns;
} stack;

/* A matrix's rows where they lie, or made from a packed one; *own is to be freed. */
static fc_status rows_of(const fc_tensor *t, const void **data, void **own) {
    size_t row;
    *data = t->data;
    if (!t->packed) return FC_OK;
    FC_TRY(fc_dtype_row_bytes(t->dtype, (size_t)t->K, &row));
    FC_TRY(fc_alloc((size_t)t->N, row, t->name, own));
    *data = *own;
    return fc_tensor_rows(t, 0, t->N, *own);
}

/* A rank's part of a part; *own is to be freed. */
static fc_status split_part(const fc_model *m, const stack *s, int i, int rank, const fc_weight_part *whole,
                            fc_weight_part *out, void **own) {
    const int ranks = m->be->ranks;
    const fc_split rows = s->parts[i].rows;
    *out = *whole;
    if (ranks == 1) return FC_OK;
    if (s->columns) return fc_split_columns(whole, fc_split_of(&m->cfg, s->columns, ranks, rank), out, own);
    if (!rows) return FC_OK;
    FC_TRY(fc_split_rows(whole, fc_split_of(&m->cfg, rows, ranks, rank), out));
    if (rows == FC_SPLIT_VOCAB && out->N < whole->N) {
        out->first = fc_split_of(&m->cfg, rows, ranks, rank).first;
        out->of = whole->N;
    }
    return FC_OK;
}

static fc_status load_matrix(fc_model *m, const fc_weights *w, int layer, const stack *s, fc_weight **packed) {
    fc_weight_part whole[PARTS], p[FC_RANKS_MAX * PARTS];
    char names[PARTS][64];
    void *own[PARTS] = {NULL}, *cut[FC_RANKS_MAX * PARTS] = {NULL};
    fc_status st = FC_OK;
    for (int i = 0; i < s->n; i++) {
        const fc_tensor *t;
        if (layer >= 0) snprintf(names[i], sizeof names[i], "blk.%d.%s.weight", layer, s->parts[i].name);
        else snprintf(names[i], sizeof names[i], "%s.weight", s->parts[i].name);
        FC_TRY_GOTO(st, fc_weights_need(w, names[i], s->parts[i].N, s->K, &t), out);
        whole[i] = (fc_weight_part){.name = names[i], .dtype = t->dtype, .N = s->parts[i].N, .K = s->K};
        whole[i].scale = t->scale;
        whole[i].scale_rows = (int)t->scale_rows; /* at most INT_MAX: N, K, or checked with the configuration */
        whole[i].scale_cols = (int)t->scale_cols;
        FC_TRY_GOTO(st, rows_of(t, &whole[i].data, &own[i]), out);
    }
    for (int r = 0; r < m->be->ranks; r++)
        for (int i = 0; i < s->n; i++) {
            const int at = r * s->n + i;
            FC_TRY_GOTO(st, split_part(m, s, i, r, &whole[i], &p[at], &cut[at]), out);
        }
    FC_TRY_GOTO(st, m->be->weight_pack(m->be->stream, p, s->n, packed), out);
    m->bytes += (*packed)->bytes;
out:
    for (int i = 0; i < FC_RANKS_MAX * PARTS; i++) fc_free(cut[i]);
    for (int i = 0; i < PARTS; i++) fc_free(own[i]);
    return st;
}

static fc_status load_one(fc_model *m, const fc_weights *w, const char *name, int N, fc_split rows,
                          fc_weight **packed) {
    return load_matrix(m, w, -1, &(stack){&(stack_part){name, N, rows}, 1, m->cfg.D, FC_SPLIT_NONE}, packed);
}

/* One buffer of three biases, because the matrix is one: a rank's part of each. */
static fc_status load_qkv_bias(fc_model *m, const fc_weights *w, int layer, const float **out) {
    const fc_model_config *c = &m->cfg;
    const struct {
        const char *name;
        int n;
        fc_split split;
    } parts[PARTS] = {{"attn_q", c->H * c->E, FC_SPLIT_HEADS},
                      {"attn_k", c->G * c->E, FC_SPLIT_KV},
                      {"attn_v", c->G * c->E, FC_SPLIT_KV}};
    const int all = (c->H + 2 * c->G) * c->E, each = (m->H + 2 * m->G) * c->E;
    float *host, *own, *dev;
    int at = 0;
    fc_status st = FC_OK;
    void *p;
    FC_TRY(fc_alloc((size_t)(all + each), sizeof *host, "bias", &p));
    host = p;
    own = host + all;
    dev = take_floats(m, each);
    for (int i = 0; i < PARTS && !st; i++) {
        const fc_tensor *t;
        char name[64];
        snprintf(name, sizeof name, "blk.%d.%s.bias", layer, parts[i].name);
        st = fc_weights_need(w, name, 1, parts[i].n, &t);
        if (!st) st = fc_dequant_row(t->dtype, t->data, host + at, (size_t)parts[i].n);
        at += parts[i].n;
    }
    for (int r = 0; r < m->be->ranks && !st; r++) {
        int from = 0, to = 0;
        for (int i = 0; i < PARTS; i++) {
            const fc_split_range range = fc_split_of(c, parts[i].split, m->be->ranks, r);
            memcpy(own + to, host + from + range.first, (size_t)range.n * sizeof *own);
            from += parts[i].n;
            to += range.n;
        }
        st = put_rank(m, r, dev, own, each);
    }
    fc_free(host);
    if (!st) *out = dev;
    return st;
}

/* Ranks add up what they make of their columns: the first adds the bias, the others zeroes. */
static fc_status load_out_bias(fc_model *m, const fc_weights *w, int layer, const float **out) {
    const int D = m->cfg.D;
    float *host, *dev = take_floats(m, D);
    const fc_tensor *t;
    char name[64];
    void *p;
    fc_status st;
    snprintf(name, sizeof name, "blk.%d.attn_output.bias", layer);
    FC_TRY(fc_weights_need(w, name, 1, D, &t));
    FC_TRY(fc_alloc((size_t)D, sizeof *host, name, &p));
    host = p;
    st = fc_dequant_row(t->dtype, t->data, host, (size_t)D);
    for (int r = 0; r < m->be->ranks && !st; r++) {
        st = put_rank(m, r, dev, host, D);
        memset(host, 0, (size_t)D * sizeof *host);
    }
    fc_free(host);
    if (!st) *out = dev;
    return st;
}

static fc_status load_norm(fc_model *m, const fc_weights *w, int layer, const char *part, int n, const float **out) {
    char name[64];
    snprintf(name, sizeof name, "blk.%d.%s.weight", layer, part);
    return load_vector(m, w, name, n, m->cfg.norm_plus_one, out);
}

static fc_status load_layer(fc_model *m, const fc_weights *w, int i) {
    const fc_model_config *c = &m->cfg;
    fc_layer *l = &m->layers[i];
    const int q = c->H * c->E, kv = c->G * c->E;
    const stack_part in[] = {{"attn_q", q, FC_SPLIT_HEADS}, {"attn_k", kv, FC_SPLIT_KV}, {"attn_v", kv, FC_SPLIT_KV}};
    const stack_part out[] = {{"attn_output", c->D, FC_SPLIT_NONE}};
    const stack_part up[] = {{"ffn_gate", c->F, FC_SPLIT_HIDDEN}, {"ffn_up", c->F, FC_SPLIT_HIDDEN}};
    const stack_part down[] = {{"ffn_down", c->D, FC_SPLIT_NONE}};
    l->local = c->local[i];
    FC_TRY(load_matrix(m, w, i, &(stack){in, 3, c->D, FC_SPLIT_NONE}, &l->qkv));
    FC_TRY(load_matrix(m, w, i, &(stack){out, 1, q, FC_SPLIT_HEADS}, &l->o));
    FC_TRY(load_matrix(m, w, i, &(stack){up, 2, c->D, FC_SPLIT_NONE}, &l->gate_up));
    FC_TRY(load_matrix(m, w, i, &(stack){down, 1, c->F, FC_SPLIT_HIDDEN}, &l->down));
    if (c->qkv_bias) FC_TRY(load_qkv_bias(m, w, i, &l->qkv_bias));
    if (c->out_bias) FC_TRY(load_out_bias(m, w, i, &l->o_bias));
    FC_TRY(load_norm(m, w, i, "attn_norm", c->D, &l->attn_norm));
    FC_TRY(load_norm(m, w, i, "ffn_norm", c->D, &l->ffn_norm));
    if (c->post_norms) {
        FC_TRY(load_norm(m, w, i, "post_attention_norm", c->D, &l->post_attn_norm));
        FC_TRY(load_norm(m, w, i, "post_ffw_norm", c->D, &l->post_ffn_norm));
    }
    if (c->qk_norm) {
        FC_TRY(load_norm(m, w, i, "attn_q_norm", c->E, &l->q_norm));
        FC_TRY(load_norm(m, w, i, "attn_k_norm", c->E, &l->k_norm));
    }
    return FC_OK;
}

static fc_status load_rope(fc_model *m, const fc_weights *w) {
    const fc_model_config *c = &m->cfg;
    int half = c->rope_dim / 2;
    float freq[512], divisors[512];
    bool divided = false;
    if (half < 1 || half > 512)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: rotary dimension %d; 2 to 1024 are possible", fc_weights_path(w),
                       c->rope_dim);
    if (c->rope_freqs_tensor) {
        const fc_tensor *t;
        FC_TRY(fc_weights_need(w, "rope_freqs.weight", 1, half, &t));
        FC_TRY(fc_dequant_row(t->dtype, t->data, divisors, (size_t)half));
        for (int i = 0; i < half; i++)
            if (!(divisors[i] > 0))
                return FC_FAIL(FC_ERR_FORMAT, "%s: tensor rope_freqs.weight: element %d is %g; it divides a frequency",
                               fc_weights_path(w), i, (double)divisors[i]);
        divided = true;
    }
    for (int local = 0; local < 2; local++) {
        fc_rope_frequencies(c, local, divided ? divisors : NULL, freq, &m->mscale[local]);
        FC_TRY(put_floats(m, freq, half, &m->inv_freq[local]));
    }
    return FC_OK;
}

/* Floats that all vectors take, each rounded up to 16. */
static size_t count_vectors(const fc_model_config *c) {
    size_t D = ((size_t)c->D + 15) & ~(size_t)15, E = ((size_t)c->E + 15) & ~(size_t)15;
    size_t qkv = ((size_t)(c->H + 2 * c->G) * (size_t)c->E + 15) & ~(size_t)15;
    size_t half = ((size_t)c->rope_dim / 2 + 15) & ~(size_t)15;
    return (size_t)c->L * (5 * D + qkv + 2 * E) + D + 2 * half;
}

fc_status fc_model_open(const fc_weights *w, fc_backend *be, void (*edit)(fc_model_config *cfg, void *arg), void *arg,
                        fc_model **out) {
    fc_status st = FC_OK;
    fc_model *m;
    void *p;
    FC_TRY(fc_alloc(1, sizeof *m, "model", &p));
    m = p;
    m->be = be;
    m->path = fc_weights_path(w);
    m->cfg = *fc_weights_config(w);
    if (edit) edit(&m->cfg, arg);
    if (m->cfg.E % 16 || m->cfg.E > 256) {
        st = FC_FAIL(FC_ERR_UNSUPPORTED, "%s: head dimension %d; multiples of 16 up to 256 are supported",
                     fc_weights_path(w), m->cfg.E);
        goto fail;
    }
    FC_TRY_GOTO(st, fc_split_check(&m->cfg, be->ranks), fail);
    m->H = fc_split_heads(&m->cfg, be->ranks);
    m->G = fc_split_kv_heads(&m->cfg, be->ranks);
    m->F = fc_split_hidden(&m->cfg, be->ranks);
    m->vectors_cap = count_vectors(&m->cfg);
    FC_TRY_GOTO(st, fc_alloc((size_t)m->cfg.L, sizeof *m->layers, "layers", &p), fail);
    m->layers = p;
    FC_TRY_GOTO(st, be->alloc(be, m->vectors_cap * sizeof(float), "model vectors", &p), fail);
    m->vectors = p;
    m->bytes = m->vectors_cap * sizeof(float);
    FC_TRY_GOTO(st, load_one(m, w, "token_embd", m->cfg.V, FC_SPLIT_VOCAB, &m->embed), fail);
    if (m->cfg.tied) m->head = m->embed;
    else FC_TRY_GOTO(st, load_one(m, w, "output", m->cfg.V, FC_SPLIT_VOCAB, &m->head), fail);
    if (m->cfg.reward_head) FC_TRY_GOTO(st, load_one(m, w, "score", 1, FC_SPLIT_NONE, &m->reward), fail);
    FC_TRY_GOTO(st, load_vector(m, w, "output_norm.weight", m->cfg.D, m->cfg.norm_plus_one, &m->out_norm), fail);
    FC_TRY_GOTO(st, load_rope(m, w), fail);
    for (int i = 0; i < m->cfg.L; i++) FC_TRY_GOTO(st, load_layer(m, w, i), fail);
    *out = m;
    return FC_OK;
fail:
    fc_model_close(m);
    return st;
}

void fc_model_close(fc_model *m) {
    fc_backend *be;
    if (!m) return;
    be = m->be;
    for (int i = 0; m->layers && i < m->cfg.L; i++) {
        be->weight_free(m->layers[i].down);
        be->weight_free(m->layers[i].gate_up);
        be->weight_free(m->layers[i].o);
        be->weight_free(m->layers[i].qkv);
    }
    be->weight_free(m->reward);
    if (m->head != m->embed) be->weight_free(m->head);
    be->weight_free(m->embed);
    be->free(be, m->vectors);
    fc_free(m->layers);
    fc_free(m);
}

static void raise_to(int *a, int b) {
    if (*a < b) *a = b;
}

void fc_model_limits(const fc_model_config *c, int max_rows, fc_op_limits *l) {
    raise_to(&l->rows, max_rows);
    raise_to(&l->cols, c->D);
    raise_to(&l->cols, c->F);
    raise_to(&l->cols, c->H * c->E);
    raise_to(&l->vocab, c->V);
    raise_to(&l->heads, c->H);
    raise_to(&l->head_dim, c->E);
}
