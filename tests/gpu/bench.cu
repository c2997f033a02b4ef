/* bench - the program: list, or one step's cases; and the clock that they share. */
#include "tests/gpu/bench.h"

#include "kernels/cuda/cuda.cuh"

extern "C" {
#include "engine/base/rng.h"
}

#define X(name) extern "C" void bench_##name(bench *b);
#include "bench_list.h"
#undef X

enum { BATCHES = 15, CALLS = 200 };
static const double BATCH_SECONDS = 2e-3;

void bench_must(fc_status st, const char *what) {
    if (st == FC_OK) return;
    fprintf(stderr, "gpu_bench: %s: %s\n", what, fc_status_text());
    exit(1);
}

static void must(cudaError_t e, const char *what) {
    if (e == cudaSuccess) return;
    fprintf(stderr, "gpu_bench: %s: %s\n", what, cudaGetErrorString(e));
    exit(1);
}

/* Seconds of one of n calls between two events. */
static double batch(bench *b, bench_call call, void *self, int n, int *turn) {
    static cudaEvent_t from, to;
    float ms;
    if (!from) {
        must(cudaEventCreate(&from), "cudaEventCreate");
        must(cudaEventCreate(&to), "cudaEventCreate");
    }
    must(cudaEventRecord(from, b->s->queue), "cudaEventRecord");
    for (int i = 0; i < n; i++) bench_must(call(self, b->s, (*turn)++), b->op);
    bench_must(fc_cuda_flush(b->s), b->op);
    must(cudaEventRecord(to, b->s->queue), "cudaEventRecord");
    must(cudaEventSynchronize(to), "cudaEventSynchronize");
    must(cudaEventElapsedTime(&ms, from, to), "cudaEventElapsedTime");
    return (double)ms * 1e-3 / n;
}

void bench_record(fc_stream s, void **event) {
    cudaEvent_t e = (cudaEvent_t)*event;
    if (!e) must(cudaEventCreate(&e), "cudaEventCreate");
    must(cudaEventRecord(e, s->queue), "cudaEventRecord");
    *event = e;
}

double bench_between(void *from, void *to) {
    float ms;
    must(cudaEventSynchronize((cudaEvent_t)to), "cudaEventSynchronize");
    must(cudaEventElapsedTime(&ms, (cudaEvent_t)from, (cudaEvent_t)to), "cudaEventElapsedTime");
    return (double)ms * 1e-3;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void put_line(bench *b, const char *what, fc_cost cost, int calls, const double seconds[BATCHES]) {
    fprintf(b->lines,
            "{\"part\": \"bench\", \"case\": {\"op\": \"%s\", %s}, \"counts\": {\"bytes\": %.0f, \"flops\": %.0f, "
            "\"calls\": %d}, \"seconds\": [",
            b->op, what, cost.bytes, cost.flops, calls);
    for (int i = 0; i < BATCHES; i++) fprintf(b->lines, "%s%.9f", i ? ", " : "", seconds[i]);
    fprintf(b->lines, "]");
    if (b->predicted > 0) fprintf(b->lines, ", \"predicted\": %.9f", b->predicted);
    fprintf(b->lines, "}\n");
    fflush(b->lines);
}

void bench_time(bench *b, const char *what, fc_cost cost, bench_call call, void *self) {
    int turn = 0, calls = 1;
    double one, seconds[BATCHES], sorted[BATCHES], median;
    batch(b, call, self, 3, &turn);
    bench_must(device_sync(b->s), what);
    one = batch(b, call, self, 5, &turn);
    while (calls < CALLS && one * calls < BATCH_SECONDS) calls *= 2;
    batch(b, call, self, calls, &turn); /* the graph of so many calls is made */
    for (int i = 0; i < BATCHES; i++) sorted[i] = seconds[i] = batch(b, call, self, calls, &turn);
    bench_must(device_sync(b->s), what);
    qsort(sorted, BATCHES, sizeof *sorted, by_size);
    median = sorted[BATCHES / 2];
    printf("%-10s %-72s %9.2f us (%.2f-%.2f) %8.1f GB/s %8.2f TFLOP/s", b->op, what, median * 1e6, sorted[0] * 1e6,
           sorted[BATCHES - 1] * 1e6, cost.bytes / median * 1e-9, cost.flops / median * 1e-12);
    if (b->predicted > 0) printf("   %9.2f us predicted", b->predicted * 1e6);
    printf("\n");
    fflush(stdout);
    if (b->lines) put_line(b, what, cost, calls, seconds);
    b->predicted = 0;
}

int bench_copies(size_t bytes, int most) {
    size_t n = bytes ? (BENCH_COLD + bytes - 1) / bytes : 1;
    return n > (size_t)most ? most : (int)n;
}

static void *room(size_t bytes) {
    void *p = malloc(bytes + 8);
    if (!p) must(cudaErrorMemoryAllocation, "malloc");
    return p;
}

void *bench_bytes(size_t n, uint64_t seed) {
    uint64_t *p = (uint64_t *)room(n);
    for (size_t i = 0; i <= n / 8; i++) p[i] = fc_rng_next(&seed);
    return p;
}

/* Sums of four bytes: near enough to normal, and fast. */
float *bench_normals(size_t n, uint64_t seed) {
    float *p = (float *)room(n * 4);
    for (size_t i = 0; i < n; i++) {
        uint64_t v = fc_rng_next(&seed);
        int sum = (int)(v & 255) + (int)(v >> 8 & 255) + (int)(v >> 16 & 255) + (int)(v >> 24 & 255);
        p[i] = ((float)sum - 510.0f) / 147.8f;
    }
    return p;
}

float *bench_device_normals(fc_stream s, size_t n, uint64_t seed) {
    float *host = bench_normals(n, seed), *device = (float *)device_copy(s, host, n * 4);
    free(host);
    return device;
}

void bench_written(fc_stream s, const void *out, size_t n, const char *what) {
    float *p = (float *)room(n * 4);
    device_read(s, p, out, n * 4);
    for (size_t i = 0; i < n; i++)
        if (isnan(p[i])) {
            fprintf(stderr, "gpu_bench: %s: element %zu of %zu is NaN, or was not written\n", what, i, n);
            exit(1);
        }
    free(p);
}

struct step {
    const char *name;
    void (*run)(bench *b);
};

int main(int argc, char **argv) {
    static const step steps[] = {
#define X(name) {#name, bench_##name},
#include "bench_list.h"
#undef X
    };
    enum { STEPS = sizeof steps / sizeof *steps };
    if (argc == 2 && strcmp(argv[1], "list") == 0) {
        for (int i = 0; i < STEPS; i++) puts(steps[i].name);
        return 0;
    }
    for (int i = 0; i < STEPS && argc > 1; i++) {
        bench b = {};
        cudaDeviceProp device;
        b.op = steps[i].name;
        if (strcmp(argv[1], steps[i].name) != 0) continue;
        if (argc > 2 && !(b.lines = fopen(argv[2], "a"))) return perror(argv[2]), 1;
        must(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
        snprintf(b.device, sizeof b.device, "%s", device.name);
        b.s = device_stream((size_t)2 << 30);
        steps[i].run(&b);
        device_close(b.s);
        if (b.lines && fclose(b.lines)) return perror(argv[2]), 1;
        return 0;
    }
    fprintf(stderr, "gpu_bench: list, or STEP [LINES]\n");
    return 2;
}
