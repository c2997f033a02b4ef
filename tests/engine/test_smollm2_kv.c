/* SmolLM2-135M-Instruct with its KV cache in bf16, int8 and fp8, and with its weights in FP8, at the best level of this
 * machine, against the answers of transformers that test_smollm2.c is held against too.
 *
 * tolerance  0.05 mean absolute on log-probs, as with f32 there: bf16 keeps 8 bits of a key, int8 7 bits of its largest
 *            value, which is no coarser than the 8-bit activations that the f32 figure already holds. fp8 keeps 4 bits
 *            of each value, a step of up to 1/8 of it: of KV it was 0.049 away (int8: 0.028), so 0.08; of all weights,
 *            embeddings included, 0.132, so 0.15
 */
#include "engine/base/os.h"
#include "engine/probe.h"
#include "kernels/cpu/cpu.h"
#include "tests/engine/util_smollm2.h"
#include "weights_tools/tools.h"

#include <unistd.h>

#ifdef SMOLLM2_SANITIZED
enum { PROMPTS = 1 };
#else
enum { PROMPTS = 5 };
#endif

/* Log-probs of the oracle's own tokens under one KV type; returns how many. out [PROMPTS * SMOLLM2_MAX_IDS] */
static int measure(const char *model, const fc_json *root, const char *kv, double *out, double *want) {
    const fc_probe_options o = {.kv_type = kv, .ctx = SMOLLM2_MAX_IDS};
    fc_probe *p;
    int count = 0, k = 0;
    assert_ok(fc_probe_open(model, &o, &p));
    int V = fc_probe_config(p)->V;
    float *logits = malloc(sizeof *logits * (size_t)SMOLLM2_MAX_IDS * (size_t)V);
    assert_non_null(logits);
    for (const fc_json *x = fc_json_first(smollm2_need(root, "prompts")); x && k < PROMPTS; x = fc_json_next(x), k++) {
        int32_t ids[SMOLLM2_MAX_IDS];
        int start = smollm2_ids(smollm2_need(x, "ids"), ids, 0), n = smollm2_ids(smollm2_need(x, "new"), ids, start);
        const fc_json *lp = fc_json_first(smollm2_need(x, "logprob"));
        assert_ok(fc_probe_logits(p, ids, n - 1, logits));
        for (int i = start; i < n; i++, lp = fc_json_next(lp), count++) {
            assert_ok(fc_json_double(lp, &want[count]));
            out[count] = smollm2_logprob(logits + (size_t)(i - 1) * (size_t)V, V, ids[i], NULL);
        }
    }
    free(logits);
    fc_probe_close(p);
    assert_int_equal(count, PROMPTS * 64);
    return count;
}

static double distance(const double *a, const double *b, int n, double *most) {
    double sum = 0;
    *most = 0;
    for (int i = 0; i < n; i++) {
        sum += fabs(a[i] - b[i]);
        *most = fmax(*most, fabs(a[i] - b[i]));
    }
    return sum / n;
}

/* If this fails, a KV type costs more accuracy than it says. */
static void kv_types_stay_near(void **state) {
    static const char *const types[] = {"f32", "bf16", "int8", "fp8"};
    static double want[PROMPTS * SMOLLM2_MAX_IDS], exact[PROMPTS * SMOLLM2_MAX_IDS], got[PROMPTS * SMOLLM2_MAX_IDS];
    fc_json_doc *doc = smollm2_open();
    (void)state;
    for (int i = 0; i < 4; i++) {
        double most, own_most, mean, own;
        int n = measure(SMOLLM2_MODEL, fc_json_root(doc), types[i], i ? got : exact, want);
        mean = distance(i ? got : exact, want, n, &most);
        own = distance(i ? got : exact, exact, n, &own_most);
        print_message("%-4s %s, %d tokens: %.4f mean, %.4f most from transformers; %.5f mean, %.4f most from f32\n",
                      types[i], fc_cpu_level_name(fc_cpu_best()), n, mean, most, own, own_most);
        if (!(mean <= (i == 3 ? 0.08 : 0.05))) fail_msg("%s: log-probs %g away in the mean", types[i], mean);
        if (i && !(own > 0)) fail_msg("%s: every bit is f32's, so another type was measured", types[i]);
    }
    fc_json_close(doc);
}

/* The same weights rounded once more, to FP8 with a scale a row. If this fails, FP8 costs more than it says. */
static void fp8_weights_stay_near(void **state) {
    static double want[PROMPTS * SMOLLM2_MAX_IDS], got[PROMPTS * SMOLLM2_MAX_IDS];
    char folder[] = "/tmp/forkcast-fp8-XXXXXX", path[64];
    fc_json_doc *doc = smollm2_open();
    double mean, most;
    int n;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/fp8.gguf", folder);
    assert_ok(fc_tools_convert(SMOLLM2_MODEL, path, FC_F8, NULL, NULL, NULL));
    n = measure(path, fc_json_root(doc), "f32", got, want);
    mean = distance(got, want, n, &most);
    print_message("fp8 weights: %.4f mean, %.4f most from transformers\n", mean, most);
    unlink(path);
    rmdir(folder);
    if (!(mean <= 0.15)) fail_msg("log-probs %g away in the mean", mean);
    fc_json_close(doc);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(kv_types_stay_near), cmocka_unit_test(fp8_weights_stay_near)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
