/* `precise` false: other bits where products round what they read, the same ones where they do not. */
#include "tests/engine/util_engine.h"

static fc_event answer(const char *model, bool imprecise) {
    const fc_engine_options o = {
        .novelty = model, .alignment = model, .ctx = 128, .precise = imprecise ? "false" : "auto"};
    fc_request r = text_request("a night at the house", 6, 4);
    fc_engine *e = open_engine(&o);
    fc_event ev;
    r.score = true;
    ev = run_request(e, &r);
    fc_engine_close(e);
    return ev;
}

/* How far the candidates' log-probs and scores are apart: 0 where all bits are the same. */
static double apart(const char *model) {
    fc_event a = answer(model, false), b = answer(model, true);
    double most = 0;
    assert_int_equal(a.result->n_all, b.result->n_all);
    for (int i = 0; i < a.result->n_all; i++) {
        const fc_candidate *x = &a.result->all[i], *y = &b.result->all[i];
        if (x->n_tokens != y->n_tokens || memcmp(x->tokens, y->tokens, (size_t)x->n_tokens * sizeof *x->tokens)) {
            most = INFINITY; /* another token was drawn */
            continue;
        }
        most = fmax(most, fmax(fabs(x->logprob - y->logprob), fabs(x->score - y->score)));
    }
    fc_event_fini(&a);
    fc_event_fini(&b);
    return most;
}

/* If this fails, the option does nothing, or something where it should not. */
static void it_is_heeded_where_x_is_rounded(void **state) {
    static const fc_dtype rounded[] = {FC_Q8_0, FC_Q4_0};
    (void)state;
    for (int i = 0; i < 2; i++) {
        double d = apart(tiny_model_typed("llama", 1, rounded[i]));
        if (!(d > 0)) fail_msg("%s: the same bits", fc_dtype_name(rounded[i]));
    }
    assert_true(apart(tiny_model("llama", 1, false)) == 0);
    assert_true(apart(tiny_model_typed("qwen2", 2, FC_BF16)) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_is_heeded_where_x_is_rounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
