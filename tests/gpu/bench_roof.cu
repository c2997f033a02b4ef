/* bench_roof - what the device can do at most, as far as kernels of mma.sync can ask for it, and cuBLASLt's best
 * product where its library is found. */
#include "kernels/cuda/mma.cuh"
#include "tests/gpu/bench.h"

#include <cublasLt.h>
#include <dlfcn.h>

struct read_args {
    uint4 *out;
    const uint4 *in;
    size_t n;  /* pieces of 16 bytes */
    int times; /* that all of it is read */
};

/* Four loads are under way before the first is used. */
static __global__ void read_kernel(const read_args p) {
    size_t step = (size_t)gridDim.x * blockDim.x, first = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    uint4 sum = make_uint4(0, 0, 0, 0);
    for (int t = 0; t < p.times; t++)
        for (size_t i = first; i < p.n; i += 4 * step) {
            uint4 v[4];
#pragma unroll
            for (int k = 0; k < 4; k++) v[k] = i + k * step < p.n ? p.in[i + k * step] : make_uint4(0, 0, 0, 0);
#pragma unroll
            for (int k = 0; k < 4; k++) sum.x ^= v[k].x, sum.y ^= v[k].y, sum.z ^= v[k].z, sum.w ^= v[k].w;
        }
    if ((sum.x & sum.y & sum.z & sum.w) == 0x9e3779b9u) p.out[0] = sum;
}

static __global__ void copy_kernel(const read_args p) {
    size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < p.n; i += step) p.out[i] = p.in[i];
}

struct peak_args {
    float *out;
    int n; /* rounds of CHAINS products a warp, or of fused multiply-adds a thread */
};
enum { CHAINS = 8, PEAK_THREADS = 256, PEAK_BLOCKS = 4 };

static __global__ void peak_bf16_kernel(const peak_args p) {
    float d[CHAINS][4] = {};
    uint32_t lane = threadIdx.x, a[4] = {0x3f80bf80u ^ lane, 0x3f803f80u + lane, 0xbf803f80u, 0x3f003f00u},
             b[2] = {lane, ~lane};
    for (int i = 0; i < p.n; i++)
#pragma unroll
        for (int c = 0; c < CHAINS; c++) fc_mma_bf16(d[c], a, b);
    float sum = 0;
    for (int c = 0; c < CHAINS; c++) sum += d[c][0] + d[c][1] + d[c][2] + d[c][3];
    if (sum == 12345.0f) p.out[0] = sum;
}

static __global__ void peak_s8_kernel(const peak_args p) {
    int32_t d[CHAINS][4] = {};
    uint32_t lane = threadIdx.x, a[4] = {lane, 0x01020304u + lane, 0x7f80ff01u, 0x10203040u}, b[2] = {lane, ~lane};
    for (int i = 0; i < p.n; i++)
#pragma unroll
        for (int c = 0; c < CHAINS; c++) fc_mma_s8(d[c], a, b);
    int32_t sum = 0;
    for (int c = 0; c < CHAINS; c++) sum += d[c][0] ^ d[c][1] ^ d[c][2] ^ d[c][3];
    if (sum == 12345) p.out[0] = 1.0f;
}

static __global__ void peak_f32_kernel(const peak_args p) {
    float d[CHAINS], x = 1.0f + (float)threadIdx.x * 1e-7f;
    for (int c = 0; c < CHAINS; c++) d[c] = (float)c;
    for (int i = 0; i < p.n; i++)
#pragma unroll
        for (int c = 0; c < CHAINS; c++) d[c] = fmaf(d[c], x, 1.0f);
    float sum = 0;
    for (int c = 0; c < CHAINS; c++) sum += d[c];
    if (sum == 12345.0f) p.out[0] = sum;
}

static __global__ void nothing_kernel(const peak_args p) {
    if (p.n < 0) p.out[0] = 0.0f;
}

struct roof {
    read_args read;
    peak_args peak;
    void (*reads)(const read_args);
    void (*peaks)(const peak_args);
    int blocks;
};

static fc_status run_read(void *self, fc_stream s, int) {
    roof *r = (roof *)self;
    return fc_launch(s, "roof", r->reads, dim3((unsigned)r->blocks), 512, 0, r->read);
}

static fc_status run_peak(void *self, fc_stream s, int) {
    roof *r = (roof *)self;
    return fc_launch(s, "roof", r->peaks, dim3((unsigned)r->blocks), PEAK_THREADS, 0, r->peak);
}

/* ---- cuBLASLt, by the names that its library exports */

struct gemm {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algo;
    decltype(&cublasLtMatmul) matmul;
    void *x, *w, *y, *workspace;
};
enum { GEMM = 8192, GEMM_WORKSPACE = 64 << 20 };

static fc_status run_gemm(void *self, fc_stream s, int) {
    gemm *g = (gemm *)self;
    float one = 1.0f, zero = 0.0f;
    if (g->matmul(g->handle, g->op, &one, g->w, g->a, g->x, g->b, &zero, g->y, g->c, g->y, g->c, &g->algo, g->workspace,
                  GEMM_WORKSPACE, s->queue) != CUBLAS_STATUS_SUCCESS)
        return FC_FAIL(FC_ERR_INTERNAL, "cublasLtMatmul failed");
    return FC_OK;
}

#define LOAD(name) decltype(&name) p_##name = (decltype(&name))dlsym(lib, #name)

static void bench_gemm(bench *b) {
    void *lib = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_LOCAL);
    gemm g = {};
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t found;
    cublasOperation_t turned = CUBLAS_OP_T;
    size_t room = GEMM_WORKSPACE, n = (size_t)GEMM * GEMM;
    int results = 0;
    if (!lib) {
        printf("skipped: %s\n", dlerror());
        return;
    }
    LOAD(cublasLtCreate);
    LOAD(cublasLtMatmulDescCreate);
    LOAD(cublasLtMatmulDescSetAttribute);
    LOAD(cublasLtMatrixLayoutCreate);
    LOAD(cublasLtMatmulPreferenceCreate);
    LOAD(cublasLtMatmulPreferenceSetAttribute);
    LOAD(cublasLtMatmulAlgoGetHeuristic);
    g.matmul = (decltype(&cublasLtMatmul))dlsym(lib, "cublasLtMatmul");
    uint16_t *host = (uint16_t *)bench_bytes(n * 2, 5); /* bf16 of either sign, 2^-8 .. 2^7 */
    for (size_t i = 0; i < n; i++) host[i] = (uint16_t)((host[i] & 0x807f) | (119 + (host[i] >> 7 & 15)) << 7);
    g.x = device_copy(b->s, host, n * 2);
    g.w = device_copy(b->s, host, n * 2);
    free(host);
    g.y = device_copy(b->s, NULL, n * 2);
    g.workspace = device_copy(b->s, NULL, GEMM_WORKSPACE);
    p_cublasLtCreate(&g.handle);
    p_cublasLtMatmulDescCreate(&g.op, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    p_cublasLtMatmulDescSetAttribute(g.op, CUBLASLT_MATMUL_DESC_TRANSA, &turned, sizeof turned);
    p_cublasLtMatrixLayoutCreate(&g.a, CUDA_R_16BF, GEMM, GEMM, GEMM);
    p_cublasLtMatrixLayoutCreate(&g.b, CUDA_R_16BF, GEMM, GEMM, GEMM);
    p_cublasLtMatrixLayoutCreate(&g.c, CUDA_R_16BF, GEMM, GEMM, GEMM);
    p_cublasLtMatmulPreferenceCreate(&preference);
    p_cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room, sizeof room);
    p_cublasLtMatmulAlgoGetHeuristic(g.handle, g.op, g.a, g.b, g.c, g.c, preference, 1, &found, &results);
    if (results < 1) {
        printf("skipped: cuBLASLt knows no way for its product\n");
        return;
    }
    g.algo = found.algo;
    bench_time(b, "\"limit\": \"gemm_bf16\", \"n\": 8192", (fc_cost){6.0 * (double)n, 2.0 * (double)n * GEMM}, run_gemm,
               &g);
    device_free(g.x), device_free(g.w), device_free(g.y), device_free(g.workspace);
}

static void peak(bench *b, const char *what, void (*kernel)(const peak_args), double flops_a_round, float *out) {
    roof r = {};
    r.peaks = kernel;
    r.blocks = b->s->sms * PEAK_BLOCKS;
    r.peak = {out, 4096};
    bench_time(b, what, (fc_cost){0.0, flops_a_round * CHAINS * r.peak.n * r.blocks * PEAK_THREADS}, run_peak, &r);
}

extern "C" void bench_roof(bench *b) {
    enum { WARP = 32 };
    size_t bytes = (size_t)2 << 30, cached = 24 << 20;
    uint4 *in = (uint4 *)device_copy(b->s, NULL, bytes), *out = (uint4 *)device_copy(b->s, NULL, bytes);
    roof r = {};
    r.reads = read_kernel;
    r.blocks = b->s->sms * 4;
    r.read = {out, in, bytes / 16, 1};
    bench_time(b, "\"limit\": \"read_dram\"", (fc_cost){(double)bytes, 0}, run_read, &r);
    r.reads = copy_kernel;
    bench_time(b, "\"limit\": \"copy_dram\"", (fc_cost){2.0 * (double)bytes, 0}, run_read, &r);
    r.reads = read_kernel;
    r.read = {out, in, cached / 16, 16};
    bench_time(b, "\"limit\": \"read_l2\"", (fc_cost){16.0 * (double)cached, 0}, run_read, &r);
    peak(b, "\"limit\": \"mma_bf16\"", peak_bf16_kernel, 2.0 * 16 * 8 * 16 / WARP, (float *)out);
    peak(b, "\"limit\": \"mma_s8\"", peak_s8_kernel, 2.0 * 16 * 8 * 32 / WARP, (float *)out);
    peak(b, "\"limit\": \"fma_f32\"", peak_f32_kernel, 2.0, (float *)out);
    peak(b, "\"limit\": \"launch\"", nothing_kernel, 0.0, (float *)out);
    device_free(in), device_free(out);
    bench_gemm(b);
}
