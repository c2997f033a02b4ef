/* The tries of a set of names: which are kept, how long they live, and who waits for whom. The tries here are empty. */
#include "engine/base/mem.h"
#include "engine/trie_cache.h"
#include "tests/util.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { SLOW = 1000, BAD = 2000, WAIT_MS = 20000 };

typedef struct {
    atomic_int builds, slow_began, slow_may_end;
} builder;

static void nap(void) { nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); }

/* A trie that says which key it is of. From SLOW on it takes until it may end, from BAD on it fails then. */
static fc_status build(void *arg, const fc_trie_key *key, fc_trie **out) {
    builder *b = arg;
    fc_trie *t;
    void *p;
    atomic_fetch_add(&b->builds, 1);
    if (key->end >= SLOW) {
        atomic_fetch_add(&b->slow_began, 1);
        while (!atomic_load(&b->slow_may_end)) nap();
    }
    if (key->end >= BAD) return FC_FAIL(FC_ERR_ARG, "key %d", key->end);
    FC_TRY(fc_alloc(1, sizeof *t, "trie", &p));
    t = p;
    t->end = key->end;
    *out = t;
    return FC_OK;
}

static fc_trie_key key_of(int i) { return (fc_trie_key){.before = "a\0b", .before_size = 3, .end = i}; }

static fc_trie_held *take(fc_trie_cache *c, int i) {
    const fc_trie_key k = key_of(i);
    fc_trie_held *h;
    assert_ok(fc_trie_cache_take(c, &k, &h));
    assert_int_equal(fc_trie_held_trie(h)->end, i);
    assert_ok(fc_trie_cache_check(c));
    return h;
}

static void give(fc_trie_cache *c, fc_trie_held *h) {
    fc_trie_cache_give(c, h);
    assert_ok(fc_trie_cache_check(c));
}

/* ---- what is kept ---- */

/* If this fails, tries are built again while they are in use every day, or one is taken for another. */
static void random_calls_match_a_list(void **state) {
    enum { KEYS = 14, HELD = 20 };
    uint64_t seed = 9;
    (void)state;
    for (int round = 0; round < 50; round++) {
        builder b = {0};
        fc_trie_cache *c;
        fc_trie_held *held[HELD] = {NULL};
        int of[HELD] = {0}, kept[FC_TRIES_KEPT + 1], n = 0, builds = 0;
        assert_ok(fc_trie_cache_open(build, &b, &c));
        for (int call = 0; call < 1000; call++) {
            int place = test_below(&seed, HELD), k = test_below(&seed, KEYS), at = 0;
            if (held[place]) {
                assert_int_equal(fc_trie_held_trie(held[place])->end, of[place]); /* also when it is kept no more */
                give(c, held[place]);
                held[place] = NULL;
                continue;
            }
            held[place] = take(c, of[place] = k);
            while (at < n && kept[at] != k) at++;
            builds += at == n;
            if (at == n) n++;
            memmove(kept + 1, kept, (size_t)at * sizeof *kept);
            kept[0] = k;
            if (n > FC_TRIES_KEPT) n = FC_TRIES_KEPT;
            assert_int_equal(atomic_load(&b.builds), builds);
        }
        for (int i = 0; i < HELD; i++) give(c, held[i]);
        fc_trie_cache_close(c);
    }
    fc_trie_cache_close(NULL);
}

/* If this fails, names are tokenised behind the wrong text, or end with the wrong token. */
static void everything_is_in_the_key(void **state) {
    static char one, two; /* tokenizers that nobody looks into */
    const fc_trie_key keys[] = {{.before = "ab", .before_size = 2, .end = 1},
                                {.before = "ab", .before_size = 2, .end = 2},
                                {.before = "ac", .before_size = 2, .end = 1},
                                {.before = "ab", .before_size = 1, .end = 1},
                                {.before = "ab", .before_size = 0, .end = 1},
                                {.before = "ab", .before_size = 3, .end = 1},
                                {.before = "ab", .before_size = 2, .end = 1, .tok = (const fc_tok *)(void *)&one},
                                {.before = "ab", .before_size = 2, .end = 1, .tok = (const fc_tok *)(void *)&two}};
    builder b = {0};
    fc_trie_cache *c;
    fc_trie_held *h;
    (void)state;
    assert_ok(fc_trie_cache_open(build, &b, &c));
    for (int i = 0; i < 16; i++) {
        char before[4];
        fc_trie_key k = keys[i % 8];
        memcpy(before, k.before, 3);
        k.before = before; /* the cache has its own copy */
        assert_ok(fc_trie_cache_take(c, &k, &h));
        assert_int_equal(atomic_load(&b.builds), i < 8 ? i + 1 : 8);
        give(c, h);
    }
    fc_trie_cache_close(c);
}

/* ---- threads ---- */

typedef struct {
    fc_trie_cache *c;
    int key;
    fc_status status;
    char error[64];
    fc_trie_held *held;
    pthread_t thread;
    atomic_int done;
} taker;

static void *take_one(void *arg) {
    taker *t = arg;
    const fc_trie_key k = key_of(t->key);
    t->status = fc_trie_cache_take(t->c, &k, &t->held);
    if (t->status) snprintf(t->error, sizeof t->error, "%s", fc_status_text());
    atomic_store(&t->done, 1);
    return NULL;
}

static void start(taker *t, fc_trie_cache *c, int key) {
    *t = (taker){.c = c, .key = key};
    assert_int_equal(pthread_create(&t->thread, NULL, take_one, t), 0);
}

static void wait_for(atomic_int *what, int value, const char *words) {
    for (int ms = 0; atomic_load(what) < value; ms++) {
        if (ms == WAIT_MS) fail_msg("%s: %d of %d", words, atomic_load(what), value);
        nap();
    }
}

/* If this fails, one request with a long list of names holds up all that have another prompt. */
static void nobody_waits_for_another_trie(void **state) {
    enum { SAME = 3, OTHERS = 2 * FC_TRIES_KEPT };
    builder b = {0};
    fc_trie_cache *c;
    taker slow[SAME], other[OTHERS];
    (void)state;
    assert_ok(fc_trie_cache_open(build, &b, &c));
    for (int i = 0; i < SAME; i++) start(&slow[i], c, SLOW);
    wait_for(&b.slow_began, 1, "the slow build begins");
    for (int i = 0; i < OTHERS; i++) { /* more than are kept: the one under way leaves the list */
        start(&other[i], c, i);
        wait_for(&other[i].done, 1, "another trie");
    }
    for (int i = 0; i < SAME; i++) assert_int_equal(atomic_load(&slow[i].done), 0);
    atomic_store(&b.slow_may_end, 1);
    for (int i = 0; i < SAME; i++) {
        pthread_join(slow[i].thread, NULL);
        assert_ok(slow[i].status);
        assert_int_equal(fc_trie_held_trie(slow[i].held)->end, SLOW);
        give(c, slow[i].held);
    }
    assert_in_range(atomic_load(&b.slow_began), 1, SAME); /* who came after it left the list built its own */
    for (int i = 0; i < OTHERS; i++) {
        pthread_join(other[i].thread, NULL);
        assert_ok(other[i].status);
        give(c, other[i].held);
    }
    fc_trie_cache_close(c);
}

static void who_wants_the_same_waits_for_it(void **state) {
    enum { SAME = 6 };
    builder b = {0};
    fc_trie_cache *c;
    taker t[SAME];
    (void)state;
    assert_ok(fc_trie_cache_open(build, &b, &c));
    for (int i = 0; i < SAME; i++) start(&t[i], c, SLOW);
    wait_for(&b.slow_began, 1, "the slow build begins");
    for (int i = 0; i < 20; i++) nap();
    atomic_store(&b.slow_may_end, 1);
    for (int i = 0; i < SAME; i++) {
        pthread_join(t[i].thread, NULL);
        assert_ok(t[i].status);
        assert_ptr_equal(t[i].held, t[0].held);
    }
    assert_int_equal(atomic_load(&b.builds), 1);
    for (int i = 0; i < SAME; i++) give(c, t[i].held);
    fc_trie_cache_close(c);
}

/* If this fails, a request is refused without the sentence, or a trie that failed is there for others. */
static void each_has_its_own_failure(void **state) {
    enum { SAME = 6 };
    builder b = {0};
    fc_trie_cache *c;
    taker t[SAME];
    const fc_trie_key k = key_of(BAD);
    fc_trie_held *h = NULL;
    (void)state;
    assert_ok(fc_trie_cache_open(build, &b, &c));
    for (int i = 0; i < SAME; i++) start(&t[i], c, BAD);
    wait_for(&b.slow_began, 1, "the build begins");
    for (int i = 0; i < 20; i++) nap();
    atomic_store(&b.slow_may_end, 1);
    for (int i = 0; i < SAME; i++) {
        pthread_join(t[i].thread, NULL);
        assert_int_equal(t[i].status, FC_ERR_ARG);
        assert_string_equal(t[i].error, "key 2000");
        assert_null(t[i].held);
    }
    assert_fails(fc_trie_cache_take(c, &k, &h), FC_ERR_ARG, "key 2000");
    assert_null(h);
    assert_int_equal(atomic_load(&b.builds), SAME + 1);
    assert_ok(fc_trie_cache_check(c));
    fc_trie_cache_close(c);
}

static void *take_many(void *arg) {
    taker *t = arg;
    uint64_t seed = (uint64_t)t->key;
    for (int i = 0; i < 5000; i++) {
        int key = test_below(&seed, 12) + (test_below(&seed, 50) ? 0 : BAD);
        const fc_trie_key k = key_of(key);
        fc_trie_held *h;
        if (fc_trie_cache_take(t->c, &k, &h)) {
            if (key < BAD) atomic_fetch_add(&t->done, 1);
            continue;
        }
        if (fc_trie_held_trie(h)->end != key || fc_trie_cache_check(t->c)) atomic_fetch_add(&t->done, 1);
        fc_trie_cache_give(t->c, h);
    }
    return NULL;
}

/* If this fails (the sanitizers look), a trie is freed while somebody walks it. */
static void threads_take_and_give(void **state) {
    enum { THREADS = 6 };
    builder b = {.slow_may_end = 1};
    fc_trie_cache *c;
    taker t[THREADS];
    (void)state;
    assert_ok(fc_trie_cache_open(build, &b, &c));
    for (int i = 0; i < THREADS; i++) {
        t[i] = (taker){.c = c, .key = i + 1};
        assert_int_equal(pthread_create(&t[i].thread, NULL, take_many, &t[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i].thread, NULL);
        assert_int_equal(atomic_load(&t[i].done), 0);
    }
    assert_ok(fc_trie_cache_check(c));
    fc_trie_cache_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_calls_match_a_list),     cmocka_unit_test(everything_is_in_the_key),
        cmocka_unit_test(nobody_waits_for_another_trie), cmocka_unit_test(who_wants_the_same_waits_for_it),
        cmocka_unit_test(each_has_its_own_failure),      cmocka_unit_test(threads_take_and_give),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
