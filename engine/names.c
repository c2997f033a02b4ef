#include "engine/names.h"

#include "engine/base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *text;
    size_t size;
    int index;
} key; /* of by_text, in order of bytes, shorter first */

typedef struct trie_node {
    struct trie_node *next;
    const fc_tok *tok;
    int32_t end;
    char *before;
    size_t before_size;
    fc_trie *trie;
} trie_node;

struct fc_names {
    atomic_int refs;
    fc_arena arena; /* all texts */
    const char *id;
    int n;
    const char **names, **keywords, **parents; /* [n]; the last two NULL where none are given */
    size_t *sizes;
    key *by_text; /* [n] */
    bool has_parents;
    pthread_mutex_t lock; /* guards tries */
    trie_node *tries;
};

static int by_bytes(const void *a, const void *b) {
    const key *x = a, *y = b;
    size_t n = x->size < y->size ? x->size : y->size;
    int c = memcmp(x->text, y->text, n);
    return c ? c : x->size < y->size ? -1 : x->size > y->size;
}

static fc_status copy(fc_names *n, const char *text, const char **out) {
    size_t size = strlen(text) + 1;
    void *p;
    FC_TRY(fc_arena_alloc(&n->arena, size, 1, &p));
    memcpy(p, text, size);
    *out = p;
    return FC_OK;
}

static fc_status copy_list(fc_names *n, const char *const *list, const char ***out) {
    void *p;
    FC_TRY(fc_arena_alloc(&n->arena, (size_t)n->n, sizeof **out, &p));
    *out = p;
    for (int i = 0; list && i < n->n; i++)
        if (list[i]) FC_TRY(copy(n, list[i], &(*out)[i]));
    return FC_OK;
}

static fc_status fill(fc_names *n, const fc_taxonomy_names *t) {
    void *p;
    FC_TRY(copy(n, t->id ? t->id : "", &n->id));
    if (t->n == 0 || t->n > INT32_MAX / 2)
        return FC_FAIL(FC_ERR_ARG, "taxonomy \"%.60s\": %zu names; at least one is needed", n->id, t->n);
    n->n = (int)t->n;
    FC_TRY(copy_list(n, t->names, &n->names));
    FC_TRY(copy_list(n, t->keywords, &n->keywords));
    FC_TRY(copy_list(n, t->parents, &n->parents));
    FC_TRY(fc_arena_alloc(&n->arena, t->n, sizeof *n->sizes, &p));
    n->sizes = p;
    FC_TRY(fc_arena_alloc(&n->arena, t->n, sizeof *n->by_text, &p));
    n->by_text = p;
    for (int i = 0; i < n->n; i++) {
        if (!n->names[i] || !n->names[i][0])
            return FC_FAIL(FC_ERR_ARG, "taxonomy \"%.60s\": name %d is empty", n->id, i);
        n->sizes[i] = strlen(n->names[i]);
        n->by_text[i] = (key){n->names[i], n->sizes[i], i};
        n->has_parents = n->has_parents || (n->parents[i] && n->parents[i][0]);
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

fc_status fc_names_open(const fc_taxonomy_names *t, fc_names **out) {
    fc_names *n;
    fc_status st;
    void *p;
    FC_TRY(fc_alloc(1, sizeof *n, "taxonomy", &p));
    n = p;
    atomic_init(&n->refs, 1);
    fc_arena_init(&n->arena);
    pthread_mutex_init(&n->lock, NULL);
    st = fill(n, t);
    if (st) fc_names_unref(n);
    else *out = n;
    return st;
}

fc_names *fc_names_ref(fc_names *n) {
    atomic_fetch_add(&n->refs, 1);
    return n;
}

static void trie_free(trie_node *t) {
    fc_trie_close(t->trie);
    fc_free(t->before);
    fc_free(t);
}

void fc_names_unref(fc_names *n) {
    if (!n || atomic_fetch_sub(&n->refs, 1) > 1) return;
    while (n->tries) {
        trie_node *t = n->tries;
        n->tries = t->next;
        trie_free(t);
    }
    pthread_mutex_destroy(&n->lock);
    fc_arena_fini(&n->arena);
    fc_free(n);
}

const char *fc_names_id(const fc_names *n) { return n->id; }
int fc_names_count(const fc_names *n) { return n->n; }
const char *fc_names_at(const fc_names *n, int i) { return n->names[i]; }
bool fc_names_have_parents(const fc_names *n) { return n->has_parents; }

const char *fc_names_parent(const fc_names *n, int i) {
    return n->parents[i] && n->parents[i][0] ? n->parents[i] : NULL;
}

const char *fc_names_keyword(const fc_names *n, int i, int k, size_t *size) {
    const char *at = n->keywords[i];
    while (at && *at) {
        *size = strcspn(at, ",");
        if (k-- == 0) return at;
        at += *size;
        if (*at) at++;
        at += *at == ' ';
    }
    return NULL;
}

int fc_names_find(const fc_names *n, const char *text, size_t size) {
    const key want = {text, size, 0}, *found = bsearch(&want, n->by_text, (size_t)n->n, sizeof want, by_bytes);
    return found ? found->index : -1;
}

static fc_status build(fc_names *n, const fc_tok *tok, const char *before, size_t before_size, int32_t end,
                       trie_node **out) {
    trie_node *t;
    fc_status st;
    void *p;
    FC_TRY(fc_alloc(1, sizeof *t, "taxonomy trie", &p));
    t = p;
    *t = (trie_node){.tok = tok, .end = end, .before_size = before_size};
    st = fc_copy_bytes(before, before_size, "taxonomy trie", &t->before);
    if (!st) st = fc_trie_open(tok, n->names, n->sizes, (size_t)n->n, before, before_size, end, &t->trie);
    if (st) trie_free(t);
    else *out = t;
    return st;
}

fc_status fc_names_trie(fc_names *n, const fc_tok *tok, const char *before, size_t before_size, int32_t end,
                        const fc_trie **out) {
    fc_status st = FC_OK;
    trie_node *t;
    pthread_mutex_lock(&n->lock); /* a second request waits for the first one's trie instead of building it again */
    for (t = n->tries; t; t = t->next)
        if (t->tok == tok && t->end == end && t->before_size == before_size &&
            memcmp(t->before, before, before_size) == 0)
            break;
    if (!t) {
        st = build(n, tok, before, before_size, end, &t);
        if (!st) {
            t->next = n->tries;
            n->tries = t;
        }
    }
    pthread_mutex_unlock(&n->lock);
    if (!st) *out = t->trie;
    return st;
}
