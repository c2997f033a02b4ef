#include "engine/split.h"

#include "engine/base/mem.h"

#include <string.h>

fc_status fc_split_check(const fc_model_config *c, int ranks) {
    if (ranks > 1 && c->V > FC_WEIGHT_SHARED_MAX)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: a vocabulary of %d; GPUs share %d at most", c->name, c->V,
                       (int)FC_WEIGHT_SHARED_MAX);
    const struct {
        const char *name;
        int n;
        bool few; /* there may be fewer than ranks */
    } parts[] = {{"heads", c->H, false}, {"KV heads", c->G, true}, {"hidden units", c->F, false}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const int n = parts[i].n;
        if (n % ranks && !(parts[i].few && n < ranks && ranks % n == 0))
            return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: %d %s cannot be shared by %d GPUs", c->name, n, parts[i].name,
                           ranks);
    }
    return FC_OK;
}

static fc_split_range vocabulary(const fc_model_config *c, int ranks, int rank) {
    const int cut = FC_WEIGHT_CUT, tiles = (c->V - 1) / cut + 1;
    int first, end;
    if (tiles < ranks) return (fc_split_range){0, c->V};
    first = fc_comm_first(tiles, ranks, rank) * cut;
    end = fc_comm_first(tiles, ranks, rank + 1) * cut;
    return (fc_split_range){first, (end < c->V ? end : c->V) - first};
}

fc_split_range fc_split_of(const fc_model_config *c, fc_split s, int ranks, int rank) {
    const int heads = fc_split_heads(c, ranks) * c->E, kv = fc_split_kv_heads(c, ranks) * c->E;
    const int hidden = fc_split_hidden(c, ranks);
    switch (s) {
    case FC_SPLIT_HEADS: return (fc_split_range){rank * heads, heads};
    case FC_SPLIT_KV: return (fc_split_range){fc_comm_first(c->G, ranks, rank) * c->E, kv};
    case FC_SPLIT_HIDDEN: return (fc_split_range){rank * hidden, hidden};
    case FC_SPLIT_VOCAB: return vocabulary(c, ranks, rank);
    default: FC_ASSERT(false);
    }
}

fc_status fc_split_rows(const fc_weight_part *whole, fc_split_range r, fc_weight_part *out) {
    size_t row;
    FC_TRY(fc_dtype_row_bytes(whole->dtype, (size_t)whole->K, &row));
    *out = *whole;
    out->data = (const unsigned char *)whole->data + (size_t)r.first * row;
    out->N = r.n;
    if (!whole->scale || whole->scale_rows >= whole->N) return FC_OK;
    if (r.first % whole->scale_rows)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "tensor %s: a rank's rows begin at %d, and %d rows share a scale",
                       whole->name, r.first, whole->scale_rows);
    out->scale += (size_t)(r.first / whole->scale_rows) * (size_t)((whole->K - 1) / whole->scale_cols + 1);
    return FC_OK;
}

/* Of rows of `row` bytes the `n` from `from` on, one row behind the other. */
static void cut(const void *rows, size_t count, size_t row, size_t from, size_t n, void *out) {
    for (size_t i = 0; i < count; i++)
        memcpy((unsigned char *)out + i * n, (const unsigned char *)rows + i * row + from, n);
}

fc_status fc_split_columns(const fc_weight_part *whole, fc_split_range r, fc_weight_part *out, void **own) {
    const int block = (int)fc_dtype_block(whole->dtype);
    const size_t N = (size_t)whole->N, bytes = fc_dtype_block_bytes(whole->dtype);
    const bool scales = whole->scale && whole->scale_cols < whole->K;
    size_t row, n = (size_t)(r.n / block) * bytes, data, scale_rows = 0, all = 0, some = 0;
    if (r.first % block || r.n % block)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "tensor %s: a rank has columns %d+%d, and %s has blocks of %d", whole->name,
                       r.first, r.n, fc_dtype_name(whole->dtype), block);
    if (scales && (r.first % whole->scale_cols || (r.n % whole->scale_cols && r.first + r.n < whole->K)))
        return FC_FAIL(FC_ERR_UNSUPPORTED, "tensor %s: a rank has columns %d+%d, and %d columns share a scale",
                       whole->name, r.first, r.n, whole->scale_cols);
    FC_TRY(fc_dtype_row_bytes(whole->dtype, (size_t)whole->K, &row));
    *out = *whole;
    out->K = r.n;
    if (scales) {
        scale_rows = (N - 1) / (size_t)whole->scale_rows + 1;
        all = (size_t)((whole->K - 1) / whole->scale_cols + 1);
        some = (size_t)((r.n - 1) / whole->scale_cols + 1);
    } else if (whole->scale) {
        out->scale_cols = r.n; /* one for all columns */
    }
    data = (N * n + 15) & ~(size_t)15;
    FC_TRY(fc_alloc(data + scale_rows * some * sizeof(float), 1, whole->name, own));
    cut(whole->data, N, row, (size_t)(r.first / block) * bytes, n, *own);
    out->data = *own;
    if (scales) {
        float *to = (float *)(void *)((unsigned char *)*own + data);
        cut(whole->scale, scale_rows, all * sizeof *to, (size_t)(r.first / whole->scale_cols) * sizeof *to,
            some * sizeof *to, to);
        out->scale = to;
    }
    return FC_OK;
}
