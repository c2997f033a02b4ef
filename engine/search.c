#include "engine/search.h"

#include "engine/base/gumbel.h"
#include "engine/search_heap.h"

#include <math.h>

struct fc_search {
    const fc_trie *t;
    fc_search_options o;
    fc_search_heap best;   /* beam, sbs: the next level; topk: names found; exact: names, at the end */
    fc_search_heap front;  /* topk: nodes to expand */
    fc_search_item *level; /* beam, sbs: [best.cap] this level, best first */
    int n_level, next;     /* next: of level, to be asked */
    int32_t depth;         /* of the nodes that this level expands */
    fc_search_item *air;   /* [max_air] asked and not told; exact only counts them */
    int n_air, max_air;
    double *perturbed; /* sbs: [max_children] scratch */
    double *edge;      /* exact: [n_nodes] log-prob of the edge into each, NAN before it is told */
    int32_t next_node; /* exact: to be asked, parents before children and subtree by subtree */
    double kappa;      /* sbs */
    int expanded, n_results;
    fc_search_result *results; /* [best.cap] */
    bool done;
};

/* ---- open ------------------------------------------------------------------------------------------------ */

static bool asked_for(const fc_search *s, int32_t node) { return s->t->n_children[node] > (s->o.every_node ? 0 : 1); }

static fc_status reserve(fc_search *s, fc_arena *arena) {
    size_t N = (size_t)s->t->n_nodes, n = (size_t)s->best.cap;
    void *p;
    FC_TRY(fc_arena_alloc(arena, n, sizeof *s->best.items, &p));
    s->best.items = p;
    FC_TRY(fc_arena_alloc(arena, n, sizeof *s->results, &p));
    s->results = p;
    if (s->o.method == FC_SEARCH_EXACT) {
        FC_TRY(fc_arena_alloc(arena, N, sizeof *s->edge, &p));
        s->edge = p;
        return FC_OK;
    }
    if (s->o.method == FC_SEARCH_TOPK) {
        for (int32_t i = 0; i < s->t->n_nodes; i++) s->front.cap += asked_for(s, i);
        FC_TRY(fc_arena_alloc(arena, (size_t)s->front.cap, sizeof *s->front.items, &p));
        s->front.items = p;
        s->max_air = s->o.batch < s->front.cap ? s->o.batch : s->front.cap;
    } else {
        FC_TRY(fc_arena_alloc(arena, n, sizeof *s->level, &p));
        s->level = p;
        s->max_air = s->best.cap;
    }
    FC_TRY(fc_arena_alloc(arena, (size_t)s->max_air, sizeof *s->air, &p));
    s->air = p;
    if (s->o.method == FC_SEARCH_SBS) {
        FC_TRY(fc_arena_alloc(arena, (size_t)s->t->max_children, sizeof *s->perturbed, &p));
        s->perturbed = p;
    }
    return FC_OK;
}

static void place(fc_search *s, fc_search_item x);

fc_status fc_search_open(const fc_trie *t, const fc_search_options *o, fc_arena *arena, fc_search **out) {
    fc_search_item root = {0};
    fc_search *s;
    void *p;
    if (o->method < FC_SEARCH_BEAM || o->method > FC_SEARCH_EXACT)
        return FC_FAIL(FC_ERR_ARG, "search: method %d", (int)o->method);
    if (o->method != FC_SEARCH_EXACT && o->n < 1) return FC_FAIL(FC_ERR_ARG, "search: %d names wanted", o->n);
    if (o->batch < 0) return FC_FAIL(FC_ERR_ARG, "search: batch %d", o->batch);
    FC_TRY(fc_arena_alloc(arena, 1, sizeof *s, &p));
    s = p;
    s->t = t;
    s->o = *o;
    if (s->o.batch == 0) s->o.batch = 1;
    s->kappa = -INFINITY;
    s->best.cap = o->method == FC_SEARCH_EXACT || o->n > t->n_names ? t->n_names : o->n;
    s->front.best_on_top = true;
    FC_TRY(reserve(s, arena));
    if (o->method == FC_SEARCH_EXACT) {
        for (int32_t i = 1; i < t->n_nodes; i++) s->edge[i] = asked_for(s, t->parent[i]) ? NAN : 0.0;
    } else {
        if (o->method == FC_SEARCH_SBS) root.key = fc_gumbel(o->seed, 0, -1);
        place(s, root);
    }
    *out = s;
    return FC_OK;
}

/* ---- where a new partial path goes ----------------------------------------------------------------------- */

static void keep(fc_search *s, const fc_search_item *x) {
    fc_search_item gone;
    /* sbs: the key of a node is the largest of a name below it, so a name with exactly this value goes */
    if (fc_search_heap_offer(&s->best, s->t, x, &gone) && gone.key > s->kappa) s->kappa = gone.key;
}

/* Along the forced run, then to where x waits. */
static void place(fc_search *s, fc_search_item x) {
    const fc_trie *t = s->t;
    while (t->n_children[x.node] == 1 && !s->o.every_node) {
        x.node = t->first_child[x.node];
        x.prefix = fc_prefix_hash(x.prefix, t->token[x.node]);
    }
    if (s->o.method != FC_SEARCH_TOPK || t->n_children[x.node] == 0) keep(s, &x);
    else fc_search_heap_put(&s->front, t, &x);
}

/* ---- ask ------------------------------------------------------------------------------------------------- */

/* The node behind this one in preorder; n_nodes behind the last. */
static int32_t next_in_preorder(const fc_trie *t, int32_t node) {
    if (t->n_children[node] > 0) return t->first_child[node];
    for (; node > 0; node = t->parent[node]) {
        int32_t parent = t->parent[node];
        if (node + 1 < t->first_child[parent] + t->n_children[parent]) return node + 1;
    }
    return t->n_nodes;
}

static int ask_exact(fc_search *s, int32_t *nodes, int max) {
    int n = 0;
    for (; n < max && s->next_node < s->t->n_nodes; s->next_node = next_in_preorder(s->t, s->next_node))
        if (asked_for(s, s->next_node)) nodes[n++] = s->next_node;
    s->n_air += n;
    return n;
}

/* topk: some name below x may be among the best. x is no ancestor of a name that was found, so that where log-probs are
 * equal one comparison of paths speaks for all names below it. */
static bool can_win(const fc_search *s, const fc_search_item *x) {
    return s->best.n < s->best.cap || fc_search_better(s->t, x, &s->best.items[0]);
}

static int ask_best_first(fc_search *s, int32_t *nodes, int max) {
    int n = 0;
    while (n < max && s->n_air < s->max_air && s->front.n > 0) {
        fc_search_item x = fc_search_heap_take(&s->front, s->t);
        if (!can_win(s, &x)) break; /* nor can those behind it, now or later */
        s->air[s->n_air++] = x;
        nodes[n++] = x.node;
    }
    return n;
}

/* The kept paths become the level. Those that have come furthest stay as they are and compete with the children of the
 * shortest, as if they had gone token by token: a forced run changes no log-prob. False: all are names. */
static bool begin_level(fc_search *s) {
    const fc_trie *t = s->t;
    s->n_level = fc_search_heap_sort(&s->best, t);
    for (int i = 0; i < s->n_level; i++) s->level[i] = s->best.items[i];
    s->next = 0;
    s->depth = INT32_MAX;
    for (int i = 0; i < s->n_level; i++) {
        int32_t node = s->level[i].node;
        if (t->n_children[node] > 0 && t->depth[node] < s->depth) s->depth = t->depth[node];
    }
    if (s->depth == INT32_MAX) return false;
    for (int i = 0; i < s->n_level; i++)
        if (t->n_children[s->level[i].node] == 0 || t->depth[s->level[i].node] > s->depth) keep(s, &s->level[i]);
    return true;
}

static int ask_level(fc_search *s, int32_t *nodes, int max) {
    int n = 0;
    do {
        for (; s->next < s->n_level && n < max; s->next++) {
            const fc_search_item *x = &s->level[s->next];
            if (s->t->n_children[x->node] == 0 || s->t->depth[x->node] > s->depth) continue;
            s->air[s->n_air++] = *x;
            nodes[n++] = x->node;
        }
    } while (s->n_air == 0 && begin_level(s));
    return n;
}

static void finish(fc_search *s);

int fc_search_ask(fc_search *s, int32_t *nodes, int max) {
    int n = 0;
    FC_ASSERT(max > 0);
    if (s->done) return 0;
    switch (s->o.method) {
    case FC_SEARCH_BEAM:
    case FC_SEARCH_SBS: n = ask_level(s, nodes, max); break;
    case FC_SEARCH_TOPK: n = ask_best_first(s, nodes, max); break;
    case FC_SEARCH_EXACT: n = ask_exact(s, nodes, max); break;
    }
    if (n == 0 && s->n_air == 0) finish(s);
    return n;
}

/* ---- tell ------------------------------------------------------------------------------------------------ */

static fc_status check_logprobs(const fc_search *s, int32_t node, const float *lp) {
    for (int32_t i = 0; i < s->t->n_children[node]; i++)
        if (!(lp[i] <= 1e-3f))
            return FC_FAIL(FC_ERR_ARG, "search: child %d of node %d has log-prob %g", i, node, (double)lp[i]);
    return FC_OK;
}

static double logprob_of(float lp) { return lp < 0.0f ? (double)lp : 0.0; }

static void tell_exact(fc_search *s, int32_t node, const float *child_lp) {
    double *edge = s->edge + s->t->first_child[node];
    FC_ASSERT(asked_for(s, node) && isnan(edge[0]));
    for (int32_t i = 0; i < s->t->n_children[node]; i++) edge[i] = logprob_of(child_lp[i]);
    s->n_air--;
}

static void perturb(const fc_search *s, const fc_search_item *up, const float *child_lp) {
    int32_t first = s->t->first_child[up->node], n = s->t->n_children[up->node];
    double z = -INFINITY;
    for (int32_t i = 0; i < n; i++) {
        s->perturbed[i] =
            up->logprob + logprob_of(child_lp[i]) + fc_gumbel(s->o.seed, up->prefix, s->t->token[first + i]);
        z = fmax(z, s->perturbed[i]);
    }
    for (int32_t i = 0; i < n; i++) s->perturbed[i] = fc_gumbel_below(s->perturbed[i], z, up->key);
}

fc_status fc_search_tell(fc_search *s, int32_t node, const float *child_lp) {
    fc_search_item up;
    int k = 0;
    FC_ASSERT(node >= 0 && node < s->t->n_nodes && s->n_air > 0);
    FC_TRY(check_logprobs(s, node, child_lp));
    s->expanded++;
    if (s->o.method == FC_SEARCH_EXACT) {
        tell_exact(s, node, child_lp);
        return FC_OK;
    }
    while (k < s->n_air && s->air[k].node != node) k++;
    FC_ASSERT(k < s->n_air);
    up = s->air[k];
    s->air[k] = s->air[--s->n_air];
    if (s->o.method == FC_SEARCH_SBS) perturb(s, &up, child_lp);
    for (int32_t i = 0; i < s->t->n_children[node]; i++) {
        fc_search_item x = {.logprob = up.logprob + logprob_of(child_lp[i]), .node = s->t->first_child[node] + i};
        if (child_lp[i] == -INFINITY) continue;
        x.key = s->o.method == FC_SEARCH_SBS ? s->perturbed[i] : x.logprob;
        x.prefix = fc_prefix_hash(up.prefix, s->t->token[x.node]);
        place(s, x);
    }
    return FC_OK;
}

/* ---- results --------------------------------------------------------------------------------------------- */

/* Parents come before their children, so one walk makes sums of the edges. */
static void gather_exact(fc_search *s) {
    const fc_trie *t = s->t;
    for (int32_t i = 1; i < t->n_nodes; i++) {
        s->edge[i] += s->edge[t->parent[i]];
        if (t->n_children[i] > 0) continue;
        fc_search_heap_put(&s->best, t, &(fc_search_item){.key = s->edge[i], .logprob = s->edge[i], .node = i});
    }
}

static void finish(fc_search *s) {
    const fc_search_item *x = s->level; /* beam, sbs: sorted by begin_level */
    int n = s->n_level;
    if (s->o.method == FC_SEARCH_EXACT) gather_exact(s);
    if (s->o.method == FC_SEARCH_EXACT || s->o.method == FC_SEARCH_TOPK) {
        n = fc_search_heap_sort(&s->best, s->t);
        x = s->best.items;
    }
    for (int i = 0; i < n; i++) {
        fc_search_result *r = &s->results[i];
        *r = (fc_search_result){.name = s->t->name[x[i].node], .logprob = x[i].logprob, .gumbel = NAN, .weight = NAN};
        if (s->o.method == FC_SEARCH_EXACT) r->weight = exp(r->logprob);
        if (s->o.method != FC_SEARCH_SBS) continue;
        r->gumbel = x[i].key;
        r->weight = exp(r->logprob) / -expm1(-exp(r->logprob - s->kappa));
    }
    s->n_results = n;
    s->done = true;
}

bool fc_search_done(const fc_search *s) { return s->done; }

const fc_search_result *fc_search_results(const fc_search *s, int *n) {
    FC_ASSERT(s->done);
    *n = s->n_results;
    return s->results;
}

double fc_search_kappa(const fc_search *s) { return s->kappa; }

int fc_search_expanded(const fc_search *s) { return s->expanded; }
