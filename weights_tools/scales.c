#include "weights_tools/scales.h"

#include "engine/base/quant.h"
#include "weights_tools/packed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum { NO_SCALE = 0, OF_WEIGHT, OF_ACTIVATION, OF_KV } kind;

static kind kind_of(const char *name) {
    static const struct {
        const char *last;
        kind kind;
    } known[] = {
        {"weight_scale", OF_WEIGHT},
        {"weight_scale_inv", OF_WEIGHT},
        {"input_scale", OF_ACTIVATION},
        {"input_scale_ub", OF_ACTIVATION},
        {"activation_scale", OF_ACTIVATION},
        {"act_scale", OF_ACTIVATION},
        {"activation_scale_ub", OF_ACTIVATION},
        {"k_scale", OF_KV},
        {"v_scale", OF_KV},
        {"q_scale", OF_KV},
        {"kv_scale", OF_KV},
        {"prob_scale", OF_KV},
        {"output_scale", OF_KV},
    };
    const char *point = strrchr(name, '.');
    for (size_t i = 0; point && i < sizeof known / sizeof known[0]; i++)
        if (strcmp(point + 1, known[i].last) == 0) return known[i].kind;
    return NO_SCALE;
}

static int by_file_name(const void *a, const void *b) {
    return strcmp((*(fc_tensor *const *)a)->file_name, (*(fc_tensor *const *)b)->file_name);
}

/* The tensor of the first `size` bytes of name, or NULL. */
static fc_tensor *find(fc_tensor *const *order, size_t n, const char *name, size_t size) {
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strncmp(order[mid]->file_name, name, size);
        if (c == 0) c = order[mid]->file_name[size] != 0;
        if (c == 0) return order[mid];
        if (c < 0) lo = mid + 1;
        else hi = mid;
    }
    return NULL;
}

static int64_t parts_of(int64_t n, int64_t size) { return (n - 1) / size + 1; }

/* How many weights of t share a scale of s. */
static fc_status read_shape(const char *path, const fc_tensor *s, const fc_quant_info *info, fc_tensor *t) {
    int64_t n = s->N * s->K, R = info->block_rows, C = info->block_cols;
    bool one_a_row = n == t->N && (s->n_dims == 1 || (s->n_dims == 2 && s->K == 1));
    t->scale_rows = one_a_row ? 1 : t->N;
    t->scale_cols = t->K;
    if (n == 1 || one_a_row) return FC_OK;
    if (!R)
        return FC_FAIL(FC_ERR_FORMAT,
                       "%s: tensor %s has %lld x %lld scales for %lld rows of %lld: neither one nor one a row, and the "
                       "configuration says no size of blocks",
                       path, s->file_name, (long long)s->N, (long long)s->K, (long long)t->N, (long long)t->K);
    if (s->n_dims != 2 || s->N != parts_of(t->N, R) || s->K != parts_of(t->K, C))
        return FC_FAIL(
            FC_ERR_FORMAT,
            "%s: tensor %s has %lld x %lld scales; blocks of %lld x %lld in %lld rows of %lld need %lld x %lld", path,
            s->file_name, (long long)s->N, (long long)s->K, (long long)R, (long long)C, (long long)t->N,
            (long long)t->K, (long long)parts_of(t->N, R), (long long)parts_of(t->K, C));
    t->scale_rows = R;
    t->scale_cols = C;
    return FC_OK;
}

static fc_status join(const char *path, fc_arena *arena, const fc_tensor *s, const fc_quant_info *info, fc_tensor *t) {
    size_t n = (size_t)s->N * (size_t)s->K;
    void *p;
    float *scale;
    if (t->dtype != FC_F8)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: tensor %s is for %s, which is %s; only %s has scales", path,
                       s->file_name, t->file_name, fc_dtype_name(t->dtype), fc_dtype_name(FC_F8));
    if (!fc_dtype_is_float(s->dtype) || s->dtype == FC_F8)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: tensor %s has type %s; scales are F32, F16 or BF16", path, s->file_name,
                       fc_dtype_name(s->dtype));
    if (t->scale) return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: there are scales beside these", path, s->file_name);
    FC_TRY(read_shape(path, s, info, t));
    FC_TRY(fc_arena_alloc(arena, n, sizeof *scale, &p));
    scale = p;
    FC_TRY(fc_dequant_row(s->dtype, s->data, scale, n));
    for (size_t i = 0; i < n; i++)
        if (!isfinite(scale[i]))
            return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: scale %zu is %g", path, s->file_name, i, (double)scale[i]);
    t->scale = scale;
    return FC_OK;
}

static fc_status join_all(const char *path, fc_arena *arena, fc_tensor *const *order, size_t n, fc_quant_info *info) {
    for (size_t i = 0; i < n; i++) {
        const fc_tensor *s = order[i];
        kind k = kind_of(s->file_name);
        size_t size = k == OF_WEIGHT ? (size_t)(strstr(strrchr(s->file_name, '.'), "_scale") - s->file_name) : 0;
        fc_tensor *t = k == OF_WEIGHT ? find(order, n, s->file_name, size) : NULL;
        if (k == OF_ACTIVATION) info->activation_scales++;
        if (k == OF_KV) info->kv_scales++;
        if (k != OF_WEIGHT) continue;
        if (!t)
            return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: there is no %.*s for it", path, s->file_name, (int)size,
                           s->file_name);
        FC_TRY(join(path, arena, s, info, t));
    }
    for (size_t i = 0; i < n; i++)
        if (order[i]->dtype == FC_F8 && !order[i]->scale && info->method[0] && kind_of(order[i]->file_name) == NO_SCALE)
            return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s is %s and has no %s_scale, though its method is %s", path,
                           order[i]->file_name, fc_dtype_name(FC_F8), order[i]->file_name, info->method);
    return FC_OK;
}

fc_status fc_scales_join(const char *path, fc_arena *arena, fc_tensor *tensors, size_t *n, fc_quant_info *info) {
    fc_tensor **order; /* [*n] by file_name */
    size_t kept = 0;
    void *p;
    fc_status st;
    FC_TRY(fc_alloc(*n, sizeof *order, "tensor order", &p));
    order = p;
    for (size_t i = 0; i < *n; i++) order[i] = &tensors[i];
    qsort(order, *n, sizeof *order, by_file_name);
    st = join_all(path, arena, order, *n, info);
    fc_free(p);
    FC_TRY(st);
    for (size_t i = 0; i < *n; i++)
        if (kind_of(tensors[i].file_name) == NO_SCALE) tensors[kept++] = tensors[i];
    *n = kept;
    return FC_OK;
}

size_t fc_tensor_scales(const fc_tensor *t) {
    return t->scale ? (size_t)parts_of(t->N, t->scale_rows) * (size_t)parts_of(t->K, t->scale_cols) : 0;
}

fc_status fc_tensor_row(const fc_tensor *t, int64_t r, float *out) {
    size_t bytes = t->bytes / (size_t)t->N;
    const float *scale;
    if (t->packed) {
        fc_packed_row(t->packed, r, out);
        return FC_OK;
    }
    FC_TRY(fc_dequant_row(t->dtype, (const unsigned char *)t->data + (size_t)r * bytes, out, (size_t)t->K));
    if (!t->scale) return FC_OK;
    scale = t->scale + r / t->scale_rows * parts_of(t->K, t->scale_cols);
    for (int64_t k = 0; k < t->K; k++) out[k] *= scale[k / t->scale_cols];
    return FC_OK;
}

fc_status fc_tensor_rows(const fc_tensor *t, int64_t first, int64_t n, void *out) {
    size_t bytes;
    FC_TRY(fc_dtype_row_bytes(t->dtype, (size_t)t->K, &bytes));
    if (t->packed) fc_packed_rows(t, first, n, out);
    else memcpy(out, (const unsigned char *)t->data + (size_t)first * bytes, (size_t)n * bytes);
    return FC_OK;
}
