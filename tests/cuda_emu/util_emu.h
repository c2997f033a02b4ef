/* util_emu - for the emulator's own tests: kernels run without the runtime, in every order; errors by their words. */
#ifndef FC_TESTS_UTIL_EMU_H
#define FC_TESTS_UTIL_EMU_H

#include "kernels/cuda/async.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/sync.cuh"
#include "kernels/cuda/warp.cuh"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

extern "C" {
#include <cmocka.h>
}

template <typename P> static emu_call call_of(void (*)(const P)) {
    return [](const void *k, const void *p) { ((void (*)(const P))k)(*(const P *)p); };
}
template <typename P>
static bool run(void (*kernel)(const P), const P &p, dim3 grid, dim3 block, unsigned shared = 0, dim3 cluster = 1) {
    return emu_run(call_of(kernel), (const void *)kernel, &p, grid, block, shared, cluster);
}

/* The launch is right. */
#define assert_runs(launch)                                                                                            \
    do {                                                                                                               \
        if (!(launch)) fail_msg("order %d: %s", (int)emu_opts.order, emu_error());                                     \
    } while (0)

/* The launch ends with an error that says `words`. */
#define assert_caught(launch, words)                                                                                   \
    do {                                                                                                               \
        if (launch) fail_msg("order %d: nothing was caught", (int)emu_opts.order);                                     \
        if (!strstr(emu_error(), words)) fail_msg("order %d: \"%s\"", (int)emu_opts.order, emu_error());               \
    } while (0)

/* The body in each order, with some seeds of the random one and both senses of the far one. */
#define every_order(...)                                                                                               \
    for (int order_ = 0; order_ < EMU_ORDERS + 6; order_++) {                                                          \
        emu_opts.order = order_ < EMU_ORDERS ? (emu_order)order_ : order_ % 2 ? EMU_RANDOM : EMU_WARPS;                \
        emu_opts.seed = (uint64_t)order_;                                                                              \
        __VA_ARGS__;                                                                                                   \
    }                                                                                                                  \
    emu_opts = {}

static inline uint32_t next_random(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

#endif
