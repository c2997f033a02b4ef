/* Every quantised type against the `gguf` package, bit for bit: tests/data/base, made by
 * tests/oracle/quant_golden.py. */
#include "tests/util.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/quant.h"

static const fc_dtype quant_types[] = {FC_Q8_0, FC_Q4_0, FC_Q4_1, FC_Q5_0, FC_Q5_1, FC_Q4_K, FC_Q5_K, FC_Q6_K};
enum { N_QUANT = sizeof quant_types / sizeof *quant_types };

/* n, then two parts: blocks and values, or values and blocks. */
typedef struct {
    char *file;
    size_t n, row_bytes;
    const uint8_t *blocks;
    float *values; /* [n], fc_free */
} golden;

static golden open_golden(const char *kind, fc_dtype t) {
    char path[128];
    golden g = {0};
    size_t size;
    uint32_t n;
    void *mem;
    const char *values;
    snprintf(path, sizeof path, "tests/data/base/quant_%s_%s.bin", kind, fc_dtype_name(t));
    assert_ok(fc_file_read(path, 1 << 20, &g.file, &size));
    assert_true(size > sizeof n);
    memcpy(&n, g.file, sizeof n);
    g.n = n;
    assert_ok(fc_dtype_row_bytes(t, g.n, &g.row_bytes));
    assert_int_equal(size, sizeof n + g.row_bytes + g.n * sizeof(float));
    if (strcmp(kind, "values") == 0) {
        g.blocks = (const uint8_t *)g.file + sizeof n;
        values = g.file + sizeof n + g.row_bytes;
    } else {
        values = g.file + sizeof n;
        g.blocks = (const uint8_t *)g.file + sizeof n + g.n * sizeof(float);
    }
    assert_ok(fc_alloc(g.n, sizeof(float), "golden values", &mem));
    memcpy(mem, values, g.n * sizeof(float));
    g.values = mem;
    return g;
}

static void close_golden(golden *g) {
    fc_free(g->values);
    fc_free(g->file);
}

static float *floats(size_t n) {
    void *p;
    assert_ok(fc_alloc(n, sizeof(float), "test values", &p));
    return p;
}

static void same_bits(fc_dtype t, const float *got, const float *want, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], sizeof *got) != 0)
            fail_msg("%s: element %zu is %a; the package says %a", fc_dtype_name(t), i, (double)got[i],
                     (double)want[i]);
}

/* If this fails, the weights in memory are not those of the file. */
static void values_are_the_packages(void **state) {
    (void)state;
    for (int k = 0; k < N_QUANT; k++) {
        golden g = open_golden("values", quant_types[k]);
        float *y = floats(g.n);
        assert_ok(fc_dequant_row(quant_types[k], g.blocks, y, g.n));
        same_bits(quant_types[k], y, g.values, g.n);
        fc_free(y);
        close_golden(&g);
    }
}

static void made_blocks_are_the_packages(void **state) {
    static const fc_dtype types[] = {FC_F16, FC_BF16, FC_Q8_0, FC_Q4_0, FC_Q4_1};
    (void)state;
    for (int k = 0; k < 5; k++) {
        golden g = open_golden("blocks", types[k]);
        void *mem;
        uint8_t *b;
        assert_ok(fc_alloc(g.row_bytes, 1, "blocks", &mem));
        b = mem;
        assert_ok(fc_quant_row(types[k], g.values, b, g.n));
        for (size_t i = 0; i < g.row_bytes; i++)
            if (b[i] != g.blocks[i])
                fail_msg("%s: byte %zu of block %zu is %02x; the package makes %02x", fc_dtype_name(types[k]),
                         i % fc_dtype_block_bytes(types[k]), i / fc_dtype_block_bytes(types[k]), b[i], g.blocks[i]);
        fc_free(mem);
        close_golden(&g);
    }
}

/* The kernels compute with codes; a value by code may differ from the format's own order of operations by rounding
 * only: two roundings of the larger of scale*code and min. */
static void codes_give_the_values(void **state) {
    (void)state;
    for (int k = 0; k < N_QUANT; k++) {
        fc_dtype t = quant_types[k];
        golden g = open_golden("values", t);
        size_t group = (size_t)fc_quant_group(t);
        float *scale = floats(g.n / group), *min = floats(g.n / group);
        void *mem;
        uint8_t *codes;
        assert_ok(fc_alloc(g.n, 1, "codes", &mem));
        codes = mem;
        assert_ok(fc_quant_codes(t, g.blocks, g.n, codes, scale, min));
        for (size_t i = 0; i < g.n; i++) {
            double s = scale[i / group], m = min[i / group], v = s * codes[i] + m;
            double room = (fabs(s * codes[i]) + fabs(m)) * 0x1p-22 + 0x1p-149;
            if (fc_quant_bits(t) == 4) assert_true(codes[i] < 16);
            if (fabs(v - (double)g.values[i]) > room)
                fail_msg("%s: element %zu: %g * %d + %g = %g; the value is %g", fc_dtype_name(t), i, s, codes[i], m, v,
                         (double)g.values[i]);
        }
        fc_free(mem);
        fc_free(scale);
        fc_free(min);
        close_golden(&g);
    }
}

/* Quantising what a Q8_0 or Q4_0 block says gives a block that says the same, up to rounding of the scale. */
static void requantising_is_stable(void **state) {
    static const fc_dtype types[] = {FC_Q8_0, FC_Q4_0};
    uint64_t seed = 7;
    (void)state;
    for (int k = 0; k < 2; k++) {
        float x[320], y[320], z[320];
        uint8_t b[340];
        for (int i = 0; i < 320; i++) x[i] = test_normal(&seed);
        assert_ok(fc_quant_row(types[k], x, b, 320));
        assert_ok(fc_dequant_row(types[k], b, y, 320));
        assert_ok(fc_quant_row(types[k], y, b, 320));
        assert_ok(fc_dequant_row(types[k], b, z, 320));
        for (int i = 0; i < 320; i++)
            if (fabsf(z[i] - y[i]) > fabsf(y[i]) * 0x1p-10f + 1e-6f) /* one ulp of an f16 scale */
                fail_msg("%s: element %d: %g became %g", fc_dtype_name(types[k]), i, (double)y[i], (double)z[i]);
    }
}

static void what_cannot_be_held_is_refused(void **state) {
    float x[256] = {0};
    uint8_t b[128];
    (void)state;
    x[17] = NAN;
    assert_fails(fc_quant_row(FC_Q8_0, x, b, 32), FC_ERR_FORMAT, "element 17 is nan");
    assert_fails(fc_quant_row(FC_F32, x, b, 32), FC_ERR_FORMAT, "element 17");
    x[17] = -INFINITY;
    assert_fails(fc_quant_row(FC_BF16, x, b, 32), FC_ERR_FORMAT, "element 17 is -inf");
    x[17] = 65520.0f; /* rounds to infinity in f16 */
    assert_fails(fc_quant_row(FC_F16, x, b, 32), FC_ERR_FORMAT, "65520");
    x[17] = 65519.0f;
    assert_ok(fc_quant_row(FC_F16, x, b, 32));
    x[17] = 3.4e38f;
    assert_fails(fc_quant_row(FC_BF16, x, b, 32), FC_ERR_FORMAT, "element 17");
    assert_fails(fc_quant_row(FC_Q8_0, x, b, 32), FC_ERR_FORMAT, "3.4e+38");
    assert_fails(fc_quant_row(FC_Q4_0, x, b, 32), FC_ERR_FORMAT, "3.4e+38");
    x[17] = 0.0f;
    assert_fails(fc_quant_row(FC_Q4_K, x, b, 256), FC_ERR_UNSUPPORTED, "Q4_K");
    assert_fails(fc_quant_row(FC_Q8_0, x, b, 31), FC_ERR_FORMAT, "31");
    assert_fails(fc_dequant_row(FC_Q6_K, b, x, 32), FC_ERR_FORMAT, "256");
    assert_fails(fc_dequant_row(FC_I8, b, x, 32), FC_ERR_UNSUPPORTED, "I8");
    assert_fails(fc_quant_codes(FC_F16, b, 32, b, x, x), FC_ERR_UNSUPPORTED, "F16");
}

/* 1/d overflows for the smallest floats: such a block is zero, on every machine. */
static void tiny_blocks_are_zero(void **state) {
    float x[32], y[32];
    uint8_t b[34];
    (void)state;
    for (int i = 0; i < 32; i++) x[i] = (float)(i - 16) * 1e-44f;
    assert_ok(fc_quant_row(FC_Q8_0, x, b, 32));
    for (int i = 0; i < 34; i++) assert_int_equal(b[i], 0);
    assert_ok(fc_quant_row(FC_Q4_0, x, b, 32));
    for (int i = 2; i < 18; i++) assert_int_equal(b[i], 0x88);
    assert_ok(fc_dequant_row(FC_Q4_0, b, y, 32));
    for (int i = 0; i < 32; i++) assert_true(y[i] == 0.0f);
}

static void f8_rows_hold_what_fits(void **state) {
    const float x[6] = {0.3f, -448.0f, 463.9f, 0x1p-11f, -0.0f, 17.0f},
                want[6] = {0.3125f, -448.0f, 448.0f, 0.0f, -0.0f, 16.0f};
    float y[6];
    uint8_t codes[6] = {0};
    (void)state;
    assert_ok(fc_quant_row(FC_F8, x, codes, 6));
    assert_ok(fc_dequant_row(FC_F8, codes, y, 6));
    assert_memory_equal(y, want, sizeof y);
    y[2] = -464.0f; /* would be 480, which there is not */
    assert_fails(fc_quant_row(FC_F8, y, codes, 6), FC_ERR_FORMAT, "F8_E4M3: element 2 is -464");
    y[2] = NAN;
    assert_fails(fc_quant_row(FC_F8, y, codes, 6), FC_ERR_FORMAT, "element 2 is nan");
    assert_int_equal(fc_quant_held_bytes(FC_F8, 77), 77);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_the_packages),        cmocka_unit_test(made_blocks_are_the_packages),
        cmocka_unit_test(codes_give_the_values),          cmocka_unit_test(requantising_is_stable),
        cmocka_unit_test(what_cannot_be_held_is_refused), cmocka_unit_test(tiny_blocks_are_zero),
        cmocka_unit_test(f8_rows_hold_what_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
