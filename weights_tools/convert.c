/* Any model to GGUF: the tensors that its configuration implies, row by row through floats, and what it says of
 * itself. */
#include "weights_tools/tools.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/quant.h"
#include "weights_tools/config_read.h"
#include "weights_tools/config_write.h"
#include "weights_tools/convert_tok.h"
#include "weights_tools/gguf.h"
#include "weights_tools/layout.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    fc_weights *in;
    const fc_model_config *source; /* of in */
    fc_model_config file;          /* as the new file states it */
    fc_dtype type;
    fc_gguf_write *w;
    fc_str *notes;
    float *row;                  /* [longest] */
    void *packed;                /* a row of any type */
    float *scales;               /* [most rows] of an F8 matrix */
    float *again;                /* [longest] a row as the new file has it */
    double off, all;             /* squares of this matrix: differences, weights */
    double total_off, total_all; /* of those before it                           */
    fc_convert_loss loss;
} job;

/* ---- metadata of a GGUF file, copied byte for byte --------------------------------------------------------- */

static uint64_t u64_at(const unsigned char *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t u32_at(const unsigned char *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Bytes of the entry at p: key, type, value. The file was parsed, so lengths and types are sound. */
static size_t entry_size(const unsigned char *p) {
    enum { STRING = 8, ARRAY = 9 };
    static const unsigned char bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    size_t at = 8 + (size_t)u64_at(p);
    uint32_t type = u32_at(p + at);
    uint64_t n = 1;
    at += 4;
    if (type == ARRAY) {
        type = u32_at(p + at);
        n = u64_at(p + at + 4);
        at += 12;
    }
    if (type != STRING) return at + (size_t)n * bytes[type];
    for (; n; n--) at += 8 + (size_t)u64_at(p + at);
    return at;
}

/* What belongs to the old file and not to the model. */
static bool of_file(const char *key) {
    static const char *const keys[] = {"general.file_type", "general.quantization_version", "general.alignment",
                                       FC_KEY_F8};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(key, keys[i]) == 0) return true;
    return strncmp(key, "split.", 6) == 0;
}

static fc_status copy_metadata(const job *j, const fc_gguf *g) {
    enum { FIRST = 24 }; /* magic, version, two counts */
    const unsigned char *p = g->data + FIRST;
    for (size_t i = 0; i < g->n_meta; i++) {
        size_t n = entry_size(p);
        if (!of_file(g->meta[i].key)) FC_TRY(fc_gguf_write_entry(j->w, p, n));
        p += n;
    }
    return fc_config_write_type(j->w, j->type);
}

static fc_status write_metadata(const job *j) {
    fc_map map;
    fc_gguf g = {0};
    fc_status st;
    if (!fc_weights_is_gguf(j->in)) {
        FC_TRY(fc_config_write(j->w, &j->file, j->type));
        return fc_convert_tok(j->w, j->in, j->notes);
    }
    FC_TRY(fc_map_open(fc_weights_path(j->in), &map)); /* parsed again: the view keeps values, not entries */
    st = fc_gguf_parse(fc_weights_path(j->in), map.data, map.size, &g);
    if (!st) st = copy_metadata(j, &g);
    fc_gguf_fini(&g);
    fc_map_close(&map);
    return st;
}

/* ---- tensors ----------------------------------------------------------------------------------------------- */

/* Rows of q and k (elements of their biases) that change places: see fc_layout_pairs_row. */
static bool reordered(const job *j, const char *name) {
    return j->file.rope_interleaved && !j->source->rope_interleaved &&
           (fc_ends_with(name, ".attn_q.weight") || fc_ends_with(name, ".attn_k.weight") ||
            fc_ends_with(name, ".attn_q.bias") || fc_ends_with(name, ".attn_k.bias"));
}

static fc_status write_vector(const job *j, const fc_layout_entry *e, const fc_tensor *t) {
    bool plus_one = j->source->norm_plus_one && fc_ends_with(e->name, "norm.weight"), reorder = reordered(j, e->name);
    if (!t) { /* Llama 3's scaling: config.json gives numbers, GGUF has a tensor */
        fc_config_rope_divisors(j->source, j->row);
        return fc_gguf_write_data(j->w, j->row, (size_t)e->K * sizeof(float));
    }
    FC_TRY(fc_dequant_row(t->dtype, t->data, j->row, (size_t)e->K));
    for (int64_t i = 0; i < e->K; i++) {
        float v = j->row[reorder ? fc_layout_pairs_row(j->source, i) : i];
        if (plus_one) v += 1.0f;
        if (!isfinite(v))
            return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: element %lld is %g", fc_weights_path(j->in), t->file_name,
                           (long long)i, (double)v);
        FC_TRY(fc_gguf_write_data(j->w, &v, sizeof v));
    }
    return FC_OK;
}

/* n values to E4M3 with the largest as 448; the scale, 0 for zeros. */
static fc_status f8_row(const float *x, size_t n, uint8_t *codes, float *scale) {
    float most = 0.0f;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) return FC_FAIL(FC_ERR_FORMAT, "element %zu is %g", i, (double)x[i]);
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    }
    *scale = most / 448.0f;
    for (size_t i = 0; i < n; i++) codes[i] = *scale > 0.0f ? fc_f32_to_f8(x[i] / *scale) : 0;
    return FC_OK;
}

/* What row r of t, in j->row, becomes: j->again. */
static void add_loss(job *j, size_t K) {
    for (size_t k = 0; k < K; k++) {
        double v = (double)j->row[k], d = (double)j->again[k] - v;
        j->off += d * d;
        j->all += v * v;
    }
}

static void end_loss(job *j, const char *name) {
    double error = j->all > 0.0 ? sqrt(j->off / j->all) : 0.0;
    if (error > j->loss.worst) {
        j->loss.worst = error;
        snprintf(j->loss.name, sizeof j->loss.name, "%s", name);
    }
    j->total_off += j->off;
    j->total_all += j->all;
    j->off = j->all = 0.0;
}

/* The codes, and behind them a scale for each row. Those that are E4M3 with one scale a row, or one for all, stay. */
static fc_status write_f8(job *j, const fc_layout_entry *e, const fc_tensor *t) {
    bool reorder = reordered(j, e->name), stays = t->dtype == FC_F8 && (!t->scale || t->scale_cols >= t->K);
    for (int64_t r = 0; r < e->N; r++) {
        int64_t s = reorder ? fc_layout_pairs_row(j->source, r) : r;
        const void *codes = j->packed;
        if (stays) {
            codes = (const unsigned char *)t->data + (size_t)s * (size_t)t->K;
            j->scales[r] = t->scale ? t->scale[s / t->scale_rows] : 1.0f;
        } else {
            FC_TRY(fc_tensor_row(t, s, j->row));
            if (f8_row(j->row, (size_t)e->K, j->packed, &j->scales[r]))
                return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s, row %lld: %s", fc_weights_path(j->in), t->file_name,
                               (long long)s, fc_status_text());
            FC_TRY(fc_dequant_row(FC_F8, codes, j->again, (size_t)e->K));
            for (int64_t k = 0; k < e->K; k++) j->again[k] *= j->scales[r];
            add_loss(j, (size_t)e->K);
        }
        FC_TRY(fc_gguf_write_data(j->w, codes, (size_t)e->K));
    }
    return fc_gguf_write_data(j->w, j->scales, (size_t)e->N * sizeof *j->scales);
}

/* Codes of 4 bits as Q4_1 has them, from row s of t; false: a scale is no f16, or none of it applies. */
static fc_status keep_codes(const job *j, const fc_tensor *t, int64_t s, bool *kept) {
    size_t from = fc_dtype_block_bytes(t->dtype), to = fc_dtype_block_bytes(FC_Q4_1);
    const unsigned char *src = (const void *)j->row; /* room for floats, which no row of codes fills */
    unsigned char *dst = j->packed;
    *kept = false;
    if (t->dtype != FC_Q4_W && t->dtype != FC_Q4_0) return FC_OK;
    FC_TRY(fc_tensor_rows(t, s, 1, j->row));
    for (int64_t k = 0; k < t->K; k += 32, src += from, dst += to) {
        float scale, min;
        uint8_t codes[32];
        uint16_t half[2];
        FC_TRY(fc_quant_codes(t->dtype, src, 32, codes, &scale, &min));
        half[0] = fc_f32_to_f16(scale);
        half[1] = fc_f32_to_f16(min);
        if (fc_f16_to_f32(half[0]) != scale || !isfinite(fc_f16_to_f32(half[1]))) return FC_OK;
        memcpy(dst, half, sizeof half);
        for (int i = 0; i < 16; i++) dst[4 + i] = (unsigned char)(codes[i] | codes[i + 16] << 4);
    }
    *kept = true;
    return FC_OK;
}

static fc_status write_matrix(job *j, const fc_layout_entry *e, const fc_tensor *t) {
    fc_dtype type = fc_config_tensor_type(j->type, e->name, false, e->K);
    size_t to = 0, K = (size_t)e->K;
    bool reorder = reordered(j, e->name), kept = false;
    if (type == FC_F8) return write_f8(j, e, t);
    FC_TRY(fc_dtype_row_bytes(type, K, &to));
    for (int64_t r = 0; r < e->N; r++) {
        int64_t s = reorder ? fc_layout_pairs_row(j->source, r) : r;
        if (t->dtype == type) {
            const unsigned char *row = (const unsigned char *)t->data + (size_t)s * to;
            if (t->packed) FC_TRY(fc_tensor_rows(t, s, 1, j->packed));
            FC_TRY(fc_gguf_write_data(j->w, t->packed ? j->packed : row, to));
            continue;
        }
        if (type == FC_Q4_1) FC_TRY(keep_codes(j, t, s, &kept));
        FC_TRY(fc_tensor_row(t, s, j->row));
        if (!kept && fc_quant_row(type, j->row, j->packed, K))
            return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s, row %lld: %s", fc_weights_path(j->in), t->file_name,
                           (long long)s, fc_status_text());
        FC_TRY(fc_dequant_row(type, j->packed, j->again, K));
        add_loss(j, K);
        FC_TRY(fc_gguf_write_data(j->w, j->packed, to));
    }
    return FC_OK;
}

static fc_status declare_tensors(const job *j, size_t n, size_t *longest, size_t *most_rows) {
    *longest = *most_rows = 1;
    for (size_t i = 0; i < n; i++) {
        fc_layout_entry e;
        fc_dtype type;
        fc_layout_at(&j->file, i, &e);
        type = fc_config_tensor_type(j->type, e.name, e.vector, e.K);
        if (type == FC_F16 && j->type != FC_F16)
            FC_TRY(fc_str_printf(j->notes,
                                 "tensor %s stays F16: rows of %lld elements are no multiple of %s's block of %zu\n",
                                 e.name, (long long)e.K, fc_dtype_name(j->type), fc_dtype_block(j->type)));
        FC_TRY(fc_gguf_write_tensor(j->w, e.name, type, e.vector ? 1 : 2, e.N, e.K));
        if (type == FC_F8) {
            char name[sizeof e.name + sizeof "_scale"];
            snprintf(name, sizeof name, "%s_scale", e.name);
            FC_TRY(fc_gguf_write_tensor(j->w, name, FC_F32, 1, 1, e.N));
        }
        if ((size_t)e.K > *longest) *longest = (size_t)e.K;
        if ((size_t)e.N > *most_rows) *most_rows = (size_t)e.N;
    }
    return FC_OK;
}

/* Tensors that nothing computes with are not carried over, and that is said. */
static fc_status note_left_out(const job *j, size_t n_layout) {
    enum { NAMED = 16 };
    size_t n = fc_weights_count(j->in), left = 0;
    bool *used; /* [n] */
    void *p;
    fc_status st = FC_OK;
    FC_TRY(fc_alloc(n, sizeof *used, "table of used tensors", &p));
    used = p;
    for (size_t i = 0; i < n_layout; i++) {
        fc_layout_entry e;
        const fc_tensor *t;
        fc_layout_at(&j->file, i, &e);
        t = fc_weights_find(j->in, e.name);
        if (t) used[t - fc_weights_at(j->in, 0)] = true; /* the view is one array */
    }
    for (size_t i = 0; i < n && !st; i++)
        if (!used[i] && ++left <= NAMED)
            st = fc_str_printf(j->notes, "tensor %s is left out: architecture %s as configured does not use it\n",
                               fc_weights_at(j->in, i)->file_name, j->file.arch);
    if (left > NAMED && !st) st = fc_str_printf(j->notes, "and %zu more tensors are left out\n", left - NAMED);
    fc_free(p);
    return st;
}

static fc_status write_tensors(job *j, fc_progress progress, void *arg) {
    size_t n = fc_layout_count(&j->file), longest, most_rows;
    void *p;
    FC_TRY(declare_tensors(j, n, &longest, &most_rows));
    FC_TRY(note_left_out(j, n));
    FC_TRY(fc_alloc(longest, sizeof *j->row, "row", &p));
    j->row = p;
    FC_TRY(fc_alloc(longest, sizeof *j->row, "row", &p));
    j->again = p;
    FC_TRY(fc_alloc(longest, sizeof *j->row, "row", &j->packed)); /* no type is wider than a float */
    FC_TRY(fc_alloc(most_rows, sizeof *j->scales, "scales", &p));
    j->scales = p;
    FC_TRY(fc_gguf_write_start(j->w, progress, arg));
    for (size_t i = 0; i < n; i++) {
        fc_layout_entry e;
        const fc_tensor *t = NULL;
        fc_layout_at(&j->file, i, &e);
        if (strcmp(e.name, "rope_freqs.weight") != 0 || j->source->rope_freqs_tensor)
            FC_TRY(fc_weights_need(j->in, e.name, e.N, e.K, &t));
        FC_TRY(e.vector ? write_vector(j, &e, t) : write_matrix(j, &e, t));
        end_loss(j, e.name);
    }
    if (j->total_all > 0.0) j->loss.error = sqrt(j->total_off / j->total_all);
    return fc_gguf_write_finish(j->w);
}

fc_status fc_tools_convert(const char *in, const char *out, fc_dtype type, fc_progress progress, void *arg,
                           fc_str *notes, fc_convert_loss *loss) {
    fc_str own = {0}; /* for a caller who asks for none */
    job j = {.type = type, .notes = notes ? notes : &own};
    fc_status st;
    if (type != FC_F32 && type != FC_F16 && type != FC_BF16 && type != FC_F8 && type != FC_Q8_0 && type != FC_Q4_0 &&
        type != FC_Q4_1)
        return FC_FAIL(FC_ERR_ARG, "type %s cannot be written; F32, F16, BF16, F8_E4M3, Q8_0, Q4_0 and Q4_1 can",
                       fc_dtype_name(type));
    FC_TRY_GOTO(st, fc_weights_open(in, &j.in), done);
    j.source = fc_weights_config(j.in);
    fc_config_to_gguf(j.source, &j.file);
    FC_TRY_GOTO(st, fc_gguf_write_open(out, fc_weights_path(j.in), &j.w), done);
    FC_TRY_GOTO(st, write_metadata(&j), done);
    st = write_tensors(&j, progress, arg);
    if (!st && loss) *loss = j.loss;
done:
    fc_free(j.again);
    fc_free(j.scales);
    fc_free(j.packed);
    fc_free(j.row);
    fc_gguf_write_close(j.w);
    fc_weights_close(j.in);
    fc_str_fini(&own);
    return st;
}
