/* The CPU's operator table: buffers, copies, and one small layer that goes through it from end to end. */
#include "kernels/cpu/backend_cpu.h"

#include "engine/base/mem.h"
#include "tests/util.h"

static const fc_op_limits limits = {.rows = 8, .cols = 64, .vocab = 500, .heads = 4, .head_dim = 16};

static fc_backend *open_cpu(int threads) {
    fc_backend *be = NULL;
    assert_ok(fc_backend_open_cpu(FC_CPU_AUTO, threads, &limits, &be));
    return be;
}

static void every_operator_is_there(void **state) {
    fc_backend *be = open_cpu(1);
    (void)state;
    assert_string_equal(be->name, "cpu");
    assert_non_null(be->stream);
    assert_true(be->alloc && be->free && be->upload && be->download && be->sync && be->weight_pack && be->weight_free);
    assert_true(be->embed && be->rmsnorm && be->linear && be->lora && be->rope_table && be->rope_kv && be->attn);
    assert_true(be->softcap && be->kv_copy && be->draw && be->logprob && be->top_logprobs && be->close);
    assert_true(be->linear_pick && be->list_logprob && be->list_gather && be->rows_copy);
    assert_true(be->head_lse && be->head_draw);
    fc_backend_close(be);
    fc_backend_close(NULL);
}

static void buffers_are_zeroed_aligned_and_copied(void **state) {
    fc_backend *be = open_cpu(1);
    void *p[20], *huge = NULL;
    unsigned char out[3000], in[3000];
    (void)state;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 20; i++) {
            size_t n = (size_t)(i * i * 7);
            assert_ok(be->alloc(be, n, "buffer", &p[i]));
            assert_true((uintptr_t)p[i] % 64 == 0);
            memset(out, 1, sizeof out);
            assert_ok(be->download(be, out, p[i], n));
            assert_ok(be->sync(be));
            for (size_t b = 0; b < n; b++) assert_int_equal(out[b], 0);
            memset(in, i + 1, sizeof in);
            assert_ok(be->upload(be, p[i], in, n));
            memset(in, 0, sizeof in); /* host may be reused at return */
        }
        for (int i = 0; i < 20; i++) {
            size_t n = (size_t)(i * i * 7);
            assert_ok(be->download(be, out, p[i], n));
            assert_ok(be->sync(be));
            for (size_t b = 0; b < n; b++) assert_int_equal(out[b], i + 1);
            be->free(be, p[i]);
        }
    }
    be->free(be, NULL);
    assert_fails(be->alloc(be, SIZE_MAX - 5, "huge", &huge), FC_ERR_MEM, "huge");
    assert_fails(be->alloc(be, SIZE_MAX / 2, "huge", &huge), FC_ERR_MEM, "huge");
    assert_null(huge);
    fc_backend_close(be);
}

static void bad_limits_open_nothing(void **state) {
    fc_op_limits bad = limits;
    fc_backend *be = NULL;
    (void)state;
    bad.vocab = -1;
    assert_fails(fc_backend_open_cpu(FC_CPU_AUTO, 1, &bad, &be), FC_ERR_ARG, "vocab=-1");
    assert_fails(fc_backend_open_cpu(FC_CPU_AUTO, -2, &limits, &be), FC_ERR_ARG, "-2 threads");
    if (fc_cpu_best() < FC_CPU_AVX512)
        assert_fails(fc_backend_open_cpu(FC_CPU_AVX512, 1, &limits, &be), FC_ERR_UNSUPPORTED, "avx512");
    assert_null(be);
}

static void *put(fc_backend *be, const void *host, size_t bytes) {
    void *p;
    assert_ok(be->alloc(be, bytes, "test", &p));
    if (host) assert_ok(be->upload(be, p, host, bytes));
    return p;
}

enum { T = 8, D = 64, H = 4, G = 2, E = 16, V = 500, QKV = (H + 2 * G) * E };

/* Embed, norm, project, rotate, attend, head, draw: 8 rows of one sequence, greedy. Everything was reserved at open. */
static void greedy_tokens(fc_backend *be, int32_t *out) {
    uint64_t seed = 31;
    float *w = calloc((size_t)V * D, sizeof *w), ones[D], inv_freq[E / 2];
    int32_t tokens[T], pos[T], slot[T], pages[1] = {1}, item_rows[T], on_page[T];
    fc_draw_row rows[T];
    fc_draw_member members[T];
    const fc_attn_item item = {.n_tiles = 1, .n_rows = T, .part = -1, .gather = -1};
    fc_weight *embed, *qkv, *head;
    fc_kv_buf kv = {.shape = {.type = FC_BF16, .n_pages = 2, .P = 16, .L = 1, .G = G, .E = E}};
    float *x, *h, *y, *q, *cs, *logits, *norm, *freq, *lp;
    int32_t *d_tokens, *d_pos, *d_token;
    size_t kv_bytes;
    unsigned long long before;
    fc_weight_part part = {.name = "w", .data = w, .dtype = FC_F32, .N = V, .K = D};
    assert_non_null(w);
    for (int i = 0; i < V * D; i++) w[i] = test_normal(&seed);
    assert_ok(be->weight_pack(be->stream, &part, 1, &embed));
    assert_ok(be->weight_pack(be->stream, &part, 1, &head));
    part.N = QKV;
    assert_ok(be->weight_pack(be->stream, &part, 1, &qkv));
    free(w);
    for (int t = 0; t < T; t++) {
        tokens[t] = test_below(&seed, V);
        pos[t] = slot[t] = item_rows[t] = t;
        on_page[t] = 1;
        rows[t] =
            (fc_draw_row){.row = t, .member = t, .n_members = 1, .top_p = 1.0f, .typical_p = 1.0f, .repetition = 1.0f};
        members[t] = (fc_draw_member){.seed = 1};
    }
    for (int d = 0; d < D; d++) ones[d] = 1.0f;
    for (int i = 0; i < E / 2; i++) inv_freq[i] = 1.0f / (float)(1 << i);
    assert_ok(fc_kv_bytes(&kv.shape, &kv_bytes));
    kv.base = put(be, NULL, kv_bytes);
    x = put(be, NULL, sizeof(float) * T * D), h = put(be, NULL, sizeof(float) * T * D),
    y = put(be, NULL, sizeof(float) * T * D);
    q = put(be, NULL, sizeof(float) * T * QKV), cs = put(be, NULL, sizeof(float) * T * E);
    logits = put(be, NULL, sizeof(float) * T * V), lp = put(be, NULL, sizeof(float) * T),
    d_token = put(be, NULL, sizeof tokens);
    norm = put(be, ones, sizeof ones), freq = put(be, inv_freq, sizeof inv_freq);
    d_tokens = put(be, tokens, sizeof tokens), d_pos = put(be, pos, sizeof pos);
    {
        const fc_embed_args embed_args = {.y = x, .tokens = d_tokens, .w = embed, .scale = 1.0f, .T = T};
        const fc_rmsnorm_args norm_args = {.y = h, .x = x, .w = norm, .eps = 1e-5f, .T = T, .D = D};
        const fc_linear_args qkv_args = {.y = q, .x = h, .w = qkv, .T = T};
        const fc_rope_table_args table_args = {
            .cs = cs, .pos = d_pos, .inv_freq = freq, .mscale = 1.0f, .T = T, .R = E};
        const fc_rope_kv_args rope_args = {.qkv = q,
                                           .cs = cs,
                                           .page = put(be, on_page, sizeof on_page),
                                           .slot = put(be, slot, sizeof slot),
                                           .kv = &kv,
                                           .T = T,
                                           .H = H,
                                           .G = G,
                                           .E = E,
                                           .R = E};
        const fc_attn_args attn_args = {.y = y,
                                        .q = q,
                                        .kv = &kv,
                                        .pos = d_pos,
                                        .pages = put(be, pages, sizeof pages),
                                        .items = put(be, &item, sizeof item),
                                        .item_rows = put(be, item_rows, sizeof item_rows),
                                        .n_items = 1,
                                        .T = T,
                                        .H = H,
                                        .ldq = QKV,
                                        .scale = 0.25f};
        const fc_linear_args head_args = {.y = logits, .x = y, .w = head, .T = T};
        const fc_draw_args draw_args = {.token = d_token,
                                        .logprob = lp,
                                        .logits = logits,
                                        .rows = put(be, rows, sizeof rows),
                                        .members = put(be, members, sizeof members),
                                        .R = T,
                                        .V = V,
                                        .n_rows = T,
                                        .M = T};
        before = fc_alloc_count();
        assert_ok(be->embed(be->stream, &embed_args));
        assert_ok(be->rmsnorm(be->stream, &norm_args));
        assert_ok(be->linear(be->stream, &qkv_args));
        assert_ok(be->rope_table(be->stream, &table_args));
        assert_ok(be->rope_kv(be->stream, &rope_args));
        assert_ok(be->attn(be->stream, &attn_args));
        assert_ok(be->linear(be->stream, &head_args));
        assert_ok(be->draw(be->stream, &draw_args));
        assert_ok(be->download(be, out, d_token, sizeof tokens));
        assert_ok(be->sync(be));
        assert_true(fc_alloc_count() == before);
        be->free(be, (void *)(uintptr_t)rope_args.page), be->free(be, (void *)(uintptr_t)rope_args.slot);
        be->free(be, (void *)(uintptr_t)attn_args.pages), be->free(be, (void *)(uintptr_t)attn_args.items);
        be->free(be, (void *)(uintptr_t)attn_args.item_rows), be->free(be, (void *)(uintptr_t)draw_args.rows);
        be->free(be, (void *)(uintptr_t)draw_args.members);
    }
    be->free(be, x), be->free(be, h), be->free(be, y), be->free(be, q), be->free(be, cs), be->free(be, logits),
        be->free(be, lp);
    be->free(be, d_token), be->free(be, norm), be->free(be, freq), be->free(be, d_tokens), be->free(be, d_pos);
    be->free(be, kv.base);
    be->weight_free(embed), be->weight_free(head), be->weight_free(qkv);
}

static void a_layer_runs_and_threads_do_not_matter(void **state) {
    int32_t one[T], two[T];
    fc_backend *be = open_cpu(1);
    bool differ = false;
    (void)state;
    greedy_tokens(be, one);
    fc_backend_close(be);
    be = open_cpu(2);
    greedy_tokens(be, two);
    fc_backend_close(be);
    assert_memory_equal(one, two, sizeof one);
    for (int t = 0; t < T; t++) {
        assert_in_range(one[t], 0, V - 1);
        differ |= one[t] != one[0];
    }
    assert_true(differ);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operator_is_there),
        cmocka_unit_test(buffers_are_zeroed_aligned_and_copied),
        cmocka_unit_test(bad_limits_open_nothing),
        cmocka_unit_test(a_layer_runs_and_threads_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
