/* The prefix index against a plain list of what was put: random requests on small pools, every slot's contents a tag of
 * the ids before it, so that a wrong page, a wrong copy or a write to a shared page is seen by what is read. */
#include "engine/base/mem.h"
#include "engine/prefix.h"
#include "kernels/cpu/backend_cpu.h"
#include "kernels/kv/kv_cpu.h"
#include "tests/util.h"

enum { PAGES = 32, TABLES = 10, LEN = 256, TEXTS = 12, E = 16, SPACES = 3 };

typedef struct {
    int ns, n;
    int32_t ids[LEN];
} text;

/* A table and what it stands for: ids [n] are in it, [0, written) computed; t.n is where it wants to go. */
typedef struct {
    int table, n, written;
    text t;
} branch;

/* A page of the tree as the plain list knows it: everything from the first token on. Used last between lo and hi: one
 * number where it is known, two where several pages would have given the same hit. */
typedef struct {
    text t; /* t.n == 0: no entry */
    int parent;
    long lo, hi;
} entry;

static struct {
    fc_backend *be;
    fc_kv *kv;
    fc_prefix *index;
    uint64_t seed;
    int P, pages, max_len, n_live, n_texts;
    long now;
    branch live[TABLES];
    text texts[TEXTS];    /* what requests begin with */
    entry entries[PAGES]; /* by page */
    bool was_free[PAGES];
} w;

static struct { long steps, takes, hits, shared, parts, evicted, longer, forks, cancels, full; } seen;

static int below(int n) { return test_below(&w.seed, n); }

/* ---- contents ---- */

static uint64_t mix(uint64_t h, int32_t id) {
    h ^= (uint64_t)(uint32_t)id + 0x9E3779B97F4A7C15u;
    return fc_rng_next(&h);
}

static void slot_write(int page, int slot, float tag) {
    float k[E], v[E];
    for (int e = 0; e < E; e++) {
        k[e] = tag + (float)e;
        v[e] = -tag - (float)e;
    }
    for (int l = 0; l < 2; l++) fc_kv_put_cpu(fc_kv_store(w.kv), page, slot, l, 0, k, v);
}

static bool slot_is(int page, int slot, float tag) {
    float k[E], v[E];
    for (int l = 0; l < 2; l++) {
        fc_kv_get_cpu(fc_kv_store(w.kv), page, slot, l, 0, k, v);
        for (int e = 0; e < E; e++)
            if (k[e] != tag + (float)e || v[e] != -tag - (float)e) return false;
    }
    return true;
}

static float tag_of(uint64_t h) { return (float)(h >> 44); } /* 20 bits: exact, with + E */

/* Slots [from, to) of the branch, written or compared. */
static void contents(const branch *b, int from, int to, bool write) {
    uint64_t h = (uint64_t)b->t.ns;
    for (int i = 0; i < to; i++) {
        int page = fc_kv_pages(w.kv, b->table)[i / w.P];
        h = mix(h, b->t.ids[i]);
        if (i < from) continue;
        if (write) {
            if (fc_kv_readers(w.kv, page) != 1 || fc_kv_held(w.kv, page))
                fail_msg("slot %d is written on page %d: %d tables, held %d", i, page, fc_kv_readers(w.kv, page),
                         fc_kv_held(w.kv, page));
            slot_write(page, i % w.P, tag_of(h));
        } else if (!slot_is(page, i % w.P, tag_of(h)))
            fail_msg("table %d of %d: slot %d on page %d has another prefix's contents", b->table, b->n, i, page);
    }
}

/* A free page must not be read: its contents go. */
static void poison(void) {
    for (int x = 0; x < w.pages; x++) {
        bool is_free = fc_kv_readers(w.kv, x) == 0 && !fc_kv_held(w.kv, x) && !fc_kv_copying(w.kv, x);
        if (is_free && !w.was_free[x])
            for (int s = 0; s < w.P; s++) slot_write(x, s, -1000.0f);
        w.was_free[x] = is_free;
    }
}

/* ---- the plain list ---- */

static bool begins(const text *t, const text *with, int n) {
    return t->ns == with->ns && t->n >= n && memcmp(t->ids, with->ids, (size_t)n * sizeof *t->ids) == 0;
}

/* A table lists the entry's page. One that was just given up may be listed again, as somebody's own. */
static bool listed(int page) {
    if (w.entries[page].t.n == 0 || !fc_kv_held(w.kv, page)) return false;
    for (int b = 0; b < w.n_live; b++)
        for (int i = 0; i * w.P < w.live[b].n; i++)
            if (fc_kv_pages(w.kv, w.live[b].table)[i] == page) return true;
    return false;
}

static bool has_child(int page) {
    for (int x = 0; x < w.pages; x++)
        if (w.entries[x].t.n && w.entries[x].parent == page) return true;
    return false;
}

/* Nobody reads the page or one behind it. */
static void find_idle(bool idle[PAGES]) {
    for (int x = 0; x < w.pages; x++) idle[x] = w.entries[x].t.n > 0;
    for (int x = 0; x < w.pages; x++)
        if (listed(x))
            for (int y = x; y >= 0; y = w.entries[y].parent) idle[y] = false;
}

static int count_idle(void) {
    bool idle[PAGES];
    int n = 0;
    find_idle(idle);
    for (int x = 0; x < w.pages; x++) n += idle[x];
    return n;
}

static void used(int page, long lo) {
    for (int x = page; x >= 0; x = w.entries[x].parent) {
        if (lo) w.entries[x].lo = lo;
        w.entries[x].hi = w.now;
    }
}

static void listed_are_used(void) {
    for (int x = 0; x < w.pages; x++)
        if (listed(x)) used(x, w.now);
}

static int page_with(const text *t, int n) { /* whose last id is the n-th of t */
    for (int x = 0; x < w.pages; x++)
        if (w.entries[x].t.n == n && begins(&w.entries[x].t, t, n)) return x;
    return -1;
}

/* Pages behind `at` tokens of t, of which the most, *match, are t's: marked in best. */
static void best_part(const text *t, int at, int limit, bool best[PAGES], int *match) {
    *match = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int x = 0; x < w.pages; x++) {
            const text *e = &w.entries[x].t;
            int m = 0;
            best[x] = false;
            if (e->n <= at || e->n > at + w.P || !begins(e, t, at)) continue;
            while (at + m < limit && m < e->n - at && e->ids[at + m] == t->ids[at + m]) m++;
            if (m > *match) *match = m;
            best[x] = pass == 1 && m == *match && m > 0;
        }
}

/* Entries that are not held any more were given up: in an order that their last use allows. */
static int settle_evictions(void) {
    int gone = 0, left = 0;
    for (int x = 0; x < w.pages; x++) left += w.entries[x].t.n && !fc_kv_held(w.kv, x);
    for (; left > 0; left--, gone++) {
        bool idle[PAGES];
        int pick = -1;
        long oldest = w.now + 1;
        find_idle(idle);
        for (int x = 0; x < w.pages; x++)
            if (idle[x] && !has_child(x) && w.entries[x].hi < oldest) oldest = w.entries[x].hi;
        for (int x = 0; x < w.pages && pick < 0; x++)
            if (idle[x] && !has_child(x) && !fc_kv_held(w.kv, x) && w.entries[x].lo <= oldest) pick = x;
        if (pick < 0)
            fail_msg("step %ld: %d pages were given up before one that was used longer ago", seen.steps, left);
        w.entries[pick].t.n = 0;
    }
    seen.evicted += gone;
    return gone;
}

/* ---- steps ---- */

static text a_text(void) {
    text t = {.ns = below(SPACES)};
    int keep;
    if (w.n_texts && below(8)) {
        t = w.texts[below(w.n_texts)];
        if (below(10) == 0) t.ns = below(SPACES);
    }
    keep = t.n ? below(t.n + 1) : 0;
    if (below(3) == 0) keep = t.n;
    t.n = keep + below(2 * w.P) + (keep == 0);
    if (t.n > w.max_len) t.n = w.max_len;
    for (int i = keep; i < t.n; i++) t.ids[i] = below(3);
    w.texts[w.n_texts < TEXTS ? w.n_texts++ : below(TEXTS)] = t;
    return t;
}

static void step_take(void) {
    branch *b = &w.live[w.n_live];
    bool best[PAGES], idle[PAGES], can = false, must = true;
    int at = 0, match, most, limit, hit = -1, free_before = fc_kv_pages_free(w.kv), n_idle = 0;
    fc_prefix_stats before = fc_prefix_counts(w.index), after;
    *b = (branch){.t = a_text()};
    for (int x = 0; x < w.pages; x++) /* such a page can be had by running its copy */
        can |= fc_kv_copying(w.kv, x) && fc_kv_readers(w.kv, x) == 0 && !fc_kv_held(w.kv, x);
    most = below(3) == 0 ? below(b->t.n + 1) : b->t.n - below(2);
    limit = most;
    assert_ok(fc_kv_table_open(w.kv, &b->table));
    while (at + w.P <= limit && page_with(&b->t, at + w.P) >= 0) at += w.P;
    best_part(&b->t, at, limit, best, &match);
    assert_int_equal(fc_prefix_match(w.index, (uint64_t)b->t.ns, b->t.ids, b->t.n, most), at + match);
    assert_ok(fc_prefix_take(w.index, (uint64_t)b->t.ns, b->t.ids, b->t.n, most, b->table, &hit));
    b->n = b->written = hit;
    w.n_live++;
    assert_int_equal(fc_kv_len(w.kv, b->table), hit);
    find_idle(idle); /* as it was when the copy's page was taken: the whole pages are listed */
    for (int x = 0; x < w.pages; x++) n_idle += idle[x];
    for (int x = 0; x < w.pages; x++)
        if (best[x]) {
            bool room = free_before > 0 || n_idle - idle[x] > 0;
            can |= room;
            must &= room;
        }
    if (!match) assert_int_equal(hit, at);
    else if (hit == at + match) assert_true(can);
    else {
        assert_int_equal(hit, at);
        assert_false(must);
        seen.full++;
    }
    for (int x = 0, n_best = 0; match && x < w.pages; x++) {
        if (x == 0)
            for (int y = 0; y < w.pages; y++) n_best += best[y];
        if (best[x]) used(x, n_best == 1 ? w.now : 0);
    }
    listed_are_used();
    assert_true(settle_evictions() <= (match > 0 && free_before == 0));
    after = fc_prefix_counts(w.index);
    assert_int_equal(after.lookups - before.lookups, 1);
    assert_int_equal(after.asked_tokens - before.asked_tokens, b->t.n);
    assert_int_equal(after.hit_tokens - before.hit_tokens, hit);
    assert_int_equal(after.partial_copies - before.partial_copies, hit > at);
    seen.takes++;
    seen.hits += hit > 0;
    seen.shared += at / w.P;
    seen.parts += hit > at;
}

/* What put does to the list; shared: another table lists the last page. */
static void list_put(const branch *b, int n, bool closing, bool shared) {
    int parent = -1;
    for (int at = 0; at < n; at += w.P) {
        int to = n < at + w.P ? n : at + w.P, page = fc_kv_pages(w.kv, b->table)[at / w.P], have = -1, n_have = 0;
        for (int x = 0; x < w.pages; x++)
            if (w.entries[x].t.n > at && w.entries[x].t.n <= at + w.P && begins(&w.entries[x].t, &b->t, to)) {
                have = x;
                n_have++;
            }
        if (n_have) {
            for (int x = 0; x < w.pages; x++)
                if (w.entries[x].t.n > at && w.entries[x].t.n <= at + w.P && begins(&w.entries[x].t, &b->t, to))
                    used(x, n_have == 1 ? w.now : 0);
            if (parent >= 0) used(parent, w.now);
            parent = have;
            continue;
        }
        if (to - at < w.P && (!closing || shared)) break;
        for (int x = 0; x < w.pages; x++)
            if (w.entries[x].t.n > at && w.entries[x].t.n < to && begins(&b->t, &w.entries[x].t, w.entries[x].t.n)) {
                w.entries[x].t.n = 0;
                seen.longer++;
            }
        assert_int_equal(w.entries[page].t.n, 0);
        w.entries[page] = (entry){.t = b->t, .parent = parent};
        w.entries[page].t.n = to;
        parent = page;
    }
    if (parent >= 0 && w.entries[parent].lo != w.entries[parent].hi) return; /* one of several: known as such */
    used(parent, w.now);
}

static void step_put(int i, bool closing) {
    branch *b = &w.live[i];
    int n = closing || below(2) ? b->written : below(b->written + 1);
    bool shared = n && fc_kv_readers(w.kv, fc_kv_pages(w.kv, b->table)[(n - 1) / w.P]) > 1;
    assert_ok(fc_prefix_put(w.index, (uint64_t)b->t.ns, b->t.ids, n, b->table, closing));
    list_put(b, n, closing, shared);
    listed_are_used();
}

static void step_close(int i) {
    listed_are_used();
    fc_kv_table_close(w.kv, w.live[i].table);
    w.live[i] = w.live[--w.n_live];
}

static void step_append(branch *b) {
    int room = w.max_len - b->n, n = 1 + below(below(3) ? w.P : 3), cost;
    fc_status st;
    if (n > room) n = room;
    for (int i = b->t.n; i < b->n + n; i++) b->t.ids[i] = below(3);
    if (b->t.n < b->n + n) b->t.n = b->n + n;
    cost = fc_kv_append_cost(w.kv, b->table, n) - fc_kv_pages_free(w.kv);
    if (cost > 0 && cost <= fc_prefix_evictable(w.index)) {
        assert_true(fc_prefix_evict(w.index, cost) >= cost);
        (void)settle_evictions();
        assert_ok(fc_kv_append(w.kv, b->table, n)); /* admission may count on it */
        b->n += n;
        return;
    }
    st = fc_kv_append(w.kv, b->table, n);
    if (st == FC_OK) b->n += n;
    else assert_int_equal(st, FC_ERR_FULL);
}

static void step_fork(const branch *src) {
    branch *b = &w.live[w.n_live];
    int len = below(3) ? src->n : below(src->n + 1);
    if (src->written < src->n) return; /* kv.h: only what has been computed */
    *b = *src;
    b->n = b->written = len;
    b->t.n = len + below(b->t.n - len + 1);
    if (len == src->n) assert_ok(fc_kv_fork(w.kv, src->table, &b->table));
    else assert_ok(fc_kv_fork_at(w.kv, src->table, len, &b->table));
    if (b->t.n > len) b->t.ids[len] = below(3); /* another way on, as often as not */
    w.n_live++;
    seen.forks++;
}

/* A batch: the copies run, then every row that was appended is written. */
static void step_compute(void) {
    assert_ok(fc_kv_flush(w.kv));
    for (int i = 0; i < w.n_live; i++) {
        branch *b = &w.live[i];
        contents(b, b->written, b->n, true);
        b->written = b->n;
    }
    for (int i = 0; i < w.n_live; i++) contents(&w.live[i], 0, w.live[i].n, false);
}

static void step_evict(void) {
    int want = 1 + below(below(4) ? 2 : 8), idle = fc_prefix_evictable(w.index), before = fc_kv_pages_free(w.kv), got;
    bool queued = false;
    for (int x = 0; x < w.pages; x++) queued |= fc_kv_copying(w.kv, x);
    got = fc_prefix_evict(w.index, want);
    assert_int_equal(got, fc_kv_pages_free(w.kv) - before);
    if (queued) {
        assert_true(got >= (want < idle ? want : idle));
        assert_true(settle_evictions() <= want);
    } else {
        assert_int_equal(got, want < idle ? want : idle);
        assert_int_equal(settle_evictions(), got);
    }
}

static void step(void) {
    int what = below(100), i = w.n_live ? below(w.n_live) : 0;
    if (w.n_live == 0 || (what < 18 && w.n_live < TABLES)) step_take();
    else if (what < 50) step_append(&w.live[i]);
    else if (what < 56 && w.n_live < TABLES) step_fork(&w.live[i]);
    else if (what < 65) step_put(i, false);
    else if (what < 76) {
        bool goes_on = below(12) == 0 && w.live[i].written == w.live[i].n; /* a copy more, nothing worse */
        step_put(i, true);
        if (!goes_on) step_close(i);
    } else if (what < 79) {
        step_close(i);
        seen.cancels++;
    } else if (what < 84) step_evict();
    else step_compute();
}

static void check_step(void) {
    int entries = 0;
    assert_ok(fc_kv_check(w.kv));
    assert_ok(fc_prefix_check(w.index));
    for (int x = 0; x < w.pages; x++) {
        entries += w.entries[x].t.n > 0;
        if ((w.entries[x].t.n > 0) != fc_kv_held(w.kv, x))
            fail_msg("step %ld: page %d, held %d, has %d tokens in the list", seen.steps, x, fc_kv_held(w.kv, x),
                     w.entries[x].t.n);
    }
    assert_int_equal(fc_prefix_counts(w.index).pages, entries);
    assert_int_equal(fc_prefix_evictable(w.index), count_idle());
    assert_int_equal(fc_prefix_counts(w.index).idle_pages, count_idle());
}

static void round_of(int steps) {
    static const int slots[] = {8, 16, 64, 1, 4};
    int which = below(12);
    w.P = slots[which < 10 ? which % 3 : which - 7];
    w.pages = 4 + below(PAGES - 3);
    w.max_len = below(2) ? LEN : 4 * w.P + below(w.P);
    if (w.max_len > LEN) w.max_len = LEN;
    if (w.max_len > w.pages * w.P) w.max_len = w.pages * w.P;
    w.n_live = w.n_texts = 0;
    w.now = 0;
    memset(w.entries, 0, sizeof w.entries);
    memset(w.was_free, 0, sizeof w.was_free);
    assert_ok(fc_kv_open(w.be, &(fc_kv_shape){.type = FC_F32, .n_pages = w.pages, .P = w.P, .L = 2, .G = 1, .E = E},
                         TABLES, w.max_len, &w.kv));
    assert_ok(fc_prefix_open(w.kv, &w.index));
    for (int i = 0; i < steps; i++, seen.steps++) {
        unsigned long long allocations = fc_alloc_count();
        w.now++;
        step();
        assert_true(fc_alloc_count() == allocations);
        check_step();
        poison();
    }
    step_compute();
    if (below(2)) { /* the index may go before the tables, or after them */
        fc_prefix_close(w.index);
        assert_ok(fc_kv_check(w.kv));
        while (w.n_live) fc_kv_table_close(w.kv, w.live[--w.n_live].table);
    } else {
        while (w.n_live) fc_kv_table_close(w.kv, w.live[--w.n_live].table);
        assert_int_equal(fc_prefix_evictable(w.index), fc_prefix_counts(w.index).pages);
        fc_prefix_close(w.index);
    }
    assert_int_equal(fc_kv_pages_free(w.kv), w.pages);
    assert_ok(fc_kv_check(w.kv));
    fc_kv_close(w.kv);
}

/* If this fails, a request is answered from somebody else's prompt, or pages leak until the pool is full. */
static void agrees_with_a_plain_list(void **state) {
    (void)state;
    w.seed = 20261124;
    printf("seed %llu\n", (unsigned long long)w.seed);
    assert_ok(fc_backend_open_cpu(
        FC_CPU_AUTO, 1, &(fc_op_limits){.rows = 16, .cols = 64, .vocab = 256, .heads = 2, .head_dim = 16}, &w.be));
    for (int round = 0; round < 150; round++) round_of(2000);
    fc_backend_close(w.be);
    printf("%ld steps: %ld of %ld requests hit, %ld whole pages; %ld hits inside a page, %ld had no page for it; %ld "
           "pages "
           "given up, %ld made longer, %ld forks, %ld cancelled\n",
           seen.steps, seen.hits, seen.takes, seen.shared, seen.parts, seen.full, seen.evicted, seen.longer, seen.forks,
           seen.cancels);
    assert_true(seen.hits > 10000 && seen.shared > 5000 && seen.parts > 10000 && seen.full > 100);
    assert_true(seen.evicted > 10000 && seen.longer > 500 && seen.forks > 1000 && seen.cancels > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_a_plain_list)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
