/* conform_numbers - conversions of kernels/cuda/num.cuh and engine/base, and functions of numbers that kernels call. */
#include "kernels/cuda/exp2.cuh"
#include "kernels/cuda/num.cuh"
#include "kernels/cuda/vmath.cuh"
#include "tests/gpu/conform.cuh"

struct number_args {
    uint32_t *out;
    const uint32_t *in;
    int n, ins, outs; /* words an element */
};

enum number_op {
    BF16_PAIR,
    BF16_LO,
    BF16_HI,
    F16_FLOAT,
    DTYPE_TO_BF16,
    DTYPE_F8,
    DTYPE_TO_F8,
    BF16_FMA,
    PHILOX,
    UNIFORM,
    FMAF,
    MUL,
    ADD,
    DIVIDE,
    SQRT,
    RSQRT,
    MUL_DOUBLE,
    ADD_DOUBLE,
    TO_INT,
    MIN_MAX,
    FMAX_FMIN,
    POPC,
    FFS,
    CLZ,
    RINT,
    FC_EXP,
    FC_TANH,
    EXP,
    EXP2_FTZ,
    LOG,
    TANH,
    EXP_DOUBLE,
    LOG_DOUBLE,
    SIN_DOUBLE,
    COS_DOUBLE,
    POW_DOUBLE
};

static __device__ __forceinline__ double number_double(const uint32_t *x) {
    uint64_t bits = (uint64_t)x[1] << 32 | x[0];
    double d;
    memcpy(&d, &bits, 8);
    return d;
}

static __device__ __forceinline__ void number_put(uint32_t *y, double d) {
    uint64_t bits;
    memcpy(&bits, &d, 8);
    y[0] = (uint32_t)bits;
    y[1] = (uint32_t)(bits >> 32);
}

template <int OP> static __device__ __forceinline__ void number_do(uint32_t *y, const uint32_t *x) {
    float a = __uint_as_float(x[0]), b = __uint_as_float(x[1]);
    switch (OP) {
    case BF16_PAIR: y[0] = fc_bf16_pair(a, b); break;
    case BF16_LO: y[0] = __float_as_uint(fc_bf16_lo(x[0])); break;
    case BF16_HI: y[0] = __float_as_uint(fc_bf16_hi(x[0])); break;
    case F16_FLOAT: y[0] = __float_as_uint(fc_f16_float((uint16_t)x[0])); break;
    case DTYPE_TO_BF16: y[0] = fc_f32_to_bf16(a); break;
    case DTYPE_F8: y[0] = __float_as_uint(fc_f8_to_f32((uint8_t)x[0])); break;
    case DTYPE_TO_F8: y[0] = fc_f32_to_f8(a); break;
    case BF16_FMA: y[0] = fc_bf16_pair_fma(x[0], x[1], x[2]); break;
    case PHILOX: fc_philox(x, x + 4, y); break;
    case UNIFORM: number_put(y, fc_rng_uniform((uint64_t)x[1] << 32 | x[0], x[2], x[3], x[4])); break;
    case FMAF: y[0] = __float_as_uint(fmaf(a, b, __uint_as_float(x[2]))); break;
    case MUL: y[0] = __float_as_uint(__fmul_rn(a, b)); break;
    case ADD: y[0] = __float_as_uint(__fadd_rn(a, b)); break;
    case DIVIDE: y[0] = __float_as_uint(a / b); break;
    case SQRT: y[0] = __float_as_uint(sqrtf(a)); break;
    case RSQRT: y[0] = __float_as_uint(rsqrtf(a)); break;
    case MUL_DOUBLE: number_put(y, __dmul_rn(number_double(x), number_double(x + 2))); break;
    case ADD_DOUBLE: number_put(y, __dadd_rn(number_double(x), number_double(x + 2))); break;
    case TO_INT: y[0] = isfinite(a) ? (uint32_t)__float2int_rn(fmodf(a, 1e9f)) : 0; break;
    case MIN_MAX: y[0] = (uint32_t)min((int)x[0], (int)x[1]) ^ (uint32_t)max((int)x[0], (int)x[1]) << 1; break;
    case FMAX_FMIN: y[0] = __float_as_uint(fmaxf(a, b)), y[1] = __float_as_uint(fminf(a, b)); break;
    case POPC: y[0] = (uint32_t)__popc(x[0]); break;
    case FFS: y[0] = (uint32_t)__ffs((int)x[0]); break;
    case CLZ: y[0] = (uint32_t)__clz((int)x[0]); break;
    case RINT: y[0] = __float_as_uint(nearbyintf(a)); break;
    case FC_EXP: y[0] = __float_as_uint(fc_expf(a)); break;
    case FC_TANH: y[0] = __float_as_uint(fc_tanhf(a)); break;
    case EXP: y[0] = __float_as_uint(expf(a)); break;
    case EXP2_FTZ: y[0] = __float_as_uint(fc_exp2_ftz(a)); break;
    case LOG: y[0] = __float_as_uint(logf(fabsf(a))); break;
    case TANH: y[0] = __float_as_uint(tanhf(a)); break;
    case EXP_DOUBLE: number_put(y, exp((double)a)); break;
    case LOG_DOUBLE: number_put(y, log(fabs((double)a))); break;
    case SIN_DOUBLE: number_put(y, sin((double)fmodf(a, 1e6f))); break;
    case COS_DOUBLE: number_put(y, cos((double)fmodf(a, 1e6f))); break;
    case POW_DOUBLE: number_put(y, pow(fabs((double)a), (double)fmodf(b, 4.0f))); break;
    }
}

template <int OP> static __global__ void number_kernel(const number_args p) {
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < p.n) number_do<OP>(p.out + (size_t)i * p.outs, p.in + (size_t)i * p.ins);
}

template <int OP>
static void number(conform_run *r, const char *name, const words &in, int ins, int outs, conform_kind kind,
                   uint32_t most = 0) {
    number_args p = {NULL, NULL, (int)in.size() / ins, ins, outs};
    conform_keep(r, name, kind,
                 conform_launch(r, name, number_kernel<OP>, fc_div_up(p.n, 256), 256, 0, in, (size_t)p.n * outs, p),
                 most);
}

/* Each with another one of them. */
static words number_pairs(conform_run *r, const words &a) {
    words out;
    for (uint32_t v : a) out.push_back(v), out.push_back(a[conform_random(r) % a.size()]);
    return out;
}

/* a, b, c as kernels have them: a code, a scale of one bit and what undoes an offset, whose a b + c f32 holds; and what
 * is no number. */
static words bf16_codes(conform_run *r) {
    static const uint32_t hard[] = {0x7f80, 0xff80, 0x7fc0, 0x8000, 0, 1, 0x8001, 0x007f, 0x7f7f};
    words out;
    for (int i = 0; i < 3 * 2048; i++) {
        uint32_t half[2];
        for (uint32_t &h : half) {
            int v = (int)(conform_random(r) % 256);
            if (i % 3 == 0) h = fc_f32_to_bf16((float)v);
            if (i % 3 == 1) h = fc_f32_to_bf16(ldexpf(v % 2 ? 1.0f : -1.0f, v % 7 - 3));
            if (i % 3 == 2) h = fc_f32_to_bf16((float)(v - 128));
            if (conform_random(r) % 23 == 0) h = hard[conform_random(r) % 9];
        }
        out.push_back(half[1] << 16 | half[0]);
    }
    return out;
}

/* ulps of functions: what CUDA's programming guide gives, and one for the host's own. */
void conform_numbers(conform_run *r) {
    words pairs = number_pairs(r, conform_floats(r, 8192)), all16, all8, any(6 * 2048), doubles;
    for (uint32_t i = 0; i < 65536; i++) all16.push_back(i), all16.push_back(i << 16);
    for (uint32_t i = 0; i < 256; i++) all8.push_back(i), all8.push_back(0);
    for (uint32_t &v : any) v = conform_random(r);
    for (int i = 0; i < 4096; i++) { /* 2^-64 .. 2^63 */
        doubles.push_back(conform_random(r));
        doubles.push_back((conform_random(r) & 0x800fffffu) | (959 + conform_random(r) % 128) << 20);
    }
    number<BF16_PAIR>(r, "fc_bf16_pair", pairs, 2, 1, BITS);
    number<BF16_LO>(r, "fc_bf16_lo", all16, 2, 1, BITS);
    number<BF16_HI>(r, "fc_bf16_hi", pairs, 2, 1, BITS);
    number<F16_FLOAT>(r, "fc_f16_float", all16, 2, 1, FLOATS);
    number<DTYPE_TO_BF16>(r, "fc_f32_to_bf16", pairs, 2, 1, BITS);
    number<DTYPE_F8>(r, "fc_f8_to_f32", all8, 2, 1, FLOATS);
    number<DTYPE_TO_F8>(r, "fc_f32_to_f8", pairs, 2, 1, BITS);
    number<BF16_FMA>(r, "fc_bf16_pair_fma", bf16_codes(r), 3, 1, BITS);
    number<PHILOX>(r, "fc_philox", any, 6, 4, BITS);
    number<UNIFORM>(r, "fc_rng_uniform", any, 6, 2, BITS);
    number<FMAF>(r, "fmaf", conform_floats(r, 3 * 4096), 3, 1, FLOATS);
    number<MUL>(r, "__fmul_rn", pairs, 2, 1, FLOATS);
    number<ADD>(r, "__fadd_rn", pairs, 2, 1, FLOATS);
    number<DIVIDE>(r, "a / b", pairs, 2, 1, FLOATS);
    number<SQRT>(r, "sqrtf", pairs, 2, 1, FLOATS);
    number<RSQRT>(r, "rsqrtf", pairs, 2, 1, ULPS, 3);
    number<MUL_DOUBLE>(r, "__dmul_rn", doubles, 4, 2, BITS);
    number<ADD_DOUBLE>(r, "__dadd_rn", doubles, 4, 2, BITS);
    number<TO_INT>(r, "__float2int_rn", conform_floats(r, 4096), 2, 1, BITS);
    number<MIN_MAX>(r, "min, max", any, 2, 1, BITS);
    number<FMAX_FMIN>(r, "fmaxf, fminf", pairs, 2, 2, VALUES);
    number<POPC>(r, "__popc", pairs, 2, 1, BITS);
    number<FFS>(r, "__ffs", pairs, 2, 1, BITS);
    number<CLZ>(r, "__clz", pairs, 2, 1, BITS);
    number<RINT>(r, "nearbyintf", pairs, 2, 1, FLOATS);
    number<FC_EXP>(r, "fc_expf", pairs, 2, 1, FLOATS);
    number<FC_TANH>(r, "fc_tanhf", pairs, 2, 1, FLOATS);
    number<EXP>(r, "expf", pairs, 2, 1, ULPS, 3);
    number<EXP2_FTZ>(r, "fc_exp2_ftz", pairs, 2, 1, ULPS, 4);
    number<LOG>(r, "logf", pairs, 2, 1, ULPS, 2);
    number<TANH>(r, "tanhf", pairs, 2, 1, ULPS, 3);
    number<EXP_DOUBLE>(r, "exp", pairs, 2, 2, DOUBLES, 2);
    number<LOG_DOUBLE>(r, "log", pairs, 2, 2, DOUBLES, 2);
    number<SIN_DOUBLE>(r, "sin", pairs, 2, 2, DOUBLES, 3);
    number<COS_DOUBLE>(r, "cos", pairs, 2, 2, DOUBLES, 3);
    number<POW_DOUBLE>(r, "pow", pairs, 2, 2, DOUBLES, 3);
}
