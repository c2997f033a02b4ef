#include "engine/names.h"

#include "engine/base/mem.h"
#include "engine/trie_cache.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *text;
    size_t size;
    int index; /* of the name, or place of the tag */
} key;         /* in order of bytes, shorter first */

/* Parent ids, or keywords, of all names. */
typedef struct {
    int n;      /* different ones */
    int *first; /* [names + 1] into number[] */
    int32_t *number;
} tag_table;

/* The set itself, which all its handles share. */
typedef struct {
    atomic_int refs; /* handles */
    fc_arena arena;  /* all texts */
    const char *id;
    int n;
    const char **names; /* [n] */
    tag_table tags[2];  /* parents, keywords */
    size_t *sizes;
    key *by_text; /* [n] */
    fc_trie_cache *tries;
} name_set;

struct fc_names {
    name_set *set;
    fc_trie_held *trie; /* NULL until it is asked for one */
};

static int by_bytes(const void *a, const void *b) {
    const key *x = a, *y = b;
    size_t n = x->size < y->size ? x->size : y->size;
    int c = memcmp(x->text, y->text, n);
    return c ? c : x->size < y->size ? -1 : x->size > y->size;
}

static fc_status copy(name_set *n, const char *text, const char **out) {
    size_t size = strlen(text) + 1;
    void *p;
    FC_TRY(fc_arena_alloc(&n->arena, size, 1, &p));
    memcpy(p, text, size);
    *out = p;
    return FC_OK;
}

/* ---- what names share ---- */

/* The piece of a list at *at, which goes on to the next one; false behind the last. cut: pieces end at commas. */
static bool next_piece(const char **at, bool cut, const char **text, size_t *size) {
    if (!*at || !**at) return false;
    *text = *at;
    *size = cut ? strcspn(*at, ",") : strlen(*at);
    *at += *size;
    if (**at) ++*at;
    if (**at == ' ') ++*at;
    return true;
}

static size_t count_pieces(const char *const *lists, int n, bool cut) {
    size_t pieces = 0;
    for (int i = 0; i < n; i++) {
        const char *at = lists[i], *text;
        for (size_t size; next_piece(&at, cut, &text, &size);) pieces += size > 0;
    }
    return pieces;
}

static fc_status number_tags(name_set *n, const char *const *lists, bool cut, tag_table *out) {
    size_t pieces = lists ? count_pieces(lists, n->n, cut) : 0;
    key *all;
    int k = 0;
    void *p;
    FC_TRY(fc_arena_alloc(&n->arena, (size_t)n->n + 1, sizeof *out->first, &p));
    out->first = p;
    if (pieces == 0) return FC_OK;
    if (pieces > INT32_MAX / 2)
        return FC_FAIL(FC_ERR_ARG, "taxonomy \"%.60s\": %zu keywords are too many", n->id, pieces);
    FC_TRY(fc_arena_alloc(&n->arena, pieces, sizeof *out->number, &p));
    out->number = p;
    FC_TRY(fc_alloc(pieces, sizeof *all, "taxonomy keywords", &p));
    all = p;
    for (int i = 0; i < n->n; i++) {
        const char *at = lists[i], *text;
        for (size_t size; next_piece(&at, cut, &text, &size);)
            if (size > 0) {
                all[k] = (key){text, size, k};
                k++;
            }
        out->first[i + 1] = k;
    }
    qsort(all, pieces, sizeof *all, by_bytes);
    for (int i = 0; i < k; i++) {
        if (i == 0 || by_bytes(&all[i - 1], &all[i]) != 0) out->n++;
        out->number[all[i].index] = out->n - 1;
    }
    fc_free(all);
    return FC_OK;
}

const int32_t *fc_names_tags(const fc_names *n, fc_diversity d, int i, int *count) {
    const tag_table *t = &n->set->tags[d == FC_DIVERSITY_KEYWORDS];
    *count = t->first[i + 1] - t->first[i];
    return t->number ? t->number + t->first[i] : NULL;
}

int fc_names_count_tags(const fc_names *n, fc_diversity d) { return n->set->tags[d == FC_DIVERSITY_KEYWORDS].n; }

/* ---- open and close ---- */

static fc_status fill(name_set *n, const fc_taxonomy_names *t) {
    void *p;
    FC_TRY(copy(n, t->id ? t->id : "", &n->id));
    if (t->n == 0 || t->n > INT32_MAX / 2)
        return FC_FAIL(FC_ERR_ARG, "taxonomy \"%.60s\": %zu names; at least one is needed", n->id, t->n);
    n->n = (int)t->n;
    FC_TRY(number_tags(n, t->parents, false, &n->tags[0]));
    FC_TRY(number_tags(n, t->keywords, true, &n->tags[1]));
    FC_TRY(fc_arena_alloc(&n->arena, t->n, sizeof *n->names, &p));
    n->names = p;
    FC_TRY(fc_arena_alloc(&n->arena, t->n, sizeof *n->sizes, &p));
    n->sizes = p;
    FC_TRY(fc_arena_alloc(&n->arena, t->n, sizeof *n->by_text, &p));
    n->by_text = p;
    for (int i = 0; i < n->n; i++) {
        if (!t->names[i] || !t->names[i][0])
            return FC_FAIL(FC_ERR_ARG, "taxonomy \"%.60s\": name %d is empty", n->id, i);
        FC_TRY(copy(n, t->names[i], &n->names[i]));
        n->sizes[i] = strlen(n->names[i]);
        n->by_text[i] = (key){n->names[i], n->sizes[i], i};
    }
    qsort(n->by_text, t->n, sizeof *n->by_text, by_bytes);
    for (int i = 1; i < n->n; i++) {
        int x = n->by_text[i - 1].index, y = n->by_text[i].index;
        if (by_bytes(&n->by_text[i - 1], &n->by_text[i]) == 0)
            return FC_FAIL(FC_ERR_ARG, "taxonomy \"%.60s\": the name \"%.80s\" stands at %d and %d", n->id,
                           n->by_text[i].text, x < y ? x : y, x < y ? y : x);
    }
    return FC_OK;
}

static void set_unref(name_set *n) {
    if (!n || atomic_fetch_sub(&n->refs, 1) > 1) return;
    fc_trie_cache_close(n->tries);
    fc_arena_fini(&n->arena);
    fc_free(n);
}

static fc_status build_trie(void *arg, const fc_trie_key *k, fc_trie **out) {
    const name_set *n = arg;
    return fc_trie_open(k->tok, n->names, n->sizes, (size_t)n->n, k->before, k->before_size, k->end, out);
}

static fc_status set_open(const fc_taxonomy_names *t, name_set **out) {
    name_set *n;
    fc_status st;
    void *p;
    FC_TRY(fc_alloc(1, sizeof *n, "taxonomy", &p));
    n = p;
    atomic_init(&n->refs, 1);
    fc_arena_init(&n->arena);
    st = fill(n, t);
    if (!st) st = fc_trie_cache_open(build_trie, n, &n->tries);
    if (st) set_unref(n);
    else *out = n;
    return st;
}

fc_status fc_names_open(const fc_taxonomy_names *t, fc_names **out) {
    fc_names *n;
    fc_status st;
    void *p;
    FC_TRY(fc_alloc(1, sizeof *n, "taxonomy", &p));
    n = p;
    st = set_open(t, &n->set);
    if (st) fc_free(n);
    else *out = n;
    return st;
}

fc_status fc_names_share(const fc_names *n, fc_names **out) {
    fc_names *more;
    void *p;
    FC_TRY(fc_alloc(1, sizeof *more, "taxonomy", &p));
    more = p;
    more->set = n->set;
    atomic_fetch_add(&n->set->refs, 1);
    *out = more;
    return FC_OK;
}

void fc_names_unref(fc_names *n) {
    if (!n) return;
    fc_trie_cache_give(n->set->tries, n->trie);
    set_unref(n->set);
    fc_free(n);
}

const char *fc_names_id(const fc_names *n) { return n->set->id; }
int fc_names_count(const fc_names *n) { return n->set->n; }
const char *fc_names_at(const fc_names *n, int i) { return n->set->names[i]; }

int fc_names_find(const fc_names *n, const char *text, size_t size) {
    const key want = {text, size, 0};
    const key *found = bsearch(&want, n->set->by_text, (size_t)n->set->n, sizeof want, by_bytes);
    return found ? found->index : -1;
}

fc_status fc_names_trie(fc_names *n, const fc_tok *tok, const char *before, size_t before_size, int32_t end,
                        const fc_trie **out) {
    const fc_trie_key k = {.tok = tok, .before = before, .before_size = before_size, .end = end};
    fc_trie_held *h;
    FC_TRY(fc_trie_cache_take(n->set->tries, &k, &h));
    fc_trie_cache_give(n->set->tries, n->trie);
    n->trie = h;
    *out = fc_trie_held_trie(h);
    return FC_OK;
}
