#include "engine/answer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double logprob_of(const fc_path *p) {
    double sum = 0;
    if (p->finish == FC_FINISH_GIVEN) return NAN;
    for (int i = 0; i < p->n; i++) sum += (double)p->logprobs[i];
    return sum;
}

static int valid_name(const fc_job *j, const fc_path *p) {
    if (j->n_names == 0) return -1;
    for (size_t i = 0; i < j->n_names; i++)
        if (j->name_sizes[i] == p->text.size && memcmp(j->names[i], fc_str_text(&p->text), p->text.size) == 0) return 1;
    return 0;
}

static fc_candidate describe(const fc_job *j, int index, const fc_path *p) {
    bool given = p->finish == FC_FINISH_GIVEN;
    return (fc_candidate){
        .index = index,
        .text = fc_str_text(&p->text),
        .text_size = p->text.size,
        .tokens = p->ids,
        .n_tokens = (size_t)p->n_text,
        .score = p->score,
        .logprob = logprob_of(p),
        .votes = p->votes,
        .valid = valid_name(j, p),
        .finish = p->finish,
        .logprobs = p->logprobs,
        .n_logprobs = given ? 0 : (size_t)p->n,
        .top_ids = p->top_ids,
        .top_logprobs = p->top_logprobs,
        .top_n = given ? 0 : j->sampling.top_logprobs,
    };
}

/* ---- ranking ---- */

/* What candidates are ordered by: NaN counts as the lowest. */
static double key_of(const fc_candidate *c, bool scored) {
    double v = scored ? c->score : c->logprob;
    return isnan(v) ? -INFINITY : v;
}

static int by_score(const void *a, const void *b) {
    const fc_candidate *x = a, *y = b;
    double kx = key_of(x, true), ky = key_of(y, true);
    if (kx != ky) return kx < ky ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int by_logprob(const void *a, const void *b) {
    const fc_candidate *x = a, *y = b;
    double kx = key_of(x, false), ky = key_of(y, false);
    if (kx != ky) return kx < ky ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static fc_confidence confidence_of(const fc_job *j, const fc_candidate *ranked, int distinct) {
    fc_confidence c = {
        .logprob = ranked[0].logprob, .distinct = distinct, .n_used = j->n, .margin = NAN, .valid_mass = NAN};
    for (int i = 0; i < distinct; i++) {
        double share = (double)ranked[i].votes / j->n;
        c.entropy -= share * log(share);
    }
    if (c.entropy == 0) c.entropy = 0; /* not -0 */
    c.vote_share = (double)ranked[0].votes / j->n;
    if (j->score && distinct > 1) c.margin = ranked[0].score - ranked[1].score;
    return c;
}

/* ---- accounting ---- */

/* What n separate runs of prompt and candidate would compute. */
static fc_accounting account(const fc_job *j) {
    fc_accounting a = j->rows;
    for (int k = 0; k < j->n_finished; k++) {
        const fc_path *p = &j->paths[j->finished[k]];
        if (j->max_tokens) {
            a.rows_flat_prefill += (int64_t)p->votes * j->n_prompt;
            a.rows_flat_decode += (int64_t)p->votes * (p->n - 1);
        }
        if (j->score) {
            a.rows_flat_score += (int64_t)p->votes * ((int64_t)j->n_align + fc_job_tail_rows(j, p));
        }
    }
    return a;
}

static double ms(uint64_t from, uint64_t to) { return to > from ? (double)(to - from) * 1e-6 : 0; }

static fc_timings_ms timings(const fc_job *j, double load_ms) {
    const fc_job_clock *c = &j->clock;
    fc_timings_ms t = {.load = load_ms,
                       .queue = ms(c->submit_ns, c->admit_ns),
                       .host = c->host_ms,
                       .total = ms(c->submit_ns, c->end_ns)};
    if (c->first_draw_ns) {
        t.prefill = ms(c->admit_ns, c->first_draw_ns);
        t.decode = ms(c->first_draw_ns, c->last_draw_ns);
    }
    if (c->score_begin_ns) t.score = ms(c->score_begin_ns, c->end_ns);
    return t;
}

fc_status fc_answer_make(fc_job *j, double load_ms, const fc_result **out) {
    fc_candidate *ranked, *all;
    fc_result *r;
    void *p;
    int distinct = j->n_finished;
    FC_ASSERT(distinct > 0);
    FC_TRY(fc_arena_alloc(&j->arena, 1, sizeof *r, &p));
    r = p;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)distinct, sizeof *ranked, &p));
    ranked = p;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)j->n, sizeof *all, &p));
    all = p;
    for (int i = 0; i < distinct; i++) ranked[i] = describe(j, j->finished[i], &j->paths[j->finished[i]]);
    qsort(ranked, (size_t)distinct, sizeof *ranked, j->score ? by_score : by_logprob);
    for (int i = 0; i < distinct; i++) {
        int path = ranked[i].index;
        ranked[i].rank = i < j->keep ? i + 1 : 0;
        if (ranked[i].finish == FC_FINISH_GIVEN) {
            for (int k = 0; k < j->n; k++)
                if (j->members[k] == path) all[k] = ranked[i];
        } else {
            for (int m = path; m >= 0; m = j->members[m]) all[m] = ranked[i];
        }
    }
    for (int i = 0; i < j->n; i++) all[i].index = i;
    *r = (fc_result){
        .n = j->n,
        .n_kept = distinct < j->keep ? distinct : j->keep,
        .n_all = j->n,
        .kept = ranked,
        .all = all,
        .confidence = confidence_of(j, ranked, distinct),
        .accounting = account(j),
        .timings = timings(j, load_ms),
        .scored = j->score,
        .prompt_tokens = (size_t)(j->max_tokens ? j->n_prompt : j->n_align),
    };
    *out = r;
    return FC_OK;
}
