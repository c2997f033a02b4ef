/* model - inner to bench model: what was asked, what was predicted, and its forms. */
#ifndef FC_APP_BENCH_MODEL_H
#define FC_APP_BENCH_MODEL_H

#include "engine/app/bench/setup.h"
#include "engine/cost.h"

/* step: one of decode's, in the middle. */
typedef enum { MODEL_PREFILL = 0, MODEL_STEP, MODEL_DECODE, MODEL_SCORE, MODEL_PHASES } model_phase;

extern const char *const model_phase_names[MODEL_PHASES];

typedef struct {
    int n, rows; /* rows: distinct ones of a request's step */
    fc_cost_time phase[MODEL_PHASES];
} model_point;

typedef struct {
    const char *like, *novelty_file, *alignment_name, *weights, *kv_type, *gpu, *precise, *n_text, *out;
    int prompt, tokens, requests, max_rows, threads;
    float share;
    bool variant, filtered, unshared, cached;

    int n[SETUP_LIST], n_points;
    model_point *points; /* [n_points] */
    fc_cost_machine machine;
    fc_cost_model *novelty, *alignment; /* alignment NULL: none */
    bench_report report;                /* without points: command, settings, words */
} model_bench;

fc_cost_job model_job(const model_bench *b, int n, bool unshared);
fc_status model_text(const model_bench *b, fc_str *out);
fc_status model_json(const model_bench *b, fc_str *out);

#endif
