/* conform_emu - the same sources for this machine's compiler: the emulated twins. */
#include "tests/cuda_emu/util_device.cpp"
#include "tests/gpu/conform.cu"
