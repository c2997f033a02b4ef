#define _GNU_SOURCE
#include "tests/engine/util_late.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Memory here is malloc's and mmap's, not fc_alloc's: tests count the engine's allocations, and these are not its
 * own. */

enum { PAGE = 4096 };
static const size_t ARENA = (size_t)8 << 30; /* address space; memory only where it is written */

typedef struct pending {
    struct pending *next;
    void *host;
    size_t bytes;
    unsigned char data[];
} pending;

typedef struct late {
    struct fc_stream_s stream; /* first: an operator finds its late by its stream. A copy of the inner stream */
    fc_backend face;
    fc_backend *inner;
    unsigned char *arena; /* buffers one after another, never given out twice: a freed one stays unreadable */
    size_t used;
    pending *first, **last;
    pending **marks[FC_BACKEND_MARKS]; /* behind the last download before each mark; NULL: not set, or delivered */
} late;

static late *late_of(fc_stream s) { return (late *)s; }

static void protect(late *l, int how) {
    if (l->used && mprotect(l->arena, l->used, how)) abort();
}
static void unlock(late *l) { protect(l, PROT_READ | PROT_WRITE); }
static void lock(late *l) { protect(l, PROT_NONE); }

static fc_status late_alloc(fc_backend *be, size_t bytes, const char *what, void **out) {
    late *l = be->self;
    size_t n = (bytes / PAGE + 2) * PAGE; /* at least one page stays zero between two buffers */
    if (bytes > ARENA || n > ARENA - l->used)
        return FC_FAIL(FC_ERR_MEM, "late: %s: %zu bytes; %zu of %zu are taken", what, bytes, l->used, ARENA);
    *out = l->arena + l->used;
    l->used += n;
    return FC_OK;
}

static fc_status late_memory(fc_backend *be, uint64_t *bytes) {
    late *l = be->self;
    return l->inner->memory(l->inner, bytes);
}

static void late_free(fc_backend *be, void *buffer) {
    (void)be;
    (void)buffer;
}

static fc_status late_upload(fc_backend *be, void *dst, const void *host, size_t bytes) {
    late *l = be->self;
    fc_status st;
    unlock(l);
    st = l->inner->upload(l->inner, dst, host, bytes);
    lock(l);
    return st;
}

static fc_status late_download(fc_backend *be, void *host, const void *src, size_t bytes) {
    late *l = be->self;
    pending *p = malloc(sizeof *p + bytes);
    fc_status st;
    if (!p) return FC_FAIL(FC_ERR_MEM, "late: download of %zu bytes", bytes);
    p->next = NULL;
    p->host = host;
    p->bytes = bytes;
    unlock(l);
    st = l->inner->download(l->inner, p->data, src, bytes);
    lock(l);
    if (st) {
        free(p);
        return st;
    }
    if (bytes) memset(host, LATE_BYTE, bytes);
    *l->last = p;
    l->last = &p->next;
    return FC_OK;
}

/* Up to `end`, a place behind a download; NULL: all. Marks on the way are passed. */
static void take_pending(late *l, bool deliver, pending **end) {
    while (l->first) {
        pending *p = l->first;
        bool stop = end == &p->next;
        l->first = p->next;
        if (deliver && p->bytes) memcpy(p->host, p->data, p->bytes);
        for (int i = 0; i < FC_BACKEND_MARKS; i++)
            if (l->marks[i] == &p->next) l->marks[i] = NULL;
        if (l->last == &p->next) l->last = &l->first;
        free(p);
        if (stop) return;
    }
    l->last = &l->first;
}

static fc_status late_mark(fc_backend *be, int mark) {
    late *l = be->self;
    l->marks[mark] = l->last == &l->first ? NULL : l->last; /* nothing is under way: nothing to wait for */
    return FC_OK;
}

static fc_status late_wait(fc_backend *be, int mark) {
    late *l = be->self;
    if (l->marks[mark]) take_pending(l, true, l->marks[mark]);
    return FC_OK;
}

static fc_status late_sync(fc_backend *be) {
    late *l = be->self;
    take_pending(l, true, NULL);
    return l->inner->sync(l->inner);
}

static fc_status late_weight_pack(fc_stream s, const fc_weight_part *parts, int n_parts, fc_weight **out) {
    late *l = late_of(s);
    return l->inner->weight_pack(l->inner->stream, parts, n_parts, out);
}

#define LATE_OPERATOR(op, args_type)                                                                                   \
    static fc_status late_##op(fc_stream s, const args_type *a) {                                                      \
        late *l = late_of(s);                                                                                          \
        fc_status st;                                                                                                  \
        unlock(l);                                                                                                     \
        st = l->inner->op(l->inner->stream, a);                                                                        \
        lock(l);                                                                                                       \
        return st;                                                                                                     \
    }
LATE_OPERATOR(embed, fc_embed_args)
LATE_OPERATOR(rmsnorm, fc_rmsnorm_args)
LATE_OPERATOR(rows_copy, fc_rows_copy_args)
LATE_OPERATOR(linear, fc_linear_args)
LATE_OPERATOR(linear_pick, fc_linear_pick_args)
LATE_OPERATOR(lora, fc_lora_args)
LATE_OPERATOR(rope_table, fc_rope_table_args)
LATE_OPERATOR(rope_kv, fc_rope_kv_args)
LATE_OPERATOR(attn, fc_attn_args)
LATE_OPERATOR(softcap, fc_softcap_args)
LATE_OPERATOR(kv_copy, fc_kv_copy_args)
LATE_OPERATOR(draw, fc_draw_args)
LATE_OPERATOR(logprob, fc_logprob_args)
LATE_OPERATOR(top_logprobs, fc_top_logprobs_args)
LATE_OPERATOR(list_logprob, fc_list_logprob_args)
LATE_OPERATOR(list_gather, fc_list_gather_args)
LATE_OPERATOR(head_lse, fc_head_lse_args)
LATE_OPERATOR(head_draw, fc_head_draw_args)

static void late_close(fc_backend *be) {
    late *l = be->self;
    take_pending(l, false, NULL); /* nobody may still be waiting for what was never synced */
    if (l->arena) munmap(l->arena, ARENA);
    fc_backend_close(l->inner);
    free(l);
}

fc_status late_backend_open(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out) {
    late *l = calloc(1, sizeof *l);
    fc_status st;
    void *p;
    if (!l) return FC_FAIL(FC_ERR_MEM, "late: %zu bytes", sizeof *l);
    l->last = &l->first;
    l->face = (fc_backend){
        .name = "late",
        .self = l,
        .stream = &l->stream,
        .alloc = late_alloc,
        .free = late_free,
        .memory = late_memory,
        .upload = late_upload,
        .download = late_download,
        .sync = late_sync,
        .ranks = 1,
        .depth = 2,
        .mark = late_mark,
        .wait = late_wait,
        .weight_pack = late_weight_pack,
        .embed = late_embed,
        .rmsnorm = late_rmsnorm,
        .rows_copy = late_rows_copy,
        .linear = late_linear,
        .linear_pick = late_linear_pick,
        .lora = late_lora,
        .rope_table = late_rope_table,
        .rope_kv = late_rope_kv,
        .attn = late_attn,
        .softcap = late_softcap,
        .kv_copy = late_kv_copy,
        .draw = late_draw,
        .logprob = late_logprob,
        .top_logprobs = late_top_logprobs,
        .list_logprob = late_list_logprob,
        .list_gather = late_list_gather,
        .head_lse = late_head_lse,
        .head_draw = late_head_draw,
        .close = late_close,
    };
    st = fc_backend_open_cpu(level, threads, limits, &l->inner);
    if (st) {
        free(l);
        return st;
    }
    l->stream = *l->inner->stream;
    l->face.weight_free = l->inner->weight_free;
    l->face.level = l->inner->level;
    p = mmap(NULL, ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        late_close(&l->face);
        return FC_FAIL(FC_ERR_MEM, "late: no address space of %zu bytes", ARENA);
    }
    l->arena = p;
    *out = &l->face;
    return FC_OK;
}
