#include "engine/cost.h"

#include "engine/cost_model.h"
#include "kernels/attn/attn_load.h"
#include "kernels/linear/linear_load.h"

#include <math.h>
#include <string.h>

/* ---- the time of a kernel ---- */

typedef enum { STREAM, PRODUCT, ATTENTION } kind;

enum { BY_MEMORY = FC_UNITS, BY_CACHE, BY_WAITS, BY_LAUNCH, WAYS };

/* Seconds of each way to be slow; reach: of its kind. A launch that leaves cores idle has less of everything, but half
 * of them already draw all that memory gives. */
static void ways(const fc_cost_machine *c, const fc_load *l, kind k, double out[WAYS]) {
    double half = l->busy < 0.5 ? 2 * l->busy : 1;
    for (int u = 0; u < FC_UNITS; u++) {
        double reach = u == FC_UNIT_F32 && (c->gpu || k == STREAM) ? c->reach_f32
                       : l->chained                                ? c->reach_chained
                       : l->warpgroups                             ? c->reach_warpgroups
                       : k == ATTENTION                            ? c->reach_attn
                       : l->library                                ? c->reach_library
                                                                   : c->reach_product;
        out[u] = l->ops[u] > 0 ? l->ops[u] / (c->tops[u] * 1e12 * reach * l->busy) : 0;
    }
    out[BY_MEMORY] = l->memory / (c->memory_gbs * 1e9 * c->reach_memory * half);
    out[BY_CACHE] = l->cache / (c->cache_gbs * 1e9 * c->reach_cache * half);
    out[BY_WAITS] = (l->units * c->unit_us + l->tiles * c->tile_us) * 1e-6;
    out[BY_LAUNCH] = l->launches * c->launch_us * 1e-6;
}

static double seconds_of(const fc_cost_machine *c, const fc_load *l, kind k) {
    double way[WAYS], longest = 0;
    ways(c, l, k, way);
    for (int i = 0; i < BY_LAUNCH; i++) longest = fmax(longest, way[i]);
    return longest + way[BY_LAUNCH];
}

static kind kind_of(const char *name) {
    return strcmp(name, "attn") == 0                                ? ATTENTION
           : strcmp(name, "rest") == 0 || strcmp(name, "draw") == 0 ? STREAM
                                                                    : PRODUCT;
}

const char *fc_cost_bound(const fc_cost_machine *c, const fc_cost_part *p) {
    static const char *const names[WAYS] = {"f32", "bf16", "int8", "fp8", "memory", "cache", "waits", "launches"};
    double way[WAYS];
    int most = 0;
    ways(c, &p->load, kind_of(p->name), way);
    for (int i = 1; i < WAYS; i++)
        if (way[i] > way[most]) most = i;
    return names[most];
}

/* ---- a pass ---- */

/* Adds n equal calls. least: bytes and operations of unit u that no kernel does without. */
static void add(fc_cost_time *t, const fc_cost_machine *c, const char *name, double n, const fc_load *l, fc_cost least,
                fc_unit u) {
    fc_cost_part *p = t->parts;
    double peak = c->tops[u] > 0 ? c->tops[u] : c->tops[FC_UNIT_BF16];
    while (p < t->parts + t->n_parts && strcmp(p->name, name) != 0) p++;
    if (p == t->parts + t->n_parts) {
        FC_ASSERT(t->n_parts < FC_COST_PARTS);
        *p = (fc_cost_part){.name = name};
        t->n_parts++;
    }
    p->seconds += n * seconds_of(c, l, kind_of(name));
    p->floor += n * fmax(least.bytes / (c->memory_gbs * 1e9), least.flops / (peak * 1e12));
    p->load.busy = p->load.launches || p->load.memory > 0 ? fmin(p->load.busy, l->busy) : l->busy;
    p->load.memory += n * l->memory;
    p->load.cache += n * l->cache;
    for (int k = 0; k < FC_UNITS; k++) p->load.ops[k] += n * l->ops[k];
    p->load.units += n * l->units;
    p->load.tiles += n * l->tiles;
    p->load.launches += (int)n * l->launches;
    p->load.library |= l->library;
    p->load.warpgroups |= l->warpgroups;
    p->load.chained |= l->chained;
}

/* The unit whose peak a perfect kernel could use. */
static fc_unit unit_of(fc_dtype t) {
    return t == FC_F32 || t == FC_F16 ? FC_UNIT_F32
           : t == FC_BF16             ? FC_UNIT_BF16
           : t == FC_F8               ? FC_UNIT_F8
                                      : FC_UNIT_I8;
}

/* On the CPU weights that are no codes meet x in f32. */
static fc_unit cpu_unit(fc_dtype t) { return unit_of(t) == FC_UNIT_I8 ? FC_UNIT_I8 : FC_UNIT_F32; }

static fc_load cpu_load(fc_cost k, fc_unit u, const fc_cost_machine *c, double read_whole) {
    fc_load l = {.memory = read_whole, .busy = 1, .launches = 1};
    l.ops[u] = k.flops;
    fc_load_array(&l, &c->device, k.bytes - read_whole);
    return l;
}

double fc_cost_call(const fc_cost_machine *c, bool attention, const fc_load *l) {
    return seconds_of(c, l, attention ? ATTENTION : PRODUCT);
}

double fc_cost_call_cpu(const fc_cost_machine *c, bool attention, fc_cost k, fc_unit u, double from_memory) {
    const fc_load l = cpu_load(k, u, c, from_memory);
    return fc_cost_call(c, attention, &l);
}

static void add_matrix(const fc_cost_model *m, const fc_cost_machine *c, const char *name, const fc_cost_matrix *x,
                       int T, fc_linear_from_kind from, double n, fc_cost_time *t) {
    for (int i = 0; i < x->n; i++) {
        const fc_dtype type = x->part[i].type;
        const fc_cost_matrix one = {.K = x->K, .n = 1, .part = {x->part[i]}};
        fc_weight w = {.N = x->part[i].N, .of = x->part[i].N, .K = x->K, .bytes = (size_t)fc_cost_packed(&one, c->gpu)};
        fc_cost least = fc_linear_cost(&(fc_linear_args){.w = &w, .T = T});
        fc_linear_shape s = {.type = type,
                             .scales = x->part[i].scales,
                             .T = T,
                             .N = w.N,
                             .K = x->K,
                             .from = from,
                             .precise = !m->imprecise,
                             .variant = m->variant};
        fc_load l = c->gpu ? fc_linear_load_cuda(&s, &c->device) : cpu_load(least, cpu_unit(type), c, (double)w.bytes);
        add(t, c, name, n, &l, least, c->gpu ? unit_of(type) : cpu_unit(type));
    }
    { /* what the engine counts: the matrix as one */
        fc_weight w = {.K = x->K, .bytes = (size_t)fc_cost_packed(x, c->gpu)};
        fc_cost k;
        for (int i = 0; i < x->n; i++) w.N += x->part[i].N;
        k = fc_linear_cost(&(fc_linear_args){.w = &w, .T = T});
        t->counted.bytes += n * k.bytes;
        t->counted.flops += n * k.flops;
    }
}

/* Attention of all layers, from the plan. */
static void add_attention(const fc_cost_model *m, const fc_cost_machine *c, const fc_batch *b, const fc_kv_buf *kv,
                          fc_cost_time *t) {
    const fc_model_config *cfg = &m->cfg;
    const fc_unit u = m->kv == FC_F32 || (!c->gpu && m->kv == FC_F8) ? FC_UNIT_F32 : FC_UNIT_BF16;
    for (int local = 0; local < 2; local++) {
        fc_attn_args a = {.kv = kv,
                          .pos = b->pos,
                          .items = b->items,
                          .item_rows = b->item_rows,
                          .n_items = b->n_items,
                          .T = b->T,
                          .H = cfg->H,
                          .window = local ? cfg->window : 0};
        fc_cost k = fc_attn_cost(&a, b->tiles, b->row_tiles);
        fc_load l[2];
        int launches = 1;
        double n = 0;
        for (int i = 0; i < cfg->L; i++) n += cfg->local[i] == (bool)local;
        if (n <= 0) continue;
        if (c->gpu) launches = fc_attn_load_cuda(&a, &c->device, l);
        else l[0] = cpu_load(k, u, c, k.bytes - 8.0 * b->T * cfg->H * cfg->E);
        for (int i = 0; i < launches; i++) add(t, c, "attn", n, &l[i], i ? (fc_cost){0} : k, u);
        t->counted.bytes += n * k.bytes;
        t->counted.flops += n * k.flops;
    }
}

/* Embedding, rotary tables, rope_kv and norms that no product makes; what the head's rows are copied for. */
static void add_rest(const fc_cost_model *m, const fc_cost_machine *c, int T, int outs, const fc_kv_buf *kv,
                     fc_cost_time *t) {
    const fc_model_config *cfg = &m->cfg;
    const double L = cfg->L;
    fc_weight w = {.N = cfg->V, .of = cfg->V, .K = cfg->D, .bytes = (size_t)fc_cost_packed(&m->head, c->gpu)};
    const float some = 1; /* stands for vectors that are there */
    const fc_cost k[] = {
        fc_embed_cost(&(fc_embed_args){.w = &w, .T = T}),
        fc_rope_table_cost(&(fc_rope_table_args){.T = T, .R = cfg->rope_dim}),
        fc_rope_table_cost(&(fc_rope_table_args){.T = T, .R = cfg->rope_dim}),
        fc_rmsnorm_cost(&(fc_rmsnorm_args){.T = outs, .D = cfg->D, .res = (float *)(uintptr_t)&some}),
        fc_rows_copy_cost(&(fc_rows_copy_args){.n = outs, .D = cfg->D, .src = (const int32_t *)(const void *)&some}),
    };
    const fc_cost rope = fc_rope_kv_cost(&(fc_rope_kv_args){.kv = kv,
                                                            .T = T,
                                                            .H = cfg->H,
                                                            .G = cfg->G,
                                                            .E = cfg->E,
                                                            .R = cfg->rope_dim,
                                                            .q_norm = cfg->qk_norm ? &some : NULL,
                                                            .k_norm = cfg->qk_norm ? &some : NULL});
    const fc_cost norm = fc_rmsnorm_cost(&(fc_rmsnorm_args){.T = T, .D = cfg->D});
    fc_load l;
    for (size_t i = 0; i < sizeof k / sizeof *k; i++) {
        if (outs == 0 && i >= 3) continue;
        l = fc_load_of(k[i], &c->device, 1);
        add(t, c, "rest", 1, &l, k[i], FC_UNIT_F32);
    }
    l = fc_load_of(rope, &c->device, 1);
    add(t, c, "rest", L, &l, rope, FC_UNIT_F32);
    l = fc_load_of(norm, &c->device, 1);
    if (cfg->post_norms) add(t, c, "rest", 2 * L, &l, norm, FC_UNIT_F32);
}

/* Logits that lie in memory at once: those of fc_work_open. */
static int logit_rows(const fc_cost_model *m) {
    const int room = (128 << 20) / (m->cfg.V * 4);
    return room < 8 ? 8 : room > m->max_rows ? m->max_rows : room;
}

/* Logits in memory, of which M ids are drawn. */
static void add_logits(const fc_cost_model *m, const fc_cost_machine *c, int R, int M, fc_cost_time *t) {
    const int most = logit_rows(m);
    for (int first = 0; first < R; first += most) {
        const double n = R - first < most ? R - first : most, here = M * n / R, V = m->cfg.V;
        fc_cost k = {.bytes = 4 * n * V + 8 * here, .flops = 20 * n * V + 20 * 256 * here};
        fc_load l;
        add_matrix(m, c, "head", &m->head, (int)n, FC_FROM_ARRAY, 1, t);
        l = fc_load_of(k, &c->device, 3);
        add(t, c, "draw", 1, &l, k, FC_UNIT_F32);
        if (m->cfg.final_soft_cap <= 0) continue;
        k = fc_softcap_cost(&(fc_softcap_args){.n = (size_t)n * (size_t)m->cfg.V});
        l = fc_load_of(k, &c->device, 1);
        add(t, c, "draw", 1, &l, k, FC_UNIT_F32);
    }
}

/* R states through a head that keeps no logits. */
static void add_sums(const fc_cost_model *m, const fc_cost_machine *c, fc_cost_head h, int R, int M, fc_cost_time *t) {
    const fc_dtype type = m->head.part[0].type;
    const double D = m->cfg.D;
    const int again = h == FC_HEAD_DRAW ? M : 0; /* tiles that are computed again */
    const fc_linear_shape s = {.type = type,
                               .scales = m->head.part[0].scales,
                               .T = R,
                               .N = m->cfg.V,
                               .K = m->cfg.D,
                               .precise = !m->imprecise,
                               .variant = m->variant};
    fc_weight w = {.N = s.N, .of = s.N, .K = s.K, .bytes = (size_t)fc_cost_packed(&m->head, c->gpu)};
    fc_cost k = fc_head_lse_cost(&(fc_head_lse_args){.w = &w, .R = R, .M = M});
    fc_load l;
    k.flops += 2.0 * 256 * again * D;
    if (c->gpu) k.bytes = (double)w.bytes + 4.0 * R * D + 8.0 * R + 12.0 * M; /* read once, where the CPU has pieces */
    l = c->gpu ? fc_head_load_cuda(&s, again, &c->device) : cpu_load(k, cpu_unit(type), c, (double)w.bytes);
    add(t, c, "head", 1, &l, k, c->gpu ? unit_of(type) : cpu_unit(type));
}

/* What R final states are read for: M ids are drawn, or M log-probs. Scores of more than a batch's rows are read one
 * after another. */
static void add_head(const fc_cost_model *m, const fc_cost_machine *c, fc_cost_head h, int R, int M, fc_cost_time *t) {
    const fc_cost counted = t->counted;
    const bool filtered = h == FC_HEAD_DRAW && m->filtered;
    const int most = filtered ? logit_rows(m) : h == FC_HEAD_SCORE ? m->max_rows : R;
    if (h == FC_HEAD_NONE || R == 0) return;
    if (filtered) add_logits(m, c, R, M, t);
    for (int first = 0; first < R && !filtered; first += most) {
        const int n = R - first < most ? R - first : most;
        add_sums(m, c, h, n, (int)((double)M * n / R), t);
    }
    t->counted = counted; /* as fc_forward_count_head has it, in one go or in pieces */
    t->counted.bytes += fc_cost_packed(&m->head, c->gpu) * ceil((double)R / most) + 4.0 * m->cfg.D * R;
    t->counted.flops += 2.0 * m->cfg.D * R * m->cfg.V;
}

/* The batch as it stands, planned and summed. */
fc_status fc_cost_add_pass(const fc_cost_model *m, const fc_cost_machine *c, fc_cost_plan *p, fc_cost_head h, int outs,
                           int members, fc_cost_time *t) {
    const fc_kv_buf *kv = fc_kv_store(p->kv);
    const int T = p->batch.T;
    FC_TRY(fc_batch_plan(&p->batch));
    for (int i = 0, n; i < m->cfg.L; i += n) { /* stretches of equal layers */
        const fc_cost_layer *l = &m->layers[i];
        for (n = 1; i + n < m->cfg.L && memcmp(l, l + n, sizeof *l) == 0;) n++;
        add_matrix(m, c, "qkv", &l->qkv, T, FC_FROM_NORM, n, t);
        add_matrix(m, c, "o", &l->o, T, FC_FROM_ARRAY, n, t);
        add_matrix(m, c, "gate_up", &l->gate_up, T, FC_FROM_NORM, n, t);
        add_matrix(m, c, "down", &l->down, T, FC_FROM_GLU, n, t);
    }
    add_attention(m, c, &p->batch, kv, t);
    add_rest(m, c, T, outs, kv, t);
    add_head(m, c, h, outs, members, t);
    t->passes++;
    t->rows += T;
    fc_batch_reset(&p->batch);
    return FC_OK;
}

/* Totals of the parts. */
void fc_cost_finish(const fc_cost_machine *c, fc_cost_time *t) {
    t->seconds = t->passes * c->pass_us * 1e-6;
    t->floor = t->launches = 0;
    for (int i = 0; i < t->n_parts; i++) {
        t->seconds += t->parts[i].seconds;
        t->floor += t->parts[i].floor;
        t->launches += t->parts[i].load.launches;
    }
}
