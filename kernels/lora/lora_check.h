/* lora_check - what every backend asks of a call of lora. Inner to kernels/lora. */
#ifndef FC_KERNELS_LORA_CHECK_H
#define FC_KERNELS_LORA_CHECK_H

#include "kernels/lora/lora.h"

static inline fc_status fc_lora_check_group(const fc_lora_args *a, int i) {
    const fc_lora_group *g = &a->groups[i];
    const fc_lora *w = g->w;
    int R = 0;
    if (g->first < 0 || g->n_rows < 1)
        return FC_FAIL(FC_ERR_ARG, "lora: group %d has %d rows from %d on", i, g->n_rows, g->first);
    if (w->dtype != FC_F32 && w->dtype != FC_BF16)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "lora: group %d: dtype %s; f32 and bf16 are supported", i,
                       fc_dtype_name(w->dtype));
    if (w->K != a->K || w->n_parts < 1 || w->n_parts > FC_LORA_PARTS)
        return FC_FAIL(FC_ERR_ARG, "lora: group %d: K=%d of %d, %d parts of 1 to %d", i, w->K, a->K, w->n_parts,
                       FC_LORA_PARTS);
    for (int p = 0; p < w->n_parts; p++) {
        const fc_lora_part *part = &w->part[p];
        if (part->r < 1 || part->z != R || part->col < 0 || part->N < 1 || part->col > a->ldy - part->N)
            return FC_FAIL(FC_ERR_ARG, "lora: group %d, part %d: rank %d, columns %d to %d of %d", i, p, part->r,
                           part->col, part->col + part->N, a->ldy);
        R += part->r;
    }
    if (w->R != R || R > a->ldz)
        return FC_FAIL(FC_ERR_ARG, "lora: group %d: ranks of %d together, %d said, room for %d", i, R, w->R, a->ldz);
    return FC_OK;
}

static inline fc_status fc_lora_check(const fc_lora_args *a) {
    if (a->T < 1 || a->K < 1 || a->n_groups < 1)
        return FC_FAIL(FC_ERR_ARG, "lora: T=%d K=%d groups=%d; all must be at least 1", a->T, a->K, a->n_groups);
    for (int i = 0; i < a->n_groups; i++) FC_TRY(fc_lora_check_group(a, i));
    return FC_OK;
}

#endif
