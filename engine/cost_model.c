#include "engine/cost_model.h"

#include "engine/base/mem.h"
#include "engine/choose.h"
#include "engine/lane.h"
#include "kernels/linear/linear_load.h"
#include "weights_tools/weights.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    const char *name;
    int N;
} stack_part;

static bool weights_type(const char *name, fc_dtype *out) {
    static const struct {
        const char *name;
        fc_dtype type;
    } types[] = {{"bf16", FC_BF16}, {"fp8", FC_F8}, {"int8", FC_Q8_0}, {"int4", FC_Q4_0}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(name, types[i].name) == 0) {
            *out = types[i].type;
            return true;
        }
    return false;
}

static fc_status read_matrix(const fc_weights *w, const char *weights, int at, const stack_part *parts, int n, int K,
                             fc_cost_matrix *out) {
    char name[64];
    memset(out, 0, sizeof *out); /* padding too: layers are compared as bytes */
    out->K = K;
    for (int i = 0; i < n; i++) {
        const fc_tensor *t;
        fc_dtype type;
        fc_scales scales;
        bool joins;
        if (at >= 0) snprintf(name, sizeof name, "blk.%d.%s.weight", at, parts[i].name);
        else snprintf(name, sizeof name, "%s.weight", parts[i].name);
        FC_TRY(fc_weights_need(w, name, parts[i].N, K, &t));
        type = t->dtype;
        scales = !t->scale ? FC_SCALES_NONE : (int)t->scale_cols >= K ? FC_SCALES_ROWS : FC_SCALES_BLOCKS;
        if (weights) {
            if (!weights_type(weights, &type))
                return FC_FAIL(FC_ERR_ARG, "weights: \"%.20s\"; bf16, fp8, int8 and int4 are possible", weights);
            if ((size_t)K % fc_dtype_block(type)) type = FC_F16; /* as convert leaves it */
            scales = type == FC_F8 ? FC_SCALES_ROWS : FC_SCALES_NONE;
        }
        joins = out->n && out->part[out->n - 1].type == type && out->part[out->n - 1].scales == scales &&
                out->part[out->n - 1].N % 16 == 0;
        if (joins) out->part[out->n - 1].N += parts[i].N;
        else {
            out->part[out->n].type = type;
            out->part[out->n].scales = scales;
            out->part[out->n].scale_cols = !weights && t->scale ? (int)t->scale_cols : 0;
            out->part[out->n++].N = parts[i].N;
        }
    }
    return FC_OK;
}

static fc_status read_layers(fc_cost_model *m, const fc_weights *w, const char *weights) {
    const fc_model_config *c = &m->cfg;
    const int q = c->H * c->E, kv = c->G * c->E;
    for (int i = 0; i < c->L; i++) {
        fc_cost_layer *l = &m->layers[i];
        FC_TRY(read_matrix(w, weights, i, (stack_part[]){{"attn_q", q}, {"attn_k", kv}, {"attn_v", kv}}, 3, c->D,
                           &l->qkv));
        FC_TRY(read_matrix(w, weights, i, (stack_part[]){{"attn_output", c->D}}, 1, q, &l->o));
        FC_TRY(read_matrix(w, weights, i, (stack_part[]){{"ffn_gate", c->F}, {"ffn_up", c->F}}, 2, c->D, &l->gate_up));
        FC_TRY(read_matrix(w, weights, i, (stack_part[]){{"ffn_down", c->D}}, 1, c->F, &l->down));
    }
    return FC_OK;
}

int fc_cost_rows(const fc_cost_machine *m) { return m->gpu ? FC_ROWS_GPU : FC_ROWS_CPU; }

static fc_status read_model(fc_cost_model *m, const fc_weights *w, const fc_cost_options *o) {
    const char *kv = o->kv_type;
    fc_cost_matrix embed;
    void *p;
    m->cfg = *fc_weights_config(w);
    m->max_rows = o->max_rows ? o->max_rows : FC_ROWS_CPU;
    m->P = o->page_slots ? o->page_slots : 16;
    m->variant = o->variant;
    m->filtered = o->filtered;
    m->imprecise = o->imprecise;
    if (m->max_rows < 1 || m->max_rows > 65535)
        return FC_FAIL(FC_ERR_ARG, "max_rows = %d; 1 to 65535 are possible", m->max_rows);
    if (m->P != 8 && m->P != 16 && m->P != 32 && m->P != 64)
        return FC_FAIL(FC_ERR_ARG, "page_slots = %d; 8, 16, 32 and 64 are possible", m->P);
    if (m->cfg.E % 16 || m->cfg.E > 256)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: head dimension %d; multiples of 16 up to 256 are supported", o->path,
                       m->cfg.E);
    FC_TRY(fc_alloc((size_t)m->cfg.L, sizeof *m->layers, "layers", &p));
    m->layers = p;
    FC_TRY(read_layers(m, w, o->weights));
    FC_TRY(read_matrix(w, o->weights, -1, (stack_part[]){{"token_embd", m->cfg.V}}, 1, m->cfg.D, &embed));
    m->embed = embed.part[0].type;
    m->head = embed;
    if (!m->cfg.tied)
        FC_TRY(read_matrix(w, o->weights, -1, (stack_part[]){{"output", m->cfg.V}}, 1, m->cfg.D, &m->head));
    if (!kv) kv = m->embed == FC_F32 ? "f32" : "bf16";
    return fc_kv_type_parse(kv, &m->kv);
}

fc_status fc_cost_model_open(const fc_cost_options *o, fc_cost_model **out) {
    fc_weights *w;
    fc_cost_model *m;
    fc_status st;
    void *p;
    FC_TRY(fc_weights_open(o->path, &w));
    FC_TRY_GOTO(st, fc_alloc(1, sizeof *m, "cost model", &p), out);
    m = p;
    st = read_model(m, w, o);
    if (st) fc_cost_model_close(m);
    else *out = m;
out:
    fc_weights_close(w);
    return st;
}

void fc_cost_model_close(fc_cost_model *m) {
    if (!m) return;
    fc_free(m->layers);
    fc_free(m);
}

double fc_cost_packed(const fc_cost_matrix *x, bool gpu) {
    double bytes = 0;
    for (int i = 0; i < x->n; i++)
        bytes += gpu ? fc_linear_packed_cuda(x->part[i].type, x->part[i].scales, x->part[i].N, x->K)
                     : fc_linear_packed_cpu(x->part[i].type, x->part[i].N, x->K, x->part[i].scale_cols);
    return bytes;
}

double fc_cost_model_bytes(const fc_cost_model *m, const fc_cost_machine *c) {
    double bytes = fc_cost_packed(&m->head, c->gpu) * (m->cfg.tied ? 1 : 2); /* embeddings have the head's shape */
    for (int i = 0; i < m->cfg.L; i++) {
        const fc_cost_layer *l = &m->layers[i];
        bytes += fc_cost_packed(&l->qkv, c->gpu) + fc_cost_packed(&l->o, c->gpu) + fc_cost_packed(&l->gate_up, c->gpu) +
                 fc_cost_packed(&l->down, c->gpu);
    }
    return bytes;
}

fc_kv_shape fc_cost_shape(const fc_cost_model *m, int pages) {
    return (fc_kv_shape){.type = m->kv, .n_pages = pages, .P = m->P, .L = m->cfg.L, .G = m->cfg.G, .E = m->cfg.E};
}

double fc_cost_model_kv_bytes(const fc_cost_model *m) {
    const fc_kv_shape s = fc_cost_shape(m, 1);
    return (double)fc_kv_block_bytes(&s) / m->P * m->cfg.G * m->cfg.L;
}
