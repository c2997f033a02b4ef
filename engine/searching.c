/* searching - draws that are not i.i.d.: a search over the trie asks for nodes, the novelty model computes them behind
 * the prompt as chains of one tree, and their children's log-probs are told to the search.
 *
 * What was told stays when the job is preempted; nodes that were asked and not told are fed again. A search over many
 * names holds a part of the pool at most: when that is full, what it computed is given back, and what lies on the way
 * to the next nodes is computed again.
 */
#include "engine/base/os.h"
#include "engine/ranges.h"
#include "engine/sched.h"
#include "engine/search.h"

#include <math.h>
#include <string.h>

enum { POOL_PART = 4 }; /* a search holds one part of so many of the pool */

typedef struct fc_searching {
    fc_search *search;
    float temperature;
    bool by_level;  /* beam, sbs */
    bool few;       /* asks for n at a time at most: all but exact */
    int32_t *asked; /* [cap] nodes of the trie, not told yet */
    int n_asked, cap;
    int *trie_of;    /* 1 + node of the trie of each tree node; 0: only fed on the way */
    float **lp;      /* [nodes of the trie] told log-probs of children, untempered; NULL: not told */
    bool unfed;      /* some that are asked wait for a place */
    int32_t *path;   /* [max_depth] scratch */
    float *tempered; /* [max_children] scratch */
} fc_searching;

static fc_search_method method_of(fc_draw_mode d) {
    switch (d) {
    case FC_DRAW_SBS: return FC_SEARCH_SBS;
    case FC_DRAW_BEAM: return FC_SEARCH_BEAM;
    case FC_DRAW_TOPK: return FC_SEARCH_TOPK;
    default: return FC_SEARCH_EXACT;
    }
}

static fc_status check(const fc_job *j, const fc_request *r) {
    const fc_sampling *c = &r->sampling;
    const char *name = fc_draw_name(r->draw);
    const fc_field iid[] = {{"top_k", c->top_k},
                            {"top_p", c->top_p != 1.0f},
                            {"min_p", c->min_p != 0.0f},
                            {"typical_p", c->typical_p != 1.0f},
                            {"repetition_penalty", c->repetition_penalty != 1.0f},
                            {"presence_penalty", c->presence_penalty != 0.0f},
                            {"frequency_penalty", c->frequency_penalty != 0.0f},
                            {"logit_bias", c->n_bias > 0},
                            {"allowed_token_ids", c->n_allowed > 0},
                            {"bad_words", c->n_bad_words > 0},
                            {"logprob_token_ids", c->n_logprob_ids > 0},
                            {"top_logprobs", c->top_logprobs > 0},
                            {"stop", c->n_stop > 0},
                            {"stop_token_ids", c->n_stop_ids > 0},
                            {"full_logprob", r->full_logprob}};
    char set[256];
    int n;
    if (j->constraint != FC_CONSTRAINT_MASK)
        return FC_FAIL(FC_ERR_ARG, "draw %s: it searches the names of a taxonomy; give constraint mask", name);
    if (c->temperature != 1.0f && r->draw != FC_DRAW_SBS)
        return FC_FAIL(FC_ERR_ARG, "temperature = %g: draw %s ranks by the model's own distribution",
                       (double)c->temperature, name);
    if (!(c->temperature > 0)) return FC_FAIL(FC_ERR_ARG, "temperature = 0: draw sbs needs one above 0");
    n = fc_fields_set(iid, sizeof iid / sizeof *iid, set, sizeof set);
    if (n) return FC_FAIL(FC_ERR_ARG, "draw %s: %s belong%s to draw iid", name, set, n == 1 ? "s" : "");
    if (j->trie->max_depth > j->max_tokens)
        return FC_FAIL(FC_ERR_ARG, "max_tokens = %d: the longest name has %d tokens with its end", j->max_tokens,
                       j->trie->max_depth);
    return FC_OK;
}

fc_status fc_searching_open(fc_job *j, const fc_request *r) {
    const fc_trie *t = j->trie;
    fc_searching *g;
    void *p;
    FC_TRY(check(j, r));
    if (j->n > t->n_names) j->n = j->n_max = t->n_names; /* there are no more, so no more is needed */
    if (j->keep > j->n) j->keep = j->n;
    FC_TRY(fc_arena_alloc(&j->arena, 1, sizeof *g, &p));
    g = p;
    g->temperature = r->sampling.temperature;
    g->by_level = r->draw == FC_DRAW_SBS || r->draw == FC_DRAW_BEAM;
    g->few = r->draw != FC_DRAW_EXACT;
    g->cap = t->n_nodes;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)g->cap, sizeof *g->asked, &p));
    g->asked = p;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)t->n_nodes, sizeof *g->lp, &p));
    g->lp = p;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)t->max_depth, sizeof *g->path, &p));
    g->path = p;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)t->max_children, sizeof *g->tempered, &p));
    g->tempered = p;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)t->n_nodes, sizeof *g->trie_of, &p));
    g->trie_of = p;
    FC_TRY(fc_search_open(t,
                          &(fc_search_options){.method = method_of(r->draw), .n = j->n, .batch = j->n, .seed = j->seed},
                          &j->arena, &g->search));
    j->searching = g;
    j->idle = -1;
    j->n_open = 1; /* the search, until its names are there */
    return FC_OK;
}

/* Nodes of the longest path that is fed: leaves are not. */
static int longest(const fc_job *j) { return j->trie->max_depth - 1; }

/* Nodes that are fed at most, each counted once. */
static int64_t all_nodes(const fc_job *j) {
    int64_t all = j->trie->n_nodes - j->trie->n_names, level = (int64_t)j->n * longest(j); /* a beam: n at each depth */
    return j->searching->by_level && level < all ? level : all;
}

int64_t fc_searching_nodes(const fc_sched *s, const fc_job *j) {
    const fc_kv *kv = s->lane[FC_NOVELTY]->kv;
    int64_t all = all_nodes(j), part = (int64_t)fc_kv_pages_total(kv) * fc_kv_store(kv)->shape.P / POOL_PART;
    if (part < longest(j)) part = longest(j);
    return part < all ? part : all;
}

/* ---- feeding ---- */

/* Places that chains may still take: branches with tables keep theirs. */
static int places_left(const fc_sched *s) {
    return s->max_places - s->o.max_branches - s->n_scoring_places[FC_NOVELTY];
}

/* Asked nodes become chains, the deepest first: what lies on the way is then fed with them. Where places end, the
 * others wait. */
static fc_status feed(fc_sched *s, fc_job *j) {
    fc_searching *g = j->searching;
    fc_stem *stem = &j->stem[FC_NOVELTY];
    g->unfed = false;
    for (int i = g->n_asked; i-- > 0;) {
        int n = fc_trie_path(j->trie, g->asked[i], g->path), node, from;
        if (n == 0) continue; /* the root is read from the prompt's last row */
        for (int k = 0; k < n && stem->adapter >= 0; k++) g->path[k] |= FC_TREE_ADAPTED;
        FC_TRY(fc_tree_insert(&stem->tree, g->path, n, &node));
        g->trie_of[node] = g->asked[i] + 1;
        from = fc_tree_unfed(&stem->tree, node);
        if (from < 0) continue;
        g->unfed = places_left(s) <= 0;
        if (g->unfed) break;
        fc_tree_queue(&stem->tree, from, node);
        fc_branch_put(s, &(fc_branch){.job = j,
                                      .kind = FC_BRANCH_CHAIN,
                                      .role = FC_NOVELTY,
                                      .table = -1,
                                      .group = node,
                                      .len = stem->n + stem->tree.nodes[from].depth,
                                      .target = stem->n + stem->tree.nodes[node].depth + 1});
    }
    return FC_OK;
}

static fc_status finish(fc_sched *s, fc_job *j);

/* Room for max nodes more and what lies on the way to them: what is held goes where there is none. Returns how many. */
static int fit(fc_sched *s, fc_job *j, int max) {
    int64_t may = fc_searching_nodes(s, j);
    fc_tree *t = &j->stem[FC_NOVELTY].tree;
    if (may == all_nodes(j)) return max;
    if (j->searching->few && max > j->n) max = j->n;
    if (max > may / longest(j)) max = (int)(may / longest(j));
    if (t->n_slots + (int64_t)max * longest(j) > may) fc_tree_drop_kv(t, s->lane[FC_NOVELTY]->kv);
    return max;
}

/* Up to max nodes, where none are under way; or all names are there. */
static fc_status ask(fc_sched *s, fc_job *j, int max) {
    fc_searching *g = j->searching;
    if (max > s->lane[FC_NOVELTY]->max_rows) max = s->lane[FC_NOVELTY]->max_rows;
    if (g->n_asked > 0 || max <= 0) return FC_OK;
    max = fit(s, j, max);
    g->n_asked = fc_search_ask(g->search, g->asked, max);
    return g->n_asked == 0 ? finish(s, j) : FC_OK;
}

fc_status fc_searching_begin(fc_sched *s, fc_job *j) {
    int places = places_left(s);
    /* the root needs no place, and must be asked before the prompt is computed */
    if (j->n_open > 0) FC_TRY(ask(s, j, places > 0 ? places : 1));
    if (j->n_open == 0 && fc_echo_pending(&j->echo)) return fc_stem_begin(s, j, FC_NOVELTY);
    if (j->n_open == 0) return FC_OK; /* a single name, or all were found before a preemption */
    FC_TRY(fc_stem_begin(s, j, FC_NOVELTY));
    return feed(s, j);
}

void fc_searching_start(fc_sched *s) {
    for (fc_job *j = s->running; j; j = j->next) {
        fc_searching *g = j->searching;
        fc_status st = FC_OK;
        if (!g || j->failed || j->over || j->n_open == 0 || (g->n_asked > 0 && !g->unfed)) continue;
        st = ask(s, j, places_left(s));
        if (!st && j->n_open > 0) st = feed(s, j);
        if (st) fc_job_fail(j, st);
    }
}

/* ---- reading ---- */

static void add_read(fc_flight *f, fc_job *j, int32_t node, int out) {
    fc_seeker *k = &f->seeker;
    const fc_trie *t = j->trie;
    int n = t->n_children[node];
    FC_ASSERT(k->n_reads < k->max_rows && k->n_list + n <= k->max_list);
    memcpy(k->list_id + k->n_list, t->token + t->first_child[node], (size_t)n * 4);
    k->lists[k->n_reads] = (fc_list_row){.row = out, .ids = k->n_list, .values = k->n_list, .n_ids = n};
    k->segments[k->n_reads] = (fc_pick_segment){.row = out, .n_rows = 1, .ids = k->n_list, .n_ids = n, .y = k->n_list};
    k->reads[k->n_reads].job = j;
    k->reads[k->n_reads++].node = node;
    k->n_list += n;
}

static bool is_asked(const fc_searching *g, int32_t node) {
    for (int i = 0; i < g->n_asked; i++)
        if (g->asked[i] == node) return true;
    return false;
}

int fc_searching_fits(const fc_flight *f, const fc_branch *b, int n) {
    const fc_job *j = b->job;
    const fc_searching *g = j->searching;
    const int32_t *children = j->trie->n_children;
    int room = f->seeker.max_list - f->seeker.n_list;
    if (b->kind == FC_BRANCH_PROMPT) return b->len + n == b->target && is_asked(g, 0) && children[0] > room ? n - 1 : n;
    for (int i = 0; i < n; i++) {
        int of = g->trie_of[fc_tree_up(&j->stem[FC_NOVELTY].tree, b->group, b->len - j->n_prompt + i)] - 1;
        if (of >= 0 && !g->lp[of] && (room -= children[of]) < 0) return i;
    }
    return n;
}

void fc_searching_want(fc_sched *s, fc_flight *f, const fc_branch *b, int first, int n) {
    fc_job *j = b->job;
    const fc_searching *g = j->searching;
    const fc_tree *t = &j->stem[FC_NOVELTY].tree;
    (void)s;
    if (b->kind == FC_BRANCH_PROMPT) {
        if (b->len + n == b->target && is_asked(g, 0)) add_read(f, j, 0, fc_batch_want(&f->batch, first + n - 1));
        return;
    }
    for (int i = 0; i < n; i++) {
        int node = fc_tree_up(t, b->group, b->len - j->n_prompt + i), of = g->trie_of[node] - 1;
        if (of >= 0 && !g->lp[of]) add_read(f, j, of, fc_batch_want(&f->batch, first + i));
    }
}

/* ---- landing ---- */

/* Log-probs at the search's temperature: the list's softmax of lp / T. */
static const float *temper(const fc_searching *g, const float *lp, int n) {
    double most = -INFINITY, sum = 0;
    if (g->temperature == 1.0f) return lp;
    for (int i = 0; i < n; i++) most = fmax(most, (double)lp[i] / (double)g->temperature);
    for (int i = 0; i < n; i++) sum += exp((double)lp[i] / (double)g->temperature - most);
    for (int i = 0; i < n; i++) g->tempered[i] = (float)((double)lp[i] / (double)g->temperature - most - log(sum));
    return g->tempered;
}

static fc_status tell(fc_job *j, int32_t node, const float *lp) {
    fc_searching *g = j->searching;
    int n = j->trie->n_children[node], k = 0;
    void *p;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)n, sizeof *lp, &p));
    g->lp[node] = p;
    memcpy(p, lp, (size_t)n * sizeof *lp);
    while (g->asked[k] != node) k++;
    g->asked[k] = g->asked[--g->n_asked];
    return fc_search_tell(g->search, node, temper(g, lp, n));
}

void fc_searching_land(fc_sched *s, fc_flight *f) {
    fc_seeker *k = &f->seeker;
    uint64_t now = k->n_reads ? fc_clock_ns() : 0;
    for (int i = 0; i < k->n_reads; i++) {
        fc_job *j = k->reads[i].job;
        const float *lp = k->lp + k->lists[i].values;
        fc_status st = FC_OK;
        if (isnan(lp[0])) fc_job_blame(j, FC_NOVELTY, s->lane[FC_NOVELTY]->model, fc_row_words(FC_ROW_BROKEN));
        else if (!j->failed) st = tell(j, k->reads[i].node, lp);
        if (st) fc_job_fail(j, st);
        if (!j->clock.first_draw_ns) j->clock.first_draw_ns = now; /* a search draws what it is told */
    }
}

/* Log-prob of the edge into a node: told, or 0 where there was no choice. */
static float edge(const fc_job *j, int32_t node) {
    int32_t parent = j->trie->parent[node];
    const float *lp = j->searching->lp[parent];
    return lp ? lp[node - j->trie->first_child[parent]] : 0.0f;
}

/* The path spells the name that ends at the leaf, as if it had been drawn: text and events come with each id. */
static fc_status spell(fc_sched *s, fc_job *j, int path, int32_t leaf) {
    fc_path *p = &j->paths[path];
    int n = fc_trie_path(j->trie, leaf, p->ids);
    bool stopped;
    p->node = leaf;
    for (int k = n; k-- > 0; leaf = j->trie->parent[leaf]) p->logprobs[k] = edge(j, leaf);
    for (p->n = 1; p->n < n; p->n++) {
        FC_TRY(fc_path_grow(s, j, path, p->ids[p->n - 1], &stopped));
        fc_path_send(s, j, path, false);
    }
    fc_path_send(s, j, path, true);
    fc_path_finish(s, j, path, FC_FINISH_STOP, true);
    return FC_OK;
}

/* The names that came out become candidates, in their order. */
static fc_status finish(fc_sched *s, fc_job *j) {
    fc_searching *g = j->searching;
    int n;
    const fc_search_result *r = fc_search_results(g->search, &n);
    if (n < j->n) j->n = n; /* there are no more names */
    j->n_used = j->n;
    j->keep = j->keep < j->n ? j->keep : j->n;
    j->n_open = j->n;
    for (int i = 0; i < j->n; i++) {
        j->paths[i].gumbel = r[i].gumbel;
        j->paths[i].weight = r[i].weight;
        j->members[i] = -1;
        FC_TRY(spell(s, j, i, j->trie->leaf[r[i].name]));
    }
    j->clock.last_draw_ns = fc_clock_ns();
    return FC_OK;
}
