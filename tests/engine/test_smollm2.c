/* SmolLM2-135M-Instruct, a real quantised model, against transformers in float32 on the same dequantised weights
 * (tests/oracle/smollm2_golden.py): 20 prompts, 64 tokens each, fed to us as the oracle chose them.
 *
 * tolerance  0.05 mean absolute on log-probs, and the same first choice wherever the oracle's first two are more than
 *            0.2 apart: our activations are rounded to 8 or 16 bits, the oracle's are not. To 8 but for few (precise
 *            false), one first choice of 500 may be another
 */
#include "engine/base/os.h"
#include "engine/probe.h"
#include "kernels/cpu/cpu.h"
#include "tests/engine/util_smollm2.h"

enum { EVERY = TEST_WATCHED ? 10 : 1 };

/* What one level differs by. */
typedef struct {
    double sum, most;         /* of |log-prob difference| */
    double least;             /* by how little a clear first choice was ahead of the oracle's second: how near to red */
    int tokens, clear, wrong; /* places; with a gap over 0.2; of those with another first choice */
} tally;

static void one_prompt(fc_probe *p, const fc_json *prompt, float *logits, tally *t) {
    int32_t ids[SMOLLM2_MAX_IDS];
    int V = fc_probe_config(p)->V, start = smollm2_ids(smollm2_need(prompt, "ids"), ids, 0),
        n = smollm2_ids(smollm2_need(prompt, "new"), ids, start);
    const fc_json *lp = fc_json_first(smollm2_need(prompt, "logprob")),
                  *gap = fc_json_first(smollm2_need(prompt, "gap"));
    const fc_json *top = fc_json_first(smollm2_need(prompt, "top"));
    assert_ok(fc_probe_logits(p, ids, n - 1, logits));
    for (int i = start; i < n; i++, lp = fc_json_next(lp), gap = fc_json_next(gap), top = fc_json_next(top)) {
        int best;
        int32_t two[SMOLLM2_MAX_IDS];
        double d = fabs(smollm2_logprob(logits + (size_t)(i - 1) * (size_t)V, V, ids[i], &best) - smollm2_number(lp));
        assert_int_equal(smollm2_ids(top, two, 0), 2);
        if (isnan(d)) fail_msg("a log-prob is not a number");
        t->sum += d;
        if (d > t->most) t->most = d;
        t->tokens++;
        if (smollm2_number(gap) <= 0.2) continue;
        t->clear++;
        const float *row = logits + (size_t)(i - 1) * (size_t)V;
        double ahead = (double)row[two[0]] - (double)row[two[1]];
        if (ahead < t->least) t->least = ahead;
        if (best == two[0]) continue;
        t->wrong++;
        printf("  place %d: first %d, not %d, which is %.3f ahead\n", i - start, best, two[0], smollm2_number(gap));
    }
}

/* If this fails, real models answer other than they were trained to. */
static bool one_level(const fc_json *root, fc_cpu_level level, bool imprecise) {
    const fc_probe_options o = {
        .cpu = fc_cpu_level_name(level), .kv_type = "f32", .ctx = SMOLLM2_MAX_IDS, .imprecise = imprecise};
    uint64_t start = fc_clock_ns();
    fc_probe *p;
    tally t = {.least = 1e30};
    int k = 0;
    assert_ok(fc_probe_open(SMOLLM2_MODEL, &o, &p));
    float *logits = malloc(sizeof *logits * (size_t)SMOLLM2_MAX_IDS * (size_t)fc_probe_config(p)->V);
    assert_non_null(logits);
    for (const fc_json *x = fc_json_first(smollm2_need(root, "prompts")); x; x = fc_json_next(x), k++)
        if (k % EVERY == 0) one_prompt(p, x, logits, &t);
    free(logits);
    fc_probe_close(p);
    printf(
        "%-8s%s %d tokens: log-probs %.4f mean, %.4f most; %d of %d first choices differ, the nearest %.3f; %.1f s\n",
        o.cpu, imprecise ? ", imprecise," : "", t.tokens, t.sum / t.tokens, t.most, t.wrong, t.clear, t.least,
        (double)(fc_clock_ns() - start) * 1e-9);
    assert_true(t.tokens >= 1280 / EVERY && t.clear > t.tokens / 2);
    return t.sum / t.tokens <= 0.05 && t.wrong <= (imprecise ? t.clear / 500 : 0);
}

static void answers_equal_transformers(void **state) {
    fc_json_doc *doc = smollm2_open();
    bool good = true;
    (void)state;
    for (fc_cpu_level level = FC_CPU_PORTABLE; level <= fc_cpu_best(); level++)
        good &= one_level(fc_json_root(doc), level, false);
    good &= one_level(fc_json_root(doc), fc_cpu_best(), true);
    fc_json_close(doc);
    if (!good) fail_msg("more than 0.05 in the mean, or another first choice where the oracle's is clear");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers_equal_transformers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
