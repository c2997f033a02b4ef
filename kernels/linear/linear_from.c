#include "kernels/linear/linear_from.h"

fc_status fc_linear_from_of(fc_cpu_level level, const fc_linear_args *a, fc_linear_from *out) {
    const fc_rmsnorm_args *norm = a->norm;
    const fc_glu_args *glu = a->glu;
    int K = a->w->K;
    *out = (fc_linear_from){.a = a};
    if (norm && glu) return FC_FAIL(FC_ERR_ARG, "linear: x from a norm and from a gated unit");
    if (norm) {
        if (norm->T != a->T || norm->D != K || norm->rows)
            return FC_FAIL(FC_ERR_ARG, "linear: x is [%d,%d], its norm's y [%d,%d]%s", a->T, K, norm->T, norm->D,
                           norm->rows ? " of listed rows" : "");
        out->norm = fc_rmsnorm_run_of(level);
        out->y = norm->y;
    }
    if (glu) {
        out->glu = fc_glu_run_of(glu->act, level);
        if (glu->T != a->T || glu->F != K || !out->glu)
            return FC_FAIL(FC_ERR_ARG, "linear: x is [%d,%d], its gated unit's y [%d,%d], activation %d", a->T, K,
                           glu->T, glu->F, (int)glu->act);
        out->y = glu->y;
    }
    return FC_OK;
}

/* Again, res holds the sum already: norm(res) has the bits of the first time. */
static void norm_row(const fc_linear_from *f, int row, float *y) {
    const fc_rmsnorm_args *a = f->a->norm;
    size_t at = (size_t)row * (size_t)a->D;
    float *res = a->res ? a->res + at : NULL;
    fc_rmsnorm_row r = {.y = y, .x = a->x + at, .res = res, .h = res, .w = a->w, .eps = a->eps, .D = a->D};
    if (f->again && res) {
        r.x = res;
        r.res = r.h = NULL;
    }
    f->norm(&r);
}

const float *fc_linear_from_rows(const fc_linear_from *f, int row, int rows, float *spare) {
    size_t K = (size_t)f->a->w->K, at = (size_t)row * K;
    float *out = f->y ? f->y + at : spare;
    if (!f->norm && !f->glu) return f->a->x + at;
    if (!fc_linear_from_makes(f)) return out;
    for (int r = 0; r < rows; r++) {
        float *y = out + (size_t)r * K;
        if (f->norm) {
            norm_row(f, row + r, y);
        } else {
            const float *gate = f->a->glu->x + 2 * (size_t)(row + r) * K;
            f->glu(y, gate, gate + K, K);
        }
    }
    return out;
}
