/* bench_draw - one id for each of 128 rows of 131072 logits, greedy, by temperature alone and by top-p; and many ids of
 * one row, as coalesced candidates draw. */
#include "kernels/draw/draw.h"
#include "tests/gpu/bench.h"

enum { V = 131072, ROWS = 128, COPIES = 4 };

typedef struct {
    fc_draw_args a;
    const float *logits[COPIES];
    int copies;
} draws;

static fc_status call(void *self, fc_stream s, int turn) {
    draws *d = self;
    d->a.logits = d->logits[turn % d->copies];
    return fc_draw_cuda(s, &d->a);
}

static void time_draws(bench *b, draws *d, int rows, int members, float temperature, float top_p, int top_k) {
    fc_draw_row *r = calloc((size_t)rows, sizeof *r);
    fc_draw_member *m = calloc((size_t)rows * (size_t)members, sizeof *m);
    fc_draw_args counted;
    char what[160];
    int M = rows * members;
    void *dr, *dm;
    if (!r || !m) bench_must(FC_FAIL(FC_ERR_MEM, "%d rows", rows), "bench_draw");
    for (int i = 0; i < rows; i++)
        r[i] = (fc_draw_row){.row = i,
                             .member = i * members,
                             .n_members = members,
                             .temperature = temperature,
                             .top_p = top_p,
                             .top_k = top_k,
                             .typical_p = 1.0f,
                             .repetition = 1.0f};
    for (int i = 0; i < M; i++) m[i] = (fc_draw_member){.seed = 7, .candidate = (uint32_t)i, .position = 3};
    d->a.rows = dr = device_copy(b->s, r, (size_t)rows * sizeof *r);
    d->a.members = dm = device_copy(b->s, m, (size_t)M * sizeof *m);
    d->a.token = device_copy(b->s, NULL, (size_t)M * 4);
    d->a.logprob = device_copy(b->s, NULL, (size_t)M * 4);
    d->a.R = d->a.n_rows = rows;
    d->a.V = V;
    d->a.M = M;
    snprintf(what, sizeof what,
             "\"rows\": %d, \"V\": %d, \"members\": %d, \"temperature\": %g, \"top_p\": %g, \"top_k\": %d", rows, V,
             members, (double)temperature, (double)top_p, top_k);
    counted = d->a;
    counted.rows = r; /* the host's */
    bench_time(b, what, fc_draw_cost(&counted), call, d);
    bench_written(b->s, d->a.logprob, (size_t)M, what);
    device_free(dr), device_free(dm), device_free(d->a.token), device_free(d->a.logprob);
    free(r), free(m);
}

void bench_draw(bench *b);
void bench_draw(bench *b) {
    draws d = {.copies = COPIES};
    float *host = bench_normals((size_t)ROWS * V, 31);
    for (size_t i = 0; i < (size_t)ROWS * V; i++) host[i] *= 3.0f; /* a few thousand ids hold most of the mass */
    for (int i = 0; i < COPIES; i++) d.logits[i] = device_copy(b->s, host, (size_t)ROWS * V * 4);
    free(host);
    time_draws(b, &d, ROWS, 1, 0.0f, 1.0f, 0);
    time_draws(b, &d, ROWS, 1, 1.0f, 1.0f, 0);
    time_draws(b, &d, ROWS, 1, 0.8f, 0.9f, 0);
    time_draws(b, &d, ROWS, 1, 0.8f, 0.9f, 50);
    time_draws(b, &d, 1, 256, 1.0f, 1.0f, 0);
    time_draws(b, &d, 1, 256, 0.8f, 0.9f, 0);
    for (int i = 0; i < COPIES; i++) device_free((void *)(uintptr_t)d.logits[i]);
}
