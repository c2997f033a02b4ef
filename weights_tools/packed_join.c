/* packed_join - from the tensors of a file to packed matrices: every part is there, of its type and shape. */
#include "weights_tools/names.h"
#include "weights_tools/packed.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NAME = 288 };

typedef struct {
    const char *path;
    bool gemma;
    fc_arena *arena;
    const fc_quant_info *info;
    fc_tensor **order; /* [n] by file_name */
    size_t n;
    const fc_tensor *first; /* the tensors, as they came */
    bool *part;             /* [n] of another one, by place among these */
} join;

static int by_file_name(const void *a, const void *b) {
    return strcmp((*(fc_tensor *const *)a)->file_name, (*(fc_tensor *const *)b)->file_name);
}

static int by_key(const void *key, const void *t) { return strcmp(key, (*(fc_tensor *const *)t)->file_name); }

/* Length of X where name is X and then `last`; 0: it is not. */
static size_t stem_of(const char *name, const char *last) {
    size_t n = strlen(name), k = strlen(last);
    return n > k && strcmp(name + n - k, last) == 0 ? n - k : 0;
}

/* The part of t's matrix that is named so, taken out of the list; NULL: there is none. */
static const fc_tensor *take(const join *j, const fc_tensor *t, size_t stem, const char *last) {
    char name[MOST_NAME];
    fc_tensor **found;
    snprintf(name, sizeof name, "%.*s%s", (int)stem, t->file_name, last);
    found = bsearch(name, j->order, j->n, sizeof *j->order, by_key);
    if (!found) return NULL;
    j->part[*found - j->first] = true;
    return *found;
}

static fc_status need(const join *j, const fc_tensor *t, size_t stem, const char *last, const fc_tensor **out) {
    *out = take(j, t, stem, last);
    if (*out) return FC_OK;
    return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: there is no %.*s%s for it", j->path, t->file_name, (int)stem,
                   t->file_name, last);
}

/* A part of one type, of N rows of K; N == 1: K elements in any dimensions. */
static fc_status check(const join *j, const fc_tensor *t, fc_dtype type, int64_t N, int64_t K) {
    if (t->dtype != type)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: tensor %s has type %s; it needs %s", j->path, t->file_name,
                       fc_dtype_name(t->dtype), fc_dtype_name(type));
    if (N == 1 ? t->N * t->K != K : t->n_dims != 2 || t->N != N || t->K != K)
        return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s has %lld x %lld elements; it needs %lld x %lld", j->path,
                       t->file_name, (long long)t->N, (long long)t->K, (long long)N, (long long)K);
    return FC_OK;
}

static void add_piece(fc_packed *p, const fc_tensor *t) {
    p->pieces[p->n_pieces++] = (fc_packed_piece){t->data, t->bytes};
}

static fc_status read_scales(const join *j, const fc_tensor *t, int64_t N, int64_t K, fc_packed *p) {
    bool half = t->dtype == FC_F16 || t->dtype == FC_BF16;
    if (!half && t->dtype != FC_F32)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: tensor %s has type %s; scales are F32, F16 or BF16", j->path,
                       t->file_name, fc_dtype_name(t->dtype));
    FC_TRY(check(j, t, t->dtype, N, K));
    for (int64_t i = 0; i < N * K; i++) {
        uint32_t bits = 0, infinity = t->dtype == FC_F32 ? 0x7f800000u : t->dtype == FC_F16 ? 0x7c00u : 0x7f80u;
        memcpy(&bits, (const char *)t->data + (half ? 2 : 4) * i, half ? 2 : 4); /* little-endian */
        if ((bits & infinity) == infinity)
            return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: scale %lld is not finite", j->path, t->file_name,
                           (long long)i);
    }
    p->scales = t->data;
    p->scale_type = t->dtype;
    add_piece(p, t);
    return FC_OK;
}

static fc_status read_groups(const join *j, const fc_tensor *t, fc_packed *p) {
    if (!t) return FC_OK;
    FC_TRY(check(j, t, FC_I32, 1, p->K));
    p->g_idx = t->data;
    for (int64_t k = 0; k < p->K; k++)
        if (p->g_idx[k] < 0 || p->g_idx[k] >= p->groups)
            return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: column %lld is of group %d of %lld", j->path, t->file_name,
                           (long long)k, p->g_idx[k], (long long)p->groups);
    add_piece(p, t);
    return FC_OK;
}

static fc_status read_zeros(const join *j, const fc_tensor *t, int64_t N, int64_t K, fc_packed *p) {
    FC_TRY(check(j, t, FC_I32, N, K));
    p->zeros = t->data;
    add_piece(p, t);
    return FC_OK;
}

static int64_t parts_of(int64_t n, int64_t size) { return (n - 1) / size + 1; }

/* GPTQ and AWQ: words of whole eights or fours, and scales along N. */
static fc_status read_qweight(const join *j, const fc_tensor *t, size_t stem, fc_packed *p) {
    const fc_tensor *zeros, *scales, *groups;
    int64_t per;
    p->bits = j->info->bits;
    per = 32 / p->bits;
    if (t->n_dims != 2 || t->N > INT_MAX / per || t->K > INT_MAX / per)
        return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s has %lld x %lld words in %d dimensions", j->path, t->file_name,
                       (long long)t->N, (long long)t->K, t->n_dims);
    p->K = p->kind == FC_PACKED_AWQ ? t->N : t->N * per;
    p->N = p->kind == FC_PACKED_AWQ ? t->K * per : t->K;
    if (p->N % per)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: tensor %s has %lld columns, no multiple of the %lld codes of a word",
                       j->path, t->file_name, (long long)p->N, (long long)per);
    p->group = j->info->group && j->info->group < p->K ? j->info->group : p->K;
    p->groups = parts_of(p->K, p->group);
    p->plus = j->info->zeros_less_one;
    FC_TRY(need(j, t, stem, ".scales", &scales));
    FC_TRY(need(j, t, stem, ".qzeros", &zeros));
    groups = take(j, t, stem, ".g_idx");
    if (j->info->act_order && p->groups > 1 && !groups) FC_TRY(need(j, t, stem, ".g_idx", &groups));
    FC_TRY(read_scales(j, scales, p->groups, p->N, p));
    FC_TRY(read_zeros(j, zeros, p->groups, p->N / per, p));
    return read_groups(j, groups, p);
}

static fc_status read_shape(const join *j, const fc_tensor *t, fc_packed *p) {
    int64_t shape[2];
    int32_t narrow[2];
    FC_TRY(check(j, t, t->dtype == FC_I32 ? FC_I32 : FC_I64, 1, 2));
    memcpy(t->dtype == FC_I32 ? (void *)narrow : (void *)shape, t->data, t->bytes);
    for (int i = 0; t->dtype == FC_I32 && i < 2; i++) shape[i] = narrow[i];
    if (shape[0] < 1 || shape[1] < 1 || shape[0] > INT_MAX || shape[1] > INT_MAX)
        return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: a shape of %lld x %lld", j->path, t->file_name,
                       (long long)shape[0], (long long)shape[1]);
    p->N = shape[0];
    p->K = shape[1];
    return FC_OK;
}

/* [N,G] of compressed-tensors, or one a row. */
static fc_status read_row_scales(const join *j, const fc_tensor *t, fc_packed *p) {
    bool one_a_row = t->n_dims == 1 && t->K == p->N;
    p->groups = one_a_row ? 1 : t->K;
    p->group = p->groups == 1 ? p->K : j->info->group;
    if (p->groups > 1 && (!p->group || parts_of(p->K, p->group) != p->groups))
        return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s has %lld scales a row; groups of %lld in %lld columns need %lld",
                       j->path, t->file_name, (long long)p->groups, (long long)p->group, (long long)p->K,
                       (long long)(p->group ? parts_of(p->K, p->group) : 1));
    return read_scales(j, t, one_a_row ? 1 : p->N, one_a_row ? p->N : p->groups, p);
}

static fc_status read_compressed(const join *j, const fc_tensor *t, size_t stem, fc_packed *p) {
    const fc_tensor *shape, *scales, *zeros;
    FC_TRY(need(j, t, stem, ".weight_shape", &shape));
    FC_TRY(need(j, t, stem, ".weight_scale", &scales));
    FC_TRY(read_shape(j, shape, p));
    p->bits = t->K == parts_of(p->K, 8) ? 4 : 8;
    FC_TRY(check(j, t, FC_I32, p->N, parts_of(p->K, 32 / p->bits)));
    FC_TRY(read_row_scales(j, scales, p));
    zeros = take(j, t, stem, ".weight_zero_point");
    if (zeros) FC_TRY(read_zeros(j, zeros, parts_of(p->N, 32 / p->bits), p->groups, p));
    return read_groups(j, take(j, t, stem, ".weight_g_idx"), p);
}

/* compressed-tensors' bytes. */
static fc_status read_bytes(const join *j, const fc_tensor *t, size_t stem, fc_packed *p) {
    const fc_tensor *scales;
    p->bits = 8;
    p->N = t->N;
    p->K = t->K;
    p->bytes = t->data;
    p->words = NULL;
    if (t->n_dims != 2 || t->N > INT_MAX || t->K > INT_MAX)
        return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s has %lld x %lld bytes in %d dimensions", j->path, t->file_name,
                       (long long)t->N, (long long)t->K, t->n_dims);
    FC_TRY(need(j, t, stem, ".weight_scale", &scales));
    if (take(j, t, stem, ".weight_zero_point"))
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: tensor %s has zeros; of bytes, symmetric ones are supported", j->path,
                       t->file_name);
    return read_row_scales(j, scales, p);
}

static fc_status rename_matrix(const join *j, fc_tensor *t, size_t stem) {
    char hf[MOST_NAME], name[MOST_NAME];
    void *p;
    snprintf(hf, sizeof hf, "%.*s.weight", (int)stem, t->file_name);
    if (!fc_names_from_hf(hf, j->gemma, name, sizeof name)) return FC_OK; /* its parts are of no use either */
    FC_TRY(fc_arena_alloc(j->arena, strlen(name) + 1, 1, &p));
    memcpy(p, name, strlen(name) + 1);
    t->name = p;
    return FC_OK;
}

static fc_status join_matrix(const join *j, fc_tensor *t, size_t stem, fc_packed_kind kind, bool bytes) {
    void *q;
    fc_packed *p;
    if (j->info->packed != kind)
        return FC_FAIL(FC_ERR_FORMAT,
                       "%s: tensor %s is quantised, but neither config.json nor a file beside it says how", j->path,
                       t->file_name);
    if (t->dtype != (bytes ? FC_I8 : FC_I32))
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: tensor %s has type %s; it needs %s", j->path, t->file_name,
                       fc_dtype_name(t->dtype), fc_dtype_name(bytes ? FC_I8 : FC_I32));
    FC_TRY(fc_arena_alloc(j->arena, 1, sizeof *p, &q));
    p = q;
    memset(p, 0, sizeof *p);
    p->kind = kind;
    p->words = t->data;
    add_piece(p, t);
    if (bytes) FC_TRY(read_bytes(j, t, stem, p));
    else FC_TRY(kind == FC_PACKED_COMPRESSED ? read_compressed(j, t, stem, p) : read_qweight(j, t, stem, p));
    t->dtype = fc_packed_type(p);
    FC_TRY(rename_matrix(j, t, stem));
    t->n_dims = 2;
    t->N = p->N;
    t->K = p->K;
    t->bytes = 0;
    for (int i = 0; i < p->n_pieces; i++) t->bytes += p->pieces[i].bytes;
    t->packed = p;
    return FC_OK;
}

static fc_status join_all(const join *j) {
    for (size_t i = 0; i < j->n; i++) {
        fc_tensor *t = j->order[i];
        size_t words = stem_of(t->file_name, ".qweight"), compressed = stem_of(t->file_name, ".weight_packed");
        fc_packed_kind kind = j->info->packed == FC_PACKED_AWQ ? FC_PACKED_AWQ : FC_PACKED_GPTQ;
        size_t bytes = t->dtype == FC_I8 ? stem_of(t->file_name, ".weight") : 0;
        if (words) FC_TRY(join_matrix(j, t, words, kind, false));
        if (compressed) FC_TRY(join_matrix(j, t, compressed, FC_PACKED_COMPRESSED, false));
        if (bytes) FC_TRY(join_matrix(j, t, bytes, FC_PACKED_COMPRESSED, true));
    }
    return FC_OK;
}

fc_status fc_packed_join(const char *path, bool gemma, fc_arena *arena, fc_tensor *tensors, size_t *n,
                         const fc_quant_info *info) {
    join j = {.path = path, .gemma = gemma, .arena = arena, .info = info, .n = *n, .first = tensors};
    void *order = NULL, *part = NULL;
    size_t kept = 0;
    fc_status st;
    FC_TRY_GOTO(st, fc_alloc(*n, sizeof *j.order, "tensor order", &order), out);
    FC_TRY_GOTO(st, fc_alloc(*n, sizeof *j.part, "parts of tensors", &part), out);
    j.order = order;
    j.part = part;
    for (size_t i = 0; i < *n; i++) j.order[i] = &tensors[i];
    qsort(j.order, *n, sizeof *j.order, by_file_name);
    FC_TRY_GOTO(st, join_all(&j), out);
    for (size_t i = 0; i < *n; i++)
        if (!j.part[i]) tensors[kept++] = tensors[i];
    *n = kept;
out:
    fc_free(part);
    fc_free(order);
    return st;
}
