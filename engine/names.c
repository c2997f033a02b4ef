#include "engine/names.h"

#include "engine/base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *text;
    size_t size;
    int index; /* of the name, or place of the tag */
} key;         /* in order of bytes, shorter first */

typedef struct trie_node {
    struct trie_node *next;
    const fc_tok *tok;
    int32_t end;
    char *before;
    size_t before_size;
    fc_trie *trie;
} trie_node;

/* Parent ids, or keywords, of all names. */
typedef struct {
    int n;      /* different ones */
    int *first; /* [names + 1] into number[] */
    int32_t *number;
} tag_table;

struct fc_names {
    atomic_int refs;
    fc_arena arena; /* all texts */
    const char *id;
    int n;
    const char **names; /* [n] */
    tag_table tags[2];  /* parents, keywords */
    size_t *sizes;
    key *by_text;         /* [n] */
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

static fc_status number_tags(fc_names *n, const char *const *lists, bool cut, tag_table *out) {
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
    const tag_table *t = &n->tags[d == FC_DIVERSITY_KEYWORDS];
    *count = t->first[i + 1] - t->first[i];
    return t->number ? t->number + t->first[i] : NULL;
}

int fc_names_count_tags(const fc_names *n, fc_diversity d) { return n->tags[d == FC_DIVERSITY_KEYWORDS].n; }

/* ---- open and close ---- */

static fc_status fill(fc_names *n, const fc_taxonomy_names *t) {
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
