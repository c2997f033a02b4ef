/* The stage: where lists lie, how much room they take, and that one upload takes them all. */
#include "engine/stage.h"
#include "tests/engine/util_engine.h"

static int uploads;
static fc_status (*upload)(fc_backend *be, void *dst, const void *host, size_t bytes);

static fc_status counted(fc_backend *be, void *dst, const void *host, size_t bytes) {
    uploads++;
    return upload(be, dst, host, bytes);
}

/* Room is what openers sum up for their longest list. If this fails, a step writes behind the block. */
static void a_longer_list_takes_no_less_room(void **state) {
    size_t last = 0;
    (void)state;
    assert_int_equal(fc_stage_room(0), 0);
    for (size_t n = 1; n < 100000; n++) {
        size_t room = fc_stage_room(n);
        assert_true(room >= n && room >= last && room % 256 == 0);
        assert_true(room <= 256 || room < n + n / 8 + 256);
        last = room;
    }
}

static void lists_go_in_one_upload(void **state) {
    enum { N = 100 };
    int32_t a[N], b[N], got[N];
    const void *dev_a, *dev_b, *place = NULL;
    fc_backend *be;
    fc_stage s;
    int32_t *taken;
    (void)state;
    assert_ok(fc_backend_open_cpu(FC_CPU_PORTABLE, 1, &(fc_op_limits){0}, &be));
    upload = be->upload;
    be->upload = counted;
    uploads = 0;
    assert_ok(fc_stage_open(be, 2 * fc_stage_room(sizeof a), "lists", &s));
    for (int i = 0; i < N; i++) a[i] = i, b[i] = 1000 + i;
    for (int n = 65; n <= N; n++) { /* 260 to 400 bytes: the second list keeps its place */
        fc_stage_begin(&s);
        dev_a = fc_stage_put(&s, a, (size_t)n * 4);
        taken = fc_stage_take(&s, (size_t)n * 4, &dev_b);
        memcpy(taken, b, (size_t)n * 4);
        if (!place) place = dev_b;
        assert_ptr_equal(dev_b, place);
        assert_ok(fc_stage_send(&s));
        assert_int_equal(uploads, n - 64);
        assert_ok(be->download(be, got, dev_a, (size_t)n * 4));
        assert_ok(be->sync(be));
        assert_memory_equal(got, a, (size_t)n * 4);
        assert_ok(be->download(be, got, dev_b, (size_t)n * 4));
        assert_ok(be->sync(be));
        assert_memory_equal(got, b, (size_t)n * 4);
    }
    uploads = 0;
    fc_stage_begin(&s);
    fc_stage_put(&s, a, 0);
    assert_ok(fc_stage_send(&s));
    assert_int_equal(uploads, 0);
    fc_stage_close(&s);
    fc_stage_close(&s);
    fc_backend_close(be);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_longer_list_takes_no_less_room),
                                       cmocka_unit_test(lists_go_in_one_upload)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
