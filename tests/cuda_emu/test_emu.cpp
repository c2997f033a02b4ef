/* The emulator's barriers, shuffles, votes, reductions and atomics against plain expectations; what must be refused. */
#include "tests/cuda_emu/util_emu.h"

#include <algorithm>
#include <sched.h>

enum { N = 96 }; /* three warps */

struct out {
    int *y;
    int how;
};

/* ---- barriers ---- */

/* Thread t reads what thread t + 33 wrote: another lane of another warp. */
static void neighbours(const out p) {
    int *m = fc_shared<int>(), t = (int)threadIdx.x, n = (int)blockDim.x;
    p.y[t] = 0;
    for (int round = 0; round < 4; round++) {
        m[t] = round * 1000 + t;
        __syncthreads();
        p.y[t] += m[(t + 33) % n];
        if (p.how == 0) __syncthreads();
    }
}

static void a_barrier_lets_all_see_what_all_wrote(void **) {
    int y[N];
    every_order({
        assert_runs(run(neighbours, {y, 0}, 1, N, N * 4));
        for (int t = 0; t < N; t++) assert_int_equal(y[t], 6000 + 4 * ((t + 33) % N));
    });
}

/* Without the second barrier a fast thread writes over what a slow one still reads. */
static void a_missing_barrier_shows_in_some_order(void **) {
#ifdef FC_EMU_TSAN
    skip(); /* TSan would tell of it: test_races.sh */
#endif
    int y[N], wrong = 0;
    every_order({
        assert_runs(run(neighbours, {y, 1}, 1, N, N * 4));
        for (int t = 0; t < N; t++) wrong += y[t] != 6000 + 4 * ((t + 33) % N);
    });
    assert_true(wrong > 0);
}

/* Threads that ended do not count: half of them leave before. */
static void leave_early(const out p) {
    int *m = fc_shared<int>(), t = (int)threadIdx.x;
    if (t % 2) return;
    m[t] = t;
    __syncthreads();
    p.y[t] = m[(t + 2) % N];
    if (t >= 64) return;
    __syncthreads();
    p.y[t] += 1;
}

static void threads_that_ended_do_not_count(void **) {
    int y[N];
    every_order({
        assert_runs(run(leave_early, {y, 0}, 1, N, N * 4));
        for (int t = 0; t < N; t += 2) assert_int_equal(y[t], (t + 2) % N + (t < 64));
    });
}

static void diverge(const out p) {
    if ((int)threadIdx.x < p.how) {
        __syncthreads();
    } else {
        __syncthreads();
    }
}

static void threads_at_two_barriers_are_told(void **) {
    every_order({
        assert_runs(run(diverge, {nullptr, 0}, 1, N));
        assert_caught(run(diverge, {nullptr, 40}, 1, N), "divergent barrier: at test_emu.cpp:");
        assert_runs(run(diverge, {nullptr, N}, 1, N)); /* and the next launch works */
    });
}

static void wait_for_all(const out p) {
    if (p.how == (int)threadIdx.x) __syncwarp(3); /* lane 1 of its warp never comes */
    __syncthreads();
}

static void a_barrier_that_some_never_reach_is_told(void **) {
    every_order({
        assert_caught(run(wait_for_all, {nullptr, 64}, 1, N), "deadlock: block 0,0,0: 96 of 96 threads wait: warp 0 "
                                                              "lanes ffffffff at __syncthreads test_emu.cpp:");
        assert_non_null(strstr(emu_error(), "warp 2 lanes 00000001 at __syncwarp test_emu.cpp:"));
    });
}

static void counts(const out p) {
    int t = (int)threadIdx.x, n = 0;
    n += __syncthreads_count(t % 3 == 0);
    n += 100 * __syncthreads_count(t == 5);
    n += 1000 * __syncthreads_or(t == 7) + 2000 * __syncthreads_or(0);
    n += 10000 * __syncthreads_and(t < 1000) + 20000 * __syncthreads_and(t < 50);
    p.y[t] = n;
}

static void barriers_count_votes(void **) {
    int y[N];
    every_order({
        assert_runs(run(counts, {y, 0}, 1, N));
        for (int t = 0; t < N; t++) assert_int_equal(y[t], 32 + 100 + 1000 + 10000);
    });
}

/* Warp 0 fills a cell, warps 1 and 2 take it in turns: full and empty are barriers of who waits and who arrives. */
static void producer_and_consumer(const out p) {
    int *m = fc_shared<int>(), t = (int)threadIdx.x, lane = t % 32, warp = t / 32;
    for (int round = 0; round < 6; round++) {
        if (warp == 0) {
            if (round >= 2) fc_bar_sync(3 + round % 2, 64); /* the buffer of two rounds ago is free */
            m[round % 2 * 32 + lane] = round * 100 + lane;
            fc_bar_arrive(1 + round % 2, 64);
        } else if (warp == 1 + round % 2) {
            fc_bar_sync(1 + round % 2, 64);
            p.y[round * 32 + lane] = m[round % 2 * 32 + 31 - lane];
            if (round < 4) fc_bar_arrive(3 + round % 2, 64);
        }
    }
    if (p.how == 1) fc_bar_sync(1 + warp % 2, 64); /* warp 1 waits alone for a second warp */
}

static void named_barriers_hand_over(void **) {
    int y[6 * 32];
    every_order({
        memset(y, 0, sizeof y);
        assert_runs(run(producer_and_consumer, {y, 0}, 1, N, 64 * 4));
        for (int i = 0; i < 6 * 32; i++) assert_int_equal(y[i], i / 32 * 100 + 31 - i % 32);
    });
}

static void cross(const out p) {
    int warp = (int)threadIdx.x / 32;
    if (p.how == 0) {
        fc_bar_sync(1 + warp, 64);
        fc_bar_sync(2 - warp, 64);
    } else if (p.how == 1) fc_bar_sync(1, 48);
    else if (p.how == 2) fc_bar_sync(1, warp ? 64 : 32);
    else if (p.how == 3) {
        if (warp == 0) fc_bar_arrive(1, 64);
        if (warp == 0) fc_bar_arrive(1, 64);
    } else if (p.how == 4) fc_bar_sync(16, 64);
    else fc_bar_sync(1, 1024);
}

static void named_barriers_used_wrongly_are_told(void **) {
    every_order({
        assert_caught(run(cross, {nullptr, 0}, 1, 64), "deadlock");
        assert_non_null(strstr(emu_error(), "warp 1 lanes ffffffff at bar.sync test_emu.cpp:"));
        assert_caught(run(cross, {nullptr, 1}, 1, 64), "a multiple of 32 threads");
        assert_caught(run(cross, {nullptr, 3}, 1, 64), "comes twice to barrier 1");
        assert_caught(run(cross, {nullptr, 4}, 1, 64), "barriers are 0 to 15");
        assert_caught(run(cross, {nullptr, 5}, 1, 64), "of the block's 64");
    });
    emu_opts.order = EMU_RANDOM; /* in the others the warp of 32 is complete before the other comes */
    assert_caught(run(cross, {nullptr, 2}, 1, 64), "barrier 1 of");
    emu_opts = {};
}

/* ---- shuffles and votes ---- */

template <typename T> struct shuffled {
    T *y; /* [7][32] */
    int width;
};

template <typename T> static void shuffles(const shuffled<T> p) {
    int lane = (int)threadIdx.x;
    T v = (T)(lane * 3 + 1);
    p.y[lane] = __shfl_sync(FC_ALL_LANES, v, 5, p.width);
    p.y[32 + lane] = __shfl_sync(FC_ALL_LANES, v, lane + 1, p.width);
    p.y[64 + lane] = __shfl_xor_sync(FC_ALL_LANES, v, 5, p.width);
    p.y[96 + lane] = __shfl_down_sync(FC_ALL_LANES, v, 3, p.width);
    p.y[128 + lane] = __shfl_up_sync(FC_ALL_LANES, v, 3, p.width);
    p.y[160 + lane] = __shfl_sync(FC_ALL_LANES, v, -1, p.width);
    p.y[192 + lane] = __shfl_xor_sync(FC_ALL_LANES, v, 0, p.width);
}

/* As the CUDA C++ Programming Guide defines them: xor may reach a lower segment, not a higher one. */
static int from_lane(int form, int lane, int w) {
    int seg = lane / w * w, to;
    switch (form) {
    case 0: return seg + 5 % w;
    case 1: return seg + (lane + 1) % w;
    case 2: return (to = lane ^ 5) >= seg + w ? lane : to;
    case 3: return lane + 3 < seg + w ? lane + 3 : lane;
    case 4: return lane - 3 >= seg ? lane - 3 : lane;
    case 5: return seg + w - 1;
    default: return lane;
    }
}

template <typename T> static void shuffle_every_width() {
    T y[7 * 32];
    for (int w = 1; w <= 32; w *= 2) {
        assert_runs(run(shuffles<T>, {y, w}, 1, 32));
        for (int i = 0; i < 7 * 32; i++) assert_true(y[i] == (T)(from_lane(i / 32, i % 32, w) * 3 + 1));
    }
}

static void shuffles_of_every_width_and_type(void **) {
    every_order({
        shuffle_every_width<int>();
        shuffle_every_width<unsigned>();
        shuffle_every_width<float>();
        shuffle_every_width<double>();
        shuffle_every_width<long long>();
        shuffle_every_width<unsigned long long>();
    });
}

static void bad_shuffles(const out p) {
    int lane = (int)threadIdx.x % 32, v = lane;
    if (p.how == 0 && lane < 16) v = __shfl_sync(0xffffu, v, lane + 1);        /* lane 15 reads lane 16 */
    if (p.how == 1) v = __shfl_sync(0xffffu, v, 0);                            /* lanes 16 on are not in it */
    if (p.how == 2) v = __shfl_sync(lane < 16 ? 0xffffu : FC_ALL_LANES, v, 0); /* masks that meet and differ */
    if (p.how == 3) v = __shfl_sync(FC_ALL_LANES, v, 0, 12);                   /* no power of two */
    if (p.how == 4 && lane < 31) v = __shfl_sync(FC_ALL_LANES, v, 31);         /* lane 31 has ended */
    if (p.how == 5) v = lane % 2 ? __shfl_xor_sync(FC_ALL_LANES, v, 1) : __ballot_sync(FC_ALL_LANES, 1) != 0;
    if (p.how == 8) v = lane % 2 ? __shfl_xor_sync(FC_ALL_LANES, v, 1) : __shfl_sync(FC_ALL_LANES, v, 1);
    if (p.how == 6 && lane) __syncwarp(); /* lane 0 ends: it does not count */
    if (p.how == 7 && lane < 20) __syncthreads();
    if (p.how == 7 && lane >= 20) v = __shfl_sync(FC_ALL_LANES, v, 0);
    if (p.y) p.y[threadIdx.x] = v;
}

static void shuffles_outside_the_mask_are_told(void **) {
    every_order({
        assert_caught(run(bad_shuffles, {nullptr, 0}, 1, 32), "a shuffle reads lane 16, which is not in mask 0000ffff");
        assert_caught(run(bad_shuffles, {nullptr, 1}, 1, 32), "is not in its mask 0000ffff");
        assert_caught(run(bad_shuffles, {nullptr, 2}, 1, 32), "mask");
        assert_caught(run(bad_shuffles, {nullptr, 3}, 1, 32), "width 12");
        assert_caught(run(bad_shuffles, {nullptr, 4}, 1, 32), "a shuffle reads lane 31, which is not in mask 7fffffff");
        assert_caught(run(bad_shuffles, {nullptr, 5}, 1, 32), " meets ");
        assert_caught(run(bad_shuffles, {nullptr, 8}, 1, 32), " meets ");
        assert_runs(run(bad_shuffles, {nullptr, 6}, 1, 64));
        assert_caught(run(bad_shuffles, {nullptr, 7}, 1, 64), "warp 1 lanes 000fffff at __syncthreads test_emu.cpp");
        assert_non_null(strstr(emu_error(), "lanes fff00000 at __shfl_sync test_emu.cpp"));
    });
}

struct voted {
    unsigned *y; /* [16][n] */
    int n;
};

/* Odd and even lanes of a warp vote apart; the third warp has 7 lanes. */
static void votes(const voted p) {
    unsigned t = threadIdx.x, lane = t % 32, all = p.n - t / 32 * 32 < 32 ? (1u << p.n % 32) - 1u : ~0u;
    unsigned mask = (lane % 2 ? 0xaaaaaaaau : 0x55555555u) & all, *y = p.y + t;
    int i = (int)lane - 9, n = p.n;
    y[0 * n] = __ballot_sync(mask, lane % 3 == 0);
    y[1 * n] = (unsigned)__any_sync(mask, lane == 4);
    y[2 * n] = (unsigned)__all_sync(mask, lane % 2 == 0);
    y[3 * n] = __match_any_sync(mask, (int)lane / 8);
    y[4 * n] = __match_any_sync(mask, (unsigned long long)(lane / 8) << 40);
    y[5 * n] = (unsigned)__reduce_add_sync(mask, i);
    y[6 * n] = (unsigned)__reduce_min_sync(mask, i);
    y[7 * n] = (unsigned)__reduce_max_sync(mask, i);
    y[8 * n] = __reduce_add_sync(mask, lane);
    y[9 * n] = __reduce_min_sync(mask, lane);
    y[10 * n] = __reduce_max_sync(mask, lane);
    y[11 * n] = __reduce_and_sync(mask, lane | 8u);
    y[12 * n] = __reduce_or_sync(mask, lane);
    y[13 * n] = __reduce_xor_sync(mask, 1u << lane);
    y[14 * n] = __activemask();
}

static void votes_and_reductions(void **) {
    enum { THREADS = 71 };
    static unsigned y[16 * THREADS];
    every_order({
        assert_runs(run(votes, {y, THREADS}, 1, THREADS));
        for (int t = 0; t < THREADS; t++) {
            int lane = t % 32, lanes = THREADS - t / 32 * 32 < 32 ? THREADS % 32 : 32, sum = 0, lo = 99, hi = -99;
            unsigned third = 0, match = 0, mask = 0, both = ~0u, either = 0;
            for (int o = lane % 2; o < lanes; o += 2) {
                mask |= 1u << o;
                if (o % 3 == 0) third |= 1u << o;
                if (o / 8 == lane / 8) match |= 1u << o;
                sum += o, lo = o < lo ? o : lo, hi = o > hi ? o : hi, both &= (unsigned)o | 8u, either |= (unsigned)o;
            }
            int count = __builtin_popcount(mask);
            unsigned want[14] = {third,
                                 lane % 2 == 0,
                                 lane % 2 == 0,
                                 match,
                                 match,
                                 (unsigned)(sum - 9 * count),
                                 (unsigned)(lo - 9),
                                 (unsigned)(hi - 9),
                                 (unsigned)sum,
                                 (unsigned)lo,
                                 (unsigned)hi,
                                 both,
                                 either,
                                 mask};
            for (int k = 0; k < 14; k++)
                if (y[k * THREADS + t] != want[k])
                    fail_msg("thread %d: %d is %x, not %x", t, k, y[k * THREADS + t], want[k]);
        }
    });
}

/* ---- what warp.cuh does at one meeting, against the shuffles that it is on a device ---- */

struct folded {
    const float *v;
    int *wrong;
};

static void fold_both_ways(const folded p) {
    float v = p.v[threadIdx.x], down = v, up = v, four = v, max = v, many[3] = {v, 2 * v, -v};
    int whole = (int)(v * 100), least = whole, scan = whole;
    double total = 3.5, mine = 0, run;
    int wrong = 0;
    for (int bit = 16; bit; bit /= 2) {
        down += __shfl_xor_sync(FC_ALL_LANES, down, bit);
        max = fmaxf(max, __shfl_xor_sync(FC_ALL_LANES, max, bit));
        least = std::min(least, __shfl_xor_sync(FC_ALL_LANES, least, bit));
    }
    for (int bit = 1; bit < 32; bit *= 2) up += __shfl_xor_sync(FC_ALL_LANES, up, bit);
    for (int bit = 1; bit < 4; bit *= 2) four += __shfl_xor_sync(FC_ALL_LANES, four, bit);
    for (int by = 1; by < 32; by *= 2) {
        int before = __shfl_up_sync(FC_ALL_LANES, scan, (unsigned)by);
        scan += emu_at->lane >= by ? before : 0;
    }
    for (int i = 0; i < 32; i++) {
        total += __shfl_sync(FC_ALL_LANES, (double)v, i);
        if (i == emu_at->lane) mine = total;
    }
    fc_warp_sums<3>(many, 3);
    wrong += fc_warp_sum(v) != down || fc_warp_max(v) != max || fc_warp_min(whole) != least;
    wrong += fc_lanes_sum<1, 16>(v) != up || fc_lanes_sum<1, 2>(v) != four || fc_warp_scan(whole) != scan;
    wrong += many[0] != down || many[1] != 2 * down || many[2] != -down;
    wrong += fc_warp_add((double)v, 3.5, &run) != total || run != mine;
    p.wrong[threadIdx.x] = wrong;
}

static void folds_of_a_warp_are_those_of_shuffles(void **) {
    uint64_t random = 5;
    float v[N];
    for (float &x : v)
        x = ldexpf((float)(int)(next_random(&random) % 2001) - 1000, (int)(next_random(&random) % 24) - 12);
    every_order({
        int wrong[N];
        assert_runs(run(fold_both_ways, {v, wrong}, 1, N));
        for (int w : wrong) assert_int_equal(w, 0);
    });
}

static void fold_without_some(const out p) {
    if ((int)threadIdx.x < p.how) return;
    p.y[threadIdx.x] = fc_warp_sum(1);
}

static void a_fold_without_all_lanes_is_told(void **) {
    int y[32];
    every_order(assert_caught(run(fold_without_some, {y, 1}, 1, 32), "fold of a warp"));
    every_order(assert_caught(run(fold_without_some, {y, 0}, 1, 24), "fold of a warp"));
}

/* ---- atomics ---- */

struct counted {
    int *i;                /* [8] */
    unsigned *u;           /* [8] */
    unsigned long long *l; /* [8] */
    float *f;
    double *d;
    unsigned *tickets; /* [threads]: how often each ticket was drawn */
};

static void count(const counted p) {
    unsigned *m = fc_shared<unsigned>(), t = threadIdx.x, all = blockIdx.x * blockDim.x + t;
    if (t == 0) m[0] = m[1] = 0;
    __syncthreads();
    atomicAdd(&m[0], 2u);
    atomicMax(&m[1], t);
    __syncthreads();
    if (t == 0) atomicAdd(&p.u[0], m[0]), atomicMax(&p.u[1], m[1]);
    atomicAdd(&p.i[0], -1);
    atomicSub(&p.i[1], 2);
    atomicMin(&p.i[2], -(int)all);
    atomicMax(&p.i[3], (int)all);
    atomicOr(&p.u[2], 1u << all % 32);
    atomicAnd(&p.u[3], ~(1u << all % 32));
    atomicXor(&p.u[4], 1u << all % 31);
    atomicInc(&p.u[5], 9);
    atomicDec(&p.u[6], 9);
    atomicAdd(&p.l[0], 1ull << 33);
    atomicMin(&p.l[1], (unsigned long long)all << 8 | 3);
    atomicMax(&p.l[2], (unsigned long long)all << 40);
    atomicAdd(p.f, 0.5f);
    atomicAdd(p.d, 0.25);
    p.tickets[atomicAdd(&p.u[7], 1u)] += 1;
    unsigned long long seen = 0, was;
    while ((was = atomicCAS(&p.l[3], seen, seen + 3)) != seen) seen = was;
    atomicExch(&p.i[4], 77);
    atomicExch(p.f + 1, 1.5f);
}

/* On one OS thread and on three: the atomics are real ones. */
static void atomics_of_every_kind(void **) {
    enum { BLOCKS = 40, ALL = BLOCKS * N };
    every_order({
        for (emu_opts.threads = 1; emu_opts.threads <= 3; emu_opts.threads += 2) {
            int i[8] = {0};
            unsigned u[8] = {0, 0, 0, ~0u, 0, 0, 0, 0}, tickets[ALL] = {0}, xored = 0;
            unsigned long long l[8] = {0, ~0ull, 0, 0, 0, 0, 0, 0};
            float f[2] = {0};
            double d = 0;
            assert_runs(run(count, {i, u, l, f, &d, tickets}, BLOCKS, N, 8));
            assert_int_equal(i[0], -ALL);
            assert_int_equal(i[1], -2 * ALL);
            assert_int_equal(i[2], -(ALL - 1));
            assert_int_equal(i[3], ALL - 1);
            assert_int_equal(i[4], 77);
            for (unsigned k = 0; k < ALL; k++) xored ^= 1u << k % 31;
            assert_int_equal(u[0], 2 * ALL);
            assert_int_equal(u[1], N - 1);
            assert_int_equal(u[2], ~0u);
            assert_int_equal(u[3], 0);
            assert_int_equal(u[4], xored);
            assert_int_equal(u[5], ALL % 10);
            assert_int_equal(u[6], ALL % 10 == 0 ? 0 : 10 - ALL % 10);
            assert_true(l[0] == (unsigned long long)ALL << 33 && l[1] == 3 && l[2] == (ALL - 1ull) << 40 &&
                        l[3] == 3ull * ALL);
            assert_true(f[0] == 0.5f * ALL && f[1] == 1.5f && d == 0.25 * ALL);
            for (int k = 0; k < ALL; k++) assert_int_equal(tickets[k], 1);
        }
    });
}

/* Another OS thread gets its chance between reading and writing, so that blocks meet there on one core too. */
static void count_slowly(const counted p) {
    for (int i = 0; i < 4; i++) {
        emu_atomic(&p.u[0], [](unsigned old) {
            sched_yield();
            return old + 1;
        });
        atomicAdd(p.f, 1.0f);
    }
}

static void atomics_of_blocks_that_run_at_once(void **) {
    enum { BLOCKS = 200, ALL = BLOCKS * 32 * 4 };
    unsigned u[1] = {0};
    float f[1] = {0};
    emu_opts.threads = 4;
    assert_runs(run(count_slowly, {NULL, u, NULL, f, NULL, NULL}, BLOCKS, 32));
    emu_opts = {};
    assert_int_equal(u[0], ALL);
    assert_true(f[0] == ALL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_barrier_lets_all_see_what_all_wrote),
                                       cmocka_unit_test(a_missing_barrier_shows_in_some_order),
                                       cmocka_unit_test(threads_that_ended_do_not_count),
                                       cmocka_unit_test(threads_at_two_barriers_are_told),
                                       cmocka_unit_test(a_barrier_that_some_never_reach_is_told),
                                       cmocka_unit_test(barriers_count_votes),
                                       cmocka_unit_test(named_barriers_hand_over),
                                       cmocka_unit_test(named_barriers_used_wrongly_are_told),
                                       cmocka_unit_test(shuffles_of_every_width_and_type),
                                       cmocka_unit_test(shuffles_outside_the_mask_are_told),
                                       cmocka_unit_test(votes_and_reductions),
                                       cmocka_unit_test(folds_of_a_warp_are_those_of_shuffles),
                                       cmocka_unit_test(a_fold_without_all_lanes_is_told),
                                       cmocka_unit_test(atomics_of_every_kind),
                                       cmocka_unit_test(atomics_of_blocks_that_run_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
