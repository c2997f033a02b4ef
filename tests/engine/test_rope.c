/* Rotary frequencies: which layers a configuration scales, against base^(-2i/R) written out. */
#include "engine/base/json.h"
#include "engine/model.h"
#include "tests/util.h"
#include "weights_tools/config_read.h"

enum { R = 16 };

static const char gemma3[] =
    "{\"model_type\":\"gemma3_text\",\"hidden_size\":64,\"intermediate_size\":64,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":16,\"vocab_size\":64,"
    "\"max_position_embeddings\":512,\"sliding_window\":16,%s}";
static const char mistral[] =
    "{\"model_type\":\"mistral\",\"hidden_size\":64,\"intermediate_size\":64,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":16,\"vocab_size\":64,"
    "\"max_position_embeddings\":512,\"sliding_window\":16,%s}";

/* The configuration of that config.json with one more field. */
static fc_model_config configured(const char *json, const char *more) {
    char text[1024];
    fc_json_doc *doc;
    fc_model_config c;
    int n = snprintf(text, sizeof text, json, more);
    assert_true(n > 0 && (size_t)n < sizeof text);
    assert_ok(fc_json_parse("config.json", text, (size_t)n, &doc));
    assert_ok(fc_config_hf("config.json", fc_json_root(doc), NULL, NULL, &c));
    fc_json_close(doc);
    assert_int_equal(c.rope_dim, R);
    return c;
}

/* Frequencies of local or global layers are base^(-2i/R) / divided_by. */
static void assert_powers(const char *what, const fc_model_config *c, bool local, const float *divisors, double base,
                          double divided_by) {
    float freq[R / 2], mscale;
    fc_rope_frequencies(c, local, divisors, freq, &mscale);
    assert_true(mscale == 1.0f);
    for (int i = 0; i < R / 2; i++) {
        double want = pow(base, -2.0 * i / R) / divided_by;
        if (!(fabs(freq[i] - want) <= 1e-6 * want)) /* both sides round base^(2i/R) to f32 */
            fail_msg("%s: %s layers: frequency %d is %.9g, not %.9g", what, local ? "local" : "global", i,
                     (double)freq[i], want);
    }
}

/* Gemma 3 scales its global layers alone. If this fails where the bases are equal, local layers are taken for local
 * ones by their base instead of by what the file says. */
static void local_layers_with_a_base_are_never_scaled(void **state) {
    static const struct {
        const char *what, *fields;
        double base, base_local;
        bool linear;
    } files[] = {
        {"two bases",
         "\"rope_theta\":1e6,\"rope_local_base_freq\":1e4,\"rope_scaling\":{\"type\":\"linear\",\"factor\":8}", 1e6,
         1e4, true},
        {"one base",
         "\"rope_theta\":1e4,\"rope_local_base_freq\":1e4,\"rope_scaling\":{\"type\":\"linear\",\"factor\":8}", 1e4,
         1e4, true},
        {"one base, by layer type",
         "\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"linear\",\"factor\":8.0,\"rope_theta\":50000.0},"
         "\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":50000.0}}",
         5e4, 5e4, true},
        {"one base, yarn",
         "\"rope_theta\":1e4,\"rope_local_base_freq\":1e4,\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":8}", 1e4,
         1e4, false},
        {"one base, llama3",
         "\"rope_theta\":1e4,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
         "\"high_freq_factor\":4,\"original_max_position_embeddings\":16}",
         1e4, 1e4, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        fc_model_config c = configured(gemma3, files[i].fields);
        assert_true(c.rope_scaling != FC_ROPE_NONE);
        assert_powers(files[i].what, &c, true, NULL, files[i].base_local, 1);
        if (files[i].linear) assert_powers(files[i].what, &c, false, NULL, files[i].base, 8);
    }
}

/* GGUF's rope_freqs is a scaling too. */
static void divisors_are_of_global_layers(void **state) {
    fc_model_config c = configured(gemma3, "\"rope_theta\":1e4,\"rope_local_base_freq\":1e4");
    float divisors[R / 2];
    (void)state;
    for (int i = 0; i < R / 2; i++) divisors[i] = 4.0f;
    assert_powers("divisors", &c, false, divisors, 1e4, 4);
    assert_powers("divisors", &c, true, divisors, 1e4, 1);
}

/* Elsewhere a window changes what a layer sees, and nothing else. */
static void windows_alone_do_not_unscale(void **state) {
    fc_model_config c = configured(mistral, "\"rope_theta\":1e4,\"rope_scaling\":{\"type\":\"linear\",\"factor\":8}");
    float divisors[R / 2];
    (void)state;
    assert_true(c.local[0]);
    for (int i = 0; i < R / 2; i++) divisors[i] = 4.0f;
    assert_powers("window", &c, true, NULL, 1e4, 8);
    assert_powers("window", &c, true, divisors, 1e4, 32);
    assert_powers("window", &c, false, divisors, 1e4, 32);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(local_layers_with_a_base_are_never_scaled),
        cmocka_unit_test(divisors_are_of_global_layers),
        cmocka_unit_test(windows_alone_do_not_unscale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
