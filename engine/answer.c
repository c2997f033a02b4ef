#include "engine/answer.h"

#include "engine/stop_job.h"

#include <math.h>
#include <string.h>

/* The candidates that the answer covers, n of them, and the distinct ones among them, best first. */
typedef struct {
    int n, distinct;
    int *path;           /* [n] whose path a candidate has: its group's head, or who was given the same before */
    int *same;           /* [n] index of the distinct candidate that it is */
    int *votes;          /* [n] by index of a distinct one */
    int *place;          /* [n] by index of a distinct one: in order[] */
    fc_rank_item *order; /* [distinct] */
} covered;

static fc_candidate describe(const fc_job *j, int index, int votes) {
    const fc_path *p = &j->paths[index];
    bool given = p->finish == FC_FINISH_GIVEN;
    return (fc_candidate){
        .index = index,
        .text = fc_str_text(&p->text),
        .text_size = p->text.size,
        .tokens = p->ids,
        .n_tokens = (size_t)p->n_text,
        .score = p->score,
        .hopeless = p->hopeless,
        .logprob = fc_job_logprob(p),
        .gumbel = p->gumbel,
        .weight = p->weight,
        .full_logprob = j->full_logprob ? p->full : NAN,
        .votes = votes,
        .valid = j->names ? p->name >= 0 : -1,
        .finish = p->finish,
        .stop = fc_path_stop(j, p),
        .end_id = fc_path_end_id(p),
        .logprobs = p->logprobs,
        .n_logprobs = given ? 0 : (size_t)p->n,
        .top_ids = p->top_ids,
        .top_logprobs = p->top_logprobs,
        .top_n = given ? 0 : j->sampling.top_logprobs,
        .ids = given ? NULL : j->sampling.logprob_ids,
        .id_logprobs = p->id_logprobs,
        .n_ids = given ? 0 : (int)j->sampling.n_logprob_ids,
    };
}

/* ---- who is covered, and in what order ---- */

static fc_status ints(fc_job *j, int n, int **out) {
    void *p;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)n, sizeof **out, &p));
    *out = p;
    return FC_OK;
}

static void find_paths(const fc_job *j, covered *c) {
    for (int i = 0; i < c->n; i++) c->path[i] = -1;
    for (int k = 0; k < j->n_finished; k++) {
        int path = j->finished[k];
        if (j->paths[path].finish == FC_FINISH_GIVEN) continue;
        for (int m = path; m >= 0; m = j->members[m])
            if (m < c->n) c->path[m] = path;
    }
    for (int i = 0; i < c->n; i++) {
        if (j->paths[i].finish == FC_FINISH_GIVEN) c->path[i] = j->members[i];
        FC_ASSERT(c->path[i] >= 0);
    }
}

/* Candidates that are the same although they were drawn apart (one name over two paths, or without coalescing) are one:
 * that of the smallest index has all votes. */
static fc_status cover(fc_job *j, covered *c) {
    fc_distinct seen;
    void *p;
    *c = (covered){.n = j->n_used};
    FC_TRY(ints(j, c->n, &c->path));
    FC_TRY(ints(j, c->n, &c->same));
    FC_TRY(ints(j, c->n, &c->votes));
    FC_TRY(ints(j, c->n, &c->place));
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)c->n, sizeof *c->order, &p));
    c->order = p;
    FC_TRY(fc_distinct_open(&j->arena, c->n, &seen));
    find_paths(j, c);
    for (int i = 0; i < c->n; i++) {
        c->same[i] = c->path[i] == i ? fc_distinct_put(&seen, j->paths, i) : c->same[c->path[i]];
        c->votes[c->same[i]]++;
        if (c->same[i] == i) c->order[c->distinct++] = fc_stop_job_item(j, i);
    }
    fc_rank_sort(c->order, c->distinct);
    for (int k = 0; k < c->distinct; k++) c->place[c->order[k].index] = k;
    return FC_OK;
}

/* ---- confidence ---- */

/* Mean over candidates of what their draws left of the whole vocabulary; under reject, of valid first attempts. */
static double valid_mass(const fc_job *j, const covered *c) {
    double sum = 0;
    if (j->constraint != FC_CONSTRAINT_REJECT && !j->full_logprob) return NAN;
    for (int i = 0; i < c->n; i++) {
        const fc_path *p = &j->paths[c->path[i]];
        if (j->constraint == FC_CONSTRAINT_REJECT) sum += j->attempt[i] == 0 && p->name >= 0;
        else sum += exp(p->mass);
    }
    return sum / c->n;
}

static fc_confidence confidence_of(const fc_job *j, const covered *c) {
    int best = c->order[0].index;
    fc_confidence f = {.logprob = fc_job_logprob(&j->paths[best]),
                       .vote_share = (double)c->votes[best] / c->n,
                       .distinct = c->distinct,
                       .margin = j->score ? fc_rank_margin(c->order, c->distinct) : NAN,
                       .valid_mass = valid_mass(j, c),
                       .n_used = c->n};
    for (int k = 0; k < c->distinct; k++) {
        double share = (double)c->votes[c->order[k].index] / c->n;
        f.entropy -= share * log(share);
    }
    if (f.entropy == 0) f.entropy = 0; /* not -0 */
    return f;
}

/* ---- accounting ---- */

/* What separate runs of prompt and candidate would compute. */
static fc_accounting account(const fc_job *j, const covered *c) {
    fc_accounting a = j->rows;
    for (int i = 0; i < c->n; i++) {
        const fc_path *p = &j->paths[c->path[i]];
        if (j->max_tokens) {
            a.rows_flat_prefill += j->n_prompt;
            a.rows_flat_decode += p->n ? p->n - 1 : 0;
        }
        if (j->score) a.rows_flat_score += (int64_t)j->n_align + fc_job_tail_rows(j, p);
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

/* ---- the result ---- */

/* Places of the kept in c->order. */
static fc_status keep(fc_job *j, const covered *c, int **kept, int *n_kept) {
    fc_rank_marks marks;
    FC_TRY(fc_rank_marks_open(&j->arena, j->diversity ? fc_names_count_tags(j->names, j->diversity) : 0, &marks));
    FC_TRY(ints(j, j->keep, kept));
    *n_kept = fc_rank_keep(c->order, c->distinct, j->keep, &marks, *kept);
    return FC_OK;
}

fc_status fc_answer_make(fc_job *j, double load_ms, const fc_result **out) {
    covered c;
    fc_candidate *distinct, *kept, *all;
    fc_result *r;
    void *p;
    int *place, n_kept;
    FC_ASSERT(j->n_used > 0);
    FC_TRY(cover(j, &c));
    FC_TRY(keep(j, &c, &place, &n_kept));
    FC_TRY(fc_arena_alloc(&j->arena, 1, sizeof *r, &p));
    r = p;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)c.distinct, sizeof *distinct, &p));
    distinct = p;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)n_kept, sizeof *kept, &p));
    kept = p;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)c.n, sizeof *all, &p));
    all = p;
    for (int k = 0; k < c.distinct; k++) distinct[k] = describe(j, c.order[k].index, c.votes[c.order[k].index]);
    for (int k = 0; k < n_kept; k++) {
        distinct[place[k]].rank = k + 1;
        kept[k] = distinct[place[k]];
    }
    for (int i = 0; i < c.n; i++) {
        all[i] = distinct[c.place[c.same[i]]];
        all[i].index = i;
    }
    *r = (fc_result){
        .n = j->wave,
        .n_kept = n_kept,
        .n_all = c.n,
        .kept = kept,
        .all = all,
        .confidence = confidence_of(j, &c),
        .accounting = account(j, &c),
        .timings = timings(j, load_ms),
        .scored = j->score,
        .prompt_tokens = (size_t)(j->max_tokens ? j->n_prompt : j->n_align),
        .prompt_cached = (size_t)j->prompt_cached,
        .prompt_ids = j->max_tokens ? j->prompt : j->align,
        .prompt_logprobs = j->echo.lp,
        .prompt_top_ids = j->echo.top_ids,
        .prompt_top_logprobs = j->echo.top_lp,
        .prompt_top_n = j->echo.top,
    };
    *out = r;
    return FC_OK;
}
