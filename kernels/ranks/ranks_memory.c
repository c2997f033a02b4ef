/* ranks_memory - buffers and matrices of ranks, and what goes into them and comes out. */
#include "engine/base/mem.h"
#include "kernels/ranks/ranks_own.h"

#include <string.h>
#include <sys/mman.h>

/* Of a question to all ranks. */
static fc_status first_of(const fc_ranks *all, const fc_rank_failure *failures) {
    return fc_ranks_failed(all, &(fc_rank_failure){0}, failures);
}

/* ---- addresses ---- */

/* The last buffer that begins at or before p; -1: none. */
static int buffer_at(const fc_ranks *all, uintptr_t p) {
    int lo = 0, hi = all->n_buffers;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if (all->buffers[mid].at <= p) lo = mid + 1;
        else hi = mid;
    }
    return lo - 1;
}

void fc_rank_find(const fc_rank *r, void *pointer) {
    const fc_ranks_buffer *b;
    unsigned char *p;
    uintptr_t at;
    int i;
    memcpy(&p, pointer, sizeof p);
    if (!p) return;
    at = (uintptr_t)p;
    i = buffer_at(r->all, at);
    FC_ASSERT(i >= 0 && at - r->all->buffers[i].at <= r->all->buffers[i].bytes);
    b = &r->all->buffers[i];
    p = (unsigned char *)b->own[r->number] + (at - b->at);
    memcpy(pointer, &p, sizeof p);
}

/* One more than `bytes`: what ends a buffer is an address of it and of no other. */
static size_t addresses(size_t bytes) { return bytes + 1; }

/* ---- buffers ---- */

typedef struct {
    size_t bytes;
    const char *what;
    void **own; /* [n] */
    fc_rank_failure *failures;
} allocation;

static fc_status run_alloc(fc_rank *r, const void *args) {
    allocation a;
    memcpy(&a, args, sizeof a);
    fc_rank_note(&a.failures[r->number], r->be->alloc(r->be, a.bytes, a.what, &a.own[r->number]));
    return FC_OK;
}

static fc_status run_free(fc_rank *r, const void *args) {
    allocation a;
    memcpy(&a, args, sizeof a);
    if (r->comm) (void)r->comm->check(r->comm); /* free waits for the device: not for a rank that failed */
    r->be->free(r->be, a.own[r->number]);
    return FC_OK;
}

static fc_status ranks_alloc(fc_backend *be, size_t bytes, const char *what, void **out) {
    fc_ranks *all = fc_ranks_of(be);
    fc_rank_failure failures[FC_RANKS_MAX] = {{0}};
    fc_ranks_buffer b = {.bytes = bytes};
    allocation a = {bytes, what, b.own, failures};
    fc_status st;
    void *at;
    int place;
    if (all->n_buffers == FC_RANKS_BUFFERS)
        return FC_FAIL(FC_ERR_MEM, "%s: ranks have %d buffers at most", what, (int)FC_RANKS_BUFFERS);
    if (bytes > SIZE_MAX / 2) return FC_FAIL(FC_ERR_MEM, "%s: %zu bytes do not fit in the address space", what, bytes);
    at = mmap(NULL, addresses(bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return FC_FAIL(FC_ERR_MEM, "%s: %zu bytes of addresses", what, bytes);
    b.at = (uintptr_t)at;
    fc_ranks_ask(all, run_alloc, &a, sizeof a);
    st = first_of(all, failures);
    if (st) {
        fc_ranks_ask(all, run_free, &a, sizeof a);
        munmap(at, addresses(bytes));
        return st;
    }
    place = buffer_at(all, b.at) + 1;
    memmove(all->buffers + place + 1, all->buffers + place, (size_t)(all->n_buffers - place) * sizeof b);
    all->buffers[place] = b;
    all->n_buffers++;
    *out = at;
    return FC_OK;
}

static void ranks_free(fc_backend *be, void *buffer) {
    fc_ranks *all = fc_ranks_of(be);
    fc_ranks_buffer *b;
    int place;
    if (!buffer) return;
    place = buffer_at(all, (uintptr_t)buffer);
    FC_ASSERT(place >= 0 && all->buffers[place].at == (uintptr_t)buffer);
    b = all->buffers + place;
    fc_ranks_ask(all, run_free, &(allocation){.own = b->own}, sizeof(allocation));
    munmap(buffer, addresses(b->bytes));
    memmove(b, b + 1, (size_t)(--all->n_buffers - place) * sizeof *b);
}

void fc_ranks_free_buffers(fc_ranks *all) {
    for (int i = 0; i < all->n_buffers; i++) munmap((void *)all->buffers[i].at, addresses(all->buffers[i].bytes));
    fc_free(all->buffers);
}

/* ---- copies ---- */

typedef struct {
    void *dst;
    const void *src;
    size_t bytes;
    int rank; /* -1: all */
    fc_rank_failure *failures;
} copy;

static fc_status run_upload(fc_rank *r, const void *args) {
    copy c;
    memcpy(&c, args, sizeof c);
    if (c.rank >= 0 && c.rank != r->number) return FC_OK;
    fc_rank_find(r, &c.dst);
    fc_rank_note(&c.failures[r->number], r->be->upload(r->be, c.dst, c.src, c.bytes));
    return FC_OK;
}

static fc_status ranks_upload_to(fc_backend *be, int rank, void *dst, const void *host, size_t bytes) {
    fc_ranks *all = fc_ranks_of(be);
    fc_rank_failure failures[FC_RANKS_MAX] = {{0}};
    copy c = {dst, host, bytes, rank, failures};
    FC_ASSERT(rank < all->n);
    fc_ranks_ask(all, run_upload, &c, sizeof c);
    return first_of(all, failures);
}

static fc_status ranks_upload(fc_backend *be, void *dst, const void *host, size_t bytes) {
    return ranks_upload_to(be, -1, dst, host, bytes);
}

static fc_status run_download(fc_rank *r, const void *args) {
    copy c;
    memcpy(&c, args, sizeof c);
    if (r->number || r->failure.status) return FC_OK;
    fc_rank_find(r, &c.src);
    return r->be->download(r->be, c.dst, c.src, c.bytes);
}

static fc_status ranks_download(fc_backend *be, void *host, const void *src, size_t bytes) {
    copy c = {.dst = host, .src = src, .bytes = bytes};
    fc_ranks_put(fc_ranks_of(be), run_download, &c, sizeof c, NULL, 0);
    return FC_OK;
}

/* ---- memory ---- */

typedef struct {
    uint64_t *bytes; /* [n] */
    fc_rank_failure *failures;
} question;

static fc_status run_memory(fc_rank *r, const void *args) {
    question q;
    memcpy(&q, args, sizeof q);
    fc_rank_note(&q.failures[r->number], r->be->memory(r->be, &q.bytes[r->number]));
    return FC_OK;
}

/* Of the rank that has least: buffers are the same size on all. Ranks that are threads of one CPU share what there is.
 * */
static fc_status ranks_memory(fc_backend *be, uint64_t *out) {
    fc_ranks *all = fc_ranks_of(be);
    uint64_t bytes[FC_RANKS_MAX] = {0}, least;
    fc_rank_failure failures[FC_RANKS_MAX] = {{0}};
    question q = {bytes, failures};
    fc_ranks_ask(all, run_memory, &q, sizeof q);
    FC_TRY(first_of(all, failures));
    least = bytes[0];
    for (int r = 1; r < all->n; r++)
        if (bytes[r] < least) least = bytes[r];
    *out = all->rank[0].comm && all->rank[0].comm->meets ? least / (uint64_t)all->n : least;
    return FC_OK;
}

/* ---- matrices ---- */

typedef struct {
    const fc_weight_part *parts; /* [n][n_parts] */
    int n_parts;
    fc_weight **own; /* [n] */
    fc_rank_failure *failures;
} packing;

static fc_status run_pack(fc_rank *r, const void *args) {
    packing p;
    memcpy(&p, args, sizeof p);
    fc_rank_note(&p.failures[r->number],
                 r->be->weight_pack(r->be->stream, p.parts + r->number * p.n_parts, p.n_parts, &p.own[r->number]));
    return FC_OK;
}

static fc_status run_weight_free(fc_rank *r, const void *args) {
    packing p;
    memcpy(&p, args, sizeof p);
    r->be->weight_free(p.own[r->number]);
    return FC_OK;
}

static void ranks_weight_free(fc_weight *w) {
    fc_ranks_weight *all = (fc_ranks_weight *)w;
    if (!w) return;
    fc_ranks_ask(all->all, run_weight_free, &(packing){.own = all->own}, sizeof(packing));
    fc_free(all);
}

static fc_status ranks_weight_pack(fc_stream s, const fc_weight_part *parts, int n_parts, fc_weight **out) {
    fc_ranks *all = fc_ranks_of_stream(s);
    fc_rank_failure failures[FC_RANKS_MAX] = {{0}};
    fc_ranks_weight *w;
    packing p;
    fc_status st;
    void *mem;
    FC_TRY(fc_alloc(1, sizeof *w, "weight", &mem));
    w = mem;
    w->all = all;
    p = (packing){parts, n_parts, w->own, failures};
    fc_ranks_ask(all, run_pack, &p, sizeof p);
    st = first_of(all, failures);
    if (st) {
        ranks_weight_free(&w->w);
        return st;
    }
    w->w = *w->own[0];
    for (int r = 1; r < all->n; r++)
        if (w->own[r]->bytes > w->w.bytes) w->w.bytes = w->own[r]->bytes;
    *out = &w->w;
    return FC_OK;
}

void fc_ranks_set_memory(fc_backend *be) {
    be->alloc = ranks_alloc;
    be->free = ranks_free;
    be->memory = ranks_memory;
    be->upload = ranks_upload;
    be->upload_to = ranks_upload_to;
    be->download = ranks_download;
    be->weight_pack = ranks_weight_pack;
    be->weight_free = ranks_weight_free;
}
