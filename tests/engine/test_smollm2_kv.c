/* SmolLM2-135M-Instruct with its KV cache in bf16 and int8, at the best level of this machine, against the answers of
 * transformers that test_smollm2.c is held against too.
 *
 * tolerance  0.05 mean absolute on log-probs, as with f32 there: bf16 keeps 8 bits of a key, int8 7 bits of its largest
 *            value, which is no coarser than the 8-bit activations that the f32 figure already holds
 */
#include "engine/base/json.h"
#include "engine/base/os.h"
#include "engine/probe.h"
#include "kernels/cpu/cpu.h"
#include "tests/util.h"

#define MODEL  "models/SmolLM2-135M-Instruct.Q4_1.gguf"
#define GOLDEN "tests/data/models/smollm2_golden.json"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef SANITIZED
enum { PROMPTS = 1 }; /* bad memory shows in one prompt as well as in five */
#else
enum { PROMPTS = 5 };
#endif
enum { MAX_IDS = 192 };

static const fc_json *need(const fc_json *n, const char *key) {
    const fc_json *x = fc_json_get(n, key);
    if (!x) fail_msg("%s: no key %s", GOLDEN, key);
    return x;
}

static int read_ints(const fc_json *list, int32_t *out, int at) {
    for (const fc_json *x = fc_json_first(list); x; x = fc_json_next(x)) {
        int64_t v;
        assert_ok(fc_json_int(x, 0, INT32_MAX, &v));
        assert_true(at < MAX_IDS);
        out[at++] = (int32_t)v;
    }
    return at;
}

static double logprob(const float *x, int V, int id) {
    double sum = 0, top = (double)x[0];
    for (int v = 1; v < V; v++) top = fmax(top, (double)x[v]);
    for (int v = 0; v < V; v++) sum += exp((double)x[v] - top);
    return (double)x[id] - top - log(sum);
}

/* Log-probs of the oracle's own tokens under one KV type; returns how many. out [PROMPTS * MAX_IDS] */
static int measure(const fc_json *root, const char *kv, double *out, double *want) {
    const fc_probe_options o = {.kv_type = kv, .ctx = MAX_IDS};
    fc_probe *p;
    int count = 0, k = 0;
    assert_ok(fc_probe_open(MODEL, &o, &p));
    int V = fc_probe_config(p)->V;
    float *logits = malloc(sizeof *logits * (size_t)MAX_IDS * (size_t)V);
    assert_non_null(logits);
    for (const fc_json *x = fc_json_first(need(root, "prompts")); x && k < PROMPTS; x = fc_json_next(x), k++) {
        int32_t ids[MAX_IDS];
        int start = read_ints(need(x, "ids"), ids, 0), n = read_ints(need(x, "new"), ids, start);
        const fc_json *lp = fc_json_first(need(x, "logprob"));
        assert_ok(fc_probe_logits(p, ids, n - 1, logits));
        for (int i = start; i < n; i++, lp = fc_json_next(lp), count++) {
            assert_ok(fc_json_double(lp, &want[count]));
            out[count] = logprob(logits + (size_t)(i - 1) * (size_t)V, V, ids[i]);
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
    static const char *const types[] = {"f32", "bf16", "int8"};
    static double want[PROMPTS * MAX_IDS], exact[PROMPTS * MAX_IDS], got[PROMPTS * MAX_IDS];
    fc_json_doc *doc;
    (void)state;
    if (!fc_path_exists(MODEL)) {
        print_message("skipped: %s is absent (quickstart.sh fetches it)\n", MODEL);
        skip();
    }
    assert_ok(fc_json_open(GOLDEN, 1 << 20, &doc));
    for (int i = 0; i < 3; i++) {
        double most, own_most, mean, own;
        int n = measure(fc_json_root(doc), types[i], i ? got : exact, want);
        mean = distance(i ? got : exact, want, n, &most);
        own = distance(i ? got : exact, exact, n, &own_most);
        print_message("%-4s %s, %d tokens: %.4f mean, %.4f most from transformers; %.5f mean, %.4f most from f32\n",
                      types[i], fc_cpu_level_name(fc_cpu_best()), n, mean, most, own, own_most);
        if (!(mean <= 0.05)) fail_msg("%s: log-probs %g away in the mean", types[i], mean);
        if (i && !(own > 0)) fail_msg("%s: every bit is f32's, so another type was measured", types[i]);
    }
    fc_json_close(doc);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(kv_types_stay_near)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
