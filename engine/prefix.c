#include "engine/prefix.h"

#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include <string.h>

enum { NONE = -1 };

typedef struct {
    uint64_t ns;
    uint64_t rank;        /* random: the treap's heap order, largest on top */
    int32_t parent;       /* NONE: below the root */
    int32_t kids;         /* top of the treap of the children */
    int32_t left, right;  /* siblings */
    int32_t older, newer; /* idle list */
    int n;                /* ids; 0: the page is no node */
    int busy;
} node;

struct fc_prefix {
    fc_kv *kv;
    int n_pages, P;
    node *nodes;   /* [n_pages]: a node's number is its page */
    int32_t *ids;  /* [n_pages][P] */
    int32_t roots; /* top of the treap of all first pages */
    int32_t oldest, newest;
    int n_idle;
    uint64_t random;
    fc_prefix_stats stats;
};

uint64_t fc_prefix_namespace(const fc_prefix_scope *s) {
    const uint64_t number[2] = {s->model, s->adapter};
    const char *text[3] = {fc_dtype_name(s->kv_type), s->api_key, s->cache_salt};
    uint64_t h = 0;
    for (uint64_t i = 0; i < 2; i++) {
        unsigned char bytes[8]; /* little-endian on every machine */
        for (int b = 0; b < 8; b++) bytes[b] = (unsigned char)(number[i] >> (8 * b));
        h = fc_siphash(h, i, bytes, sizeof bytes);
    }
    /* The place is in the key, and whether there is a text: key "a" without salt is not salt "a" without key. */
    for (uint64_t i = 0; i < 3; i++)
        h = fc_siphash(h, 2 + 2 * i + (text[i] != NULL), text[i], text[i] ? strlen(text[i]) : 0);
    return h;
}

static int32_t *ids_of(const fc_prefix *p, int32_t x) { return p->ids + (size_t)x * (size_t)p->P; }

/* ---- idle list: who is at its end was used last ---- */

static void idle_add(fc_prefix *p, int32_t x) {
    node *b = &p->nodes[x];
    b->older = p->newest;
    b->newer = NONE;
    *(p->newest == NONE ? &p->oldest : &p->nodes[p->newest].newer) = x;
    p->newest = x;
    p->n_idle++;
}

static void idle_remove(fc_prefix *p, int32_t x) {
    node *b = &p->nodes[x];
    *(b->older == NONE ? &p->oldest : &p->nodes[b->older].newer) = b->newer;
    *(b->newer == NONE ? &p->newest : &p->nodes[b->newer].older) = b->older;
    p->n_idle--;
}

/* One reason more to stay, and one less. A parent is busy with its child, so it becomes idle after it: (5). Tables
 * adopt pages first to last and drop them last to first, so that these walks are one step for each page of a table. */
static void busier(fc_prefix *p, int32_t x) {
    for (; x != NONE && p->nodes[x].busy++ == 0; x = p->nodes[x].parent) idle_remove(p, x);
}

static void idler(fc_prefix *p, int32_t x) {
    for (; x != NONE && --p->nodes[x].busy == 0; x = p->nodes[x].parent) idle_add(p, x);
}

static void on_read(void *index, int32_t page, bool read) {
    if (read) busier(index, page);
    else idler(index, page);
}

/* x was used, and so was the way to it. Above a busy node all are busy. */
static void touch(fc_prefix *p, int32_t x) {
    for (; x != NONE && p->nodes[x].busy == 0; x = p->nodes[x].parent) {
        idle_remove(p, x);
        idle_add(p, x);
    }
}

/* ---- siblings ---- */

static int common(const int32_t *a, int n_a, const int32_t *b, int n_b) {
    int l = 0, n = n_a < n_b ? n_a : n_b;
    while (l < n && a[l] == b[l]) l++;
    return l;
}

/* The child of parent that shares the most ids with ids [n], n >= 1: one of the two neighbours that ids would have,
 * and both lie on the way down. NONE when *match, the number of shared ids, is 0. */
static int32_t find(const fc_prefix *p, uint64_t ns, int32_t parent, const int32_t *ids, int n, int *match) {
    int32_t best = NONE, x = parent == NONE ? p->roots : p->nodes[parent].kids;
    *match = 0;
    while (x != NONE) {
        const node *b = &p->nodes[x];
        int l;
        if (b->ns != ns) {
            x = ns < b->ns ? b->left : b->right;
            continue;
        }
        l = common(ids, n, ids_of(p, x), b->n);
        if (l > *match) {
            *match = l;
            best = x;
        }
        if (l == n || l == b->n) break; /* nobody shares more: no sibling begins with b's ids */
        x = ids[l] < ids_of(p, x)[l] ? b->left : b->right;
    }
    return best;
}

static bool before(const fc_prefix *p, int32_t x, int32_t y) {
    const node *a = &p->nodes[x], *b = &p->nodes[y];
    int l;
    if (a->ns != b->ns) return a->ns < b->ns;
    l = common(ids_of(p, x), a->n, ids_of(p, y), b->n);
    FC_ASSERT(l < a->n && l < b->n);
    return ids_of(p, x)[l] < ids_of(p, y)[l];
}

static int32_t *kids_of(fc_prefix *p, int32_t parent) { return parent == NONE ? &p->roots : &p->nodes[parent].kids; }

static void sibling_add(fc_prefix *p, int32_t x) {
    node *b = &p->nodes[x];
    int32_t *at = kids_of(p, b->parent), *left = &b->left, *right = &b->right, t;
    while (*at != NONE && p->nodes[*at].rank > b->rank)
        at = before(p, x, *at) ? &p->nodes[*at].left : &p->nodes[*at].right;
    t = *at;
    *at = x;
    while (t != NONE) /* what was below is split around x */
        if (before(p, t, x)) {
            *left = t;
            left = &p->nodes[t].right;
            t = *left;
        } else {
            *right = t;
            right = &p->nodes[t].left;
            t = *right;
        }
    *left = *right = NONE;
}

static void sibling_remove(fc_prefix *p, int32_t x) {
    int32_t *at = kids_of(p, p->nodes[x].parent), l = p->nodes[x].left, r = p->nodes[x].right;
    while (*at != x) at = before(p, x, *at) ? &p->nodes[*at].left : &p->nodes[*at].right;
    while (l != NONE && r != NONE)
        if (p->nodes[l].rank > p->nodes[r].rank) {
            *at = l;
            at = &p->nodes[l].right;
            l = *at;
        } else {
            *at = r;
            at = &p->nodes[r].left;
            r = *at;
        }
    *at = l != NONE ? l : r;
}

/* ---- nodes ---- */

/* The page is listed by the table that puts it, so it starts as busy. */
static void node_add(fc_prefix *p, uint64_t ns, int32_t parent, const int32_t *ids, int n, int32_t page) {
    p->nodes[page] = (node){.ns = ns,
                            .rank = fc_rng_next(&p->random),
                            .parent = parent,
                            .kids = NONE,
                            .older = NONE,
                            .newer = NONE,
                            .n = n,
                            .busy = 1};
    memcpy(ids_of(p, page), ids, (size_t)n * sizeof *ids);
    sibling_add(p, page);
    busier(p, parent);
    fc_kv_hold(p->kv, page);
    p->stats.pages++;
}

static void node_remove(fc_prefix *p, int32_t x) {
    node *b = &p->nodes[x];
    FC_ASSERT(b->kids == NONE);
    sibling_remove(p, x);
    if (b->busy) idler(p, b->parent);
    else idle_remove(p, x);
    b->n = 0;
    p->stats.pages--;
    fc_kv_release(p->kv, x);
}

fc_status fc_prefix_open(fc_kv *kv, fc_prefix **out) {
    fc_status st = FC_OK;
    void *mem;
    fc_prefix *p;
    size_t n;
    FC_TRY(fc_alloc(1, sizeof *p, "prefix index", &mem));
    p = mem;
    p->kv = kv;
    p->n_pages = fc_kv_pages_total(kv);
    p->P = fc_kv_store(kv)->shape.P;
    p->roots = p->oldest = p->newest = NONE;
    FC_TRY_GOTO(st, fc_alloc((size_t)p->n_pages, sizeof *p->nodes, "prefix nodes", &mem), fail);
    p->nodes = mem;
    if (!fc_mul((size_t)p->n_pages, (size_t)p->P, &n)) n = SIZE_MAX;
    FC_TRY_GOTO(st, fc_alloc(n, sizeof *p->ids, "prefix ids", &mem), fail);
    p->ids = mem;
    fc_kv_watch(kv, on_read, p);
    *out = p;
    return FC_OK;
fail:
    fc_prefix_close(p);
    return st;
}

void fc_prefix_close(fc_prefix *p) {
    if (!p) return;
    fc_kv_watch(p->kv, NULL, NULL);
    for (int x = 0; p->ids && x < p->n_pages; x++)
        if (p->nodes[x].n) fc_kv_release(p->kv, x);
    fc_free(p->ids);
    fc_free(p->nodes);
    fc_free(p);
}

/* The first n slots of page x become the table's last ones, on a page of its own; *taken tells whether there was
 * one. x itself is not given up for it. */
static fc_status take_part(fc_prefix *p, int32_t x, int n, int table, bool *taken) {
    touch(p, x);
    if (fc_kv_pages_free(p->kv) == 0 && p->oldest != x) fc_prefix_evict(p, 1);
    *taken = fc_kv_pages_free(p->kv) > 0;
    if (!*taken) return FC_OK;
    p->stats.partial_copies++;
    return fc_kv_adopt_part(p->kv, table, x, n);
}

fc_status fc_prefix_take(fc_prefix *p, uint64_t ns, const int32_t *ids, int n, int most, int table, int *hit) {
    int at = 0, limit = n < most ? n : most, match;
    int32_t parent = NONE;
    if (fc_kv_len(p->kv, table) > 0)
        return FC_FAIL(FC_ERR_ARG, "prefix: the table has %d tokens; it must be empty", fc_kv_len(p->kv, table));
    while (at < limit) {
        int left = limit - at;
        int32_t x = find(p, ns, parent, ids + at, left < p->P ? left : p->P, &match);
        if (match < p->P) {
            bool taken = false;
            if (x != NONE) FC_TRY(take_part(p, x, match, table, &taken));
            if (taken) at += match;
            break;
        }
        FC_TRY(fc_kv_adopt(p->kv, table, x));
        at += p->P;
        parent = x;
    }
    p->stats.lookups++;
    p->stats.asked_tokens += n;
    p->stats.hit_tokens += at;
    *hit = at;
    return FC_OK;
}

int fc_prefix_match(const fc_prefix *p, uint64_t ns, const int32_t *ids, int n, int most) {
    int at = 0, limit = n < most ? n : most, match = p->P;
    int32_t x = NONE;
    while (at < limit && match == p->P) {
        int left = limit - at;
        x = find(p, ns, x, ids + at, left < p->P ? left : p->P, &match);
        at += match;
    }
    return at;
}

fc_status fc_prefix_put(fc_prefix *p, uint64_t ns, const int32_t *ids, int n, int table, bool closing) {
    int len = fc_kv_len(p->kv, table), match;
    const int32_t *pages = fc_kv_pages(p->kv, table);
    int32_t last = NONE;
    if (n < 0 || n > len) return FC_FAIL(FC_ERR_ARG, "prefix: %d tokens of a table of %d", n, len);
    for (int at = 0; at < n; at += p->P) {
        int m = n - at < p->P ? n - at : p->P;
        int32_t page = pages[at / p->P], x = find(p, ns, last, ids + at, m, &match);
        bool longer = x != NONE && match < m && match == p->nodes[x].n; /* than what ended here */
        if (match == m) { /* the page that ends what is put stays the table's own: nothing is hung below it */
            if (x != page && at + p->P < n) fc_kv_exchange(p->kv, table, at / p->P, x);
            last = x;
            continue;
        }
        if (m < p->P && (!closing || fc_kv_readers(p->kv, page) > 1)) break;
        if (fc_kv_held(p->kv, page) && !(longer && x == page))
            break; /* in the tree under other ids or another namespace */
        if (longer) node_remove(p, x);
        node_add(p, ns, last, ids + at, m, page);
        last = page;
    }
    touch(p, last);
    return FC_OK;
}

int fc_prefix_evict(fc_prefix *p, int pages) {
    int before_free = fc_kv_pages_free(p->kv);
    while (fc_kv_pages_free(p->kv) - before_free < pages && p->oldest != NONE) { /* the oldest is a leaf: (5) */
        if (fc_kv_copying(p->kv, p->oldest)) {
            if (fc_kv_flush(p->kv) != FC_OK) break;
            continue; /* what has been copied may be free now, and be enough */
        }
        node_remove(p, p->oldest);
        p->stats.evicted_pages++;
    }
    /* A failure here comes again with the flush of the batch. */
    if (fc_kv_pages_free(p->kv) - before_free < pages) (void)fc_kv_flush(p->kv);
    return fc_kv_pages_free(p->kv) - before_free;
}

int fc_prefix_evictable(const fc_prefix *p) { return p->n_idle; }

fc_prefix_stats fc_prefix_counts(const fc_prefix *p) {
    fc_prefix_stats s = p->stats;
    s.idle_pages = p->n_idle;
    return s;
}

/* What is counted anew, [n_pages] each. */
typedef struct {
    int32_t *links;     /* pointers to the node as a sibling or child */
    int32_t *busy_kids; /* children with busy > 0 */
    int32_t *place;     /* in the idle list, from 1; 0: not in it */
} tally;

static fc_status check_link(const fc_prefix *p, tally t, int32_t x, int32_t parent) {
    if (x == NONE) return FC_OK;
    if (x < 0 || x >= p->n_pages || p->nodes[x].n == 0 || p->nodes[x].parent != parent)
        return FC_FAIL(FC_ERR_INTERNAL, "prefix (3): a link below page %d leads to page %d, which is not its child",
                       parent, x);
    t.links[x]++;
    return FC_OK;
}

static fc_status check_idle(const fc_prefix *p, tally t) {
    int32_t x = p->oldest, last = NONE;
    int n = 0;
    for (; x != NONE && n < p->n_pages; last = x, x = p->nodes[x].newer) {
        const node *b = &p->nodes[x];
        if (b->n == 0 || b->busy > 0 || b->older != last)
            return FC_FAIL(FC_ERR_INTERNAL, "prefix (5): page %d is in the idle list with %d ids, busy %d, behind %d",
                           x, b->n, b->busy, b->older);
        t.place[x] = ++n;
    }
    if (x != NONE || n != p->n_idle || last != p->newest)
        return FC_FAIL(FC_ERR_INTERNAL, "prefix (5): %d pages of %d from the oldest, page %d, to page %d", n, p->n_idle,
                       p->oldest, last);
    return FC_OK;
}

/* After all links have been counted: every node is pointed to once, so no search can run in a circle. */
static fc_status check_node(const fc_prefix *p, tally t, int32_t x) {
    const node *b = &p->nodes[x];
    int reads = fc_kv_readers(p->kv, x) > 0, match;
    if (b->n > p->P || (b->n < p->P && b->kids != NONE) || (b->parent != NONE && p->nodes[b->parent].ns != b->ns))
        return FC_FAIL(FC_ERR_INTERNAL, "prefix (2): page %d has %d of %d ids, first child %d, parent %d", x, b->n,
                       p->P, b->kids, b->parent);
    if (find(p, b->ns, b->parent, ids_of(p, x), b->n, &match) != x || match != b->n)
        return FC_FAIL(FC_ERR_INTERNAL, "prefix (3): a search for page %d finds another", x);
    for (int side = 0; side < 2; side++) {
        int32_t y = side ? b->right : b->left;
        if (y != NONE && p->nodes[y].rank > b->rank)
            return FC_FAIL(FC_ERR_INTERNAL, "prefix (3): page %d is below page %d, of a lower rank", y, x);
    }
    if (b->busy != reads + t.busy_kids[x])
        return FC_FAIL(FC_ERR_INTERNAL, "prefix (4): page %d has busy %d; %d tables and %d busy children", x, b->busy,
                       fc_kv_readers(p->kv, x), t.busy_kids[x]);
    if ((t.place[x] > 0) != (b->busy == 0))
        return FC_FAIL(FC_ERR_INTERNAL, "prefix (5): page %d has busy %d, place %d", x, b->busy, t.place[x]);
    if (b->parent != NONE && b->busy == 0 && t.place[b->parent] > 0 && t.place[b->parent] < t.place[x])
        return FC_FAIL(FC_ERR_INTERNAL, "prefix (5): page %d comes before its child %d", b->parent, x);
    return FC_OK;
}

fc_status fc_prefix_check(const fc_prefix *p) {
    fc_status st = FC_OK;
    tally t;
    void *mem;
    FC_TRY(fc_alloc((size_t)p->n_pages, 3 * sizeof *t.links, "prefix check", &mem));
    t = (tally){mem, (int32_t *)mem + p->n_pages, (int32_t *)mem + 2 * (ptrdiff_t)p->n_pages};
    FC_TRY_GOTO(st, check_link(p, t, p->roots, NONE), done);
    for (int32_t x = 0; x < p->n_pages; x++) {
        const node *b = &p->nodes[x];
        if ((b->n > 0) != fc_kv_held(p->kv, x)) {
            st = FC_FAIL(FC_ERR_INTERNAL, "prefix (1): page %d has %d ids; held: %d", x, b->n, fc_kv_held(p->kv, x));
            goto done;
        }
        if (b->n == 0) continue;
        FC_TRY_GOTO(st, check_link(p, t, b->left, b->parent), done);
        FC_TRY_GOTO(st, check_link(p, t, b->right, b->parent), done);
        FC_TRY_GOTO(st, check_link(p, t, b->kids, x), done);
        if (b->parent != NONE && b->busy > 0) t.busy_kids[b->parent]++;
    }
    FC_TRY_GOTO(st, check_idle(p, t), done);
    for (int32_t x = 0; x < p->n_pages; x++)
        if (p->nodes[x].n && t.links[x] != 1) {
            st = FC_FAIL(FC_ERR_INTERNAL, "prefix (3): page %d is linked %d times", x, t.links[x]);
            goto done;
        }
    for (int32_t x = 0; x < p->n_pages; x++)
        if (p->nodes[x].n) FC_TRY_GOTO(st, check_node(p, t, x), done);
done:
    fc_free(mem);
    return st;
}
