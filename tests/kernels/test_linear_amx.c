/* linear on AMX tiles against AVX-512, bit for bit: the loop with imitated instructions, and the code that ships, whose
 * instructions are imitated one by one where the machine has none. */
#include "engine/base/mem.h"
#include "engine/base/quant.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/roof.h"
#include "kernels/head/head_draw.h"
#include "kernels/head/head_lse.h"
#include "kernels/linear/levels.h"
#include "kernels/linear/linear_pick.h"
#include "tests/kernels/emu_amx.h"
#include "tests/kernels/util_weight.h"
#include "tests/util.h"

extern const fc_linear_level emu_linear_amx;

enum { N_MAX = 32, K_MAX = 512, EXTREME = 7 /* no sum of so many rows may wrap */ };

static uint64_t seed = 4711;
static bool own_tiles; /* of this machine: nothing is imitated */

static void *must(size_t n, size_t size) {
    void *p = NULL;
    assert_ok(fc_alloc(n ? n : 1, size, "test", &p));
    return p;
}

/* Here and there 60 times larger than the rest, so that precise rows have high bytes; one row of the largest codes. */
static float *normals(int rows, int K) {
    float *x = must((size_t)rows * (size_t)K, sizeof *x);
    for (int i = 0; i < rows * K; i++) {
        x[i] = test_normal(&seed) * (test_below(&seed, 100) ? 1.0f : 60.0f);
        if (i / K == EXTREME) x[i] = i % 2 ? -3.0f : 3.0f;
    }
    return x;
}

typedef struct {
    const fc_weight *w;
    const float *x, *bias;
    int rows;
    bool precise;
} product;

/* y [rows, N_MAX] of one tile of at most the level's rows, x prepared for itself, from row `first` on. */
static void multiply(const fc_linear_level *level, const product *p, int first, int rows, float *y) {
    const fc_linear_part *part = fc_weight_cpu_of(p->w)->parts;
    int K = p->w->K, groups = K / FC_XGROUP;
    unsigned char *prepared = must((size_t)(groups * rows), level->x_bytes);
    level->prepare(&(fc_linear_prepare){.x = p->x + (size_t)first * (size_t)K,
                                        .stride = (size_t)K,
                                        .rows = rows,
                                        .K = K,
                                        .zero = fc_form_has_min(part->form) ? 0 : part->zero,
                                        .halves = fc_form_group(part->form) == 16,
                                        .precise = p->precise,
                                        .out = prepared});
    level->multiply(&(fc_linear_multiply){.panel = part->panels,
                                          .panel_bytes = part->panel_bytes,
                                          .form = part->form,
                                          .panels = part->n_panels,
                                          .rows = rows,
                                          .K = K,
                                          .lanes = part->N,
                                          .x = prepared,
                                          .stride = (size_t)K,
                                          .y = y + (size_t)first * N_MAX,
                                          .y_stride = N_MAX,
                                          .bias = p->bias});
    fc_free(prepared);
}

static void same_as_avx512(const fc_linear_level *level, const product *p, fc_dtype t) {
    const bool emulated = level == &emu_linear_amx || (level == &fc_linear_amx && !own_tiles);
    float got[FC_TILE_ROWS * N_MAX], want[FC_TILE_ROWS * N_MAX];
    unsigned long before = emu_tile_dots();
    for (int i = 0; i < FC_TILE_ROWS * N_MAX; i++) got[i] = want[i] = 123.0f; /* what is not asked for stays */
    for (int r = 0; r < p->rows; r += FC_VECTOR_ROWS)
        multiply(&fc_linear_avx512, p, r, p->rows - r < FC_VECTOR_ROWS ? p->rows - r : FC_VECTOR_ROWS, want);
    multiply(level, p, 0, p->rows, got);
    if (p->rows > FC_VECTOR_ROWS && emulated) assert_true(emu_tile_dots() > before);
    if (emu_tile_in_use()) fail_msg("tiles outlive a call");
    for (int i = 0; i < FC_TILE_ROWS * N_MAX; i++)
        if (memcmp(got + i, want + i, sizeof *got))
            fail_msg("%s, %d rows, N=%d, K=%d, precise %d: y[%d,%d] = %.9g, by AVX-512 %.9g", fc_dtype_name(t), p->rows,
                     p->w->N, p->w->K, p->precise, i / N_MAX, i % N_MAX, (double)got[i], (double)want[i]);
}

/* All codes that a type has, one panel or two, whole or short, and odd numbers of groups. */
static void all_forms(const fc_linear_level *level) {
    static const int outputs[] = {1, 16, 27, 32};
    fc_stream s;
    print_message("seed %llu\n", (unsigned long long)seed);
    assert_ok(fc_cpu_stream_open(FC_CPU_AUTO, 1, 0, 0, &s));
    for (int t = 0; t < WEIGHT_TYPES; t++)
        for (int i = 0; i < 8; i++) {
            fc_dtype type = weight_types[t];
            int block = (int)fc_dtype_block(type), K = block * (1 + i % (K_MAX / block < 5 ? K_MAX / block : 5));
            product p;
            float *x, *bias;
            fc_weight *w;
            if (fc_dtype_is_float(type)) continue;
            p.w = w = weight_made_up(s, type, outputs[i % 4], K, &seed);
            p.x = x = normals(FC_TILE_ROWS, K);
            bias = normals(1, N_MAX);
            p.bias = i % 2 ? bias : NULL;
            p.precise = i >= 4;
            for (p.rows = 1; p.rows <= FC_TILE_ROWS; p.rows++) same_as_avx512(level, &p, type);
            fc_free(x);
            fc_free(bias);
            fc_weight_free_cpu(w);
        }
    fc_cpu_stream_close(s);
}

static void imitated_tiles_give_avx512_s_bits(void **state) {
    (void)state;
    if (fc_cpu_best() < FC_CPU_AVX512) skip();
    all_forms(&emu_linear_amx);
}

/* Both encodings of VPDPBUSD of 256 bits, where the machine has them: the level takes one of them alone. */
static void both_encodings_of_vnni_give_avx512_s_bits(void **state) {
    (void)state;
    if (fc_cpu_best() < FC_CPU_AVX512) skip();
    all_forms(&fc_linear_vnni256);
    if (fc_cpu_has_vex_vnni()) all_forms(&fc_linear_avxvnni);
    else print_message("no AVX-VNNI on this machine: its encoding is not run\n");
}

/* For the rest of a test. */
static void take_tiles(void) {
    own_tiles = fc_cpu_level_check(FC_CPU_AMX) == FC_OK;
    if (!own_tiles) emu_tile_traps();
    print_message("%s\n", own_tiles ? "on this machine's own tiles" : fc_status_text());
}

/* If this fails where the one before passes, the compiler has made something else of it. */
static void what_ships_gives_avx512_s_bits(void **state) {
    (void)state;
    if (fc_cpu_best() < FC_CPU_AVX512) skip();
    take_tiles();
    all_forms(&fc_linear_amx);
}

/* A stream of AMX, also where this machine has it only imitated. */
static fc_stream stream_of(fc_cpu_level level, int threads, int rows, int K, int V) {
    fc_stream s = NULL;
    assert_ok(fc_cpu_stream_open(FC_CPU_AVX512, threads, fc_head_draw_workspace_cpu(rows, K, V),
                                 fc_linear_scratch_cpu(K), &s)); /* which needs the most */
    s->level = level;
    return s;
}

enum { ROWS = 75, OUTPUTS = 300, THREADS = 3 };

typedef struct {
    float y[ROWS * OUTPUTS], normed[ROWS * OUTPUTS], picked[ROWS * 3], lp[ROWS], drawn_lp[ROWS];
    int32_t drawn[ROWS];
    double lse[ROWS];
} answers;

static void ask(fc_cpu_level level, const fc_weight *w, const float *x, int rows, bool precise, answers *out) {
    static const int32_t ids[] = {0, 130, OUTPUTS - 1};
    const fc_pick_segment all = {.n_rows = rows, .n_ids = 3};
    const fc_rmsnorm_args norm = {.x = x, .w = x, .eps = 1e-5f, .T = rows, .D = w->K};
    int32_t row[ROWS], id[ROWS];
    fc_head_draw_row draws[ROWS];
    fc_draw_member members[ROWS];
    fc_stream s = stream_of(level, THREADS, rows, w->K, OUTPUTS);
    memset(out, 0, sizeof *out);
    for (int r = 0; r < rows; r++) {
        row[r] = r, id[r] = r * 7 % OUTPUTS;
        draws[r] = (fc_head_draw_row){.member = r, .n_members = 1, .temperature = (float)(r % 3)};
        members[r] = (fc_draw_member){.seed = 5, .candidate = (uint32_t)r};
    }
    assert_ok(fc_linear_cpu(s, &(fc_linear_args){.y = out->y, .x = x, .w = w, .T = rows, .precise = precise}));
    assert_ok(
        fc_linear_cpu(s, &(fc_linear_args){.y = out->normed, .norm = &norm, .w = w, .T = rows, .precise = precise}));
    assert_ok(fc_head_draw_cpu(s, &(fc_head_draw_args){.token = out->drawn,
                                                       .logprob = out->drawn_lp,
                                                       .x = x,
                                                       .w = w,
                                                       .rows = draws,
                                                       .members = members,
                                                       .R = rows,
                                                       .M = rows,
                                                       .precise = precise}));
    assert_ok(fc_linear_pick_cpu(
        s, &(fc_linear_pick_args){
               .y = out->picked, .x = x, .w = w, .segments = &all, .ids = ids, .R = rows, .S = 1, .precise = precise}));
    assert_ok(fc_head_lse_cpu(s, &(fc_head_lse_args){.lse = out->lse,
                                                     .lp = out->lp,
                                                     .x = x,
                                                     .w = w,
                                                     .row = row,
                                                     .id = id,
                                                     .R = rows,
                                                     .M = rows,
                                                     .precise = precise}));
    fc_cpu_stream_close(s);
}

/* Rows are cut into tiles of 16 instead of 6, by every operator that multiplies. */
static void operators_give_avx512_s_bits(void **state) {
    static const fc_dtype types[] = {FC_BF16, FC_Q8_0, FC_Q4_K, FC_Q6_K};
    static const int rows[] = {3, 16, 17, 35, ROWS};
    static answers got, want;
    (void)state;
    if (fc_cpu_best() < FC_CPU_AVX512) skip();
    take_tiles();
    for (int t = 0; t < 4; t++) {
        fc_stream s = stream_of(FC_CPU_AVX512, 1, 0, 0, 0);
        fc_weight *w = weight_made_up(s, types[t], OUTPUTS, 256, &seed);
        float *x = normals(ROWS, 256);
        for (int i = 0; i < 5; i++) {
            bool precise = i % 2;
            ask(FC_CPU_AVX512, w, x, rows[i], precise, &want);
            ask(FC_CPU_AMX, w, x, rows[i], precise, &got);
            if (memcmp(&got, &want, sizeof got)) fail_msg("%s, %d rows", fc_dtype_name(types[t]), rows[i]);
        }
        fc_free(x);
        fc_weight_free_cpu(w);
        fc_cpu_stream_close(s);
    }
}

/* The roof's loop: legal, and as many products as it says. */
static void the_roof_counts_its_products(void **state) {
    unsigned long before = emu_tile_dots();
    (void)state;
    if (fc_cpu_best() < FC_CPU_AVX512) skip();
    take_tiles();
    (void)fc_roof_amx.int8(5);
    if (own_tiles) skip();
    assert_true((double)(emu_tile_dots() - before) * 2 * 16 * 16 * 64 == 5 * fc_roof_amx.int8_ops);
    assert_false(emu_tile_in_use());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(imitated_tiles_give_avx512_s_bits),
        cmocka_unit_test(both_encodings_of_vnni_give_avx512_s_bits),
        cmocka_unit_test(what_ships_gives_avx512_s_bits),
        cmocka_unit_test(operators_give_avx512_s_bits),
        cmocka_unit_test(the_roof_counts_its_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
