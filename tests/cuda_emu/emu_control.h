/* emu_control - the emulator's switches, for tests in C. */
#ifndef FC_EMU_CONTROL_H
#define FC_EMU_CONTROL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Which of a block's threads runs next, of those that can; blocks are taken in the same sense. */
typedef enum {
    EMU_FORWARD = 0, /* warp by warp, lanes from 0, each once a turn */
    EMU_BACKWARD,    /* the last thread of the last warp first, the last block first */
    EMU_RANDOM,      /* shuffled at each turn, and a turn ends anywhere: threads get far apart */
    EMU_WARPS,       /* one warp until it cannot go on, then the next: warps get as far apart as barriers let them.
                        An odd seed begins with the last warp. The fastest */
    EMU_ORDERS
} emu_order;

typedef struct {
    emu_order order;
    uint64_t seed; /* of EMU_RANDOM; parity for EMU_WARPS */
    int threads;   /* OS threads that share the blocks of a launch, this one included; 0: one. Same bits, unless blocks
                      race: which of them comes first is then not repeatable */
} emu_options;
extern emu_options emu_opts;

#ifdef __cplusplus
}
#endif

#endif
