/* seeker - the device's side of searches: logits of nodes' children, their log-probs under the mask. */
#include "engine/sched.h"

#include <string.h>

fc_status fc_seeker_open(const fc_lane *lane, fc_seeker *out) {
    fc_backend *be = lane->be;
    fc_seeker *k = out;
    size_t rows = (size_t)lane->max_rows, list;
    void *p;
    k->max_rows = lane->max_rows;
    k->max_list = lane->model->cfg.V + 64 * lane->max_rows; /* a root of all ids, and rows of a few */
    list = (size_t)k->max_list;
    FC_TRY(fc_alloc(rows, sizeof *k->reads, "search lists", &p));
    k->reads = p;
    FC_TRY(fc_alloc(rows, sizeof *k->lists, "search lists", &p));
    k->lists = p;
    FC_TRY(fc_alloc(rows, sizeof *k->segments, "search lists", &p));
    k->segments = p;
    FC_TRY(fc_alloc(list, sizeof *k->list_id, "search lists", &p));
    k->list_id = p;
    FC_TRY(fc_alloc(list, sizeof *k->lp, "search lists", &p));
    k->lp = p;
    FC_TRY(be->alloc(be, list * 4, "search lists", &p));
    k->dev_lp = p;
    return FC_OK;
}

void fc_seeker_close(const fc_lane *lane, fc_seeker *k) {
    fc_backend *be = lane->be;
    be->free(be, k->dev_lp);
    fc_free(k->lp);
    fc_free(k->list_id);
    fc_free(k->segments);
    fc_free(k->lists);
    fc_free(k->reads);
    memset(k, 0, sizeof *k);
}

size_t fc_seeker_stage_bytes(const fc_seeker *k) {
    size_t rows = (size_t)k->max_rows;
    return fc_stage_room(rows * sizeof *k->lists) + fc_stage_room(rows * sizeof *k->segments) +
           fc_stage_room((size_t)k->max_list * 4);
}

void fc_searching_list(fc_flight *f) {
    fc_seeker *k = &f->seeker;
    fc_stage *stage = &f->batch.stage;
    if (k->n_reads == 0) return;
    k->dev_lists = fc_stage_put(stage, k->lists, (size_t)k->n_reads * sizeof *k->lists);
    k->dev_segments = fc_stage_put(stage, k->segments, (size_t)k->n_reads * sizeof *k->segments);
    k->dev_list_id = fc_stage_put(stage, k->list_id, (size_t)k->n_list * 4);
}

fc_status fc_searching_launch(fc_sched *s, fc_flight *f) {
    fc_seeker *k = &f->seeker;
    fc_lane *l = s->lane[FC_NOVELTY];
    fc_backend *be = l->be;
    FC_TRY(fc_forward_pick(l->model, k->dev_segments, k->n_reads, k->dev_list_id, k->n_list, f->batch.n_outs, k->dev_lp,
                           &l->work));
    FC_TRY(be->list_logprob(be->stream, &(fc_list_logprob_args){.lp = k->dev_lp,
                                                                .value = k->dev_lp,
                                                                .ids = k->dev_list_id,
                                                                .rows = k->dev_lists,
                                                                .n_rows = k->n_reads,
                                                                .V = l->model->cfg.V}));
    return be->download(be, k->lp, k->dev_lp, (size_t)k->n_list * 4);
}
