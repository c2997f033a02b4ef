/* cublaslt.cpp - handles, descriptors and checks of the emulated cuBLASLt.
 *
 * Products are of A and B in f32, f16 or bf16, both the same, or fp8, into D and C of A's type (not fp8) or f32, for
 * fp8 bf16, f16 or f32; sums in f32; alpha and beta f32; a bias optional. fp8 as on Hopper: A transposed, B not, not
 * e5m2 with e5m2, M, K, addresses and leading dimensions multiples of 16 bytes. Stricter than cuBLASLt: an algorithm
 * is good for the very product that it was found for, D overlaps nothing but C, and the workspace is overwritten.
 */
#include "tests/cuda_emu/cublaslt_state.h"
#include "tests/cuda_emu/runtime_state.h"

#include <stdarg.h>
#include <stdio.h>

static const uint64_t ALGO_MARK = 0x666f726b63617374u; /* "forkcast" */
static const size_t WORKSPACE = 64 << 10;              /* what the first algorithm takes, where it may */

/* ---- how a call ends ---- */

static thread_local cublasStatus_t told_status;
static thread_local std::string told;

static cublasStatus_t refuse(const char *name, cublasStatus_t s, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static cublasStatus_t refuse(const char *name, cublasStatus_t s, const char *fmt, ...) {
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    told_status = s;
    told = std::string(name) + ": " + text;
    return s;
}

/* The device is broken or not there, or the call was told to fail. */
static cublasStatus_t of_cuda(const emu_enter &call, cudaError_t e) {
    cublasStatus_t s = e == cudaErrorMemoryAllocation ? CUBLAS_STATUS_ALLOC_FAILED
                       : e == cudaErrorNoDevice       ? CUBLAS_STATUS_NOT_INITIALIZED
                                                      : CUBLAS_STATUS_EXECUTION_FAILED;
    return refuse(call.name, s, "%s", cudaGetErrorString(e));
}
static cublasStatus_t finish(emu_enter &call) {
    cudaError_t e = call.end();
    return e ? of_cuda(call, e) : CUBLAS_STATUS_SUCCESS;
}
#define LT_ENTER(kind)                                                                                                 \
    emu_enter call(__func__, kind);                                                                                    \
    if (call.error) return of_cuda(call, call.error)
#define INVALID(...)     refuse(call.name, CUBLAS_STATUS_INVALID_VALUE, __VA_ARGS__)
#define UNSUPPORTED(...) refuse(call.name, CUBLAS_STATUS_NOT_SUPPORTED, __VA_ARGS__)

size_t cublasLtGetVersion(void) { return 130000; }

#define LT_STATUSES(X)                                                                                                 \
    X(CUBLAS_STATUS_SUCCESS, "success")                                                                                \
    X(CUBLAS_STATUS_NOT_INITIALIZED, "the library was not initialized")                                                \
    X(CUBLAS_STATUS_ALLOC_FAILED, "the resource allocation failed")                                                    \
    X(CUBLAS_STATUS_INVALID_VALUE, "an invalid numeric value was used as an argument")                                 \
    X(CUBLAS_STATUS_ARCH_MISMATCH, "an absent device architectural feature is required")                               \
    X(CUBLAS_STATUS_EXECUTION_FAILED, "the GPU program failed to execute")                                             \
    X(CUBLAS_STATUS_INTERNAL_ERROR, "an internal operation failed")                                                    \
    X(CUBLAS_STATUS_NOT_SUPPORTED, "the functionality requested is not supported")

const char *cublasLtGetStatusName(cublasStatus_t s) {
#define LT_STATUS(name, words)                                                                                         \
    case name: return #name;
    switch (s) { LT_STATUSES(LT_STATUS) }
#undef LT_STATUS
    return "unknown cublas error";
}

const char *cublasLtGetStatusString(cublasStatus_t s) {
    static thread_local std::string text;
    const char *own = "unknown cublas error";
#define LT_STATUS(name, words)                                                                                         \
    case name: own = words; break;
    switch (s) { LT_STATUSES(LT_STATUS) }
#undef LT_STATUS
    if (s == CUBLAS_STATUS_SUCCESS || s != told_status) return own;
    text = std::string(own) + ": " + told;
    return text.c_str();
}

/* ---- handles ---- */

static const char HANDLE[] = "cuBLASLt handle", DESC[] = "cuBLASLt product", LAYOUT[] = "cuBLASLt layout",
                  PREFERENCE[] = "cuBLASLt preference";

static bool is(const void *p, const char *what) {
    auto i = emu_rt.things.find(p);
    return i != emu_rt.things.end() && i->second == what;
}

template <typename T> static cublasStatus_t create(emu_enter &call, T **out, const T &value, const char *what) {
    if (!out) return INVALID("where the %s goes is NULL", what);
    *out = new T(value);
    emu_rt.things[*out] = what;
    return finish(call);
}

template <typename T> static cublasStatus_t destroy(emu_enter &call, T *p, const char *what) {
    if (!is(p, what)) return INVALID("%p is no %s, or was destroyed", (void *)p, what);
    emu_rt.things.erase(p);
    delete p;
    return finish(call);
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *lt) {
    LT_ENTER(EMU_MEMORY | EMU_UNSAFE);
    return create(call, lt, emu_lt{0}, HANDLE);
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t lt) {
    LT_ENTER(EMU_RELEASE);
    return destroy(call, lt, HANDLE);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute, cudaDataType_t scale) {
    LT_ENTER(EMU_MEMORY);
    emu_lt_desc d = {};
    d.compute = compute;
    d.scale = scale;
    d.bias_type = -1;
    d.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    return create(call, desc, d, DESC);
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
    LT_ENTER(EMU_RELEASE);
    return destroy(call, desc, DESC);
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type, uint64_t rows,
                                          uint64_t cols, int64_t ld) {
    LT_ENTER(EMU_MEMORY);
    return create(call, layout, emu_lt_layout{(unsigned)type, CUBLASLT_ORDER_COL, rows, cols, ld}, LAYOUT);
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    LT_ENTER(EMU_RELEASE);
    return destroy(call, layout, LAYOUT);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *pref) {
    LT_ENTER(EMU_MEMORY);
    return create(call, pref, emu_lt_preference{0, ~0u, {256, 256, 256, 256}}, PREFERENCE);
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t pref) {
    LT_ENTER(EMU_RELEASE);
    return destroy(call, pref, PREFERENCE);
}

/* ---- attributes: of exactly their size ---- */

template <typename T> static cublasStatus_t set(emu_enter &call, T *field, int attr, const void *value, size_t bytes) {
    if (!value || bytes != sizeof *field)
        return INVALID("attribute %d of %zu bytes; it has %zu", attr, bytes, sizeof *field);
    memcpy(field, value, sizeof *field);
    return finish(call);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t attr,
                                              const void *value, size_t bytes) {
    LT_ENTER(EMU_PLAIN);
    if (!is(d, DESC)) return INVALID("%p is no %s", (void *)d, DESC);
    switch (attr) {
    case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE: return set(call, &d->compute, attr, value, bytes);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE: return set(call, &d->scale, attr, value, bytes);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE: return set(call, &d->pointer_mode, attr, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSA: return set(call, &d->trans_a, attr, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return set(call, &d->trans_b, attr, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return set(call, &d->epilogue, attr, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return set(call, &d->bias, attr, value, bytes);
    case CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET: return set(call, &d->sm_target, attr, value, bytes);
    case CUBLASLT_MATMUL_DESC_A_SCALE_POINTER: return set(call, &d->scale_a, attr, value, bytes);
    case CUBLASLT_MATMUL_DESC_B_SCALE_POINTER: return set(call, &d->scale_b, attr, value, bytes);
    case CUBLASLT_MATMUL_DESC_FAST_ACCUM: return set(call, &d->fast_accum, attr, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: return set(call, &d->bias_type, attr, value, bytes);
    case CUBLASLT_MATMUL_DESC_A_SCALE_MODE: return set(call, &d->scale_mode_a, attr, value, bytes);
    case CUBLASLT_MATMUL_DESC_B_SCALE_MODE: return set(call, &d->scale_mode_b, attr, value, bytes);
    }
    return INVALID("attribute %d is not emulated", (int)attr);
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t attr,
                                                const void *value, size_t bytes) {
    LT_ENTER(EMU_PLAIN);
    if (!is(l, LAYOUT)) return INVALID("%p is no %s", (void *)l, LAYOUT);
    switch (attr) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE: return set(call, &l->type, attr, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ORDER: return set(call, &l->order, attr, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ROWS: return set(call, &l->rows, attr, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS: return set(call, &l->cols, attr, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD: return set(call, &l->ld, attr, value, bytes);
    }
    return INVALID("attribute %d is not emulated", (int)attr);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t attr, const void *value,
                                                    size_t bytes) {
    LT_ENTER(EMU_PLAIN);
    if (!is(p, PREFERENCE)) return INVALID("%p is no %s", (void *)p, PREFERENCE);
    switch (attr) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return set(call, &p->workspace, attr, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return set(call, &p->schemes, attr, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: return set(call, &p->align[0], attr, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: return set(call, &p->align[1], attr, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: return set(call, &p->align[2], attr, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: return set(call, &p->align[3], attr, value, bytes);
    }
    return INVALID("attribute %d is not emulated", (int)attr);
}

/* ---- what can be multiplied ---- */

static cublasStatus_t check_types(emu_enter &call, emu_lt_product *p) {
    unsigned a = p->a.type, b = p->b.type, d = p->d.type;
    bool fp8 = emu_lt_fp8(a);
    int sm = emu_device_opts.sm ? emu_device_opts.sm : 90;
    if (p->desc.compute != CUBLAS_COMPUTE_32F && p->desc.compute != CUBLAS_COMPUTE_32F_PEDANTIC &&
        (a != CUDA_R_32F ||
         (p->desc.compute != CUBLAS_COMPUTE_32F_FAST_16BF && p->desc.compute != CUBLAS_COMPUTE_32F_FAST_TF32)))
        return UNSUPPORTED("compute type %d", p->desc.compute);
    if (p->desc.scale != CUDA_R_32F) return UNSUPPORTED("alpha and beta of type %d", p->desc.scale);
    if (!emu_lt_size(a) || emu_lt_fp8(b) != fp8 || (!fp8 && a != b)) return UNSUPPORTED("A of type %u, B %u", a, b);
    if (a == CUDA_R_8F_E5M2 && b == CUDA_R_8F_E5M2) return UNSUPPORTED("A and B are both e5m2");
    if (p->c.type != d) return UNSUPPORTED("C of type %u, D %u", p->c.type, d);
    if (d != CUDA_R_32F && (fp8 ? d != CUDA_R_16BF && d != CUDA_R_16F : d != a))
        return UNSUPPORTED("D of type %u, A %u", d, a);
    if (fp8 && sm < 89) return UNSUPPORTED("fp8 on sm_%d", sm);
    if ((p->desc.scale_a || p->desc.scale_b) && !fp8) return INVALID("scales of what is not fp8");
    for (int mode : {p->desc.scale_mode_a, p->desc.scale_mode_b})
        if (mode != CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F &&
            (mode != CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F || sm != 90))
            return UNSUPPORTED("scale mode %d on sm_%d", mode, sm);
    p->bias_type = fp8 && d == CUDA_R_32F ? CUDA_R_16BF : (int)d;
    if (p->desc.epilogue == CUBLASLT_EPILOGUE_DEFAULT) return CUBLAS_STATUS_SUCCESS;
    if (p->desc.epilogue != CUBLASLT_EPILOGUE_BIAS) return UNSUPPORTED("epilogue %u", p->desc.epilogue);
    if (!p->desc.bias) return INVALID("a bias without its pointer");
    if (p->desc.bias_type != -1 && p->desc.bias_type != p->bias_type)
        return UNSUPPORTED("a bias of type %d; here it is %d", p->desc.bias_type, p->bias_type);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t check_shapes(emu_enter &call, emu_lt_product *p) {
    const struct {
        const char *name;
        const emu_lt_layout *l;
    } all[4] = {{"A", &p->a}, {"B", &p->b}, {"C", &p->c}, {"D", &p->d}};
    bool ta = p->desc.trans_a != CUBLAS_OP_N, tb = p->desc.trans_b != CUBLAS_OP_N;
    if ((unsigned)p->desc.trans_a > CUBLAS_OP_C || (unsigned)p->desc.trans_b > CUBLAS_OP_C)
        return INVALID("transposition %d, %d", p->desc.trans_a, p->desc.trans_b);
    for (const auto &x : all) {
        if (x.l->order != CUBLASLT_ORDER_COL) return UNSUPPORTED("%s of order %d", x.name, x.l->order);
        if (x.l->rows < 1 || x.l->cols < 1 || x.l->ld < (int64_t)x.l->rows)
            return INVALID("%s of %llu rows, %llu columns, leading dimension %lld", x.name,
                           (unsigned long long)x.l->rows, (unsigned long long)x.l->cols, (long long)x.l->ld);
    }
    p->m = ta ? p->a.cols : p->a.rows;
    p->k = ta ? p->a.rows : p->a.cols;
    p->n = tb ? p->b.rows : p->b.cols;
    uint64_t kb = tb ? p->b.cols : p->b.rows;
    if (kb != p->k || p->d.rows != p->m || p->d.cols != p->n || p->c.rows != p->m || p->c.cols != p->n)
        return INVALID("op(A) is %llu x %llu, op(B) %llu x %llu, C %llu x %llu, D %llu x %llu",
                       (unsigned long long)p->m, (unsigned long long)p->k, (unsigned long long)kb,
                       (unsigned long long)p->n, (unsigned long long)p->c.rows, (unsigned long long)p->c.cols,
                       (unsigned long long)p->d.rows, (unsigned long long)p->d.cols);
    if (!emu_lt_fp8(p->a.type)) return CUBLAS_STATUS_SUCCESS;
    if (!ta || tb) return UNSUPPORTED("fp8 with A not transposed, or B transposed");
    if (p->m % 16 || p->k % 16)
        return UNSUPPORTED("fp8 of M %llu, K %llu; multiples of 16", (unsigned long long)p->m,
                           (unsigned long long)p->k);
    for (const auto &x : all)
        if ((size_t)x.l->ld * emu_lt_size(x.l->type) % 16)
            return UNSUPPORTED("fp8: %s's leading dimension %lld is no multiple of 16 bytes", x.name,
                               (long long)x.l->ld);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t product_of(emu_enter &call, cublasLtHandle_t lt, cublasLtMatmulDesc_t desc,
                                 cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                 cublasLtMatrixLayout_t d, emu_lt_product *p) {
    if (!is(lt, HANDLE)) return INVALID("%p is no %s", (void *)lt, HANDLE);
    if (!is(desc, DESC)) return INVALID("%p is no %s", (void *)desc, DESC);
    for (cublasLtMatrixLayout_t l : {a, b, c, d})
        if (!is(l, LAYOUT)) return INVALID("%p is no %s", (void *)l, LAYOUT);
    *p = {};
    p->desc = *desc;
    p->a = *a;
    p->b = *b;
    p->c = *c;
    p->d = *d;
    if (cublasStatus_t s = check_types(call, p)) return s;
    return check_shapes(call, p);
}

/* ---- algorithms: what they were found for, what they take, how addresses must be aligned ---- */

static uint64_t fingerprint(const emu_lt_product *p) {
    uint64_t h = 0xcbf29ce484222325u;
    auto mix = [&h](uint64_t v) { h = (h ^ v) * 0x100000001b3u ^ h >> 29; };
    for (const emu_lt_layout *l : {&p->a, &p->b, &p->c, &p->d})
        mix(l->type), mix(l->rows), mix(l->cols), mix((uint64_t)l->ld);
    mix((uint64_t)p->desc.compute), mix((uint64_t)p->desc.trans_a), mix((uint64_t)p->desc.trans_b);
    mix(p->desc.epilogue), mix((uint64_t)p->desc.scale_mode_a), mix((uint64_t)p->desc.scale_mode_b);
    mix((uint64_t)p->desc.fast_accum), mix((uint64_t)p->desc.pointer_mode);
    return h;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t lt, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t pref, int asked,
                                              cublasLtMatmulHeuristicResult_t *results, int *found) {
    LT_ENTER(EMU_PLAIN);
    emu_lt_product p;
    if (!found || !results || asked < 1) return INVALID("%d results are asked for", asked);
    *found = 0;
    if (!is(pref, PREFERENCE)) return INVALID("%p is no %s", (void *)pref, PREFERENCE);
    if (cublasStatus_t s = product_of(call, lt, desc, a, b, c, d, &p)) return s;
    const emu_lt_layout *all[4] = {&p.a, &p.b, &p.c, &p.d};
    for (int i = 0; i < 4; i++)
        if (pref->align[i] < (emu_lt_fp8(p.a.type) ? 16 : emu_lt_size(all[i]->type)))
            return UNSUPPORTED("matrix %d with an alignment of %u bytes", i, pref->align[i]);
    for (size_t workspace : {WORKSPACE, (size_t)0}) {
        if (workspace > pref->workspace || *found >= asked) continue;
        cublasLtMatmulHeuristicResult_t *r = &results[(*found)++];
        *r = {};
        r->algo.data[0] = ALGO_MARK;
        r->algo.data[1] = fingerprint(&p);
        r->algo.data[2] = r->workspaceSize = workspace;
        for (int i = 0; i < 4; i++) r->algo.data[3 + i] = pref->align[i];
        r->wavesCount = 1;
    }
    return finish(call);
}

static cublasStatus_t check_algo(emu_enter &call, const cublasLtMatmulAlgo_t *algo, emu_lt_product *p,
                                 size_t workspace_bytes) {
    const struct {
        const char *name;
        const void *at;
        size_t size;
    } all[4] = {{"A", p->pa, emu_lt_size(p->a.type)},
                {"B", p->pb, emu_lt_size(p->b.type)},
                {"C", p->pc, emu_lt_size(p->c.type)},
                {"D", p->pd, emu_lt_size(p->d.type)}};
    if (algo && (algo->data[0] != ALGO_MARK || algo->data[1] != fingerprint(p)))
        return UNSUPPORTED("the algorithm was found for another product");
    for (int i = 0; i < 4; i++) {
        uint64_t align = algo ? algo->data[3 + i] : emu_lt_fp8(p->a.type) ? 16 : all[i].size;
        if ((uintptr_t)all[i].at % align)
            return INVALID("%s at %p is not aligned to %llu bytes", all[i].name, all[i].at, (unsigned long long)align);
    }
    p->workspace_used = algo ? algo->data[2] : workspace_bytes < WORKSPACE ? 0 : WORKSPACE;
    if (p->workspace_used > workspace_bytes)
        return INVALID("%zu bytes of workspace; the algorithm takes %zu", workspace_bytes, p->workspace_used);
    if (p->workspace_used && (uintptr_t)p->workspace % 256)
        return INVALID("the workspace at %p is not aligned to 256 bytes", p->workspace);
    return CUBLAS_STATUS_SUCCESS;
}

static bool overlap(const void *p, size_t n, const void *q, size_t m) {
    return (const char *)p < (const char *)q + m && (const char *)q < (const char *)p + n;
}

static cublasStatus_t check_memory(emu_enter &call, const emu_lt_product *p) {
    const char *wrong = emu_lt_out_of_memory(p);
    size_t d = emu_lt_bytes(&p->d);
    if (wrong) return INVALID("%s", wrong);
    if (overlap(p->pd, d, p->pa, emu_lt_bytes(&p->a)) || overlap(p->pd, d, p->pb, emu_lt_bytes(&p->b)))
        return INVALID("D overlaps A or B");
    if (p->pc && overlap(p->pd, d, p->pc, emu_lt_bytes(&p->c)) && (p->pc != p->pd || p->c.ld != p->d.ld))
        return INVALID("D overlaps C, and is not C");
    if (p->workspace_used && overlap(p->pd, d, p->workspace, p->workspace_used))
        return INVALID("D overlaps the workspace");
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t lt, cublasLtMatmulDesc_t desc, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout,
                              const void *beta, const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo, void *workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
    LT_ENTER(EMU_PLAIN);
    auto p = std::make_shared<emu_lt_product>();
    if (cublasStatus_t s = product_of(call, lt, desc, a_layout, b_layout, c_layout, d_layout, p.get())) return s;
    if (!alpha || !beta || !a || !b || !d) return INVALID("alpha, beta, A, B or D is NULL");
    p->pa = a;
    p->pb = b;
    p->pc = c;
    p->pd = d;
    p->workspace = workspace;
    if (p->desc.pointer_mode == CUBLASLT_POINTER_MODE_HOST) {
        if (emu_is_device(alpha) || emu_is_device(beta)) return INVALID("alpha or beta is not the host's");
        memcpy(&p->alpha, alpha, sizeof p->alpha);
        memcpy(&p->beta, beta, sizeof p->beta);
        if (p->beta == 0) p->pc = nullptr; /* not read */
        else if (!c) return INVALID("C is NULL");
    } else if (p->desc.pointer_mode == CUBLASLT_POINTER_MODE_DEVICE) {
        p->p_alpha = alpha;
        p->p_beta = beta;
        if (!c) return INVALID("C is NULL");
    } else {
        return UNSUPPORTED("pointer mode %d", p->desc.pointer_mode);
    }
    if (cublasStatus_t s = check_algo(call, algo, p.get(), workspace_bytes)) return s;
    if (cublasStatus_t s = check_memory(call, p.get())) return s;
    emu_stream *s = emu_stream_of(call, stream);
    if (!s) return of_cuda(call, call.failed);
    auto w = std::make_shared<emu_work>();
    w->type = cudaGraphNodeTypeKernel;
    w->name = "cublasLtMatmul";
    w->run = [p](std::string *problem) { return emu_lt_compute(p.get(), problem); };
    cudaError_t e = emu_issue(call, s, w);
    return e ? of_cuda(call, e) : CUBLAS_STATUS_SUCCESS;
}
