/* ranks_ops - every operator, handed to all ranks: addresses become a rank's own, and so do its matrices. */
#include "kernels/ranks/ranks_own.h"

#include <string.h>

/* put_OP, the backend's operator, and run_OP, which a rank's thread calls: of args whose addresses `find` makes the
 * rank's own. An operator behind one that failed is left out. */
#define OPERATOR(op, find)                                                                                             \
    static fc_status run_##op(fc_rank *r, const void *args) {                                                          \
        fc_##op##_args a;                                                                                              \
        if (r->failure.status) return FC_OK;                                                                           \
        memcpy(&a, args, sizeof a);                                                                                    \
        find;                                                                                                          \
        return r->be->op(r->be->stream, &a);                                                                           \
    }                                                                                                                  \
    static fc_status put_##op(fc_stream s, const fc_##op##_args *a) {                                                  \
        fc_ranks_put(fc_ranks_of_stream(s), run_##op, a, sizeof *a, NULL, 0);                                          \
        return FC_OK;                                                                                                  \
    }

#define OWN(field) fc_rank_find(r, &a.field)
#define OWN_WEIGHT a.w = fc_rank_weight(r, a.w)

/* What rope_kv, attn and kv_copy name by its host structure, which lives as long as its memory. */
static const fc_kv_buf *own_kv(const fc_rank *r, const fc_kv_buf *kv, fc_kv_buf *own) {
    *own = *kv;
    fc_rank_find(r, &own->base);
    return own;
}
#define OWN_KV                                                                                                         \
    fc_kv_buf kv;                                                                                                      \
    a.kv = own_kv(r, a.kv, &kv)

OPERATOR(embed, (OWN(y), OWN(tokens), OWN_WEIGHT))
OPERATOR(rmsnorm, (OWN(y), OWN(x), OWN(res), OWN(w), OWN(rows)))
OPERATOR(rows_copy, (OWN(y), OWN(x), OWN(dst), OWN(src)))
OPERATOR(linear_pick, (OWN(y), OWN(x), OWN(segments), OWN(ids), OWN_WEIGHT))
OPERATOR(rope_table, (OWN(cs), OWN(pos), OWN(inv_freq)))
OPERATOR(rope_kv, (OWN(qkv), OWN(cs), OWN(page), OWN(slot), OWN(q_norm), OWN(k_norm)); OWN_KV)
OPERATOR(attn, (OWN(y), OWN(q), OWN(pos), OWN(pages), OWN(slots), OWN(items), OWN(item_rows), OWN(fold_row),
                OWN(fold_off), OWN(fold_slot), OWN(part));
         OWN_KV)
OPERATOR(softcap, OWN(x))
OPERATOR(kv_copy, (OWN(src), OWN(dst), OWN(n)); OWN_KV)
OPERATOR(draw, (OWN(token), OWN(logprob), OWN(logits), OWN(rows), OWN(members), OWN(bias_id), OWN(bias_value),
                OWN(seen_id), OWN(seen_count), OWN(list_id), OWN(list_value)))
OPERATOR(logprob, (OWN(lp), OWN(logits), OWN(row), OWN(id)))
OPERATOR(top_logprobs, (OWN(ids), OWN(lp), OWN(logits), OWN(rows)))
OPERATOR(list_logprob, (OWN(lp), OWN(lse), OWN(value), OWN(ids), OWN(rows)))
OPERATOR(list_gather, (OWN(value), OWN(logits), OWN(ids), OWN(rows)))
OPERATOR(head_lse, (OWN(lse), OWN(lp), OWN(x), OWN(row), OWN(id), OWN_WEIGHT))
OPERATOR(head_draw, (OWN(token), OWN(logprob), OWN(x), OWN(rows), OWN(members), OWN_WEIGHT))

OPERATOR(sum, OWN(y))
OPERATOR(join, (OWN(y), OWN(x)))

/* ---- those with host memory beside their arguments ---- */

typedef union {
    fc_rmsnorm_args norm;
    fc_glu_args glu;
} linear_from;

static fc_status run_linear(fc_rank *r, const void *args) {
    fc_linear_args a;
    linear_from from;
    if (r->failure.status) return FC_OK;
    memcpy(&a, args, sizeof a);
    OWN(y);
    OWN(x);
    OWN(bias);
    OWN_WEIGHT;
    if (a.then) a.then = fc_rank_weight(r, a.then);
    if (a.norm || a.glu) memcpy(&from, (const unsigned char *)args + fc_ranks_round(sizeof a), sizeof from);
    if (a.norm) {
        fc_rank_find(r, &from.norm.y);
        fc_rank_find(r, &from.norm.x);
        fc_rank_find(r, &from.norm.res);
        fc_rank_find(r, &from.norm.w);
        fc_rank_find(r, &from.norm.rows);
        a.norm = &from.norm;
    } else if (a.glu) {
        fc_rank_find(r, &from.glu.y);
        fc_rank_find(r, &from.glu.x);
        a.glu = &from.glu;
    }
    return r->be->linear(r->be->stream, &a);
}

static fc_status put_linear(fc_stream s, const fc_linear_args *a) {
    linear_from from;
    memset(&from, 0, sizeof from);
    if (a->norm && a->glu) return FC_FAIL(FC_ERR_ARG, "linear: x is made by a norm or by a unit, not by both");
    if (a->norm) from.norm = *a->norm;
    if (a->glu) from.glu = *a->glu;
    fc_ranks_put(fc_ranks_of_stream(s), run_linear, a, sizeof *a, &from, a->norm || a->glu ? sizeof from : 0);
    return FC_OK;
}

static fc_status run_lora(fc_rank *r, const void *args) {
    fc_lora_group groups[FC_RANKS_GROUPS];
    fc_lora w[FC_RANKS_GROUPS];
    fc_lora_args a;
    if (r->failure.status) return FC_OK;
    memcpy(&a, args, sizeof a);
    OWN(y);
    OWN(x);
    OWN(z);
    OWN(rows);
    memcpy(groups, (const unsigned char *)args + fc_ranks_round(sizeof a), (size_t)a.n_groups * sizeof *groups);
    for (int g = 0; g < a.n_groups; g++) {
        w[g] = groups[g].w[(size_t)r->number * groups[g].stride];
        fc_rank_find(r, &w[g].a);
        fc_rank_find(r, &w[g].b);
        groups[g].w = &w[g];
    }
    a.groups = groups;
    return r->be->lora(r->be->stream, &a);
}

static fc_status put_lora(fc_stream s, const fc_lora_args *a) {
    if (a->n_groups < 0 || a->n_groups > FC_RANKS_GROUPS)
        return FC_FAIL(FC_ERR_ARG, "lora: %d groups; ranks take %d", a->n_groups, (int)FC_RANKS_GROUPS);
    fc_ranks_put(fc_ranks_of_stream(s), run_lora, a, sizeof *a, a->groups, (size_t)a->n_groups * sizeof *a->groups);
    return FC_OK;
}

/* ---- questions ---- */

typedef struct {
    fc_dtype kv;
    int E;
    fc_rank_failure *failure; /* of rank 0: all are of one kind */
} fits;

static fc_status run_fits(fc_rank *r, const void *args) {
    fits f;
    memcpy(&f, args, sizeof f);
    if (r->number == 0 && r->be->attn_fits) fc_rank_note(f.failure, r->be->attn_fits(r->be->stream, f.kv, f.E));
    return FC_OK;
}

static fc_status ask_fits(fc_stream s, fc_dtype kv, int E) {
    fc_rank_failure failure = {0};
    fits f = {kv, E, &failure};
    fc_ranks_ask(fc_ranks_of_stream(s), run_fits, &f, sizeof f);
    return failure.status ? FC_FAIL(failure.status, "%s", failure.why) : FC_OK;
}

void fc_ranks_set_operators(fc_backend *be) {
    be->embed = put_embed;
    be->rmsnorm = put_rmsnorm;
    be->rows_copy = put_rows_copy;
    be->linear = put_linear;
    be->linear_pick = put_linear_pick;
    be->lora = put_lora;
    be->rope_table = put_rope_table;
    be->rope_kv = put_rope_kv;
    be->attn_fits = ask_fits;
    be->attn = put_attn;
    be->softcap = put_softcap;
    be->kv_copy = put_kv_copy;
    be->draw = put_draw;
    be->logprob = put_logprob;
    be->top_logprobs = put_top_logprobs;
    be->list_logprob = put_list_logprob;
    be->list_gather = put_list_gather;
    be->head_lse = put_head_lse;
    be->head_draw = put_head_draw;
    be->sum = put_sum;
    be->join = put_join;
}
