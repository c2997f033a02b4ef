/* Low-rank updates against the reference; a row's bits depend on the row and its adapter alone; other rows stay. */
#include "kernels/cpu/cpu.h"
#include "kernels/lora/lora.h"
#include "tests/util.h"

enum { MOST = 4 }; /* adapters of one call */

/* Adapters over one matrix of n_parts parts, which stand side by side in y with a gap of 5 columns behind each. */
typedef struct {
    int T, K, ldy, ldz, n_groups;
    fc_lora w[MOST];
    fc_lora_source parts[MOST][FC_LORA_PARTS]; /* as they were packed */
    void *packed[MOST];
    float *x, *y, *z;
    int32_t *rows;
    fc_lora_group groups[MOST];
} fixture;

static float *normals(uint64_t *seed, size_t n, float size) {
    float *p = malloc(n * sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++) p[i] = size * test_normal(seed);
    return p;
}

/* ranks[a][p] of adapter a, 0: it has no such part. bf16: values that bf16 holds, packed as dtype says. */
static void open_fixture(fixture *f, int T, int K, const int *N, int n_parts, const int (*ranks)[FC_LORA_PARTS],
                         int n_adapters, fc_dtype dtype, uint64_t seed) {
    memset(f, 0, sizeof *f);
    f->T = T;
    f->K = K;
    f->ldz = 3;
    for (int p = 0; p < n_parts; p++) f->ldy += N[p] + 5;
    for (int a = 0; a < n_adapters; a++) {
        int n = 0, col = 0, R = 0;
        size_t bytes;
        for (int p = 0; p < n_parts; col += N[p++] + 5) {
            int r = ranks[a][p];
            float *A, *B;
            if (!r) continue;
            A = normals(&seed, (size_t)r * (size_t)K, 1.0f / sqrtf((float)K));
            B = normals(&seed, (size_t)N[p] * (size_t)r, 1.0f);
            for (int i = 0; i < r * K; i++) A[i] = fc_bf16_to_f32(fc_f32_to_bf16(A[i]));
            for (int i = 0; i < N[p] * r; i++) B[i] = fc_bf16_to_f32(fc_f32_to_bf16(B[i]));
            f->parts[a][n++] =
                (fc_lora_source){.a = A, .b = B, .col = col, .N = N[p], .r = r, .scale = 0.3f * (float)(a + 1)};
            R += r;
        }
        if (n == 0) continue;
        bytes = fc_lora_pack_bytes(dtype, K, f->parts[a], n);
        f->packed[a] = malloc(bytes);
        fc_lora_pack(dtype, K, f->parts[a], n, f->packed[a], f->packed[a], &f->w[a]);
        if (R > f->ldz) f->ldz = R;
    }
    f->x = normals(&seed, (size_t)T * (size_t)K, 1.0f);
    f->y = normals(&seed, (size_t)T * (size_t)f->ldy, 1.0f);
    f->z = normals(&seed, (size_t)T * (size_t)f->ldz, 1.0f); /* rubbish that must not matter */
    f->rows = malloc((size_t)T * sizeof *f->rows);
    assert_true(f->rows && f->packed[0]);
    f->n_groups = 0;
}

static void close_fixture(fixture *f) {
    for (int a = 0; a < MOST; a++) {
        for (int p = 0; p < FC_LORA_PARTS; p++) {
            free((void *)(uintptr_t)f->parts[a][p].a);
            free((void *)(uintptr_t)f->parts[a][p].b);
        }
        free(f->packed[a]);
    }
    free(f->x);
    free(f->y);
    free(f->z);
    free(f->rows);
}

/* Row t belongs to adapter of[t], -1: to none. */
static void group(fixture *f, const int *of) {
    int n = 0;
    f->n_groups = 0;
    for (int a = 0; a < MOST; a++) {
        int first = n;
        for (int t = 0; t < f->T; t++)
            if (of[t] == a) f->rows[n++] = t;
        if (n > first) f->groups[f->n_groups++] = (fc_lora_group){.w = &f->w[a], .first = first, .n_rows = n - first};
    }
}

static fc_lora_args args_of(const fixture *f, float *y) {
    return (fc_lora_args){.y = y,
                          .x = f->x,
                          .z = f->z,
                          .rows = f->rows,
                          .groups = f->groups,
                          .n_groups = f->n_groups,
                          .T = f->T,
                          .K = f->K,
                          .ldy = f->ldy,
                          .ldz = f->ldz};
}

static float *copy_of(const fixture *f) {
    size_t bytes = (size_t)f->T * (size_t)f->ldy * sizeof(float);
    float *y = malloc(bytes);
    assert_non_null(y);
    memcpy(y, f->y, bytes);
    return y;
}

static float *run(const fixture *f, fc_cpu_level level, int threads) {
    float *y = copy_of(f);
    fc_lora_args a = args_of(f, y);
    fc_stream st;
    assert_ok(fc_cpu_stream_open(level, threads, 0, 0, &st));
    assert_ok(fc_lora_cpu(st, &a));
    fc_cpu_stream_close(st);
    return y;
}

/* |scale| sum_j |B[n,j]| sum_k |A[j,k]| |x[k]|, the size that rounding is measured by. */
static double size_of(const fixture *f, int adapter, int t, int col) {
    for (int p = 0; p < FC_LORA_PARTS; p++) {
        const fc_lora_source *s = &f->parts[adapter][p];
        double sum = 0;
        if (!s->a || col < s->col || col >= s->col + s->N) continue;
        for (int j = 0; j < s->r; j++) {
            double z = 0;
            for (int k = 0; k < f->K; k++)
                z += fabs((double)s->a[j * f->K + k]) * fabs((double)f->x[(size_t)t * (size_t)f->K + (size_t)k]);
            sum += fabs((double)s->b[(col - s->col) * s->r + j]) * z;
        }
        return fabs((double)s->scale) * sum;
    }
    return 0;
}

static void near_reference(const fixture *f, const int *of, fc_cpu_level level) {
    float *y = run(f, level, 2), *ref = copy_of(f);
    fc_lora_args a = args_of(f, ref);
    double worst = 0;
    assert_ok(fc_lora_ref(NULL, &a));
    for (int t = 0; t < f->T; t++)
        for (int n = 0; n < f->ldy; n++) {
            size_t i = (size_t)t * (size_t)f->ldy + (size_t)n;
            double size = of[t] < 0 ? 0 : size_of(f, of[t], t, n), d = fabs((double)y[i] - (double)ref[i]);
            double room = 1e-6 * size + 6e-8 * fabs((double)ref[i]);
            if (size == 0 && memcmp(&y[i], &f->y[i], sizeof *y) != 0)
                fail_msg("y[%d,%d] belongs to no part and changed", t, n);
            if (!(d <= room))
                fail_msg("level %d: y[%d,%d] = %.9g, reference %.9g", (int)level, t, n, (double)y[i], (double)ref[i]);
            if (size > 0 && d / size > worst) worst = d / size;
        }
    printf("T=%d K=%d level %d: %.1e of the absolute sum\n", f->T, f->K, (int)level, worst);
    free(y);
    free(ref);
}

static const int three[3] = {64, 33, 20}, one[1] = {576}, two[2] = {49, 1000};
static const int mixed[MOST][FC_LORA_PARTS] = {{4, 4, 4}, {16, 0, 3}, {0, 9, 0}, {64, 8, 1}};

static const struct {
    int T, K;
    const int *N;
    int n_parts;
} shapes[] = {{1, 1, three, 3},    {1, 576, one, 1},  {7, 40, three, 3},
              {37, 100, three, 3}, {50, 576, two, 2}, {3, 1537, one, 1}};

static void deal(int *of, int T, uint64_t *seed) {
    for (int t = 0; t < T; t++) of[t] = test_below(seed, MOST + 1) - 1;
    of[0] = test_below(seed, 2) * 3; /* somebody has one, at any T */
}

static float packed_at(const fc_lora *w, const void *p, size_t i) {
    return w->dtype == FC_F32 ? ((const float *)p)[i] : fc_bf16_to_f32(((const uint16_t *)p)[i]);
}

/* The reference reads what pack wrote, so pack is held against its sources. */
static void packing_keeps_every_number(void **state) {
    (void)state;
    for (int dtype = 0; dtype < 2; dtype++) {
        fixture f;
        open_fixture(&f, 1, 40, three, 3, mixed, MOST, dtype ? FC_BF16 : FC_F32, 9);
        for (int a = 0; a < MOST; a++)
            for (int p = 0; p < f.w[a].n_parts; p++) {
                const fc_lora *w = &f.w[a];
                const fc_lora_source *s = &f.parts[a][p];
                const fc_lora_part *part = &w->part[p];
                assert_true(part->col == s->col && part->N == s->N && part->r == s->r && part->scale == s->scale);
                for (int j = 0; j < s->r; j++) {
                    size_t at_a = (size_t)(part->z + j) * 48, at_b = part->b + (size_t)j * fc_lora_pad(s->N);
                    for (int k = 0; k < 48; k++)
                        assert_true(packed_at(w, w->a, at_a + (size_t)k) == (k < 40 ? s->a[j * 40 + k] : 0.0f));
                    for (int n = 0; n < (int)fc_lora_pad(s->N); n++)
                        assert_true(packed_at(w, w->b, at_b + (size_t)n) == (n < s->N ? s->b[n * s->r + j] : 0.0f));
                }
            }
        close_fixture(&f);
    }
}

/* If this fails, an adapter says something else than it was trained to say. */
static void every_level_meets_the_reference(void **state) {
    uint64_t seed = 11;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int dtype = 0; dtype < 2; dtype++) {
            fixture f;
            int of[64];
            open_fixture(&f, shapes[i].T, shapes[i].K, shapes[i].N, shapes[i].n_parts, mixed, MOST,
                         dtype ? FC_BF16 : FC_F32, seed + i);
            deal(of, f.T, &seed);
            for (int t = 0; t < f.T; t++)
                if (of[t] >= 0 && f.w[of[t]].R == 0) of[t] = -1;
            group(&f, of);
            for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++) near_reference(&f, of, (fc_cpu_level)l);
            close_fixture(&f);
        }
}

static void same_bits(const fixture *f, const float *a, const float *b, const char *what) {
    for (int i = 0; i < f->T * f->ldy; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("%s: y[%d,%d] is %.9g and %.9g", what, i / f->ldy, i % f->ldy, (double)a[i], (double)b[i]);
}

/* If this fails, a candidate depends on who else is in the batch. */
static void a_row_alone_has_the_same_bits(void **state) {
    uint64_t seed = 12;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++)
        for (int K = 40; K <= 577; K += 179) {
            fixture f;
            int of[61], alone[61];
            float *y, *other;
            open_fixture(&f, 61, K, three, 3, mixed, MOST, l % 2 ? FC_BF16 : FC_F32, seed);
            deal(of, f.T, &seed);
            group(&f, of);
            y = run(&f, (fc_cpu_level)l, 1);
            other = run(&f, (fc_cpu_level)l, 3);
            same_bits(&f, y, other, "threads");
            free(other);
            for (int t = 0; t < f.T; t++) {
                size_t row = (size_t)t * (size_t)f.ldy;
                for (int i = 0; i < f.T; i++) alone[i] = i == t ? of[t] : -1;
                if (of[t] < 0) {
                    assert_memory_equal(y + row, f.y + row, (size_t)f.ldy * sizeof *y);
                    continue;
                }
                group(&f, alone);
                other = run(&f, (fc_cpu_level)l, 1);
                assert_memory_equal(y + row, other + row, (size_t)f.ldy * sizeof *y);
                free(other);
            }
            free(y);
            close_fixture(&f);
        }
}

/* bf16 widens exactly, and the two vector units add in one order. */
static void types_and_vector_units_agree(void **state) {
    (void)state;
    for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++) {
        fixture f, half;
        int of[23];
        float *a, *b;
        uint64_t seed = 13;
        open_fixture(&f, 23, 88, three, 3, mixed, MOST, FC_F32, 5);
        open_fixture(&half, 23, 88, three, 3, mixed, MOST, FC_BF16, 5);
        deal(of, 23, &seed);
        group(&f, of);
        group(&half, of);
        a = run(&f, (fc_cpu_level)l, 1);
        b = run(&half, (fc_cpu_level)l, 1);
        same_bits(&f, a, b, "bf16");
        free(b);
        if (l > FC_CPU_AVX2) {
            b = run(&f, FC_CPU_AVX2, 1);
            same_bits(&f, a, b, "AVX2 and AVX-512");
            free(b);
        }
        free(a);
        close_fixture(&f);
        close_fixture(&half);
    }
}

/* A NaN in one row must not reach another. */
static void nan_stays_in_its_row(void **state) {
    (void)state;
    for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++) {
        fixture f;
        int of[9] = {0, 0, 0, 0, 0, 0, 0, 0, 0};
        float *y;
        open_fixture(&f, 9, 70, three, 3, mixed, 1, FC_F32, 3);
        f.x[4 * 70] = NAN; /* a neighbour of row 3's last element */
        group(&f, of);
        y = run(&f, (fc_cpu_level)l, 1);
        for (int i = 0; i < f.T * f.ldy; i++) {
            bool part = size_of(&f, 0, 0, i % f.ldy) > 0;
            assert_int_equal(isnan(y[i]) != 0, i / f.ldy == 4 && part);
        }
        free(y);
        close_fixture(&f);
    }
}

static void wrong_arguments_are_refused(void **state) {
    fixture f;
    fc_stream st;
    fc_lora_args a;
    fc_lora w;
    fc_lora_group g;
    int of[4] = {0, 0, 0, 0};
    (void)state;
    open_fixture(&f, 4, 40, three, 3, mixed, 1, FC_F32, 3);
    group(&f, of);
    assert_ok(fc_cpu_stream_open(FC_CPU_PORTABLE, 1, 0, 0, &st));
    a = args_of(&f, f.y);
    g = f.groups[0];
    a.groups = &g;
    g.w = &w;
#define REFUSED(change, status, words)                                                                                 \
    do {                                                                                                               \
        fc_lora_args was = a;                                                                                          \
        fc_lora_group g_was = g;                                                                                       \
        w = f.w[0];                                                                                                    \
        change;                                                                                                        \
        assert_fails(fc_lora_cpu(st, &a), status, words);                                                              \
        a = was;                                                                                                       \
        g = g_was;                                                                                                     \
    } while (0)
    REFUSED(a.T = 0, FC_ERR_ARG, "T=0");
    REFUSED(a.n_groups = 0, FC_ERR_ARG, "groups=0");
    REFUSED(a.K = 41, FC_ERR_ARG, "K=40 of 41");
    REFUSED(a.ldz = 11, FC_ERR_ARG, "room for 11");
    REFUSED(a.ldy = 120, FC_ERR_ARG, "columns 107 to 127 of 120");
    REFUSED(g.n_rows = 0, FC_ERR_ARG, "0 rows");
    REFUSED(w.dtype = FC_F16, FC_ERR_UNSUPPORTED, "F16");
    REFUSED(w.n_parts = 4, FC_ERR_ARG, "4 parts");
    REFUSED(w.part[1].r = 0, FC_ERR_ARG, "rank 0");
    REFUSED(w.R = 13, FC_ERR_ARG, "13 said");
    fc_cpu_stream_close(st);
    close_fixture(&f);
}

static void cost_counts_what_the_header_says(void **state) {
    fixture f;
    int of[4] = {0, -1, 0, 0};
    fc_lora_args a;
    (void)state;
    open_fixture(&f, 4, 40, three, 3, mixed, 1, FC_BF16, 3);
    group(&f, of);
    a = args_of(&f, f.y);
    assert_true(fc_lora_cost(&a).flops == 2.0 * 3 * (12 * 40 + 4 * (64 + 33 + 20)));
    assert_true(fc_lora_cost(&a).bytes == 2.0 * (12 * 40 + 4 * 117) + 4.0 * 3 * (40 + 2 * 117 + 1));
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packing_keeps_every_number),
        cmocka_unit_test(every_level_meets_the_reference),
        cmocka_unit_test(a_row_alone_has_the_same_bits),
        cmocka_unit_test(types_and_vector_units_agree),
        cmocka_unit_test(nan_stays_in_its_row),
        cmocka_unit_test(wrong_arguments_are_refused),
        cmocka_unit_test(cost_counts_what_the_header_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
