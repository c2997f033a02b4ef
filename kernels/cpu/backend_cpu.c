#define _GNU_SOURCE
#include "kernels/cpu/backend_cpu.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <string.h>
#include <sys/mman.h>

/* A buffer is preceded by one page that holds its size: buffers stay page-aligned, and free needs no table. */
enum { HEAD = 4096, PAGE = 4096, TOUCH = 1 << 23 /* bytes a unit: some huge pages */ };
/* Bytes from which huge pages are asked for: KV is read in scattered pieces. */
static const size_t LARGE = (size_t)4 << 20;

static fc_status cpu_alloc(fc_backend *be, size_t bytes, const char *what, void **out) {
    size_t all;
    void *p;
    (void)be;
    if (!fc_add(bytes, HEAD, &all))
        return FC_FAIL(FC_ERR_MEM, "%s: %zu bytes do not fit in the address space", what, bytes);
    FC_TRY(fc_pages_alloc(all, what, &p));
    if (all >= LARGE) (void)madvise(p, all, MADV_HUGEPAGE); /* a wish: small pages do as well, up to a fifth slower */
    memcpy(p, &all, sizeof all);
    *out = (unsigned char *)p + HEAD;
    return FC_OK;
}

static void cpu_free(fc_backend *be, void *buffer) {
    size_t all;
    unsigned char *p;
    (void)be;
    if (!buffer) return;
    p = (unsigned char *)buffer - HEAD;
    memcpy(&all, p, sizeof all);
    fc_pages_free(p, all);
}

typedef struct {
    volatile unsigned char *buffer;
    size_t bytes;
} touched;

/* Written, not read first: the system would lay a huge page of zeroes there, and may then cut it up. */
static void touch_unit(void *arg, int unit, int thread) {
    const touched *t = arg;
    size_t at = (size_t)unit * TOUCH, end = at + TOUCH < t->bytes ? at + TOUCH : t->bytes;
    (void)thread;
    for (; at < end; at += PAGE) t->buffer[at] = 0;
}

static void cpu_touch(fc_backend *be, void *buffer) {
    touched t = {.buffer = buffer};
    memcpy(&t.bytes, (const unsigned char *)buffer - HEAD, sizeof t.bytes);
    t.bytes -= HEAD;
    fc_pool_run(be->stream->pool, (int)((t.bytes + TOUCH - 1) / TOUCH), touch_unit, &t);
}

static fc_status cpu_memory(fc_backend *be, uint64_t *bytes) {
    (void)be;
    *bytes = fc_ram_bytes();
    return FC_OK;
}

/* Operators have finished when their call returns, so a copy in program order is a copy in stream order. */
static fc_status cpu_upload(fc_backend *be, void *dst, const void *host, size_t bytes) {
    (void)be;
    if (bytes) memcpy(dst, host, bytes);
    return FC_OK;
}

static fc_status cpu_download(fc_backend *be, void *host, const void *src, size_t bytes) {
    (void)be;
    if (bytes) memcpy(host, src, bytes);
    return FC_OK;
}

static fc_status cpu_sync(fc_backend *be) {
    (void)be;
    return FC_OK;
}

/* Operators run in their call: whatever was marked has run. */
static fc_status cpu_mark(fc_backend *be, int mark) {
    (void)be;
    FC_ASSERT(mark >= 0 && mark < FC_BACKEND_MARKS);
    return FC_OK;
}

static fc_status cpu_wait(fc_backend *be, int mark) { return cpu_mark(be, mark); }

static fc_status cpu_pin(fc_backend *be, pthread_t caller) { return fc_pool_pin(be->stream->pool, caller); }

static void cpu_close(fc_backend *be) {
    fc_cpu_stream_close(be->stream);
    fc_free(be);
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

fc_status fc_backend_open_cpu(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out) {
    fc_status st;
    fc_backend *be;
    void *p;
    size_t workspace, scratch;
    FC_TRY(fc_op_limits_check("cpu", limits));
    workspace = fc_head_draw_workspace_cpu(limits->rows, limits->cols, limits->vocab); /* nobody wants more */
    scratch = larger(fc_draw_workspace_cpu(limits->vocab), fc_attn_scratch_cpu(limits->head_dim));
    scratch = larger(scratch, fc_linear_scratch_cpu(limits->cols));
    FC_TRY(fc_alloc(1, sizeof *be, "cpu backend", &p));
    be = p;
    *be = (fc_backend){
        .name = "cpu",
        .alloc = cpu_alloc,
        .free = cpu_free,
        .memory = cpu_memory,
        .upload = cpu_upload,
        .download = cpu_download,
        .sync = cpu_sync,
        .ranks = 1,
        .touch = cpu_touch,
        .depth = 1,
        .mark = cpu_mark,
        .wait = cpu_wait,
        .weight_pack = fc_weight_pack_cpu,
        .weight_free = fc_weight_free_cpu,
        .embed = fc_embed_cpu,
        .rmsnorm = fc_rmsnorm_cpu,
        .rows_copy = fc_rows_copy_cpu,
        .linear = fc_linear_cpu,
        .linear_pick = fc_linear_pick_cpu,
        .lora = fc_lora_cpu,
        .rope_table = fc_rope_table_cpu,
        .rope_kv = fc_rope_kv_cpu,
        .attn = fc_attn_cpu,
        .softcap = fc_softcap_cpu,
        .kv_copy = fc_kv_copy_cpu,
        .draw = fc_draw_cpu,
        .logprob = fc_logprob_cpu,
        .top_logprobs = fc_top_logprobs_cpu,
        .list_logprob = fc_list_logprob_cpu,
        .list_gather = fc_list_gather_cpu,
        .head_lse = fc_head_lse_cpu,
        .head_draw = fc_head_draw_cpu,
        .sum = fc_sum_cpu,
        .join = fc_join_cpu,
        .pin = cpu_pin,
        .close = cpu_close,
    };
    st = fc_cpu_stream_open(level, threads, workspace, scratch, &be->stream);
    if (st) {
        fc_free(be);
        return st;
    }
    be->level = fc_cpu_level_name(be->stream->level);
    *out = be;
    return FC_OK;
}

void fc_backend_close(fc_backend *be) {
    if (be) be->close(be);
}
