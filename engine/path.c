/* path - the text of a candidate: stop strings, what may be sent already, and its end. */
#include "engine/sched.h"

#include <string.h>

/* ---- text of a path, kept only where stop strings or events need it ---- */

static bool keeps_text(const fc_job *j) { return j->events || j->sampling.n_stop > 0; }

/* Tokens of a candidate that may be drawn again are not sent. */
static bool sends_tokens(const fc_job *j) { return j->events && j->constraint != FC_CONSTRAINT_REJECT; }

/* Where the first stop string begins in the text, or SIZE_MAX. Nothing before `from` can begin one. */
static size_t find_stop(const fc_job *j, const fc_str *text, size_t from, int *which) {
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < j->sampling.n_stop; i++) {
        size_t n = j->stop_sizes[i];
        for (size_t at = from; at + n <= text->size && at < best; at++)
            if (memcmp(text->data + at, j->sampling.stop[i], n) == 0) {
                best = at;
                *which = (int)i;
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
    if ((size_t)id >= fc_tok_size(s->o.tok[FC_NOVELTY])) return FC_OK;
    return fc_tok_stream_put(&p->stream, id, &p->text);
}

fc_status fc_path_grow(fc_sched *s, fc_job *j, int path, int32_t id, bool *stopped) {
    fc_path *p = &j->paths[path];
    size_t before = p->text.size, from, at;
    *stopped = false;
    if (!keeps_text(j)) return FC_OK;
    FC_TRY(put_text(s, p, id));
    from = before >= j->longest_stop ? before - j->longest_stop + 1 : 0; /* what ends in the new text */
    /* before min_tokens a stop string is text like any other */
    at = j->sampling.n_stop && p->n >= j->sampling.min_tokens ? find_stop(j, &p->text, from, &p->stop) : SIZE_MAX;
    if (at != SIZE_MAX) {
        p->text.size = at;
        p->text.data[at] = '\0';
        *stopped = true;
    }
    return FC_OK;
}

/* ---- finishing ---- */

int32_t fc_path_end_id(const fc_path *p) { return p->n > p->n_text ? p->ids[p->n - 1] : -1; }

int fc_path_stop(const fc_job *j, const fc_path *p) {
    return p->finish == FC_FINISH_STOP && p->n == p->n_text && j->sampling.n_stop ? p->stop : -1;
}

/* What ended the candidate, behind its text. */
static fc_status put_end(const fc_sched *s, const fc_job *j, fc_path *p, bool ended) {
    if (!j->sampling.include_stop || p->finish != FC_FINISH_STOP) return FC_OK;
    if (!ended) return fc_str_put(&p->text, j->sampling.stop[p->stop], j->stop_sizes[p->stop]);
    FC_TRY(put_text(s, p, p->ids[p->n - 1]));
    return fc_tok_stream_finish(&p->stream, &p->text);
}

static fc_status final_text(fc_sched *s, fc_job *j, fc_path *p, bool cut) {
    for (int i = 0; !keeps_text(j) && i < p->n_text; i++) FC_TRY(put_text(s, p, p->ids[i]));
    return cut ? FC_OK : fc_tok_stream_finish(&p->stream, &p->text);
}

static fc_status keep_ids(fc_job *j, const int32_t *ids, size_t n, fc_path *p) {
    void *mem;
    FC_TRY(fc_arena_alloc(&j->arena, n ? n : 1, sizeof *ids, &mem));
    if (n) memcpy(mem, ids, n * sizeof *ids);
    p->score_ids = mem;
    p->n_score_ids = (int)n;
    return FC_OK;
}

/* The candidate's ids for the alignment model: a name's one path, else as drawn; for another tokenizer its text,
 * tokenised apart from the prompt. */
static fc_status score_ids(fc_sched *s, fc_job *j, fc_path *p) {
    const fc_model_config *c = &s->lane[FC_ALIGNMENT]->model->cfg;
    const fc_prompt text = {.pieces = &(fc_piece){fc_str_text(&p->text), p->text.size, false}, .n_pieces = 1};
    int32_t *ids;
    size_t n;
    fc_status st;
    if (!s->o.same_tokenizer) {
        FC_TRY(fc_prompt_encode(s->o.tok[FC_ALIGNMENT], c->V, &text, false, "candidate", &ids, &n));
        st = keep_ids(j, ids, n, p);
        fc_free(ids);
        return st;
    }
    p->score_ids = p->ids;
    p->n_score_ids = p->n_text;
    if (p->name >= 0) {
        void *mem;
        int leaf = j->trie->leaf[p->name];
        FC_TRY(fc_arena_alloc(&j->arena, (size_t)j->trie->depth[leaf], sizeof *ids, &mem));
        p->score_ids = mem;
        p->n_score_ids = fc_trie_path(j->trie, leaf, mem) - 1; /* without the end token */
    }
    for (int i = 0; i < p->n_score_ids; i++)
        if (p->score_ids[i] >= c->V)
            return FC_FAIL(FC_ERR_ARG, "candidate: id %d was drawn; the alignment model's vocabulary has %d ids",
                           p->score_ids[i], c->V);
    return FC_OK;
}

/* ---- again: constraint reject ---- */

/* Cuts the group's members, in rising order, into those with attempts left and the others; heads, or -1. */
static void part_members(fc_sched *s, fc_job *j, int path, int *again, int *stay) {
    int last[2] = {-1, -1}, head[2] = {-1, -1};
    for (int m = path, next; m >= 0; m = next) {
        int redo = j->attempt[m] < j->reject_budget;
        next = j->members[m];
        if (head[redo] < 0) head[redo] = m;
        else j->members[last[redo]] = m;
        last[redo] = m;
        j->members[m] = -1;
        j->attempt[m] += redo;
        j->discarded[m] += redo ? j->paths[path].n : 0;
        j->rows.redraws += redo;
        s->stats.redraws += redo;
    }
    *stay = head[0];
    *again = head[1];
}

/* The group drew no name. Members with attempts left become a group that begins again behind the prompt; *stay is the
 * head of the others, who finish, or -1. */
static fc_status draw_again(fc_sched *s, fc_job *j, int path, int *stay) {
    fc_path *from = &j->paths[path], *p;
    int again;
    part_members(s, j, path, &again, stay);
    if (again < 0) return FC_OK;
    if (*stay >= 0 && *stay != path) {
        fc_path *to = &j->paths[*stay];
        FC_TRY(fc_path_copy(j, from, to));
        fc_str_clear(&to->text);
        FC_TRY(fc_str_put(&to->text, fc_str_text(&from->text), from->text.size));
        to->finish = from->finish;
        to->n_text = from->n_text;
        to->name = from->name;
        to->stop = from->stop;
    }
    p = &j->paths[again];
    p->n = 0;
    p->replay_to = j->n_prompt;
    p->finish = FC_FINISH_NONE;
    p->emitted = 0;
    fc_str_clear(&p->text);
    fc_tok_stream_fini(&p->stream);
    fc_tok_stream_init(&p->stream, s->o.tok[FC_NOVELTY]);
    p->stream.special = !j->sampling.skip_special;
    j->group_next[again] = j->redraw;
    j->redraw = again;
    j->n_open++;
    return FC_OK;
}

/* ---- the end ---- */

void fc_path_finish(fc_sched *s, fc_job *j, int path, fc_finish finish, bool ended) {
    fc_path *p = &j->paths[path];
    fc_status st;
    p->finish = finish;
    p->n_text = p->n - (ended ? 1 : 0);
    p->votes = 0;
    j->n_open--;
    st = final_text(s, j, p, finish == FC_FINISH_STOP && !ended);
    if (j->names) p->name = fc_names_find(j->names, fc_str_text(&p->text), p->text.size);
    if (!st && j->constraint == FC_CONSTRAINT_REJECT) {
        int stay = path;
        if (p->name < 0) st = draw_again(s, j, path, &stay);
        if (st) fc_job_fail(j, st);
        if (st || stay < 0) return;
        path = stay;
        p = &j->paths[path];
    }
    for (int m = path; m >= 0; m = j->members[m]) p->votes++;
    if (!st && j->score) st = score_ids(s, j, p);
    if (!st) st = put_end(s, j, p, ended);
    if (st) fc_job_fail(j, st);
    j->finished[j->n_finished++] = path;
    if (j->events && !st)
        for (int m = path; m >= 0; m = j->members[m]) s->o.sink.candidate(s->o.sink.arg, j, m, p);
}

/* ---- splitting and sending ---- */

fc_status fc_path_copy(const fc_job *j, const fc_path *from, fc_path *to) {
    int n = from->n;
    size_t tops = (size_t)n * (size_t)j->sampling.top_logprobs;
    if (from == to) return FC_OK;
    to->n = n;
    to->replay_to = from->replay_to;
    to->node = from->node;
    to->full = from->full;
    to->mass = from->mass;
    memcpy(to->ids, from->ids, (size_t)n * sizeof *to->ids);
    memcpy(to->logprobs, from->logprobs, (size_t)n * sizeof *to->logprobs);
    memcpy(to->top_ids, from->top_ids, tops * sizeof *to->top_ids);
    memcpy(to->top_logprobs, from->top_logprobs, tops * sizeof *to->top_logprobs);
    memcpy(to->id_logprobs, from->id_logprobs, (size_t)n * j->sampling.n_logprob_ids * sizeof *to->id_logprobs);
    if (!keeps_text(j)) return FC_OK;
    fc_str_clear(&to->text);
    FC_TRY(fc_str_put(&to->text, fc_str_text(&from->text), from->text.size));
    FC_TRY(fc_tok_stream_copy(&from->stream, &to->stream));
    to->emitted = from->emitted;
    return FC_OK;
}

void fc_path_send(fc_sched *s, fc_job *j, int path, bool final) {
    fc_path *p = &j->paths[path];
    size_t safe = p->text.size;
    if (!sends_tokens(j)) return;
    if (!final) safe -= held_back(j, &p->text);
    if (safe < p->emitted) safe = p->emitted;
    for (int m = path; m >= 0; m = j->members[m])
        s->o.sink.token(s->o.sink.arg, j, m, p, fc_str_text(&p->text) + p->emitted, safe - p->emitted);
    p->emitted = safe;
}
