/* model - bench model: what a best-of-n job should take on a machine, by the costs of its kernels. */
#include "engine/app/bench/model.h"

#include "engine/app/bench/bench.h"
#include "engine/app/bench/conditions.h"
#include "engine/app/textio.h"
#include "engine/base/mem.h"

#include <stdio.h>
#include <string.h>

enum { MOST_N = 4096, MOST = 1 << 20, CROSSING = 1024 /* how far a crossing is looked for */ };

/* ---- crossings ---- */

/* The least n from 2 on of which `is` is true, of those that are tried; 0: of none. It is taken to stay true. */
static fc_status first_n(model_bench *b, fc_status (*is)(model_bench *b, int n, bool *out), int *out) {
    int low = 1, high = 2;
    bool yes = false;
    for (; high <= CROSSING; high *= 2) {
        FC_TRY(is(b, high, &yes));
        if (yes) break;
        low = high;
    }
    *out = 0;
    if (!yes) return FC_OK;
    while (high - low > 1) {
        int mid = low + (high - low) / 2;
        FC_TRY(is(b, mid, &yes));
        if (yes) high = mid;
        else low = mid;
    }
    *out = high;
    return FC_OK;
}

static fc_status middle_step(model_bench *b, int n, bool unshared, fc_cost_time *out) {
    const fc_cost_job j = model_job(b, n, unshared);
    return fc_cost_step(b->novelty, &b->machine, &j, (b->tokens + 1) / 2, out);
}

static double attention_of(const fc_cost_time *t) {
    for (int i = 0; i < t->n_parts; i++)
        if (strcmp(t->parts[i].name, "attn") == 0) return t->parts[i].seconds;
    return 0;
}

static fc_status attention_gains(model_bench *b, int n, bool *out) {
    fc_cost_time shared, alone;
    FC_TRY(middle_step(b, n, false, &shared));
    FC_TRY(middle_step(b, n, true, &alone));
    *out = attention_of(&shared) <= 0.98 * attention_of(&alone);
    return FC_OK;
}

static fc_status step_gains(model_bench *b, int n, bool *out) {
    fc_cost_time shared, alone;
    FC_TRY(middle_step(b, n, false, &shared));
    FC_TRY(middle_step(b, n, true, &alone));
    *out = shared.seconds <= 0.9 * alone.seconds;
    return FC_OK;
}

/* Do a step's products take longer than reading their weights once, by operations or by reading them again? */
static fc_status computes(model_bench *b, int n, bool *out) {
    const fc_cost_machine *c = &b->machine;
    double took = 0, reads = 0;
    fc_cost_time t;
    FC_TRY(middle_step(b, n, false, &t));
    for (int i = 0; i < t.n_parts; i++) {
        const fc_cost_part *p = &t.parts[i];
        if (strcmp(p->name, "attn") == 0 || strcmp(p->name, "rest") == 0 || strcmp(p->name, "draw") == 0) continue;
        took += p->seconds;
        reads += p->load.memory / (c->memory_gbs * 1e9 * c->reach_memory) + p->load.launches * c->launch_us * 1e-6;
    }
    *out = took > 1.25 * reads;
    return FC_OK;
}

static fc_status put_crossing(fc_str *out, int n, const char *what) {
    return n ? fc_str_printf(out, "From n = %d on %s.\n", n, what)
             : fc_str_printf(out, "At no n up to %d %s.\n", CROSSING, what);
}

static fc_status put_crossings(model_bench *b, fc_str *out) {
    int attn, step, ops;
    if (b->requests == 1 && b->share >= 1.0f) {
        FC_TRY(first_n(b, attention_gains, &attn));
        FC_TRY(first_n(b, step_gains, &step));
        FC_TRY(put_crossing(out, attn,
                            "attention over the shared prompt is faster than over a copy for each candidate (by 2 %)"));
        FC_TRY(put_crossing(out, step, "a whole step is (by 10 %)"));
    }
    FC_TRY(first_n(b, computes, &ops));
    return put_crossing(out, ops, "products of a step take a quarter longer than reading their weights once");
}

/* ---- the work ---- */

fc_cost_job model_job(const model_bench *b, int n, bool unshared) {
    double rows = (double)n * (double)b->share;
    return (fc_cost_job){.requests = b->requests,
                         .prompt = b->prompt,
                         .tokens = b->tokens,
                         .n = n,
                         .rows = rows < 1 ? 1 : (int)(rows + 0.5),
                         .unshared = unshared};
}

static fc_status predict(model_bench *b, int n, model_point *p) {
    const fc_cost_job j = model_job(b, n, b->unshared);
    *p = (model_point){.n = n, .rows = j.rows};
    FC_TRY(fc_cost_prefill(b->novelty, &b->machine, &j, &p->phase[MODEL_PREFILL]));
    FC_TRY(fc_cost_step(b->novelty, &b->machine, &j, (b->tokens + 1) / 2, &p->phase[MODEL_STEP]));
    FC_TRY(fc_cost_decode(b->novelty, &b->machine, &j, &p->phase[MODEL_DECODE]));
    if (b->alignment) FC_TRY(fc_cost_score(b->alignment, &b->machine, &j, b->cached, &p->phase[MODEL_SCORE]));
    return FC_OK;
}

static bool imprecise(const model_bench *b) {
    return strcmp(b->gpu, "cpu") != 0 && (!b->precise || strcmp(b->precise, "true") != 0);
}

static fc_status open_models(model_bench *b) {
    fc_str novelty = {0}, alignment = {0};
    fc_cost_options o = {.weights = b->weights,
                         .kv_type = b->kv_type,
                         .max_rows = b->max_rows,
                         .variant = b->variant,
                         .imprecise = imprecise(b),
                         .filtered = b->filtered};
    fc_status st;
    if (!b->like == !b->novelty_file)
        return FC_FAIL(FC_ERR_ARG, "--like or --novelty: one of them names the model that proposes");
    FC_TRY_GOTO(st, b->like ? fc_str_printf(&novelty, "like:%s", b->like) : fc_str_puts(&novelty, b->novelty_file),
                out);
    o.path = fc_str_text(&novelty);
    FC_TRY_GOTO(st, fc_cost_model_open(&o, &b->novelty), out);
    FC_TRY_GOTO(st, report_set(&b->report, "novelty", "%s", text_file_name(o.path)), out);
    if (!b->alignment_name) b->alignment_name = "same";
    if (strcmp(b->alignment_name, "none") != 0) {
        st = strcmp(b->alignment_name, "same") == 0 ? fc_str_puts(&alignment, o.path)
                                                    : fc_str_puts(&alignment, b->alignment_name);
        if (!st) o.path = fc_str_text(&alignment);
        if (!st) st = fc_cost_model_open(&o, &b->alignment);
        if (st) goto out;
    }
    st = report_set(&b->report, "alignment", "%s", b->alignment ? text_file_name(o.path) : "none");
out:
    fc_str_fini(&alignment);
    fc_str_fini(&novelty);
    return st;
}

static fc_status put_settings(model_bench *b) {
    bench_report *r = &b->report;
    FC_TRY(report_set(r, "machine", "%s", b->machine.about));
    FC_TRY(report_set(r, "weights", "%s", b->weights ? b->weights : "as in the file"));
    FC_TRY(report_set(r, "kv_type", "%s", b->kv_type ? b->kv_type : "as the engine chooses"));
    FC_TRY(report_set(r, "prompt_tokens", "%d", b->prompt));
    FC_TRY(report_set(r, "max_tokens", "%d", b->tokens));
    FC_TRY(report_set(r, "requests", "%d", b->requests));
    FC_TRY(report_set(r, "max_rows", "%d", b->max_rows));
    FC_TRY(report_set(r, "distinct", "%g", (double)b->share));
    FC_TRY(report_set(r, "batch_invariant", "%s", b->variant ? "false" : "true"));
    FC_TRY(report_set(r, "precise", "%s", imprecise(b) ? "false" : "true"));
    FC_TRY(report_set(r, "draw", "%s", b->filtered ? "from logits in memory" : "by the head"));
    FC_TRY(report_set(r, "sharing", "%s", b->unshared ? "none" : "prompt"));
    return report_set(r, "prompt_of_scores", "%s", b->cached ? "in the cache" : "computed");
}

/* An option that would change nothing is a mistake. */
static fc_status check_meaning(const model_bench *b) {
    const bool cpu = strcmp(b->gpu, "cpu") == 0;
    if (b->threads && !cpu) return FC_FAIL(FC_ERR_ARG, "--threads: of --gpu cpu alone");
    if (b->variant && cpu) return FC_FAIL(FC_ERR_ARG, "--no-batch-invariant: of a GPU alone, as only cuBLASLt is not");
    if (b->precise && cpu && strcmp(b->precise, "false") == 0)
        return FC_FAIL(FC_ERR_ARG, "--precise false: of a GPU alone; what it saves here is not modelled");
    if (b->precise && strcmp(b->precise, "auto") != 0 && strcmp(b->precise, "true") != 0 &&
        strcmp(b->precise, "false") != 0)
        return FC_FAIL(FC_ERR_ARG, "--precise: \"%s\"; it is auto, true or false", b->precise);
    if (b->cached && b->alignment_name && strcmp(b->alignment_name, "none") == 0)
        return FC_FAIL(FC_ERR_ARG, "--cached: of an alignment model, and there is none");
    return FC_OK;
}

static fc_status job(model_bench *b, int argc, char **argv) {
    fc_str typed = {0}, out = {0};
    fc_status st;
    void *p;
    FC_TRY(setup_ns(b->n_text, MOST_N, b->n, &b->n_points));
    FC_TRY(setup_commit(b->report.commit));
    FC_TRY(check_meaning(b));
    if (!(b->share > 0.0f && b->share <= 1.0f))
        return FC_FAIL(FC_ERR_ARG, "--distinct: %g; above 0, at most 1", (double)b->share);
    if (b->out) FC_TRY(report_can_write(b->out));
    FC_TRY(fc_cost_machine_find(b->gpu, b->threads, &b->machine));
    if (!b->max_rows) b->max_rows = fc_cost_rows(&b->machine);
    FC_TRY(fc_machine_inspect(false, 0, &b->report.machine));
    FC_TRY(open_models(b));
    FC_TRY(put_settings(b));
    FC_TRY(fc_alloc((size_t)b->n_points, sizeof *b->points, "predictions", &p));
    b->points = p;
    for (int i = 0; i < b->n_points; i++) FC_TRY(predict(b, b->n[i], &b->points[i]));
    FC_TRY(put_crossings(b, &b->report.words));
    st = conditions_command(argc, argv, &typed);
    if (!st) st = fc_copy_str(fc_str_text(&typed), "the command", &b->report.command);
    if (!st) st = model_text(b, &out);
    if (!st) st = text_write(fc_str_text(&out), out.size);
    if (!st && b->out) {
        fc_str_clear(&out);
        st = model_json(b, &out);
        if (!st) st = report_write_file(b->out, ".json", &out);
    }
    fc_str_fini(&out);
    fc_str_fini(&typed);
    return st;
}

static void fini(model_bench *b) {
    report_fini(&b->report);
    fc_cost_model_close(b->alignment);
    fc_cost_model_close(b->novelty);
    fc_free(b->points);
}

int bench_model(int argc, char **argv) {
    model_bench b = {.gpu = "cpu",
                     .n_text = "1,8,64,256",
                     .prompt = 1024,
                     .tokens = 256,
                     .requests = 1,
                     .share = 1.0f,
                     .report.job = "model"};
    arg args[] = {
        arg_of(ARG_HEADING, "Models:", NULL, NULL, NULL),
        arg_of(ARG_TEXT, "like", &b.like, "NAME",
               "the novelty model's shapes, by the name of a preset of `forkcast tiny`"),
        arg_of(ARG_TEXT, "novelty", &b.novelty_file, "FILE", "the same of a file, of which the head alone is read"),
        arg_of(ARG_TEXT, "alignment", &b.alignment_name, "FILE|like:NAME|none",
               "whose log-likelihood scores; default: another one of the novelty model's shapes"),
        arg_of(ARG_TEXT, "weights", &b.weights, "TYPE", "bf16, fp8, int8 or int4 instead of the types of the file"),
        arg_of(ARG_TEXT, "kv-type", &b.kv_type, "TYPE", "f32, bf16, int8 or fp8; default: as the engine chooses"),
        arg_of(ARG_HEADING, "Machine:", NULL, NULL, NULL),
        arg_of(ARG_TEXT, "gpu", &b.gpu, "NAME",
               "h100, h100-pcie, h200, a100, l40s, or cpu: this machine, whose limits are measured; default cpu"),
        arg_int("threads", &b.threads, 1, 1024, "N", "with cpu; default: all cores"),
        arg_of(ARG_HEADING, "Work:", NULL, NULL, NULL),
        arg_of(ARG_TEXT, "n", &b.n_text, "N,N,...", "candidates of a request, 1 to 4096; default 1,8,64,256"),
        arg_int("prompt-tokens", &b.prompt, 1, MOST, "P", "of each request; default 1024"),
        arg_int("max-tokens", &b.tokens, 1, MOST, "G", "of each candidate; default 256"),
        arg_int("requests", &b.requests, 1, 65536, "C", "at once, alike, each with a prompt of its own; default 1"),
        arg_of(ARG_FLOAT, "distinct", &b.share, "SHARE",
               "rows of a step by n: what coalescing or a trie leaves, above 0 to 1; default 1, nothing agrees"),
        arg_int("max-rows", &b.max_rows, 0, 65535, "N",
                "rows of one batch; default 0: the engine's, 512, on a GPU 1024"),
        arg_of(ARG_FLAG, "no-batch-invariant", &b.variant, NULL, "cuBLASLt for 128 rows and more of bf16 weights"),
        arg_of(
            ARG_TEXT, "precise", &b.precise, "WORD",
            "auto, true or false: the engine's option; on a GPU auto is false: what norms leave is bf16 in products, "
            "not two halves of it"),
        arg_of(ARG_FLAG, "filtered", &b.filtered, NULL,
               "draws by top-p or alike: from logits in memory, not by the head"),
        arg_of(ARG_FLAG, "no-sharing", &b.unshared, NULL, "each candidate's attention reads a prompt of its own"),
        arg_of(ARG_FLAG, "cached", &b.cached, NULL, "the alignment model has the prompt's KV"),
        arg_of(ARG_HEADING, "Result:", NULL, NULL, NULL),
        arg_of(ARG_TEXT, "out", &b.out, "PREFIX", "writes PREFIX.json, in the form of bench/result.schema.json"),
        arg_of(ARG_TEXT, "commit", &b.report.commit, "ID", "what the result says it was made at"),
    };
    command c = {
        .name = "bench model",
        .usage = "bench model --like NAME|--novelty FILE [--gpu h100] [-n 1,8,64,256] [options]",
        .about = "Predicts what a best-of-n job takes on a machine: the engine's own plans of every pass, the bytes, "
                 "operations and\n"
                 "launches of every kernel, and what share of the peaks kernels reached on an H100. "
                 "Nothing runs.",
        .args = args,
        .n_args = sizeof args / sizeof *args,
    };
    bool help;
    int rest;
    fc_status st;
    for (size_t i = 0; i < c.n_args; i++)
        if (args[i].name && strcmp(args[i].name, "n") == 0) args[i].letter = 'n';
    st = args_parse(&c, argc, argv, &rest, &help);
    if (!st && !help) st = job(&b, argc, argv);
    fini(&b);
    return args_exit("bench model", st);
}
