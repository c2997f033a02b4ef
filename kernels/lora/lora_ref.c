#include "kernels/lora/lora.h"

static double at(const void *p, fc_dtype dtype, size_t i) {
    if (dtype == FC_F32) return (double)((const float *)p)[i];
    return (double)fc_bf16_to_f32(((const uint16_t *)p)[i]);
}

/* Row t of x and y under one part, whose A begins at row z of the stack. */
static void add_part(const fc_lora_args *a, const fc_lora *w, const fc_lora_part *p, size_t t) {
    const float *x = a->x + t * (size_t)a->K;
    float *y = a->y + t * (size_t)a->ldy + p->col;
    for (int n = 0; n < p->N; n++) {
        double sum = 0.0;
        for (int j = 0; j < p->r; j++) {
            double z = 0.0;
            for (int k = 0; k < a->K; k++)
                z += at(w->a, w->dtype, (size_t)(p->z + j) * fc_lora_pad(a->K) + (size_t)k) * (double)x[k];
            sum += at(w->b, w->dtype, p->b + (size_t)j * fc_lora_pad(p->N) + (size_t)n) * z;
        }
        y[n] = (float)((double)y[n] + (double)p->scale * sum);
    }
}

fc_status fc_lora_ref(fc_stream s, const fc_lora_args *a) {
    (void)s; /* the CPU has one queue: program order */
    for (int g = 0; g < a->n_groups; g++)
        for (int i = 0; i < a->groups[g].n_rows; i++)
            for (int p = 0; p < a->groups[g].w->n_parts; p++)
                add_part(a, a->groups[g].w, &a->groups[g].w->part[p], (size_t)a->rows[a->groups[g].first + i]);
    return FC_OK;
}
