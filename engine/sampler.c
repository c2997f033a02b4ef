#include "engine/sampler.h"

#include "engine/base/sort.h"
#include "engine/ranges.h"

#include <math.h>
#include <string.h>

/* ---- memory ---- */

typedef struct {
    void *host, *dev; /* where the two pointers go; dev NULL: a list, which goes by the stage */
    size_t count, size;
} buffer;

enum { N_BUFFERS = 20 };

static void list_buffers(fc_sampler *s, buffer b[N_BUFFERS]) {
    size_t rows = (size_t)s->max_rows, members = (size_t)s->max_members, entries = (size_t)s->max_entries;
    const buffer all[N_BUFFERS] = {
        {&s->head, NULL, rows, sizeof *s->head},
        {&s->draw, NULL, rows, sizeof *s->draw},
        {&s->members, NULL, members, sizeof *s->members},
        {&s->bias_id, NULL, entries, 4},
        {&s->bias_value, NULL, entries, 4},
        {&s->seen_id, NULL, entries, 4},
        {&s->seen_count, NULL, entries, 4},
        {&s->top_rows, NULL, rows, 4},
        {&s->token, &s->dev.token, members, 4},
        {&s->logprob, &s->dev.logprob, members, 4},
        {&s->top_ids, &s->dev.top_ids, rows * FC_TOP_LOGPROBS_MAX, 4},
        {&s->top_logprobs, &s->dev.top_logprobs, rows * FC_TOP_LOGPROBS_MAX, 4},
        {&s->asked_id, NULL, rows * FC_LOGPROB_IDS_MAX, 4},
        {&s->asked_lp, &s->dev.asked_lp, rows * FC_LOGPROB_IDS_MAX, 4},
        {&s->list_id, NULL, entries, 4},
        {&s->lists, NULL, rows, sizeof *s->lists},
        {&s->segments, NULL, rows, sizeof *s->segments},
        {&s->outs, NULL, 2 * rows, 4},
        {&s->lse_list, &s->dev.lse_list, rows, sizeof *s->lse_list},
        {&s->lse_full, &s->dev.lse_full, rows, sizeof *s->lse_full},
    };
    memcpy(b, all, sizeof all);
}

fc_status fc_sampler_open(fc_backend *be, int V, int ctx, int max_rows, int max_logits, int max_members,
                          fc_sampler *out) {
    fc_sampler *s = out;
    buffer b[N_BUFFERS];
    void *p;
    memset(s, 0, sizeof *s);
    s->be = be;
    s->V = V;
    s->max_rows = max_rows;
    s->max_logits = max_logits;
    s->max_members = max_members;
    s->max_entries = 2 * (V + ctx + FC_BAD_WORDS_MAX); /* one row's bias and history always fit */
    list_buffers(s, b);
    for (int i = 0; i < N_BUFFERS; i++) {
        fc_status st = fc_alloc(b[i].count, b[i].size, "draw lists", &p);
        if (!st) {
            memcpy(b[i].host, &p, sizeof p); /* the place holds a typed pointer */
            if (b[i].dev) st = be->alloc(be, b[i].count * b[i].size, "draw lists", &p);
        }
        if (st) {
            fc_sampler_close(s);
            return st;
        }
        if (b[i].dev) memcpy(b[i].dev, &p, sizeof p);
    }
    if (be->alloc(be, (size_t)s->max_entries * sizeof(float), "draw lists", &p)) {
        fc_sampler_close(s);
        return FC_ERR_MEM;
    }
    s->dev.list_value = p;
    if (be->alloc(be, (size_t)max_members * 4, "draw lists", &p)) {
        fc_sampler_close(s);
        return FC_ERR_MEM;
    }
    s->dev.zero = p;
    if (fc_alloc((size_t)max_rows, sizeof *s->rows, "draw rows", &p)) {
        fc_sampler_close(s);
        return FC_ERR_MEM;
    }
    s->rows = p;
    if (fc_alloc((size_t)(s->max_entries > max_members ? s->max_entries : max_members), sizeof *s->scratch,
                 "draw history", &p)) {
        fc_sampler_close(s);
        return FC_ERR_MEM;
    }
    s->scratch = p;
    return FC_OK;
}

void fc_sampler_close(fc_sampler *s) {
    buffer b[N_BUFFERS];
    if (!s->be) return;
    list_buffers(s, b);
    for (int i = N_BUFFERS; i-- > 0;) {
        void *host, *dev = NULL;
        memcpy(&host, b[i].host, sizeof host);
        if (b[i].dev) memcpy(&dev, b[i].dev, sizeof dev);
        s->be->free(s->be, dev);
        fc_free(host);
    }
    s->be->free(s->be, s->dev.zero);
    s->be->free(s->be, s->dev.list_value);
    fc_free(s->scratch);
    fc_free(s->rows);
    memset(s, 0, sizeof *s);
}

size_t fc_sampler_stage_bytes(fc_sampler *s) {
    buffer b[N_BUFFERS];
    size_t bytes = 0;
    list_buffers(s, b);
    for (int i = 0; i < N_BUFFERS; i++)
        if (!b[i].dev) bytes += fc_stage_room(b[i].count * b[i].size);
    return bytes;
}

void fc_sampler_begin(fc_sampler *s) {
    s->n_rows = s->n_members = s->n_bias = s->n_seen = s->n_top = s->top_n = s->n_asked = 0;
    s->n_head = s->n_draw = s->n_logits = s->n_list = s->n_full = s->n_lists = s->n_segments = 0;
}

/* ---- adding a row ---- */

static bool listed(const fc_job *j) { return j->ban.n_allowed > 0 && j->constraint != FC_CONSTRAINT_MASK; }

/* Most entries that put_bias writes. */
static int count_bias(const fc_job *j, const fc_path *p) {
    int names = j->ban.n_allowed && j->constraint == FC_CONSTRAINT_MASK ? j->trie->n_children[p->node] : 0;
    return (int)j->sampling.n_bias + (p->n < j->sampling.min_tokens ? j->n_ends : 0) + names + j->ban.n_words;
}

static void put_ban(fc_sampler *s, int32_t id) {
    s->bias_id[s->n_bias] = id;
    s->bias_value[s->n_bias++] = -INFINITY;
}

/* What a row's logits get added: the request's own bias, and a ban of the ends before min_tokens, of what completes a
 * bad word, and of names that are not allowed. */
static int put_bias(fc_sampler *s, const fc_job *j, const fc_path *p) {
    const fc_sampling *c = &j->sampling;
    int begin = s->n_bias, words;
    for (size_t i = 0; i < c->n_bias; i++) {
        s->bias_id[s->n_bias] = c->bias_ids[i];
        s->bias_value[s->n_bias++] = c->bias_values[i];
    }
    for (int i = 0; p->n < c->min_tokens && i < j->n_ends; i++) put_ban(s, j->ends[i]);
    words = fc_ban_words(&j->ban, p->ids, p->n, s->scratch);
    for (int i = 0; i < words; i++) put_ban(s, s->scratch[i]);
    for (int i = 0; j->ban.n_allowed && j->constraint == FC_CONSTRAINT_MASK && i < j->trie->n_children[p->node]; i++) {
        int32_t id = j->trie->token[j->trie->first_child[p->node] + i];
        if (!fc_ban_allows(&j->ban, id)) put_ban(s, id);
    }
    return s->n_bias - begin;
}

/* The row before is of the same request and has a list, nothing is banned for what one row has drawn, and ends are
 * banned in both or in neither: it is the same list. */
static bool same_bias(const fc_sampler *s, const fc_job *j, int drawn) {
    const fc_sampler_row *r = s->n_rows ? &s->rows[s->n_rows - 1] : NULL;
    int min = j->sampling.min_tokens;
    if (j->ban.n_words || (j->ban.n_allowed && j->constraint == FC_CONSTRAINT_MASK)) return false;
    return r && r->job == j && r->draw >= 0 && (r->length < min) == (drawn < min);
}

static bool penalised(const fc_sampling *c) {
    return c->repetition_penalty != 1.0f || c->presence_penalty != 0.0f || c->frequency_penalty != 0.0f;
}

/* Distinct ids of prompt and output, in rising order, with their counts in the output. */
static int put_seen(fc_sampler *s, const fc_job *j, const fc_path *p) {
    int begin = s->n_seen, i = 0, k = 0;
    if (!penalised(&j->sampling)) return 0;
    if (p->n) memcpy(s->scratch, p->ids, (size_t)p->n * sizeof *p->ids);
    fc_sort_ids(s->scratch, p->n);
    while (i < j->n_prompt_seen || k < p->n) {
        bool prompt = k == p->n || (i < j->n_prompt_seen && j->prompt_seen[i] <= s->scratch[k]);
        int32_t id = prompt ? j->prompt_seen[i] : s->scratch[k];
        int count = 0;
        if (prompt) i++;
        for (; k < p->n && s->scratch[k] == id; k++) count++;
        s->seen_id[s->n_seen] = id;
        s->seen_count[s->n_seen++] = count;
    }
    return s->n_seen - begin;
}

/* The ids that the trie allows behind the path, or the request at all. */
static int list_of(const fc_job *j, const fc_path *p, const int32_t **ids) {
    const fc_trie *t = j->trie;
    if (j->constraint == FC_CONSTRAINT_MASK) {
        *ids = t->token + t->first_child[p->node];
        return t->n_children[p->node];
    }
    *ids = j->ban.allowed;
    return j->ban.n_allowed;
}

static void put_list(fc_sampler *s, const int32_t *ids, int n, fc_sampler_row *r, fc_draw_row *d) {
    memcpy(s->list_id + s->n_list, ids, (size_t)n * 4);
    r->list = s->n_lists;
    d->n_ids = n;
    d->ids = d->values = s->n_list;
    s->lists[s->n_lists++] = (fc_list_row){.row = r->logits, .ids = s->n_list, .values = s->n_list, .n_ids = n};
    s->n_list += n;
}

static int count_members(const fc_job *j, int group, int length) {
    int n = 0;
    for (int g = group; g >= 0; g = j->group_next[g])
        for (int m = j->paths[g].n == length ? g : -1; m >= 0; m = j->members[m]) n++;
    return n;
}

enum { BY_ALLOWED, BY_WORDS, BY_BIAS, BY_MIN, N_BY };

/* Who forbids the id next, of those: bits; 0: nobody. */
static unsigned forbidden_by(const fc_job *j, const fc_path *p, int32_t id) {
    const fc_sampling *c = &j->sampling;
    if (!fc_ban_allows(&j->ban, id)) return 1u << BY_ALLOWED;
    if (fc_ban_forbids(&j->ban, p->ids, p->n, id)) return 1u << BY_WORDS;
    for (size_t i = 0; i < c->n_bias; i++)
        if (c->bias_ids[i] == id && c->bias_values[i] == -INFINITY) return 1u << BY_BIAS;
    return p->n < c->min_tokens && fc_job_is_end(j, id) ? 1u << BY_MIN : 0;
}

/* Where the mask, or allowed_token_ids, and the others have no id in common, the request ends. */
static bool leaves_one(fc_job *j, const fc_path *p, const int32_t *ids, int n) {
    bool mask = j->constraint == FC_CONSTRAINT_MASK;
    unsigned by = 0;
    char set[128];
    for (int i = 0; i < n; i++) {
        unsigned one = forbidden_by(j, p, ids[i]);
        if (!one) return true;
        by |= one;
    }
    fc_fields_set((const fc_field[]){{"constraint mask", mask},
                                     {"allowed_token_ids", !mask || by & 1u << BY_ALLOWED},
                                     {"bad_words", by & 1u << BY_WORDS},
                                     {"logit_bias", by & 1u << BY_BIAS},
                                     {"min_tokens", by & 1u << BY_MIN}},
                  1 + N_BY, set, sizeof set);
    fc_job_fail(j,
                FC_FAIL(FC_ERR_ARG, "%s: together they leave no id to draw as token %d of a candidate", set, p->n + 1));
    return false;
}

/* A draw from the whole vocabulary that needs a temperature and no more. Filters are nothing to a greedy one. */
static bool plain(const fc_job *j) {
    const fc_sampling *c = &j->sampling;
    bool filtered = c->top_k > 0 || c->top_p < 1.0f || c->typical_p < 1.0f || c->min_p > 0.0f;
    return j->constraint != FC_CONSTRAINT_MASK && !listed(j) && !penalised(c) && !c->top_logprobs &&
           !c->n_logprob_ids && (c->temperature == 0.0f || !filtered);
}

/* same: a row with the same bias, or NULL. */
static void put_draw(fc_sampler *s, const fc_job *j, const fc_path *p, const fc_sampler_row *r,
                     const fc_draw_row *same) {
    const fc_sampling *c = &j->sampling;
    fc_draw_row *d = &s->draw[r->draw];
    *d = (fc_draw_row){
        .row = r->logits >= 0 ? r->logits : 0,
        .member = r->member,
        .n_members = r->n_members,
        .bias = same ? same->bias : s->n_bias,
        .seen = s->n_seen,
        .top_k = c->top_k,
        .temperature = c->temperature,
        .top_p = c->top_p,
        .min_p = c->min_p,
        .typical_p = c->typical_p,
        .repetition = c->repetition_penalty,
        .presence = c->presence_penalty,
        .frequency = c->frequency_penalty,
    };
    d->n_bias = same ? same->n_bias : put_bias(s, j, p);
    d->n_seen = put_seen(s, j, p);
}

bool fc_sampler_add(fc_sampler *s, fc_job *j, int group, int length, bool pick) {
    const fc_sampling *c = &j->sampling;
    const bool mask = j->constraint == FC_CONSTRAINT_MASK, whole = c->top_logprobs > 0 || c->n_logprob_ids > 0;
    const fc_path *p;
    const int32_t *list = NULL;
    int members, bias, seen, ids = 0;
    bool shared, head, logits;
    fc_draw_row *d = &s->draw[s->n_draw];
    fc_sampler_row *r = &s->rows[s->n_rows];
    while (j->paths[group].n != length) group = j->group_next[group];
    p = &j->paths[group];
    shared = same_bias(s, j, length);
    seen = penalised(c) ? j->n_prompt_seen + p->n : 0;
    members = count_members(j, group, length);
    bias = shared ? 0 : count_bias(j, p);
    head = plain(j) && bias == 0 && !shared;
    logits = !head && (!mask || !pick || whole);
    if (mask || listed(j)) ids = list_of(j, p, &list);
    if (ids && !leaves_one(j, p, list, ids)) return false;
    if (s->n_rows == s->max_rows || s->n_members + members > s->max_members || s->n_bias + bias > s->max_entries ||
        s->n_seen + seen > s->max_entries || s->n_list + ids > s->max_entries ||
        (logits && s->n_logits == s->max_logits))
        return false;
    *r = (fc_sampler_row){.job = j,
                          .group = group,
                          .length = length,
                          .member = s->n_members,
                          .n_members = members,
                          .top = -1,
                          .asked = -1,
                          .list = -1,
                          .whole = listed(j),
                          .logits = logits ? s->n_logits++ : -1,
                          .head = head ? s->n_head++ : -1,
                          .draw = head ? -1 : s->n_draw++,
                          .full = j->full_logprob ? s->n_full++ : -1};
    if (head)
        s->head[r->head] = (fc_head_draw_row){.member = r->member, .n_members = members, .temperature = c->temperature};
    else put_draw(s, j, p, r, shared ? d - 1 : NULL);
    if (ids) put_list(s, list, ids, r, d);
    for (int g = group; g >= 0; g = j->group_next[g])
        for (int m = j->paths[g].n == length ? g : -1; m >= 0; m = j->members[m])
            s->members[s->n_members++] = (fc_draw_member){.seed = j->seed,
                                                          .candidate = (uint32_t)m,
                                                          .attempt = (uint32_t)j->attempt[m],
                                                          .position = (uint32_t)length};
    if (c->top_logprobs) {
        r->top = s->n_top;
        s->n_top++;
        if (c->top_logprobs > s->top_n) s->top_n = c->top_logprobs;
    }
    if (c->n_logprob_ids) {
        r->asked = s->n_asked;
        memcpy(s->asked_id + s->n_asked, c->logprob_ids, c->n_logprob_ids * sizeof *s->asked_id);
        s->n_asked += (int)c->n_logprob_ids;
    }
    s->n_rows++;
    return true;
}
