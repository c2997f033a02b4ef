/* Logits of tiny random models against transformers in float32 (tests/oracle/parity_golden.py), and that every flag of
 * the configuration is needed for it: with any one taken out the logits are far away.
 *
 * tolerance  1e-4 absolute on logits with a spread of 3: transformers' own float32 is up to 2.4e-5 from its float64
 */
#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/probe.h"
#include "kernels/cpu/cpu.h"
#include "tests/util.h"

#define FOLDER "tests/data/models/"

static const char *folder = FOLDER; /* or the one that test_live_oracle.py has made */

enum { MAX_T = 256, MAX_ROWS = 8, MAX_COLUMNS = 64, MAX_SCORES = 8 };

static const char *const models[] = {"llama",      "llama_linear",   "llama_llama3", "llama_yarn",
                                     "llama_bias", "mistral_window", "qwen2",        "qwen2_window",
                                     "qwen3",      "gemma2",         "gemma3",       "gemma3_types"};
static const char *const reward_models[] = {"llama_reward", "qwen3_reward"};

/* What transformers answered. */
typedef struct {
    int32_t ids[MAX_T], columns[MAX_COLUMNS], rows[MAX_ROWS], lengths[MAX_SCORES];
    int T, n_columns, n_rows, n_scores;
    float scores[MAX_SCORES];
    char *bytes;            /* golden.bin, freed with fc_free */
    const float *at_column; /* [T,n_columns] */
    const float *at_row;    /* [n_rows,V]    */
} golden;

static const fc_json *need(const fc_json *n, const char *key) {
    const fc_json *x = fc_json_get(n, key);
    if (!x) fail_msg("no key %s in a golden file", key);
    return x;
}

static int read_ints(const fc_json *list, int32_t *out, int room) {
    int n = 0;
    for (const fc_json *x = fc_json_first(list); x; x = fc_json_next(x)) {
        int64_t v;
        assert_ok(fc_json_int(x, 0, INT32_MAX, &v));
        assert_true(n < room);
        out[n++] = (int32_t)v;
    }
    return n;
}

static void golden_open(const char *model, int V, golden *g) {
    char path[512];
    fc_json_doc *doc;
    const fc_json *root, *scores;
    size_t size;
    memset(g, 0, sizeof *g);
    snprintf(path, sizeof path, "%s%s/golden.json", folder, model);
    assert_ok(fc_json_open(path, 1 << 20, &doc));
    root = fc_json_root(doc);
    g->T = read_ints(need(root, "ids"), g->ids, MAX_T);
    if ((scores = fc_json_get(root, "scores"))) {
        for (const fc_json *x = fc_json_first(scores); x; x = fc_json_next(x)) {
            int64_t n;
            double score;
            assert_true(g->n_scores < MAX_SCORES);
            assert_ok(fc_json_int(need(x, "n"), 1, g->T, &n));
            assert_ok(fc_json_double(need(x, "score"), &score));
            g->lengths[g->n_scores] = (int32_t)n;
            g->scores[g->n_scores++] = (float)score;
        }
    } else {
        g->n_columns = read_ints(need(root, "columns"), g->columns, MAX_COLUMNS);
        g->n_rows = read_ints(need(root, "rows"), g->rows, MAX_ROWS);
        snprintf(path, sizeof path, "%s%s/golden.bin", folder, model);
        assert_ok(fc_file_read(path, 1 << 20, &g->bytes, &size));
        assert_int_equal(size, sizeof(float) * (size_t)(g->T * g->n_columns + g->n_rows * V));
        g->at_column = (const float *)(const void *)g->bytes;
        g->at_row = g->at_column + g->T * g->n_columns;
    }
    fc_json_close(doc);
}

static void worse(double *most, float a, float b) {
    double d = fabs((double)a - (double)b);
    if (!(d <= *most)) *most = d; /* a NaN stays */
}

/* Largest distance from the golden logits, or scores. */
static double distance(fc_probe *p, const golden *g) {
    int V = fc_probe_config(p)->V;
    double most = 0;
    if (g->n_scores) {
        for (int i = 0; i < g->n_scores; i++) {
            float score;
            assert_ok(fc_probe_reward(p, g->ids, g->lengths[i], &score));
            worse(&most, score, g->scores[i]);
        }
        return most;
    }
    float *logits = malloc(sizeof *logits * (size_t)g->T * (size_t)V);
    assert_non_null(logits);
    assert_ok(fc_probe_logits(p, g->ids, g->T, logits));
    for (int t = 0; t < g->T; t++)
        for (int k = 0; k < g->n_columns; k++)
            worse(&most, logits[t * V + g->columns[k]], g->at_column[t * g->n_columns + k]);
    for (int r = 0; r < g->n_rows; r++)
        for (int v = 0; v < V; v++) worse(&most, logits[g->rows[r] * V + v], g->at_row[r * V + v]);
    free(logits);
    return most;
}

static double distance_of(const char *model, const fc_probe_options *o) {
    char path[512];
    golden g;
    fc_probe *p;
    snprintf(path, sizeof path, "%s%s", folder, model);
    assert_ok(fc_probe_open(path, o, &p));
    golden_open(model, fc_probe_config(p)->V, &g);
    double d = distance(p, &g);
    fc_free(g.bytes);
    fc_probe_close(p);
    return d;
}

static void near_at_every_level(const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++) {
        for (fc_cpu_level level = FC_CPU_PORTABLE; level <= fc_cpu_best(); level++) {
            const fc_probe_options whole = {.cpu = fc_cpu_level_name(level), .max_rows = 256, .threads = 1};
            const fc_probe_options chunks = {
                .cpu = fc_cpu_level_name(level), .max_rows = 37, .page_slots = 8, .threads = 2};
            double a = distance_of(names[i], &whole), b = distance_of(names[i], &chunks);
            printf("%-15s %-8s %.2e at once, %.2e in chunks of 37\n", names[i], whole.cpu, a, b);
            if (!(a <= 1e-4) || !(b <= 1e-4))
                fail_msg("%s at %s: %g, in chunks %g, away from transformers", names[i], whole.cpu, a, b);
        }
    }
}

/* If this fails, a family is computed differently from the implementation that people trust. */
static void logits_equal_transformers(void **state) {
    (void)state;
    near_at_every_level(models, sizeof models / sizeof *models);
}

static void rewards_equal_transformers(void **state) {
    (void)state;
    near_at_every_level(reward_models, sizeof reward_models / sizeof *reward_models);
}

/* ---- one feature taken out at a time --------------------------------------------------------------------- */

static void no_scaling(fc_model_config *c) { c->rope_scaling = FC_ROPE_NONE; }
static void half_factor(fc_model_config *c) { c->rope_factor /= 2; }
static void double_original(fc_model_config *c) { c->rope_original_ctx *= 2; }
static void low_freq(fc_model_config *c) { c->rope_low_freq *= 2; }
static void high_freq(fc_model_config *c) { c->rope_high_freq *= 2; }
static void beta_fast(fc_model_config *c) { c->rope_beta_fast = 32; } /* the default */
static void beta_slow(fc_model_config *c) { c->rope_beta_slow = 1; }
static void no_attn_factor(fc_model_config *c) { c->rope_attn_factor = 1; }
static void double_theta(fc_model_config *c) { c->rope_theta *= 2, c->rope_theta_local *= 2; }
static void one_theta(fc_model_config *c) { c->rope_theta_local = c->rope_theta; }
static void scaled_local(fc_model_config *c) { c->rope_local_own = false; }
static void half_rotated(fc_model_config *c) { c->rope_dim /= 2; }
static void other_pairs(fc_model_config *c) { c->rope_interleaved = !c->rope_interleaved; }
static void no_qkv_bias(fc_model_config *c) { c->qkv_bias = false; }
static void no_out_bias(fc_model_config *c) { c->out_bias = false; }
static void no_qk_norm(fc_model_config *c) { c->qk_norm = false; }
static void no_post_norms(fc_model_config *c) { c->post_norms = false; }
static void no_plus_one(fc_model_config *c) { c->norm_plus_one = false; }
static void silu(fc_model_config *c) { c->gelu_tanh = false; }
static void gelu(fc_model_config *c) { c->gelu_tanh = true; }
static void no_embed_scale(fc_model_config *c) { c->embed_scale = false; }
static void small_eps(fc_model_config *c) { c->norm_eps = 1e-6f; }
static void tied(fc_model_config *c) { c->tied = true; }
static void scale_of_width(fc_model_config *c) { c->attn_scale = 1.0f / sqrtf((float)c->D / (float)c->H); }
static void scale_of_head(fc_model_config *c) { c->attn_scale = 1.0f / sqrtf((float)c->E); }
static void no_attn_cap(fc_model_config *c) { c->attn_soft_cap = 0; }
static void no_final_cap(fc_model_config *c) { c->final_soft_cap = 0; }
static void no_window(fc_model_config *c) { c->window = 0; }
static void window_less(fc_model_config *c) { c->window--; }
static void window_more(fc_model_config *c) { c->window++; }
static void first_layer(fc_model_config *c) { c->local[0] = !c->local[0]; }
static void last_layer(fc_model_config *c) { c->local[c->L - 1] = !c->local[c->L - 1]; }

static const struct {
    const char *model, *what;
    void (*edit)(fc_model_config *c);
} mutations[] = {
    {"llama", "norm_eps", small_eps},
    {"llama", "rope_theta", double_theta},
    {"llama", "scale from head_dim, not D/H", scale_of_width},
    {"llama", "rope_dim", half_rotated},
    {"llama", "pairs of halves", other_pairs},
    {"llama", "SwiGLU", gelu},
    {"llama", "a head of its own", tied},
    {"llama_linear", "linear scaling", no_scaling},
    {"llama_linear", "its factor", half_factor},
    {"llama_llama3", "llama3 scaling", no_scaling},
    {"llama_llama3", "its factor", half_factor},
    {"llama_llama3", "its low frequency", low_freq},
    {"llama_llama3", "its high frequency", high_freq},
    {"llama_llama3", "its original context", double_original},
    {"llama_yarn", "YaRN", no_scaling},
    {"llama_yarn", "its factor", half_factor},
    {"llama_yarn", "its beta_fast", beta_fast},
    {"llama_yarn", "its beta_slow", beta_slow},
    {"llama_yarn", "its attention factor", no_attn_factor},
    {"llama_yarn", "its original context", double_original},
    {"llama_bias", "biases of q, k, v", no_qkv_bias},
    {"llama_bias", "bias of the output", no_out_bias},
    {"mistral_window", "window", no_window},
    {"mistral_window", "window not one less", window_less},
    {"mistral_window", "window not one more", window_more},
    {"mistral_window", "window on the first layer", first_layer},
    {"mistral_window", "window on the last layer", last_layer},
    {"qwen2", "biases", no_qkv_bias},
    {"qwen2", "rope_theta", double_theta},
    {"qwen2_window", "window", no_window},
    {"qwen2_window", "no window on the first layer", first_layer},
    {"qwen2_window", "window on the last layer", last_layer},
    {"qwen3", "q/k norm", no_qk_norm},
    {"qwen3", "scale from head_dim, not D/H", scale_of_width},
    {"gemma2", "attention soft cap", no_attn_cap},
    {"gemma2", "final soft cap", no_final_cap},
    {"gemma2", "window", no_window},
    {"gemma2", "window not one more", window_more},
    {"gemma2", "window on the first layer", first_layer},
    {"gemma2", "window on the last layer", last_layer},
    {"gemma2", "post-norms", no_post_norms},
    {"gemma2", "norms of 1 + w", no_plus_one},
    {"gemma2", "GeGLU", silu},
    {"gemma2", "embedding scale", no_embed_scale},
    {"gemma2", "query_pre_attn_scalar", scale_of_head},
    {"gemma3", "q/k norm", no_qk_norm},
    {"gemma3", "post-norms", no_post_norms},
    {"gemma3", "norms of 1 + w", no_plus_one},
    {"gemma3", "GeGLU", silu},
    {"gemma3", "embedding scale", no_embed_scale},
    {"gemma3", "local rotary base", one_theta},
    {"gemma3", "linear scaling of global layers", no_scaling},
    {"gemma3", "unscaled local layers", scaled_local},
    {"gemma3", "window", no_window},
    {"gemma3", "kind of the first layer", first_layer},
    {"gemma3", "kind of the last layer", last_layer},
    {"gemma3", "query_pre_attn_scalar", scale_of_head},
    {"gemma3_types", "local rotary base", one_theta},
    {"gemma3_types", "kind of the first layer", first_layer},
    {"gemma3_types", "window not one less", window_less},
    {"llama_reward", "rope_theta", double_theta},
    {"qwen3_reward", "q/k norm", no_qk_norm},
};

static void edit(fc_model_config *c, void *arg) { mutations[*(const size_t *)arg].edit(c); }

/* If this fails, the test above would stay green while the named feature is broken. */
static void every_feature_is_needed(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof mutations / sizeof *mutations; i++) {
        fc_probe_options o = {.threads = 1, .max_rows = 256, .edit = edit, .arg = &i};
        double d = distance_of(mutations[i].model, &o);
        printf("%-15s without %-30s %.2e\n", mutations[i].model, mutations[i].what, d);
        if (d <= 1e-3) fail_msg("%s: without %s the logits stay within %g", mutations[i].model, mutations[i].what, d);
    }
}

static void probe_refuses_nonsense(void **state) {
    (void)state;
    fc_probe *p;
    float logits[320];
    int32_t id = 320;
    assert_fails(fc_probe_open(FOLDER "none", &(fc_probe_options){0}, &p), FC_ERR_IO, "none");
    assert_fails(fc_probe_open(FOLDER "llama", &(fc_probe_options){.cpu = "z80"}, &p), FC_ERR_ARG, "z80");
    assert_ok(fc_probe_open(FOLDER "llama", &(fc_probe_options){.threads = 1}, &p));
    assert_fails(fc_probe_logits(p, &id, 1, logits), FC_ERR_ARG, "320");
    assert_fails(fc_probe_logits(p, &id, 0, logits), FC_ERR_ARG, "0 ids");
    assert_fails(fc_probe_reward(p, &id, 1, logits), FC_ERR_UNSUPPORTED, "reward head");
    fc_probe_close(p);
    fc_probe_close(NULL);
}

static size_t n_named;
static const char *const *named;

static void named_models_equal_transformers(void **state) {
    (void)state;
    near_at_every_level(named, n_named);
}

/* With arguments FOLDER/ NAME...: those models alone. */
int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_equal_transformers), cmocka_unit_test(rewards_equal_transformers),
        cmocka_unit_test(every_feature_is_needed), cmocka_unit_test(probe_refuses_nonsense)};
    const struct CMUnitTest live[] = {cmocka_unit_test(named_models_equal_transformers)};
    if (argc < 3) return cmocka_run_group_tests(tests, NULL, NULL);
    folder = argv[1];
    named = (const char *const *)(argv + 2);
    n_named = (size_t)argc - 2;
    return cmocka_run_group_tests(live, NULL, NULL);
}
