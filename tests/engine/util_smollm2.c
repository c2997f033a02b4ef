#include "tests/engine/util_smollm2.h"

#include "engine/base/os.h"

fc_json_doc *smollm2_open(void) {
    fc_json_doc *doc = NULL;
    if (!fc_path_exists(SMOLLM2_MODEL)) {
        print_message("skipped: %s is absent (quickstart.sh fetches it)\n", SMOLLM2_MODEL);
        skip();
    }
    assert_ok(fc_json_open(SMOLLM2_GOLDEN, 1 << 20, &doc));
    return doc;
}

const fc_json *smollm2_need(const fc_json *n, const char *key) {
    const fc_json *x = fc_json_get(n, key);
    if (!x) fail_msg("%s: no key %s", SMOLLM2_GOLDEN, key);
    return x;
}

int smollm2_ids(const fc_json *list, int32_t *out, int at) {
    for (const fc_json *x = fc_json_first(list); x; x = fc_json_next(x)) {
        int64_t v;
        assert_ok(fc_json_int(x, 0, INT32_MAX, &v));
        assert_true(at < SMOLLM2_MAX_IDS);
        out[at++] = (int32_t)v;
    }
    return at;
}

double smollm2_number(const fc_json *n) {
    double v = 0;
    assert_ok(fc_json_double(n, &v));
    return v;
}

double smollm2_logprob(const float *x, int V, int id, int *best) {
    double sum = 0;
    int top = 0;
    for (int v = 1; v < V; v++)
        if (x[v] > x[top]) top = v;
    for (int v = 0; v < V; v++) sum += exp((double)x[v] - (double)x[top]);
    if (best) *best = top;
    return (double)x[id] - (double)x[top] - log(sum);
}
