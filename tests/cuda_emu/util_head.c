#include "tests/cuda_emu/util_head.h"

#include "kernels/softcap/softcap.h"

void head_init(head *h, fc_stream s, fc_dtype type, int V, int R, float cap, bool precise, int broken, uint64_t *seed) {
    int D = fc_dtype_block(type) == 1 ? 97 : fc_dtype_block(type) == 32 ? 96 : 256;
    size_t n = (size_t)R * (size_t)V;
    float *y = device_copy(s, NULL, n * 4);
    *h = (head){.V = V, .D = D, .R = R, .cap = cap, .precise = precise};
    matrix_init(&h->m, s, &type, &V, 1, D, seed);
    h->x = calloc((size_t)(R * D), 4);
    h->logits = calloc(n, 4);
    for (int i = 0; i < R * D; i++) h->x[i] = test_normal(seed) * 3.0f;
    if (broken >= 0) h->x[broken * D + D / 2] = NAN;
    h->device_x = device_copy(s, h->x, (size_t)(R * D) * 4);
    assert_ok(fc_linear_cuda(s, &(fc_linear_args){.y = y, .x = h->device_x, .w = h->m.w, .T = R, .precise = precise}));
    if (cap > 0.0f) assert_ok(fc_softcap_cuda(s, &(fc_softcap_args){.x = y, .n = n, .cap = cap}));
    assert_ok(device_sync(s));
    device_read(s, h->logits, y, n * 4);
    device_free(y);
}

void head_fini(head *h) {
    device_free(h->device_x);
    matrix_fini(&h->m);
    free(h->x), free(h->logits);
}
