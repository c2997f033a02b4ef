/* util_cuda - arrays on the emulated device, or on a real one (tests/gpu); a test's body run in every order of fibres.
 */
#ifndef FC_TESTS_UTIL_CUDA_H
#define FC_TESTS_UTIL_CUDA_H

#include "kernels/kernel.h"
#include "tests/cuda_emu/emu_control.h"
#include "tests/util.h"

/* Device memory with a copy of n bytes of host memory (NULL: 0xff throughout); device_free frees it. */
void *device_copy(fc_stream s, const void *host, size_t bytes);
void device_read(fc_stream s, void *host, const void *device, size_t bytes); /* after all that was launched */
void device_free(void *device);

fc_stream device_stream(size_t workspace);         /* batch-invariant; device_close closes */
fc_stream device_stream_variant(size_t workspace); /* products of many rows may go to cuBLASLt, where it can be had */
extern size_t
    device_shared; /* bytes of shared memory that blocks of streams opened from now on may have; 0: the device's */
extern int device_sms; /* likewise, processors that they count on */
enum { DEVICE_SMALL = 99 << 10 }; /* of 8.6, 8.9 and 12.0 */
void device_close(fc_stream s);
fc_status device_sync(fc_stream s);
/* FORKCAST_GPU_FULL is set: also the shapes of real models, which emulation would take minutes for. */
bool device_full(void);

/* Calls body for each order of fibres, some seeds of the random one; prints which when it fails. */
#ifdef FC_TESTS_GPU /* it has an order of its own */
#define each_order(body) body
#else
#define each_order(body)                                                                                               \
    for (int order_ = 0; order_ < EMU_ORDERS + 1; order_++) {                                                          \
        emu_opts.order = order_ < EMU_ORDERS ? (emu_order)order_ : EMU_RANDOM;                                         \
        emu_opts.seed = (uint64_t)order_;                                                                              \
        body;                                                                                                          \
    }
#endif

#endif
