/* drawing - draws for branches, splits them where members disagree, finishes candidates. */
#include "engine/sched.h"

#include "engine/base/os.h"

#include <string.h>

/* ---- text of a path, kept only where stop strings or events need it ---- */

static bool keeps_text(const fc_job *j) { return j->events || j->sampling.n_stop > 0; }

/* Where the first stop string begins in the text, or SIZE_MAX. Nothing before `from` can begin one. */
static size_t find_stop(const fc_job *j, const fc_str *text, size_t from) {
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < j->sampling.n_stop; i++) {
        size_t n = j->stop_sizes[i];
        for (size_t at = from; at + n <= text->size && at < best; at++)
            if (memcmp(text->data + at, j->sampling.stop[i], n) == 0) {
                best = at;
                break;
            }
    }
    return best;
}

/* Bytes at the end that may still become a stop string. */
static size_t held_back(const fc_job *j, const fc_str *text) {
    size_t most = j->longest_stop ? j->longest_stop - 1 : 0;
    if (most > text->size) most = text->size;
    for (size_t n = most; n > 0; n--)
        for (size_t i = 0; i < j->sampling.n_stop; i++)
            if (n < j->stop_sizes[i] && memcmp(text->data + text->size - n, j->sampling.stop[i], n) == 0) return n;
    return 0;
}

/* A model may have more rows of embeddings than its tokenizer has ids: those draw as any other and have no text. */
static fc_status put_text(const fc_sched *s, fc_path *p, int32_t id) {
    if ((size_t)id >= fc_tok_size(s->tok[FC_NOVELTY])) return FC_OK;
    return fc_tok_stream_put(&p->stream, id, &p->text);
}

/* Adds one id's text; *stopped when a stop string is complete: the text is cut there. */
static fc_status grow_text(const fc_sched *s, fc_job *j, fc_path *p, int32_t id, bool *stopped) {
    size_t before = p->text.size, from, at;
    *stopped = false;
    if (!keeps_text(j)) return FC_OK;
    FC_TRY(put_text(s, p, id));
    from = before >= j->longest_stop ? before - j->longest_stop + 1 : 0; /* what ends in the new text */
    /* before min_tokens a stop string is text like any other */
    at = j->sampling.n_stop && p->n >= j->sampling.min_tokens ? find_stop(j, &p->text, from) : SIZE_MAX;
    if (at != SIZE_MAX) {
        p->text.size = at;
        p->text.data[at] = '\0';
        *stopped = true;
    }
    return FC_OK;
}

/* ---- finishing ---- */

static fc_status final_text(fc_sched *s, fc_job *j, fc_path *p, bool cut) {
    for (int i = 0; !keeps_text(j) && i < p->n_text; i++) FC_TRY(put_text(s, p, p->ids[i]));
    return cut ? FC_OK : fc_tok_stream_finish(&p->stream, &p->text);
}

/* The candidate's ids for the alignment model: as drawn, or its text tokenised apart from the prompt. */
static fc_status score_ids(fc_sched *s, fc_job *j, fc_path *p) {
    const fc_model_config *c = &s->lane[FC_ALIGNMENT]->model->cfg;
    const fc_prompt text = {.pieces = &(fc_piece){fc_str_text(&p->text), p->text.size, false}, .n_pieces = 1};
    int32_t *ids;
    size_t n;
    void *mem;
    fc_status st;
    if (s->same_tokenizer) {
        p->score_ids = p->ids;
        p->n_score_ids = p->n_text;
        for (int i = 0; i < p->n_text; i++)
            if (p->ids[i] >= c->V)
                return FC_FAIL(FC_ERR_ARG, "candidate: id %d was drawn; the alignment model's vocabulary has %d ids",
                               p->ids[i], c->V);
        return FC_OK;
    }
    FC_TRY(fc_prompt_encode(s->tok[FC_ALIGNMENT], c->V, &text, false, "candidate", &ids, &n));
    st = fc_arena_alloc(&j->arena, n ? n : 1, sizeof *ids, &mem);
    if (!st && n) memcpy(mem, ids, n * sizeof *ids);
    fc_free(ids);
    if (st) return st;
    p->score_ids = mem;
    p->n_score_ids = (int)n;
    return FC_OK;
}

void fc_drawing_finish_path(fc_sched *s, fc_job *j, int path, fc_finish finish, bool ended) {
    fc_path *p = &j->paths[path];
    fc_status st;
    p->finish = finish;
    p->n_text = p->n - (ended ? 1 : 0);
    p->votes = 0;
    for (int m = path; m >= 0; m = j->members[m]) p->votes++;
    st = final_text(s, j, p, finish == FC_FINISH_STOP && !ended);
    if (!st && j->score) st = score_ids(s, j, p);
    if (st) fc_job_fail(j, st);
    j->finished[j->n_finished++] = path;
    if (j->events && !st)
        for (int m = path; m >= 0; m = j->members[m]) s->sink.candidate(s->sink.arg, j, m, p);
}

/* ---- one drawn token ---- */

/* Copies what `from` has drawn to `to`: a member that leaves its branch takes the history along. */
static fc_status copy_path(const fc_job *j, const fc_path *from, int n, fc_path *to) {
    size_t tops = (size_t)n * (size_t)j->sampling.top_logprobs;
    if (from == to) return FC_OK;
    to->n = n;
    memcpy(to->ids, from->ids, (size_t)n * sizeof *to->ids);
    memcpy(to->logprobs, from->logprobs, (size_t)n * sizeof *to->logprobs);
    memcpy(to->top_ids, from->top_ids, tops * sizeof *to->top_ids);
    memcpy(to->top_logprobs, from->top_logprobs, tops * sizeof *to->top_logprobs);
    if (!keeps_text(j)) return FC_OK;
    fc_str_clear(&to->text);
    FC_TRY(fc_str_put(&to->text, fc_str_text(&from->text), from->text.size));
    fc_str_clear(&to->stream.held);
    FC_TRY(fc_str_put(&to->stream.held, fc_str_text(&from->stream.held), from->stream.held.size));
    to->stream.first = from->stream.first;
    to->emitted = from->emitted;
    return FC_OK;
}

/* Sends the text that became certain, to every member of the path. */
static void send_token(fc_sched *s, fc_job *j, int path, bool final) {
    fc_path *p = &j->paths[path];
    size_t safe = p->text.size;
    if (!j->events) return;
    if (!final) safe -= held_back(j, &p->text);
    if (safe < p->emitted) safe = p->emitted;
    for (int m = path; m >= 0; m = j->members[m])
        s->sink.token(s->sink.arg, j, m, p->ids[p->n - 1], p->logprobs[p->n - 1], fc_str_text(&p->text) + p->emitted,
                      safe - p->emitted);
    p->emitted = safe;
}

/* Appends the drawn id to the path and says whether that ends it. */
static fc_status extend(fc_sched *s, fc_job *j, int path, int32_t id, float logprob, const fc_sampler_row *r,
                        bool *over) {
    const fc_sampler *sm = &s->sampler;
    fc_path *p = &j->paths[path];
    int top = j->sampling.top_logprobs;
    bool stopped;
    p->ids[p->n] = id;
    p->logprobs[p->n] = logprob;
    if (top) {
        size_t at = (size_t)p->n * (size_t)top, from = (size_t)r->top * (size_t)sm->top_n;
        memcpy(p->top_ids + at, sm->top_ids + from, (size_t)top * sizeof *p->top_ids);
        memcpy(p->top_logprobs + at, sm->top_logprobs + from, (size_t)top * sizeof *p->top_logprobs);
    }
    p->n++;
    *over = true;
    if (fc_job_is_end(j, id)) {
        send_token(s, j, path, true); /* with the text that was held back as a possible stop string */
        fc_drawing_finish_path(s, j, path, FC_FINISH_STOP, true);
        return FC_OK;
    }
    FC_TRY(grow_text(s, j, p, id, &stopped));
    if (stopped) {
        send_token(s, j, path, true);
        fc_drawing_finish_path(s, j, path, FC_FINISH_STOP, false);
        return FC_OK;
    }
    *over = p->n == j->max_tokens;
    send_token(s, j, path, *over);
    if (*over) fc_drawing_finish_path(s, j, path, FC_FINISH_LENGTH, false);
    return FC_OK;
}

/* Members of a branch drew: those with the same id stay together, their links rewritten. Leaves in who[] the first member
 * of each group at its place in the old order, -1 elsewhere, and gives each group its own history. */
static fc_status split_members(fc_job *j, const fc_sampler_row *r, const int32_t *token, int32_t *who) {
    int n = 0;
    for (int m = r->path; m >= 0; m = j->members[m]) who[n++] = m;
    FC_ASSERT(n == r->n_members);
    for (int i = 0; i < n; i++) {
        int last = who[i];
        if (who[i] < 0) continue;
        for (int k = i + 1; k < n; k++) {
            if (who[k] < 0 || token[k] != token[i]) continue;
            j->members[last] = who[k];
            last = who[k];
            who[k] = -1;
        }
        j->members[last] = -1;
        /* before anybody appends: the first group goes on in the old path */
        FC_TRY(copy_path(j, &j->paths[r->path], j->paths[r->path].n, &j->paths[who[i]]));
    }
    return FC_OK;
}

/* The first group that goes on keeps the KV table, the others fork it; nobody goes on: the table is closed and the
 * branch's job set to NULL. New branches go to the list's end. */
static fc_status commit(fc_sched *s, int list, int at, const fc_sampler_row *r) {
    const fc_branch old = s->branches[list][at];
    fc_job *j = old.job;
    const int32_t *token = s->sampler.token + r->member;
    int32_t *who = s->sampler.scratch;
    bool kept = false;
    j->n_open--;
    if (r->status) return FC_OK; /* the job has failed and is cleared away as a whole */
    FC_TRY(split_members(j, r, token, who));
    for (int i = 0; i < r->n_members; i++) {
        fc_branch b = old;
        bool over;
        if (who[i] < 0) continue;
        FC_TRY(extend(s, j, who[i], token[i], s->sampler.logprob[r->member + i], r, &over));
        if (over) continue;
        b.path = who[i];
        b.feed = &j->paths[who[i]].ids[j->paths[who[i]].n - 1];
        b.n_feed = 1;
        b.fed = 0;
        j->n_open++;
        if (kept) {
            FC_TRY(fc_kv_fork(s->lane[FC_NOVELTY]->kv, old.table, &b.table));
            fc_sched_push(s, FC_NOVELTY, &b);
        } else {
            s->branches[list][at] = b;
            kept = true;
        }
    }
    if (!kept) {
        fc_sched_table_close(s, FC_NOVELTY, j, old.table);
        s->branches[list][at].job = NULL;
    }
    return FC_OK;
}

/* ---- one batch ---- */

static bool wants_draw(const fc_branch *b) { return b->job && b->kind == FC_BRANCH_DRAW && b->n_outs == 1; }

/* Draws for the collected rows: branches [first, last) of the list, whose logits rows are counted from 0. */
static fc_status draw_chunk(fc_sched *s, int list, const int *at, int R) {
    uint64_t now, begin = fc_clock_ns();
    FC_TRY(fc_sampler_run(&s->sampler, s->lane[FC_NOVELTY]->work.logits, R));
    now = fc_clock_ns();
    s->op_ns += now - begin;
    for (int i = 0; i < s->sampler.n_rows; i++) {
        fc_job *j = s->sampler.rows[i].job;
        fc_status st;
        if (!j->clock.first_draw_ns) j->clock.first_draw_ns = now;
        j->clock.last_draw_ns = now;
        st = commit(s, list, at[i], &s->sampler.rows[i]);
        if (st) fc_job_fail(j, st);
    }
    return FC_OK;
}

fc_status fc_drawing_run(fc_sched *s) {
    fc_lane *l = s->lane[FC_NOVELTY];
    int list = fc_sched_list(s, FC_NOVELTY), n = s->n_branches[list], *at = s->draw_at;
    size_t D = (size_t)l->model->cfg.D;
    for (int i = 0; i < n;) {
        int R = 0;
        uint64_t begin;
        fc_sampler_begin(&s->sampler);
        for (; i < n && R < l->work.max_logit_rows; i++) {
            fc_branch *b = &s->branches[list][i];
            if (!wants_draw(b) || b->job->failed) continue;
            if (!fc_sampler_add(&s->sampler, b->job, b->path, R)) break;
            at[R++] = i;
        }
        if (R == 0) {
            FC_ASSERT(i == n); /* a first row always fits into the sampler's lists */
            break;
        }
        begin = fc_clock_ns();
        for (int first = 0, k = 1; first < R; first = k++) { /* neighbouring outputs in one call of the head */
            int out = s->branches[list][at[first]].out;
            while (k < R && s->branches[list][at[k]].out == out + k - first) k++;
            FC_TRY(fc_forward_logits(l->model, l->work.out + (size_t)out * D, k - first, first, &l->work));
        }
        s->op_ns += fc_clock_ns() - begin;
        FC_TRY(draw_chunk(s, list, at, R));
    }
    return FC_OK;
}
