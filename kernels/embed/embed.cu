#include "kernels/linear/weight.cuh"

extern "C" {
#include "kernels/embed/embed.h"
}

enum { THREADS = 256 };

typedef struct {
    fc_part_cuda w;
    float *y;
    const int32_t *tokens;
    unsigned long long *trouble;
    float scale;
    int V, first, N; /* of all ranks; this one's rows */
} embed_params;

/* A block per row, and per THREADS elements of it; rows whose token another part has are that part's. */
static __global__ void embed_kernel(const embed_params p) {
    int t = (int)blockIdx.x, k = (int)(blockIdx.y * THREADS + threadIdx.x), token = p.tokens[t];
    if (token < 0 || token >= p.V) {
        if (k == 0) fc_complain(p.trouble, FC_TROUBLE_TOKEN, t);
        return;
    }
    token -= p.first;
    if (token < 0 || token >= p.N) { /* another rank's */
        if (k < p.w.K) p.y[(size_t)t * p.w.K + k] = 0.0f;
        return;
    }
    token -= p.w.first;
    if (token < 0 || token >= p.w.N || k >= p.w.K) return;
    float v = fc_part_value(p.w, p.w.panels + (size_t)(token / FC_PANEL) * p.w.panel_bytes, token % FC_PANEL, k);
    p.y[(size_t)t * p.w.K + k] = p.scale == 1.0f ? v : v * p.scale;
}

extern "C" fc_status fc_embed_cuda(fc_stream s, const fc_embed_args *a) {
    const fc_weight_cuda *w = fc_weight_cuda_of(a->w);
    dim3 grid((unsigned)a->T, (unsigned)fc_div_up(a->w->K, THREADS));
    if (a->T < 1) return FC_FAIL(FC_ERR_ARG, "embed: T=%d; it must be at least 1", a->T);
    for (int i = 0; i < w->n_parts; i++) {
        embed_params p = {w->parts[i], a->y, a->tokens, s->trouble, a->scale, a->w->of, a->w->first, a->w->N};
        FC_TRY(fc_launch(s, "embed", embed_kernel, grid, THREADS, 0, p));
    }
    return FC_OK;
}
