#include "kernels/linear/rows.h"

fc_status fc_linear_rows_of(fc_stream s, const char *what, const fc_weight *w, const float *x, bool precise,
                            fc_linear_rows *out) {
    const fc_linear_part *part = fc_weight_cpu_of(w)->parts;
    bool codes = !fc_form_is_float(part->form);
    if (fc_weight_cpu_of(w)->n_parts != 1)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: a matrix of %d tensors; it must be one", what,
                       fc_weight_cpu_of(w)->n_parts);
    *out = (fc_linear_rows){
        .level = fc_linear_level_of(s->level), .part = part, .x = x, .K = w->K, .precise = precise && codes};
    if (codes) out->row_bytes = (size_t)w->K / FC_XGROUP * out->level->x_bytes;
    return FC_OK;
}

fc_linear_row_tile fc_linear_row_tile_of(const fc_linear_rows *r, int row, int at, int n_rows, int i) {
    int tiles = fc_linear_row_tiles(r, n_rows), base = n_rows / tiles, extra = n_rows % tiles;
    int start = i * base + (i < extra ? i : extra);
    return (fc_linear_row_tile){row + start, base + (i < extra), at + start};
}

void fc_linear_rows_prepare(const fc_linear_rows *r, fc_linear_row_tile t) {
    r->level->prepare(&(fc_linear_prepare){.x = r->x + (size_t)t.row * (size_t)r->K,
                                           .stride = (size_t)r->K,
                                           .rows = t.n,
                                           .K = r->K,
                                           .zero = fc_form_has_min(r->part->form) ? 0 : r->part->zero,
                                           .halves = fc_form_group(r->part->form) == 16,
                                           .precise = r->precise,
                                           .out = r->prepared + (size_t)t.at * r->row_bytes});
}

int fc_linear_rows_multiply(const fc_linear_rows *r, fc_linear_row_tile t, int panel, int panels, float *y,
                            size_t y_stride, const unsigned char *next) {
    const float *x = r->x + (size_t)t.row * (size_t)r->K;
    int lanes = r->part->N - panel * FC_LANES;
    if (lanes > panels * FC_LANES) lanes = panels * FC_LANES;
    r->level->multiply(
        &(fc_linear_multiply){.panel = fc_linear_panel(r, panel),
                              .panel_bytes = r->part->panel_bytes,
                              .form = r->part->form,
                              .panels = panels,
                              .rows = t.n,
                              .K = r->K,
                              .lanes = lanes,
                              .scale_cols = r->part->scale_cols,
                              .x = r->row_bytes ? (const void *)(r->prepared + (size_t)t.at * r->row_bytes) : x,
                              .stride = (size_t)r->K,
                              .y = y,
                              .y_stride = y_stride,
                              .next = next});
    return lanes;
}
