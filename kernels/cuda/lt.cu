#include "kernels/cuda/lt.cuh"

#include <cublasLt.h>
#ifndef FC_CUDA_EMU
#include <dlfcn.h>
#endif

extern "C" {
#include "engine/base/mem.h"
}

enum { SHAPES = 64 }; /* that are kept: four products a layer, and some numbers of rows */

#define LT_CALLS(X)                                                                                                    \
    X(cublasLtCreate)                                                                                                  \
    X(cublasLtDestroy)                                                                                                 \
    X(cublasLtGetStatusString)                                                                                         \
    X(cublasLtMatmulDescCreate)                                                                                        \
    X(cublasLtMatmulDescDestroy)                                                                                       \
    X(cublasLtMatmulDescSetAttribute)                                                                                  \
    X(cublasLtMatrixLayoutCreate)                                                                                      \
    X(cublasLtMatrixLayoutDestroy)                                                                                     \
    X(cublasLtMatmulPreferenceCreate)                                                                                  \
    X(cublasLtMatmulPreferenceDestroy)                                                                                 \
    X(cublasLtMatmulPreferenceSetAttribute)                                                                            \
    X(cublasLtMatmulAlgoGetHeuristic)                                                                                  \
    X(cublasLtMatmul)

typedef struct {
#define DECLARE(call) decltype(&::call) call;
    LT_CALLS(DECLARE)
#undef DECLARE
} lt_calls;

/* What an algorithm was found for. */
typedef struct {
    int T, N, K, ldy, align; /* of y, in bytes */
    bool bias, more;
    size_t workspace;
} shape_key;

typedef struct {
    shape_key key;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t w, x, y;
    cublasLtMatmulAlgo_t algo;
    bool can; /* there is one */
} lt_shape;

struct fc_lt {
    lt_calls call;
    void *library;
    cublasLtHandle_t handle;
    lt_shape shapes[SHAPES]; /* the last ones, in a ring */
    unsigned n_shapes;       /* since open */
};

#define FAILED(lt, st, call) (FC_FAILS_HERE(call), failed(lt, st, call))
#define LT_TRY(lt, expr)                                                                                               \
    do {                                                                                                               \
        cublasStatus_t lt_s_ = (lt)->call.expr;                                                                        \
        if (lt_s_ != CUBLAS_STATUS_SUCCESS) return FAILED(lt, lt_s_, #expr);                                           \
    } while (0)

static fc_status failed(const fc_lt *lt, cublasStatus_t st, const char *call) {
    int n = (int)strcspn(call, "(");
    return FC_FAIL(st == CUBLAS_STATUS_ALLOC_FAILED ? FC_ERR_MEM : FC_ERR_INTERNAL, "%.*s: %s", n, call,
                   lt->call.cublasLtGetStatusString(st));
}

static fc_status find_calls(fc_lt *lt) {
#ifdef FC_CUDA_EMU
#define FIND(name) lt->call.name = &::name;
    LT_CALLS(FIND)
#else
    char name[32];
    snprintf(name, sizeof name, "libcublasLt.so.%d", CUDART_VERSION / 1000);
    lt->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!lt->library)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "batch_invariant = false: products of many rows want cuBLASLt: %s",
                       dlerror());
#define FIND(name)                                                                                                     \
    *(void **)&lt->call.name = dlsym(lt->library, #name);                                                              \
    if (!lt->call.name) return FC_FAIL(FC_ERR_UNSUPPORTED, "batch_invariant = false: cuBLASLt has no " #name);
    LT_CALLS(FIND)
#endif
#undef FIND
    return FC_OK;
}

static fc_status open_calls(fc_lt *lt) {
    FC_TRY(find_calls(lt));
    LT_TRY(lt, cublasLtCreate(&lt->handle));
    return FC_OK;
}

fc_status fc_lt_open(fc_lt **out) {
    void *p;
    fc_lt *lt;
    fc_status st;
    FC_TRY(fc_alloc(1, sizeof *lt, "cuBLASLt", &p));
    lt = (fc_lt *)p;
    st = open_calls(lt);
    if (st) {
        fc_lt_close(lt);
        return st;
    }
    *out = lt;
    return FC_OK;
}

static void drop(fc_lt *lt, lt_shape *s) {
    if (s->desc) lt->call.cublasLtMatmulDescDestroy(s->desc);
    if (s->w) lt->call.cublasLtMatrixLayoutDestroy(s->w);
    if (s->x) lt->call.cublasLtMatrixLayoutDestroy(s->x);
    if (s->y) lt->call.cublasLtMatrixLayoutDestroy(s->y);
    memset(s, 0, sizeof *s);
}

void fc_lt_close(fc_lt *lt) {
    if (!lt) return;
    for (int i = 0; i < SHAPES; i++) drop(lt, &lt->shapes[i]);
    if (lt->handle) lt->call.cublasLtDestroy(lt->handle);
#ifndef FC_CUDA_EMU
    if (lt->library) dlclose(lt->library);
#endif
    fc_free(lt);
}

/* ---- a shape */

static fc_status set(const fc_lt *lt, const lt_shape *s, cublasLtMatmulDescAttributes_t attribute, const void *value,
                     size_t bytes) {
    LT_TRY(lt, cublasLtMatmulDescSetAttribute(s->desc, attribute, value, bytes));
    return FC_OK;
}

/* To cuBLASLt, whose matrices lie by columns, w and x are [K,N] and [K,T], and y, [N,T], is w transposed times x. */
static fc_status describe(const fc_lt *lt, lt_shape *s, const float *bias) {
    const shape_key *k = &s->key;
    const cublasOperation_t turned = CUBLAS_OP_T;
    const cublasLtEpilogue_t adds = CUBLASLT_EPILOGUE_BIAS;
    const cudaDataType_t floats = CUDA_R_32F;
    LT_TRY(lt, cublasLtMatmulDescCreate(&s->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    FC_TRY(set(lt, s, CUBLASLT_MATMUL_DESC_TRANSA, &turned, sizeof turned));
    if (k->bias) {
        FC_TRY(set(lt, s, CUBLASLT_MATMUL_DESC_EPILOGUE, &adds, sizeof adds));
        FC_TRY(set(lt, s, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &floats, sizeof floats));
        FC_TRY(set(lt, s, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias));
    }
    LT_TRY(lt, cublasLtMatrixLayoutCreate(&s->w, CUDA_R_16BF, (uint64_t)k->K, (uint64_t)k->N, k->K));
    LT_TRY(lt, cublasLtMatrixLayoutCreate(&s->x, CUDA_R_16BF, (uint64_t)k->K, (uint64_t)k->T, k->K));
    LT_TRY(lt, cublasLtMatrixLayoutCreate(&s->y, CUDA_R_32F, (uint64_t)k->N, (uint64_t)k->T, k->ldy));
    return FC_OK;
}

static fc_status choose(const fc_lt *lt, lt_shape *s, cublasLtMatmulPreference_t pref) {
    cublasLtMatmulHeuristicResult_t found = {};
    uint32_t align = (uint32_t)s->key.align;
    uint64_t workspace = s->key.workspace;
    cublasStatus_t st;
    int n = 0;
    LT_TRY(lt, cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                                    sizeof workspace));
    LT_TRY(lt, cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &align,
                                                    sizeof align));
    LT_TRY(lt, cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &align,
                                                    sizeof align));
    align = 16;
    LT_TRY(lt, cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &align,
                                                    sizeof align));
    LT_TRY(lt, cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &align,
                                                    sizeof align));
    st = lt->call.cublasLtMatmulAlgoGetHeuristic(lt->handle, s->desc, s->w, s->x, s->y, s->y, pref, 1, &found, &n);
    if (st != CUBLAS_STATUS_SUCCESS && st != CUBLAS_STATUS_NOT_SUPPORTED)
        return FAILED(lt, st, "cublasLtMatmulAlgoGetHeuristic");
    s->can = n > 0 && found.state == CUBLAS_STATUS_SUCCESS;
    s->algo = found.algo;
    return FC_OK;
}

static fc_status make(fc_lt *lt, lt_shape *s, const shape_key *key, const float *bias) {
    cublasLtMatmulPreference_t pref;
    cublasStatus_t gone;
    fc_status st;
    s->key = *key;
    FC_TRY(describe(lt, s, bias));
    LT_TRY(lt, cublasLtMatmulPreferenceCreate(&pref));
    st = choose(lt, s, pref);
    gone = lt->call.cublasLtMatmulPreferenceDestroy(pref);
    return st || !gone ? st : FAILED(lt, gone, "cublasLtMatmulPreferenceDestroy");
}

static fc_status shape_of(fc_lt *lt, const shape_key *key, const float *bias, lt_shape **out) {
    lt_shape *s = &lt->shapes[lt->n_shapes % SHAPES];
    fc_status st;
    for (int i = 0; i < SHAPES; i++)
        if (lt->shapes[i].desc && memcmp(&lt->shapes[i].key, key, sizeof *key) == 0) {
            *out = &lt->shapes[i];
            return FC_OK;
        }
    drop(lt, s);
    st = make(lt, s, key, bias);
    if (st) {
        drop(lt, s);
        return st;
    }
    lt->n_shapes++;
    *out = s;
    return FC_OK;
}

static shape_key key_of(const fc_lt_product *p, size_t bytes) {
    shape_key key;
    memset(&key, 0, sizeof key); /* keys are compared as bytes */
    key.T = p->T, key.N = p->N, key.K = p->K, key.ldy = p->ldy;
    key.align = p->ldy % 4 == 0 && (uintptr_t)p->y % 16 == 0 ? 16 : 4;
    key.bias = p->bias, key.more = p->more;
    key.workspace = bytes < (size_t)FC_LT_WORKSPACE ? bytes : (size_t)FC_LT_WORKSPACE;
    return key;
}

fc_status fc_lt_can(fc_lt *lt, const fc_lt_product *p, size_t bytes, bool *can) {
    shape_key key = key_of(p, bytes);
    lt_shape *s;
    FC_TRY(shape_of(lt, &key, p->bias, &s));
    *can = s->can;
    return FC_OK;
}

fc_status fc_lt_run(fc_lt *lt, cudaStream_t queue, const fc_lt_product *p, void *workspace, size_t bytes) {
    const float one = 1.0f, add = p->more ? 1.0f : 0.0f;
    shape_key key = key_of(p, bytes);
    cublasStatus_t st;
    lt_shape *s;
    FC_TRY(shape_of(lt, &key, p->bias, &s));
    FC_ASSERT(s->can);
    if (p->bias) FC_TRY(set(lt, s, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p->bias, sizeof p->bias));
    st = lt->call.cublasLtMatmul(lt->handle, s->desc, &one, p->w, s->w, p->x, s->x, &add, p->y, s->y, p->y, s->y,
                                 &s->algo, workspace, key.workspace, queue);
    if (st == CUBLAS_STATUS_SUCCESS) return FC_OK;
    FC_FAILS_HERE("cublasLtMatmul");
    return FC_FAIL(st == CUBLAS_STATUS_ALLOC_FAILED ? FC_ERR_MEM : FC_ERR_INTERNAL,
                   "cublasLtMatmul: T=%d N=%d K=%d: %s", p->T, p->N, p->K, lt->call.cublasLtGetStatusString(st));
}
