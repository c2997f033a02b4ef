/* lora.cu under emulation: mixed adapters of a batch within the header's error of the reference; a row has the bits
 * that it has alone, whatever its tile's height; bf16 has the bits of f32; what belongs to no part stays. */
#include "kernels/lora/lora.h"
#include "tests/cuda_emu/util_cuda.h"

enum { MOST = 45, GAP = 5 }; /* adapters of one call; columns of y behind each part that belong to none */

typedef struct {
    const char *name;
    int T, K, N[FC_LORA_PARTS], n_parts, adapters;
    int gap;    /* columns behind each part */
    int shift;  /* floats by which x and y miss 16 bytes */
    int biased; /* most rows are the first adapter's */
} shape;

static const uint32_t untouched = 0x7fa00001; /* a NaN that any arithmetic changes */

static const shape shapes[] = {
    {"one row", 1, 40, {17}, 1, 1, GAP, 0, 0},
    {"mixed", 13, 100, {70, 33, 5}, 3, 4, GAP, 0, 0},
    {"uneven K", 9, 37, {12, 300}, 2, 3, 4, 0, 0},
    {"pieces of 16 bytes", 11, 1300, {264, 8}, 2, 2, 0, 0, 1},
    {"ends beside 16 bytes", 7, 64, {10, 26}, 2, 2, 6, 0, 0},
    {"tall", 37, 132, {280}, 1, 2, 0, 0, 1},
    {"beside 16 bytes", 11, 64, {64}, 1, 2, 0, 1, 1},
    {"more than one launch", 90, 16, {4, 20}, 2, MOST, GAP, 0, 0},
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

typedef struct {
    const shape *c;
    int ldy, ldz;
    fc_lora w[MOST];   /* on the device */
    fc_lora ref[MOST]; /* on the host, the same values as f32 */
    fc_lora_source parts[MOST][FC_LORA_PARTS];
    float *x, *y;
    int of[128], rows[128]; /* adapter of a row, -1: none */
    fc_lora_group groups[MOST];
    int n_groups, M;
} fixture;

static float *bf16_normals(uint64_t *seed, size_t n, float size) {
    float *p = malloc(n * sizeof *p);
    for (size_t i = 0; i < n; i++) p[i] = fc_bf16_to_f32(fc_f32_to_bf16(size * test_normal(seed)));
    return p;
}

/* Adapter 1 has no first part where there are several. */
static void open_adapter(fixture *f, fc_stream s, int i, fc_dtype dtype, uint64_t *seed) {
    const shape *c = f->c;
    int n = 0, col = 0;
    void *host, *dev;
    size_t bytes;
    for (int p = 0; p < c->n_parts; col += c->N[p++] + c->gap) {
        int r = 1 + test_below(seed, 11) + (i % 3 == 2 ? 9 : 0);
        if (i == 1 && p == 0 && c->n_parts > 1) continue;
        f->parts[i][n++] = (fc_lora_source){.a = bf16_normals(seed, (size_t)(r * c->K), 1 / sqrtf((float)c->K)),
                                            .b = bf16_normals(seed, (size_t)(r * c->N[p]), 1.0f),
                                            .col = col,
                                            .N = c->N[p],
                                            .r = r,
                                            .scale = 0.3f * (float)(i % 5 + 1)};
    }
    bytes = fc_lora_pack_bytes(FC_F32, c->K, f->parts[i], n);
    host = malloc(bytes); /* stays: the reference's */
    fc_lora_pack(FC_F32, c->K, f->parts[i], n, host, host, &f->ref[i]);
    bytes = fc_lora_pack_bytes(dtype, c->K, f->parts[i], n);
    host = malloc(bytes);
    fc_lora_pack(dtype, c->K, f->parts[i], n, host, host, &f->w[i]);
    dev = device_copy(s, host, bytes);
    f->w[i].b = (unsigned char *)dev + ((const unsigned char *)f->w[i].b - (const unsigned char *)host);
    f->w[i].a = dev;
    free(host);
    if (f->w[i].R > f->ldz) f->ldz = f->w[i].R;
}

static void open_fixture(fixture *f, fc_stream s, const shape *c, int dtype, uint64_t seed) {
    memset(f, 0, sizeof *f);
    f->c = c;
    f->ldz = 3;
    for (int p = 0; p < c->n_parts; p++) f->ldy += c->N[p] + c->gap;
    for (int i = 0; i < c->adapters; i++) /* dtype -1: every other one */
        open_adapter(f, s, i, dtype < 0 ? (i % 2 ? FC_BF16 : FC_F32) : (fc_dtype)dtype, &seed);
    f->x = malloc((size_t)(c->T * c->K) * 4), f->y = malloc((size_t)(c->T * f->ldy) * 4);
    for (int i = 0; i < c->T * c->K; i++) f->x[i] = test_normal(&seed);
    for (int i = 0; i < c->T * f->ldy; i++) f->y[i] = test_normal(&seed);
    for (int t = 0; t < c->T; t++)
        for (int p = 0, col = 0; p < c->n_parts; col += c->N[p++] + c->gap)
            for (int i = 0; i < c->gap; i++) memcpy(&f->y[t * f->ldy + col + c->N[p] + i], &untouched, 4);
    for (int t = 0; t < c->T; t++) {
        f->of[t] = c->T == 1 ? 0 : test_below(&seed, c->adapters + 1) - 1;
        if (c->biased && t % 8) f->of[t] = 0;
    }
}

static void close_fixture(fixture *f) {
    for (int i = 0; i < f->c->adapters; i++) {
        device_free((void *)(uintptr_t)f->w[i].a);
        free((void *)(uintptr_t)f->ref[i].a);
        for (int p = 0; p < FC_LORA_PARTS; p++)
            free((void *)(uintptr_t)f->parts[i][p].a), free((void *)(uintptr_t)f->parts[i][p].b);
    }
    free(f->x), free(f->y);
}

/* Groups of all rows, last rows first in a group, or of row `alone`. */
static void make_groups(fixture *f, int alone) {
    f->n_groups = f->M = 0;
    for (int i = 0; i < f->c->adapters; i++) {
        int first = f->M;
        for (int t = f->c->T - 1; t >= 0; t--)
            if (f->of[t] == i && (alone < 0 || t == alone)) f->rows[f->M++] = t;
        if (f->M > first)
            f->groups[f->n_groups++] = (fc_lora_group){.w = &f->w[i], .first = first, .n_rows = f->M - first};
    }
}

/* y after the call, of the whole batch. */
static float *run(fixture *f, fc_stream s) {
    const shape *c = f->c;
    size_t nx = (size_t)(c->T * c->K), ny = (size_t)(c->T * f->ldy), shift = (size_t)c->shift;
    float *y = malloc(ny * 4), *host = calloc(nx + ny + shift, 4), *dx, *dy;
    memcpy(host + shift, f->x, nx * 4);
    dx = device_copy(s, host, (nx + shift) * 4);
    memcpy(host + shift, f->y, ny * 4);
    dy = device_copy(s, host, (ny + shift) * 4);
    fc_lora_args a = {.x = dx + shift, .y = dy + shift, .groups = f->groups, .n_groups = f->n_groups};
    a.T = c->T, a.K = c->K, a.ldy = f->ldy, a.ldz = f->ldz;
    a.z = device_copy(s, NULL, (size_t)(f->M * f->ldz) * 4);
    a.rows = device_copy(s, f->rows, (size_t)f->M * 4);
    assert_ok(fc_lora_cuda(s, &a));
    assert_ok(device_sync(s));
    device_read(s, host, dy, (ny + shift) * 4);
    memcpy(y, host + shift, ny * 4);
    device_free(dx), device_free(dy), device_free(a.z), device_free((void *)(uintptr_t)a.rows);
    free(host);
    return y;
}

/* |scale| sum_j |B[n,j]| sum_k |A[j,k]| |x[k]|: what rounding is measured by; 0: no part's column. */
static double size_of(const fixture *f, int t, int col) {
    for (int p = 0; p < FC_LORA_PARTS && f->of[t] >= 0; p++) {
        const fc_lora_source *s = &f->parts[f->of[t]][p];
        double sum = 0;
        if (!s->a || col < s->col || col >= s->col + s->N) continue;
        for (int j = 0; j < s->r; j++) {
            double z = 0;
            for (int k = 0; k < f->c->K; k++) z += fabs((double)s->a[j * f->c->K + k] * (double)f->x[t * f->c->K + k]);
            sum += fabs((double)s->b[(col - s->col) * s->r + j]) * z;
        }
        return fabs((double)s->scale) * sum;
    }
    return 0;
}

static void near_reference(const fixture *f, const float *y, uint64_t seed) {
    size_t bytes = (size_t)(f->c->T * f->ldy) * 4;
    fc_lora_group groups[MOST];
    float *ref = malloc(bytes);
    fc_lora_args a = {.x = f->x, .y = ref, .rows = f->rows, .groups = groups, .n_groups = f->n_groups};
    a.T = f->c->T, a.K = f->c->K, a.ldy = f->ldy, a.ldz = f->ldz;
    for (int g = 0; g < f->n_groups; g++) {
        groups[g] = f->groups[g];
        groups[g].w = &f->ref[f->groups[g].w - f->w];
    }
    memcpy(ref, f->y, bytes);
    assert_ok(fc_lora_ref(NULL, &a));
    for (int t = 0; t < f->c->T; t++)
        for (int n = 0; n < f->ldy; n++) {
            int i = t * f->ldy + n;
            double size = size_of(f, t, n);
            if (size <= 0) {
                if (memcmp(&y[i], &f->y[i], 4))
                    fail_msg("%s, seed %llu: y[%d,%d] belongs to no part and changed", f->c->name,
                             (unsigned long long)seed, t, n);
                continue;
            }
            if (!(fabs((double)y[i] - (double)ref[i]) <= 1e-6 * size + 6e-8 * fabs((double)ref[i])))
                fail_msg("%s, seed %llu: y[%d,%d] = %.9g, reference %.9g", f->c->name, (unsigned long long)seed, t, n,
                         (double)y[i], (double)ref[i]);
        }
    free(ref);
}

static void meets_the_reference(const shape *c, int dtype, uint64_t seed) {
    fc_stream s = device_stream(0);
    fixture f;
    float *y;
    open_fixture(&f, s, c, dtype, seed);
    make_groups(&f, -1);
    y = run(&f, s);
    near_reference(&f, y, seed);
    free(y);
    close_fixture(&f);
    device_close(s);
}

static void every_shape_meets_the_reference(void **state) {
    (void)state;
    for (int k = 0; k < N_SHAPES; k++)
        for (int dtype = -1; dtype <= (int)FC_BF16; dtype++)
            if (dtype != FC_F16) each_order(meets_the_reference(&shapes[k], dtype, 70 + (uint64_t)k));
}

/* The same numbers in f32 and bf16, and each row in a call of its own: same bits. */
static void a_row_has_its_bits(void **state) {
    fc_stream s = device_stream(0);
    (void)state;
    emu_opts.order = EMU_FORWARD;
    for (int k = 0; k < N_SHAPES; k++) {
        static const fc_dtype types[] = {FC_F32, FC_BF16};
        float *all[2];
        fixture f;
        size_t row;
        for (int d = 0; d < 2; d++) {
            open_fixture(&f, s, &shapes[k], (int)types[d], 7);
            row = (size_t)f.ldy;
            make_groups(&f, -1);
            all[d] = run(&f, s);
            for (int t = 0; t < f.c->T && d == 0; t += 1 + f.c->T / 8) {
                make_groups(&f, t);
                if (f.n_groups == 0) continue;
                float *y = run(&f, s);
                if (memcmp(y + (size_t)t * row, all[0] + (size_t)t * row, row * 4))
                    fail_msg("%s: row %d alone has other bits", f.c->name, t);
                free(y);
            }
            close_fixture(&f);
        }
        if (memcmp(all[0], all[1], (size_t)shapes[k].T * row * 4)) fail_msg("%s: bf16 has other bits", shapes[k].name);
        free(all[0]), free(all[1]);
    }
    device_close(s);
}

/* A NaN at either end of x[5] and an infinity in x[6] stay in their rows. */
static void not_finite(const shape *c) {
    fc_stream s = device_stream(0);
    fixture f;
    float *y, *with;
    open_fixture(&f, s, c, FC_BF16, 3);
    for (int t = 0; t < c->T; t++) f.of[t] = t % 9 ? 0 : 1;
    make_groups(&f, -1);
    y = run(&f, s);
    f.x[5 * c->K] = f.x[6 * c->K - 1] = NAN, f.x[6 * c->K + 7] = INFINITY;
    with = run(&f, s);
    for (int t = 0; t < c->T; t++) {
        size_t at = (size_t)(t * f.ldy);
        if (t == 5 || t == 6) assert_true(isnan(with[at]) || isinf(with[at]));
        else assert_memory_equal(with + at, y + at, (size_t)f.ldy * 4);
    }
    free(y), free(with);
    close_fixture(&f);
    device_close(s);
}

static void nan_stays_in_its_row(void **state) {
    (void)state;
    for (int k = 0; k < N_SHAPES; k++)
        if (shapes[k].T > 6) not_finite(&shapes[k]);
}

static void needs_are_told(void **state) {
    fc_stream s = device_stream(0);
    fc_lora good = {.dtype = FC_F32, .K = 4, .R = 2, .n_parts = 1, .part = {{.N = 4, .r = 2}}}, w = good;
    fc_lora_group g = {.w = &w, .n_rows = 1};
    fc_lora_args a = {.groups = &g, .n_groups = 1, .T = 1, .K = 4, .ldy = 4, .ldz = 2};
    (void)state;
    a.T = 0;
    assert_fails(fc_lora_cuda(s, &a), FC_ERR_ARG, "T=0");
    a.T = 1, a.n_groups = 0;
    assert_fails(fc_lora_cuda(s, &a), FC_ERR_ARG, "groups=0");
    a.n_groups = 1, g.n_rows = 0;
    assert_fails(fc_lora_cuda(s, &a), FC_ERR_ARG, "0 rows");
    g.n_rows = 1, w.dtype = FC_F16;
    assert_fails(fc_lora_cuda(s, &a), FC_ERR_UNSUPPORTED, "F16");
    w = good, w.K = 5;
    assert_fails(fc_lora_cuda(s, &a), FC_ERR_ARG, "K=5");
    w = good, w.part[0].col = 1;
    assert_fails(fc_lora_cuda(s, &a), FC_ERR_ARG, "columns 1 to 5 of 4");
    w = good, w.part[0].r = 3;
    assert_fails(fc_lora_cuda(s, &a), FC_ERR_ARG, "3 together");
    w = good, a.ldz = 1;
    assert_fails(fc_lora_cuda(s, &a), FC_ERR_ARG, "room for 1");
    device_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_shape_meets_the_reference),
                                       cmocka_unit_test(a_row_has_its_bits), cmocka_unit_test(nan_stays_in_its_row),
                                       cmocka_unit_test(needs_are_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
