#include "engine/model.h"

#include "engine/base/mem.h"
#include "engine/base/quant.h"

#include <stdio.h>

static fc_status put_floats(fc_model *m, const float *host, int n, const float **out) {
    float *dev = m->vectors + m->vectors_used;
    FC_ASSERT(m->vectors_used + (size_t)n <= m->vectors_cap);
    FC_TRY(m->be->upload(m->be, dev, host, (size_t)n * sizeof *host));
    m->vectors_used += ((size_t)n + 15) & ~(size_t)15; /* 64-byte steps */
    *out = dev;
    return FC_OK;
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

/* One to three tensors of K columns, stacked. */
typedef struct {
    const char *name;
    int N;
} stack_part;

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

static fc_status load_matrix(fc_model *m, const fc_weights *w, int layer, const stack_part *parts, int n, int K,
                             fc_weight **packed) {
    fc_weight_part p[3];
    char names[3][64];
    void *own[3] = {NULL};
    fc_status st = FC_OK;
    for (int i = 0; i < n; i++) {
        const fc_tensor *t;
        if (layer >= 0) snprintf(names[i], sizeof names[i], "blk.%d.%s.weight", layer, parts[i].name);
        else snprintf(names[i], sizeof names[i], "%s.weight", parts[i].name);
        FC_TRY_GOTO(st, fc_weights_need(w, names[i], parts[i].N, K, &t), out);
        p[i] = (fc_weight_part){.name = names[i], .dtype = t->dtype, .N = parts[i].N, .K = K};
        p[i].scale = t->scale;
        p[i].scale_rows = (int)t->scale_rows; /* at most INT_MAX: N, K, or checked with the configuration */
        p[i].scale_cols = (int)t->scale_cols;
        FC_TRY_GOTO(st, rows_of(t, &p[i].data, &own[i]), out);
    }
    FC_TRY_GOTO(st, m->be->weight_pack(m->be->stream, p, n, packed), out);
    m->bytes += (*packed)->bytes;
out:
    for (int i = 0; i < n; i++) fc_free(own[i]);
    return st;
}

static fc_status load_biases(fc_model *m, const fc_weights *w, int layer, fc_layer *l) {
    const fc_model_config *c = &m->cfg;
    const struct {
        const char *name;
        int n;
    } parts[3] = {{"attn_q", c->H * c->E}, {"attn_k", c->G * c->E}, {"attn_v", c->G * c->E}};
    char name[64];
    if (c->qkv_bias) {
        /* one buffer, because the matrix is one */
        float *host;
        void *p;
        int at = 0;
        fc_status st = FC_OK;
        FC_TRY(fc_alloc((size_t)(c->H + 2 * c->G) * (size_t)c->E, sizeof *host, "bias", &p));
        host = p;
        for (int i = 0; i < 3 && !st; i++) {
            const fc_tensor *t;
            snprintf(name, sizeof name, "blk.%d.%s.bias", layer, parts[i].name);
            st = fc_weights_need(w, name, 1, parts[i].n, &t);
            if (!st) st = fc_dequant_row(t->dtype, t->data, host + at, (size_t)parts[i].n);
            at += parts[i].n;
        }
        if (!st) st = put_floats(m, host, at, &l->qkv_bias);
        fc_free(host);
        FC_TRY(st);
    }
    if (c->out_bias) {
        snprintf(name, sizeof name, "blk.%d.attn_output.bias", layer);
        FC_TRY(load_vector(m, w, name, c->D, false, &l->o_bias));
    }
    return FC_OK;
}

static fc_status load_norm(fc_model *m, const fc_weights *w, int layer, const char *part, int n, const float **out) {
    char name[64];
    snprintf(name, sizeof name, "blk.%d.%s.weight", layer, part);
    return load_vector(m, w, name, n, m->cfg.norm_plus_one, out);
}

static fc_status load_layer(fc_model *m, const fc_weights *w, int i) {
    const fc_model_config *c = &m->cfg;
    fc_layer *l = &m->layers[i];
    int q = c->H * c->E, kv = c->G * c->E;
    l->local = c->local[i];
    FC_TRY(load_matrix(m, w, i, (stack_part[]){{"attn_q", q}, {"attn_k", kv}, {"attn_v", kv}}, 3, c->D, &l->qkv));
    FC_TRY(load_matrix(m, w, i, (stack_part[]){{"attn_output", c->D}}, 1, q, &l->o));
    FC_TRY(load_matrix(m, w, i, (stack_part[]){{"ffn_gate", c->F}, {"ffn_up", c->F}}, 2, c->D, &l->gate_up));
    FC_TRY(load_matrix(m, w, i, (stack_part[]){{"ffn_down", c->D}}, 1, c->F, &l->down));
    FC_TRY(load_biases(m, w, i, l));
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
    m->vectors_cap = count_vectors(&m->cfg);
    FC_TRY_GOTO(st, fc_alloc((size_t)m->cfg.L, sizeof *m->layers, "layers", &p), fail);
    m->layers = p;
    FC_TRY_GOTO(st, be->alloc(be, m->vectors_cap * sizeof(float), "model vectors", &p), fail);
    m->vectors = p;
    m->bytes = m->vectors_cap * sizeof(float);
    FC_TRY_GOTO(st, load_matrix(m, w, -1, (stack_part[]){{"token_embd", m->cfg.V}}, 1, m->cfg.D, &m->embed), fail);
    if (m->cfg.tied) m->head = m->embed;
    else FC_TRY_GOTO(st, load_matrix(m, w, -1, (stack_part[]){{"output", m->cfg.V}}, 1, m->cfg.D, &m->head), fail);
    if (m->cfg.reward_head)
        FC_TRY_GOTO(st, load_matrix(m, w, -1, (stack_part[]){{"score", 1}}, 1, m->cfg.D, &m->reward), fail);
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
