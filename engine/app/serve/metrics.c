#include "engine/app/serve/metrics.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- what there is ---- */

static const double first_token[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25, 0.5,   0.75,
                                     1.0,   2.5,   5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160,  640.0, 2560.0};
static const double a_token[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,  0.15, 0.2,  0.3,
                                 0.4,   0.5,    0.75,  1.0,  2.5,   5.0,  7.5,   10.0, 20.0, 40.0, 80.0};
static const double a_request[] = {0.005, 0.01, 0.025, 0.05, 0.1,  0.3,  0.5,  0.8,   1.0,   1.5,   2.0,
                                   2.5,   5.0,  10.0,  15.0, 20.0, 30.0, 60.0, 120.0, 240.0, 960.0, 1920.0};
static const double tokens[] = {1,    2,    5,    10,    20,    50,    100,    200,   500,
                                1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000};
static const double batch[] = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
static const double few[] = {1, 2, 5, 10, 20};
static const double many[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};
static const double score[] = {-20, -10, -5, -2, -1, -0.5, -0.2, -0.1, 0, 0.1, 0.2, 0.5, 0.9, 1, 2, 5, 10, 20};
static const double margin[] = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10};

#define OF(list) .bounds = list, .n = sizeof(list) / sizeof *(list)

static const struct {
    const char *name, *help;
    const double *bounds;
    size_t n;
} histograms[SERVE_HISTOGRAMS] = {
    [SERVE_TTFT] = {"vllm:time_to_first_token_seconds", "From the arrival of a request to its first drawn token.",
                    OF(first_token)},
    [SERVE_ITL] = {"vllm:inter_token_latency_seconds",
                   "Between two tokens of a candidate, in streams that tell them as they are drawn.", OF(a_token)},
    [SERVE_TPOT] = {"vllm:request_time_per_output_token_seconds",
                    "Time of drawing by the tokens of the longest candidate.", OF(a_token)},
    [SERVE_E2E] = {"vllm:e2e_request_latency_seconds", "From the arrival of a request to its last score.",
                   OF(a_request)},
    [SERVE_QUEUE] = {"vllm:request_queue_time_seconds", "Time in the engine's queue.", OF(a_request)},
    [SERVE_PREFILL] = {"vllm:request_prefill_time_seconds", "Time from the queue to the first drawn token.",
                       OF(a_request)},
    [SERVE_DECODE] = {"vllm:request_decode_time_seconds", "Time from the first drawn token to the last.",
                      OF(a_request)},
    [SERVE_INFERENCE] = {"vllm:request_inference_time_seconds", "Time from the queue to the last drawn token.",
                         OF(a_request)},
    [SERVE_SCORE_SECONDS] = {"forkcast_score_seconds", "Time from the first candidate that is scored to the last.",
                             OF(a_request)},
    [SERVE_PROMPT_SIZE] = {"vllm:request_prompt_tokens", "Tokens of a prompt.", OF(tokens)},
    [SERVE_DRAWN_SIZE] = {"vllm:request_generation_tokens", "Tokens that a request's candidates drew, all of them.",
                          OF(tokens)},
    [SERVE_LONGEST] = {"vllm:request_max_num_generation_tokens", "Tokens of the longest candidate of a request.",
                       OF(tokens)},
    [SERVE_N] = {"vllm:request_params_n", "Candidates that a request wants back.", OF(few)},
    [SERVE_MAX_TOKENS] = {"vllm:request_params_max_tokens", "max_tokens of a request.", OF(tokens)},
    [SERVE_BEST_OF] = {"forkcast_best_of", "Candidates that a request's answer covers.", OF(many)},
    [SERVE_SCORE] = {"forkcast_score", "Score of the best candidate.", OF(score)},
    [SERVE_MARGIN] = {"forkcast_score_margin", "Score of the best minus that of the second.", OF(margin)},
};

/* Lines of one name follow one another. */
static const struct {
    const char *name, *label, *help;
} counters[SERVE_COUNTERS] = {
    [SERVE_DONE_STOP] = {"vllm:request_success_total", "finished_reason=\"stop\"",
                         "Requests that ended, by how their best candidate did."},
    [SERVE_DONE_LENGTH] = {"vllm:request_success_total", "finished_reason=\"length\"", NULL},
    [SERVE_DONE_ABORT] = {"vllm:request_success_total", "finished_reason=\"abort\"", NULL},
    [SERVE_DONE_ERROR] = {"vllm:request_success_total", "finished_reason=\"error\"", NULL},
    [SERVE_REFUSED_FULL] = {"forkcast_admission_rejections_total", "reason=\"queue_full\"",
                            "Bodies that were not taken."},
    [SERVE_REFUSED_DRAINING] = {"forkcast_admission_rejections_total", "reason=\"draining\"", NULL},
    [SERVE_REFUSED_LOADING] = {"forkcast_admission_rejections_total", "reason=\"loading\"", NULL},
    [SERVE_REFUSED_MEMORY] = {"forkcast_admission_rejections_total", "reason=\"memory\"", NULL},
    [SERVE_CANCEL_CLIENT] = {"forkcast_cancelled_total", "reason=\"client\"",
                             "Answers given up: the client went or stalled, the time was over, the server ended."},
    [SERVE_CANCEL_DEADLINE] = {"forkcast_cancelled_total", "reason=\"deadline\"", NULL},
    [SERVE_CANCEL_SHUTDOWN] = {"forkcast_cancelled_total", "reason=\"shutdown\"", NULL},
    [SERVE_PROMPT_TOKENS] = {"vllm:prompt_tokens_total", NULL, "Tokens of the prompts of requests that ended."},
    [SERVE_DRAWN_TOKENS] = {"vllm:generation_tokens_total", NULL, "Tokens that their candidates drew, all of them."},
    [SERVE_CANDIDATES] = {"forkcast_candidates_total", NULL, "Candidates of requests that ended."},
    [SERVE_DISTINCT] = {"forkcast_distinct_candidates_total", NULL, "Different ones among them, request by request."},
    [SERVE_ROWS_FLAT] = {"forkcast_rows_flat_total", NULL,
                         "Rows that separate runs of these candidates would have computed."},
    [SERVE_ROWS_REUSED] = {"forkcast_rows_reused_total", NULL, "Rows taken from the prefix cache."},
    [SERVE_SCORES_CACHED] = {"forkcast_scores_cached_total", NULL, "Scores taken from the score cache."},
    [SERVE_REDRAWS] = {"forkcast_redraws_total", NULL, "Candidates drawn again by constraint reject."},
    [SERVE_PRUNED_HOPELESS] =
        {"forkcast_candidates_pruned_total", "reason=\"hopeless\"",
         "Candidates given up while they were scored, and those that a rule of stop_when, a budget "
         "or a deadline left out."},
    [SERVE_PRUNED_STOPPED] = {"forkcast_candidates_pruned_total", "reason=\"stopped\"", NULL},
    [SERVE_SCORE_TOKENS] = {"forkcast_score_tokens_total", NULL,
                            "Token positions that the alignment model computed for requests that ended."},
    [SERVE_PREFIX_SHARED] = {"forkcast_shared_prefix_tokens_total", NULL,
                             "Prompt positions that separate runs of the candidates would have computed again."},
    [SERVE_PREFIX_COMPUTED] = {"forkcast_computed_prefix_tokens_total", NULL, "Prompt positions that were computed."},
    [SERVE_LOOKUPS_TABLE] = {"forkcast_lookups_total", "source=\"table\"", "Look-ups, by where their row came from."},
    [SERVE_LOOKUPS_LIVE] = {"forkcast_lookups_total", "source=\"live\"", NULL},
    [SERVE_PINGS] = {"forkcast_stream_pings_total", NULL, "Comments sent into streams that were silent."},
};

static const int statuses[SERVE_STATUSES] = {200, 204, 400, 401, 403, 404, 405, 408, 411, 413, 414, 415,
                                             417, 421, 422, 429, 431, 499, 500, 501, 503, 504, 505, 0};

/* ---- counting ---- */

static void observe(struct serve_buckets *b, const double *bounds, size_t n, double v) {
    size_t i = 0;
    if (isnan(v)) return;
    while (i < n && v > bounds[i]) i++;
    b->counts[i]++;
    b->sum += v;
}

void serve_observe(serve_metrics *m, serve_histogram h, double v) {
    observe(&m->histograms[h], histograms[h].bounds, histograms[h].n, v);
}

/* The last one stands for all others. */
static size_t place_of(int status) {
    size_t i = 0;
    while (i + 1 < SERVE_STATUSES && statuses[i] != status) i++;
    return i;
}

void serve_failed(serve_metrics *m, serve_stage stage, int status) { m->failures[stage][place_of(status)]++; }

void serve_answered(serve_metrics *m, int handler, int status, double seconds) {
    FC_ASSERT(handler >= 0 && handler < SERVE_HANDLERS_MAX);
    m->answers[handler][place_of(status)]++;
    observe(&m->seconds[handler], a_request, sizeof a_request / sizeof *a_request, seconds);
}

static void count_pruned(serve_metrics *m, const fc_result *result) {
    int hopeless = 0;
    for (int i = 0; i < result->n_all; i++) hopeless += result->all[i].hopeless;
    serve_count(m, SERVE_PRUNED_HOPELESS, hopeless);
    serve_count(m, SERVE_PRUNED_STOPPED, result->n > result->n_all ? result->n - result->n_all : 0);
}

static void count_result(serve_metrics *m, const fc_request *r, const fc_result *result, size_t drawn) {
    const fc_accounting *a = &result->accounting;
    const bool given = r->n_given > 0;
    const int64_t shared = a->rows_flat_prefill - a->rows_prefill;
    count_pruned(m, result);
    serve_count(m, SERVE_SCORE_TOKENS, a->rows_score);
    serve_count(m, SERVE_PREFIX_SHARED, shared > 0 ? shared : 0);
    serve_count(m, SERVE_PREFIX_COMPUTED, a->rows_prefill);
    serve_count(m, result->n_kept && result->kept[0].finish == FC_FINISH_LENGTH ? SERVE_DONE_LENGTH : SERVE_DONE_STOP,
                1);
    serve_count(m, SERVE_PROMPT_TOKENS, (int64_t)result->prompt_tokens);
    serve_count(m, SERVE_DRAWN_TOKENS, (int64_t)drawn);
    if (!given) serve_count(m, SERVE_CANDIDATES, result->n_all);
    if (!given) serve_count(m, SERVE_DISTINCT, result->confidence.distinct);
    serve_count(m, SERVE_ROWS_FLAT, a->rows_flat_prefill + a->rows_flat_decode + a->rows_flat_score);
    serve_count(m, SERVE_ROWS_REUSED, a->rows_reused);
    serve_count(m, SERVE_SCORES_CACHED, a->scores_cached);
    serve_count(m, SERVE_REDRAWS, a->redraws);
}

void serve_finished(serve_metrics *m, const fc_request *r, const fc_result *result, uint64_t began, uint64_t submitted,
                    uint64_t done) {
    const fc_timings_ms *t = &result->timings;
    size_t drawn = 0, longest = 0;
    for (int i = 0; i < result->n_all; i++) {
        drawn += result->all[i].n_logprobs;
        if (result->all[i].n_logprobs > longest) longest = result->all[i].n_logprobs;
    }
    count_result(m, r, result, drawn);
    serve_observe(m, SERVE_E2E, (double)(done - began) * 1e-9);
    serve_observe(m, SERVE_QUEUE, t->queue * 1e-3);
    serve_observe(m, SERVE_PROMPT_SIZE, (double)result->prompt_tokens);
    if (result->scored) serve_observe(m, SERVE_SCORE_SECONDS, t->score * 1e-3);
    if (r->n_given) return; /* nothing was drawn */
    if (drawn) serve_observe(m, SERVE_TTFT, (double)(submitted - began) * 1e-9 + (t->queue + t->prefill) * 1e-3);
    if (longest > 1) serve_observe(m, SERVE_TPOT, t->decode * 1e-3 / (double)(longest - 1));
    serve_observe(m, SERVE_PREFILL, t->prefill * 1e-3);
    serve_observe(m, SERVE_DECODE, t->decode * 1e-3);
    serve_observe(m, SERVE_INFERENCE, (t->prefill + t->decode) * 1e-3);
    serve_observe(m, SERVE_DRAWN_SIZE, (double)drawn);
    serve_observe(m, SERVE_LONGEST, (double)longest);
    serve_observe(m, SERVE_N, r->keep ? r->keep : r->n);
    serve_observe(m, SERVE_MAX_TOKENS, r->sampling.max_tokens);
    serve_observe(m, SERVE_BEST_OF, result->n_all);
    if (result->n_kept) serve_observe(m, SERVE_SCORE, result->kept[0].score);
    serve_observe(m, SERVE_MARGIN, result->confidence.margin);
}

/* ---- telling ---- */

static fc_status put_type(fc_str *out, const char *name, const char *type, const char *help) {
    return fc_str_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label's value: what would end it is escaped. */
static fc_status put_value(fc_str *out, const char *text) {
    for (; *text; text++) {
        if (*text == '\n') FC_TRY(fc_str_puts(out, "\\n"));
        else if (*text == '"' || *text == '\\') FC_TRY(fc_str_printf(out, "\\%c", *text));
        else FC_TRY(fc_str_put(out, text, 1));
    }
    return FC_OK;
}

/* "model_name="m",engine="0"" of vLLM's names; nothing of ours. */
static fc_status put_labels(fc_str *out, const char *name, const char *model, const char *more) {
    const bool vllm = strncmp(name, "vllm:", 5) == 0;
    if (vllm) FC_TRY(fc_str_puts(out, "model_name=\""));
    if (vllm) FC_TRY(put_value(out, model));
    if (vllm) FC_TRY(fc_str_puts(out, "\",engine=\"0\""));
    return more ? fc_str_printf(out, "%s%s", vllm ? "," : "", more) : FC_OK;
}

static fc_status put_sample(fc_str *out, const char *name, const char *model, const char *more, double v) {
    const bool labelled = more || strncmp(name, "vllm:", 5) == 0;
    FC_TRY(fc_str_puts(out, name));
    if (labelled) FC_TRY(fc_str_puts(out, "{"));
    FC_TRY(put_labels(out, name, model, more));
    return fc_str_printf(out, "%s %.15g\n", labelled ? "}" : "", v);
}

static fc_status put_one(fc_str *out, const char *name, const char *type, const char *help, const char *model,
                         double v) {
    FC_TRY(put_type(out, name, type, help));
    return put_sample(out, name, model, NULL, v);
}

static fc_status put_buckets(fc_str *out, const char *name, const char *labels, const double *bounds, size_t n,
                             const struct serve_buckets *b) {
    const char *comma = *labels ? "," : "", *open = *labels ? "{" : "", *close = *labels ? "}" : "";
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += b->counts[i];
        FC_TRY(fc_str_printf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", name, labels, comma, bounds[i],
                             (unsigned long long)sum));
    }
    sum += b->counts[n];
    FC_TRY(fc_str_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, labels, comma, (unsigned long long)sum));
    FC_TRY(fc_str_printf(out, "%s_sum%s%s%s %.15g\n", name, open, labels, close, b->sum));
    return fc_str_printf(out, "%s_count%s%s%s %llu\n", name, open, labels, close, (unsigned long long)sum);
}

static fc_status put_histograms(const serve_metrics *m, const serve_facts *f, fc_str *out) {
    fc_str labels = {0};
    fc_status st = FC_OK;
    for (size_t i = 0; i < SERVE_HISTOGRAMS && !st; i++) {
        fc_str_clear(&labels);
        st = put_labels(&labels, histograms[i].name, f->model, NULL);
        if (!st) st = put_type(out, histograms[i].name, "histogram", histograms[i].help);
        if (!st)
            st = put_buckets(out, histograms[i].name, fc_str_text(&labels), histograms[i].bounds, histograms[i].n,
                             &m->histograms[i]);
    }
    fc_str_fini(&labels);
    return st;
}

static fc_status put_counters(const serve_metrics *m, const serve_facts *f, fc_str *out) {
    for (size_t i = 0; i < SERVE_COUNTERS; i++) {
        const uint64_t more = i == SERVE_REFUSED_MEMORY ? f->http.no_room : 0; /* before the body is read */
        if (counters[i].help) FC_TRY(put_type(out, counters[i].name, "counter", counters[i].help));
        FC_TRY(put_sample(out, counters[i].name, f->model, counters[i].label, (double)(m->counters[i] + more)));
    }
    return FC_OK;
}

static fc_status put_handler(fc_str *out, const serve_facts *f, size_t i) {
    const bool known = i < f->n_routes;
    return fc_str_printf(out, "handler=\"%s\",method=\"%s\"", known ? f->routes[i].path : "other",
                         known ? f->routes[i].method : "");
}

/* Of those that were asked. */
static fc_status put_handlers(const serve_metrics *m, const serve_facts *f, fc_str *out) {
    fc_status st;
    FC_TRY(put_type(out, "http_requests_total", "counter", "Answers, by path, method and status; 499: nobody waited."));
    for (size_t h = 0; h <= f->n_routes; h++)
        for (size_t i = 0; i < SERVE_STATUSES; i++) {
            if (!m->answers[h][i]) continue;
            FC_TRY(fc_str_puts(out, "http_requests_total{"));
            FC_TRY(put_handler(out, f, h));
            FC_TRY(fc_str_printf(out, ",status=\"%d\"} %llu\n", statuses[i], (unsigned long long)m->answers[h][i]));
        }
    FC_TRY(put_type(out, "http_request_duration_seconds", "histogram", "From the first byte asked to the last sent."));
    for (size_t h = 0; h <= f->n_routes; h++) {
        fc_str labels = {0};
        bool some = false;
        for (size_t i = 0; i < SERVE_STATUSES; i++) some = some || m->answers[h][i];
        if (!some) continue;
        st = put_handler(&labels, f, h);
        if (!st)
            st = put_buckets(out, "http_request_duration_seconds", fc_str_text(&labels), a_request,
                             sizeof a_request / sizeof *a_request, &m->seconds[h]);
        fc_str_fini(&labels);
        FC_TRY(st);
    }
    return FC_OK;
}

static fc_status put_failures(const serve_metrics *m, const serve_facts *f, fc_str *out) {
    static const char *const stages[SERVE_STAGES] = {"admission", "request", "engine"};
    char labels[64];
    FC_TRY(put_type(
        out, "vllm:request_failure_total", "counter",
        "Bodies that were answered with an error: before they were read, when they were taken, by the engine."));
    for (size_t k = 0; k < SERVE_STAGES; k++)
        for (size_t i = 0; i < SERVE_STATUSES; i++) {
            if (!m->failures[k][i]) continue;
            snprintf(labels, sizeof labels, "stage=\"%s\",code=\"%d\"", stages[k], statuses[i]);
            FC_TRY(put_sample(out, "vllm:request_failure_total", f->model, labels, (double)m->failures[k][i]));
        }
    return FC_OK;
}

static fc_status put_names(fc_str *out, const serve_facts *f, uint64_t mask) {
    bool some = false;
    for (size_t i = 0; i < f->n_adapters && i < 64; i++) {
        if (!(mask >> i & 1)) continue;
        if (some) FC_TRY(fc_str_puts(out, ","));
        FC_TRY(put_value(out, f->adapters[i]));
        some = true;
    }
    return FC_OK;
}

/* Read by routers: which adapters are at work or waited for; of two lines the one with the later time counts. */
static fc_status put_adapters(const serve_facts *f, fc_str *out) {
    const char *name = "vllm:lora_requests_info";
    FC_TRY(put_type(out, name, "gauge", "Adapters of requests that run and wait; the value is the time."));
    FC_TRY(fc_str_printf(out, "%s{", name));
    FC_TRY(put_labels(out, name, f->model, NULL));
    FC_TRY(fc_str_printf(out, ",max_lora=\"%zu\",running_lora_adapters=\"", f->n_adapters));
    FC_TRY(put_names(out, f, f->engine.adapters_running));
    FC_TRY(fc_str_puts(out, "\",waiting_lora_adapters=\""));
    FC_TRY(put_names(out, f, f->engine.adapters_waiting));
    return fc_str_printf(out, "\"} %lld\n", (long long)f->now);
}

/* Rows of the engine's batches; by its own name no counter. */
static fc_status put_batches(const serve_facts *f, fc_str *out) {
    const char *name = "vllm:iteration_tokens_total";
    struct serve_buckets b = {.sum = (double)f->engine.batch_rows};
    fc_str labels = {0};
    fc_status st = put_labels(&labels, name, f->model, NULL);
    _Static_assert(sizeof batch / sizeof *batch + 1 == sizeof f->engine.batches_of / sizeof *f->engine.batches_of, "");
    for (size_t i = 0; i <= sizeof batch / sizeof *batch; i++) b.counts[i] = (uint64_t)f->engine.batches_of[i];
    if (!st) st = put_type(out, name, "histogram", "Token positions of a pass through a model.");
    if (!st) st = put_buckets(out, name, fc_str_text(&labels), batch, sizeof batch / sizeof *batch, &b);
    fc_str_fini(&labels);
    return st;
}

/* Of a device: 0 where the CPU computes. */
static fc_status put_device(const serve_facts *f, fc_str *out) {
    const bool cuda = strcmp(f->info->backend, "cuda") == 0;
    const fc_model_info *v[2] = {&f->info->novelty, &f->info->alignment};
    double weights = 0, kv = 0;
    for (int i = 0; cuda && i < 2; i++) {
        const bool own = i == 0 || (f->info->has_alignment && !f->info->shared_model);
        weights += (double)v[i]->weight_bytes;
        if (own) kv += (double)v[i]->kv_pages * (double)v[i]->kv_page_bytes;
    }
    FC_TRY(put_type(out, "forkcast_gpu_memory_bytes", "gauge", "Memory of a device, by what it holds."));
    FC_TRY(put_sample(out, "forkcast_gpu_memory_bytes", NULL, "kind=\"weights\"", weights));
    return put_sample(out, "forkcast_gpu_memory_bytes", NULL, "kind=\"kv\"", kv);
}

static fc_status put_engine(const serve_facts *f, fc_str *out) {
    const fc_engine_counts *e = &f->engine;
    const char *m = f->model;
    const fc_model_info *v = &f->info->novelty;
    FC_TRY(put_one(out, "vllm:num_requests_running", "gauge", "Requests that the engine works on.", m, e->running));
    FC_TRY(put_one(out, "vllm:num_requests_waiting", "gauge", "Requests in the engine's queue.", m, e->waiting));
    FC_TRY(put_one(out, "vllm:kv_cache_usage_perc", "gauge", "Pages of KV in use, 1 is all.", m,
                   e->pages ? (double)e->pages_used / e->pages : 0));
    FC_TRY(put_type(out, "vllm:cache_config_info", "gauge", "What the KV cache is like."));
    FC_TRY(fc_str_puts(out, "vllm:cache_config_info{"));
    FC_TRY(put_labels(out, "vllm:", m, NULL));
    FC_TRY(fc_str_printf(out, ",block_size=\"%d\",num_gpu_blocks=\"%d\",cache_dtype=\"%s\"} 1\n", v->page_slots,
                         v->kv_pages, v->kv_type));
    FC_TRY(put_one(out, "vllm:num_preemptions_total", "counter", "Requests that gave way to others.", m,
                   (double)e->preemptions));
    FC_TRY(put_one(out, "vllm:prefix_cache_queries_total", "counter", "Prompt tokens looked for in the prefix cache.",
                   m, (double)e->prefix_asked));
    FC_TRY(put_one(out, "vllm:prefix_cache_hits_total", "counter", "Prompt tokens found there.", m,
                   (double)e->prefix_hit));
    FC_TRY(put_type(out, "forkcast_rows_total", "counter", "Token positions computed, of cancelled requests too."));
    FC_TRY(put_sample(out, "forkcast_rows_total", m, "kind=\"prefill\"", (double)e->rows_prefill));
    FC_TRY(put_sample(out, "forkcast_rows_total", m, "kind=\"decode\"", (double)e->rows_decode));
    FC_TRY(put_sample(out, "forkcast_rows_total", m, "kind=\"score\"", (double)e->rows_score));
    FC_TRY(put_sample(out, "forkcast_rows_total", m, "kind=\"replay\"", (double)e->rows_replayed));
    FC_TRY(put_one(out, "forkcast_steps_total", "counter", "Turns of the engine.", m, (double)e->steps));
    FC_TRY(put_one(out, "forkcast_batches_total", "counter", "Passes through a model.", m, (double)e->batches));
    FC_TRY(put_type(out, "forkcast_kv_pages", "gauge", "Pages of KV of both models."));
    FC_TRY(put_sample(out, "forkcast_kv_pages", m, "state=\"used\"", e->pages_used));
    FC_TRY(put_sample(out, "forkcast_kv_pages", m, "state=\"all\"", e->pages));
    return put_one(out, "forkcast_weight_bytes", "gauge", "Memory of the models' weights.", m,
                   (double)v->weight_bytes + (double)f->info->alignment.weight_bytes);
}

static fc_status put_http(const serve_facts *f, fc_str *out) {
    const http_counts *c = &f->http;
    FC_TRY(put_one(out, "forkcast_calls", "gauge", "Bodies that are being answered.", NULL, f->calls));
    FC_TRY(put_one(out, "forkcast_requests", "gauge", "Requests of max_requests, those being cancelled too.", NULL,
                   f->jobs));
    FC_TRY(put_one(out, "forkcast_requests_candidates", "gauge", "Their candidates, of max_candidates.", NULL,
                   (double)f->candidates));
    FC_TRY(put_one(out, "forkcast_bodies_unread", "gauge", "Bodies that wait to be read.", NULL, f->to_read));
    FC_TRY(put_one(out, "forkcast_connections", "gauge", "Connections.", NULL, c->connections));
    FC_TRY(put_one(out, "forkcast_connections_total", "counter", "Connections so far.", NULL, (double)c->accepted));
    FC_TRY(put_one(out, "forkcast_connections_refused_total", "counter", "Connections above the limit.", NULL,
                   (double)c->turned_away));
    FC_TRY(put_one(out, "forkcast_disconnects_total", "counter", "Clients that went before their answer was whole.",
                   NULL, (double)c->cancelled));
    FC_TRY(put_one(out, "forkcast_received_bytes_total", "counter", "Bytes read.", NULL, (double)c->bytes_in));
    FC_TRY(put_one(out, "forkcast_sent_bytes_total", "counter", "Bytes written.", NULL, (double)c->bytes_out));
    FC_TRY(put_one(out, "forkcast_slow_senders_total", "counter",
                   "Connections that gave way while they sent a request slowly.", NULL, (double)c->gave_way));
    return put_one(out, "forkcast_slow_readers_total", "counter", "Clients cut off that read too little.", NULL,
                   (double)c->too_slow);
}

static fc_status put_memory(const http_budget *b, fc_str *out) {
    static const char *const kinds[HTTP_SHARES] = {
        [HTTP_BODIES] = "kind=\"bodies\"",
        [HTTP_PARSED] = "kind=\"parsed\"",
        [HTTP_ANSWERS] = "kind=\"answers\"",
        [HTTP_UNREAD] = "kind=\"unread\"",
    };
    FC_TRY(put_type(out, "forkcast_memory_bytes", "gauge", "What requests hold of max_memory."));
    for (size_t i = 0; i < HTTP_SHARES; i++)
        FC_TRY(put_sample(out, "forkcast_memory_bytes", NULL, kinds[i], (double)http_budget_share(b, (http_share)i)));
    return put_one(out, "forkcast_memory_limit_bytes", "gauge", "max_memory.", NULL, (double)b->most);
}

/* Of /proc, in the order of its fields; 0 where it says nothing. */
typedef struct {
    double started, size, resident; /* Unix seconds, bytes, bytes */
} process;

static process look_at_process(void) {
    process p = {0};
    unsigned long long start, size;
    long long pages;
    char text[1024] = "";
    struct timespec now, up;
    FILE *f = fopen("/proc/self/stat", "r");
    const char *at;
    if (!f) return p;
    if (!fgets(text, sizeof text, f)) text[0] = '\0';
    fclose(f);
    at = strrchr(text, ')'); /* the program's name may hold anything */
    if (!at ||
        sscanf(at + 1, " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu %llu %lld",
               &start, &size, &pages) != 3)
        return p;
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &up);
    p.started = (double)(now.tv_sec - up.tv_sec) + (double)(now.tv_nsec - up.tv_nsec) * 1e-9 +
                (double)start / (double)sysconf(_SC_CLK_TCK);
    p.size = (double)size;
    p.resident = (double)pages * (double)sysconf(_SC_PAGESIZE);
    return p;
}

/* Linux 6.2 and later tell how many as the folder's size; else they are counted. 0 where /proc says nothing. */
static double open_files(void) {
    struct stat s;
    DIR *d;
    double n = 0;
    if (stat("/proc/self/fd", &s) == 0 && s.st_size > 0) return (double)s.st_size;
    d = opendir("/proc/self/fd");
    if (!d) return 0;
    for (const struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n - 1; /* the folder itself was open */
}

static fc_status put_process(fc_str *out) {
    const process p = look_at_process();
    struct rusage u;
    struct rlimit files;
    if (getrusage(RUSAGE_SELF, &u) == 0)
        FC_TRY(put_one(out, "process_cpu_seconds_total", "counter", "Processor time.", NULL,
                       (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
                           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6));
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        FC_TRY(put_one(out, "process_max_fds", "gauge", "Limit of open files.", NULL, (double)files.rlim_cur));
    FC_TRY(put_one(out, "process_open_fds", "gauge", "Open files.", NULL, open_files()));
    FC_TRY(put_one(out, "process_start_time_seconds", "gauge", "When it was started, Unix seconds.", NULL, p.started));
    FC_TRY(put_one(out, "process_virtual_memory_bytes", "gauge", "Memory that is mapped.", NULL, p.size));
    return put_one(out, "process_resident_memory_bytes", "gauge", "Resident memory.", NULL, p.resident);
}

fc_status serve_metrics_put(const serve_metrics *m, const serve_facts *f, fc_str *out) {
    FC_TRY(put_engine(f, out));
    FC_TRY(put_adapters(f, out));
    FC_TRY(put_batches(f, out));
    FC_TRY(put_device(f, out));
    FC_TRY(put_counters(m, f, out));
    FC_TRY(put_failures(m, f, out));
    FC_TRY(put_histograms(m, f, out));
    FC_TRY(put_http(f, out));
    FC_TRY(put_memory(f->memory, out));
    FC_TRY(put_handlers(m, f, out));
    FC_TRY(fc_str_printf(out,
                         "# HELP forkcast_build_info Version and backend.\n# TYPE forkcast_build_info gauge\n"
                         "forkcast_build_info{version=\"%s\",backend=\"%s\",cpu=\"%s\"} 1\n",
                         fc_version(), f->info->backend, f->info->cpu));
    return put_process(out);
}
