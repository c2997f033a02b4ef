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
        .gumbel = p->gumbel,
        .weight = p->weight,
        .full_logprob = j->full_logprob ? p->full : NAN,
        .votes = p->votes,
        .valid = j->names ? p->name >= 0 : -1,
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

static double valid_mass(const fc_job *j) {
    double sum = 0;
    if (j->constraint == FC_CONSTRAINT_REJECT) return (double)j->n_valid_first / j->n;
    if (!j->full_logprob) return NAN;
    for (int k = 0; k < j->n_finished; k++) {
        const fc_path *p = &j->paths[j->finished[k]];
        sum += p->votes * exp(p->mass);
    }
    return sum / j->n;
}

static fc_confidence confidence_of(const fc_job *j, const fc_candidate *ranked, int distinct, double mass) {
    fc_confidence c = {
        .logprob = ranked[0].logprob, .distinct = distinct, .n_used = j->n, .margin = NAN, .valid_mass = mass};
    for (int i = 0; i < distinct; i++) {
        double share = (double)ranked[i].votes / j->n;
        c.entropy -= share * log(share);
    }
    if (c.entropy == 0) c.entropy = 0; /* not -0 */
    c.vote_share = (double)ranked[0].votes / j->n;
    if (j->score && distinct > 1) c.margin = ranked[0].score - ranked[1].score;
    return c;
}

/* ---- distinct candidates ---- */

/* A name is one candidate whatever path drew it; else ids tell. */
static int compare(const fc_path *x, const fc_path *y) {
    int c = x->name == y->name ? 0 : x->name < y->name ? -1 : 1;
    if (c == 0 && x->name < 0) c = x->n == y->n ? 0 : x->n < y->n ? -1 : 1;
    if (c == 0 && x->name < 0 && x->n) c = memcmp(x->ids, y->ids, (size_t)x->n * sizeof *x->ids);
    return c;
}

static int by_identity(const void *a, const void *b) {
    const fc_path *x = *(const fc_path *const *)a, *y = *(const fc_path *const *)b;
    int c = compare(x, y);
    return c ? c : x < y ? -1 : x > y; /* equal ones by index: they lie in one array */
}

/* Candidates that are the same although they were drawn apart (one name over two paths, or without coalescing) become one:
 * that of the smallest index gets all votes, and same[] names it. *distinct of them come first in j->finished. */
static fc_status merge(fc_job *j, int *same, int *distinct) {
    fc_path **order;
    int n = 0;
    void *p;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)j->n_finished, sizeof *order, &p));
    order = p;
    for (int i = 0; i < j->n_finished; i++) order[i] = &j->paths[j->finished[i]];
    qsort(order, (size_t)j->n_finished, sizeof *order, by_identity);
    for (int i = 0; i < j->n_finished; i++) {
        int path = (int)(order[i] - j->paths), first = n ? j->finished[n - 1] : -1;
        if (first >= 0 && compare(&j->paths[first], order[i]) == 0) {
            j->paths[first].votes += order[i]->votes;
            same[path] = first;
        } else {
            j->finished[n++] = path;
            same[path] = path;
        }
    }
    *distinct = n;
    return FC_OK;
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
    fc_accounting rows = account(j);
    fc_result *r;
    double mass;
    void *p;
    int distinct, n_finished = j->n_finished, *same, *finished;
    FC_ASSERT(n_finished > 0);
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)j->n, sizeof *same, &p));
    same = p;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)n_finished, sizeof *finished, &p));
    finished = p;
    memcpy(finished, j->finished, (size_t)n_finished * sizeof *finished);
    mass = valid_mass(j); /* before candidates are merged away: each path has its own */
    FC_TRY(merge(j, same, &distinct));
    FC_TRY(fc_arena_alloc(&j->arena, 1, sizeof *r, &p));
    r = p;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)distinct, sizeof *ranked, &p));
    ranked = p;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)j->n, sizeof *all, &p));
    all = p;
    for (int i = 0; i < distinct; i++) ranked[i] = describe(j, j->finished[i], &j->paths[j->finished[i]]);
    qsort(ranked, (size_t)distinct, sizeof *ranked, j->score ? by_score : by_logprob);
    for (int i = 0; i < distinct; i++) ranked[i].rank = i < j->keep ? i + 1 : 0;
    for (int i = 0; i < n_finished; i++) {
        const fc_candidate *c = ranked;
        while (c->index != same[finished[i]]) c++;
        if (c->finish == FC_FINISH_GIVEN) {
            for (int k = 0; k < j->n; k++)
                if (j->members[k] == c->index) all[k] = *c;
        } else {
            for (int m = finished[i]; m >= 0; m = j->members[m]) all[m] = *c;
        }
    }
    for (int i = 0; i < j->n; i++) all[i].index = i;
    *r = (fc_result){
        .n = j->n,
        .n_kept = distinct < j->keep ? distinct : j->keep,
        .n_all = j->n,
        .kept = ranked,
        .all = all,
        .confidence = confidence_of(j, ranked, distinct, mass),
        .accounting = rows,
        .timings = timings(j, load_ms),
        .scored = j->score,
        .prompt_tokens = (size_t)(j->max_tokens ? j->n_prompt : j->n_align),
    };
    *out = r;
    return FC_OK;
}
