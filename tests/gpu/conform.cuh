/* conform - one source, compiled twice: by nvcc for a device, and for the host with each wrapper's emulated twin. Both
 * make the same inputs, run the same kernels and keep what came out as records, which are then compared.
 *
 * A record is a name, words of 32 bits and how far a device may be from its twin:
 *   BITS     not at all
 *   FLOATS   not at all, but that any NaN is any NaN
 *   VALUES   as FLOATS, and zeros of either sign are one
 *   ULPS     `most` units in the last place; DOUBLES the same of double, two words each
 *   SUMS     allow[i], absolutely: sums whose order is the hardware's own
 * A device that lacks what a record is of leaves it without words.
 */
#ifndef FC_TESTS_GPU_CONFORM_CUH
#define FC_TESTS_GPU_CONFORM_CUH

#include "kernels/cuda/cuda.cuh"

extern "C" {
#include "engine/base/rng.h"
void *device_copy(fc_stream s, const void *host, size_t bytes);
void device_read(fc_stream s, void *host, const void *device, size_t bytes);
void device_free(void *device);
fc_stream device_stream(size_t workspace);
void device_close(fc_stream s);
fc_status device_sync(fc_stream s);
}

#include <stdlib.h>

#include <string>
#include <vector>

typedef std::vector<uint32_t> words;
enum conform_kind { BITS, FLOATS, VALUES, ULPS, DOUBLES, SUMS };

struct conform_record {
    std::string name;
    conform_kind kind;
    uint32_t most;
    words got;
    std::vector<float> allow; /* SUMS: one for each word */
};

struct conform_run {
    fc_stream s;
    uint64_t seed; /* of inputs: rises with every use */
    std::vector<conform_record> records;
};

static inline uint32_t conform_random(conform_run *r) { return (uint32_t)(fc_rng_next(&r->seed) >> 32); }

static inline void conform_must(fc_status st, const char *what) {
    if (st == FC_OK) return;
    fprintf(stderr, "conform: %s: %s\n", what, fc_status_text());
    exit(2);
}

/* One launch over `in`, whose kernel leaves `n` words; P begins with uint32_t *out; const uint32_t *in. x, y: of the
 * kernel's clusters, of which there are `grid`. */
template <typename P>
static words conform_launch(conform_run *r, const char *name, void (*kernel)(const P), int grid, int block,
                            size_t shared, const words &in, size_t n, P p, int x = 1, int y = 1) {
    words out(n);
    void *to = device_copy(r->s, NULL, n * 4), *from = device_copy(r->s, in.data(), in.size() * 4);
    p.out = (uint32_t *)to;
    p.in = (const uint32_t *)from;
    dim3 blocks((unsigned)(grid * x), (unsigned)y);
    if (x * y > 1) conform_must(fc_launch_cluster(r->s, name, kernel, x, y, blocks, block, shared, p), name);
    else conform_must(fc_launch(r->s, name, kernel, blocks, block, shared, p), name);
    conform_must(device_sync(r->s), name);
    device_read(r->s, out.data(), to, n * 4);
    device_free(to);
    device_free(from);
    return out;
}

static inline void conform_keep(conform_run *r, const char *name, conform_kind kind, const words &got,
                                uint32_t most = 0) {
    r->records.push_back({name, kind, most, got, {}});
}

/* Floats that are hard in some way: zeros, ones, denormals, infinities, NaNs, values half way between two bf16, their
 * neighbours; then any bits; then ordinary numbers. */
static inline words conform_floats(conform_run *r, size_t n) {
    static const uint32_t hard[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000,
                                    0xffc00000, 0x7f800001, 1,          0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff,
                                    0xff7fffff, 0x3f808000, 0x3f818000, 0x3f807fff, 0x3f808001, 0x7f7f8000, 0x00008000,
                                    0x00018000, 0x33800000, 0x4b000000, 0x4effffff, 0x38800000, 0x387fc000, 0x477fe000};
    words out;
    for (uint32_t h : hard) out.push_back(h);
    while (out.size() < n) {
        uint32_t v = conform_random(r);
        if (out.size() % 3 == 1) v = (v & 0xffff0000u) | 0x8000u;                      /* half way between two bf16 */
        if (out.size() % 3 == 2) v = (v & 0x807fffffu) | (119 + (v >> 23 & 15)) << 23; /* 2^-8 .. 2^8 */
        out.push_back(v);
    }
    out.resize(n);
    return out;
}

void conform_numbers(conform_run *r); /* conform_numbers.cuh: conversions, intrinsics, functions */
void conform_warps(conform_run *r);   /* conform_warps.cuh: shuffles, votes, folds, atomics       */
void conform_sync(conform_run *r);    /* conform_sync.cuh: named barriers                         */
void conform_tiles(conform_run *r);   /* conform_tiles.cuh: copies, ldmatrix, products            */
void conform_async(conform_run *r);   /* conform_async.cuh: bulk copies, products of warpgroups   */
void conform_turned(conform_run *r);  /* conform_turned.cuh: those of attention               */
void conform_cluster(conform_run *r); /* conform_cluster.cuh: blocks that reach each other's  */

#endif
