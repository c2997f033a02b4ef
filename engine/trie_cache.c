#include "engine/trie_cache.h"

#include "engine/base/mem.h"

#include <pthread.h>
#include <string.h>

typedef enum { BUILDING, BUILT, FAILED } build_state;

struct fc_trie_held {
    fc_trie_held *next; /* kept: taken before this one */
    fc_trie_key key;    /* before is its own copy */
    char *before;
    fc_trie *trie;
    build_state state;
    int refs; /* holders, builder and waiters among them, + 1 while kept */
};

struct fc_trie_cache {
    fc_trie_builder build;
    void *arg;
    pthread_mutex_t lock; /* guards all below, and state and refs of what is held */
    pthread_cond_t built;
    fc_trie_held *kept; /* the one taken last first */
};

fc_status fc_trie_cache_open(fc_trie_builder build, void *arg, fc_trie_cache **out) {
    fc_trie_cache *c;
    void *p;
    FC_TRY(fc_alloc(1, sizeof *c, "tries", &p));
    c = p;
    c->build = build;
    c->arg = arg;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->built, NULL);
    *out = c;
    return FC_OK;
}

/* One reference less. The lock is held: freeing is short, building is not. */
static void unref(fc_trie_held *h) {
    if (--h->refs > 0) return;
    fc_trie_close(h->trie);
    fc_free(h->before);
    fc_free(h);
}

void fc_trie_cache_close(fc_trie_cache *c) {
    if (!c) return;
    while (c->kept) {
        fc_trie_held *h = c->kept;
        FC_ASSERT(h->refs == 1);
        c->kept = h->next;
        unref(h);
    }
    pthread_cond_destroy(&c->built);
    pthread_mutex_destroy(&c->lock);
    fc_free(c);
}

static bool same(const fc_trie_key *a, const fc_trie_key *b) {
    return a->tok == b->tok && a->end == b->end && a->before_size == b->before_size &&
           memcmp(a->before, b->before, a->before_size) == 0;
}

static fc_trie_held *find(const fc_trie_cache *c, const fc_trie_key *key) {
    fc_trie_held *h = c->kept;
    while (h && !same(&h->key, key)) h = h->next;
    return h;
}

/* Takes h out of the list; false where it is not in it. */
static bool leave(fc_trie_cache *c, const fc_trie_held *h) {
    fc_trie_held **at = &c->kept;
    while (*at && *at != h) at = &(*at)->next;
    if (!*at) return false;
    *at = h->next;
    return true;
}

static void join(fc_trie_cache *c, fc_trie_held *h) {
    h->next = c->kept;
    c->kept = h;
}

static void evict(fc_trie_cache *c) {
    fc_trie_held *h = c->kept;
    for (int i = 0; h && i < FC_TRIES_KEPT; i++) h = h->next;
    if (h && leave(c, h)) unref(h);
}

static fc_status held_new(const fc_trie_key *key, fc_trie_held **out) {
    fc_trie_held *h;
    fc_status st;
    void *p;
    FC_TRY(fc_alloc(1, sizeof *h, "taxonomy trie", &p));
    h = p;
    st = fc_copy_bytes(key->before, key->before_size, "taxonomy trie", &h->before);
    if (st) {
        fc_free(h);
        return st;
    }
    h->key = *key;
    h->key.before = h->before;
    h->refs = 2; /* the cache's, and its builder's */
    *out = h;
    return FC_OK;
}

/* One more holder of a kept trie, once it is built; false when its build fails. Waits without the lock. */
static bool hold(fc_trie_cache *c, fc_trie_held *h) {
    leave(c, h);
    join(c, h);
    h->refs++;
    while (h->state == BUILDING) pthread_cond_wait(&c->built, &c->lock);
    if (h->state == BUILT) return true;
    unref(h);
    return false;
}

/* A new trie, which others find at once and wait for. Builds without the lock. */
static fc_status make(fc_trie_cache *c, const fc_trie_key *key, fc_trie_held **out) {
    fc_trie_held *h;
    fc_trie *t = NULL;
    fc_status st;
    FC_TRY(held_new(key, &h));
    join(c, h);
    evict(c);
    pthread_mutex_unlock(&c->lock);
    st = c->build(c->arg, &h->key, &t);
    pthread_mutex_lock(&c->lock);
    h->trie = t;
    h->state = st ? FAILED : BUILT;
    pthread_cond_broadcast(&c->built);
    if (!st) {
        *out = h;
        return FC_OK;
    }
    if (leave(c, h)) unref(h);
    unref(h);
    return st;
}

fc_status fc_trie_cache_take(fc_trie_cache *c, const fc_trie_key *key, fc_trie_held **out) {
    fc_trie_held *h;
    fc_status st = FC_OK;
    pthread_mutex_lock(&c->lock);
    while ((h = find(c, key)) && !hold(c, h)) continue;
    if (h) *out = h;
    else st = make(c, key, out);
    pthread_mutex_unlock(&c->lock);
    return st;
}

void fc_trie_cache_give(fc_trie_cache *c, fc_trie_held *h) {
    if (!h) return;
    pthread_mutex_lock(&c->lock);
    unref(h);
    pthread_mutex_unlock(&c->lock);
}

const fc_trie *fc_trie_held_trie(const fc_trie_held *h) { return h->trie; }

fc_status fc_trie_cache_check(fc_trie_cache *c) {
    fc_status st = FC_OK;
    int n = 0;
    pthread_mutex_lock(&c->lock);
    for (const fc_trie_held *h = c->kept; h && !st; h = h->next) {
        if (++n > FC_TRIES_KEPT) st = FC_FAIL(FC_ERR_INTERNAL, "trie cache (1): more than %d are kept", FC_TRIES_KEPT);
        for (const fc_trie_held *k = h->next; k && !st; k = k->next)
            if (same(&h->key, &k->key))
                st = FC_FAIL(FC_ERR_INTERNAL, "trie cache (1): place %d: its key is kept twice", n);
        if (!st && h->refs < 1) st = FC_FAIL(FC_ERR_INTERNAL, "trie cache (2): place %d: %d references", n, h->refs);
    }
    pthread_mutex_unlock(&c->lock);
    return st;
}
