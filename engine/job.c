#include "engine/job.h"

#include "engine/base/os.h"
#include "engine/base/sort.h"
#include "engine/prefix.h"
#include "engine/ranges.h"
#include "engine/stop_job.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static fc_status keep(fc_job *j, const void *src, size_t n, size_t size, void *out_ptr) {
    void *p;
    FC_TRY(fc_arena_alloc(&j->arena, n ? n : 1, size, &p));
    if (n) memcpy(p, src, n * size);
    memcpy(out_ptr, &p, sizeof p); /* the place holds a typed pointer */
    return FC_OK;
}

/* ---- checks ---- */

static fc_status check_sampling(const fc_request *r, int V) {
    const float big = 1e9f;
    const fc_sampling *s = &r->sampling;
    FC_TRY(fc_sampling_in_range(s));
    if (s->max_tokens == 0 && !fc_echo_alone(r))
        return FC_FAIL(FC_ERR_ARG,
                       "max_tokens = 0: nothing would be drawn; give 1 or more, or ask for prompt_logprobs");
    FC_TRY(fc_in_range("min_tokens", s->min_tokens, 0, s->max_tokens));
    if (s->top_logprobs > V) FC_TRY(fc_in_range("top_logprobs", s->top_logprobs, 0, V));
    if (s->n_bias > (size_t)V) return FC_FAIL(FC_ERR_ARG, "logit_bias: %zu ids; the vocabulary has %d", s->n_bias, V);
    for (size_t i = 0; i < s->n_bias; i++) {
        if (s->bias_ids[i] < 0 || s->bias_ids[i] >= V)
            return FC_FAIL(FC_ERR_ARG, "logit_bias: id %d; the vocabulary has %d ids", s->bias_ids[i], V);
        if (!(s->bias_values[i] <= big && (s->bias_values[i] >= -big || s->bias_values[i] == -INFINITY)))
            return FC_FAIL(FC_ERR_ARG, "logit_bias: id %d has value %g", s->bias_ids[i], (double)s->bias_values[i]);
    }
    for (size_t i = 0; i < s->n_stop_ids; i++)
        if (s->stop_ids[i] < 0 || s->stop_ids[i] >= V)
            return FC_FAIL(FC_ERR_ARG, "stop_token_ids: id %d; the vocabulary has %d ids", s->stop_ids[i], V);
    if (s->n_logprob_ids > FC_LOGPROB_IDS_MAX)
        return FC_FAIL(FC_ERR_ARG, "logprob_token_ids: %zu ids; at most %d", s->n_logprob_ids, FC_LOGPROB_IDS_MAX);
    for (size_t i = 0; i < s->n_logprob_ids; i++)
        if (s->logprob_ids[i] < 0 || s->logprob_ids[i] >= V)
            return FC_FAIL(FC_ERR_ARG, "logprob_token_ids: id %d; the vocabulary has %d ids", s->logprob_ids[i], V);
    for (size_t i = 0; i < s->n_stop; i++)
        if (!s->stop[i] || !s->stop[i][0]) return FC_FAIL(FC_ERR_ARG, "stop: string %zu is empty", i);
    return FC_OK;
}

static fc_status check_ranking(const fc_request *r) {
    FC_TRY(fc_in_range("blend", (double)r->blend, 0, 1));
    if (r->blend > 0 && !r->score)
        return FC_FAIL(FC_ERR_ARG, "blend = %g: without scoring candidates are ranked by log-prob alone; leave it out",
                       (double)r->blend);
    if (r->blend > 0 && r->n_given)
        return FC_FAIL(FC_ERR_ARG, "blend = %g: given candidates have no log-prob; leave it out", (double)r->blend);
    return fc_in_range("diversity", r->diversity, FC_DIVERSITY_OFF, FC_DIVERSITY_KEYWORDS);
}

static fc_status check_request(const fc_job_rules *rules, const fc_request *r) {
    if (r->n_given == 0) {
        if (rules->cfg[FC_NOVELTY]->no_lm_head)
            return FC_FAIL(FC_ERR_ARG, "novelty: the model is a classifier without a language head; it cannot draw");
        FC_TRY(fc_in_range("n", r->n, 1, FC_MAX_CANDIDATES));
        if (r->n > rules->max_branches && r->draw == FC_DRAW_IID) /* a search may have fewer names: fits() looks */
            return FC_FAIL(
                FC_ERR_ARG,
                "n = %d needs a branch for each candidate, and max_branches is %d; raise it, or ask for fewer", r->n,
                rules->max_branches);
        FC_TRY(check_sampling(r, rules->cfg[FC_NOVELTY]->V));
    } else {
        if (r->n_given > FC_MAX_CANDIDATES)
            return FC_FAIL(FC_ERR_ARG, "given: %zu candidates; at most %d", r->n_given, FC_MAX_CANDIDATES);
        if (!r->score) return FC_FAIL(FC_ERR_ARG, "given: candidates can only be scored, and score is off");
    }
    FC_TRY(fc_in_range("keep", r->keep, 0, FC_MAX_CANDIDATES));
    FC_TRY(fc_echo_check(r, rules->cfg[FC_NOVELTY]->V));
    FC_TRY(fc_in_range("truncate_prompt_tokens", r->truncate_prompt_tokens, r->n_given ? 0 : -1, 1 << 24));
    FC_TRY(check_ranking(r));
    if (!r->score) return FC_OK;
    if (!rules->tok[FC_ALIGNMENT]) return FC_FAIL(FC_ERR_ARG, "score: the engine has no alignment model");
    FC_TRY(fc_in_range("mode", r->mode, FC_SCORE_LOGLIK_MEAN, FC_SCORE_JUDGE));
    if (r->mode != FC_SCORE_REWARD && rules->cfg[FC_ALIGNMENT]->no_lm_head)
        return FC_FAIL(FC_ERR_ARG, "mode %s: the alignment model is a classifier without a language head; use reward",
                       fc_score_mode_name(r->mode));
    if (r->mode < FC_SCORE_REWARD && (r->suffix.n_pieces || r->suffix.n_ids))
        return FC_FAIL(FC_ERR_ARG,
                       "suffix: it follows the candidate, so it cannot change a log-likelihood; leave it out");
    if (r->mode != FC_SCORE_JUDGE && r->n_labels)
        return FC_FAIL(FC_ERR_ARG, "labels: only mode judge reads them, and the mode is %s",
                       fc_score_mode_name(r->mode));
    if (r->n_labels == 1 || r->n_labels > FC_MAX_LABELS)
        return FC_FAIL(FC_ERR_ARG, "labels: %zu; a judge compares 2 to %d", r->n_labels, FC_MAX_LABELS);
    return FC_OK;
}

/* ---- copies ---- */

static fc_status one_token(const fc_tok *tok, const char *text, const char *what, int32_t *out) {
    int32_t *ids = NULL;
    size_t n = 0, cap = 0;
    fc_status st = fc_tok_encode(tok, text, strlen(text), FC_TOK_PARSE_SPECIAL, &ids, &n, &cap);
    if (!st && n != 1) st = FC_FAIL(FC_ERR_ARG, "%s: \"%.80s\" is %zu tokens; it must be exactly one", what, text, n);
    if (!st) *out = ids[0];
    fc_free(ids);
    return st;
}

static fc_status copy_ids(fc_job *j, const fc_tok *tok, int V, const fc_prompt *p, bool bos, const char *what,
                          int32_t **out, int *n_out) {
    int32_t *ids;
    size_t n;
    fc_status st;
    FC_TRY(fc_prompt_check(tok, p, what));
    FC_TRY(fc_prompt_encode(tok, V, p, bos, what, &ids, &n));
    st = keep(j, ids, n, sizeof *ids, out);
    fc_free(ids);
    if (st) return st;
    *n_out = (int)n;
    return FC_OK;
}

/* A prompt that may be truncated; room: ids that the context has for it. */
static fc_status copy_prompt(fc_job *j, const fc_job_rules *rules, fc_role role, const fc_request *r,
                             const fc_prompt *p, int room, const char *what, int32_t **out, int *n_out) {
    const fc_tok *tok = rules->tok[role];
    int k = r->truncate_prompt_tokens == -1 ? room : r->truncate_prompt_tokens;
    FC_TRY(copy_ids(j, tok, rules->cfg[role]->V, p, !r->no_bos, what, out, n_out));
    if (*n_out == 0) return FC_FAIL(FC_ERR_ARG, "%s: it is empty", what);
    if (k > 0) *n_out = (int)fc_prompt_truncate(tok, p, !r->no_bos, (size_t)k, *out, (size_t)*n_out);
    return FC_OK;
}

static fc_status add_end(fc_job *j, int32_t id) {
    if (!fc_job_is_end(j, id)) j->ends[j->n_ends++] = id;
    return FC_OK;
}

static fc_status copy_ends(fc_job *j, const fc_job_rules *rules, const fc_request *r) {
    const fc_model_config *c = rules->cfg[FC_NOVELTY];
    void *p;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)c->n_eos + r->sampling.n_stop_ids + 1, sizeof *j->ends, &p));
    j->ends = p;
    if (!r->sampling.ignore_eos)
        for (int i = 0; i < c->n_eos; i++) FC_TRY(add_end(j, c->eos[i]));
    for (size_t i = 0; i < r->sampling.n_stop_ids; i++) FC_TRY(add_end(j, r->sampling.stop_ids[i]));
    if (r->end) {
        int32_t id;
        FC_TRY(one_token(rules->tok[FC_NOVELTY], r->end, "end", &id));
        FC_TRY(add_end(j, id));
    }
    return FC_OK;
}

static fc_status copy_sampling(fc_job *j, const fc_sampling *s) {
    char **stop;
    void *p;
    j->sampling = *s;
    FC_TRY(keep(j, s->bias_ids, s->n_bias, sizeof *s->bias_ids, &j->sampling.bias_ids));
    FC_TRY(keep(j, s->bias_values, s->n_bias, sizeof *s->bias_values, &j->sampling.bias_values));
    FC_TRY(keep(j, s->logprob_ids, s->n_logprob_ids, sizeof *s->logprob_ids, &j->sampling.logprob_ids));
    j->sampling.stop_ids = NULL; /* among j->ends now */
    j->sampling.n_stop_ids = 0;
    j->sampling.allowed_ids = NULL; /* these two in j->ban */
    j->sampling.bad_words = NULL;
    FC_TRY(keep(j, s->stop, s->n_stop, sizeof *stop, &stop));
    FC_TRY(fc_arena_alloc(&j->arena, s->n_stop + 1, sizeof *j->stop_sizes, &p));
    j->stop_sizes = p;
    for (size_t i = 0; i < s->n_stop; i++) {
        j->stop_sizes[i] = strlen(s->stop[i]);
        if (j->stop_sizes[i] > j->longest_stop) j->longest_stop = j->stop_sizes[i];
        FC_TRY(keep(j, s->stop[i], j->stop_sizes[i] + 1, 1, &stop[i]));
    }
    j->sampling.stop = (const char *const *)stop;
    return FC_OK;
}

static fc_status take_set(fc_job *j, const fc_job_rules *rules, const fc_request *r) {
    if (r->taxonomy && r->n_names) return FC_FAIL(FC_ERR_ARG, "names: a taxonomy is given too; one of them is enough");
    if (r->n_names) return fc_names_open(&(fc_taxonomy_names){.names = r->names, .n = r->n_names}, &j->names);
    if (!r->taxonomy) return FC_OK;
    if (!rules->names) return FC_FAIL(FC_ERR_ARG, "taxonomy \"%.60s\": none is registered", r->taxonomy);
    return rules->names(rules->names_arg, r->taxonomy, &j->names);
}

/* The set of names, and its trie behind the prompt. */
static fc_status take_names(fc_job *j, const fc_job_rules *rules, const fc_request *r) {
    const fc_model_config *c = rules->cfg[FC_NOVELTY];
    fc_str before = {0};
    fc_status st = FC_OK;
    int32_t end = c->n_eos ? c->eos[0] : -1;
    FC_TRY(take_set(j, rules, r));
    if (!j->names) return FC_OK;
    if (r->end) FC_TRY(one_token(rules->tok[FC_NOVELTY], r->end, "end", &end));
    if (end < 0) return FC_FAIL(FC_ERR_ARG, "end: the model names no end token, so names have no end; give one");
    FC_TRY_GOTO(st, fc_prompt_last(rules->tok[FC_NOVELTY], &r->prompt, &before), done);
    st = fc_names_trie(j->names, rules->tok[FC_NOVELTY], fc_str_text(&before), before.size, end, &j->trie);
done:
    fc_str_fini(&before);
    return st;
}

static fc_status find_adapter(const fc_job_rules *rules, fc_role role, const char *name, int *out) {
    *out = -1;
    if (!name) return FC_OK;
    for (int i = 0; i < rules->n_adapters[role]; i++)
        if (strcmp(rules->adapters[role][i].name, name) == 0) {
            *out = i;
            return FC_OK;
        }
    return FC_FAIL(FC_ERR_ARG, "%s: no adapter \"%.60s\" is loaded on this model",
                   role == FC_NOVELTY ? "novelty_adapter" : "alignment_adapter", name);
}

/* Both prompts, their adapters and what those change, and where the prefix cache looks. */
static fc_status take_stems(fc_job *j, const fc_job_rules *rules, const fc_request *r) {
    const char *names[2] = {r->novelty_adapter, r->alignment_adapter};
    j->stem[FC_NOVELTY].ids = j->prompt;
    j->stem[FC_NOVELTY].n = j->n_prompt;
    j->stem[FC_ALIGNMENT].ids = j->align;
    j->stem[FC_ALIGNMENT].n = j->n_align;
    j->suffix_begins = -1;
    for (int role = 0; role < 2; role++) {
        fc_stem *t = &j->stem[role];
        fc_prefix_scope scope = {.model = rules->model[role],
                                 .kv_type = rules->kv_type[role],
                                 .api_key = r->api_key,
                                 .cache_salt = r->cache_salt};
        const fc_adapter *a;
        FC_TRY(find_adapter(rules, (fc_role)role, names[role], &t->adapter));
        a = t->adapter >= 0 ? rules->adapters[role][t->adapter].adapter : NULL;
        t->begins = a && t->n ? fc_adapter_begins(a, t->ids, t->n) : t->n;
        if (a && role == FC_ALIGNMENT && j->n_suffix && a->invocation) {
            int at = fc_adapter_begins(a, j->suffix, j->n_suffix);
            if (at < j->n_suffix) { /* invoked behind the candidate: what stands before is the base's */
                j->suffix_begins = at;
                t->begins = t->n;
            }
        }
        if (t->begins == t->n && (role == FC_NOVELTY || j->suffix_begins < 0)) t->adapter = -1; /* it never acts */
        j->base_scope[role] = fc_prefix_namespace(&scope);
        if (t->adapter >= 0) scope.adapter = a->fingerprint;
        j->scope[role] = fc_prefix_namespace(&scope);
        if (role == FC_ALIGNMENT) j->reward = a && a->reward ? a->reward : rules->reward;
    }
    if (r->score && r->mode == FC_SCORE_REWARD && !j->reward)
        return FC_FAIL(FC_ERR_ARG,
                       "mode reward: neither the alignment model nor its adapter has a reward head (score.weight)");
    return FC_OK;
}

static fc_status take_score_scope(fc_job *j, const fc_job_rules *rules, const fc_request *r) {
    uint64_t adapter = 0;
    int at;
    if (!rules->scores || !r->score) return FC_OK;
    FC_TRY(find_adapter(rules, FC_ALIGNMENT, r->alignment_adapter, &at)); /* also one that is a head alone */
    if (at >= 0) adapter = rules->adapters[FC_ALIGNMENT][at].adapter->fingerprint;
    FC_TRY(fc_score_cache_scope(rules->scores,
                                &(fc_score_material){.api_key = r->api_key,
                                                     .cache_salt = r->cache_salt,
                                                     .model = rules->model[FC_ALIGNMENT],
                                                     .adapter = adapter,
                                                     .mode = r->mode,
                                                     .kv_type = rules->kv_type[FC_ALIGNMENT],
                                                     .backend = rules->backend,
                                                     .cpu = rules->cpu,
                                                     .imprecise = rules->imprecise,
                                                     .prompt = j->align,
                                                     .suffix = j->suffix,
                                                     .labels = j->labels,
                                                     .n_prompt = j->n_align,
                                                     .n_suffix = j->n_suffix,
                                                     .n_labels = j->n_labels},
                                &j->score_scope));
    j->score_scoped = true;
    return FC_OK;
}

/* Every name can be drawn, and drawn whole. */
static fc_status check_mask(const fc_job *j, const fc_sampling *s, int V) {
    const fc_trie *t = j->trie;
    if (s->min_tokens > 0)
        return FC_FAIL(FC_ERR_ARG, "min_tokens = %d: under constraint mask the names say how long a candidate is",
                       s->min_tokens);
    if (t->max_depth > s->max_tokens) {
        int longest = 0;
        while (t->depth[t->leaf[longest]] < t->max_depth) longest++;
        return FC_FAIL(FC_ERR_ARG,
                       "max_tokens = %d: the name \"%.80s\" has %d ids with its end, and under constraint mask a "
                       "candidate is a whole name",
                       s->max_tokens, fc_names_at(j->names, longest), t->max_depth);
    }
    for (int i = 1; i < t->n_nodes; i++)
        if (t->token[i] >= V) {
            int leaf = i;
            while (t->n_children[leaf] > 0) leaf = t->first_child[leaf];
            return FC_FAIL(FC_ERR_ARG, "constraint mask: the name \"%.80s\" has id %d; the model's vocabulary has %d",
                           fc_names_at(j->names, t->name[leaf]), t->token[i], V);
        }
    return FC_OK;
}

static fc_status take_constraint(fc_job *j, const fc_job_rules *rules, const fc_request *r) {
    void *p;
    FC_TRY(fc_in_range("constraint", r->constraint, FC_CONSTRAINT_OFF, FC_CONSTRAINT_REJECT));
    FC_TRY(fc_in_range("reject_budget", r->reject_budget, 0, 1000));
    FC_TRY(fc_in_range("draw", r->draw, FC_DRAW_IID, FC_DRAW_EXACT));
    if (r->constraint != FC_CONSTRAINT_OFF && !j->names)
        return FC_FAIL(FC_ERR_ARG, "constraint %s: it needs a taxonomy", fc_constraint_name(r->constraint));
    if (r->full_logprob && r->constraint != FC_CONSTRAINT_MASK)
        return FC_FAIL(FC_ERR_ARG, "full_logprob: it belongs to constraint mask, and the constraint is %s",
                       fc_constraint_name(r->constraint));
    if (r->constraint == FC_CONSTRAINT_MASK) FC_TRY(check_mask(j, &r->sampling, rules->cfg[FC_NOVELTY]->V));
    j->constraint = r->constraint;
    j->reject_budget = r->reject_budget;
    j->full_logprob = r->full_logprob;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)j->n_max, sizeof *j->attempt, &p));
    j->attempt = p;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)j->n_max, sizeof *j->discarded, &p));
    j->discarded = p;
    return FC_OK;
}

static fc_status check_diversity(const fc_job *j) {
    const char *d = fc_diversity_name(j->diversity);
    if (j->diversity == FC_DIVERSITY_OFF) return FC_OK;
    if (!j->names) return FC_FAIL(FC_ERR_ARG, "diversity %s: it needs a taxonomy", d);
    if (fc_names_count_tags(j->names, j->diversity) == 0)
        return FC_FAIL(FC_ERR_ARG, "diversity %s: the taxonomy \"%.60s\" has no %s", d, fc_names_id(j->names),
                       j->diversity == FC_DIVERSITY_PARENT ? "parent ids" : "keywords");
    return FC_OK;
}

static fc_status copy_labels(fc_job *j, const fc_job_rules *rules, const fc_request *r) {
    static const char *const yes_no[] = {"Yes", "No"};
    const char *const *labels = r->n_labels ? r->labels : yes_no;
    j->n_labels = r->n_labels ? (int)r->n_labels : 2;
    for (int i = 0; i < j->n_labels; i++) {
        FC_TRY(one_token(rules->tok[FC_ALIGNMENT], labels[i], "labels", &j->labels[i]));
        for (int k = 0; k < i; k++)
            if (j->labels[k] == j->labels[i])
                return FC_FAIL(FC_ERR_ARG, "labels: \"%.80s\" and \"%.80s\" are the same token", labels[k], labels[i]);
    }
    return FC_OK;
}

static fc_status copy_scoring(fc_job *j, const fc_job_rules *rules, const fc_request *r) {
    const fc_prompt *p = r->alignment_prompt.n_pieces || r->alignment_prompt.ids ? &r->alignment_prompt : &r->prompt;
    if (p == &r->prompt && r->prompt.ids && !rules->same_tokenizer)
        return FC_FAIL(FC_ERR_ARG,
                       "alignment prompt: the prompt is given as ids of the novelty model, whose tokenizer differs; "
                       "give the alignment model its own");
    FC_TRY(copy_ids(j, rules->tok[FC_ALIGNMENT], rules->cfg[FC_ALIGNMENT]->V, &r->suffix, false, "suffix", &j->suffix,
                    &j->n_suffix));
    FC_TRY(copy_prompt(j, rules, FC_ALIGNMENT, r, p, rules->ctx[FC_ALIGNMENT] - j->max_tokens - j->n_suffix,
                       "alignment prompt", &j->align, &j->n_align));
    return r->mode == FC_SCORE_JUDGE ? copy_labels(j, rules, r) : FC_OK;
}

static fc_status distinct_prompt(fc_job *j) {
    int n = 0;
    FC_TRY(keep(j, j->prompt, (size_t)j->n_prompt, sizeof *j->prompt, &j->prompt_seen));
    fc_sort_ids(j->prompt_seen, j->n_prompt);
    for (int i = 0; i < j->n_prompt; i++)
        if (i == 0 || j->prompt_seen[i] != j->prompt_seen[i - 1]) j->prompt_seen[n++] = j->prompt_seen[i];
    j->n_prompt_seen = n;
    return FC_OK;
}

/* ---- paths ---- */

static fc_status make_paths(fc_job *j, const fc_tok *tok) {
    size_t n = (size_t)j->n_max, len = (size_t)j->max_tokens, tops = len * (size_t)j->sampling.top_logprobs,
           asked = len * j->sampling.n_logprob_ids;
    void *p;
    FC_TRY(fc_arena_alloc(&j->arena, n, sizeof *j->paths, &p));
    j->paths = p;
    FC_TRY(fc_arena_alloc(&j->arena, n, sizeof *j->members, &p));
    j->members = p;
    FC_TRY(fc_arena_alloc(&j->arena, n, sizeof *j->finished, &p));
    j->finished = p;
    FC_TRY(fc_arena_alloc(&j->arena, n, sizeof *j->group_next, &p));
    j->group_next = p;
    for (int i = 0; i < j->n_max; i++) {
        fc_path *path = &j->paths[i];
        path->score = NAN;
        path->gumbel = path->weight = NAN;
        path->bound = INFINITY;
        path->leaf = path->alone = path->name = path->stop = -1;
        if (len == 0) continue; /* given: ids come from the caller */
        FC_TRY(fc_arena_alloc(&j->arena, len, sizeof *path->ids, &p));
        path->ids = p;
        FC_TRY(fc_arena_alloc(&j->arena, len, sizeof *path->logprobs, &p));
        path->logprobs = p;
        FC_TRY(fc_arena_alloc(&j->arena, tops, sizeof *path->top_ids, &p));
        path->top_ids = p;
        FC_TRY(fc_arena_alloc(&j->arena, tops, sizeof *path->top_logprobs, &p));
        path->top_logprobs = p;
        FC_TRY(fc_arena_alloc(&j->arena, asked, sizeof *path->id_logprobs, &p));
        path->id_logprobs = p;
        fc_tok_stream_init(&path->stream, tok);
        path->stream.special = !j->sampling.skip_special;
    }
    return FC_OK;
}

/* Candidates first .. n-1 have drawn the same so far, nothing: one group, or one each. */
static void make_groups(fc_job *j, int first) {
    for (int i = first; i < j->n; i++) {
        int next = i + 1 < j->n ? i + 1 : -1;
        j->members[i] = j->coalesce ? next : -1;
        j->group_next[i] = j->coalesce ? -1 : next;
    }
    j->idle = first;
    j->n_open = j->coalesce ? 1 : j->n - first;
}

void fc_job_next_wave(fc_job *j) {
    int first = j->n;
    FC_ASSERT(j->n_open == 0 && j->idle < 0 && first < j->n_max);
    j->n = j->n_max - first < j->wave ? j->n_max : first + j->wave;
    j->n_used = j->n;
    make_groups(j, first);
}

/* Candidates to be scored as they are: duplicates share the first one's path. */
static fc_status take_given(fc_job *j, const fc_job_rules *rules, const fc_request *r) {
    const fc_tok *tok = rules->tok[FC_ALIGNMENT];
    for (int i = 0; i < j->n; i++) {
        const fc_given *g = &r->given[i];
        fc_path *p = &j->paths[i];
        const fc_prompt as_prompt = {
            .ids = g->ids, .n_ids = g->n_ids, .pieces = &(fc_piece){g->text, g->size, false}, .n_pieces = 1};
        char what[48];
        int same = -1;
        snprintf(what, sizeof what, "given: candidate %d", i);
        FC_TRY(copy_ids(j, tok, rules->cfg[FC_ALIGNMENT]->V, &as_prompt, false, what, &p->ids, &p->n));
        p->n_text = p->n;
        p->finish = FC_FINISH_GIVEN;
        p->score_ids = p->ids;
        p->n_score_ids = p->n;
        if (g->ids) FC_TRY(fc_tok_decode(tok, p->ids, (size_t)p->n, false, &p->text));
        else FC_TRY(fc_str_put(&p->text, g->text, g->size));
        if (j->names) p->name = fc_names_find(j->names, fc_str_text(&p->text), p->text.size);
        for (int k = 0; k < j->n_finished && same < 0; k++) {
            const fc_path *q = &j->paths[j->finished[k]];
            if (q->n == p->n && memcmp(q->ids, p->ids, (size_t)p->n * sizeof *p->ids) == 0) same = j->finished[k];
        }
        j->members[i] = same < 0 ? i : same; /* given: members[] names the path that stands for it */
        if (same < 0) j->finished[j->n_finished++] = i;
        j->paths[j->members[i]].votes++;
    }
    return FC_OK;
}

/* ---- open and close ---- */

fc_status fc_job_open(const fc_job_rules *rules, const fc_request *r, fc_job **out) {
    fc_status st = FC_OK;
    fc_job *j;
    void *p;
    FC_TRY(check_request(rules, r));
    FC_TRY(fc_alloc(1, sizeof *j, "request", &p));
    j = p;
    fc_arena_init(&j->arena);
    j->clock.submit_ns = fc_clock_ns();
    j->n = r->n_given ? (int)r->n_given : r->n;
    j->n_max = r->n_given == 0 && r->n_max > j->n ? r->n_max : j->n;
    j->wave = j->n_used = j->n;
    j->keep = r->keep && r->keep < j->n_max ? r->keep : j->n_max;
    j->seed = r->seed;
    j->score = r->score;
    j->coalesce = rules->coalesce;
    j->blend = (double)r->blend;
    j->diversity = r->diversity;
    j->mode = r->mode;
    j->events = r->events;
    j->stem[0].table = j->stem[1].table = j->redraw = j->idle = j->branches[0] = j->branches[1] = -1;
    j->priority = r->priority;
    if (r->n_given == 0) {
        j->max_tokens = fc_echo_alone(r) ? 1 : r->sampling.max_tokens;
        FC_TRY_GOTO(st, copy_sampling(j, &r->sampling), fail);
        FC_TRY_GOTO(st, copy_ends(j, rules, r), fail);
        FC_TRY_GOTO(
            st, fc_ban_open(&r->sampling, rules->tok[FC_NOVELTY], rules->cfg[FC_NOVELTY]->V, &j->arena, &j->ban), fail);
        FC_TRY_GOTO(st,
                    copy_prompt(j, rules, FC_NOVELTY, r, &r->prompt, rules->ctx[FC_NOVELTY] - r->sampling.max_tokens,
                                "prompt", &j->prompt, &j->n_prompt),
                    fail);
        FC_TRY_GOTO(st, distinct_prompt(j), fail);
    }
    if (r->n_given == 0) {
        FC_TRY_GOTO(st, take_names(j, rules, r), fail);
        FC_TRY_GOTO(st, take_constraint(j, rules, r), fail);
    } else if (r->taxonomy || r->n_names) { /* given candidates are not drawn: names mark them valid */
        FC_TRY_GOTO(st, take_set(j, rules, r), fail);
    }
    FC_TRY_GOTO(st, check_diversity(j), fail);
    FC_TRY_GOTO(st, fc_stop_job_open(j, r), fail);
    if (r->score) FC_TRY_GOTO(st, copy_scoring(j, rules, r), fail);
    FC_TRY_GOTO(st, take_stems(j, rules, r), fail);
    FC_TRY_GOTO(st, take_score_scope(j, rules, r), fail);
    if (r->n_given == 0) { /* before max_tokens sizes anything */
        FC_TRY_GOTO(st, fc_job_fit(j, rules, r), fail);
        if (r->draw != FC_DRAW_IID) FC_TRY_GOTO(st, fc_searching_open(j, r), fail);
        FC_TRY_GOTO(st, fc_echo_open(r, j->n_prompt, &j->arena, &j->echo), fail);
        if (rules->fits) FC_TRY_GOTO(st, rules->fits(rules->fits_arg, j), fail);
    }
    FC_TRY_GOTO(st, make_paths(j, rules->tok[FC_NOVELTY]), fail);
    if (r->n_given == 0 && !j->searching) make_groups(j, 0);
    if (r->n_given) {
        FC_TRY_GOTO(st, take_given(j, rules, r), fail);
        FC_TRY_GOTO(st, fc_job_check_lengths(j, rules), fail);
        if (rules->fits) FC_TRY_GOTO(st, rules->fits(rules->fits_arg, j), fail);
    }
    *out = j;
    return FC_OK;
fail:
    fc_job_close(j);
    return st;
}

void fc_job_close(fc_job *j) {
    if (!j) return;
    for (int role = 0; role < 2; role++) fc_tree_fini(&j->stem[role].tree);
    fc_names_unref(j->names);
    for (int i = 0; j->paths && i < j->n_max; i++) {
        fc_str_fini(&j->paths[i].text);
        if (j->paths[i].stream.tok) fc_tok_stream_fini(&j->paths[i].stream);
    }
    fc_arena_fini(&j->arena);
    fc_free(j);
}

double fc_job_logprob(const fc_path *p) {
    double sum = 0;
    if (p->finish == FC_FINISH_GIVEN) return NAN;
    for (int i = 0; i < p->n; i++) sum += (double)p->logprobs[i];
    return sum;
}

int fc_job_tail_rows(const fc_job *j, const fc_path *p) {
    if (fc_job_is_loglik(j)) return p->n_score_ids > 0 ? p->n_score_ids - 1 : 0;
    return p->n_score_ids + j->n_suffix;
}

bool fc_job_is_end(const fc_job *j, int32_t id) {
    for (int i = 0; i < j->n_ends; i++)
        if (j->ends[i] == id) return true;
    return false;
}

void fc_job_fail(fc_job *j, fc_status st) {
    if (j->failed) return;
    j->failed = true;
    j->status = st;
    snprintf(j->error, sizeof j->error, "%s", fc_status_text());
}

void fc_job_blame(fc_job *j, fc_role role, const fc_model *m, const char *why) {
    bool head = role == FC_ALIGNMENT && j->reward && j->reward != m->reward; /* an adapter's */
    if (!j->over)
        fc_job_fail(j, FC_FAIL(FC_ERR_FORMAT, "%s model %s%s: it gives NaN or infinity: %s",
                               role == FC_NOVELTY ? "novelty" : "alignment", m->path,
                               j->stem[role].adapter >= 0 || head ? " with the request's adapter" : "", why));
}
