/* util_attn_cuda - the attention cases of tests/kernels/util_attn.h on the emulated device, and what they should
 * give. */
#ifndef FC_TESTS_UTIL_ATTN_CUDA_H
#define FC_TESTS_UTIL_ATTN_CUDA_H

#include "tests/cuda_emu/util_cuda.h"
#include "tests/kernels/util_attn.h"

typedef struct {
    attn_work host;         /* host.kv: in the CPU's layout; of FC_F8 as f32, before rounding */
    fc_kv_buf kv;           /* in CUDA's layout: base on the device */
    unsigned char *kv_host; /* the same bytes, on the host */
    size_t kv_bytes, n_slots;
    fc_attn_args args; /* on the device */
    fc_stream s;       /* borrowed */
} attn_cuda_work;

/* Ends the test on failure. Changes to host (not host.kv) made between open and run are seen by run. */
void attn_cuda_open(const attn_case *c, attn_cut cut, fc_stream s, attn_cuda_work *w);
/* Copies the lists to the device, runs, y [rows,H*E] to the host where all went well; gives back what the
 * operator or the sync said. */
fc_status attn_cuda_run(attn_cuda_work *w, float *y);
void attn_cuda_close(attn_cuda_work *w);

/* One softmax in double over the store in CUDA's layout, with the roundings of attn.h for its type. */
void attn_cuda_ref(const attn_cuda_work *w, float *y);

/* K and V of one slot and head where the kernel finds them; scales NULL where the type has none. */
void attn_cuda_slot(const attn_cuda_work *w, int page, int slot, int layer, int g, unsigned char **k, unsigned char **v,
                    float **k_scale, float **v_scale);
void attn_cuda_store(attn_cuda_work *w); /* kv_host was changed: to the device */

#endif
