/* Every call of the runtime and of cuBLASLt fails in turn, under whole engines and under a backend alone: each ends in
 * a status that names the call, and nothing is left. Then which places of the host's code, where a failing call ends,
 * that came to: all.
 */
#include "kernels/cuda/backend_cuda.h"
#include "tests/cuda_emu/runtime_control.h"
#include "tests/cuda_emu/util_places.h"
#include "tests/engine/util_engine.h"

static fc_status open_cuda(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out) {
    (void)level;
    (void)threads;
    return fc_backend_open_cuda(&(fc_cuda_options){0}, limits, out);
}

/* The runtime's call, or how much memory was asked for. */
static bool names_the_cause(const char *sentence) {
    return strstr(sentence, "cuda") || strstr(sentence, "cublas") || strstr(sentence, "of device memory; ");
}

/* The request's end; false: it failed, and its sentence names the cause. */
static bool ends_well(fc_engine *e, const fc_request *r, uint64_t k) {
    fc_event ev;
    uint64_t id;
    bool good;
    assert_ok(fc_submit(e, r, &id));
    do {
        assert_ok(fc_poll(e, ENGINE_PATIENCE, &ev));
        if (ev.type != FC_EVENT_DONE) fc_event_fini(&ev);
    } while (ev.type != FC_EVENT_DONE);
    good = ev.status == FC_OK;
    if (!good && !names_the_cause(ev.error)) fail_msg("call %d: \"%s\"", (int)k, ev.error);
    fc_event_fini(&ev);
    return good;
}

/* An engine, and what it answers while calls fail. */
typedef struct {
    fc_engine_options o;
    fc_request r; /* of two jobs; the first wants its prompt's log-probs */
} injected;

/* Two jobs on an engine whose k-th call of the runtime fails (0: none). What the first has downloaded, its prompt's
 * log-probs too, must be nobody's when the second runs. True: nothing failed. */
static bool small_jobs(const injected *j, uint64_t k, uint64_t *calls) {
    fc_request r = j->r;
    uint64_t before = emu_calls();
    fc_engine_counts n;
    fc_engine *e;
    bool first, second;
    r.prompt_logprobs = true;
    emu_fail_at(k);
    if (fc_engine_open_on(&j->o, open_cuda, &e)) {
        if (k == 0 || !names_the_cause(fc_status_text())) fail_msg("call %d: \"%s\"", (int)k, fc_status_text());
        *calls = emu_calls() - before;
        return false;
    }
    first = ends_well(e, &r, k);
    r.prompt_logprobs = false;
    second = ends_well(e, &r, k);
    if (!first && !second) fail_msg("call %d failed, and both requests: \"%s\"", (int)k, fc_status_text());
    fc_engine_count(e, &n);
    assert_false(n.lost);
    fc_engine_close(e);
    *calls = emu_calls() - before;
    return first && second;
}

/* Each call, or each `stride`th. If this fails, a device that fails once is an answer that is wrong,
 * memory that stays, or a crash. */
static void each_call_fails(const char *what, const injected *j, uint64_t stride) {
    uint64_t calls, all;
    int told = 0, n = 0;
    emu_reset();
    assert_true(small_jobs(j, 0, &all));
    assert_int_equal(emu_leaks(true), 0);
    for (uint64_t k = 1; k <= all; k += stride, n++) {
        emu_reset();
        told += !small_jobs(j, k, &calls);
        emu_fail_at(0);
        if (emu_leaks(true))
            fail_msg("%s: call %llu of %llu failed, and something is left", what, (unsigned long long)k,
                     (unsigned long long)all);
    }
    print_message("%s: %d of %llu calls failed in turn, %d of them were told\n", what, n, (unsigned long long)all,
                  told);
    assert_true(told > n / 2);
}

static void every_failing_call_ends_in_a_status_and_no_leak(void **state) {
    const injected small = {
        {.novelty = tiny_model("llama", 1, false), .kv_type = "f32", .ctx = 64, .max_rows = 16, .kv_pool = 1 << 20},
        text_request("a night", 2, 3)};
    (void)state;
    each_call_fails("one model", &small, 1);
}

/* A queue for each model, products by cuBLASLt or own ones of bf16, scores, names that are searched. */
static void every_failing_call_of_two_models_too(void **state) {
    static const char *const names[] = {"house", "night", "naive", "x"};
    injected two = {{.novelty = tiny_model_typed("llama", 1, FC_BF16),
                     .alignment = tiny_model_typed("qwen2", 2, FC_BF16),
                     .ctx = 64,
                     .max_rows = 16,
                     .kv_pool = 1 << 20},
                    text_request("a night", 2, 8)};
    (void)state;
    two.r.score = true;
    two.r.names = names;
    two.r.n_names = 4;
    two.r.constraint = FC_CONSTRAINT_MASK;
    each_call_fails("two models", &two, 4);
    two.r.draw = FC_DRAW_SBS;
    each_call_fails("a search", &two, 4);
}

/* A device that is lost stays so. If this fails, a supervisor is told that such a server is well. */
static void a_lost_device_is_told(void **state) {
    const fc_engine_options o = {.novelty = tiny_model("llama", 1, false), .ctx = 64, .kv_pool = 1 << 20};
    fc_request r = text_request("a night", 1, 3);
    fc_engine_counts n;
    fc_engine *e;
    (void)state;
    emu_reset();
    assert_ok(fc_engine_open_on(&o, open_cuda, &e));
    assert_true(ends_well(e, &r, 0));
    fc_engine_count(e, &n);
    assert_false(n.lost);
    emu_lose_device();
    assert_false(ends_well(e, &r, 0));
    assert_false(ends_well(e, &r, 0)); /* counts are of the step before */
    fc_engine_count(e, &n);
    assert_true(n.lost);
    fc_engine_close(e);
    emu_reset();
}

/* ---- a backend alone: what engines of a test do not come to ---- */

enum { ROWS = 160, K = 64, N = 32, FORMS = 24, UP_SEGMENT = 8 << 20, DOWN_SEGMENT = 4 << 20 };
static unsigned char block[UP_SEGMENT];

/* Buffers and a matrix on the device. */
typedef struct {
    fc_backend *be;
    void *x, *y, *block;
    fc_weight *w;
} bench;

static void bench_close(bench *b) {
    if (!b->be) return;
    b->be->weight_free(b->w);
    b->be->free(b->be, b->block);
    b->be->free(b->be, b->y);
    b->be->free(b->be, b->x);
    fc_backend_close(b->be);
}

static fc_status bench_open(bench *b) {
    static uint16_t weights[N * K];
    const fc_weight_part part = {.name = "w", .data = weights, .dtype = FC_BF16, .N = N, .K = K};
    FC_TRY(open_cuda(FC_CPU_AUTO, 1, &(fc_op_limits){.rows = ROWS, .cols = K, .vocab = N, .heads = 1, .head_dim = K},
                     &b->be));
    FC_TRY(b->be->alloc(b->be, ROWS * K * 4, "x", &b->x));
    FC_TRY(b->be->alloc(b->be, ROWS * N * 4, "y", &b->y));
    FC_TRY(b->be->alloc(b->be, UP_SEGMENT, "block", &b->block));
    return b->be->weight_pack(b->be->stream, &part, 1, &b->w);
}

static fc_status nothing(const bench *b) {
    (void)b;
    return FC_OK;
}

/* A product of many rows, which goes to cuBLASLt; a pass that is too short for a graph. */
static fc_status multiply(const bench *b) {
    const fc_softcap_args cap = {.x = b->y, .n = N, .cap = 30.0f};
    FC_TRY(b->be->linear(b->be->stream, &(fc_linear_args){.y = b->y, .x = b->x, .w = b->w, .T = ROWS}));
    FC_TRY(b->be->sync(b->be));
    FC_TRY(b->be->softcap(b->be->stream, &cap));
    return b->be->sync(b->be);
}

/* Both rings come round, while nothing waits: a segment is asked whether its copies are done. */
static fc_status go_round(const bench *b) {
    for (int i = 0; i < 5; i++) FC_TRY(b->be->upload(b->be, b->block, block, UP_SEGMENT));
    for (int i = 0; i < 5; i++) FC_TRY(b->be->download(b->be, block, b->block, DOWN_SEGMENT));
    return b->be->sync(b->be);
}

static fc_status run_form(const bench *b, int form) {
    const fc_softcap_args cap = {.x = b->y, .n = N, .cap = 30.0f};
    for (int i = 0; i < 8 + form; i++) FC_TRY(b->be->softcap(b->be->stream, &cap));
    return b->be->mark(b->be, 0);
}

/* As many forms of a pass as are remembered; then one more. */
static fc_status fill_forms(const bench *b) {
    for (int form = 0; form < FORMS; form++) FC_TRY(run_form(b, form));
    return FC_OK;
}
static fc_status forget_a_form(const bench *b) {
    FC_TRY(run_form(b, FORMS));
    return b->be->wait(b->be, 0);
}

/* What is done before calls fail, and while they do. */
static const struct {
    const char *name;
    bool opens; /* while they do */
    fc_status (*before)(const bench *b);
    fc_status (*use)(const bench *b);
    int untold; /* calls that destroy */
} uses[] = {{"a backend that multiplies", true, nothing, multiply, 0},
            {"rings that come round", false, nothing, go_round, 0},
            {"a form too many", false, fill_forms, forget_a_form, 2}};

/* False: a call failed, and the sentence names it. */
static bool bench_runs(int use, uint64_t k, bool lost, uint64_t *calls) {
    bench b = {0};
    fc_status st = FC_OK;
    uint64_t before;
    if (!uses[use].opens) assert_ok(bench_open(&b));
    assert_ok(uses[use].before(&b));
    before = emu_calls();
    if (lost) emu_lose_at(k);
    else emu_fail_at(k);
    if (uses[use].opens) st = bench_open(&b);
    if (!st) st = uses[use].use(&b);
    if (st && (k == 0 || !names_the_cause(fc_status_text()))) fail_msg("call %d: \"%s\"", (int)k, fc_status_text());
    *calls = emu_calls() - before;
    bench_close(&b);
    return !st;
}

/* lost: the device is, from the k-th call on. */
static void every_call_of_a_backend(bool lost) {
    for (int use = 0; use < 3; use++) {
        uint64_t calls, all;
        int told = 0;
        emu_reset();
        assert_true(bench_runs(use, 0, false, &all));
        assert_int_equal(emu_leaks(true), 0);
        for (uint64_t k = 1; k <= all; k++) {
            emu_reset();
            told += !bench_runs(use, k, lost, &calls);
            emu_fail_at(0);
            if (emu_leaks(true))
                fail_msg("%s: call %d of %d failed, and something is left", uses[use].name, (int)k, (int)all);
        }
        print_message("%s: %s at %d calls in turn, %d of them were told\n", uses[use].name,
                      lost ? "the device lost" : "an error", (int)all, told);
        assert_int_equal(told + (lost ? 0 : uses[use].untold), all);
    }
    emu_reset();
}

static void every_failing_call_of_a_backend_too(void **state) {
    (void)state;
    every_call_of_a_backend(false);
}

static void a_device_may_be_lost_at_any_call(void **state) {
    (void)state;
    every_call_of_a_backend(true);
}

/* ---- ranks ---- */

static fc_status open_ranks(fc_backend **be) {
    static const int devices[] = {0, 1};
    const fc_cuda_options o = {.invariant = true, .devices = devices, .n_devices = 2, .threads = 1};
    emu_device_opts.devices = 2;
    return fc_backend_open_cuda(&o, &(fc_op_limits){.rows = 1, .cols = K, .vocab = N, .heads = 1, .head_dim = K}, be);
}

static void close_ranks(fc_backend *be, const char *what) {
    emu_fail_at(0);
    emu_fail_next(NULL);
    emu_not_ready(0);
    fc_backend_close(be);
    if (emu_leaks(true)) fail_msg("ranks: %s failed, and something is left", what);
    emu_device_opts.devices = 0;
    emu_reset();
}

/* Two ranks that meet: opened, used, closed. A rank that fails alone is told by itself or, where the sum has gone well,
 * by nobody. */
static fc_status use_ranks(fc_backend *be) {
    fc_softcap_args one = {.n = N, .cap = 30.0f};
    void *y;
    fc_status st = FC_OK;
    FC_TRY(be->alloc(be, N * 4, "y", &y));
    one.x = y;
    for (int pass = 0; pass < 3 && !st; pass++) {
        for (int i = 0; i < 8 + pass && !st; i++) st = be->softcap(be->stream, &one);
        if (!st) st = be->sum(be->stream, &(fc_sum_args){.y = y, .n = N});
        if (!st) st = be->mark(be, 0);
        if (!st) st = be->wait(be, 0);
    }
    if (!st) st = be->sync(be);
    be->free(be, y);
    return st;
}

/* Which call of which rank is the k-th is a matter of threads: every few, beyond what one run has taken. If this fails,
 * or never ends, a rank waits for one that failed, or leaves something behind. */
static void failing_calls_of_ranks_too(void **state) {
    uint64_t all = 0;
    int told = 0, n = 0;
    (void)state;
    for (uint64_t k = 0; k == 0 || k < all; k += k < 40 ? 1 : 5, n++) {
        fc_backend *be = NULL;
        char what[32];
        fc_status st;
        snprintf(what, sizeof what, "call %d", (int)k);
        emu_reset();
        emu_fail_at(k);
        st = open_ranks(&be);
        if (!st) st = use_ranks(be);
        if (st && !names_the_cause(fc_status_text())) fail_msg("%s: \"%s\"", what, fc_status_text());
        if (k == 0) {
            assert_ok(st);
            all = emu_calls();
        }
        close_ranks(be, what);
        told += st != FC_OK;
    }
    print_message("ranks: %d of %llu calls failed in turn, %d of them were told\n", n - 1, (unsigned long long)all,
                  told);
    assert_true(told > n / 2);
}

/* Calls that no number finds for certain. */
static void calls_that_threads_decide_fail_too(void **state) {
    static const char *const calls[] = {"ncclCommGetAsyncError", "cudaEventRecord"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        fc_backend *be;
        fc_status st;
        assert_ok(open_ranks(&be));
        assert_ok(use_ranks(be));
        emu_fail_next(calls[i]);
        emu_not_ready(64); /* long enough that a rank asks how its group is */
        st = be->sync(be);
        if (!st || !strstr(fc_status_text(), calls[i])) fail_msg("%s: \"%s\"", calls[i], st ? fc_status_text() : "");
        close_ranks(be, calls[i]);
    }
}

/* ---- places ---- */

/* If this fails, a failing call ends where no test has seen it end. */
static void every_place_was_come_to(void **state) {
    int n = places_count(), missing = 0;
    (void)state;
    for (int i = 0; i < n; i++) {
        place p = places_at(i);
        print_message("%-24s %4d %6u  %.72s%s\n", p.file, p.line, p.times, p.call, p.times ? "" : "  <- never");
        missing += p.times == 0;
    }
    print_message("%d places where a failing call ends, %d of them never come to\n", n, missing);
    assert_true(n >= 50);
    assert_int_equal(missing, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_failing_call_ends_in_a_status_and_no_leak),
                                       cmocka_unit_test(every_failing_call_of_two_models_too),
                                       cmocka_unit_test(every_failing_call_of_a_backend_too),
                                       cmocka_unit_test(a_device_may_be_lost_at_any_call),
                                       cmocka_unit_test(a_lost_device_is_told),
                                       cmocka_unit_test(failing_calls_of_ranks_too),
                                       cmocka_unit_test(calls_that_threads_decide_fail_too),
                                       cmocka_unit_test(every_place_was_come_to)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
