/* bench_gap - how long the device stands still between two batches of whole requests: from where one has run to where
 * the first thing of the next one is taken up. On random weights of real shapes; prompts in batches, and steps of n
 * candidates, of which each needs what the last one drew. */
#include "engine/engine.h"
#include "kernels/cuda/backend_cuda.h"
#include "tests/gpu/bench.h"

enum { PROMPT = 4096, ROWS = 512, TOKENS = 64, MOST = 256 };

/* What the engine's backend does beside: an event behind each batch, and one in front of the next. */
static struct {
    fc_status (*mark)(fc_backend *be, int mark);
    fc_status (*upload)(fc_backend *be, void *dst, const void *host, size_t bytes);
    void *begins[MOST], *ends[MOST];
    int n;
    bool between; /* nothing of the next batch has come */
} clock_;

static fc_status timed_mark(fc_backend *be, int mark) {
    FC_TRY(clock_.mark(be, mark));
    if (clock_.n == MOST) return FC_OK;
    bench_record(be->stream, &clock_.ends[clock_.n++]);
    clock_.between = true;
    return FC_OK;
}

/* A batch's first call. */
static fc_status timed_upload(fc_backend *be, void *dst, const void *host, size_t bytes) {
    if (clock_.between && clock_.n < MOST) bench_record(be->stream, &clock_.begins[clock_.n]);
    clock_.between = false;
    return clock_.upload(be, dst, host, bytes);
}

static fc_status open_timed(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out) {
    (void)level;
    (void)threads;
    FC_TRY(fc_backend_open_cuda(&(fc_cuda_options){.invariant = true}, limits, out));
    clock_.mark = (*out)->mark;
    clock_.upload = (*out)->upload;
    (*out)->mark = timed_mark;
    (*out)->upload = timed_upload;
    return FC_OK;
}

static void request(fc_engine *e, int prompt, int n, int tokens, int first) {
    static int32_t ids[PROMPT];
    fc_request r;
    fc_event ev;
    uint64_t id;
    fc_request_init(&r);
    for (int i = 0; i < prompt; i++) ids[i] = 300 + (first + i * 7) % 20000;
    r.prompt = (fc_prompt){.ids = ids, .n_ids = (size_t)prompt};
    r.n = n;
    r.sampling.max_tokens = tokens;
    r.sampling.ignore_eos = true;
    bench_must(fc_submit(e, &r, &id), "submit");
    bench_must(fc_poll(e, -1, &ev), "poll");
    bench_must(ev.status, "answer");
    fc_event_fini(&ev);
}

/* Gaps of one request, its graphs made by one before: batch k and k+1, from k = 1 on. */
static void tell(bench *b, fc_engine *e, const char *model, int prompt, int n, int tokens) {
    double seconds[MOST], sum = 0, all;
    char what[160];
    int gaps = 0;
    request(e, prompt, n, tokens, 1);
    clock_.n = 0, clock_.between = false;
    request(e, prompt, n, tokens, 2);
    for (int i = 1; i < clock_.n; i++, gaps++) {
        seconds[gaps] = bench_between(clock_.ends[i - 1], clock_.begins[i]);
        sum += seconds[gaps];
    }
    all = gaps ? bench_between(clock_.ends[0], clock_.ends[clock_.n - 1]) : 0;
    snprintf(what, sizeof what, "\"model\": \"%s\", \"prompt\": %d, \"n\": %d, \"tokens\": %d", model, prompt, n,
             tokens);
    printf("%-10s %-72s %d gaps, %.1f us in the mean, %.1f %% of the time\n", b->op, what, gaps,
           gaps ? sum / gaps * 1e6 : 0, all > 0 ? 100 * sum / all : 0);
    fflush(stdout);
    if (!b->lines) return;
    fprintf(b->lines, "{\"part\": \"gap\", \"case\": {%s}, \"counts\": {\"all_us\": %.1f}, \"seconds\": [", what,
            all * 1e6);
    for (int i = 0; i < gaps; i++) fprintf(b->lines, "%s%.9f", i ? ", " : "", seconds[i]);
    fprintf(b->lines, "]}\n");
    fflush(b->lines);
}

void bench_gap(bench *b);
void bench_gap(bench *b) {
    static const char *const models[] = {"smollm2-135m", "llama-3.1-8b"};
    for (int m = 0; m < 2; m++) {
        char path[64];
        fc_engine_options o = {.max_rows = ROWS, .ctx = PROMPT + TOKENS};
        fc_engine *e;
        snprintf(path, sizeof path, "like:%s", models[m]);
        o.novelty = path;
        bench_must(fc_engine_open_on(&o, open_timed, &e), path);
        tell(b, e, models[m], 128, 1, TOKENS);
        tell(b, e, models[m], 128, 64, TOKENS);
        tell(b, e, models[m], PROMPT, 1, 2);
        fc_engine_close(e);
    }
}
