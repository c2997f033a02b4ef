/* bench_rmsnorm - the norm with its residual, as between two blocks of a model. */
#include "kernels/rmsnorm/rmsnorm.h"
#include "tests/gpu/bench.h"

enum { D = 4096, COPIES = 16 };

typedef struct {
    fc_rmsnorm_args a[COPIES];
    int copies;
} norm;

static fc_status call(void *self, fc_stream s, int turn) {
    norm *n = self;
    return fc_rmsnorm_cuda(s, &n->a[turn % n->copies]);
}

void bench_rmsnorm(bench *b);
void bench_rmsnorm(bench *b) {
    static const int rows[] = {1, 8, 64, 256, 2048};
    float *w = bench_device_normals(b->s, D, 1);
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        size_t elements = (size_t)rows[k] * D;
        norm n = {.copies = bench_copies(3 * 4 * elements, COPIES)};
        char what[64];
        for (int i = 0; i < n.copies; i++)
            n.a[i] = (fc_rmsnorm_args){.y = device_copy(b->s, NULL, elements * 4),
                                       .x = bench_device_normals(b->s, elements, 2),
                                       .res = bench_device_normals(b->s, elements, 3),
                                       .w = w,
                                       .eps = 1e-5f,
                                       .T = rows[k],
                                       .D = D};
        snprintf(what, sizeof what, "\"T\": %d, \"D\": %d", rows[k], D);
        bench_time(b, what, fc_rmsnorm_cost(&n.a[0]), call, &n);
        bench_written(b->s, n.a[0].y, elements, what);
        for (int i = 0; i < n.copies; i++) {
            device_free(n.a[i].y);
            device_free(n.a[i].res);
            device_free((void *)(uintptr_t)n.a[i].x);
        }
    }
    device_free(w);
}
