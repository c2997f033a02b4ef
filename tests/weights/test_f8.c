/* F8 (E4M3) checkpoints: scales and the matrices they belong to, the same model in other types, and every mistake by
 * its name.
 *
 * Names and shapes are those of published files: vLLM's fp8 (weight_scale of a tensor, input_scale), DeepSeek's and
 * Qwen's (weight_scale_inv of blocks), compressed-tensors (weight_scale [N,1]).
 */
#include "tests/util.h"

#include "engine/base/os.h"
#include "engine/base/quant.h"
#include "engine/probe.h"
#include "tests/weights/util_gguf.h"
#include "tests/weights/util_st.h"
#include "weights_tools/layout.h"
#include "weights_tools/tools.h"
#include "weights_tools/weights.h"

enum { V = 24, D = 32, F = 48, BLOCK_ROWS = 20, BLOCK_COLS = 12 };

static void write_text(const char *name, const char *text) { gg_write(gg_path(name), text, strlen(text)); }

static void write_file(const char *name, const st_file *f) {
    fc_str bytes = {0};
    st_finish(f, 8, &bytes);
    gg_write(gg_path(name), bytes.data, bytes.size);
    fc_str_fini(&bytes);
}

/* As util_st.h's tiny Llama, but with heads that the engine computes. */
static const char llama[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":32,\"intermediate_size\":48,\"num_hidden_layers\":1,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"vocab_size\":24,\"bos_token_id\":1,\"eos_token_id\":2}";

/* ---- a model ------------------------------------------------------------------------------------------------- */

typedef enum { TENSOR, ROWS, ROWS_1D, BLOCKS, PLAIN } way;

/* Its matrices, each scaled in another way; the last is not F8. */
static const struct {
    const char *name, *ours;
    int N, K;
    way way;
    const char *scale, *dtype; /* suffix and type of the scales */
} matrices[] = {
    {"model.layers.0.self_attn.q_proj", "blk.0.attn_q", D, D, ROWS, "weight_scale", "BF16"},
    {"model.layers.0.self_attn.k_proj", "blk.0.attn_k", D / 2, D, ROWS_1D, "weight_scale", "F32"},
    {"model.layers.0.self_attn.v_proj", "blk.0.attn_v", D / 2, D, TENSOR, "weight_scale", "F32"},
    {"model.layers.0.self_attn.o_proj", "blk.0.attn_output", D, D, BLOCKS, "weight_scale_inv", "BF16"},
    {"model.layers.0.mlp.gate_proj", "blk.0.ffn_gate", F, D, BLOCKS, "weight_scale_inv", "F32"},
    {"model.layers.0.mlp.up_proj", "blk.0.ffn_up", F, D, TENSOR, "weight_scale", "F16"},
    {"model.layers.0.mlp.down_proj", "blk.0.ffn_down", D, F, BLOCKS, "weight_scale_inv", "F32"},
    {"lm_head", "output", V, D, ROWS, "weight_scale", "F32"},
    {"model.embed_tokens", "token_embd", V, D, PLAIN, NULL, NULL},
};
enum { MATRICES = sizeof matrices / sizeof matrices[0] };

static void put_tensor(st_file *f, const char *name, const char *dtype, const char *shape, const void *data, size_t n) {
    char entry[400];
    size_t begin = f->data.size;
    gg_put(&f->data, data, n);
    snprintf(entry, sizeof entry, "\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}", name, dtype,
             shape, begin, f->data.size);
    st_raw(f, entry);
}

/* n scales between 0.01 and 0.02, in a type that may round them. */
static void put_scales(st_file *f, const char *name, const char *dtype, const char *shape, int n) {
    unsigned char bytes[4 * 64];
    size_t size = strcmp(dtype, "F32") == 0 ? 4 : 2;
    assert_true(n <= 64);
    for (int i = 0; i < n; i++) {
        float v = 0.01f * (1.5f + 0.5f * test_uniform(&f->seed));
        uint16_t half = strcmp(dtype, "F16") == 0 ? fc_f32_to_f16(v) : fc_f32_to_bf16(v);
        memcpy(bytes + (size_t)i * size, size == 4 ? (const void *)&v : (const void *)&half, size);
    }
    put_tensor(f, name, dtype, shape, bytes, (size_t)n * size);
}

static int parts_of(int n, int size) { return (n + size - 1) / size; }

static void put_scales_of(st_file *f, int i) {
    char name[128], shape[32] = "[]";
    int N = matrices[i].N, R = parts_of(N, BLOCK_ROWS), C = parts_of(matrices[i].K, BLOCK_COLS), n = 1;
    snprintf(name, sizeof name, "%s.%s", matrices[i].name, matrices[i].scale);
    if (matrices[i].way == ROWS) n = N, snprintf(shape, sizeof shape, "[%d,1]", N);
    if (matrices[i].way == ROWS_1D) n = N, snprintf(shape, sizeof shape, "[%d]", N);
    if (matrices[i].way == BLOCKS) n = R * C, snprintf(shape, sizeof shape, "[%d,%d]", R, C);
    put_scales(f, name, matrices[i].dtype, shape, n);
}

static void put_matrix(st_file *f, int i) {
    unsigned char codes[F * D];
    char name[128], shape[32];
    size_t n = (size_t)matrices[i].N * (size_t)matrices[i].K;
    snprintf(name, sizeof name, "%s.weight", matrices[i].name);
    snprintf(shape, sizeof shape, "[%d,%d]", matrices[i].N, matrices[i].K);
    if (matrices[i].way == PLAIN) {
        st_tensor(f, name, "BF16", (uint64_t)matrices[i].N, (uint64_t)matrices[i].K);
        return;
    }
    for (size_t k = 0; k < n; k++) codes[k] = fc_f32_to_f8(20.0f * test_normal(&f->seed));
    put_tensor(f, name, "F8_E4M3", shape, codes, n);
}

static void write_config(const char *quantization) {
    char text[1200];
    snprintf(text, sizeof text, "%.*s,\"quantization_config\":%s}", (int)strlen(llama) - 1, llama, quantization);
    write_text("config.json", text);
}

#define BLOCKS_CONFIG "{\"quant_method\":\"fp8\",\"activation_scheme\":\"static\",\"weight_block_size\":[20,12]}"

/* All but the scales of matrix `without` (-1: with all). */
static void put_model(st_file *f, int without) {
    const float one = 1.5f;
    st_tensor(f, "model.norm.weight", "F32", 0, D);
    st_tensor(f, "model.layers.0.input_layernorm.weight", "BF16", 0, D);
    st_tensor(f, "model.layers.0.post_attention_layernorm.weight", "F32", 0, D);
    for (int i = 0; i < MATRICES; i++) {
        if (i % 2 && i != without && matrices[i].way != PLAIN) put_scales_of(f, i); /* before theirs, and behind */
        put_matrix(f, i);
        if (i % 2 == 0 && i != without && matrices[i].way != PLAIN) put_scales_of(f, i);
    }
    put_tensor(f, "model.layers.0.mlp.up_proj.input_scale", "F32", "[]", &one, 4);
    put_tensor(f, "model.layers.0.mlp.down_proj.input_scale", "F32", "[1]", &one, 4);
    put_tensor(f, "model.layers.0.self_attn.k_proj.k_scale", "F32", "[]", &one, 4);
}

static void write_model(void) {
    st_file f = {.seed = 5};
    write_config(BLOCKS_CONFIG);
    put_model(&f, -1);
    write_file("model.safetensors", &f);
    st_fini(&f);
}

static fc_weights *open_model(const char *path) {
    fc_weights *w = NULL;
    assert_ok(fc_weights_open(path, &w));
    return w;
}

static const fc_tensor *matrix(const fc_weights *w, int i) {
    char name[64];
    const fc_tensor *t = NULL;
    snprintf(name, sizeof name, "%s.weight", matrices[i].ours);
    assert_ok(fc_weights_need(w, name, matrices[i].N, matrices[i].K, &t));
    return t;
}

static void scales_join_their_matrices(void **state) {
    fc_weights *w;
    (void)state;
    write_model();
    w = open_model(gg_folder());
    assert_int_equal(fc_weights_count(w), 12);
    assert_string_equal(fc_weights_quant(w)->method, "fp8");
    assert_int_equal(fc_weights_quant(w)->activation_scales, 2);
    assert_int_equal(fc_weights_quant(w)->kv_scales, 1);
    for (int i = 0; i < MATRICES; i++) {
        const fc_tensor *t = matrix(w, i);
        way how = matrices[i].way;
        assert_int_equal(t->dtype, how == PLAIN ? FC_BF16 : FC_F8);
        assert_int_equal(t->scale == NULL, how == PLAIN);
        if (how == PLAIN) continue;
        assert_int_equal(t->scale_rows, how == TENSOR ? t->N : how == BLOCKS ? BLOCK_ROWS : 1);
        assert_int_equal(t->scale_cols, how == BLOCKS ? BLOCK_COLS : t->K);
        for (int64_t r = 0; r < t->N; r++) {
            float row[F];
            assert_ok(fc_tensor_row(t, r, row));
            for (int64_t k = 0; k < t->K; k++) {
                int64_t at = how == TENSOR   ? 0
                             : how == BLOCKS ? r / BLOCK_ROWS * parts_of((int)t->K, BLOCK_COLS) + k / BLOCK_COLS
                                             : r;
                assert_true(t->scale[at] > 0.0099f && t->scale[at] < 0.0202f);
                assert_true(row[k] == fc_f8_to_f32(((const uint8_t *)t->data)[r * t->K + k]) * t->scale[at]);
            }
        }
    }
    fc_weights_close(w);
}

/* The scales of a matrix may lie in another shard. */
static void shards_may_part_them(void **state) {
    st_file a = {.seed = 5}, b = {.seed = 6};
    fc_weights *w;
    (void)state;
    write_config(BLOCKS_CONFIG);
    put_model(&a, 3);
    put_scales_of(&b, 3);
    write_file("a.safetensors", &a);
    write_file("b.safetensors", &b);
    write_text("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"a.safetensors\",\"b\":\"b.safetensors\"}}");
    w = open_model(gg_folder());
    assert_int_equal(fc_tensor_scales(matrix(w, 3)), 2 * 3);
    fc_weights_close(w);
    assert_int_equal(remove(gg_path("model.safetensors.index.json")), 0);
    st_fini(&a);
    st_fini(&b);
}

/* A cast without scales and without a word about it: the values are the codes'. */
static void plain_codes_are_values(void **state) {
    st_file f = {.seed = 5};
    fc_weights *w;
    (void)state;
    write_text("config.json", llama);
    for (int i = 0; i < MATRICES; i++) put_matrix(&f, i);
    st_tensor(&f, "model.norm.weight", "F32", 0, D);
    st_tensor(&f, "model.layers.0.input_layernorm.weight", "F32", 0, D);
    st_tensor(&f, "model.layers.0.post_attention_layernorm.weight", "F32", 0, D);
    write_file("model.safetensors", &f);
    w = open_model(gg_folder());
    assert_int_equal(matrix(w, 0)->dtype, FC_F8);
    assert_null(matrix(w, 0)->scale);
    assert_int_equal(fc_tensor_scales(matrix(w, 0)), 0);
    fc_weights_close(w);
    st_fini(&f);
}

/* If this fails, scores of two models that differ in scales alone are taken for one another's. */
static void fingerprints_see_scales(void **state) {
    uint64_t prints[2];
    (void)state;
    for (int i = 0; i < 2; i++) {
        st_file f = {.seed = 5};
        fc_weights *w;
        write_config(BLOCKS_CONFIG);
        put_model(&f, 7);
        f.seed = 77 + (uint64_t)i;
        put_scales_of(&f, 7);
        write_file("model.safetensors", &f);
        w = open_model(gg_folder());
        prints[i] = fc_weights_fingerprint(w);
        fc_weights_close(w);
        st_fini(&f);
    }
    assert_true(prints[0] != prints[1]);
}

/* ---- mistakes ------------------------------------------------------------------------------------------------ */

static void mistakes_are_named(void **state) {
    static const float bad_scale[2] = {1.0f, INFINITY};
    static const struct {
        const char *config;
        int without; /* the matrix whose scales are left out */
        const char *name, *dtype, *shape;
        int n; /* scales added */
        fc_status status;
        const char *words;
    } bad[] = {
        {BLOCKS_CONFIG, 0, NULL, NULL, NULL, 0, FC_ERR_FORMAT,
         "tensor model.layers.0.self_attn.q_proj.weight is F8_E4M3 and has no "
         "model.layers.0.self_attn.q_proj.weight_scale"},
        {BLOCKS_CONFIG, 0, "model.layers.0.self_attn.q_proj.weight_scale", "F32", "[33,1]", 33, FC_ERR_FORMAT,
         "q_proj.weight_scale has 33 x 1 scales; blocks of 20 x 12 in 32 rows of 32 need 2 x 3"},
        {BLOCKS_CONFIG, 0, "model.layers.0.self_attn.q_proj.weight_scale", "F32", "[1,32]", 32, FC_ERR_FORMAT,
         "q_proj.weight_scale has 1 x 32 scales"},
        {BLOCKS_CONFIG, 0, "model.layers.0.self_attn.q_proj.weight_scale_inv", "F32", "[2,1,3]", 6, FC_ERR_FORMAT,
         "weight_scale_inv has 2 x 3 scales"},
        {"{\"quant_method\":\"fp8\"}", -1, NULL, NULL, NULL, 0, FC_ERR_FORMAT,
         "mlp.down_proj.weight_scale_inv has 2 x 4 scales for 32 rows of 48: neither one nor one a row"},
        {BLOCKS_CONFIG, -1, "model.layers.0.mlp.up_proj.weight_scale_inv", "F32", "[]", 1, FC_ERR_FORMAT,
         "up_proj.weight_scale_inv: there are scales beside these"},
        {BLOCKS_CONFIG, -1, "model.layers.0.mlp.side_proj.weight_scale", "F32", "[]", 1, FC_ERR_FORMAT,
         "side_proj.weight_scale: there is no model.layers.0.mlp.side_proj.weight for it"},
        {BLOCKS_CONFIG, -1, "model.embed_tokens.weight_scale", "F32", "[]", 1, FC_ERR_UNSUPPORTED,
         "tensor model.embed_tokens.weight_scale is for model.embed_tokens.weight, which is BF16"},
        {BLOCKS_CONFIG, 0, "model.layers.0.self_attn.q_proj.weight_scale", "F8_E4M3", "[]", 1, FC_ERR_UNSUPPORTED,
         "q_proj.weight_scale has type F8_E4M3"},
        {BLOCKS_CONFIG, 2, "model.layers.0.self_attn.v_proj.weight_scale", "bad", "[2]", 2, FC_ERR_FORMAT,
         "v_proj.weight_scale has"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        st_file f = {.seed = 5};
        fc_weights *w = NULL;
        write_config(bad[i].config);
        put_model(&f, bad[i].without);
        if (bad[i].name && strcmp(bad[i].dtype, "bad") == 0)
            put_tensor(&f, bad[i].name, "F32", bad[i].shape, bad_scale, sizeof bad_scale);
        else if (bad[i].name && strcmp(bad[i].dtype, "F8_E4M3") == 0)
            put_tensor(&f, bad[i].name, bad[i].dtype, bad[i].shape, "\x30", 1);
        else if (bad[i].name) put_scales(&f, bad[i].name, bad[i].dtype, bad[i].shape, bad[i].n);
        write_file("model.safetensors", &f);
        assert_fails(fc_weights_open(gg_path("model.safetensors"), &w), bad[i].status, bad[i].words);
        assert_fails(fc_weights_open(gg_path("model.safetensors"), &w), bad[i].status, gg_path("model.safetensors"));
        assert_null(w);
        st_fini(&f);
    }
}

static void scales_are_finite(void **state) {
    float scale[V];
    st_file f = {.seed = 5};
    fc_weights *w = NULL;
    (void)state;
    for (int i = 0; i < V; i++) scale[i] = i == 3 ? NAN : 1.0f;
    write_config(BLOCKS_CONFIG);
    put_model(&f, 7);
    put_tensor(&f, "lm_head.weight_scale", "F32", "[24,1]", scale, sizeof scale);
    write_file("model.safetensors", &f);
    assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_FORMAT, "tensor lm_head.weight_scale: scale 3 is nan");
    st_fini(&f);
}

/* A norm has no scale, and 3 bits are too few for one. */
static void vectors_are_not_f8(void **state) {
    unsigned char codes[D] = {0x38};
    st_file f = {.seed = 5};
    fc_weights *w = NULL;
    (void)state;
    write_text("config.json", llama);
    st_llama(&f, "BF16", 1);
    f.header.size = 0, f.data.size = 0;
    put_tensor(&f, "model.norm.weight", "F8_E4M3", "[32]", codes, sizeof codes);
    st_tensor(&f, "model.embed_tokens.weight", "BF16", V, D);
    st_llama(&f, "BF16", 2);
    write_file("model.safetensors", &f);
    assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_UNSUPPORTED,
                 "tensor model.norm.weight has type F8_E4M3; it needs F32, F16 or BF16");
    st_fini(&f);
}

/* Whatever a header says: what opens can be read. Meant to be run with the sanitizers, too. */
static void flipped_bits_do_no_harm(void **state) {
    st_file f = {.seed = 5};
    fc_str bytes = {0};
    size_t header, opened = 0, refused = 0;
    (void)state;
    write_config(BLOCKS_CONFIG);
    put_model(&f, -1);
    st_finish(&f, 8, &bytes);
    header = bytes.size - f.data.size;
    for (size_t bit = 64; bit < header * 8; bit += 5) {
        fc_weights *w = NULL;
        bytes.data[bit / 8] ^= (char)(1 << bit % 8);
        gg_write(gg_path("model.safetensors"), bytes.data, bytes.size);
        bytes.data[bit / 8] ^= (char)(1 << bit % 8);
        if (fc_weights_open(gg_path("model.safetensors"), &w)) refused++;
        else opened++;
        for (size_t i = 0; w && i < fc_weights_count(w); i++) {
            const fc_tensor *t = fc_weights_at(w, i);
            float row[F * D];
            for (int64_t r = 0; r < t->N && t->K <= F * D; r++) assert_ok(fc_tensor_row(t, r, row));
        }
        fc_weights_close(w);
    }
    print_message("header of %zu bytes: %zu opened, %zu refused\n", header, opened, refused);
    assert_true(opened > 10 && refused > 1000);
    fc_str_fini(&bytes);
    st_fini(&f);
}

/* ---- what is computed, converted, inspected ------------------------------------------------------------------ */

enum { TOKENS = 9 };

static void logits_of(const char *path, float logits[TOKENS * V]) {
    static const int32_t ids[TOKENS] = {1, 5, 7, 23, 0, 12, 12, 3, 19};
    const fc_probe_options o = {.kv_type = "f32", .ctx = 32, .threads = 1};
    fc_probe *p;
    assert_ok(fc_probe_open(path, &o, &p));
    assert_ok(fc_probe_logits(p, ids, TOKENS, logits));
    fc_probe_close(p);
}

static void convert(const char *in, const char *out, fc_dtype type) {
    assert_ok(fc_tools_convert(in, out, type, NULL, NULL, NULL, NULL));
}

static void near(const float *a, const float *b, double most, const char *what) {
    double size = 0.0, off = 0.0;
    for (int i = 0; i < TOKENS * V; i++) {
        size = fmax(size, fabs((double)a[i]));
        off = fmax(off, fabs((double)a[i] - (double)b[i]));
    }
    if (!(off <= most * size)) fail_msg("%s: %g off; logits are up to %g", what, off, size);
}

/* If this fails, an FP8 checkpoint answers other than its values say. */
static void logits_are_those_of_its_values(void **state) {
    float f8[TOKENS * V], same[TOKENS * V];
    (void)state;
    write_model();
    logits_of(gg_folder(), f8);
    convert(gg_folder(), gg_path("f32.gguf"), FC_F32);
    logits_of(gg_path("f32.gguf"), same);
    near(f8, same, 1e-5, "F32");
}

/* Rows of q and k change places on the way to GGUF, and their scales with them; blocks become rows' scales. */
static void to_f8_and_on(void **state) {
    float f8[TOKENS * V], again[TOKENS * V];
    fc_weights *in, *out, *third;
    (void)state;
    write_model();
    convert(gg_folder(), gg_path("f8.gguf"), FC_F8);
    convert(gg_path("f8.gguf"), gg_path("f8-again.gguf"), FC_F8);
    convert(gg_path("f8.gguf"), gg_path("bf16.gguf"), FC_BF16);
    in = open_model(gg_folder());
    out = open_model(gg_path("f8.gguf"));
    third = open_model(gg_path("f8-again.gguf"));
    assert_string_equal(fc_weights_quant(out)->method, "forkcast.f8_e4m3");
    assert_true(fc_weights_fingerprint_whole(out) == fc_weights_fingerprint_whole(third));
    for (int i = 0; i < MATRICES; i++) {
        const fc_tensor *a = matrix(in, i), *b = matrix(out, i);
        assert_int_equal(b->dtype, FC_F8);
        assert_true(b->scale_rows == 1 && b->scale_cols == b->K);
        for (int64_t r = 0; r < a->N; r++) {
            int64_t from = i < 2 ? fc_layout_pairs_row(fc_weights_config(in), r) : r; /* q and k */
            float want[F], got[F], most = 0.0f;
            assert_ok(fc_tensor_row(a, from, want));
            assert_ok(fc_tensor_row(b, r, got));
            for (int64_t k = 0; k < a->K; k++) most = fmaxf(most, fabsf(want[k]));
            for (int64_t k = 0; k < a->K; k++) {
                float step = 0.0626f * fabsf(want[k]) + most / 448.0f * 0x1p-10f;
                assert_true(matrices[i].way == BLOCKS || matrices[i].way == PLAIN ? fabsf(got[k] - want[k]) <= step
                                                                                  : got[k] == want[k]);
            }
        }
    }
    fc_weights_close(in);
    fc_weights_close(out);
    fc_weights_close(third);
    logits_of(gg_folder(), f8);
    logits_of(gg_path("f8.gguf"), again);
    near(f8, again, 0.3, "F8 by rows"); /* coarse: that rows and scales are in their places */
    logits_of(gg_path("f8-again.gguf"), f8);
    near(f8, again, 0.0, "F8 again");
    logits_of(gg_path("bf16.gguf"), f8);
    near(f8, again, 0.02, "BF16");
}

static void what_is_not_finite_is_not_written(void **state) {
    st_file f = {.seed = 5};
    fc_str notes = {0};
    (void)state;
    write_text("config.json", llama);
    st_llama(&f, "F32", 0);
    ((float *)(void *)f.data.data)[2 * D + 3] = NAN; /* of the embeddings */
    write_file("model.safetensors", &f);
    assert_fails(fc_tools_convert(gg_folder(), gg_path("nan.gguf"), FC_F8, NULL, NULL, &notes, NULL), FC_ERR_FORMAT,
                 "model.embed_tokens.weight, row 2: element 3 is nan");
    fc_str_fini(&notes);
    st_fini(&f);
}

static void gguf_without_scales_is_refused(void **state) {
    fc_str bytes = {0};
    fc_weights *w = NULL;
    fc_map map;
    (void)state;
    write_model();
    convert(gg_folder(), gg_path("f8.gguf"), FC_F8);
    assert_ok(fc_map_open(gg_path("f8.gguf"), &map));
    gg_put(&bytes, map.data, map.size);
    fc_map_close(&map);
    *gg_at(&bytes, "blk.0.attn_v.weight_scale") = 'x';
    gg_write(gg_path("lost.gguf"), bytes.data, bytes.size);
    assert_fails(fc_weights_open(gg_path("lost.gguf"), &w), FC_ERR_FORMAT,
                 "lost.gguf: tensor xlk.0.attn_v.weight_scale: there is no xlk.0.attn_v.weight for it");
    gg_at(&bytes, "xlk.0.attn_v.weight_scale")[24] = 'x';
    gg_write(gg_path("lost.gguf"), bytes.data, bytes.size);
    assert_fails(fc_weights_open(gg_path("lost.gguf"), &w), FC_ERR_FORMAT,
                 "lost.gguf: tensor blk.0.attn_v.weight is F8_E4M3 and has no blk.0.attn_v.weight_scale");
    fc_str_fini(&bytes);
}

static void inspect_says_what_is_scaled(void **state) {
    static const char *const lines[] = {
        "  F8_E4M3      8 tensors     8.4 kB\n",
        "  quantised as fp8 says\n",
        "  scales of F8_E4M3: 2 of a tensor, 3 of rows, 3 of blocks, 0 without\n",
        "  blocks of 20 x 12\n",
        "  not read: 2 scales of activations, which are not rounded to FP8 here\n",
        "  not read: 1 scales of KV, which has its own here\n",
    };
    fc_str text = {0}, json = {0};
    (void)state;
    write_model();
    assert_ok(fc_tools_inspect(gg_folder(), false, &text));
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (!strstr(text.data, lines[i])) fail_msg("the line \"%s\" is not in\n%s", lines[i], text.data);
    assert_ok(fc_tools_inspect(gg_folder(), true, &json));
    assert_non_null(strstr(json.data, "\"f8\":{\"method\":\"fp8\",\"tensor_scales\":2,\"row_scales\":3,"
                                      "\"block_scales\":3,\"without\":0,\"block\":[20,12],"
                                      "\"activation_scales_not_read\":2,\"kv_scales_not_read\":1}"));
    fc_str_fini(&text);
    fc_str_fini(&json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scales_join_their_matrices),
        cmocka_unit_test(shards_may_part_them),
        cmocka_unit_test(plain_codes_are_values),
        cmocka_unit_test(fingerprints_see_scales),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(scales_are_finite),
        cmocka_unit_test(vectors_are_not_f8),
        cmocka_unit_test(flipped_bits_do_no_harm),
        cmocka_unit_test(logits_are_those_of_its_values),
        cmocka_unit_test(to_f8_and_on),
        cmocka_unit_test(what_is_not_finite_is_not_written),
        cmocka_unit_test(gguf_without_scales_is_refused),
        cmocka_unit_test(inspect_says_what_is_scaled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
