/* bench_linear - the matrices of a block of Llama 3.1 8B, from one row of decoding to a chunk of a prompt. */
#include "engine/cost.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/linear_load.h"
#include "tests/gpu/bench.h"

enum { COPIES = 24, WORKSPACE_ROWS = 1024 };

typedef struct {
    const char *name;
    int N, K;
} matrix_shape;

static const matrix_shape shapes[] = {
    {"qkv", 6144, 4096}, {"o", 4096, 4096}, {"gate_up", 28672, 4096}, {"down", 4096, 14336}};
static const fc_dtype types[] = {FC_BF16, FC_Q8_0, FC_Q4_0};
static const int rows[] = {1, 8, 64, 256, 2048};

typedef struct {
    fc_linear_args a;
    fc_weight *w[COPIES];
    int copies;
} product;

static fc_status call(void *self, fc_stream s, int turn) {
    product *p = self;
    p->a.w = p->w[turn % p->copies];
    return fc_linear_cuda(s, &p->a);
}

/* [N,K] in a file's form, of random codes and one scale. */
static void *file_matrix(fc_dtype t, int N, int K, size_t *bytes) {
    static const uint16_t scale = 0x1c00; /* 2^-8 as f16 */
    unsigned char *p;
    size_t row;
    bench_must(fc_dtype_row_bytes(t, (size_t)K, &row), "row");
    *bytes = row * (size_t)N;
    p = bench_bytes(*bytes, 11);
    if (t == FC_BF16)
        for (size_t i = 0; i < *bytes / 2; i++) { /* of either sign, 2^-8 .. 2^-1 */
            uint16_t *v = (uint16_t *)(void *)p + i;
            *v = (uint16_t)((*v & 0x807f) | (119 + (*v >> 7 & 7)) << 7);
        }
    else
        for (size_t i = 0; i < *bytes; i += fc_dtype_block_bytes(t)) memcpy(p + i, &scale, sizeof scale);
    return p;
}

static void time_rows(bench *b, const matrix_shape *m, fc_dtype t, product *p, int T, bool precise, bool invariant) {
    char what[160];
    fc_cost_machine machine;
    size_t out = (size_t)T * (size_t)m->N;
    float *x = bench_device_normals(b->s, (size_t)T * (size_t)m->K, 12), *y = device_copy(b->s, NULL, out * 4);
    p->a = (fc_linear_args){.y = y, .x = x, .w = p->w[0], .T = T, .precise = precise};
    snprintf(
        what, sizeof what,
        "\"matrix\": \"%s\", \"N\": %d, \"K\": %d, \"type\": \"%s\", \"T\": %d, \"precise\": %s, \"invariant\": %s",
        m->name, m->N, m->K, fc_dtype_name(t), T, precise ? "true" : "false", invariant ? "true" : "false");
    if (fc_cost_machine_of_device(b->device, &machine)) {
        const fc_linear_shape shape = {
            .type = t, .T = T, .N = m->N, .K = m->K, .precise = precise, .variant = !invariant};
        const fc_load load = fc_linear_load_cuda(&shape, &machine.device);
        b->predicted = fc_cost_call(&machine, false, &load);
    }
    bench_time(b, what, fc_linear_cost(&p->a), call, p);
    bench_written(b->s, y, out, what);
    device_free(x), device_free(y);
}

/* Many rows may go to cuBLASLt unless the stream is batch-invariant: both are timed. */
static void time_matrix(bench *b, const matrix_shape *m, fc_dtype t) {
    product p = {0}, of_variant = {0};
    size_t bytes;
    void *file = file_matrix(t, m->N, m->K, &bytes);
    fc_weight_part part = {.name = m->name, .data = file, .dtype = t, .N = m->N, .K = m->K};
    bench variant = *b;
    p.copies = bench_copies(bytes, COPIES);
    for (int i = 0; i < p.copies; i++) bench_must(fc_weight_pack_cuda(b->s, &part, 1, &p.w[i]), "fc_weight_pack_cuda");
    if (t == FC_BF16) { /* the one type whose weights lie otherwise for cuBLASLt */
        of_variant.copies = p.copies;
        variant.s = device_stream_variant(fc_linear_workspace_cuda(WORKSPACE_ROWS, m->K, m->N) + (32 << 20));
        for (int i = 0; i < p.copies; i++)
            bench_must(fc_weight_pack_cuda(variant.s, &part, 1, &of_variant.w[i]), "fc_weight_pack_cuda");
    }
    free(file);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        time_rows(b, m, t, &p, rows[i], false, true);
        if (rows[i] > 64 && t == FC_BF16) time_rows(&variant, m, t, &of_variant, rows[i], false, false);
    }
    time_rows(b, m, t, &p, 8, true, true);
    for (int i = 0; i < p.copies; i++) fc_weight_free_cuda(p.w[i]);
    if (t != FC_BF16) return;
    for (int i = 0; i < p.copies; i++) fc_weight_free_cuda(of_variant.w[i]);
    device_close(variant.s);
}

void bench_linear(bench *b);
void bench_linear(bench *b) {
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t m = 0; m < sizeof shapes / sizeof *shapes; m++) time_matrix(b, &shapes[m], types[t]);
}
