/* Conversion: the same model comes out, in its configuration, its values and its logits; and what cannot be carried
 * over is said. Tokenizers: test_convert_tok.c.
 *
 * The models of tests/data/models are Hugging Face folders of every family (tests/oracle/parity_golden.py).
 */
#include "tests/util.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/quant.h"
#include "engine/probe.h"
#include "tests/weights/util_gguf.h"
#include "tests/weights/util_st.h"
#include "weights_tools/gguf.h"
#include "weights_tools/tools.h"
#include "weights_tools/weights.h"

static fc_weights *open_model(const char *path) {
    fc_weights *w = NULL;
    assert_ok(fc_weights_open(path, &w));
    return w;
}

static void make_tiny(const char *path, const fc_tiny_options *o) { assert_ok(fc_tools_tiny(o, path, NULL, NULL)); }

/* in to out; the notes must be exactly these. */
static void convert(const char *in, const char *out, fc_dtype type, const char *notes) {
    fc_str said = {0};
    assert_ok(fc_tools_convert(in, out, type, NULL, NULL, &said, NULL));
    assert_string_equal(fc_str_text(&said), notes);
    fc_str_fini(&said);
}

static const char *row_of(const fc_tensor *t, int64_t r) {
    return (const char *)t->data + (size_t)r * (t->bytes / (size_t)t->N);
}

/* Row r of b is row r of a, through floats, in b's type. */
static void assert_requantised(const fc_tensor *a, const fc_tensor *b) {
    float row[1024];
    unsigned char packed[4096];
    assert_true(a->K <= 1024 && a->N == b->N && a->K == b->K);
    for (int64_t r = 0; r < a->N; r++) {
        assert_ok(fc_dequant_row(a->dtype, row_of(a, r), row, (size_t)a->K));
        assert_ok(fc_quant_row(b->dtype, row, packed, (size_t)a->K));
        assert_memory_equal(row_of(b, r), packed, b->bytes / (size_t)b->N);
    }
}

/* Field by field, but for what GGUF states in another way. A field that is new belongs into this list. */
_Static_assert(sizeof(fc_model_config) == 1060, "assert_same_config lists every field");
static void assert_same_config(const char *name, fc_model_config a, const fc_model_config *b) {
    bool llama3 = a.rope_scaling == FC_ROPE_LLAMA3;
    assert_int_equal(b->rope_interleaved, strcmp(a.arch, "llama") == 0);
    assert_false(b->norm_plus_one);
    assert_int_equal(b->rope_freqs_tensor, llama3 || a.rope_freqs_tensor);
    if (llama3) { /* the tensor says what these said */
        assert_int_equal(b->rope_scaling, FC_ROPE_NONE);
        a.rope_scaling = FC_ROPE_NONE;
        a.rope_factor = b->rope_factor;
        a.rope_original_ctx = b->rope_original_ctx;
        a.rope_low_freq = b->rope_low_freq;
        a.rope_high_freq = b->rope_high_freq;
    }
#define SAME(field)                                                                                                    \
    if (a.field != b->field) fail_msg("%s: " #field " is %g, and %g in GGUF", name, (double)a.field, (double)b->field)
    assert_string_equal(a.arch, b->arch);
    assert_string_equal(a.name, b->name);
    SAME(V);
    SAME(D);
    SAME(L);
    SAME(H);
    SAME(G);
    SAME(E);
    SAME(F);
    SAME(ctx);
    SAME(norm_eps);
    SAME(rope_theta);
    SAME(rope_theta_local);
    SAME(rope_local_own);
    SAME(rope_dim);
    SAME(rope_scaling);
    SAME(rope_factor);
    SAME(rope_original_ctx);
    SAME(rope_low_freq);
    SAME(rope_high_freq);
    SAME(rope_beta_fast);
    SAME(rope_beta_slow);
    SAME(rope_attn_factor);
    SAME(qkv_bias);
    SAME(out_bias);
    SAME(qk_norm);
    SAME(post_norms);
    SAME(gelu_tanh);
    SAME(embed_scale);
    SAME(tied);
    SAME(no_lm_head);
    SAME(attn_scale);
    SAME(attn_soft_cap);
    SAME(final_soft_cap);
    SAME(window);
    SAME(reward_head);
    SAME(bos);
    SAME(n_eos);
    SAME(add_bos);
    SAME(add_eos);
#undef SAME
    for (int i = 0; i < FC_MAX_LAYERS; i++) assert_int_equal(a.local[i], b->local[i]);
    for (int i = 0; i < a.n_eos; i++) assert_int_equal(a.eos[i], b->eos[i]);
}

static void every_type_to_every_type(void **state) {
    static const fc_dtype types[] = {FC_F32, FC_F16, FC_BF16, FC_Q8_0, FC_Q4_0, FC_Q4_1};
    (void)state;
    for (size_t i = 0; i < 30; i++) {
        fc_dtype from = types[i / 6], to = types[i % 6];
        fc_weights *a, *b;
        fc_meta m;
        make_tiny(gg_path("in.gguf"),
                  &(fc_tiny_options){.arch = i % 2 ? "gemma3" : "llama", .type = from, .reward_head = true});
        convert(gg_path("in.gguf"), gg_path("out.gguf"), to, "");
        a = open_model(gg_path("in.gguf"));
        b = open_model(gg_path("out.gguf"));
        assert_int_equal(fc_weights_count(a), fc_weights_count(b));
        for (size_t t = 0; t < fc_weights_count(a); t++) {
            const fc_tensor *x = fc_weights_at(a, t), *y = fc_weights_find(b, x->name);
            bool plain = x->n_dims == 1 || strcmp(x->name, "score.weight") == 0;
            assert_non_null(y);
            assert_int_equal(y->dtype, plain ? FC_F32 : to);
            assert_int_equal(y->n_dims, x->n_dims);
            if (from != FC_Q4_0 || to != FC_Q4_1) assert_requantised(x, y); /* these keep their codes */
        }
        assert_true(fc_weights_meta(b, "general.file_type", &m));
        assert_int_equal(m.i, ((const int[]){0, 1, 32, 7, 2, 3})[i % 6]);
        assert_int_equal(fc_weights_meta(b, "general.quantization_version", NULL), i % 6 >= 3);
        assert_same_config("tiny", *fc_weights_config(a), fc_weights_config(b));
        fc_weights_close(a);
        fc_weights_close(b);
    }
}

/* All keys come through with type and value, whoever wrote them; only what describes the old file is replaced. */
static void metadata_is_copied(void **state) {
    static const char *const strings[] = {"one", "", "three"};
    const int16_t shorts[] = {-1, 2};
    const uint64_t big = 1ull << 63;
    const int8_t small = -7;
    const double pi = 3.141592653589793;
    gg_file g;
    fc_str bytes = {0};
    fc_weights *a, *b;
    size_t kept = 0;
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        gg_init(&g);
        g.version = version;
        g.alignment = 64;
        gg_model(&g, "qwen2", 2);
        gg_u32(&g, "general.alignment", 64);
        gg_u32(&g, "general.file_type", 15);
        gg_u32(&g, "split.count", 1);
        gg_raw(&g, "x.u64", GG_U64, &big, 8);
        gg_raw(&g, "x.i8", GG_I8, &small, 1);
        gg_raw(&g, "x.f64", GG_F64, &pi, 8);
        gg_array(&g, "x.shorts", GG_I16, shorts, 2, 2);
        gg_strs(&g, "x.strings", strings, 3);
        gg_strs(&g, "x.none", strings, 0);
        fc_str_clear(&bytes);
        gg_finish(&g, &bytes);
        gg_write(gg_path("in.gguf"), bytes.data, bytes.size);
        convert(gg_path("in.gguf"), gg_path("out.gguf"), FC_BF16, "");
        a = open_model(gg_path("in.gguf"));
        b = open_model(gg_path("out.gguf"));
        kept = 0;
        for (size_t i = 0; i < fc_weights_meta_count(a); i++) {
            fc_meta x, y;
            const char *key = fc_weights_meta_key(a, i, &x);
            if (strcmp(key, "general.alignment") == 0 || strcmp(key, "split.count") == 0) {
                assert_false(fc_weights_meta(b, key, NULL));
                continue;
            }
            if (strcmp(key, "general.file_type") == 0) continue;
            kept++;
            assert_true(fc_weights_meta(b, key, &y));
            assert_true(x.kind == y.kind && x.elem == y.elem && x.i == y.i && x.f == y.f && x.count == y.count);
            assert_int_equal(x.array_type, y.array_type);
            assert_int_equal(x.s.size, y.s.size);
            if (x.s.size) assert_memory_equal(x.s.text, y.s.text, x.s.size);
            if (x.kind == FC_META_ARRAY && x.elem == FC_META_INT) assert_memory_equal(x.array, y.array, x.count);
        }
        assert_int_equal(fc_weights_meta_count(b), kept + 1);
        fc_weights_close(a);
        fc_weights_close(b);
        gg_fini(&g);
    }
    fc_str_fini(&bytes);
}

static void rows_that_do_not_fit_stay_f16(void **state) {
    fc_tiny_options o = {.D = 40, .H = 4, .G = 2, .E = 8, .F = 64};
    fc_weights *a, *b;
    fc_str notes = {0};
    (void)state;
    make_tiny(gg_path("in.gguf"), &o);
    assert_ok(fc_tools_convert(gg_path("in.gguf"), gg_path("out.gguf"), FC_Q8_0, NULL, NULL, &notes, NULL));
    assert_non_null(strstr(notes.data,
                           "tensor blk.1.attn_q.weight stays F16: rows of 40 elements are no multiple of Q8_0's "
                           "block of 32\n"));
    assert_null(strstr(notes.data, "ffn_down")); /* rows of 64 */
    a = open_model(gg_path("in.gguf"));
    b = open_model(gg_path("out.gguf"));
    for (size_t t = 0; t < fc_weights_count(a); t++) {
        const fc_tensor *x = fc_weights_at(a, t), *y = fc_weights_find(b, x->name);
        assert_int_equal(y->dtype, x->n_dims == 1 ? FC_F32 : x->K == 40 ? FC_F16 : FC_Q8_0);
        assert_requantised(x, y);
    }
    fc_weights_close(a);
    fc_weights_close(b);
    fc_str_fini(&notes);
}

/* ---- from safetensors -------------------------------------------------------------------------------------- */

static const char *const models[] = {"llama",        "llama_linear",   "llama_llama3", "llama_yarn",   "llama_bias",
                                     "llama_reward", "mistral_window", "qwen2",        "qwen2_window", "qwen3",
                                     "qwen3_reward", "gemma2",         "gemma3",       "gemma3_types"};
enum { MODELS = sizeof models / sizeof models[0] };

static const char *model_path(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "tests/data/models/%s", name);
    return path;
}

/* Where GGUF's llama keeps row r: the two halves of a head are dealt out in turn. */
static int64_t dealt(const fc_model_config *c, int64_t r) {
    int64_t head = r / c->E, e = r % c->E, half = c->E / 2;
    return head * c->E + (e < half ? 2 * e : 2 * (e - half) + 1);
}

static void assert_same_values(const fc_weights *a, const fc_weights *b) {
    const fc_model_config *c = fc_weights_config(a);
    for (size_t t = 0; t < fc_weights_count(b); t++) {
        const fc_tensor *y = fc_weights_at(b, t), *x = fc_weights_find(a, y->name);
        bool rotated = fc_ends_with(y->name, "attn_q.weight") || fc_ends_with(y->name, "attn_k.weight") ||
                       fc_ends_with(y->name, "attn_q.bias") || fc_ends_with(y->name, "attn_k.bias");
        bool deal = rotated && strcmp(c->arch, "llama") == 0,
             plus = c->post_norms && fc_ends_with(y->name, "norm.weight");
        int64_t rows = x && x->n_dims == 1 ? x->K : y->N, width = x && x->n_dims == 1 ? 1 : y->K;
        if (!x) {
            assert_string_equal(y->name, "rope_freqs.weight");
            continue; /* logits tell */
        }
        assert_int_equal(y->dtype, FC_F32);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t k = 0; k < width; k++) {
                float u = ((const float *)x->data)[r * width + k],
                      v = ((const float *)y->data)[(deal ? dealt(c, r) : r) * width + k];
                if (v != (plus ? u + 1.0f : u))
                    fail_msg("%s: row %lld: %g became %g", y->name, (long long)r, (double)u, (double)v);
            }
    }
}

static void every_folder_converts(void **state) {
    (void)state;
    for (size_t i = 0; i < MODELS; i++) {
        fc_weights *a = open_model(model_path(models[i])), *b;
        convert(model_path(models[i]), gg_path("out.gguf"), FC_F32,
                "no tokenizer.json beside the model: the new file has no tokenizer\n");
        b = open_model(gg_path("out.gguf"));
        assert_same_config(models[i], *fc_weights_config(a), fc_weights_config(b));
        assert_same_values(a, b);
        fc_weights_close(a);
        fc_weights_close(b);
    }
}

/* If this fails, a classifier becomes a model with a tied head, and the engine lets it draw. */
static void a_classifier_stays_one(void **state) {
    static const char *const steps[] = {"tests/data/models/llama_reward", "once.gguf", "twice.gguf"};
    (void)state;
    for (int i = 0; i < 3; i++) {
        char in[256];
        fc_weights *w;
        snprintf(in, sizeof in, "%s", i ? gg_path(steps[i]) : steps[i]);
        w = open_model(in);
        assert_true(fc_weights_config(w)->reward_head && fc_weights_config(w)->no_lm_head);
        fc_weights_close(w);
        if (i < 2) assert_ok(fc_tools_convert(in, gg_path(steps[i + 1]), FC_F16, NULL, NULL, NULL, NULL));
    }
}

/* The engine computes the same from either file.
 * tolerance  3e-5 at logits of spread 3: llama's q and k are summed over a head in another order, gemma's norms add
 *            their 1 in another place, Llama 3's divisors are rounded once more; else the bits are the same */
static void logits_stay_the_same(void **state) {
    enum { N = 120, V = 320 };
    static float logits[2][N * V];
    int32_t ids[N];
    uint64_t seed = 17;
    (void)state;
    for (int i = 0; i < N; i++) ids[i] = test_below(&seed, V);
    for (size_t i = 0; i < MODELS; i++) {
        double most = 0.0;
        bool reward = fc_ends_with(models[i], "_reward");
        convert(model_path(models[i]), gg_path("out.gguf"), FC_F32,
                "no tokenizer.json beside the model: the new file has no tokenizer\n");
        for (int k = 0; k < 2; k++) {
            fc_probe_options o = {.threads = 1};
            fc_probe *p = NULL;
            assert_ok(fc_probe_open(k ? gg_path("out.gguf") : model_path(models[i]), &o, &p));
            assert_int_equal(fc_probe_config(p)->V, V);
            if (reward) assert_ok(fc_probe_reward(p, ids, N, logits[k]));
            else assert_ok(fc_probe_logits(p, ids, N, logits[k]));
            fc_probe_close(p);
        }
        for (int j = 0; j < (reward ? 1 : N * V); j++)
            most = fmax(most, fabs((double)logits[0][j] - (double)logits[1][j]));
        if (!(most <= 3e-5)) fail_msg("%s: logits differ by %g", models[i], most);
    }
}

/* ---- errors ------------------------------------------------------------------------------------------------ */

static void wrong_requests_are_named(void **state) {
    (void)state;
    make_tiny(gg_path("in.gguf"), &(fc_tiny_options){0});
    assert_fails(fc_tools_convert(gg_path("in.gguf"), gg_path("x.gguf"), FC_Q4_K, NULL, NULL, NULL, NULL), FC_ERR_ARG,
                 "type Q4_K");
    assert_fails(fc_tools_convert(gg_path("none.gguf"), gg_path("x.gguf"), FC_F16, NULL, NULL, NULL, NULL), FC_ERR_IO,
                 "none.gguf");
    assert_fails(fc_tools_convert(gg_path("in.gguf"), gg_path("in.gguf"), FC_F16, NULL, NULL, NULL, NULL), FC_ERR_ARG,
                 "the input itself");
    assert_fails(fc_tools_convert(model_path("qwen2"), gg_path("x.safetensors"), FC_F16, NULL, NULL, NULL, NULL),
                 FC_ERR_ARG, "GGUF");
    assert_false(fc_path_exists(gg_path("x.gguf")));
    fc_weights_close(open_model(gg_path("in.gguf"))); /* still whole */
}

/* Changes one F32 value of a GGUF file. */
static void poke(const char *path, const char *tensor, size_t element, float v) {
    fc_map map;
    fc_gguf g;
    long offset = 0;
    FILE *f;
    assert_ok(fc_map_open(path, &map));
    assert_ok(fc_gguf_parse(path, map.data, map.size, &g));
    for (size_t i = 0; i < g.n_tensors; i++)
        if (strcmp(g.tensors[i].name, tensor) == 0) offset = (const unsigned char *)g.tensors[i].data - map.data;
    assert_true(offset > 0);
    fc_gguf_fini(&g);
    fc_map_close(&map);
    f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, offset + (long)(element * sizeof v), SEEK_SET), 0);
    assert_int_equal(fwrite(&v, sizeof v, 1, f), 1);
    fclose(f);
}

static void values_that_do_not_fit_are_named(void **state) {
    (void)state;
    make_tiny(gg_path("in.gguf"), &(fc_tiny_options){0});
    poke(gg_path("in.gguf"), "blk.1.ffn_up.weight", 64 * 5 + 3, 70000.0f);
    assert_fails(fc_tools_convert(gg_path("in.gguf"), gg_path("x.gguf"), FC_F16, NULL, NULL, NULL, NULL), FC_ERR_FORMAT,
                 "in.gguf: tensor blk.1.ffn_up.weight, row 5: F16: element 3 is 70000");
    assert_ok(fc_tools_convert(gg_path("in.gguf"), gg_path("y.gguf"), FC_BF16, NULL, NULL, NULL, NULL));
    make_tiny(gg_path("in.gguf"), &(fc_tiny_options){0});
    poke(gg_path("in.gguf"), "blk.0.attn_norm.weight", 7, INFINITY);
    assert_fails(fc_tools_convert(gg_path("in.gguf"), gg_path("x.gguf"), FC_Q8_0, NULL, NULL, NULL, NULL),
                 FC_ERR_FORMAT, "tensor blk.0.attn_norm.weight: element 7 is inf");
    assert_false(fc_path_exists(gg_path("x.gguf")));
}

/* lm_head of a model whose head is tied: the file would be another model with it. */
static void unused_tensors_are_left_out_and_named(void **state) {
    static const char config[] =
        "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":32,\"intermediate_size\":48,\"num_hidden_layers\":1,"
        "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"vocab_size\":24,\"tie_word_embeddings\":true}";
    st_file f = {.seed = 7};
    fc_str bytes = {0};
    fc_weights *w;
    (void)state;
    st_llama(&f, "F32", 0);
    st_finish(&f, 8, &bytes);
    gg_write(gg_path("model.safetensors"), bytes.data, bytes.size);
    gg_write(gg_path("config.json"), config, sizeof config - 1);
    remove(gg_path("tokenizer.json"));
    remove(gg_path("tokenizer_config.json"));
    remove(gg_path("chat_template.jinja"));
    convert(gg_path("model.safetensors"), gg_path("out.gguf"), FC_F32,
            "no tokenizer.json beside the model: the new file has no tokenizer\n"
            "tensor lm_head.weight is left out: architecture llama as configured does not use it\n");
    w = open_model(gg_path("out.gguf"));
    assert_true(fc_weights_config(w)->tied);
    fc_weights_close(w);
    fc_str_fini(&bytes);
    st_fini(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_to_every_type),
        cmocka_unit_test(metadata_is_copied),
        cmocka_unit_test(rows_that_do_not_fit_stay_f16),
        cmocka_unit_test(every_folder_converts),
        cmocka_unit_test(a_classifier_stays_one),
        cmocka_unit_test(logits_stay_the_same),
        cmocka_unit_test(wrong_requests_are_named),
        cmocka_unit_test(values_that_do_not_fit_are_named),
        cmocka_unit_test(unused_tensors_are_left_out_and_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
