#include "engine/adapter.h"

#include "engine/base/mem.h"
#include "engine/base/quant.h"
#include "engine/split.h"
#include "weights_tools/adapter.h"

#include <string.h>

/* The modules of each stacked matrix, in the order of its parts. */
typedef struct {
    fc_adapter_module first;
    int n;
    fc_split columns; /* what a rank has of A's columns; else it has all, and some of B's rows */
} stack;

enum { STACKS = 4 };
static const stack stacks[STACKS] = {{FC_ADAPTER_Q, 3, FC_SPLIT_NONE},
                                     {FC_ADAPTER_O, 1, FC_SPLIT_HEADS},
                                     {FC_ADAPTER_GATE, 2, FC_SPLIT_NONE},
                                     {FC_ADAPTER_DOWN, 1, FC_SPLIT_HIDDEN}};

static fc_split rows_of(fc_adapter_module m) {
    return m == FC_ADAPTER_Q                            ? FC_SPLIT_HEADS
           : m == FC_ADAPTER_K || m == FC_ADAPTER_V     ? FC_SPLIT_KV
           : m == FC_ADAPTER_GATE || m == FC_ADAPTER_UP ? FC_SPLIT_HIDDEN
                                                        : FC_SPLIT_NONE;
}

/* Works for one rank after the other. */
typedef struct {
    const fc_model_config *cfg;
    const fc_adapter_file *file;
    fc_adapter *a;
    fc_dtype dtype;
    int ranks, rank;
    unsigned char *host; /* all of the buffer, until it is uploaded */
    size_t used;
} packer;

/* A rank's of n rows or columns; all of them where there is one rank, or they are not cut. */
static fc_split_range range_of(const packer *p, fc_split s, int n) {
    if (p->ranks == 1 || s == FC_SPLIT_NONE) return (fc_split_range){0, n};
    return fc_split_of(p->cfg, s, p->ranks, p->rank);
}

static fc_lora *matrix_of(fc_adapter_layer *l, int i) {
    fc_lora *const matrices[STACKS] = {&l->qkv, &l->o, &l->gate_up, &l->down};
    return matrices[i];
}

/* bf16 where the whole file is, which loses nothing and is half to read; else f32. */
static fc_dtype type_of(const packer *p) {
    for (int l = 0; l < p->cfg->L; l++)
        for (int m = 0; m < FC_ADAPTER_MODULES; m++) {
            const fc_adapter_pair *pair = fc_adapter_file_pair(p->file, l, (fc_adapter_module)m);
            if (pair->a && (pair->a->dtype != FC_BF16 || pair->b->dtype != FC_BF16)) return FC_F32;
        }
    return FC_BF16;
}

/* The parts of one matrix, as a rank has them, without their numbers; K and the count. */
static int shapes_of(const packer *p, int layer, const stack *s, fc_lora_source parts[FC_LORA_PARTS], int *K) {
    int n = 0, col = 0;
    for (int i = 0; i < s->n; i++) {
        fc_adapter_module m = (fc_adapter_module)((int)s->first + i);
        const fc_adapter_pair *pair = fc_adapter_file_pair(p->file, layer, m);
        int N;
        fc_adapter_shape(p->cfg, m, &N, K);
        N = range_of(p, rows_of(m), N).n;
        *K = range_of(p, s->columns, *K).n;
        if (pair->a) parts[n++] = (fc_lora_source){.col = col, .N = N, .r = pair->r, .scale = pair->scale};
        col += N;
    }
    return n;
}

/* Backend buffers are read in vectors of 64 bytes. */
static size_t round64(size_t n) { return (n + 63) & ~(size_t)63; }

static size_t bytes_of(const packer *p) {
    size_t n = 0;
    for (int l = 0; l < p->cfg->L; l++)
        for (int i = 0; i < STACKS; i++) {
            fc_lora_source parts[FC_LORA_PARTS];
            int K, k = shapes_of(p, l, &stacks[i], parts, &K);
            if (k) n += round64(fc_lora_pack_bytes(p->dtype, K, parts, k));
        }
    return n;
}

/* Both tensors of a module as floats, as a rank has them, B's rows in the base's order; freed with fc_free(*a). */
static fc_status floats_of(const packer *p, const stack *s, fc_adapter_module m, const fc_adapter_pair *pair, float **a,
                           float **b) {
    const fc_split_range rows = range_of(p, rows_of(m), (int)pair->b->N);
    const fc_split_range columns = range_of(p, s->columns, (int)pair->a->K);
    size_t r = (size_t)pair->r, N = (size_t)rows.n, K = (size_t)columns.n;
    size_t bytes_a = fc_dtype_block_bytes(pair->a->dtype), row_b = r * fc_dtype_block_bytes(pair->b->dtype);
    void *mem;
    fc_status st = FC_OK;
    FC_TRY(fc_alloc(r * K + N * r, sizeof **a, "adapter", &mem));
    *a = mem;
    *b = *a + r * K;
    for (size_t j = 0; j < r && !st; j++) {
        size_t from = (j * (size_t)pair->a->K + (size_t)columns.first) * bytes_a;
        st = fc_dequant_row(pair->a->dtype, (const unsigned char *)pair->a->data + from, *a + j * K, K);
    }
    for (size_t n = 0; n < N && !st; n++) {
        size_t from = (size_t)fc_adapter_row(p->cfg, m, rows.first + (int)n);
        st = fc_dequant_row(pair->b->dtype, (const unsigned char *)pair->b->data + from * row_b, *b + n * r, r);
    }
    if (st) fc_free(mem);
    return st;
}

static fc_status pack_matrix(packer *p, int layer, int i) {
    const stack *s = &stacks[i];
    fc_lora_source parts[FC_LORA_PARTS];
    fc_lora *out = matrix_of(&p->a->layers[p->rank * p->cfg->L + layer], i);
    float *mem[FC_LORA_PARTS] = {NULL};
    int K, n = shapes_of(p, layer, s, parts, &K), at = 0;
    fc_status st = FC_OK;
    if (n == 0) return FC_OK;
    for (int k = 0; k < s->n && !st; k++) {
        fc_adapter_module m = (fc_adapter_module)((int)s->first + k);
        const fc_adapter_pair *pair = fc_adapter_file_pair(p->file, layer, m);
        float *b = NULL;
        if (!pair->a) continue;
        st = floats_of(p, s, m, pair, &mem[at], &b);
        parts[at].a = mem[at];
        parts[at++].b = b;
    }
    if (!st) {
        fc_lora_pack(p->dtype, K, parts, n, p->host + p->used, (unsigned char *)p->a->buffer + p->used, out);
        p->used += round64(fc_lora_pack_bytes(p->dtype, K, parts, n));
        if (out->R > p->a->rank) p->a->rank = out->R;
    }
    for (int k = 0; k < n; k++) fc_free(mem[k]);
    return st;
}

static fc_status pack_layers(packer *p) {
    fc_backend *be = p->a->be;
    size_t bytes;
    void *mem;
    fc_status st = FC_OK;
    p->dtype = type_of(p);
    bytes = bytes_of(p);
    if (bytes == 0) return FC_OK; /* a head alone */
    FC_TRY(be->alloc(be, bytes, "adapter", &p->a->buffer));
    p->a->bytes += bytes;
    FC_TRY(fc_alloc(bytes, 1, "adapter", &mem));
    p->host = mem;
    for (p->rank = 0; p->rank < p->ranks && !st; p->rank++) {
        p->used = 0;
        for (int l = 0; l < p->cfg->L && !st; l++)
            for (int i = 0; i < STACKS && !st; i++) st = pack_matrix(p, l, i);
        if (!st && p->ranks == 1) st = be->upload(be, p->a->buffer, p->host, bytes);
        else if (!st) st = be->upload_to(be, p->rank, p->a->buffer, p->host, bytes);
    }
    fc_free(mem);
    return st;
}

static fc_status pack_reward(const packer *p) {
    const fc_tensor *t = fc_adapter_file_reward(p->file);
    fc_weight_part parts[FC_RANKS_MAX];
    if (!t) return FC_OK;
    for (int r = 0; r < p->ranks; r++)
        parts[r] = (fc_weight_part){.name = t->name, .data = t->data, .dtype = t->dtype, .N = 1, .K = p->cfg->D};
    FC_TRY(p->a->be->weight_pack(p->a->be->stream, parts, 1, &p->a->reward));
    p->a->bytes += p->a->reward->bytes;
    return FC_OK;
}

static fc_status keep_invocation(const packer *p) {
    int n;
    const int32_t *ids = fc_adapter_file_invocation(p->file, &n);
    void *mem;
    if (!ids) return FC_OK;
    FC_TRY(fc_alloc((size_t)n, sizeof *ids, "invocation tokens", &mem));
    memcpy(mem, ids, (size_t)n * sizeof *ids);
    p->a->invocation = mem;
    p->a->n_invocation = n;
    return FC_OK;
}

fc_status fc_adapter_open(const fc_model *m, const char *path, fc_adapter **out) {
    fc_adapter_file *file = NULL;
    packer p = {.cfg = &m->cfg, .ranks = m->be->ranks};
    fc_status st;
    void *mem;
    FC_TRY(fc_adapter_file_open(path, &m->cfg, &file));
    p.file = file;
    FC_TRY_GOTO(st, fc_alloc(1, sizeof *p.a, "adapter", &mem), out);
    p.a = mem;
    p.a->be = m->be;
    p.a->fingerprint = fc_adapter_file_fingerprint(file);
    FC_TRY_GOTO(st, fc_alloc((size_t)m->cfg.L * (size_t)p.ranks, sizeof *p.a->layers, "adapter layers", &mem), out);
    p.a->layers = mem;
    FC_TRY_GOTO(st, pack_layers(&p), out);
    FC_TRY_GOTO(st, pack_reward(&p), out);
    st = keep_invocation(&p);
out:
    fc_adapter_file_close(file);
    if (st) fc_adapter_close(p.a);
    else *out = p.a;
    return st;
}

void fc_adapter_close(fc_adapter *a) {
    if (!a) return;
    fc_free(a->invocation);
    a->be->weight_free(a->reward);
    a->be->free(a->be, a->buffer);
    fc_free(a->layers);
    fc_free(a);
}

int fc_adapter_begins(const fc_adapter *a, const int32_t *ids, int n) {
    if (a->rank == 0) return n;
    if (!a->invocation) return 0;
    for (int i = n - a->n_invocation; i >= 0; i--)
        if (memcmp(ids + i, a->invocation, (size_t)a->n_invocation * sizeof *ids) == 0) return i;
    return n;
}
