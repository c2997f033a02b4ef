/* rope_kv.cu under emulation: q, and K and V in every type of store, have the CPU's bits; a slot that was written and
 * then copied to another page still has them. */
#include "kernels/cpu/cpu.h"
#include "kernels/kv/kv_cpu.h"
#include "kernels/rope_kv/rope_kv.h"
#include "tests/cuda_emu/util_cuda.h"
#include "tests/cuda_emu/util_kv.h"

typedef struct {
    int T, H, G, E, R, P;
    bool interleaved, q_norm, k_norm;
} shape;

static const shape shapes[] = {
    {1, 1, 1, 16, 16, 1, false, false, false}, {3, 4, 2, 64, 64, 16, false, true, true},
    {2, 2, 1, 128, 32, 4, true, true, false},  {2, 3, 1, 80, 50, 8, false, false, true},
    {2, 1, 3, 96, 18, 64, true, true, true},   {1, 2, 1, 256, 256, 2, false, true, true},
    {1, 1, 1, 512, 128, 4, false, true, true}, {2, 1, 1, 48, 0, 4, true, true, true},
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0], LAYERS = 2, LAYER = 1 };
static const fc_dtype types[] = {FC_F32, FC_BF16, FC_I8, FC_F8};

typedef struct {
    size_t n, ld;              /* floats of qkv, of a row */
    float *qkv, *cs, *wq, *wk; /* host */
    int32_t *page, *slot;
    fc_kv_shape kv;
} inputs;

static inputs make_inputs(const shape *c, fc_dtype type, uint64_t seed) {
    size_t ld = (size_t)((c->H + 2 * c->G) * c->E), T = (size_t)c->T, E = (size_t)c->E;
    inputs in = {.n = T * ld, .ld = ld};
    in.kv = (fc_kv_shape){.type = type, .n_pages = 2 * c->T + 1, .P = c->P, .L = LAYERS, .G = c->G, .E = c->E};
    in.qkv = calloc(in.n, 4), in.cs = calloc(T * (size_t)c->R + 1, 4), in.wq = calloc(E, 4), in.wk = calloc(E, 4);
    in.page = calloc(T, 4), in.slot = calloc(T, 4);
    for (size_t i = 0; i < in.n; i++) in.qkv[i] = test_normal(&seed) * (i / E % 2 ? 3.0f : 0.01f);
    for (size_t i = 0; i < T * (size_t)c->R; i++) in.cs[i] = test_uniform(&seed);
    for (size_t e = 0; e < E; e++) in.wq[e] = test_normal(&seed), in.wk[e] = test_normal(&seed);
    for (int t = 0; t < c->T; t++) in.page[t] = c->T - t, in.slot[t] = test_below(&seed, c->P);
    return in;
}

/* Heads of k and v that a store rounds in ways of their own. */
static void make_odd_vectors(const shape *c, inputs *in) {
    size_t E = (size_t)c->E;
    for (int t = 0; t < c->T; t++)
        for (int g = 0; g < 2 * c->G; g++) {
            float *x = in->qkv + (size_t)t * in->ld + (size_t)(c->H + g) * E;
            int kind = (t * 2 * c->G + g) % 6;
            if (kind == 1) memset(x, 0, E * 4);
            else if (kind == 3) x[E / 2] = NAN;
            else if (kind == 4) x[E - 1] = -INFINITY;
            else if (kind == 5) /* the scale of 650 units, 5 of I8 and 1 of F8, makes it 130 and 650 codes */
                for (size_t e = 0; e < E; e++) x[e] = (e % 2 ? 650.0f : -650.0f) * 0x1p-149f;
        }
}

static void free_inputs(inputs *in) {
    free(in->qkv), free(in->cs), free(in->wq), free(in->wk), free(in->page), free(in->slot);
}

/* Nearest of E4M3's values, ties to the even code, by trying all of them. */
static uint8_t nearest_f8(float x) {
    double best = INFINITY;
    uint8_t code = 0;
    if (isnan(x)) return 0x7f;
    for (int c = 0; c < 0x7f; c++) {
        double d = fabs(fabs((double)x) - (double)fc_f8_to_f32((uint8_t)c));
        if (d < best || (d <= best && c % 2 == 0)) best = d, code = (uint8_t)c;
    }
    return (uint8_t)(code | (signbit(x) ? 0x80 : 0));
}

static void f8_slot(const float *x, int E, uint8_t *code, float *scale) {
    float most = 0.0f;
    bool finite = true;
    for (int e = 0; e < E; e++) {
        finite = finite && isfinite(x[e]);
        most = fabsf(x[e]) > most ? fabsf(x[e]) : most;
    }
    *scale = finite ? most / 448.0f : NAN;
    for (int e = 0; e < E; e++) code[e] = *scale > 0.0f ? nearest_f8(x[e] / *scale) : 0;
}

/* Slot of the CPU's store in the order and form of CUDA's: want gets the bytes, *scale the scale. */
static void cpu_slot(const fc_kv_buf *kv, fc_dtype type, int page, int g, int slot, bool key, unsigned char *want,
                     float *scale) {
    fc_kv_block b = fc_kv_block_at(kv, page, LAYER, g);
    size_t P = (size_t)kv->shape.P, E = (size_t)kv->shape.E, size = fc_kv_elem_bytes(kv->shape.type);
    for (size_t e = 0; e < E; e++)
        memcpy(want + e * size, key ? b.k + (e * P + (size_t)slot) * size : b.v + ((size_t)slot * E + e) * size, size);
    if (type == FC_F8) { /* from the store of f32 */
        float x[512];
        memcpy(x, want, E * 4);
        f8_slot(x, kv->shape.E, want, scale);
    } else if (type == FC_I8) {
        *scale = (key ? b.k_scale : b.v_scale)[slot];
    }
}

static bool same_floats(const void *a, const void *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float x, y;
        memcpy(&x, (const char *)a + 4 * i, 4), memcpy(&y, (const char *)b + 4 * i, 4);
        if (memcmp(&x, &y, 4) && !(isnan(x) && isnan(y))) return false;
    }
    return true;
}

static bool bf16_nan(const unsigned char *p) { return (p[1] & 0x7f) == 0x7f && p[0] > 0x80; }

/* A NaN's sign and digits are nobody's promise: compilers make it from an operand of their choice. */
static bool same_codes(const unsigned char *a, const unsigned char *b, fc_dtype type, int E, size_t bytes) {
    if (type == FC_F32) return same_floats(a, b, (size_t)E);
    if (type != FC_BF16) return !memcmp(a, b, bytes);
    for (size_t i = 0; i < bytes; i += 2)
        if (memcmp(a + i, b + i, 2) && !(bf16_nan(a + i) && bf16_nan(b + i))) return false;
    return true;
}

/* The store has what the CPU's has, and nothing else has changed. */
static void compare_stores(const shape *c, const inputs *in, const fc_kv_buf *cpu, unsigned char *was,
                           const unsigned char *got, uint64_t seed) {
    fc_dtype type = in->kv.type;
    unsigned char want[512 * 4];
    for (int t = 0; t < c->T; t++)
        for (int g = 0; g < 2 * c->G; g++) {
            bool key = g < c->G;
            kv_slot at = kv_slot_at(&in->kv, in->page[t], LAYER, g % c->G, in->slot[t]);
            size_t codes = key ? at.k : at.v, scales = key ? at.k_scale : at.v_scale;
            float scale = 0.0f;
            cpu_slot(cpu, type, in->page[t], g % c->G, in->slot[t], key, want, &scale);
            if (!same_codes(got + codes, want, type, c->E, at.bytes))
                fail_msg("%s E %d R %d seed %llu: row %d, %s of head %d is not the CPU's", fc_dtype_name(type), c->E,
                         c->R, (unsigned long long)seed, t, key ? "k" : "v", g % c->G);
            memcpy(was + codes, got + codes, at.bytes);
            if (!fc_kv_scaled(type)) continue;
            if (!same_floats(got + scales, &scale, 1))
                fail_msg("%s E %d seed %llu: row %d: the scale of %s is not the CPU's %g", fc_dtype_name(type), c->E,
                         (unsigned long long)seed, t, key ? "k" : "v", (double)scale);
            memcpy(was + scales, got + scales, 4);
        }
    for (size_t i = 0; i < kv_store_bytes(&in->kv); i++)
        if (was[i] != got[i]) fail_msg("%s E %d: byte %zu changed in no row's slot", fc_dtype_name(type), c->E, i);
}

/* Each row's page, up to its slot, to a page of its own: then all of that must be there. */
static void copy_and_compare(fc_stream s, const shape *c, const inputs *in, const fc_kv_buf *kv, unsigned char *want) {
    size_t bytes = kv_store_bytes(&in->kv), list = (size_t)c->T * 4;
    unsigned char *got = malloc(bytes);
    int32_t dst[8], n[8];
    fc_kv_copy_args a = {.kv = kv, .M = c->T};
    for (int t = 0; t < c->T; t++) {
        dst[t] = c->T + 1 + t, n[t] = in->slot[t] + 1;
        kv_copy_slots(&in->kv, want, in->page[t], dst[t], n[t]);
    }
    a.src = device_copy(s, in->page, list), a.dst = device_copy(s, dst, list), a.n = device_copy(s, n, list);
    assert_ok(fc_kv_copy_cuda(s, &a));
    assert_ok(device_sync(s));
    device_read(s, got, kv->base, bytes);
    assert_memory_equal(got, want, bytes);
    device_free((void *)(uintptr_t)a.src), device_free((void *)(uintptr_t)a.dst), device_free((void *)(uintptr_t)a.n);
    free(got);
}

/* q of rows within the header's error of the reference. The reference's K and V are compared by the CPU's test. */
static void compare_q(const shape *c, const float *got, const float *ref, size_t ld) {
    for (int t = 0; t < c->T; t++)
        for (int h = 0; h < c->H; h++) {
            const float *g = got + (size_t)t * ld + h * c->E, *r = ref + (size_t)t * ld + h * c->E;
            double most = 0.0;
            for (int e = 0; e < c->E; e++) most = fmax(most, fabs((double)r[e]));
            for (int e = 0; e < c->E; e++)
                if (!(fabs((double)g[e] - (double)r[e]) <= 1e-6 * most))
                    fail_msg("E %d R %d: q[%d,%d,%d] = %.9g, reference %.9g", c->E, c->R, t, h, e, (double)g[e],
                             (double)r[e]);
        }
}

static void writes_what_the_cpu_writes(const shape *c, fc_dtype type, uint64_t seed) {
    inputs in = make_inputs(c, type, seed);
    size_t E4 = (size_t)c->E * 4, T4 = (size_t)c->T * 4, bytes = kv_store_bytes(&in.kv);
    float *host = malloc(in.n * 4), *ref = malloc(in.n * 4), *got = malloc(in.n * 4);
    unsigned char *was = kv_random_store(&in.kv, seed), *store = malloc(bytes);
    fc_kv_buf cpu_kv = {.shape = in.kv};
    fc_stream s = device_stream(0), cs;
    fc_rope_kv_args a = {.layer = LAYER, .T = c->T, .H = c->H, .G = c->G, .E = c->E, .R = c->R, .eps = 1e-6f}, h;
    make_odd_vectors(c, &in);
    a.interleaved = c->interleaved;
    h = a;
    if (type == FC_F8) cpu_kv.shape.type = FC_F32;
    cpu_kv.base = calloc(1, kv_store_bytes(&cpu_kv.shape));
    memcpy(host, in.qkv, in.n * 4), memcpy(ref, in.qkv, in.n * 4);
    fc_kv_buf kv = {.shape = in.kv, .base = device_copy(s, was, bytes)};
    a.kv = &kv;
    a.qkv = device_copy(s, in.qkv, in.n * 4);
    a.cs = device_copy(s, in.cs, (size_t)(c->T * c->R + 1) * 4);
    a.page = device_copy(s, in.page, T4), a.slot = device_copy(s, in.slot, T4);
    a.q_norm = c->q_norm ? device_copy(s, in.wq, E4) : NULL;
    a.k_norm = c->k_norm ? device_copy(s, in.wk, E4) : NULL;
    assert_ok(fc_rope_kv_cuda(s, &a));
    assert_ok(device_sync(s));
    device_read(s, got, a.qkv, in.n * 4);
    device_read(s, store, kv.base, bytes);
    h.kv = &cpu_kv, h.cs = in.cs, h.page = in.page, h.slot = in.slot;
    h.q_norm = c->q_norm ? in.wq : NULL, h.k_norm = c->k_norm ? in.wk : NULL;
    h.qkv = ref;
    assert_ok(fc_rope_kv_ref(NULL, &h));
    h.qkv = host;
    assert_ok(fc_cpu_stream_open(fc_cpu_best(), 1, 0, 0, &cs));
    assert_ok(fc_rope_kv_cpu(cs, &h));
    fc_cpu_stream_close(cs);
    for (int t = 0; t < c->T; t++)
        if (!same_floats(got + (size_t)t * in.ld, host + (size_t)t * in.ld, (size_t)(c->H * c->E)))
            fail_msg("E %d R %d seed %llu: q of row %d is not the CPU's", c->E, c->R, (unsigned long long)seed, t);
    compare_q(c, got, ref, in.ld);
    compare_stores(c, &in, &cpu_kv, was, store, seed);
    copy_and_compare(s, c, &in, &kv, was);
    device_free(kv.base), device_free(a.qkv), device_free((void *)(uintptr_t)a.cs);
    device_free((void *)(uintptr_t)a.page), device_free((void *)(uintptr_t)a.slot);
    if (a.q_norm) device_free((void *)(uintptr_t)a.q_norm);
    if (a.k_norm) device_free((void *)(uintptr_t)a.k_norm);
    device_close(s);
    free(host), free(ref), free(got), free(was), free(store), free(cpu_kv.base);
    free_inputs(&in);
}

static void every_form_has_the_cpus_bits(void **state) {
    (void)state;
    for (int k = 0; k < N_SHAPES; k++)
        for (int t = 0; t < 4; t++) each_order(writes_what_the_cpu_writes(&shapes[k], types[t], 40 + (uint64_t)k));
}

/* Row 1 has no place in the store: told, and nothing written for it; row 0 is. */
static void a_wrong_place_is_told(int page, int slot) {
    shape c = {2, 1, 1, 16, 8, 4, false, false, false};
    inputs in = make_inputs(&c, FC_I8, 8);
    size_t bytes = kv_store_bytes(&in.kv);
    unsigned char *was = kv_random_store(&in.kv, 8), *got = malloc(bytes);
    fc_stream s = device_stream(0);
    fc_kv_buf kv = {.shape = in.kv, .base = device_copy(s, was, bytes)};
    fc_rope_kv_args a = {.kv = &kv, .T = 2, .H = 1, .G = 1, .E = 16, .R = 8};
    kv_slot at = kv_slot_at(&in.kv, in.page[0], 0, 0, in.slot[0]);
    size_t begins[] = {at.k, at.v, at.k_scale, at.v_scale}, lengths[] = {at.bytes, at.bytes, 4, 4};
    in.page[1] = page, in.slot[1] = slot;
    a.qkv = device_copy(s, in.qkv, in.n * 4), a.cs = device_copy(s, in.cs, 2 * 8 * 4);
    a.page = device_copy(s, in.page, 8), a.slot = device_copy(s, in.slot, 8);
    assert_ok(fc_rope_kv_cuda(s, &a));
    assert_fails(device_sync(s), FC_ERR_ARG, "rope_kv: row 1 writes");
    device_read(s, got, kv.base, bytes);
    assert_memory_not_equal(got, was, bytes);
    for (int i = 0; i < 4; i++) memcpy(was + begins[i], got + begins[i], lengths[i]);
    assert_memory_equal(got, was, bytes);
    device_free(kv.base), device_free(a.qkv), device_free((void *)(uintptr_t)a.cs);
    device_free((void *)(uintptr_t)a.page), device_free((void *)(uintptr_t)a.slot);
    device_close(s);
    free(was), free(got);
    free_inputs(&in);
}

static void needs_are_told(void **state) {
    fc_stream s = device_stream(0);
    fc_kv_buf kv = {.shape = {.type = FC_F32, .n_pages = 1, .P = 4, .L = 2, .G = 2, .E = 32}};
    fc_rope_kv_args good = {.kv = &kv, .T = 1, .H = 4, .G = 2, .E = 32, .R = 8}, a = good;
    (void)state;
    a_wrong_place_is_told(5, 0);
    a_wrong_place_is_told(-1, 0);
    a_wrong_place_is_told(1, 4);
    a_wrong_place_is_told(1, -1);
    a.T = 0;
    assert_fails(fc_rope_kv_cuda(s, &a), FC_ERR_ARG, "T=0");
    a = good, a.G = 1;
    assert_fails(fc_rope_kv_cuda(s, &a), FC_ERR_ARG, "G=1");
    a = good, a.layer = 2;
    assert_fails(fc_rope_kv_cuda(s, &a), FC_ERR_ARG, "layer=2");
    a = good, a.R = 7;
    assert_fails(fc_rope_kv_cuda(s, &a), FC_ERR_ARG, "R=7");
    a = good, a.R = 34;
    assert_fails(fc_rope_kv_cuda(s, &a), FC_ERR_ARG, "R=34");
    a = good, a.E = kv.shape.E = 24;
    assert_fails(fc_rope_kv_cuda(s, &a), FC_ERR_UNSUPPORTED, "E=24");
    a = good, a.E = kv.shape.E = 528;
    assert_fails(fc_rope_kv_cuda(s, &a), FC_ERR_UNSUPPORTED, "E=528");
    device_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_form_has_the_cpus_bits),
                                       cmocka_unit_test(needs_are_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
