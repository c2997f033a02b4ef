#include "kernels/cuda/lt.cuh"
#include "kernels/linear/weight.cuh"

extern "C" {
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/quant.h"
#include "engine/base/thread.h"
}

#include <limits.h>

enum {
    BLOCK = 256,      /* elements of a row that are unpacked at once: the largest block of a file */
    PIECE = 32 << 20, /* bytes that are packed on the host and then sent */
    ALONE = 1 << 20,  /* bytes up to which the caller packs alone */
};

static bool part_of(fc_dtype t, fc_part_cuda *out) {
    out->zero = 0;
    bool free = t == FC_Q4_W || t == FC_Q8_W;
    out->wide = t == FC_Q4_K || t == FC_Q5_K || t == FC_Q6_K || free;
    out->min = t == FC_Q4_1 || t == FC_Q5_1 || t == FC_Q4_K || t == FC_Q5_K || free;
    switch (t) {
    case FC_F32: out->code = FC_CODE_F32; return true;
    case FC_F16: out->code = FC_CODE_F16; return true;
    case FC_BF16: out->code = FC_CODE_BF16; return true;
    case FC_F8: out->code = FC_CODE_F8; return true;
    case FC_Q8_0:
    case FC_Q5_0:
    case FC_Q5_1:
    case FC_Q5_K:
    case FC_Q8_W: out->code = FC_CODE_8; return true;
    case FC_Q6_K: out->code = FC_CODE_8H; return true;
    case FC_Q4_0:
        out->zero = 8;
        out->code = FC_CODE_4;
        return true;
    case FC_Q4_1:
    case FC_Q4_K:
    case FC_Q4_W: out->code = FC_CODE_4; return true;
    default: return false;
    }
}

/* The device keeps codes of 8 bits minus this: the code that means 0, of Q8_W the middle. */
static int zero_of_8_bits(fc_dtype t) {
    return t == FC_Q8_0 || t == FC_Q8_W ? 128 : t == FC_Q5_0 ? 16 : t == FC_Q6_K ? 32 : 0;
}

static int chunk_bytes(const fc_part_cuda *p) {
    if (fc_code_is_float(p->code)) return 0;
    return fc_code_bytes(p->code) + FC_PANEL * fc_code_scales(p->code) * (p->wide ? 4 : 2) * (p->min ? 2 : 1);
}

/* The CPU's needs, but that scales of some columns are for whole steps. */
static fc_status check_scales(const fc_weight_part *p, const char *name) {
    size_t n;
    if (!p->scale) return FC_OK;
    if (p->dtype != FC_F8)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "tensor %s: scales of type %s; only %s has them", name,
                       fc_dtype_name(p->dtype), fc_dtype_name(FC_F8));
    if (p->scale_rows < 1 || p->scale_cols < 1)
        return FC_FAIL(FC_ERR_ARG, "tensor %s: scales of %d rows and %d columns", name, p->scale_rows, p->scale_cols);
    if (p->scale_cols < p->K && p->scale_cols % FC_STEP)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "tensor %s: scales of %d columns; a multiple of %d, or all %d, are possible",
                       name, p->scale_cols, (int)FC_STEP, p->K);
    n = (size_t)((p->N - 1) / p->scale_rows + 1) * (size_t)((p->K - 1) / p->scale_cols + 1);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(p->scale[i]))
            return FC_FAIL(FC_ERR_FORMAT, "tensor %s: scale %zu is %g", name, i, (double)p->scale[i]);
    return FC_OK;
}

static fc_status place(const fc_weight_part *p, int K, int rows, bool library, fc_part_cuda *out) {
    const char *name = p->name ? p->name : "?";
    if (p->N < 1 || p->K < 1) return FC_FAIL(FC_ERR_ARG, "tensor %s: [%d,%d] is no matrix", name, p->N, p->K);
    if (p->K != K)
        return FC_FAIL(FC_ERR_ARG, "tensor %s: %d columns; the parts stacked before it have %d", name, p->K, K);
    if (!part_of(p->dtype, out))
        return FC_FAIL(FC_ERR_UNSUPPORTED, "tensor %s: a matrix of type %s", name, fc_dtype_name(p->dtype));
    if ((size_t)K % fc_dtype_block(p->dtype))
        return FC_FAIL(FC_ERR_FORMAT, "tensor %s: %d columns are no multiple of the block of %s, %zu", name, K,
                       fc_dtype_name(p->dtype), fc_dtype_block(p->dtype));
    if (K > INT_MAX - 2 * FC_STEP) return FC_FAIL(FC_ERR_ARG, "tensor %s: %d columns are too many", name, K);
    if (p->N > INT_MAX - FC_PANEL - rows)
        return FC_FAIL(FC_ERR_ARG, "tensor %s: %d rows on top of %d do not fit", name, p->N, rows);
    FC_TRY(check_scales(p, name));
    if (p->scale) out->wide = true;
    if (p->scale && p->scale_cols < K) out->code = FC_CODE_F8B;
    out->by_rows = library && out->code == FC_CODE_BF16;
    out->K = K;
    out->steps = fc_linear_steps(K);
    out->chunk = chunk_bytes(out);
    out->N = p->N;
    out->first = rows;
    out->n_panels = (p->N - 1) / FC_PANEL + 1;
    out->panel_bytes =
        (size_t)out->steps *
        (fc_code_is_float(out->code) ? (size_t)(FC_PANEL * FC_STEP * fc_code_bytes(out->code)) : (size_t)out->chunk);
    if (out->code == FC_CODE_F8 && out->wide) out->panel_bytes += FC_PANEL * sizeof(float);
    return FC_OK;
}

/* A part whose panels go on where the one before it ends, in the same form, is more of that one. */
static bool joins(const fc_part_cuda *before, const fc_part_cuda *p) {
    return before->N % FC_PANEL == 0 && before->code == p->code && before->wide == p->wide && before->min == p->min &&
           before->zero == p->zero;
}

static void put_scales(const fc_part_cuda *p, unsigned char *to, int o, int k, const float *v, int n) {
    int groups = fc_code_scales(p->code), size = FC_STEP / groups;
    for (int i = 0; i < n; i++) {
        int at = k / size + i, place = fc_code_scale_place(p->code, o, at % groups);
        unsigned char *chunk = to + (size_t)(at / groups) * p->chunk;
        uint16_t half = fc_f32_to_f16(v[i]); /* came from f16, so nothing is lost */
        if (p->wide) memcpy(chunk + place * 4, v + i, 4);
        else memcpy(chunk + place * 2, &half, 2);
    }
}

/* Row o of a panel of codes. */
static fc_status pack_quant(const fc_part_cuda *p, const fc_weight_part *from, const unsigned char *row, int o,
                            unsigned char *panel) {
    int zero = zero_of_8_bits(from->dtype), groups = fc_code_scales(p->code), size = FC_STEP / groups;
    unsigned char *scales = panel + fc_code_bytes(p->code), *mins = scales + FC_PANEL * groups * (p->wide ? 4 : 2);
    for (int k = 0; k < p->K; k += BLOCK) {
        uint8_t codes[BLOCK];
        float scale[BLOCK / 16], min[BLOCK / 16];
        int n = p->K - k < BLOCK ? p->K - k : BLOCK;
        FC_TRY(fc_quant_codes(from->dtype,
                              row + (size_t)k / fc_dtype_block(from->dtype) * fc_dtype_block_bytes(from->dtype),
                              (size_t)n, codes, scale, min));
        for (int i = 0; i < n; i++) {
            fc_code_place at = fc_code_place_of(p->code, o, (k + i) % FC_STEP);
            unsigned char *to = panel + (size_t)((k + i) / FC_STEP) * p->chunk + at.byte;
            if (p->code == FC_CODE_4) *to = (unsigned char)(*to | codes[i] << at.shift);
            else *to = (unsigned char)(codes[i] - zero);
        }
        put_scales(p, scales, o, k, scale, n / size);
        for (int i = 0; p->min && zero && i < n / size; i++) min[i] += (float)zero * scale[i];
        if (p->min) put_scales(p, mins, o, k, min, n / size);
    }
    return FC_OK;
}

static fc_status pack_row(const fc_part_cuda *p, const fc_weight_part *from, int n, int o, unsigned char *panel) {
    size_t size = fc_dtype_block_bytes(from->dtype);
    const unsigned char *row =
        (const unsigned char *)from->data + (size_t)n * ((size_t)p->K / fc_dtype_block(from->dtype) * size);
    if (fc_code_is_float(p->code)) {
        memcpy(panel + (size_t)(o * p->steps * FC_STEP) * size, row, (size_t)p->K * size);
        return FC_OK;
    }
    if (p->code == FC_CODE_BF16) {
        int k = 0;
        for (; k + 4 <= p->K; k += 4)
            memcpy(panel + fc_bf16_place(*p, o, k), row + (size_t)k * size, 4 * size); /* stay together */
        for (; k < p->K; k++) memcpy(panel + fc_bf16_place(*p, o, k), row + (size_t)k * size, size);
        return FC_OK;
    }
    if (fc_dtype_is_quant(from->dtype)) return pack_quant(p, from, row, o, panel);
    for (int k = 0; k < p->K; k++) {
        fc_code_place at = fc_code_place_of(p->code, o, k % FC_STEP);
        if (from->dtype == FC_F8 && (row[k] & 0x7f) == 0x7f)
            return FC_FAIL(FC_ERR_FORMAT, "tensor %s: [%d,%d] is NaN", from->name ? from->name : "?", n, k);
        memcpy(panel + (size_t)(k / FC_STEP) * p->chunk + at.byte, row + (size_t)k * size, size);
    }
    if (p->code == FC_CODE_F8 && p->wide)
        memcpy(panel + (size_t)p->steps * p->chunk + (size_t)fc_code_row_place(o) * 4,
               &from->scale[n / from->scale_rows], 4);
    for (int step = 0; p->code == FC_CODE_F8B && step < p->steps; step++) {
        float scale = fc_weight_part_scale(from, n, step * FC_STEP);
        put_scales(p, panel + fc_code_bytes(p->code), o, step * FC_STEP, &scale, 1);
    }
    return FC_OK;
}

/* Panels of a piece, by several threads. */
typedef struct {
    const fc_part_cuda *p;
    const fc_weight_part *from;
    unsigned char *piece;
    int first;  /* panel of the piece's begin */
    int failed; /* the first panel that could not be packed, of the piece; INT_MAX: none */
} pack_job;

static fc_status pack_panel(const pack_job *j, int panel) {
    unsigned char *to = j->piece + (size_t)panel * j->p->panel_bytes;
    int row = (j->first + panel) * FC_PANEL, rows = j->from->N - row < FC_PANEL ? j->from->N - row : (int)FC_PANEL;
    memset(to, 0, j->p->panel_bytes); /* past N and K: a scale of 0, whatever the code */
    for (int o = 0; o < rows; o++) FC_TRY(pack_row(j->p, j->from, row + o, o, to));
    return FC_OK;
}

static void pack_unit(void *arg, int panel, int) {
    pack_job *j = (pack_job *)arg;
    int seen = __atomic_load_n(&j->failed, __ATOMIC_RELAXED);
    if (panel > seen || !pack_panel(j, panel)) return;
    while (panel < seen &&
           !__atomic_compare_exchange_n(&j->failed, &seen, panel, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

/* A piece of whole panels at a time: packed here, then sent. */
static fc_status pack_part(fc_stream s, fc_pool *pool, const fc_part_cuda *p, const fc_weight_part *from,
                           unsigned char *to, unsigned char *piece, size_t piece_bytes) {
    int step = (int)(piece_bytes / p->panel_bytes);
    for (int panel = 0; panel < p->n_panels; panel += step) {
        pack_job j = {p, from, piece, panel, INT_MAX};
        int n = p->n_panels - panel < step ? p->n_panels - panel : step;
        if (pool) fc_pool_run(pool, n, pack_unit, &j);
        for (int i = 0; !pool && i < n; i++) FC_TRY(pack_panel(&j, i));
        if (j.failed < INT_MAX) return pack_panel(&j, j.failed); /* its sentence was another thread's */
        FC_CUDA_TRY(cudaMemcpyAsync(to + (size_t)panel * p->panel_bytes, piece, (size_t)n * p->panel_bytes,
                                    cudaMemcpyHostToDevice, s->queue));
        FC_CUDA_TRY(cudaStreamSynchronize(s->queue)); /* piece is written again */
    }
    return FC_OK;
}

static fc_status pack_all(fc_stream s, const fc_weight_part *parts, int n_parts, const fc_part_cuda *places,
                          fc_weight_cuda *w, unsigned char **piece) {
    size_t total = 0, at = 0, most = PIECE;
    void *p;
    for (int i = 0; i < n_parts; i++) {
        size_t bytes;
        if (!fc_mul((size_t)places[i].n_panels, places[i].panel_bytes, &bytes) || !fc_add(total, bytes, &total))
            return FC_FAIL(FC_ERR_MEM, "tensor %s: [%d,%d] %s does not fit in the address space",
                           parts[i].name ? parts[i].name : "?", parts[i].N, w->w.K, fc_dtype_name(parts[i].dtype));
        most = places[i].panel_bytes > most ? places[i].panel_bytes : most;
    }
    most = most < total ? most : total;
    FC_TRY(fc_alloc(most, 1, "weight", &p));
    *piece = (unsigned char *)p;
    FC_TRY(fc_cuda_alloc(parts[0].name ? parts[0].name : "weight", total, &p));
    w->memory = (unsigned char *)p;
    w->w.bytes = total;
    if (total > ALONE && !s->pool) FC_TRY(fc_pool_open(s->threads ? s->threads : fc_cpu_count(), &s->pool));
    for (int i = 0; i < n_parts; i++) {
        fc_part_cuda *last = w->n_parts ? &w->parts[w->n_parts - 1] : NULL;
        FC_TRY(pack_part(s, total > ALONE ? s->pool : NULL, &places[i], &parts[i], w->memory + at, *piece, most));
        if (last && joins(last, &places[i])) {
            last->N += places[i].N;
            last->n_panels += places[i].n_panels;
        } else {
            w->parts[w->n_parts] = places[i];
            w->parts[w->n_parts++].panels = w->memory + at;
        }
        at += (size_t)places[i].n_panels * places[i].panel_bytes;
    }
    return FC_OK;
}

extern "C" fc_status fc_weight_pack_cuda(fc_stream s, const fc_weight_part *parts, int n_parts, fc_weight **out) {
    fc_status st = FC_OK;
    fc_weight_cuda *w = NULL;
    fc_part_cuda *places;
    unsigned char *piece = NULL;
    void *p;
    if (n_parts < 1 || n_parts > 1024) return FC_FAIL(FC_ERR_ARG, "weight: %d parts", n_parts);
    FC_TRY(fc_cuda_flush(s)); /* copies go into the queue */
    FC_TRY(fc_alloc((size_t)n_parts, sizeof *places, "weight", &p));
    places = (fc_part_cuda *)p;
    st = fc_alloc(1, sizeof *w + (size_t)n_parts * sizeof w->parts[0], "weight", &p);
    if (st) {
        fc_free(places);
        return st;
    }
    w = (fc_weight_cuda *)p;
    w->w.K = parts[0].K;
    for (int i = 0; i < n_parts && !st; i++) {
        st = place(&parts[i], w->w.K, w->w.N, !s->invariant, &places[i]);
        if (!st) w->w.N += parts[i].N;
    }
    if (!st) st = fc_weight_place(&w->w, parts, n_parts);
    for (int i = 0; i < n_parts && !st && !s->lt; i++)
        if (places[i].by_rows) st = fc_lt_open(&s->lt);
    if (!st) st = pack_all(s, parts, n_parts, places, w, &piece);
    fc_free(piece);
    fc_free(places);
    if (st) {
        fc_weight_free_cuda(&w->w);
        return st;
    }
    *out = &w->w;
    return FC_OK;
}

extern "C" void fc_weight_free_cuda(fc_weight *w) {
    fc_weight_cuda *c = (fc_weight_cuda *)w;
    if (!c) return;
    cudaFree(c->memory);
    fc_free(c);
}
