#include "engine/forward.h"

#include "engine/adapter.h"
#include "engine/base/mem.h"

#include <math.h>
#include <string.h>

/* Logits in memory at once: enough for a large decode batch, little beside the weights. */
enum { LOGIT_BYTES = 128 << 20 };

static fc_status take(fc_backend *be, size_t rows, size_t cols, const char *what, float **out) {
    size_t bytes;
    void *p;
    if (!fc_mul(rows, cols, &bytes) || !fc_mul(bytes, sizeof(float), &bytes))
        return FC_FAIL(FC_ERR_MEM, "%s: %zu x %zu floats do not fit in the address space", what, rows, cols);
    FC_TRY(be->alloc(be, bytes, what, &p));
    *out = p;
    return FC_OK;
}

fc_status fc_work_open(const fc_model *m, int max_rows, int max_parts, fc_work *out) {
    const fc_model_config *c = &m->cfg;
    fc_backend *be = m->be;
    fc_status st = FC_OK;
    fc_work w = {.be = be, .max_rows = max_rows};
    size_t T = (size_t)max_rows, D = (size_t)c->D, H = (size_t)m->H, G = (size_t)m->G, E = (size_t)c->E;
    size_t fit = (size_t)LOGIT_BYTES / ((size_t)c->V * sizeof(float));
    w.max_logit_rows = fit < 8 ? 8 : fit > T ? (int)T : (int)fit;
    FC_TRY_GOTO(st, take(be, T, D, "residual stream", &w.h), fail);
    FC_TRY_GOTO(st, take(be, T, D, "block input", &w.x), fail);
    FC_TRY_GOTO(st, take(be, T, (H + 2 * G) * E, "queries, keys, values", &w.qkv), fail);
    FC_TRY_GOTO(st, take(be, T, H * E, "attention output", &w.att), fail);
    FC_TRY_GOTO(st, take(be, T, 2 * (size_t)m->F, "gate and up", &w.gate_up), fail);
    FC_TRY_GOTO(st, take(be, T, (size_t)c->rope_dim, "rotary table", &w.cs[0]), fail);
    FC_TRY_GOTO(st, take(be, T, (size_t)c->rope_dim, "rotary table", &w.cs[1]), fail);
    FC_TRY_GOTO(st, take(be, (size_t)max_parts * H, E + 2, "partial attention states", &w.part), fail);
    for (int i = 0; i < m->n_adapters; i++)
        if (m->adapters[i]->rank > w.max_rank) w.max_rank = m->adapters[i]->rank;
    if (w.max_rank) {
        FC_TRY_GOTO(st, take(be, T, (size_t)m->F, "hidden", &w.hidden), fail);
        FC_TRY_GOTO(st, take(be, T, (size_t)w.max_rank, "adapters", &w.z), fail);
    }
    FC_TRY_GOTO(st, take(be, T, D, "final hidden states", &w.out), fail);
    FC_TRY_GOTO(st, take(be, (size_t)w.max_logit_rows, (size_t)c->V, "logits", &w.logits), fail);
    if (fc_weight_shared(m->head)) {
        const int most = fc_comm_most((c->V - 1) / FC_WEIGHT_CUT + 1, be->ranks) * FC_WEIGHT_CUT;
        FC_TRY_GOTO(st, take(be, (size_t)w.max_logit_rows, (size_t)most, "a rank's logits", &w.own_logits), fail);
    }
    *out = w;
    return FC_OK;
fail:
    fc_work_close(&w);
    return st;
}

void fc_work_close(fc_work *w) {
    fc_backend *be = w->be;
    if (!be) return;
    be->free(be, w->own_logits);
    be->free(be, w->logits);
    be->free(be, w->out);
    be->free(be, w->z);
    be->free(be, w->part);
    be->free(be, w->cs[1]);
    be->free(be, w->cs[0]);
    be->free(be, w->hidden);
    be->free(be, w->gate_up);
    be->free(be, w->att);
    be->free(be, w->qkv);
    be->free(be, w->x);
    be->free(be, w->h);
    memset(w, 0, sizeof *w);
}

/* A layer's matrices that adapters may change. */
typedef enum { QKV, O, GATE_UP, DOWN } matrix;

/* y [T,ldy] += what the rows' adapters add to the product of x [T,K] and a matrix of layer i. */
static fc_status adapt(const fc_model *m, const fc_batch *b, fc_work *w, int i, matrix which, float *y, int ldy,
                       const float *x) {
    fc_lora_group groups[FC_MAX_ADAPTERS];
    fc_lora_args a = {.y = y,
                      .x = x,
                      .z = w->z,
                      .rows = b->dev.lora_rows,
                      .groups = groups,
                      .T = b->T,
                      .ldy = ldy,
                      .ldz = w->max_rank};
    for (int g = 0; g < b->n_lora; g++) {
        const fc_adapter_layer *l;
        const fc_lora *lora;
        FC_ASSERT(b->lora[g].adapter < m->n_adapters);
        l = &m->adapters[b->lora[g].adapter]->layers[i];
        lora = which == QKV ? &l->qkv : which == O ? &l->o : which == GATE_UP ? &l->gate_up : &l->down;
        if (lora->R == 0) continue;
        a.K = lora->K;
        groups[a.n_groups++] = (fc_lora_group){
            .w = lora, .first = b->lora[g].first, .n_rows = b->lora[g].n_rows, .stride = fc_adapter_stride(m)};
    }
    return a.n_groups ? m->be->lora(m->be->stream, &a) : FC_OK;
}

/* What ranks have made of x [T,D], each from its own heads or hidden units, added up. */
static fc_status sum_ranks(const fc_model *m, float *x, int T) {
    if (m->be->ranks == 1) return FC_OK;
    return m->be->sum(m->be->stream, &(fc_sum_args){.y = x, .n = (size_t)T * (size_t)m->cfg.D});
}

/* What a block begins with: x + res, normed, is the x of its first product, which makes it. Adapters read it too. */
static fc_rmsnorm_args block_norm(const fc_model *m, const fc_batch *b, const fc_work *w, const float *weight) {
    return (fc_rmsnorm_args){.y = b->n_lora ? w->x : NULL,
                             .x = w->x,
                             .res = w->h,
                             .w = weight,
                             .eps = m->cfg.norm_eps,
                             .T = b->T,
                             .D = m->cfg.D};
}

static fc_status attention(const fc_model *m, const fc_batch *b, fc_work *w, int i) {
    const fc_model_config *c = &m->cfg;
    const fc_layer *l = &m->layers[i];
    fc_backend *be = m->be;
    fc_stream s = be->stream;
    int T = b->T, ldq = (m->H + 2 * m->G) * c->E;
    fc_rmsnorm_args norm = block_norm(m, b, w, l->attn_norm);
    if (i == 0) {
        norm.x = w->h;
        norm.res = NULL;
    }
    FC_TRY(be->linear(s, &(fc_linear_args){.y = w->qkv,
                                           .w = l->qkv,
                                           .bias = l->qkv_bias,
                                           .norm = &norm,
                                           .T = T,
                                           .precise = !m->imprecise,
                                           .then = l->o}));
    FC_TRY(adapt(m, b, w, i, QKV, w->qkv, ldq, w->x));
    FC_TRY(be->rope_kv(s, &(fc_rope_kv_args){.qkv = w->qkv,
                                             .cs = w->cs[l->local],
                                             .page = b->dev.page,
                                             .slot = b->dev.slot,
                                             .q_norm = c->qk_norm ? l->q_norm : NULL,
                                             .k_norm = c->qk_norm ? l->k_norm : NULL,
                                             .kv = fc_kv_store(b->kv),
                                             .layer = i,
                                             .T = T,
                                             .H = m->H,
                                             .G = m->G,
                                             .E = c->E,
                                             .R = c->rope_dim,
                                             .eps = c->norm_eps,
                                             .interleaved = c->rope_interleaved}));
    FC_TRY(be->attn(s, &(fc_attn_args){.y = w->att,
                                       .q = w->qkv,
                                       .kv = fc_kv_store(b->kv),
                                       .pos = b->dev.pos,
                                       .pages = b->dev.pages,
                                       .slots = b->dev.slots,
                                       .items = b->dev.items,
                                       .item_rows = b->dev.item_rows,
                                       .fold_row = b->dev.fold_row,
                                       .fold_off = b->dev.fold_off,
                                       .fold_slot = b->dev.fold_slot,
                                       .part = w->part,
                                       .n_items = b->n_items,
                                       .n_fold = b->n_fold,
                                       .widths = b->widths,
                                       .layer = i,
                                       .T = T,
                                       .H = m->H,
                                       .ldq = ldq,
                                       .window = l->local ? c->window : 0,
                                       .scale = c->attn_scale,
                                       .soft_cap = c->attn_soft_cap}));
    FC_TRY(be->linear(s, &(fc_linear_args){.y = w->x,
                                           .x = w->att,
                                           .w = l->o,
                                           .bias = l->o_bias,
                                           .T = T,
                                           .precise = !m->imprecise,
                                           .then = l->gate_up}));
    FC_TRY(adapt(m, b, w, i, O, w->x, c->D, w->att));
    return sum_ranks(m, w->x, T);
}

static fc_status feed_forward(const fc_model *m, const fc_batch *b, fc_work *w, int i) {
    const fc_model_config *c = &m->cfg;
    const fc_layer *l = &m->layers[i];
    fc_backend *be = m->be;
    fc_stream s = be->stream;
    const fc_rmsnorm_args norm = block_norm(m, b, w, l->ffn_norm);
    const fc_glu_args glu = {.y = b->n_lora ? w->hidden : NULL,
                             .x = w->gate_up,
                             .T = b->T,
                             .F = m->F,
                             .act = c->gelu_tanh ? FC_ACT_GELU_TANH : FC_ACT_SILU};
    FC_TRY(be->linear(
        s, &(fc_linear_args){
               .y = w->gate_up, .w = l->gate_up, .norm = &norm, .T = b->T, .precise = !m->imprecise, .then = l->down}));
    FC_TRY(adapt(m, b, w, i, GATE_UP, w->gate_up, 2 * m->F, w->x));
    FC_TRY(be->linear(s, &(fc_linear_args){.y = w->x,
                                           .w = l->down,
                                           .glu = &glu,
                                           .T = b->T,
                                           .precise = !m->imprecise,
                                           .then = i + 1 < c->L ? m->layers[i + 1].qkv : NULL}));
    FC_TRY(adapt(m, b, w, i, DOWN, w->x, c->D, w->hidden));
    return sum_ranks(m, w->x, b->T);
}

/* What a block leaves, normed before it is added to the residual stream. */
static fc_status post_norm(const fc_model *m, const fc_work *w, const float *weight, int T) {
    const fc_model_config *c = &m->cfg;
    if (!c->post_norms) return FC_OK;
    return m->be->rmsnorm(m->be->stream,
                          &(fc_rmsnorm_args){.y = w->x, .x = w->x, .w = weight, .eps = c->norm_eps, .T = T, .D = c->D});
}

/* ---- what it costs ---- */

static void count_linear(const fc_weight *w, int T, fc_cost *c) {
    const fc_cost one = fc_linear_cost(&(fc_linear_args){.w = w, .T = T});
    c->bytes += one.bytes;
    c->flops += one.flops;
}

/* Matrices and attention: all but a few percent. Of a local layer too all tiles count, as the plan has them. */
static void count_pass(const fc_model *m, const fc_batch *b, fc_work *w) {
    const fc_cost attn =
        fc_attn_cost(&(fc_attn_args){.kv = fc_kv_store(b->kv), .T = b->T, .H = m->H}, b->tiles, b->row_tiles);
    for (int i = 0; i < m->cfg.L; i++) {
        const fc_layer *l = &m->layers[i];
        const fc_weight *const all[] = {l->qkv, l->o, l->gate_up, l->down};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) count_linear(all[k], b->T, &w->done);
        w->done.bytes += attn.bytes;
        w->done.flops += attn.flops;
    }
}

void fc_forward_count_head(const fc_model *m, int R, double outs, fc_work *w) {
    const double V = m->cfg.V, D = m->cfg.D;
    w->done.bytes += (double)m->head->bytes * (outs < V ? outs / V : 1) + 4 * D * R;
    w->done.flops += 2 * D * outs * m->head->N / m->head->of;
}

/* ---- whole passes ---- */

fc_status fc_forward(const fc_model *m, const fc_batch *b, fc_work *w) {
    const fc_model_config *c = &m->cfg;
    fc_backend *be = m->be;
    fc_stream s = be->stream;
    int T = b->T;
    FC_ASSERT(T >= 1 && T <= w->max_rows);
    count_pass(m, b, w);
    FC_TRY(be->embed(s, &(fc_embed_args){.y = w->h,
                                         .tokens = b->dev.tokens,
                                         .w = m->embed,
                                         .scale = c->embed_scale ? sqrtf((float)c->D) : 1.0f,
                                         .T = T}));
    if (fc_weight_shared(m->embed)) FC_TRY(sum_ranks(m, w->h, T)); /* zero but for the rank that has the word */
    for (int local = 0; local < 2; local++)
        FC_TRY(be->rope_table(s, &(fc_rope_table_args){.cs = w->cs[local],
                                                       .pos = b->dev.pos,
                                                       .inv_freq = m->inv_freq[local],
                                                       .mscale = m->mscale[local],
                                                       .T = T,
                                                       .R = c->rope_dim}));
    for (int i = 0; i < c->L; i++) {
        FC_TRY(attention(m, b, w, i));
        FC_TRY(post_norm(m, w, m->layers[i].post_attn_norm, T));
        FC_TRY(feed_forward(m, b, w, i));
        FC_TRY(post_norm(m, w, m->layers[i].post_ffn_norm, T));
    }
    if (b->n_outs == 0) return FC_OK;
    return be->rmsnorm(s, &(fc_rmsnorm_args){.y = w->out,
                                             .x = w->x,
                                             .res = w->h,
                                             .w = m->out_norm,
                                             .rows = b->dev.outs,
                                             .eps = c->norm_eps,
                                             .T = b->n_outs,
                                             .D = c->D});
}

static fc_status soften(const fc_model *m, float *y, size_t n) {
    const float cap = m->cfg.final_soft_cap;
    return cap > 0 ? m->be->softcap(m->be->stream, &(fc_softcap_args){.x = y, .n = n, .cap = cap}) : FC_OK;
}

fc_status fc_forward_pick(const fc_model *m, const fc_pick_segment *segments, int S, const int32_t *ids, int n, int R,
                          float *y, fc_work *w) {
    fc_backend *be = m->be;
    fc_forward_count_head(m, R, n, w);
    FC_TRY(be->linear_pick(be->stream, &(fc_linear_pick_args){.y = y,
                                                              .x = w->out,
                                                              .w = m->head,
                                                              .segments = segments,
                                                              .ids = ids,
                                                              .R = R,
                                                              .S = S,
                                                              .precise = !m->imprecise}));
    if (fc_weight_shared(m->head)) /* of each id all ranks but one have zero */
        FC_TRY(be->sum(be->stream, &(fc_sum_args){.y = y, .n = (size_t)n}));
    return soften(m, y, (size_t)n);
}

fc_status fc_forward_logits(const fc_model *m, const float *hidden, int R, int at, fc_work *w) {
    const fc_model_config *c = &m->cfg;
    float *y = w->logits + (size_t)at * (size_t)c->V;
    FC_ASSERT(R >= 1 && at >= 0 && at + R <= w->max_logit_rows);
    fc_forward_count_head(m, R, (double)R * c->V, w);
    FC_TRY(m->be->linear(
        m->be->stream,
        &(fc_linear_args){
            .y = w->own_logits ? w->own_logits : y, .x = hidden, .w = m->head, .T = R, .precise = !m->imprecise}));
    if (w->own_logits)
        FC_TRY(m->be->join(m->be->stream,
                           &(fc_join_args){.y = y, .x = w->own_logits, .R = R, .N = c->V, .unit = FC_WEIGHT_CUT}));
    return soften(m, y, (size_t)R * (size_t)c->V);
}
