/* no_order - the emulator's switches, for tests that set them: a device takes its threads in an order of its own. */
#include "tests/cuda_emu/emu_control.h"

emu_options emu_opts;
