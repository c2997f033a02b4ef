/* Random models: every family in every type opens with the configuration that was asked for; sizes are the published
 * ones; logits have the spread that was asked for; the tokenizer is one that works. */
#include "tests/util.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/quant.h"
#include "engine/model_tok.h"
#include "engine/probe.h"
#include "tests/weights/util_gguf.h"
#include "tokenizer/chat.h"
#include "weights_tools/config_read.h"
#include "weights_tools/layout.h"
#include "weights_tools/tiny_presets.h"
#include "weights_tools/tools.h"
#include "weights_tools/weights.h"

static const char *const families[] = {"llama", "qwen2", "qwen3", "gemma2", "gemma3"};
static const fc_dtype types[] = {FC_F32, FC_F16, FC_BF16, FC_Q8_0, FC_Q4_0};

static fc_weights *make(const fc_tiny_options *o) {
    fc_weights *w = NULL;
    assert_ok(fc_tools_tiny(o, gg_path("tiny.gguf"), NULL, NULL));
    assert_ok(fc_weights_open(gg_path("tiny.gguf"), &w));
    return w;
}

static void *values_of(const fc_tensor *t) {
    void *p;
    size_t row = t->bytes / (size_t)t->N;
    assert_ok(fc_alloc((size_t)(t->N * t->K), sizeof(float), t->name, &p));
    for (int64_t r = 0; r < t->N; r++)
        assert_ok(
            fc_dequant_row(t->dtype, (const char *)t->data + (size_t)r * row, (float *)p + r * t->K, (size_t)t->K));
    return p;
}

static void each_family_opens_in_each_type(void **state) {
    (void)state;
    for (size_t f = 0; f < 5; f++)
        for (size_t t = 0; t < 5; t++) {
            fc_tiny_options o = {.arch = families[f], .type = types[t], .seed = 3, .reward_head = t == 1};
            fc_weights *w = make(&o);
            const fc_model_config *c = fc_weights_config(w);
            bool gemma = f >= 3;
            fc_meta m;
            assert_string_equal(c->arch, families[f]);
            assert_true(c->V == 512 && c->D == 64 && c->L == (f == 4 ? 6 : 2) && c->H == 4 && c->F == 128 &&
                        c->ctx == 256);
            assert_int_equal(c->G, f == 4 ? 1 : 2);
            assert_int_equal(c->E, f < 2 ? 16 : 32); /* apart from D/H in three of them */
            assert_int_equal(c->rope_interleaved, f == 0);
            assert_int_equal(c->qkv_bias, f == 1);
            assert_int_equal(c->qk_norm, f == 2 || f == 4);
            assert_int_equal(c->post_norms, gemma);
            assert_int_equal(c->gelu_tanh, gemma);
            assert_int_equal(c->embed_scale, gemma);
            assert_int_equal(c->norm_plus_one, false);
            assert_int_equal(c->tied, f != 0);
            assert_int_equal(c->window, gemma ? 64 : 0);
            for (int i = 0; i < c->L; i++) assert_int_equal(c->local[i], f == 3 ? i == 0 : f == 4 ? i < 5 : 0);
            assert_true(c->rope_theta_local == (f == 4 ? 1e4f : c->rope_theta));
            assert_int_equal(fc_weights_meta(w, "gemma3.rope.freq_base_swa", &m), f == 4);
            assert_true(c->attn_soft_cap == (f == 3 ? 50.0f : 0.0f) && c->final_soft_cap == (f == 3 ? 30.0f : 0.0f));
            assert_true(c->attn_scale == 1.0f / sqrtf((float)c->E));
            assert_int_equal(c->reward_head, t == 1);
            assert_int_equal(c->bos, 0);
            assert_int_equal(c->eos[0], 2);
            assert_true(fc_weights_meta(w, "general.file_type", &m));
            assert_int_equal(m.i, ((const int[]){0, 1, 32, 7, 2})[t]);
            for (size_t i = 0; i < fc_weights_count(w); i++) {
                const fc_tensor *x = fc_weights_at(w, i);
                bool plain = x->n_dims == 1 || strcmp(x->name, "score.weight") == 0;
                assert_int_equal(x->dtype, plain ? FC_F32 : types[t]);
            }
            fc_weights_close(w);
        }
}

static void the_default_is_about_a_megabyte(void **state) {
    char *text;
    size_t size;
    (void)state;
    for (size_t f = 0; f < 5; f++) {
        fc_tiny_options o = {.arch = families[f]};
        fc_weights_close(make(&o));
        assert_ok(fc_file_read(gg_path("tiny.gguf"), 1 << 24, &text, &size));
        assert_in_range(size, 400000, 1400000);
        fc_free(text);
    }
}

/* If this fails, nobody can repeat a measurement on random weights. */
static void a_seed_says_everything(void **state) {
    fc_tiny_options o = {.seed = 5};
    char *text[3];
    size_t size[3];
    fc_weights *w, *other;
    const fc_tensor *a, *b;
    (void)state;
    for (int i = 0; i < 3; i++) {
        o.seed = i < 2 ? 5 : 6;
        assert_ok(fc_tools_tiny(&o, gg_path("seed.gguf"), NULL, NULL));
        assert_ok(fc_file_read(gg_path("seed.gguf"), 1 << 24, &text[i], &size[i]));
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(text[0], text[1], size[0]);
    assert_int_equal(size[0], size[2]); /* the same tokenizer, other weights */
    assert_memory_not_equal(text[0], text[2], size[0]);
    for (int i = 0; i < 3; i++) fc_free(text[i]);
    /* a type rounds the same values */
    o.type = FC_Q8_0;
    other = make(&o);
    assert_ok(fc_weights_open(gg_path("seed.gguf"), &w));
    for (size_t i = 0; i < fc_weights_count(w); i++) {
        unsigned char packed[512];
        a = fc_weights_at(w, i);
        assert_ok(fc_weights_need(other, a->name, a->N, a->K, &b));
        for (int64_t r = 0; r < a->N; r++) {
            size_t row = b->bytes / (size_t)b->N;
            assert_ok(fc_quant_row(b->dtype, (const float *)a->data + r * a->K, packed, (size_t)a->K));
            assert_memory_equal(packed, (const char *)b->data + (size_t)r * row, row);
        }
    }
    fc_weights_close(w);
    fc_weights_close(other);
}

/* Parameters that each model's publisher counts. */
static void presets_have_the_published_sizes(void **state) {
    static const struct {
        const char *name;
        long long parameters;
    } published[] = {
        {"smollm2-135m", 134515008},  {"smollm2-360m", 361821120},  {"smollm2-1.7b", 1711376384},
        {"qwen2.5-0.5b", 494032768},  {"qwen2.5-7b", 7615616512},   {"qwen3-0.6b", 596049920},
        {"qwen3-1.7b", 1720574976},   {"qwen3-8b", 8190735360},     {"llama-3.2-1b", 1235814400},
        {"llama-3.2-3b", 3212749824}, {"llama-3.1-8b", 8030261248}, {"mistral-7b-v0.3", 7248023552},
        {"gemma-2-2b", 2614341888},   {"gemma-2-9b", 9241705984},   {"gemma-3-1b", 999885952},
    };
    const char *const *names = fc_tools_tiny_presets();
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        fc_model_config c;
        fc_layout_entry e;
        long long n = 0;
        assert_non_null(names[i]);
        assert_string_equal(names[i], published[i].name);
        assert_ok(fc_tiny_preset(NULL, names[i], &c));
        for (size_t k = 0; k < fc_layout_count(&c); k++) {
            fc_layout_at(&c, k, &e);
            n += e.N * e.K;
        }
        if (n != published[i].parameters)
            fail_msg("%s: %lld parameters, not %lld", names[i], n, published[i].parameters);
    }
    assert_null(names[sizeof published / sizeof published[0]]);
}

/* A preset cut down in depth and vocabulary keeps the rest of its shape, rope scaling included. */
static void presets_can_be_cut_down(void **state) {
    for (const char *const *name = fc_tools_tiny_presets(); *name; name++) {
        fc_tiny_options o = {
            .like = *name, .L = 1, .V = 320, .D = 32, .F = 32, .E = 32, .H = 4, .G = 2, .type = FC_Q4_0};
        bool scaled = strncmp(*name, "llama-3", 7) == 0;
        fc_weights *w = make(&o);
        const fc_model_config *c = fc_weights_config(w);
        const fc_tensor *t;
        assert_true(c->V == 320 && c->L == 1 && c->D == 32 && c->H == 4 && c->G == 2 && c->E == 32 && c->F == 32);
        assert_true(c->ctx >= 8192);
        assert_int_equal(c->rope_freqs_tensor, scaled);
        if (scaled) {
            float factor = strstr(*name, "3.1") ? 8.0f : 32.0f;
            const float *d;
            assert_ok(fc_weights_need(w, "rope_freqs.weight", 1, 16, &t));
            d = t->data;
            assert_true(d[0] == 1.0f && d[15] == factor); /* the fastest stay, the slowest are divided */
            for (int i = 1; i < 16; i++) assert_true(d[i] >= d[i - 1]);
        }
        fc_weights_close(w);
    }
    (void)state;
}

static void sizes_that_follow_are_made_to_fit(void **state) {
    fc_weights *w = make(&(fc_tiny_options){.H = 3}); /* the default of two KV heads does not divide it */
    (void)state;
    assert_int_equal(fc_weights_config(w)->G, 3);
    assert_int_equal(fc_weights_config(w)->E, 20); /* D/H, even */
    fc_weights_close(w);
}

/* If this fails, a family of the README cannot be made by its own name. */
static void families_have_their_own_names(void **state) {
    static const char *const names[][2] = {
        {"mistral", "llama"}, {"smollm2", "llama"}, {"qwen2.5", "qwen2"}, {"gemma3", "gemma3"}};
    fc_model_config c;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_ok(fc_tiny_preset(names[i][0], NULL, &c));
        assert_string_equal(c.arch, names[i][1]);
    }
    assert_ok(fc_tiny_preset("mistral", "mistral-7b-v0.3", &c));
    assert_fails(fc_tiny_preset("mistral", "gemma-2-2b", &c), FC_ERR_ARG, "is of architecture gemma2, not llama");
}

static void wrong_options_are_named(void **state) {
    static const struct {
        fc_tiny_options o;
        const char *words;
    } cases[] = {
        {{.V = 299}, "vocab is 299"},
        {{.L = -1}, "layers is -1"},
        {{.window = -5}, "window is -5"},
        {{.logit_std = -1.0f}, "logit spread of -1"},
        {{.logit_std = NAN}, "logit spread of nan"},
        {{.type = FC_Q6_K}, "type Q6_K"},
        {{.like = "gpt-9"}, "preset \"gpt-9\" is unknown; there are smollm2-135m, "},
        {{.like = "gemma-2-2b", .arch = "llama"}, "is of architecture gemma2, not llama"},
        {{.E = 15}, "head dimension is odd: 15"},
        {{.H = 6, .G = 4, .E = 16}, "6 heads are no multiple of 4"},
        {{.D = 4, .H = 4}, "dim 4 and heads 4 leave 0 for the dimension of a head"},
        {{.L = 513}, "513"},
        {{.arch = "rwkv"}, "architecture \"rwkv\"; llama, qwen2"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_fails(fc_tools_tiny(&cases[i].o, gg_path("never.gguf"), NULL, NULL), FC_ERR_ARG, cases[i].words);
    assert_false(fc_path_exists(gg_path("never.gguf")));
}

/* ---- tokenizer --------------------------------------------------------------------------------------------- */

static int32_t find(const fc_view_str *tokens, int V, const char *text, size_t size) {
    for (int i = 0; i < V; i++)
        if (tokens[i].size == size && memcmp(tokens[i].text, text, size) == 0) return i;
    return -1;
}

/* Each merge makes one new token of two earlier ones, and no text is there twice. */
static void merges_build_on_each_other(void **state) {
    enum { V = 1500, FIRST = 259 };
    fc_tiny_options o = {.V = V};
    fc_weights *w = make(&o);
    static fc_view_str tokens[V], merges[V - FIRST];
    int letters = 0;
    (void)state;
    assert_ok(fc_weights_meta_strings(w, "tokenizer.ggml.tokens", tokens, V));
    assert_ok(fc_weights_meta_strings(w, "tokenizer.ggml.merges", merges, V - FIRST));
    for (int i = 0; i < V; i++) assert_int_equal(find(tokens, V, tokens[i].text, tokens[i].size), i);
    for (int i = 0; i < V - FIRST; i++) {
        const char *blank = memchr(merges[i].text, ' ', merges[i].size);
        size_t left = (size_t)(blank - merges[i].text), right = merges[i].size - left - 1;
        const fc_view_str *whole = &tokens[FIRST + i];
        int32_t a, b;
        assert_non_null(blank);
        a = find(tokens, V, merges[i].text, left);
        b = find(tokens, V, blank + 1, right);
        assert_true(a >= 3 && a < FIRST + i && b >= 3 && b < FIRST + i);
        assert_int_equal(whole->size, left + right);
        assert_memory_equal(whole->text, merges[i].text, left);
        assert_memory_equal(whole->text + left, blank + 1, right);
        letters += memcmp(whole->text, "\xC4\xA0", 2) == 0; /* a word's beginning */
    }
    assert_true(letters > (V - FIRST) / 2);
    fc_weights_close(w);
}

/* Every token of a merge is reachable: its text comes back as itself. Any bytes go there and back. */
static void the_tokenizer_works(void **state) {
    fc_tiny_options o = {.V = 3000};
    fc_weights *w = make(&o);
    fc_tok *tok = NULL;
    int32_t *ids = NULL;
    size_t n = 0, cap = 0, reached = 0;
    fc_str text = {0}, back = {0};
    fc_chat_template chat;
    uint64_t seed = 9;
    (void)state;
    assert_ok(fc_model_tok_open(w, &tok));
    assert_int_equal(fc_tok_size(tok), 3000);
    assert_int_equal(fc_tok_eos(tok), 2);
    assert_int_equal(fc_tok_find(tok, "<|im_start|>"), 1);
    assert_true(fc_tok_is_special(tok, 2));
    for (int32_t id = 259; id < 3000; id++) {
        fc_str_clear(&text);
        n = 0;
        assert_ok(fc_tok_piece(tok, id, false, &text));
        assert_ok(fc_tok_encode(tok, text.data, text.size, 0, &ids, &n, &cap));
        reached += n == 1 && ids[0] == id;
    }
    assert_int_equal(reached, 3000 - 259);
    fc_str_clear(&text);
    for (int i = 0; i < 2000; i++) {
        char byte = (char)(1 + fc_rng_next(&seed) % 255);
        gg_put(&text, &byte, 1);
    }
    n = 0;
    assert_ok(fc_tok_encode(tok, text.data, text.size, 0, &ids, &n, &cap));
    assert_ok(fc_tok_decode(tok, ids, n, false, &back));
    assert_int_equal(back.size, text.size);
    assert_memory_equal(back.data, text.data, text.size);
    fc_str_clear(&text);
    assert_ok(fc_weights_chat_template(w, &text));
    assert_ok(fc_chat_recognise(text.data, text.size, &chat));
    assert_int_equal(chat.family, FC_CHAT_CHATML);
    fc_free(ids);
    fc_str_fini(&text);
    fc_str_fini(&back);
    fc_tok_close(tok);
    fc_weights_close(w);
}

static int by_text(const void *a, const void *b) {
    const fc_view_str *x = a, *y = b;
    int order = memcmp(x->text, y->text, x->size < y->size ? x->size : y->size);
    return order ? order : (x->size > y->size) - (x->size < y->size);
}

/* Made-up words run into each other; no token may come twice. */
static void large_vocabularies_are_filled(void **state) {
    enum { V = 60000 };
    static fc_view_str tokens[V];
    fc_tiny_options o = {.V = V, .D = 32, .L = 1, .F = 32, .type = FC_Q4_0};
    fc_weights *w = make(&o);
    fc_meta m;
    (void)state;
    assert_ok(fc_weights_meta_strings(w, "tokenizer.ggml.tokens", tokens, V));
    qsort(tokens, V, sizeof *tokens, by_text);
    for (int i = 1; i < V; i++) assert_true(by_text(&tokens[i - 1], &tokens[i]) < 0);
    assert_true(fc_weights_meta(w, "tokenizer.ggml.merges", &m));
    assert_int_equal(m.count, V - 259);
    fc_weights_close(w);
}

/* ---- numbers ----------------------------------------------------------------------------------------------- */

static void weights_have_their_spread(void **state) {
    fc_tiny_options o = {.arch = "llama", .seed = 8, .logit_std = 3.0f};
    fc_weights *w = make(&o);
    const fc_tensor *t;
    double sum = 0.0, squares = 0.0;
    float *x;
    size_t n;
    (void)state;
    assert_ok(fc_weights_need(w, "output.weight", 512, 64, &t));
    x = values_of(t);
    n = (size_t)(t->N * t->K);
    for (size_t i = 0; i < n; i++) sum += (double)x[i], squares += (double)x[i] * (double)x[i];
    fc_free(x);
    /* 32768 uniform numbers: the mean's own deviation is 0.002, the spread's 0.2 % */
    assert_true(fabs(sum / (double)n) < 0.01);
    assert_true(fabs(sqrt(squares / (double)n) - 3.0 / 8.0) < 0.005);
    fc_weights_close(w);
}

/* If this fails, draws from random models are uniform, or one token wins always: neither tests sampling. */
static void logits_have_the_spread_that_was_asked_for(void **state) {
    enum { N = 48 };
    static const float wanted[] = {0.0f, 4.0f};
    (void)state;
    for (size_t f = 0; f < 5; f++)
        for (size_t k = 0; k < 2; k++) {
            fc_tiny_options o = {.arch = families[f], .seed = 21 + k, .logit_std = wanted[k]};
            fc_probe_options po = {.threads = 1};
            fc_probe *p = NULL;
            int32_t ids[N];
            uint64_t seed = 4;
            static float logits[N * 512];
            double spread = 0.0, own = 0.0, want = wanted[k] > 0.0f ? (double)wanted[k] : 2.0;
            assert_ok(fc_tools_tiny(&o, gg_path("spread.gguf"), NULL, NULL));
            assert_ok(fc_probe_open(gg_path("spread.gguf"), &po, &p));
            for (int i = 0; i < N; i++) ids[i] = test_below(&seed, 512);
            assert_ok(fc_probe_logits(p, ids, N, logits));
            for (int i = 0; i < N; i++) {
                double sum = 0.0, squares = 0.0, mean, s;
                for (int v = 0; v < 512; v++) {
                    double l = (double)logits[i * 512 + v];
                    sum += l;
                    squares += l * l;
                }
                mean = sum / 512;
                s = sqrt(squares / 512 - mean * mean);
                spread += s / N;
                own += ((double)logits[i * 512 + ids[i]] - mean) / s / N;
            }
            print_message("%s: spread %.2f, wanted %.2f; input token's own logit %.2f spreads above the mean\n",
                          families[f], spread, want, own);
            assert_true(spread > 0.75 * want && spread < 1.3 * want);
            assert_true(fabs(own) < 2.0); /* a tied head must not only repeat its input */
            fc_probe_close(p);
        }
}

static void a_reward_head_gives_scores_of_unit_size(void **state) {
    double squares = 0.0;
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        fc_tiny_options o = {.seed = seed, .reward_head = true};
        fc_probe_options po = {.threads = 1};
        fc_probe *p = NULL;
        const int32_t ids[] = {300, 301, 302};
        float score;
        assert_ok(fc_tools_tiny(&o, gg_path("reward.gguf"), NULL, NULL));
        assert_ok(fc_probe_open(gg_path("reward.gguf"), &po, &p));
        assert_ok(fc_probe_reward(p, ids, 3, &score));
        squares += (double)score * (double)score;
        fc_probe_close(p);
    }
    assert_true(squares / 8 > 0.05 && squares / 8 < 5.0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_family_opens_in_each_type),
        cmocka_unit_test(the_default_is_about_a_megabyte),
        cmocka_unit_test(a_seed_says_everything),
        cmocka_unit_test(presets_have_the_published_sizes),
        cmocka_unit_test(presets_can_be_cut_down),
        cmocka_unit_test(sizes_that_follow_are_made_to_fit),
        cmocka_unit_test(families_have_their_own_names),
        cmocka_unit_test(wrong_options_are_named),
        cmocka_unit_test(merges_build_on_each_other),
        cmocka_unit_test(the_tokenizer_works),
        cmocka_unit_test(large_vocabularies_are_filled),
        cmocka_unit_test(weights_have_their_spread),
        cmocka_unit_test(logits_have_the_spread_that_was_asked_for),
        cmocka_unit_test(a_reward_head_gives_scores_of_unit_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
