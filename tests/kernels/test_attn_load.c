/* Loads of attention on CUDA, from plans small enough to be counted by hand. */
#include "kernels/attn/attn_load.h"
#include "tests/util.h"

enum { E = 64, TILE = 64 * E * 2 * 2 /* bytes of K and V in bf16, of one KV head */ };
static const fc_load_device device = {.sms = 2, .shared_max = 227 << 10, .cache_bytes = 4e6};
static const fc_kv_buf kv1 = {.shape = {.type = FC_BF16, .n_pages = 64, .P = 16, .L = 1, .G = 1, .E = E}};
static const fc_kv_buf kv2 = {.shape = {.type = FC_BF16, .n_pages = 64, .P = 16, .L = 1, .G = 2, .E = E}};

static fc_load one(const fc_attn_args *a, const fc_load_device *d) {
    fc_load l[2];
    assert_int_equal(fc_attn_load_cuda(a, d, l), 1);
    return l[0];
}

/* 128 rows of a prompt: the unit of the first 64 sees one tile, that of the others both. */
static void rows_see_what_lies_before_them(void **state) {
    int32_t pos[128], rows[128];
    const fc_attn_item item = {.n_tiles = 2, .n_rows = 128, .part = -1, .gather = -1};
    fc_attn_args a = {.kv = &kv1, .pos = pos, .items = &item, .item_rows = rows, .n_items = 1, .T = 128, .H = 1};
    fc_load l;
    (void)state;
    for (int i = 0; i < 128; i++) pos[i] = rows[i] = i;
    l = one(&a, &device);
    assert_int_equal(l.launches, 1);
    assert_true(l.memory == 2 * TILE);
    assert_true(l.cache == 3 * TILE + 8.0 * 128 * E);
    assert_true(l.ops[FC_UNIT_BF16] == 4.0 * E * 64 * 3 * 64);
    assert_true(l.busy == 3.0 / (2 * 6));      /* three tiles' work, the longest unit two, in six places */
    assert_true(l.units == 1 && l.tiles == 2); /* no place has more than the longest unit, and nothing is folded */
    a.window = 64; /* the last row sees 64 .. 127: the second unit still begins in the first tile */
    assert_true(one(&a, &device).memory == 2 * TILE);
    a.window = 1;
    assert_true(one(&a, &device).ops[FC_UNIT_BF16] == 4.0 * E * 64 * 2 * 64);
}

/* 24 rows of 4 heads a KV head share 16 tiles: 96 vectors are units of 64 and 32, for each of two KV heads. Each has a
 * tile of its own: 4 vectors, filled up to 16. */
static void what_is_shared_is_read_once(void **state) {
    enum { N = 24 };
    int32_t pos[N], rows[2 * N];
    fc_attn_item items[N + 1] = {{.n_tiles = 16, .n_rows = N, .part = 0, .gather = -1}};
    fc_attn_args a = {.kv = &kv2, .pos = pos, .items = items, .item_rows = rows, .n_items = N + 1, .T = N, .H = 8};
    fc_load_device small = device;
    fc_load l;
    (void)state;
    for (int i = 0; i < N; i++) {
        pos[i] = 1024 + 20;
        rows[i] = rows[N + i] = i;
        items[1 + i] = (fc_attn_item){.tile = 16, .n_tiles = 1, .row = i, .n_rows = 1, .part = N + i, .gather = -1};
    }
    l = one(&a, &device);
    assert_true(l.memory == 2.0 * (16 + N) * TILE);
    assert_true(l.cache == 2.0 * (2 * 16 + N) * TILE + 8.0 * N * 8 * E + 8.0 * 2 * N * 8 * (E + 2));
    assert_true(l.ops[FC_UNIT_BF16] == 4.0 * E * 64 * 2 * (96.0 * 16 + 16.0 * N));
    /* 2 x (2 + 24) units and 2 x (2 x 16 + 24) tiles take turns in six places, of which one has 16 tiles at least; then
     * who folds waits for the last unit */
    assert_true(l.units == 2 * 26 / 6.0 + 0.6 && l.tiles == 2 * 56 / 6.0);
    small.cache_bytes = 0; /* all of it goes to memory then, partial states too */
    assert_true(one(&a, &small).memory == l.memory + 8.0 * N * 8 * E + 8.0 * 2 * N * 8 * (E + 2));
}

/* The same where warpgroups take what is shared: 96 vectors are one unit of two warpgroups, whose tiles are read once
 * for each KV head. What is left, and the folds, are a launch behind it. */
static void warpgroups_are_a_launch_of_their_own(void **state) {
    enum { N = 24 };
    int32_t pos[N], rows[2 * N];
    fc_attn_item items[N + 1] = {{.n_tiles = 16, .n_rows = N, .part = 0, .gather = -1}};
    fc_attn_args a = {.kv = &kv2, .pos = pos, .items = items, .item_rows = rows, .n_items = N + 1, .T = N, .H = 8};
    fc_load_device d = device;
    fc_load l[2];
    (void)state;
    d.warpgroups = true;
    for (int i = 0; i < N; i++) {
        pos[i] = 1024 + 20;
        rows[i] = rows[N + i] = i;
        items[1 + i] = (fc_attn_item){.tile = 16, .n_tiles = 1, .row = i, .n_rows = 1, .part = N + i, .gather = -1};
    }
    assert_int_equal(fc_attn_load_cuda(&a, &d, l), 2);
    assert_true(l[0].warpgroups && !l[1].warpgroups && l[0].launches == 1 && l[1].launches == 1);
    assert_true(l[0].memory == 2.0 * 16 * TILE && l[1].memory == 2.0 * N * TILE);
    assert_true(l[0].cache == 2.0 * 16 * TILE + 8.0 * N * 8 * E);
    assert_true(l[1].cache == 2.0 * N * TILE + 8.0 * 2 * N * 8 * (E + 2));
    assert_true(l[0].ops[FC_UNIT_BF16] == 4.0 * E * 64 * 2 * 128.0 * 16);
    assert_true(l[1].ops[FC_UNIT_BF16] == 4.0 * E * 64 * 2 * 16.0 * N);
    assert_true(l[0].units == 0.25 && l[0].tiles == 16 * 0.5); /* of two processors each has a unit */
    a.n_items = 1;
    items[0].part = -1;
    assert_int_equal(fc_attn_load_cuda(&a, &d, l), 1); /* nothing is left */
    assert_true(l[0].warpgroups);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_see_what_lies_before_them),
        cmocka_unit_test(what_is_shared_is_read_once),
        cmocka_unit_test(warpgroups_are_a_launch_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
