/* cublaslt.cpp: products against the formula, and what cuBLASLt would refuse or get wrong. */
#include "tests/cuda_emu/cublaslt_state.h"
#include "tests/cuda_emu/util_runtime.h"

extern "C" {
#include "engine/base/dtype.h"
}

#define lt_ok(call)                                                                                                    \
    do {                                                                                                               \
        cublasStatus_t s_ = (call);                                                                                    \
        if (s_) fail_msg("%s: %s: %s", #call, cublasLtGetStatusName(s_), cublasLtGetStatusString(s_));                 \
    } while (0)
#define lt_fails(call, status, words)                                                                                  \
    do {                                                                                                               \
        cublasStatus_t s_ = (call);                                                                                    \
        if (s_ != (status)) fail_msg("%s: %s, not %s", #call, cublasLtGetStatusName(s_), #status);                     \
        if (!strstr(cublasLtGetStatusString(s_), (words)))                                                             \
            fail_msg("%s: \"%s\" does not say \"%s\"", #call, cublasLtGetStatusString(s_), (words));                   \
    } while (0)

/* A product with everything that belongs to it. */
struct product {
    int type_a, type_b, type_d, m, n, k;
    bool ta, tb, bias;
    int vec; /* scales: one each, or one for each row of A and column of B */
    int pad; /* added to each leading dimension */
    float alpha, beta;
};
struct made {
    product q;
    cublasLtHandle_t lt;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulPreference_t pref;
    cudaStream_t s;
    void *pa, *pb, *pd, *bias, *sa, *sb, *workspace;
    size_t d_bytes;
    std::vector<float> ha, hb, hd, hbias, hsa, hsb; /* what the device has, as floats */
};
enum { WORK = 1 << 20 };

static float rounded(int type, float v, std::vector<unsigned char> *bytes) {
    union {
        uint16_t h;
        uint8_t b;
        float f;
    } u = {0};
    float back = v;
    if (type == CUDA_R_16BF) u.h = fc_f32_to_bf16(v), back = fc_bf16_to_f32(u.h);
    else if (type == CUDA_R_16F) u.h = (uint16_t)(0x3800 | ((int)(fabsf(v) * 64) & 0x3ff)), back = fc_f16_to_f32(u.h);
    else if (type == CUDA_R_8F_E4M3) u.b = fc_f32_to_f8(v), back = fc_f8_to_f32(u.b);
    else if (type == CUDA_R_8F_E5M2)
        u.b = (uint8_t)(0x30 | ((int)(fabsf(v) * 8) & 15)), back = fc_f16_to_f32((uint16_t)(u.b << 8));
    else u.f = v;
    bytes->insert(bytes->end(), &u.b, &u.b + emu_lt_size((unsigned)type));
    return back;
}

/* Cases that end in an error which sticks leave their handles behind: emu_reset forgets them, and frees device memory
 * alone. */
extern "C" const char *__asan_default_options(void);
extern "C" const char *__asan_default_options(void) { return "detect_leaks=0"; }

static void *upload(std::vector<float> *host, int type, size_t n, uint64_t *seed) {
    std::vector<unsigned char> bytes;
    void *p;
    for (size_t i = 0; i < n; i++) {
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        host->push_back(rounded(type, (float)((double)(*seed >> 11) * 0x1p-52 - 1.0), &bytes));
    }
    must(cudaMalloc(&p, bytes.size()));
    must(cudaMemcpy(p, bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
    return p;
}

template <typename T> static cublasStatus_t attr(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t a, T v) {
    return cublasLtMatmulDescSetAttribute(d, a, &v, sizeof v);
}

static made make(const product &q, uint64_t seed) {
    made x = {};
    size_t lda = (size_t)((q.ta ? q.k : q.m) + q.pad), ldb = (size_t)((q.tb ? q.n : q.k) + q.pad);
    size_t ldd = (size_t)(q.m + q.pad), ca = (size_t)(q.ta ? q.m : q.k), cb = (size_t)(q.tb ? q.k : q.n);
    int bias_type = emu_lt_fp8((unsigned)q.type_a) && q.type_d == CUDA_R_32F ? CUDA_R_16BF : q.type_d;
    x.q = q;
    x.s = new_stream();
    lt_ok(cublasLtCreate(&x.lt));
    lt_ok(cublasLtMatmulDescCreate(&x.desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    lt_ok(attr(x.desc, CUBLASLT_MATMUL_DESC_TRANSA, (int32_t)(q.ta ? CUBLAS_OP_T : CUBLAS_OP_N)));
    lt_ok(attr(x.desc, CUBLASLT_MATMUL_DESC_TRANSB, (int32_t)(q.tb ? CUBLAS_OP_T : CUBLAS_OP_N)));
    lt_ok(cublasLtMatrixLayoutCreate(&x.a, (cudaDataType)q.type_a, (uint64_t)(q.ta ? q.k : q.m), ca, (int64_t)lda));
    lt_ok(cublasLtMatrixLayoutCreate(&x.b, (cudaDataType)q.type_b, (uint64_t)(q.tb ? q.n : q.k), cb, (int64_t)ldb));
    lt_ok(cublasLtMatrixLayoutCreate(&x.d, (cudaDataType)q.type_d, (uint64_t)q.m, (uint64_t)q.n, (int64_t)ldd));
    lt_ok(cublasLtMatmulPreferenceCreate(&x.pref));
    uint64_t most = WORK;
    lt_ok(cublasLtMatmulPreferenceSetAttribute(x.pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most));
    x.pa = upload(&x.ha, q.type_a, lda * ca, &seed);
    x.pb = upload(&x.hb, q.type_b, ldb * cb, &seed);
    x.pd = upload(&x.hd, q.type_d, ldd * (size_t)q.n, &seed);
    x.d_bytes = ldd * (size_t)q.n * emu_lt_size((unsigned)q.type_d);
    must(cudaMalloc(&x.workspace, WORK));
    if (q.bias) {
        x.bias = upload(&x.hbias, bias_type, (size_t)q.m, &seed);
        lt_ok(attr(x.desc, CUBLASLT_MATMUL_DESC_EPILOGUE, (uint32_t)CUBLASLT_EPILOGUE_BIAS));
        lt_ok(attr(x.desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, (const void *)x.bias));
    }
    if (emu_lt_fp8((unsigned)q.type_a)) {
        x.sa = upload(&x.hsa, CUDA_R_32F, q.vec ? (size_t)q.m : 1, &seed);
        x.sb = upload(&x.hsb, CUDA_R_32F, q.vec ? (size_t)q.n : 1, &seed);
        lt_ok(attr(x.desc, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, (const void *)x.sa));
        lt_ok(attr(x.desc, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, (const void *)x.sb));
        int32_t mode = q.vec ? CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F : CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F;
        lt_ok(attr(x.desc, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, mode));
        lt_ok(attr(x.desc, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, mode));
    }
    must(cudaDeviceSynchronize());
    return x;
}

static void unmake(made *x) {
    for (void *p : {x->pa, x->pb, x->pd, x->bias, x->sa, x->sb, x->workspace}) must(cudaFree(p));
    lt_ok(cublasLtMatmulPreferenceDestroy(x->pref));
    for (cublasLtMatrixLayout_t l : {x->a, x->b, x->d}) lt_ok(cublasLtMatrixLayoutDestroy(l));
    lt_ok(cublasLtMatmulDescDestroy(x->desc));
    lt_ok(cublasLtDestroy(x->lt));
    must(cudaStreamDestroy(x->s));
}

static cublasLtMatmulHeuristicResult_t found(made *x) {
    cublasLtMatmulHeuristicResult_t r;
    int n = 0;
    lt_ok(cublasLtMatmulAlgoGetHeuristic(x->lt, x->desc, x->a, x->b, x->d, x->d, x->pref, 1, &r, &n));
    assert_int_equal(n, 1);
    assert_int_equal(r.state, CUBLAS_STATUS_SUCCESS);
    return r;
}

static cublasStatus_t multiply(made *x, const cublasLtMatmulAlgo_t *algo) {
    return cublasLtMatmul(x->lt, x->desc, &x->q.alpha, x->pa, x->a, x->pb, x->b, &x->q.beta, x->pd, x->d, x->pd, x->d,
                          algo, x->workspace, WORK, x->s);
}

static void meets_the_formula(const product &q, uint64_t seed) {
    made x = make(q, seed);
    cublasLtMatmulHeuristicResult_t r = found(&x);
    std::vector<unsigned char> got(x.d_bytes);
    size_t size = emu_lt_size((unsigned)q.type_d), lda = (size_t)((q.ta ? q.k : q.m) + q.pad);
    size_t ldb = (size_t)((q.tb ? q.n : q.k) + q.pad), ldd = (size_t)(q.m + q.pad);
    lt_ok(multiply(&x, &r.algo));
    must(cudaMemcpyAsync(got.data(), x.pd, got.size(), cudaMemcpyDeviceToHost, x.s));
    for (size_t j = 0; j < (size_t)q.n; j++)
        for (size_t i = 0; i < ldd; i++) {
            size_t at = j * ldd + i;
            double want = x.hd[at], one = size == 2 ? 0x1p-8 : 0x1p-23; /* beyond M: what was there */
            if (i < (size_t)q.m) {
                double sum = 0;
                for (size_t k = 0; k < (size_t)q.k; k++)
                    sum += (double)x.ha[q.ta ? i * lda + k : k * lda + i] * x.hb[q.tb ? k * ldb + j : j * ldb + k];
                if (x.sa) sum *= (double)x.hsa[q.vec ? i : 0] * x.hsb[q.vec ? j : 0];
                want = q.alpha * sum + q.beta * want + (q.bias ? (double)x.hbias[i] : 0.0);
            }
            float f;
            uint16_t h;
            memcpy(&h, &got[at * size], 2);
            if (q.type_d == CUDA_R_16BF) f = fc_bf16_to_f32(h);
            else if (q.type_d == CUDA_R_16F) f = fc_f16_to_f32(h);
            else memcpy(&f, &got[at * size], 4);
            if (!(fabs((double)f - want) <= one * fabs(want) + 1e-12))
                fail_msg("seed %llu: D[%zu,%zu] = %g, not %g", (unsigned long long)seed, i, j, (double)f, want);
        }
    unmake(&x);
}

static void products_are_right(void **) {
    enum { F = CUDA_R_32F, H = CUDA_R_16F, B = CUDA_R_16BF, E4 = CUDA_R_8F_E4M3, E5 = CUDA_R_8F_E5M2 };
    const product all[] = {
        {B, B, F, 1, 1, 1, true, false, false, 0, 0, 1, 0},
        {B, B, F, 300, 7, 65, true, false, false, 0, 0, 1, 0},
        {B, B, B, 33, 5, 64, true, false, true, 0, 3, 1, 0},
        {B, B, F, 12, 9, 17, false, false, true, 0, 1, 0.5f, 2},
        {F, F, F, 9, 31, 40, false, true, false, 0, 2, 1, 1},
        {H, H, H, 21, 4, 12, true, true, false, 0, 0, 1, 0},
        {H, H, F, 6, 4, 12, true, false, true, 0, 0, -1, 0},
        {E4, E4, B, 32, 5, 48, true, false, false, 0, 0, 1, 0},
        {E4, E4, F, 16, 3, 64, true, false, true, 0, 16, 2, 0},
        {E4, E5, F, 48, 7, 16, true, false, false, 1, 0, 1, 0},
        {E5, E4, B, 16, 20, 32, true, false, true, 1, 16, 1, 1},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) meets_the_formula(all[i], i + 1);
    assert_int_equal(emu_leaks(true), 0);
}

/* 1 + 2^-8 + 2^-40 is above the middle of two bf16 numbers; rounded to float first it is the middle. */
static void rounds_once(void **) {
    made x = make({CUDA_R_16BF, CUDA_R_16BF, CUDA_R_16BF, 1, 1, 3, true, false, false, 0, 0, 1, 0}, 1);
    const uint16_t a[3] = {fc_f32_to_bf16(1), fc_f32_to_bf16(0x1p-8f), fc_f32_to_bf16(0x1p-20f)};
    const uint16_t b[3] = {fc_f32_to_bf16(1), fc_f32_to_bf16(1), fc_f32_to_bf16(0x1p-20f)};
    uint16_t d;
    must(cudaMemcpyAsync(x.pa, a, sizeof a, cudaMemcpyHostToDevice, x.s));
    must(cudaMemcpyAsync(x.pb, b, sizeof b, cudaMemcpyHostToDevice, x.s));
    lt_ok(multiply(&x, NULL));
    must(cudaMemcpyAsync(&d, x.pd, sizeof d, cudaMemcpyDeviceToHost, x.s));
    assert_int_equal(d, 0x3f81);
}

/* NaN in D is not read where beta is 0; a product is late like a kernel, and part of a graph like one. */
static void products_are_queued(void **) {
    made x = make({CUDA_R_16BF, CUDA_R_16BF, CUDA_R_32F, 4, 4, 4, true, false, false, 0, 0, 1, 0}, 3);
    cublasLtMatmulHeuristicResult_t r = found(&x);
    cudaGraph_t g;
    cudaGraphExec_t exec;
    float got[16];
    emu_queue_opts.early = -1;
    must(cudaMemsetAsync(x.pd, 0xff, x.d_bytes, x.s));
    emu_counts_reset();
    lt_ok(multiply(&x, &r.algo));
    assert_int_equal(emu_counts().launches, 0);
    must(cudaMemcpyAsync(got, x.pd, sizeof got, cudaMemcpyDeviceToHost, x.s));
    assert_int_equal(emu_counts().launches, 1);
    assert_true(got[15] == got[15]);
    must(cudaStreamBeginCapture(x.s, cudaStreamCaptureModeThreadLocal));
    lt_ok(multiply(&x, &r.algo));
    must(cudaStreamEndCapture(x.s, &g));
    must(cudaGraphInstantiate(&exec, g, 0));
    must(cudaMemsetAsync(x.pd, 0, x.d_bytes, x.s));
    must(cudaGraphLaunch(exec, x.s));
    float again[16];
    must(cudaMemcpyAsync(again, x.pd, sizeof again, cudaMemcpyDeviceToHost, x.s));
    assert_memory_equal(again, got, sizeof got);
    must(cudaFree(x.pb));
    must(cudaGraphLaunch(exec, x.s));
    must_fail(cudaStreamSynchronize(x.s), cudaErrorIllegalAddress, "cublasLtMatmul: B: 32 bytes from byte 0 of device");
}

/* Whoever leaves results in memory that was promised to a product loses them. */
static void the_workspace_is_used(void **) {
    made x = make({CUDA_R_16BF, CUDA_R_16BF, CUDA_R_32F, 4, 4, 4, true, false, false, 0, 0, 1, 0}, 3);
    cublasLtMatmulHeuristicResult_t r = found(&x);
    unsigned char seen[16];
    assert_true(r.workspaceSize > 0);
    must(cudaMemsetAsync(x.workspace, 7, WORK, x.s));
    lt_ok(multiply(&x, &r.algo));
    must(cudaMemcpyAsync(seen, x.workspace, sizeof seen, cudaMemcpyDeviceToHost, x.s));
    assert_int_equal(seen[15], 0xff);
    must(cudaMemcpyAsync(seen, (char *)x.workspace + r.workspaceSize, 16, cudaMemcpyDeviceToHost, x.s));
    assert_int_equal(seen[15], 7);
    x.q.alpha = 1;
    lt_fails(cublasLtMatmul(x.lt, x.desc, &x.q.alpha, x.pa, x.a, x.pb, x.b, &x.q.beta, x.pd, x.d, x.pd, x.d, &r.algo,
                            x.workspace, r.workspaceSize - 1, x.s),
             CUBLAS_STATUS_INVALID_VALUE, "the algorithm takes");
    lt_fails(cublasLtMatmul(x.lt, x.desc, &x.q.alpha, x.pa, x.a, x.pb, x.b, &x.q.beta, x.pd, x.d, x.pd, x.d, &r.algo,
                            (char *)x.workspace + 128, WORK - 128, x.s),
             CUBLAS_STATUS_INVALID_VALUE, "aligned to 256");
    uint64_t none = 0;
    lt_ok(cublasLtMatmulPreferenceSetAttribute(x.pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &none, sizeof none));
    assert_int_equal(found(&x).workspaceSize, 0);
}

static cublasLtMatrixLayout_t layout(cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld) {
    cublasLtMatrixLayout_t l;
    lt_ok(cublasLtMatrixLayoutCreate(&l, type, rows, cols, ld));
    return l;
}

static void wrong_products_are_refused(void **) {
    made x = make({CUDA_R_16BF, CUDA_R_16BF, CUDA_R_32F, 32, 4, 16, true, false, false, 0, 0, 1, 0}, 3);
    cublasLtMatmulHeuristicResult_t r = found(&x), other;
    float alpha = 1, beta = 0;
    int n;
#define TRY(a_at, a, b_at, b, d_at, d, algo)                                                                           \
    cublasLtMatmul(x.lt, x.desc, &alpha, a_at, a, b_at, b, &beta, d_at, d, d_at, d, algo, x.workspace, WORK, x.s)
    lt_fails(TRY(x.pa, layout(CUDA_R_16BF, 16, 32, 15), x.pb, x.b, x.pd, x.d, NULL), CUBLAS_STATUS_INVALID_VALUE,
             "A of 16 rows, 32 columns, leading dimension 15");
    lt_fails(TRY(x.pa, layout(CUDA_R_16BF, 15, 32, 16), x.pb, x.b, x.pd, x.d, NULL), CUBLAS_STATUS_INVALID_VALUE,
             "op(A) is 32 x 15, op(B) 16 x 4");
    lt_fails(TRY(x.pa, x.a, x.pb, layout(CUDA_R_16BF, 16, 5, 16), x.pd, x.d, NULL), CUBLAS_STATUS_INVALID_VALUE,
             "16 x 5");
    lt_fails(TRY(x.pa, layout(CUDA_R_16BF, 16, 32, 17), x.pb, x.b, x.pd, x.d, NULL), CUBLAS_STATUS_INVALID_VALUE,
             "A: 1086 bytes from byte 0 of device allocation");
    lt_fails(TRY(x.pa, x.a, x.pb, layout(CUDA_R_32F, 16, 4, 16), x.pd, x.d, NULL), CUBLAS_STATUS_NOT_SUPPORTED,
             "A of type 14, B 0");
    lt_fails(TRY(x.pa, x.a, x.pb, x.b, x.pd, layout(CUDA_R_16F, 32, 4, 32), NULL), CUBLAS_STATUS_NOT_SUPPORTED,
             "D of type 2");
    lt_fails(
        TRY((char *)x.pa + 2, layout(CUDA_R_16BF, 16, 31, 16), x.pb, x.b, x.pd, layout(CUDA_R_32F, 31, 4, 31), &r.algo),
        CUBLAS_STATUS_NOT_SUPPORTED, "found for another product");
    lt_fails(TRY((char *)x.pa + 1, x.a, x.pb, x.b, x.pd, x.d, NULL), CUBLAS_STATUS_INVALID_VALUE, "aligned to 2 bytes");
    lt_fails(TRY(x.pa, x.a, (char *)x.pb + 16, x.b, x.pd, x.d, &r.algo), CUBLAS_STATUS_INVALID_VALUE,
             "aligned to 256 bytes"); /* what the preference promised */
    lt_fails(TRY(x.ha.data(), x.a, x.pb, x.b, x.pd, x.d, NULL), CUBLAS_STATUS_INVALID_VALUE, "neither device");
    lt_fails(TRY(x.pa, x.a, x.pb, x.b, x.pa, layout(CUDA_R_32F, 32, 4, 32), NULL), CUBLAS_STATUS_INVALID_VALUE,
             "D overlaps A or B");
    lt_fails(cublasLtMatmul(x.lt, x.desc, x.pa, x.pa, x.a, x.pb, x.b, &beta, x.pd, x.d, x.pd, x.d, NULL, NULL, 0, x.s),
             CUBLAS_STATUS_INVALID_VALUE, "not the host's");
    lt_fails(attr(x.desc, CUBLASLT_MATMUL_DESC_TRANSA, (int64_t)1), CUBLAS_STATUS_INVALID_VALUE,
             "of 8 bytes; it has 4");
    lt_ok(attr(x.desc, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, (const void *)x.pa));
    lt_fails(multiply(&x, NULL), CUBLAS_STATUS_INVALID_VALUE, "not fp8");
    lt_ok(attr(x.desc, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, (const void *)NULL));
    lt_ok(attr(x.desc, CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, (int32_t)CUBLAS_COMPUTE_16F));
    lt_fails(cublasLtMatmulAlgoGetHeuristic(x.lt, x.desc, x.a, x.b, x.d, x.d, x.pref, 1, &other, &n),
             CUBLAS_STATUS_NOT_SUPPORTED, "compute type 64");
    assert_int_equal(n, 0);
    lt_ok(cublasLtMatmulDescDestroy(x.desc));
    lt_fails(multiply(&x, NULL), CUBLAS_STATUS_INVALID_VALUE, "no cuBLASLt product");
    lt_fails(cublasLtMatmulDescDestroy(x.desc), CUBLAS_STATUS_INVALID_VALUE, "was destroyed");
    emu_rt.things.clear();
#undef TRY
}

static void fp8_has_needs(void **) {
    product q = {CUDA_R_8F_E4M3, CUDA_R_8F_E4M3, CUDA_R_32F, 32, 4, 16, true, false, false, 0, 0, 1, 0};
    made x = make(q, 3);
    lt_ok(multiply(&x, NULL));
    emu_device_opts.sm = 80;
    lt_fails(multiply(&x, NULL), CUBLAS_STATUS_NOT_SUPPORTED, "fp8 on sm_80");
    emu_device_opts.sm = 0;
    lt_ok(attr(x.desc, CUBLASLT_MATMUL_DESC_TRANSB, (int32_t)CUBLAS_OP_T));
    lt_fails(multiply(&x, NULL), CUBLAS_STATUS_INVALID_VALUE, "op(B)");
    const struct {
        product p;
        const char *words;
    } wrong[] = {
        {{CUDA_R_8F_E5M2, CUDA_R_8F_E5M2, CUDA_R_32F, 32, 4, 16, true, false, false, 0, 0, 1, 0}, "both e5m2"},
        {{CUDA_R_8F_E4M3, CUDA_R_8F_E4M3, CUDA_R_32F, 32, 4, 16, false, false, false, 0, 0, 1, 0}, "A not transposed"},
        {{CUDA_R_8F_E4M3, CUDA_R_8F_E4M3, CUDA_R_32F, 32, 4, 24, true, false, false, 0, 0, 1, 0}, "M 32, K 24"},
        {{CUDA_R_8F_E4M3, CUDA_R_8F_E4M3, CUDA_R_32F, 40, 4, 16, true, false, false, 0, 0, 1, 0}, "M 40, K 16"},
        {{CUDA_R_8F_E4M3, CUDA_R_8F_E4M3, CUDA_R_32F, 32, 4, 16, true, false, false, 0, 8, 1, 0},
         "leading dimension 24"},
        {{CUDA_R_8F_E4M3, CUDA_R_16BF, CUDA_R_32F, 32, 4, 16, true, false, false, 0, 0, 1, 0}, "A of type 28, B 14"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        made y = make(wrong[i].p, 1);
        lt_fails(multiply(&y, NULL), CUBLAS_STATUS_NOT_SUPPORTED, wrong[i].words);
        unmake(&y);
    }
    lt_fails(cublasLtMatmul(x.lt, x.desc, NULL, x.pa, x.a, x.pb, x.b, NULL, NULL, x.d, x.pd, x.d, NULL, NULL, 0, x.s),
             CUBLAS_STATUS_INVALID_VALUE, "");
    emu_fail_at(1);
    cublasLtHandle_t lt;
    lt_fails(cublasLtCreate(&lt), CUBLAS_STATUS_ALLOC_FAILED, "told to fail");
    unmake(&x);
    assert_int_equal(emu_leaks(true), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(products_are_right, fresh),         cmocka_unit_test_setup(rounds_once, fresh),
        cmocka_unit_test_setup(products_are_queued, fresh),        cmocka_unit_test_setup(the_workspace_is_used, fresh),
        cmocka_unit_test_setup(wrong_products_are_refused, fresh), cmocka_unit_test_setup(fp8_has_needs, fresh),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    emu_reset();
    return failed;
}
