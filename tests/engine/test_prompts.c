/* Prompts as they are fed: cut on the left, with and without BOS. */
#include "engine/probe.h"
#include "tests/engine/util_vary.h"

#include <unistd.h>

/* A tiny model whose tokenizer puts BOS in front: the other's file with one byte turned. */
static const char *bos_model(void) {
    static char path[160];
    static const char key[] = "tokenizer.ggml.add_bos_token";
    FILE *in = fopen(vary_model(), "rb"), *out;
    long size;
    char *bytes, *at = NULL;
    snprintf(path, sizeof path, "%s.bos.gguf", vary_model());
    assert_non_null(in);
    fseek(in, 0, SEEK_END);
    size = ftell(in);
    rewind(in);
    bytes = malloc((size_t)size);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)size, in), size);
    fclose(in);
    for (long i = 0; i + 40 < size && !at; i++)
        if (memcmp(bytes + i, key, sizeof key - 1) == 0) at = bytes + i + sizeof key - 1 + 4; /* behind the type */
    assert_non_null(at);
    assert_int_equal(*at, 0);
    *at = 1;
    out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, (size_t)size, out), size);
    fclose(out);
    free(bytes);
    return path;
}

static void expect_prompt(fc_engine *e, const fc_request *r, int32_t first, const int32_t *rest, size_t n_rest) {
    fc_event ev = run_request(e, r);
    size_t n = n_rest + (first >= 0);
    assert_int_equal(ev.result->prompt_tokens, n);
    if (first >= 0) assert_int_equal(ev.result->prompt_ids[0], first);
    assert_memory_equal(ev.result->prompt_ids + (first >= 0), rest, n_rest * sizeof *rest);
    fc_event_fini(&ev);
}

/* If this fails, a prompt loses its BOS, or its end instead of its beginning. */
static void prompts_are_cut_on_the_left(void **state) {
    enum { CTX = 80, MAX_TOKENS = 10 };
    int32_t ids[256];
    const size_t n = (size_t)vary_encode(vary_prompt, ids, 256);
    fc_engine_options o = {.novelty = bos_model(), .threads = 1, .ctx = CTX};
    fc_engine *e = open_engine(&o);
    fc_request r = text_request(vary_prompt, 2, MAX_TOKENS);
    const fc_piece twice[] = {{vary_prompt, sizeof vary_prompt - 1, false},
                              {vary_prompt, sizeof vary_prompt - 1, false}};
    fc_probe *p;
    int32_t bos;
    (void)state;
    assert_ok(fc_probe_open(o.novelty, &(fc_probe_options){.threads = 1, .ctx = 64}, &p));
    bos = fc_probe_config(p)->bos;
    fc_probe_close(p);
    assert_true(n > 30 && n < CTX - MAX_TOKENS - 1 && 2 * n > CTX && bos >= 0);
    expect_prompt(e, &r, bos, ids, n);
    r.truncate_prompt_tokens = 20;
    expect_prompt(e, &r, bos, ids + n - 19, 19);
    r.truncate_prompt_tokens = 1;
    expect_prompt(e, &r, bos, NULL, 0);
    r.truncate_prompt_tokens = (int)n + 1;
    expect_prompt(e, &r, bos, ids, n);
    r.no_bos = true;
    expect_prompt(e, &r, -1, ids, n);
    r.truncate_prompt_tokens = 20;
    expect_prompt(e, &r, -1, ids + n - 20, 20);
    r.no_bos = false;
    r.prompt = (fc_prompt){.ids = ids, .n_ids = n}; /* as they are: no BOS was added, none stays */
    expect_prompt(e, &r, -1, ids + n - 20, 20);
    r.prompt = (fc_prompt){.pieces = twice, .n_pieces = 2};
    r.truncate_prompt_tokens = -1;
    memcpy(ids + n, ids, n * sizeof *ids); /* a word begins at the seam, so both are spelt alike */
    expect_prompt(e, &r, bos, ids + 2 * n - (CTX - MAX_TOKENS - 1), CTX - MAX_TOKENS - 1);
    fc_engine_close(e);
    unlink(o.novelty);
}

/* If this fails, the alignment prompt is cut in another way than the novelty prompt. */
static void alignment_prompts_are_cut_alike(void **state) {
    int32_t ids[256];
    const size_t n = (size_t)vary_encode(vary_prompt, ids, 256);
    fc_engine_options o = {.novelty = vary_model(),
                           .alignment = tiny_model("llama", 2, false),
                           .threads = 1,
                           .ctx = (int)n + 7,
                           .off = FC_OFF_PREFIX_CACHE};
    static const char *const labels[] = {"a", "b"};
    const fc_piece suffix = {"abc", 3, false};
    fc_engine *e = open_engine(&o);
    fc_request r = text_request(vary_prompt, 4, 6), cut = r;
    (void)state;
    r.score = cut.score = true;
    r.mode = cut.mode = FC_SCORE_JUDGE;
    r.labels = cut.labels = labels;
    r.n_labels = cut.n_labels = 2;
    r.suffix = cut.suffix = (fc_prompt){.pieces = &suffix, .n_pieces = 1};
    for (int k = 0; k < 2; k++) {
        const size_t left = k ? n + 7 - 6 - 3 : 10, novelty = k ? n : 10;
        fc_event a, b;
        r.truncate_prompt_tokens = k ? -1 : 10;
        cut.prompt = (fc_prompt){.ids = ids + n - novelty, .n_ids = novelty};
        cut.alignment_prompt = (fc_prompt){.ids = ids + n - left, .n_ids = left};
        a = run_request(e, &r);
        b = run_request(e, &cut);
        for (int i = 0; i < 4; i++) assert_same_candidate("cut", &a.result->all[i], &b.result->all[i]);
        fc_event_fini(&a);
        fc_event_fini(&b);
    }
    fc_engine_close(e);
    r.truncate_prompt_tokens = -2;
    vary_refused(&r, "truncate_prompt_tokens = -2; it must lie in -1 to");
    r.truncate_prompt_tokens = -1;
    r.given = &(fc_given){.text = "a", .size = 1};
    r.n_given = 1;
    vary_refused(&r, "truncate_prompt_tokens = -1; it must lie in 0 to");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_are_cut_on_the_left),
        cmocka_unit_test(alignment_prompts_are_cut_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
