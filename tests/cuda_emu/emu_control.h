/* emu_control - the emulator's switches, for tests in C. */
#ifndef FC_EMU_CONTROL_H
#define FC_EMU_CONTROL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { EMU_FORWARD = 0, EMU_BACKWARD, EMU_RANDOM, EMU_ORDERS } emu_order;

typedef struct {
    emu_order order; /* in which fibres that can run are taken */
    uint64_t seed;   /* of EMU_RANDOM */
} emu_options;
extern emu_options emu_opts;

#ifdef __cplusplus
}
#endif

#endif
