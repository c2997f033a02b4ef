/* compare - bench compare: two results, case by case, with intervals from the samples that they keep. */
#include "engine/app/args.h"
#include "engine/app/bench/bench.h"
#include "engine/app/bench/cases.h"
#include "engine/app/bench/stats.h"
#include "engine/app/textio.h"
#include "engine/base/mem.h"

#include <stdio.h>
#include <string.h>

enum { FILE_MAX = 256 << 20, REQUESTS_MAX = 1000000000 };
enum { WORSE = 3, UNKNOWN = 4 }; /* exit codes */

typedef struct {
    float confidence, margin; /* percent */
    bool anyway;
    uint64_t seed;
} options;

/* ---- samples ---- */

/* *out [*n], fc_free. */
static fc_status numbers(const fc_json *list, double **out, size_t *n) {
    double *v;
    size_t at = 0;
    void *p;
    FC_TRY(fc_alloc(fc_json_count(list), sizeof *v, "samples", &p));
    v = p;
    for (const fc_json *x = fc_json_first(list); x; x = fc_json_next(x)) {
        fc_status st = fc_json_double(x, &v[at++]);
        if (st) {
            fc_free(v);
            return st;
        }
    }
    *out = v;
    *n = at;
    return FC_OK;
}

/* What one list of samples says. */
typedef struct {
    double a, b; /* median, or mean of values */
    size_t n_a, n_b;
    stats_interval between;
    bool known; /* there is an interval */
} verdict;

static fc_status judge(const fc_json *a, const fc_json *b, bool ratio, double confidence, uint64_t seed, verdict *out) {
    double *x = NULL, *y = NULL;
    verdict v = {0};
    fc_status st = numbers(a, &x, &v.n_a);
    if (!st) st = numbers(b, &y, &v.n_b);
    if (!st && v.n_a && v.n_b) {
        if (v.n_a >= STATS_LEAST && v.n_b >= STATS_LEAST)
            st = (ratio ? stats_ratio : stats_difference)(x, v.n_a, y, v.n_b, confidence, seed, &v.between);
        v.known = !st && v.n_a >= STATS_LEAST && v.n_b >= STATS_LEAST;
        if (st == FC_ERR_ARG) st = FC_OK; /* a median of 0 has no ratio */
        v.a = stats_mean(x, v.n_a);
        v.b = stats_mean(y, v.n_b);
        if (ratio) {
            stats_sort(x, v.n_a);
            stats_sort(y, v.n_b);
            v.a = stats_percentile(x, v.n_a, 0.5);
            v.b = stats_percentile(y, v.n_b, 0.5);
        }
    }
    fc_free(x);
    fc_free(y);
    *out = v;
    return st;
}

static fc_status put_verdict(const char *name, const verdict *v, bool ratio, const char *word, fc_str *out) {
    double scale = ratio ? 1e3 : 1;
    FC_TRY(fc_str_printf(out, "  %-14s %12.4g %12.4g", name, v->a * scale, v->b * scale));
    if (!v->known && v->n_a >= STATS_LEAST && v->n_b >= STATS_LEAST)
        return fc_str_puts(out, "  no interval: a median of 0 has no ratio\n");
    if (!v->known)
        return fc_str_printf(out, "  %zu and %zu samples: too few, %d are needed\n", v->n_a, v->n_b, STATS_LEAST);
    return fc_str_printf(out, ratio ? "  %.4f (%.4f to %.4f)%s\n" : "  %+.4f (%+.4f to %+.4f)%s\n", v->between.mid,
                         v->between.low, v->between.high, word);
}

/* ---- failures ---- */

/* Times that a row keeps: of whole requests, where it says them. */
static size_t samples(const fc_json *row) {
    const fc_json *seconds = fc_json_get(row, "seconds"), *total = fc_json_get(seconds, "total");
    size_t n = 0;
    if (total) return fc_json_count(total);
    for (const fc_json *list = fc_json_first(seconds); list; list = fc_json_next(list)) n += fc_json_count(list);
    return n;
}

/* A load that a search for the highest rate tried: what it tried next, and when it gave up, it found out. */
static bool is_tried(const fc_json *row) { return fc_json_get(fc_json_get(row, "counts"), "kept") != NULL; }

/* false: the row does not say. */
static bool read_failures(const fc_json *row, size_t *failed, size_t *of) {
    const fc_json *counts = fc_json_get(row, "counts");
    double f, n;
    if (!fc_json_get(counts, "failures") || !fc_json_get(counts, "requests")) return false;
    if (fc_json_double(fc_json_get(counts, "failures"), &f) || fc_json_double(fc_json_get(counts, "requests"), &n))
        return false;
    *failed = (size_t)f;
    *of = (size_t)n;
    return true;
}

/* level: chance of luck below which B's larger share of failures is none. */
static fc_status put_failures(const fc_json *a, const fc_json *b, double level, bool *worse, fc_str *out) {
    size_t f_a, n_a, f_b, n_b;
    double luck;
    if (!samples(b) && samples(a)) {
        *worse = true;
        FC_TRY(fc_str_puts(out, "  no times in B  B is worse\n"));
    }
    if (is_tried(a) || !read_failures(a, &f_a, &n_a) || !read_failures(b, &f_b, &n_b) || f_a + f_b == 0) return FC_OK;
    luck = stats_by_luck(f_a, n_a, f_b, n_b);
    *worse = *worse || luck < level;
    return fc_str_printf(out, "  failed         %zu of %zu in A, %zu of %zu in B; by luck in %.2g %% of runs%s\n", f_a,
                         n_a, f_b, n_b, 100 * luck, luck < level ? "  B is worse" : "");
}

/* ---- cases ---- */

typedef struct {
    int worse, judged, unknown;
} tally;

/* Why nothing follows for a case that both have. */
static const char *why_unknown(const fc_json *a, const fc_json *b) {
    const char *const total = "total";
    if (!fc_json_get(fc_json_get(a, "seconds"), total) || !fc_json_get(fc_json_get(b, "seconds"), total))
        return "total times are not in both";
    return samples(a) ? "too few total times" : "no times in A";
}

/* A row of both; counts what is found. */
static fc_status put_row(const fc_json *a, const fc_json *b, const options *o, double confidence, tally *t,
                         fc_str *out) {
    static const struct {
        const char *key;
        bool ratio;
    } parts[] = {{"seconds", true}, {"values", false}};
    bool worse = false, judged = false;
    for (size_t i = 0; i < 2; i++) {
        const fc_json *x = fc_json_get(a, parts[i].key), *y = fc_json_get(b, parts[i].key);
        for (const fc_json *n = x ? fc_json_first(x) : NULL; n; n = fc_json_next(n)) {
            const fc_json *other = fc_json_get(y, fc_json_key(n));
            bool total = parts[i].ratio && strcmp(fc_json_key(n), "total") == 0;
            const char *word = "";
            verdict v;
            if (!other) continue;
            FC_TRY(judge(n, other, parts[i].ratio, confidence, o->seed, &v));
            if (!v.n_a || !v.n_b) continue;
            if (total && v.known) {
                const double margin = (double)o->margin / 100;
                judged = true;
                if (v.between.low > 1 + margin) word = "  B is worse", worse = true;
                else if (v.between.high < 1 / (1 + margin)) word = "  B is better";
                else word = "  no difference is shown";
            }
            FC_TRY(put_verdict(fc_json_key(n), &v, parts[i].ratio, word, out));
        }
    }
    FC_TRY(put_failures(a, b, (1 - confidence) / 2, &worse, out)); /* half: an interval of totals has two ends */
    t->judged += judged || worse;
    t->worse += worse;
    if (judged || worse || is_tried(a)) return FC_OK;
    t->unknown++;
    return fc_str_printf(out, "  not judged: %s\n", why_unknown(a, b));
}

/* Rows of A (0) or B (1) alone. t: what B lacks is counted; NULL: it is A that lacks it. */
static fc_status put_missing(const bench_cases *c, int in, tally *t, fc_str *out) {
    for (const fc_json *r = fc_json_first(c->rows[in]); r; r = fc_json_next(r)) {
        if (bench_cases_row(c, !in, r)) continue;
        FC_TRY(fc_str_printf(out, "only in %c: ", "AB"[in]));
        FC_TRY(bench_cases_name(c, r, out));
        FC_TRY(fc_str_puts(out, "\n"));
        if (!t || is_tried(r) || !samples(r)) continue;
        FC_TRY(fc_str_puts(out, "  no such case in B  B is worse\n"));
        t->judged++;
        t->worse++;
    }
    return FC_OK;
}

static bool is(const fc_json *n, fc_json_type kind) { return n && fc_json_kind(n) == kind; }

/* Every list of an object is an array. */
static bool lists(const fc_json *n) {
    if (!is(n, FC_JSON_OBJECT)) return false;
    for (const fc_json *c = fc_json_first(n); c; c = fc_json_next(c))
        if (!is(c, FC_JSON_ARRAY)) return false;
    return true;
}

/* A row may count requests and those that failed, in whole numbers. */
static bool counts_failures(const fc_json *row) {
    static const char *const keys[] = {"failures", "requests"};
    const fc_json *counts = fc_json_get(row, "counts");
    int64_t v[2] = {0, REQUESTS_MAX};
    if (counts && !is(counts, FC_JSON_OBJECT)) return false;
    for (size_t i = 0; i < 2; i++) {
        const fc_json *n = fc_json_get(counts, keys[i]);
        if (n && (!is(n, FC_JSON_NUMBER) || fc_json_int(n, 0, REQUESTS_MAX, &v[i]))) return false;
    }
    return v[0] <= v[1];
}

static bool is_result(const fc_json *root) {
    const fc_json *rows = fc_json_get(root, "rows"), *settings = fc_json_get(root, "settings");
    if (!is(rows, FC_JSON_ARRAY) || !fc_json_count(rows) || (settings && !is(settings, FC_JSON_OBJECT))) return false;
    for (const fc_json *r = fc_json_first(rows); r; r = fc_json_next(r)) {
        const fc_json *values = fc_json_get(r, "values");
        if (!is(fc_json_get(r, "case"), FC_JSON_OBJECT) || !is(fc_json_get(r, "subject"), FC_JSON_OBJECT)) return false;
        if (!counts_failures(r)) return false;
        if (!lists(fc_json_get(r, "seconds")) || (values && !lists(values))) return false;
    }
    return true;
}

static fc_status read_result(const char *path, fc_json_doc **d) {
    FC_TRY(fc_json_open(path, FILE_MAX, d));
    if (is_result(fc_json_root(*d))) return FC_OK;
    return FC_FAIL(FC_ERR_FORMAT, "%s: it is no result (bench/result.schema.json)", path);
}

static fc_status put_end(const options *o, const tally *t, fc_str *out) {
    if (t->unknown || !t->judged)
        FC_TRY(fc_str_printf(out, "%d of %d cases could not be judged, so that B may be worse there\n", t->unknown,
                             t->unknown + t->judged));
    return fc_str_printf(out,
                         "B is worse in %d of %d cases that could be judged, by total time, failures or lack of it; "
                         "intervals of totals hold together with %g %% confidence (%d resamplings, seed %llu)\n",
                         t->worse, t->judged, (double)o->confidence, STATS_RESAMPLES, (unsigned long long)o->seed);
}

static fc_status compare(const bench_cases *c, const options *o, tally *t, fc_str *out) {
    size_t n = bench_cases_common(c);
    double confidence = n ? 1 - (1 - (double)o->confidence / 100) / (double)n
                          : 0; /* of each total's, so that all of them hold together */
    if (c->unlike.size && !o->anyway)
        return FC_FAIL(FC_ERR_ARG, "A and B were not measured alike: %s; --anyway compares them all the same",
                       fc_str_text(&c->unlike));
    if (!n) return FC_FAIL(FC_ERR_ARG, "A and B have no case in common");
    if (c->unlike.size) FC_TRY(fc_str_printf(out, "not measured alike: %s\n", fc_str_text(&c->unlike)));
    FC_TRY(fc_str_puts(
        out, "                            A            B  of times, in ms: medians, B / A; of values: means, B - A\n"));
    for (const fc_json *r = fc_json_first(c->rows[0]); r; r = fc_json_next(r)) {
        const fc_json *other = bench_cases_row(c, 1, r);
        if (!other) continue;
        FC_TRY(bench_cases_name(c, r, out));
        FC_TRY(fc_str_puts(out, "\n"));
        FC_TRY(put_row(r, other, o, confidence, t, out));
    }
    FC_TRY(put_missing(c, 0, t, out));
    FC_TRY(put_missing(c, 1, NULL, out));
    return put_end(o, t, out);
}

static fc_status job(const char *path_a, const char *path_b, const options *o, tally *t) {
    fc_json_doc *a = NULL, *b = NULL;
    bench_cases cases = {0};
    fc_str out = {0};
    fc_status st = read_result(path_a, &a);
    if (!st) st = read_result(path_b, &b);
    if (!st) st = bench_cases_find(fc_json_root(a), fc_json_root(b), &cases);
    if (!st) st = compare(&cases, o, t, &out);
    if (!st) st = text_write(fc_str_text(&out), out.size);
    fc_str_fini(&out);
    bench_cases_fini(&cases);
    fc_json_close(b);
    fc_json_close(a);
    return st;
}

int bench_compare(int argc, char **argv) {
    options o = {.confidence = 95, .seed = 1};
    bool help;
    tally t = {0};
    int rest, code;
    arg args[] = {
        arg_of(ARG_FLOAT, "confidence", &o.confidence, "PCT",
               "that the intervals of all total times hold together; default 95"),
        arg_of(ARG_FLOAT, "margin", &o.margin, "PCT",
               "B is worse where it surely takes more than PCT % longer; default 0"),
        arg_of(ARG_FLAG, "anyway", &o.anyway, NULL,
               "also what was measured under other conditions, case by case as far as these go"),
        arg_of(ARG_U64, "seed", &o.seed, "S", "of resampling; default 1"),
    };
    command c = {
        .name = "bench compare",
        .usage = "bench compare A.json B.json [options]",
        .about = "Compares two results case by case, with intervals by resampling (bootstrap) of the samples that they "
                 "keep.\n"
                 "B is worse where it surely takes longer, surely fails more often, or lacks what A has.\n"
                 "Exit code: 0 B is nowhere shown to be worse, 3 it is, 4 it is not, but some case or all could not be "
                 "judged,\n1 failed, 2 wrong arguments.",
        .args = args,
        .n_args = sizeof args / sizeof *args,
        .positional = "A.json B.json",
    };
    fc_status st = args_parse(&c, argc, argv, &rest, &help);
    if (!st && !help && argc - rest != 2)
        st = FC_FAIL(FC_ERR_ARG, "two results are compared, and %d are given", argc - rest);
    if (!st && !help && !(o.confidence > 0 && o.confidence < 100))
        st = FC_FAIL(FC_ERR_ARG, "--confidence: %g is not between 0 and 100", (double)o.confidence);
    if (!st && !help && o.margin < 0) st = FC_FAIL(FC_ERR_ARG, "--margin: %g is below 0", (double)o.margin);
    if (!st && !help) st = job(argv[rest], argv[rest + 1], &o, &t);
    code = args_exit("bench compare", st);
    if (code || help) return code;
    return t.worse ? WORSE : t.unknown || !t.judged ? UNKNOWN : 0;
}
