/* emu_num - CUDA's device functions on numbers and bits, for a host compiler. Rounding as on the device where the
 * device's is IEEE's (built with -ffp-contract=off); functions that the device approximates are the host's own here. */
#ifndef FC_EMU_NUM_H
#define FC_EMU_NUM_H

#include <math.h>
#include <stdint.h>
#include <string.h>

template <typename T> static inline T __ldg(const T *p) { return *p; }
template <typename T> static inline T __ldcs(const T *p) { return *p; }
template <typename T> static inline T __ldcg(const T *p) { return *p; }
template <typename T> static inline void __stcs(T *p, T v) { *p = v; }
template <typename T> static inline void __stcg(T *p, T v) { *p = v; }

/* ---- bits ---- */

static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
static inline int __ffs(int v) { return __builtin_ffs(v); }
static inline int __ffsll(long long v) { return __builtin_ffsll(v); }
static inline int __clz(int v) { return v ? __builtin_clz((unsigned)v) : 32; }
static inline int __clzll(long long v) { return v ? __builtin_clzll((unsigned long long)v) : 64; }
static inline unsigned __brev(unsigned v) {
    unsigned r = 0;
    for (int i = 0; i < 32; i++) r |= (v >> i & 1u) << (31 - i);
    return r;
}
static inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned by) {
    return (unsigned)(((uint64_t)hi << 32 | lo) << (by & 31) >> 32);
}
static inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned by) {
    return (unsigned)(((uint64_t)hi << 32 | lo) >> (by & 31));
}
/* Byte i of the result: byte (s >> 4i & 7) of y:x, or its sign eight times where bit 3 of that nibble is set. */
static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned s) {
    uint64_t bytes = (uint64_t)y << 32 | x;
    unsigned r = 0;
    for (int i = 0; i < 4; i++) {
        unsigned sel = s >> 4 * i, byte = (unsigned)(bytes >> (sel & 7u) * 8) & 0xffu;
        if (sel & 8u) byte = byte & 0x80u ? 0xffu : 0;
        r |= byte << 8 * i;
    }
    return r;
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
static inline int __mulhi(int a, int b) { return (int)((int64_t)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
static inline int __dp4a(int a, int b, int c) {
    unsigned sum = (unsigned)c;
    for (int i = 0; i < 32; i += 8) sum += (unsigned)((int8_t)(a >> i) * (int8_t)(b >> i));
    return (int)sum;
}
static inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
    for (int i = 0; i < 32; i += 8) c += (a >> i & 0xffu) * (b >> i & 0xffu);
    return c;
}

/* ---- the same bits as another type ---- */

template <typename T, typename F> static inline T emu_bits(F from) {
    static_assert(sizeof(T) == sizeof(F), "as many bits");
    T to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline unsigned __float_as_uint(float f) { return emu_bits<unsigned>(f); }
static inline float __uint_as_float(unsigned u) { return emu_bits<float>(u); }
static inline int __float_as_int(float f) { return emu_bits<int>(f); }
static inline float __int_as_float(int i) { return emu_bits<float>(i); }
static inline long long __double_as_longlong(double d) { return emu_bits<long long>(d); }
static inline double __longlong_as_double(long long i) { return emu_bits<double>(i); }

/* ---- arithmetic ---- */

/* A NaN of any kind is left out; glibc's give a NaN for one that signals. Of two zeros the one with the sign asked for.
 * Seen on an H100. */
static inline float emu_fmaxf(float a, float b) {
    return isnan(a) ? b : isnan(b) ? a : a == b ? (signbit(a) ? b : a) : a > b ? a : b;
}
static inline float emu_fminf(float a, float b) {
    return isnan(a) ? b : isnan(b) ? a : a == b ? (signbit(a) ? a : b) : a < b ? a : b;
}
#define fmaxf(a, b) emu_fmaxf(a, b)
#define fminf(a, b) emu_fminf(a, b)
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
#define __expf(x)  expf(x) /* glibc has functions of these names */
#define __logf(x)  logf(x)
#define __log2f(x) log2f(x)
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __frcp_rn(float a) { return 1.0f / a; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
static inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; } /* NaN: 0 */

/* Conversions saturate and make NaN 0, as cvt does: C leaves both undefined. */
template <typename I> static inline I emu_round(double whole, double low, double high) {
    return whole > low ? (whole < high ? (I)whole : (I)high) : (whole <= low ? (I)low : (I)0);
}
static inline int __float2int_rn(float f) { return emu_round<int>(rint((double)f), -0x1p31, 0x1p31 - 1); }
static inline int __float2int_rz(float f) { return emu_round<int>(trunc((double)f), -0x1p31, 0x1p31 - 1); }
static inline int __float2int_rd(float f) { return emu_round<int>(floor((double)f), -0x1p31, 0x1p31 - 1); }
static inline int __float2int_ru(float f) { return emu_round<int>(ceil((double)f), -0x1p31, 0x1p31 - 1); }
static inline unsigned __float2uint_rn(float f) { return emu_round<unsigned>(rint((double)f), 0, 0x1p32 - 1); }
static inline unsigned __float2uint_rz(float f) { return emu_round<unsigned>(trunc((double)f), 0, 0x1p32 - 1); }
static inline float __int2float_rn(int i) { return (float)i; }
static inline float __uint2float_rn(unsigned u) { return (float)u; }
static inline float __double2float_rn(double d) { return (float)d; }

static inline int min(int a, int b) { return b < a ? b : a; }
static inline int max(int a, int b) { return b > a ? b : a; }
static inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
static inline unsigned max(unsigned a, unsigned b) { return b > a ? b : a; }
static inline long long min(long long a, long long b) { return b < a ? b : a; }
static inline long long max(long long a, long long b) { return b > a ? b : a; }
static inline unsigned long long min(unsigned long long a, unsigned long long b) { return b < a ? b : a; }
static inline unsigned long long max(unsigned long long a, unsigned long long b) { return b > a ? b : a; }

#endif
