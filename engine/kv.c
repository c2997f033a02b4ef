#include "engine/kv.h"

#include "engine/base/mem.h"

#include <string.h>

typedef struct {
    int32_t *pages; /* [max_pages] */
    int len;
    bool used;
} table;

enum { HELD = 1, COPY_TO = 2 }; /* marks: the prefix index holds the page; a queued copy writes it */

struct fc_kv {
    fc_backend *be;
    fc_kv_buf store;
    size_t page_bytes;
    int max_tables, max_len, max_pages; /* max_pages: of one table */
    int32_t *refs;                      /* [n_pages] */
    int32_t *copy_from;                 /* [n_pages] queued copies that read the page */
    uint8_t *marks;                     /* [n_pages] */
    uint32_t *stamps;                   /* [n_pages] of the last count that saw the page */
    int32_t *free_pages;                /* stack */
    int n_free;
    table *tables;
    int32_t *table_pages; /* [max_tables][max_pages] */
    int32_t *free_tables; /* stack */
    int n_free_tables;
    int32_t *copies;     /* [3][max_copies]: src, dst, n */
    int32_t *dev_copies; /* the same on the backend */
    int n_copies, max_copies;
    void (*watch)(void *index, int32_t page, bool read);
    void *index;
};

fc_status fc_kv_open(fc_backend *be, const fc_kv_shape *shape, int max_tables, int max_len, fc_kv **out) {
    fc_status st = FC_OK;
    size_t bytes;
    void *p;
    fc_kv *kv;
    FC_TRY(fc_kv_page_bytes(shape, &bytes));
    FC_TRY(fc_alloc(1, sizeof *kv, "KV pool", &p));
    kv = p;
    kv->be = be;
    kv->store.shape = *shape;
    kv->page_bytes = bytes;
    kv->max_tables = max_tables;
    kv->max_len = max_len;
    kv->max_pages = fc_kv_pages_for(max_len, shape->P);
    kv->max_copies = max_tables;
    FC_TRY_GOTO(st, fc_kv_bytes(shape, &bytes), fail);
    FC_TRY_GOTO(st, be->alloc(be, bytes, "KV pool", &kv->store.base), fail);
    FC_TRY_GOTO(st, fc_alloc((size_t)shape->n_pages, sizeof *kv->refs, "KV page counts", &p), fail);
    kv->refs = p;
    FC_TRY_GOTO(st, fc_alloc((size_t)shape->n_pages, sizeof *kv->stamps, "KV page counts", &p), fail);
    kv->stamps = p;
    FC_TRY_GOTO(st, fc_alloc((size_t)shape->n_pages, sizeof *kv->copy_from, "KV page counts", &p), fail);
    kv->copy_from = p;
    FC_TRY_GOTO(st, fc_alloc((size_t)shape->n_pages, sizeof *kv->marks, "KV page marks", &p), fail);
    kv->marks = p;
    FC_TRY_GOTO(st, fc_alloc((size_t)shape->n_pages, sizeof *kv->free_pages, "KV free list", &p), fail);
    kv->free_pages = p;
    FC_TRY_GOTO(st, fc_alloc((size_t)max_tables, sizeof *kv->tables, "KV tables", &p), fail);
    kv->tables = p;
    if (!fc_mul((size_t)max_tables, (size_t)kv->max_pages, &bytes)) bytes = SIZE_MAX;
    FC_TRY_GOTO(st, fc_alloc(bytes, sizeof *kv->table_pages, "KV page tables", &p), fail);
    kv->table_pages = p;
    FC_TRY_GOTO(st, fc_alloc((size_t)max_tables, sizeof *kv->free_tables, "KV tables", &p), fail);
    kv->free_tables = p;
    bytes = 3 * (size_t)kv->max_copies * sizeof *kv->copies;
    FC_TRY_GOTO(st, fc_alloc(bytes, 1, "KV copies", &p), fail);
    kv->copies = p;
    FC_TRY_GOTO(st, be->alloc(be, bytes, "KV copies", &p), fail);
    kv->dev_copies = p;
    for (int i = shape->n_pages; i-- > 0;) kv->free_pages[kv->n_free++] = i; /* low pages are taken first */
    for (int i = max_tables; i-- > 0;) {
        kv->tables[i].pages = kv->table_pages + (size_t)i * (size_t)kv->max_pages;
        kv->free_tables[kv->n_free_tables++] = i;
    }
    *out = kv;
    return FC_OK;
fail:
    fc_kv_close(kv);
    return st;
}

void fc_kv_close(fc_kv *kv) {
    if (!kv) return;
    kv->be->free(kv->be, kv->dev_copies);
    kv->be->free(kv->be, kv->store.base);
    fc_free(kv->copies);
    fc_free(kv->free_tables);
    fc_free(kv->table_pages);
    fc_free(kv->tables);
    fc_free(kv->free_pages);
    fc_free(kv->marks);
    fc_free(kv->copy_from);
    fc_free(kv->stamps);
    fc_free(kv->refs);
    fc_free(kv);
}

const fc_kv_buf *fc_kv_store(const fc_kv *kv) { return &kv->store; }
size_t fc_kv_bytes_per_page(const fc_kv *kv) { return kv->page_bytes; }
int fc_kv_pages_total(const fc_kv *kv) { return kv->store.shape.n_pages; }
int fc_kv_pages_free(const fc_kv *kv) { return kv->n_free; }
int fc_kv_max_len(const fc_kv *kv) { return kv->max_len; }
int fc_kv_tables_free(const fc_kv *kv) { return kv->n_free_tables; }

static table *table_of(const fc_kv *kv, int t) {
    FC_ASSERT(t >= 0 && t < kv->max_tables && kv->tables[t].used);
    return &kv->tables[t];
}

int fc_kv_stamp(fc_kv *kv, int t, uint32_t stamp) {
    const table *b = table_of(kv, t);
    int n = 0;
    for (int i = fc_kv_pages_for(b->len, kv->store.shape.P); i-- > 0;) {
        n += kv->stamps[b->pages[i]] != stamp;
        kv->stamps[b->pages[i]] = stamp;
    }
    return n;
}

int fc_kv_len(const fc_kv *kv, int t) { return table_of(kv, t)->len; }
const int32_t *fc_kv_pages(const fc_kv *kv, int t) { return table_of(kv, t)->pages; }

static int32_t page_of(const fc_kv *kv, int32_t page) {
    FC_ASSERT(page >= 0 && page < kv->store.shape.n_pages);
    return page;
}

bool fc_kv_held(const fc_kv *kv, int32_t page) { return kv->marks[page_of(kv, page)] & HELD; }
bool fc_kv_copying(const fc_kv *kv, int32_t page) { return kv->copy_from[page_of(kv, page)] > 0; }
int fc_kv_readers(const fc_kv *kv, int32_t page) { return kv->refs[page_of(kv, page)] - fc_kv_held(kv, page); }

void fc_kv_watch(fc_kv *kv, void (*watch)(void *index, int32_t page, bool read), void *index) {
    kv->watch = watch;
    kv->index = index;
}

static int32_t page_take(fc_kv *kv) {
    int32_t page = kv->free_pages[--kv->n_free];
    kv->refs[page] = 1;
    return page;
}

static void page_free_if_unused(fc_kv *kv, int32_t page) {
    if (kv->refs[page] == 0 && kv->copy_from[page] == 0) kv->free_pages[kv->n_free++] = page;
}

static void page_ref(fc_kv *kv, int32_t page) {
    if (++kv->refs[page] == 2 && (kv->marks[page] & HELD) && kv->watch) kv->watch(kv->index, page, true);
}

/* Room for a copy from src. What one queued copy writes another cannot read in the same operator: it runs first. */
static fc_status copy_room(fc_kv *kv, int32_t src) {
    return kv->n_copies == kv->max_copies || (kv->marks[src] & COPY_TO) ? fc_kv_flush(kv) : FC_OK;
}

/* dst was on the free list, so no queued copy reads it: (1). */
static void copy_queue(fc_kv *kv, int32_t src, int32_t dst, int n) {
    int32_t *c = kv->copies + kv->n_copies++;
    c[0] = src;
    c[kv->max_copies] = dst;
    c[2 * kv->max_copies] = n;
    kv->copy_from[src]++;
    kv->marks[dst] |= COPY_TO;
}

/* Copy i leaves the queue, having run or being forgotten; the last one takes its place. */
static void copy_drop(fc_kv *kv, int i) {
    int32_t *c = kv->copies + i, src = c[0];
    kv->marks[c[kv->max_copies]] &= (uint8_t)~COPY_TO;
    kv->n_copies--;
    for (int k = 0; k < 3; k++) c[k * kv->max_copies] = kv->copies[k * kv->max_copies + kv->n_copies];
    kv->copy_from[src]--;
    page_free_if_unused(kv, src);
}

static void page_unref(fc_kv *kv, int32_t page) {
    if (--kv->refs[page] == 1 && (kv->marks[page] & HELD) && kv->watch) kv->watch(kv->index, page, false);
    if (kv->refs[page] > 0) return;
    if (kv->marks[page] & COPY_TO) { /* else the next owner's copy and this one would write the page together */
        int i = 0;
        while (kv->copies[kv->max_copies + i] != page) i++;
        copy_drop(kv, i);
    }
    page_free_if_unused(kv, page);
}

void fc_kv_hold(fc_kv *kv, int32_t page) {
    FC_ASSERT(!fc_kv_held(kv, page) && kv->refs[page] > 0);
    kv->marks[page] |= HELD;
    kv->refs[page]++;
}

void fc_kv_release(fc_kv *kv, int32_t page) {
    FC_ASSERT(fc_kv_held(kv, page));
    kv->marks[page] &= (uint8_t)~HELD;
    page_unref(kv, page);
}

fc_status fc_kv_table_open(fc_kv *kv, int *out) {
    int t;
    if (kv->n_free_tables == 0) return FC_FAIL(FC_ERR_FULL, "KV pool: all %d branches are in use", kv->max_tables);
    t = kv->free_tables[--kv->n_free_tables];
    kv->tables[t].used = true;
    kv->tables[t].len = 0;
    *out = t;
    return FC_OK;
}

fc_status fc_kv_fork_at(fc_kv *kv, int src, int len, int *out) {
    const table *s = table_of(kv, src);
    int t = -1;
    if (len < 0 || len > s->len) return FC_FAIL(FC_ERR_ARG, "KV pool: a fork at %d of %d tokens", len, s->len);
    FC_TRY(fc_kv_table_open(kv, &t));
    for (int i = 0; i < fc_kv_pages_for(len, kv->store.shape.P); i++) {
        kv->tables[t].pages[i] = s->pages[i];
        page_ref(kv, s->pages[i]);
    }
    kv->tables[t].len = len;
    *out = t;
    return FC_OK;
}

fc_status fc_kv_fork(fc_kv *kv, int src, int *out) { return fc_kv_fork_at(kv, src, table_of(kv, src)->len, out); }

void fc_kv_table_close(fc_kv *kv, int t) {
    table *b = table_of(kv, t);
    for (int i = fc_kv_pages_for(b->len, kv->store.shape.P); i-- > 0;) page_unref(kv, b->pages[i]);
    b->used = false;
    b->len = 0;
    kv->free_tables[kv->n_free_tables++] = t;
}

/* The last page is partial and somebody else reads it too. */
static bool must_copy(const fc_kv *kv, const table *b) {
    int P = kv->store.shape.P;
    return b->len % P != 0 && kv->refs[b->pages[b->len / P]] > 1;
}

int fc_kv_append_cost(const fc_kv *kv, int t, int n) {
    const table *b = table_of(kv, t);
    int P = kv->store.shape.P;
    if (n <= 0) return 0;
    return fc_kv_pages_for(b->len + n, P) - fc_kv_pages_for(b->len, P) + (must_copy(kv, b) ? 1 : 0);
}

fc_status fc_kv_append(fc_kv *kv, int t, int n) {
    table *b = table_of(kv, t);
    int P = kv->store.shape.P, have = fc_kv_pages_for(b->len, P), cost = fc_kv_append_cost(kv, t, n);
    if (n > kv->max_len - b->len)
        return FC_FAIL(FC_ERR_ARG, "KV pool: %d + %d tokens; a branch holds at most %d", b->len, n, kv->max_len);
    if (cost > kv->n_free)
        return FC_FAIL(FC_ERR_FULL, "KV pool: %d pages are needed, %d of %d are free", cost, kv->n_free,
                       kv->store.shape.n_pages);
    if (n <= 0) return FC_OK;
    if (must_copy(kv, b)) {
        int32_t old = b->pages[have - 1];
        FC_TRY(copy_room(kv, old));
        b->pages[have - 1] = page_take(kv);
        copy_queue(kv, old, b->pages[have - 1], b->len % P);
        page_unref(kv, old);
    }
    for (int i = have; i < fc_kv_pages_for(b->len + n, P); i++) b->pages[i] = page_take(kv);
    b->len += n;
    return FC_OK;
}

/* Whole pages, and room for n more tokens behind them. */
static fc_status adopt_room(const fc_kv *kv, const table *b, int n) {
    FC_ASSERT(b->len % kv->store.shape.P == 0);
    if (n > kv->max_len - b->len)
        return FC_FAIL(FC_ERR_ARG, "KV pool: %d + %d tokens; a branch holds at most %d", b->len, n, kv->max_len);
    return FC_OK;
}

fc_status fc_kv_adopt(fc_kv *kv, int t, int32_t page) {
    table *b = table_of(kv, t);
    int P = kv->store.shape.P;
    FC_ASSERT(kv->refs[page_of(kv, page)] > 0);
    FC_TRY(adopt_room(kv, b, P));
    b->pages[b->len / P] = page;
    b->len += P;
    page_ref(kv, page);
    return FC_OK;
}

void fc_kv_exchange(fc_kv *kv, int t, int i, int32_t page) {
    table *b = table_of(kv, t);
    int32_t old = b->pages[i];
    FC_ASSERT(kv->refs[page_of(kv, page)] > 0 && (i + 1) * kv->store.shape.P <= b->len);
    page_ref(kv, page);
    b->pages[i] = page;
    page_unref(kv, old);
}

fc_status fc_kv_adopt_part(fc_kv *kv, int t, int32_t page, int n) {
    table *b = table_of(kv, t);
    int P = kv->store.shape.P;
    FC_ASSERT(kv->refs[page_of(kv, page)] > 0 && n > 0 && n < P);
    FC_TRY(adopt_room(kv, b, n));
    FC_TRY(copy_room(kv, page));
    if (kv->n_free == 0) return FC_FAIL(FC_ERR_FULL, "KV pool: none of %d pages is free", kv->store.shape.n_pages);
    b->pages[b->len / P] = page_take(kv);
    copy_queue(kv, page, b->pages[b->len / P], n);
    b->len += n;
    return FC_OK;
}

fc_status fc_kv_flush(fc_kv *kv) {
    fc_backend *be = kv->be;
    int32_t *d = kv->dev_copies;
    if (kv->n_copies == 0) return FC_OK;
    FC_TRY(be->upload(be, d, kv->copies, 3 * (size_t)kv->max_copies * sizeof *d));
    FC_TRY(be->kv_copy(
        be->stream,
        &(fc_kv_copy_args){
            .kv = &kv->store, .src = d, .dst = d + kv->max_copies, .n = d + 2 * kv->max_copies, .M = kv->n_copies}));
    while (kv->n_copies) copy_drop(kv, kv->n_copies - 1);
    return FC_OK;
}

/* (6), with the counts and marks that stand for it. left: [n_pages] zeroed. */
static fc_status check_copies(const fc_kv *kv, int32_t *left) {
    const int32_t *src = kv->copies, *dst = src + kv->max_copies;
    for (int i = 0; i < kv->n_copies; i++) {
        if (left[dst[i]] < 0 || !(kv->marks[dst[i]] & COPY_TO) || kv->refs[dst[i]] == 0)
            return FC_FAIL(FC_ERR_INTERNAL, "kv (6): page %d, %d references, is to be copied to", dst[i],
                           kv->refs[dst[i]]);
        left[dst[i]] = -1;
    }
    for (int i = 0; i < kv->n_copies; i++) {
        if (left[src[i]] < 0) return FC_FAIL(FC_ERR_INTERNAL, "kv (6): page %d is to be copied from and to", src[i]);
        left[src[i]]++;
    }
    for (int i = 0; i < kv->store.shape.n_pages; i++)
        if ((left[i] < 0) != ((kv->marks[i] & COPY_TO) != 0) || (left[i] >= 0 && left[i] != kv->copy_from[i]))
            return FC_FAIL(FC_ERR_INTERNAL, "kv (6): page %d counts %d copies from it, mark %d; the queue says %d", i,
                           kv->copy_from[i], kv->marks[i] & COPY_TO, left[i]);
    return FC_OK;
}

fc_status fc_kv_check(const fc_kv *kv) {
    fc_status st = FC_OK;
    int n = kv->store.shape.n_pages, P = kv->store.shape.P, used = 0;
    int32_t *seen;
    void *p;
    FC_TRY(fc_alloc((size_t)n, sizeof *seen, "KV check", &p));
    seen = p;
    FC_TRY_GOTO(st, check_copies(kv, seen), done);
    memset(seen, 0, (size_t)n * sizeof *seen);
    for (int t = 0; t < kv->max_tables; t++) {
        const table *b = &kv->tables[t];
        if (!b->used) continue;
        for (int i = 0; i < fc_kv_pages_for(b->len, P); i++) {
            if (b->pages[i] < 0 || b->pages[i] >= n) {
                st = FC_FAIL(FC_ERR_INTERNAL, "kv (5): table %d lists page %d of %d", t, b->pages[i], n);
                goto done;
            }
            seen[b->pages[i]]++;
        }
    }
    for (int i = 0; i < n; i++) {
        bool held = fc_kv_held(kv, i);
        used += kv->refs[i] > 0 || kv->copy_from[i] > 0;
        if (seen[i] + held != kv->refs[i]) {
            st = FC_FAIL(FC_ERR_INTERNAL, "kv (2): page %d has %d references, %d tables list it, the index holds %d", i,
                         kv->refs[i], seen[i], held);
            goto done;
        }
    }
    for (int i = 0; i < kv->n_free; i++) {
        int32_t page = kv->free_pages[i];
        if (kv->refs[page] != 0 || kv->copy_from[page] != 0 || seen[page] < 0) {
            st = FC_FAIL(FC_ERR_INTERNAL, "kv (1): page %d is on the free list, %d references, %d copies from it", page,
                         kv->refs[page], kv->copy_from[page]);
            goto done;
        }
        seen[page] = -1; /* twice on the list is as bad */
    }
    if (kv->n_free + used != n)
        st = FC_FAIL(FC_ERR_INTERNAL, "kv (4): %d free and %d used of %d pages", kv->n_free, used, n);
done:
    fc_free(seen);
    return st;
}
