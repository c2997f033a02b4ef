/* Twins of Hopper's pieces: barriers in shared memory, bulk copies, products of warpgroups; mistakes that must be
 * seen. */
#include "kernels/cuda/wgmma.cuh"
#include "tests/cuda_emu/util_emu.h"

/* ---- bulk copies through a ring: a warp that copies, warps that read */

enum { RINGS = 2, ROUNDS = 9, SLOTS = 3, PIECE = 512, READERS = 96 }; /* RINGS: blocks, each with one */

struct piped {
    const uint32_t *x; /* [ROUNDS][PIECE / 4] */
    uint32_t *y;       /* [RINGS][ROUNDS][READERS] */
    int how;
};

enum {
    RIGHT = 0,
    NO_WAIT,        /* the readers do not wait for the bytes */
    WRONG_PARITY,   /* they wait for the phase before */
    NO_EMPTY,       /* the copying thread does not wait for them */
    FEW_BYTES,      /* less is announced than is copied */
    MANY_BYTES,     /* more */
    NO_PROXY,       /* no fence behind mbarrier.init */
    TWICE,          /* a reader too many arrives */
    OVER,           /* a barrier is written over */
    ODD_BYTES,      /* a copy of 24 bytes */
    CROOKED,        /* to an address that is no multiple of 16 */
    NOBODY_ANSWERS, /* it ends with a copy that nobody announced */
    CHANGED,        /* the source is written before the bytes landed */
};

struct piped_shared {
    uint32_t piece[SLOTS][PIECE / 4];
    uint64_t full[SLOTS], empty[SLOTS];
};

static void ring(const piped p) {
    piped_shared *m = fc_shared<piped_shared>();
    int t = (int)threadIdx.x;
    if (t == 0) {
        for (int i = 0; i < SLOTS; i++) {
            fc_mbarrier_init(&m->full[i], 1);
            fc_mbarrier_init(&m->empty[i], READERS);
        }
        if (p.how != NO_PROXY) fc_proxy_fence();
    }
    __syncthreads();
    for (int i = 0; i < ROUNDS; i++) {
        int slot = i % SLOTS, round = i / SLOTS;
        if (t == 0) {
            unsigned bytes = p.how == FEW_BYTES ? PIECE - 16 : p.how == MANY_BYTES ? PIECE + 16 : PIECE;
            if (p.how != NO_EMPTY) fc_mbarrier_wait(&m->empty[slot], (unsigned)(round & 1) ^ 1);
            if (p.how != NOBODY_ANSWERS && p.how != CHANGED) fc_mbarrier_expect(&m->full[slot], bytes);
            fc_copy_bulk((char *)m->piece[slot] + (p.how == CROOKED ? 8 : 0), p.x + i * (PIECE / 4),
                         p.how == ODD_BYTES ? 24 : PIECE, &m->full[slot]);
            if (p.how == CHANGED) {
                ((uint32_t *)(uintptr_t)p.x)[i * (PIECE / 4)]++;
                fc_mbarrier_expect(&m->full[slot], bytes);
            }
            if (p.how == NOBODY_ANSWERS) return;
        } else if (t >= 32) {
            if (p.how == NOBODY_ANSWERS) return;
            if (p.how != NO_WAIT) fc_mbarrier_wait(&m->full[slot], (unsigned)(round & 1) ^ (p.how == WRONG_PARITY));
            p.y[((int)blockIdx.x * ROUNDS + i) * READERS + t - 32] = m->piece[slot][(t * 5 + i) % (PIECE / 4)];
            if (p.how == OVER && t == 40) m->empty[slot] = 7;
            fc_mbarrier_arrive(&m->empty[slot]);
            if (p.how == TWICE && t == 40) fc_mbarrier_arrive(&m->empty[slot]);
        }
    }
}

/* True: as it should be, in this order. */
static bool ring_is_right(int how) {
    alignas(16) static uint32_t x[ROUNDS * PIECE / 4], y[RINGS * ROUNDS * READERS];
    for (int i = 0; i < ROUNDS * PIECE / 4; i++) x[i] = (uint32_t)(i * 2654435761u) >> 1;
    memset(y, 0, sizeof y);
    if (!run(ring, {x, y, how}, RINGS, 32 + READERS, sizeof(piped_shared))) return false;
    for (int at = 0; at < RINGS * ROUNDS; at++)
        for (int r = 0, i = at % ROUNDS; r < READERS; r++)
            if (y[at * READERS + r] != x[i * (PIECE / 4) + ((r + 32) * 5 + i) % (PIECE / 4)]) return false;
    return true;
}

static void a_ring_of_bulk_copies(void **) { every_order(assert_true(ring_is_right(RIGHT))); }

static void mistakes_of_rings_are_seen(void **) {
    static const struct {
        int how;
        const char *words; /* NULL: wrong numbers in some order */
    } mistakes[] = {{FEW_BYTES, NULL},
                    {MANY_BYTES, "mbarrier"},
                    {NO_PROXY, "no fence.proxy.async behind its mbarrier.init"},
                    {OVER, "is no barrier, or was written over"},
                    {ODD_BYTES, "24 bytes"},
                    {CROOKED, "is not a multiple of 16"},
                    {NOBODY_ANSWERS, "ended before the bulk copy"},
                    {CHANGED, "was written before it landed"},
                    {TWICE, NULL},
                    {NO_WAIT, NULL},
                    {WRONG_PARITY, NULL},
                    {NO_EMPTY, NULL}};
#ifdef FC_EMU_TSAN
    skip(); /* TSan would tell of some: test_races.sh */
#endif
    for (auto &m : mistakes) {
        int seen = 0, told = 0, orders = 0;
        every_order({
            orders++;
            bool right = ring_is_right(m.how);
            seen += !right;
            told += !right && m.words && strstr(emu_error(), m.words);
        });
        if (!seen) fail_msg("mistake %d is never seen", m.how);
        if (m.words && told != orders) fail_msg("mistake %d: %s", m.how, emu_error());
    }
}

/* ---- products: one warpgroup or two, b from threads' stores or from a bulk copy ---- */

enum { COLUMNS = 64, DEPTH = 64, SUMS = COLUMNS / 2 };

/* d [rows][COLUMNS] = a b + a b, in two products of one group, k 16 of 64 each, or d + a b. */
struct multiplied {
    const uint16_t *a; /* [128][DEPTH] */
    const uint16_t *b; /* [COLUMNS][DEPTH], swizzled where bulk */
    float *d;          /* [128][COLUMNS] */
    int how;
    bool bulk, more;
};

enum {
    PLAIN_LAYOUT = 100, /* b is not swizzled, the descriptor says it is */
    NO_FENCE,
    NO_PRODUCT_WAIT,
    ONE_PENDING, /* the wait leaves a group out */
    NO_COMMIT,
    NO_PROXY_FENCE,
    A_WRITTEN,
    D_WRITTEN,
    B_WRITTEN,
    CROOKED_B,
    WARPS_DIFFER,
    OTHER_KIND,
};

static int swizzled(int column, int k) { return column * DEPTH + ((k / 8 ^ column % 8) * 8 + k % 8); }

static void products(const multiplied p) {
    int t = (int)threadIdx.x, warp = t / 32, lane = t % 32, g = lane / 4, c = lane % 4, row = warp * 16 + g;
    unsigned char *raw = fc_shared<unsigned char>();
    uint16_t *b = (uint16_t *)(raw + (1024 - fc_shared_address(raw) % 1024) % 1024);
    uint64_t *full = (uint64_t *)(b + COLUMNS * DEPTH);
    float d[SUMS];
    if (t == 0 && p.bulk) {
        fc_mbarrier_init(full, 1);
        fc_proxy_fence();
        fc_mbarrier_expect(full, COLUMNS * DEPTH * 2);
        fc_copy_bulk(b, p.b, COLUMNS * DEPTH * 2, full);
    }
    for (int i = t; i < COLUMNS * DEPTH && !p.bulk; i += (int)blockDim.x)
        b[p.how == PLAIN_LAYOUT ? i : swizzled(i / DEPTH, i % DEPTH)] = p.b[i];
    if (!p.bulk && p.how != NO_PROXY_FENCE) fc_proxy_fence();
    __syncthreads();
    if (p.bulk) fc_mbarrier_wait(full, 0);
    for (int i = 0; i < SUMS; i++) d[i] = (float)((row + i / 2 % 2 * 8) * 3 - (i / 4 * 8 + c * 2 + i % 2));
    for (int k = 0; k < DEPTH; k += 32) {
        uint32_t a[2][4];
        for (int j = 0; j < 2; j++)
            for (int i = 0; i < 4; i++)
                memcpy(&a[j][i], p.a + (row + i % 2 * 8) * DEPTH + k + 16 * j + c * 2 + i / 2 * 8, 4);
        if (p.how != NO_FENCE) fc_wgmma_fence();
        for (int j = 0; j < 2; j++) {
            uint64_t at = fc_wgmma_b(b + k + 16 * j);
            if (p.how == CROOKED_B) at += 128 / 16;
            if (p.how == WARPS_DIFFER && warp == 2) at += 2;
            if (p.how == OTHER_KIND) at |= (uint64_t)2 << 62;
            fc_wgmma_bf16<COLUMNS>(d, a[j], at, p.more || k || j);
        }
        if (p.how != NO_COMMIT) fc_wgmma_commit();
        if (p.how == A_WRITTEN) a[1][2] ^= 1;
        if (p.how == D_WRITTEN) d[5] = 0.0f;
        if (p.how == B_WRITTEN && t == 0) {
            b[40] ^= 1;
            fc_proxy_fence();
        }
        if (p.how == ONE_PENDING) fc_wgmma_wait<1>();
        else if (p.how != NO_PRODUCT_WAIT) fc_wgmma_wait<0>();
    }
    for (int i = 0; i < SUMS; i++) p.d[(row + i / 2 % 2 * 8) * COLUMNS + i / 4 * 8 + c * 2 + i % 2] = d[i];
}

/* y [2][128]: two groups on their way, and what the first has at the wait that leaves one; then the second. */
static void pending_kernel(float *y) {
    int t = (int)threadIdx.x;
    unsigned char *raw = fc_shared<unsigned char>();
    uint16_t *b = (uint16_t *)(raw + (1024 - fc_shared_address(raw) % 1024) % 1024);
    uint32_t a[2][4];
    float d[2][SUMS];
    for (int i = t; i < COLUMNS * DEPTH; i += (int)blockDim.x) b[i] = fc_f32_to_bf16(1.0f);
    fc_proxy_fence();
    __syncthreads();
    for (int j = 0; j < 2; j++) {
        for (uint32_t &v : a[j]) v = fc_bf16_pair((float)(j + 1), (float)(j + 1));
        fc_wgmma_fence();
        fc_wgmma_bf16<COLUMNS>(d[j], a[j], fc_wgmma_b(b), false);
        fc_wgmma_commit();
    }
    fc_wgmma_wait<1>();
    y[t] = d[0][t % SUMS];
    fc_wgmma_wait<0>();
    y[128 + t] = d[1][t % SUMS];
}

static void a_wait_that_leaves_one(void **) {
    static float y[2][128];
    every_order({
        memset(y, 0, sizeof y);
        if (!run(pending_kernel, &y[0][0], 1, 128, COLUMNS * DEPTH * 2 + 1024)) fail_msg("%s", emu_error());
        for (int i = 0; i < 256; i++) assert_true(y[i / 128][i % 128] == (float)(16 << i / 128));
    });
}

/* Small integers: every sum is exact. */
static bool products_are_right(int how, int threads, bool bulk, bool more) {
    static uint16_t a[128 * DEPTH];
    alignas(16) static uint16_t b[COLUMNS * DEPTH], lying[COLUMNS * DEPTH];
    static float d[128 * COLUMNS];
    uint64_t seed = 5;
    for (uint16_t &v : a) v = fc_f32_to_bf16((float)(int)(next_random(&seed) % 65 - 32) / 4);
    for (uint16_t &v : b) v = fc_f32_to_bf16((float)(int)(next_random(&seed) % 65 - 32) / 2);
    for (int i = 0; i < COLUMNS * DEPTH; i++) lying[swizzled(i / DEPTH, i % DEPTH)] = b[i];
    if (!run(products, {a, bulk ? lying : b, d, how, bulk, more}, 1, (unsigned)threads, COLUMNS * DEPTH * 2 + 1024 + 8))
        return false;
    for (int row = 0; row < threads / 2; row++)
        for (int column = 0; column < COLUMNS; column++) {
            double want = more ? row * 3 - column : 0;
            for (int k = 0; k < DEPTH; k++)
                want += (double)fc_bf16_to_f32(a[row * DEPTH + k]) * (double)fc_bf16_to_f32(b[column * DEPTH + k]);
            if ((double)d[row * COLUMNS + column] != want) return false;
        }
    return true;
}

static void products_of_warpgroups(void **) {
    every_order({
        for (int way = 0; way < 4; way++)
            if (!products_are_right(RIGHT, 128 << (way & 1), way & 2, way == 1 || way == 2))
                fail_msg("order %d, way %d: %s", (int)emu_opts.order, way, emu_error());
    });
}

static void mistakes_of_products_are_seen(void **) {
    static const struct {
        int how;
        const char *words; /* NULL: wrong numbers */
    } mistakes[] = {{PLAIN_LAYOUT, NULL},
                    {NO_FENCE, "no wgmma.fence"},
                    {NO_PRODUCT_WAIT, NULL},
                    {ONE_PENDING, NULL},
                    {NO_COMMIT, NULL},
                    {NO_PROXY_FENCE, NULL},
                    {A_WRITTEN, "a of the wgmma"},
                    {D_WRITTEN, "d of the wgmma"},
                    {B_WRITTEN, NULL},
                    {CROOKED_B, "multiple of 1024"},
                    {WARPS_DIFFER, "different descriptors"},
                    {OTHER_KIND, "is not emulated"}};
#ifdef FC_EMU_TSAN
    skip();
#endif
    for (auto &m : mistakes) {
        int seen = 0, told = 0, orders = 0;
        every_order({
            orders++;
            bool right = products_are_right(m.how, 128, false, false);
            seen += !right;
            told += !right && m.words && strstr(emu_error(), m.words);
        });
        if (m.how == B_WRITTEN ? seen == 0 : seen != orders) fail_msg("mistake %d: seen in %d orders", m.how, seen);
        if (m.words && told != orders) fail_msg("mistake %d: %s", m.how, emu_error());
    }
    every_order(assert_caught(products_are_right(RIGHT, 96, false, false), "leave a warpgroup incomplete"));
}

/* ---- products whose a is in shared memory, and whose b has its columns fastest ---- */

struct turned {
    const uint16_t *a, *b; /* [64][DEPTH]; [DEPTH][128] */
    float *d;              /* [64][128] turned, [64][64] of the first 64 columns' lines as columns */
    int how;
};

enum { TURNED_CROOKED = 200, A_CHANGED, PANELS_APART };

static void turned_products(const turned p) {
    int t = (int)threadIdx.x, warp = t / 32, lane = t % 32, row = warp * 16 + lane / 4, c = lane % 4;
    unsigned char *raw = fc_shared<unsigned char>();
    uint16_t *a = (uint16_t *)(raw + (1024 - fc_shared_address(raw) % 1024) % 1024), *b = a + 64 * DEPTH;
    float d[64], dots[32];
    for (int i = t; i < 64 * DEPTH; i += 128) a[swizzled(i / DEPTH, i % DEPTH)] = p.a[i];
    for (int i = t; i < DEPTH * 128; i += 128) b[i % 128 / 64 * 64 * DEPTH + swizzled(i / 128, i % 64)] = p.b[i];
    fc_proxy_fence();
    __syncthreads();
    uint32_t of_a[4][4];
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 4; i++)
            memcpy(&of_a[j][i], p.a + (row + i % 2 * 8) * DEPTH + 16 * j + c * 2 + i / 2 * 8, 4);
    fc_wgmma_fence();
    for (int j = 0; j < 4; j++) {
        fc_wgmma_bf16_shared<64>(dots, fc_wgmma_b(a + 16 * j), fc_wgmma_b(b + 16 * j), j);
        fc_wgmma_bf16<128, true>(d, of_a[j],
                                 fc_wgmma_b_turned(b + 16 * j * 64 + (p.how == TURNED_CROOKED ? 32 : 0),
                                                   64 * DEPTH * 2 + (p.how == PANELS_APART ? 1024 : 0)),
                                 j);
    }
    fc_wgmma_commit();
    if (p.how == A_CHANGED && t == 0) {
        a[9] ^= 1;
        fc_proxy_fence();
    }
    fc_wgmma_wait<0>();
    for (int i = 0; i < 64; i++) p.d[(row + i / 2 % 2 * 8) * 128 + i / 4 * 8 + c * 2 + i % 2] = d[i];
    for (int i = 0; i < 32; i++) p.d[64 * 128 + (row + i / 2 % 2 * 8) * 64 + i / 4 * 8 + c * 2 + i % 2] = dots[i];
}

static bool turned_is_right(int how) {
    static uint16_t a[64 * DEPTH], b[DEPTH * 128];
    static float d[64 * 192];
    uint64_t seed = 6;
    for (uint16_t &v : a) v = fc_f32_to_bf16((float)(int)(next_random(&seed) % 65 - 32) / 4);
    for (uint16_t &v : b) v = fc_f32_to_bf16((float)(int)(next_random(&seed) % 65 - 32) / 2);
    if (!run(turned_products, {a, b, d, how}, 1, 128, 3 * 64 * DEPTH * 2 + 1024 + 2048)) return false;
    for (int row = 0; row < 64; row++)
        for (int n = 0; n < 192; n++) {
            double want = 0;
            for (int k = 0; k < DEPTH; k++)
                want += (double)fc_bf16_to_f32(a[row * DEPTH + k]) *
                        (double)fc_bf16_to_f32(n < 128 ? b[k * 128 + n] : b[(n - 128) * 128 + k]);
            if ((double)(n < 128 ? d[row * 128 + n] : d[64 * 128 + row * 64 + n - 128]) != want) return false;
        }
    return true;
}

static void turned_products_and_their_mistakes(void **) {
    every_order(if (!turned_is_right(RIGHT)) fail_msg("order %d: %s", (int)emu_opts.order, emu_error()));
#ifdef FC_EMU_TSAN
    skip();
#endif
    every_order({
        assert_caught(turned_is_right(TURNED_CROOKED), "a turned b begins at");
        assert_false(turned_is_right(PANELS_APART));
    });
    int seen = 0;
    every_order(seen += !turned_is_right(A_CHANGED));
    assert_true(seen > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ring_of_bulk_copies),         cmocka_unit_test(mistakes_of_rings_are_seen),
        cmocka_unit_test(products_of_warpgroups),        cmocka_unit_test(a_wait_that_leaves_one),
        cmocka_unit_test(mistakes_of_products_are_seen), cmocka_unit_test(turned_products_and_their_mistakes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
