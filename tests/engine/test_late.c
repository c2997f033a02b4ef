/* The strict test backend is itself strict: what it forbids does fail. */
#include "tests/engine/util_late.h"

#include "tests/util.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static const fc_op_limits limits = {.rows = 4, .cols = 64, .vocab = 300, .heads = 2, .head_dim = 16};

static fc_backend *open_late(void) {
    fc_backend *be = NULL;
    assert_ok(late_backend_open(FC_CPU_AUTO, 1, &limits, &be));
    return be;
}

/* True when touching the byte kills the process. */
static bool touching_kills(volatile unsigned char *p, bool write_it) {
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer's or cmocka's handler would turn it into an exit */
        if (write_it) *p = 1;
        else (void)*p;
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static void buffers_cannot_be_touched_from_outside(void **state) {
    fc_backend *be = open_late();
    void *a, *b;
    unsigned char ours = 0;
    (void)state;
    assert_ok(be->alloc(be, 100, "a", &a));
    assert_ok(be->alloc(be, 5000, "b", &b));
    assert_ok(be->upload(be, b, "hello", 5));
    assert_true(touching_kills(a, false));
    assert_true(touching_kills(b, true));
    assert_true(touching_kills((unsigned char *)b + 4999, false));
    assert_false(touching_kills(&ours, true));
    be->free(be, a);
    be->free(be, NULL);
    assert_true(touching_kills(a, false));
    fc_backend_close(be);
}

static void downloads_arrive_at_sync(void **state) {
    fc_backend *be = open_late();
    void *p;
    char text[6] = "....", second[6] = "....";
    (void)state;
    assert_ok(be->alloc(be, 64, "p", &p));
    assert_ok(be->upload(be, p, "first", 6));
    assert_ok(be->download(be, text, p, 6));
    assert_ok(be->upload(be, p, "other", 6));
    assert_ok(be->download(be, second, p, 6));
    for (int i = 0; i < 6; i++) assert_int_equal((unsigned char)text[i], LATE_BYTE);
    assert_ok(be->sync(be));
    assert_string_equal(text, "first"); /* as the buffer was when the download was asked for */
    assert_string_equal(second, "other");
    assert_ok(be->download(be, text, p, 6));
    fc_backend_close(be); /* a download that nobody waited for is dropped */
}

static void operators_work_as_on_the_cpu(void **state) {
    fc_backend *be = open_late();
    float host[8] = {0, 1, -1, 2, -2, 30, -30, 100}, got[8];
    void *x;
    fc_softcap_args a = {.n = 8, .cap = 10.0f};
    (void)state;
    assert_ok(be->alloc(be, sizeof host, "x", &x));
    assert_ok(be->download(be, got, x, sizeof got));
    assert_ok(be->sync(be));
    for (int i = 0; i < 8; i++) assert_true(got[i] == 0.0f); /* zeroed */
    assert_ok(be->upload(be, x, host, sizeof host));
    a.x = x;
    assert_ok(be->softcap(be->stream, &a));
    assert_ok(be->download(be, got, x, sizeof got));
    assert_ok(be->sync(be));
    for (int i = 0; i < 8; i++) assert_true(fabsf(got[i] - 10.0f * tanhf(host[i] / 10.0f)) < 1e-4f);
    assert_true(touching_kills(x, false));
    fc_backend_close(be);
}

static void every_operator_is_there(void **state) {
    fc_backend *be = open_late();
    (void)state;
    assert_string_equal(be->name, "late");
    assert_true(be->weight_pack && be->weight_free && be->embed && be->rmsnorm && be->linear && be->rope_table &&
                be->rope_kv && be->attn && be->softcap && be->kv_copy && be->draw && be->logprob && be->top_logprobs);
    fc_backend_close(be);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers_cannot_be_touched_from_outside),
        cmocka_unit_test(downloads_arrive_at_sync),
        cmocka_unit_test(operators_work_as_on_the_cpu),
        cmocka_unit_test(every_operator_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
