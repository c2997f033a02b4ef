#include "engine/base/mem.h"
#include "engine/base/quant.h"
#include "kernels/cpu/cpu.h"
#include "kernels/linear/linear_load.h"
#include "kernels/linear/panel.h"

#include <limits.h>
#include <math.h>

enum { CHUNK = 256 }; /* elements of a row that are unpacked at once: the largest block of a file */

static bool form_of(fc_dtype t, fc_form *form, int *zero) {
    *zero = 0;
    switch (t) {
    case FC_F32: *form = FC_FORM_F32; return true;
    case FC_F16: *form = FC_FORM_F16; return true;
    case FC_BF16: *form = FC_FORM_BF16; return true;
    case FC_F8: *form = FC_FORM_F8; return true;
    case FC_Q8_0: *form = FC_FORM_Q8_ZERO, *zero = 128; return true;
    case FC_Q4_0: *form = FC_FORM_Q4_ZERO, *zero = 8; return true;
    case FC_Q4_1: *form = FC_FORM_Q4_MIN; return true;
    case FC_Q5_0: *form = FC_FORM_Q8_ZERO, *zero = 16; return true;
    case FC_Q5_1: *form = FC_FORM_Q8_MIN; return true;
    case FC_Q4_K: *form = FC_FORM_Q4_MIN32; return true;
    case FC_Q4_W: *form = FC_FORM_Q4_MIN32; return true;
    case FC_Q5_K:
    case FC_Q8_W: *form = FC_FORM_Q8_MIN32; return true;
    case FC_Q6_K: *form = FC_FORM_Q8_HALF, *zero = 32; return true;
    default: return false;
    }
}

/* scale_cols: of F8. */
static size_t panel_bytes(fc_form f, int K, int scale_cols) {
    size_t k = (size_t)K, bytes;
    switch (f) {
    case FC_FORM_F32: return k * FC_LANES * 4; /* K <= INT_MAX: no size here can wrap */
    case FC_FORM_F16: bytes = k * FC_LANES * 2; break;
    case FC_FORM_BF16: bytes = (k + 1) / 2 * FC_LANES * 4; break;
    case FC_FORM_F8:
        bytes = fc_panel_scales_f8(K) + ((k - 1) / (size_t)scale_cols + 1) * FC_LANES * sizeof(float);
        break;
    default:
        bytes = fc_panel_mins(f, K);
        if (fc_form_has_min(f)) bytes += bytes - fc_panel_scales(f, K);
    }
    return (bytes + 63) & ~(size_t)63;
}

double fc_linear_packed_cpu(fc_dtype type, int N, int K, int scale_cols) {
    fc_form form;
    int zero;
    if (!form_of(type, &form, &zero)) return 0;
    return ((N - 1) / FC_LANES + 1) * (double)panel_bytes(form, K, scale_cols ? scale_cols : K);
}

/* Columns of a scale into *cols: all where there is none. */
static fc_status check_scales(const fc_weight_part *p, const char *name, int *cols) {
    size_t n;
    *cols = p->K;
    if (!p->scale) return FC_OK;
    if (p->dtype != FC_F8)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "tensor %s: scales of type %s; only %s has them", name,
                       fc_dtype_name(p->dtype), fc_dtype_name(FC_F8));
    if (p->scale_rows < 1 || p->scale_cols < 1)
        return FC_FAIL(FC_ERR_ARG, "tensor %s: scales of %d rows and %d columns", name, p->scale_rows, p->scale_cols);
    if (p->scale_cols < p->K && p->scale_cols % 2)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "tensor %s: scales of %d columns; an even number, or all %d, are possible",
                       name, p->scale_cols, p->K);
    if (p->scale_cols < p->K) *cols = p->scale_cols;
    n = (size_t)((p->N - 1) / p->scale_rows + 1) * (size_t)((p->K - 1) / p->scale_cols + 1);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(p->scale[i]))
            return FC_FAIL(FC_ERR_FORMAT, "tensor %s: scale %zu is %g", name, i, (double)p->scale[i]);
    return FC_OK;
}

/* Where a part will lie; *total grows by its bytes. */
static fc_status place(const fc_weight_part *p, int K, fc_linear_part *out, int *rows, size_t *total) {
    size_t row_bytes, bytes;
    const char *name = p->name ? p->name : "?";
    if (p->N < 1 || p->K < 1) return FC_FAIL(FC_ERR_ARG, "tensor %s: [%d,%d] is no matrix", name, p->N, p->K);
    if (p->K != K)
        return FC_FAIL(FC_ERR_ARG, "tensor %s: %d columns; the parts stacked before it have %d", name, p->K, K);
    if (!form_of(p->dtype, &out->form, &out->zero))
        return FC_FAIL(FC_ERR_UNSUPPORTED, "tensor %s: a matrix of type %s", name, fc_dtype_name(p->dtype));
    if ((size_t)K % fc_dtype_block(p->dtype))
        return FC_FAIL(FC_ERR_FORMAT, "tensor %s: %d columns are no multiple of the block of %s, %zu", name, K,
                       fc_dtype_name(p->dtype), fc_dtype_block(p->dtype));
    FC_TRY(fc_dtype_row_bytes(p->dtype, (size_t)K, &row_bytes));
    FC_TRY(check_scales(p, name, &out->scale_cols));
    out->N = p->N;
    out->first = *rows;
    out->n_panels = (p->N - 1) / FC_LANES + 1;
    out->panel_bytes = panel_bytes(out->form, K, out->scale_cols);
    if (p->N > INT_MAX - FC_LANES - *rows)
        return FC_FAIL(FC_ERR_ARG, "tensor %s: %d rows on top of %d do not fit", name, p->N, *rows);
    if (!fc_mul((size_t)out->n_panels, out->panel_bytes, &bytes) || !fc_add(*total, bytes, total))
        return FC_FAIL(FC_ERR_MEM, "tensor %s: [%d,%d] %s does not fit in the address space", name, p->N, K,
                       fc_dtype_name(p->dtype));
    *rows += p->N;
    return FC_OK;
}

static void pack_f32(unsigned char *panel, int lane, const unsigned char *row, size_t K) {
    for (size_t k = 0; k < K; k++) memcpy(panel + (k * FC_LANES + (size_t)lane) * 4, row + k * 4, 4);
}

static void pack_f16(unsigned char *panel, int lane, const unsigned char *row, size_t K) {
    for (size_t k = 0; k < K; k++) memcpy(panel + (k * FC_LANES + (size_t)lane) * 2, row + k * 2, 2);
}

static void pack_bf16(unsigned char *panel, int lane, const unsigned char *row, size_t K) {
    for (size_t k = 0; k < K; k++) memcpy(panel + (k / 2 * FC_LANES + (size_t)lane) * 4 + k % 2 * 2, row + k * 2, 2);
}

/* Row n of the part. */
static void pack_f8(const fc_linear_part *p, const fc_weight_part *from, unsigned char *panel, int lane, int n,
                    const unsigned char *row) {
    unsigned char *scales = panel + fc_panel_scales_f8(from->K) + (size_t)lane * sizeof(float);
    for (int k = 0, end; k < from->K; k = end, scales += FC_LANES * sizeof(float)) {
        float scale = fc_weight_part_scale(from, n, k);
        end = from->K - k < p->scale_cols ? from->K : k + p->scale_cols;
        for (int i = k; i < end; i++) {
            panel[(size_t)i * FC_LANES + (size_t)lane] = row[i];
            if ((row[i] & 0x7f) == 0x7f) scale = NAN;
        }
        memcpy(scales, &scale, sizeof scale);
    }
}

static void put_scales(unsigned char *to, const float *v, size_t n, size_t bytes) {
    for (size_t i = 0; i < n; i++, to += FC_LANES * bytes) {
        uint16_t half = fc_f32_to_f16(v[i]); /* came from f16, so nothing is lost */
        if (bytes == 4) memcpy(to, v + i, 4);
        else memcpy(to, &half, 2);
    }
}

/* Elements k0 to k0 + n of one row. */
static void pack_codes(fc_form f, unsigned char *panel, int lane, size_t k0, const uint8_t *codes, size_t n) {
    for (size_t k = 0; k < n; k += 4) {
        size_t group = (k0 + k) / FC_XGROUP, quad = (k0 + k) % FC_XGROUP / 4;
        unsigned char *to;
        if (fc_form_bits(f) == 8) {
            memcpy(panel + ((group * 8 + quad) * FC_LANES + (size_t)lane) * 4, codes + k, 4);
            continue;
        }
        to = panel + ((group / 2 * 8 + quad) * FC_LANES + (size_t)lane) * 4;
        for (int i = 0; i < 4; i++) /* the even group came first and wrote the whole byte */
            to[i] = (unsigned char)(group % 2 ? to[i] | codes[k + (size_t)i] << 4 : codes[k + (size_t)i]);
    }
}

typedef struct {
    const fc_weight_cpu *w;
    const fc_weight_part *parts;
} pack_work;

static void pack_quant(const fc_linear_part *p, fc_dtype t, int K, unsigned char *panel, int lane,
                       const unsigned char *row) {
    size_t scale_bytes = fc_form_scale_bytes(p->form), step = fc_dtype_block_bytes(t),
           group = (size_t)fc_form_group(p->form);
    for (size_t k = 0; k < (size_t)K; k += CHUNK) {
        uint8_t codes[CHUNK];
        float scale[CHUNK / 16], min[CHUNK / 16];
        size_t n = (size_t)K - k < CHUNK ? (size_t)K - k : CHUNK,
               at = (k / group * FC_LANES + (size_t)lane) * scale_bytes;
        fc_status st = fc_quant_codes(t, row + k / fc_dtype_block(t) * step, n, codes, scale, min);
        FC_ASSERT(st == FC_OK); /* place() has checked type and length */
        pack_codes(p->form, panel, lane, k, codes, n);
        put_scales(panel + fc_panel_scales(p->form, K) + at, scale, n / group, scale_bytes);
        if (fc_form_has_min(p->form)) put_scales(panel + fc_panel_mins(p->form, K) + at, min, n / group, scale_bytes);
    }
}

static void pack_panel(void *arg, int unit, int thread) {
    const pack_work *work = arg;
    const fc_linear_part *p = work->w->parts;
    const fc_weight_part *from = work->parts;
    int K = work->w->w.K, lanes;
    unsigned char *panel;
    (void)thread;
    for (; unit >= p->n_panels; p++, from++) unit -= p->n_panels;
    panel = (unsigned char *)work->w->memory.at + (p->panels - (const unsigned char *)work->w->memory.at) +
            (size_t)unit * p->panel_bytes;
    lanes = p->N - unit * FC_LANES < FC_LANES ? p->N - unit * FC_LANES : FC_LANES;
    for (int lane = 0; lane < lanes; lane++) {
        size_t row_bytes = (size_t)K / fc_dtype_block(from->dtype) * fc_dtype_block_bytes(from->dtype);
        const unsigned char *row =
            (const unsigned char *)from->data + ((size_t)unit * FC_LANES + (size_t)lane) * row_bytes;
        switch (p->form) {
        case FC_FORM_F32: pack_f32(panel, lane, row, (size_t)K); break;
        case FC_FORM_F16: pack_f16(panel, lane, row, (size_t)K); break;
        case FC_FORM_BF16: pack_bf16(panel, lane, row, (size_t)K); break;
        case FC_FORM_F8: pack_f8(p, from, panel, lane, unit * FC_LANES + lane, row); break;
        default: pack_quant(p, from->dtype, K, panel, lane, row);
        }
    }
}

fc_status fc_weight_pack_cpu(fc_stream s, const fc_weight_part *parts, int n_parts, fc_weight **out) {
    fc_status st = FC_OK;
    fc_weight_cpu *w;
    void *p;
    size_t total = 0, at = 0;
    int units = 0;
    if (n_parts < 1 || n_parts > 1024) return FC_FAIL(FC_ERR_ARG, "weight: %d parts", n_parts);
    FC_TRY(fc_alloc(1, sizeof *w + (size_t)n_parts * sizeof w->parts[0], "weight", &p));
    w = p;
    w->w.K = parts[0].K;
    w->n_parts = n_parts;
    for (int i = 0; i < n_parts; i++) {
        FC_TRY_GOTO(st, place(&parts[i], w->w.K, &w->parts[i], &w->w.N, &total), fail);
        units += w->parts[i].n_panels;
    }
    FC_TRY_GOTO(st, fc_weight_place(&w->w, parts, n_parts), fail);
    FC_TRY_GOTO(st, fc_region_take(&s->weights, total, parts[0].name, &w->memory), fail);
    w->w.bytes = total;
    for (int i = 0; i < n_parts; i++) {
        w->parts[i].panels = (unsigned char *)w->memory.at + at;
        at += (size_t)w->parts[i].n_panels * w->parts[i].panel_bytes;
    }
    fc_pool_run(s->pool, units, pack_panel, &(pack_work){.w = w, .parts = parts});
    *out = &w->w;
    return FC_OK;
fail:
    fc_weight_free_cpu(&w->w);
    return st;
}

void fc_weight_free_cpu(fc_weight *w) {
    fc_weight_cpu *c = (fc_weight_cpu *)w;
    if (!c) return;
    fc_region_give(&c->memory);
    fc_free(c);
}

static float scale_at(const unsigned char *p, size_t i, size_t bytes) {
    float f;
    uint16_t half;
    if (bytes == 4) {
        memcpy(&f, p + i * 4, 4);
        return f;
    }
    memcpy(&half, p + i * 2, 2);
    return fc_f16_to_f32(half);
}

static void row_quant(const fc_linear_part *p, int K, const unsigned char *panel, size_t lane, float *out) {
    const unsigned char *scales = panel + fc_panel_scales(p->form, K), *mins = panel + fc_panel_mins(p->form, K);
    size_t group_size = (size_t)fc_form_group(p->form), bytes = fc_form_scale_bytes(p->form);
    bool has_min = fc_form_has_min(p->form), narrow = fc_form_bits(p->form) == 4;
    for (size_t g = 0; g < (size_t)K / group_size; g++) {
        float scale = scale_at(scales, g * FC_LANES + lane, bytes);
        float min = has_min ? scale_at(mins, g * FC_LANES + lane, bytes) : 0.0f;
        for (size_t k = g * group_size; k < (g + 1) * group_size; k++) {
            size_t group = k / FC_XGROUP, quad = k % FC_XGROUP / 4;
            unsigned code = panel[(((narrow ? group / 2 : group) * 8 + quad) * FC_LANES + lane) * 4 + k % 4];
            if (narrow) code = group % 2 ? code >> 4 : code & 15u;
            if (has_min) out[k] = scale * (float)code + min; /* the order of fc_dequant_row: the same bits */
            else out[k] = scale * (float)((int)code - p->zero);
        }
    }
}

void fc_weight_row_cpu(const fc_weight *w, int n, float *out) {
    const fc_linear_part *p = fc_weight_cpu_of(w)->parts;
    const unsigned char *panel;
    size_t lane, K = (size_t)w->K;
    for (; n >= p->N; p++) n -= p->N;
    panel = p->panels + (size_t)(n / FC_LANES) * p->panel_bytes;
    lane = (size_t)(n % FC_LANES);
    for (size_t k = 0; fc_form_is_float(p->form) && k < K; k++) {
        uint16_t half;
        if (p->form == FC_FORM_F32) {
            memcpy(&out[k], panel + (k * FC_LANES + lane) * 4, 4);
        } else if (p->form == FC_FORM_F16) {
            memcpy(&half, panel + (k * FC_LANES + lane) * 2, 2);
            out[k] = fc_f16_to_f32(half);
        } else if (p->form == FC_FORM_F8) {
            float scale =
                scale_at(panel + fc_panel_scales_f8(w->K), k / (size_t)p->scale_cols * FC_LANES + lane, sizeof scale);
            out[k] = fc_f8_to_f32(panel[k * FC_LANES + lane]) * scale;
        } else {
            memcpy(&half, panel + (k / 2 * FC_LANES + lane) * 4 + k % 2 * 2, 2);
            out[k] = fc_bf16_to_f32(half);
        }
    }
    if (!fc_form_is_float(p->form)) row_quant(p, w->K, panel, lane, out);
}
