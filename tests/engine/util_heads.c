#include "tests/engine/util_heads.h"

enum { V = HEADS_V, D = HEADS_D, R = HEADS_ROWS, M = R + 40, IDS = 90, PICK_ROWS = 3, LOGIT_ROWS = 20 };

/* All that is computed, on the host. */
typedef struct {
    float embed[R * D], drawn[M], lp[M], picked[PICK_ROWS * IDS], logits[LOGIT_ROWS * V];
    double lse[R];
    int32_t token[M];
} outputs;

typedef struct {
    float x[R * D];
    int32_t tokens[R], row[M], id[M], ids[IDS];
    fc_head_draw_row rows[R];
    fc_draw_member members[M];
    fc_pick_segment segment;
} inputs;

static void *device(fc_backend *be, const void *host, size_t bytes) {
    void *p;
    assert_ok(be->alloc(be, bytes, "test", &p));
    if (host) assert_ok(be->upload(be, p, host, bytes));
    return p;
}

/* [V,D] of random weights, and the bytes of a row. */
static void *matrix(fc_dtype type, uint64_t seed, size_t *row) {
    unsigned char *w;
    assert_ok(fc_dtype_row_bytes(type, D, row));
    w = malloc(V * *row);
    assert_non_null(w);
    for (size_t i = 0; i < V * *row;) {
        float f = 0.2f * test_normal(&seed);
        uint16_t half = type == FC_Q8_0 ? fc_f32_to_f16(0.01f) : fc_f32_to_bf16(f);
        if (type == FC_F32) memcpy(w + i, &f, sizeof f), i += sizeof f;
        else memcpy(w + i, &half, sizeof half), i += sizeof half;
        for (int k = 0; type == FC_Q8_0 && k < 32; k++) w[i++] = (unsigned char)fc_rng_next(&seed);
    }
    return w;
}

static void make(inputs *in, uint64_t seed) {
    static const float temperatures[] = {1.0f, 0.0f, 0.7f, 1.5f};
    for (int i = 0; i < R * D; i++) in->x[i] = test_normal(&seed);
    for (int r = 0, m = 0; r < R; r++) { /* some rows draw twice, some not at all */
        int n = r % 5 == 0 ? 2 : r % 7 == 6 ? 0 : 1;
        if (n > M - m) n = M - m;
        in->tokens[r] = r == 0 ? V - 1 : test_below(&seed, V);
        in->rows[r] = (fc_head_draw_row){.member = m, .n_members = n, .temperature = temperatures[r % 4]};
        m += n;
    }
    for (int m = 0; m < M; m++) {
        in->members[m] = (fc_draw_member){.seed = 5, .candidate = (uint32_t)m};
        in->row[m] = m * R / M;
        in->id[m] = m == 0 ? V - 1 : test_below(&seed, V);
    }
    for (int i = 0; i < IDS; i++) in->ids[i] = i * (V - 1) / (IDS - 1);
    in->segment = (fc_pick_segment){.row = 4, .n_rows = PICK_ROWS, .n_ids = IDS};
}

static fc_weight *pack(fc_backend *be, fc_dtype type, const unsigned char *w, size_t row) {
    const int tiles = (V - 1) / FC_WEIGHT_CUT + 1;
    fc_weight_part parts[FC_RANKS_MAX];
    fc_weight *out;
    for (int r = 0; r < be->ranks; r++) {
        int first = fc_comm_first(tiles, be->ranks, r) * FC_WEIGHT_CUT;
        int end = fc_comm_first(tiles, be->ranks, r + 1) * FC_WEIGHT_CUT;
        if (end > V) end = V;
        parts[r] =
            (fc_weight_part){.name = "w", .data = w + (size_t)first * row, .dtype = type, .N = end - first, .K = D};
        if (be->ranks > 1) parts[r].first = first, parts[r].of = V;
    }
    assert_ok(be->weight_pack(be->stream, parts, 1, &out));
    return out;
}

static void compute(fc_backend *be, const inputs *in, const fc_weight *w, float cap, outputs *out) {
    const size_t own = (size_t)fc_comm_most((V - 1) / FC_WEIGHT_CUT + 1, be->ranks) * FC_WEIGHT_CUT;
    const inputs *d = device(be, in, sizeof *in);
    outputs *o = device(be, NULL, sizeof *o);
    float *part = device(be, NULL, LOGIT_ROWS * own * sizeof *part);
    fc_stream s = be->stream;
    assert_ok(be->embed(s, &(fc_embed_args){.y = o->embed, .tokens = d->tokens, .w = w, .scale = 2, .T = R}));
    assert_ok(be->sum(s, &(fc_sum_args){.y = o->embed, .n = R * D}));
    assert_ok(be->head_draw(s, &(fc_head_draw_args){.token = o->token,
                                                    .logprob = o->drawn,
                                                    .x = d->x,
                                                    .w = w,
                                                    .rows = d->rows,
                                                    .members = d->members,
                                                    .R = R,
                                                    .M = M,
                                                    .cap = cap,
                                                    .precise = true}));
    assert_ok(be->head_lse(s, &(fc_head_lse_args){.lse = o->lse,
                                                  .lp = o->lp,
                                                  .x = d->x,
                                                  .w = w,
                                                  .row = d->row,
                                                  .id = d->id,
                                                  .R = R,
                                                  .M = M,
                                                  .cap = cap,
                                                  .precise = true}));
    assert_ok(be->linear_pick(s, &(fc_linear_pick_args){.y = o->picked,
                                                        .x = d->x,
                                                        .w = w,
                                                        .segments = &d->segment,
                                                        .ids = d->ids,
                                                        .R = R,
                                                        .S = 1,
                                                        .precise = true}));
    assert_ok(be->sum(s, &(fc_sum_args){.y = o->picked, .n = PICK_ROWS * IDS}));
    assert_ok(be->linear(
        s,
        &(fc_linear_args){.y = be->ranks > 1 ? part : o->logits, .x = d->x, .w = w, .T = LOGIT_ROWS, .precise = true}));
    if (be->ranks > 1)
        assert_ok(
            be->join(s, &(fc_join_args){.y = o->logits, .x = part, .R = LOGIT_ROWS, .N = V, .unit = FC_WEIGHT_CUT}));
    assert_ok(be->download(be, out, o, sizeof *out));
    assert_ok(be->sync(be));
    be->free(be, part);
    be->free(be, o);
    be->free(be, (void *)(uintptr_t)d);
}

void heads_same(const char *what, fc_backend *one, fc_backend *ranks, fc_dtype type, float cap) {
    static inputs in;
    static outputs want, got;
    size_t row;
    unsigned char *w = matrix(type, 3, &row);
    fc_backend *const backends[] = {one, ranks};
    outputs *const outs[] = {&want, &got};
    make(&in, 9);
    for (int i = 0; i < 2; i++) {
        fc_weight *packed = pack(backends[i], type, w, row);
        memset(outs[i], 0, sizeof *outs[i]);
        compute(backends[i], &in, packed, cap, outs[i]);
        backends[i]->weight_free(packed);
    }
    free(w);
    for (int m = 0; m < M; m++) {
        if (got.token[m] != want.token[m] || got.drawn[m] != want.drawn[m])
            fail_msg("%s, %s: member %d: %d of log-prob %.9g, of one rank %d of %.9g", what, fc_dtype_name(type), m,
                     (int)got.token[m], (double)got.drawn[m], (int)want.token[m], (double)want.drawn[m]);
        if (got.lp[m] != want.lp[m])
            fail_msg("%s, %s: log-prob %d: %.9g, of one rank %.9g", what, fc_dtype_name(type), m, (double)got.lp[m],
                     (double)want.lp[m]);
    }
    assert_memory_equal(got.lse, want.lse, sizeof got.lse);
    for (int i = 0; i < R * D; i++) assert_true(got.embed[i] == want.embed[i]); /* -0 + 0 is 0 */
    for (int i = 0; i < PICK_ROWS * IDS; i++) assert_true(got.picked[i] == want.picked[i]);
    assert_memory_equal(got.logits, want.logits, sizeof got.logits);
}
