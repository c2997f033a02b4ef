#include "engine/app/bench/setup.h"

#include "engine/app/bench/conditions.h"
#include "engine/app/textio.h"
#include "engine/base/json.h"
#include "engine/base/mem.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { QUEUE = 4096 /* requests that may wait in an open loop */, WARM_UP_PROMPT = 1 << 20, RUNS_MAX = 1000000 };
static const double rate_min = 1e-3, rate_max = 1e6; /* a second */

void setup_init(setup *s, const char *job, int runs) {
    memset(s, 0, sizeof *s);
    request_args_init(&s->a);
    s->runs = runs;
    s->concurrency = 1;
    s->warm_up = 1;
    s->n_text = "1,4,16,64";
    s->report.job = job;
}

void setup_fini(setup *s) {
    report_fini(&s->report);
    if (s->target) s->target->close(s->target);
    bench_prompts_close(&s->prompts);
    fc_recipe_close(s->probe);
    fc_str_fini(&s->key);
    fc_str_fini(&s->body);
    request_args_fini(&s->a);
}

void setup_args(setup *s, arg *args, size_t *n) {
    request_args *a = &s->a;
#define PUT(kind, name, out, value, help) args[(*n)++] = arg_of(kind, name, out, value, help)
    snprintf(s->n_help, sizeof s->n_help, "candidates of a request, 1 to %d; default %s", SETUP_N_MAX, s->n_text);
    snprintf(s->runs_help, sizeof s->runs_help, "requests of each n, and of each rate; default %d", s->runs);
    PUT(ARG_HEADING, "What is measured:", NULL, NULL, NULL);
    PUT(ARG_TEXT, "recipe", &a->recipe, "FILE", "JSON that says the job, or interests; flags override it");
    PUT(ARG_TEXT, "novelty", &a->novelty, "MODEL",
        "the model that proposes; with --url: whose token ids prompts are made of");
    PUT(ARG_TEXT, "alignment", &a->alignment, "MODEL", "the model that scores, or none");
    request_args_taxonomy(a, args, n);
    PUT(ARG_TEXT, "url", &s->url, "URL", "a server with OpenAI's API instead of an engine in this process");
    PUT(ARG_TEXT, "api", &s->api, "API",
        "with --url: forkcast (best_of), vllm, llama (llama-server) or openai (n); default forkcast");
    PUT(ARG_TEXT, "model", &s->model, "NAME", "with --url: the model field");
    PUT(ARG_TEXT, "api-key-file", &s->key_file, "FILE", "with --url: a file whose first line is the bearer token");
    PUT(ARG_TEXT, "body", &s->more, "JSON",
        "with --url: an object whose fields every request gets, such as a grammar; or a file that holds one");
    PUT(ARG_TEXT, "score-url", &s->score_url, "URL", "with --url: a server whose rerank scores the candidates");
    PUT(ARG_TEXT, "score-model", &s->score_model, "NAME", "its model field");
    PUT(ARG_HEADING, "Load:", NULL, NULL, NULL);
    args[*n] = arg_of(ARG_TEXT, "n", &s->n_text, "N,N,...", s->n_help);
    args[(*n)++].letter = 'n';
    args[(*n)++] =
        arg_int("prompt-tokens", &s->prompt_tokens, 1, 1 << 20, "P", "prompts of so many random token ids each");
    PUT(ARG_TEXT, "prompts", &s->prompts_file, "FILE",
        "prompts of a file instead, one a line; for a recipe that takes a history: its names, apart by tabs");
    args[(*n)++] = arg_int("runs", &s->runs, 1, RUNS_MAX, "R", s->runs_help);
    args[(*n)++] =
        arg_int("warm-up", &s->warm_up, 0, 1000, "W", "requests of each n before, which do not count; default 1");
    PUT(ARG_FLAG, "keep-cache", &s->keep_cache, NULL,
        "requests may find in caches what earlier ones left; else each has a salt of its own");
    PUT(ARG_U64, "salt", &s->salt, "N",
        "of the run, in front of every request's: as an earlier run printed it, to repeat that; default: drawn");
    PUT(ARG_FLAG, "histories", &s->histories, NULL,
        "with --url: lines of --prompts are histories for the server's recipe");
    PUT(ARG_HEADING, "Output:", NULL, NULL, NULL);
    PUT(ARG_TEXT, "out", &s->out, "PREFIX", "writes PREFIX.json, PREFIX.csv and PREFIX.html");
    PUT(ARG_TEXT, "commit", &s->commit, "ID",
        "of the program, for the JSON: 7 to 40 hexadecimal digits, or -changed behind them");
    PUT(ARG_FLAG, "no-limits", &s->no_limits, NULL, "the machine's own limits are not measured, which takes a second");
#undef PUT
    request_args_one(a, args, n);
    request_args_scoring(a, args, n);
    request_args_ranking(a, true, args, n);
    request_args_engine(a, args, n);
}

/* ---- what was given ---- */

fc_status setup_ns(const char *text, int most, int n[SETUP_LIST], int *n_ns) {
    const char *at = text;
    *n_ns = 0;
    for (;;) {
        char *end;
        long v;
        errno = 0;
        v = strtol(at, &end, 10);
        if (end == at || errno || v < 1 || v > most || (*end && *end != ','))
            return FC_FAIL(FC_ERR_ARG, "-n: \"%s\" is not a list of numbers from 1 to %d, apart by commas", text, most);
        if (*n_ns == SETUP_LIST) return FC_FAIL(FC_ERR_ARG, "-n: more than %d numbers", SETUP_LIST);
        for (int i = 0; i < *n_ns; i++)
            if (n[i] == v) return FC_FAIL(FC_ERR_ARG, "-n: %ld is there twice", v);
        n[(*n_ns)++] = (int)v;
        if (!*end) return FC_OK;
        at = end + 1;
    }
}

static fc_status read_rates(setup *s) {
    const char *at = s->rate_text;
    while (at) {
        char *end;
        double v = strtod(at, &end);
        if (end == at || !(v >= rate_min && v <= rate_max) || (*end && *end != ','))
            return FC_FAIL(FC_ERR_ARG, "--rate: \"%s\" is not a list of numbers from %g to %g, apart by commas",
                           s->rate_text, rate_min, rate_max);
        if (s->n_rates == SETUP_LIST) return FC_FAIL(FC_ERR_ARG, "--rate: more than %d numbers", SETUP_LIST);
        s->rates[s->n_rates++] = v;
        at = *end ? end + 1 : NULL;
    }
    return FC_OK;
}

fc_status setup_commit(const char *id) {
    size_t n = id ? strspn(id, "0123456789abcdef") : 7;
    if (n < 7 || n > 40 || (id && id[n] && strcmp(id + n, "-changed") != 0))
        return FC_FAIL(FC_ERR_ARG,
                       "--commit: \"%.80s\" is no commit: 7 to 40 hexadecimal digits, or -changed behind them", id);
    return FC_OK;
}

static fc_status check_url(const setup *s) {
    const struct {
        const char *flag;
        const char *given;
    } remote[] = {{"api", s->api},   {"model", s->model},         {"api-key-file", s->key_file},
                  {"body", s->more}, {"score-url", s->score_url}, {"score-model", s->score_model}};
    for (size_t i = 0; i < sizeof remote / sizeof *remote && !s->url; i++)
        if (remote[i].given) return FC_FAIL(FC_ERR_ARG, "--%s: it belongs to --url", remote[i].flag);
    if (s->score_model && !s->score_url) return FC_FAIL(FC_ERR_ARG, "--score-model: it belongs to --score-url");
    if (s->histories && (!s->url || !s->prompts_file))
        return FC_FAIL(FC_ERR_ARG, "--histories: it belongs to --url and --prompts");
    if (s->histories && s->score_url)
        return FC_FAIL(FC_ERR_ARG, "--histories: --score-url ranks by the prompt's text, and a history has none");
    if (!s->url) return FC_OK;
    if (s->a.recipe || s->a.taxonomy || s->a.alignment)
        return FC_FAIL(FC_ERR_ARG, "--%s: a server has its own; leave it out with --url",
                       s->a.recipe     ? "recipe"
                       : s->a.taxonomy ? "taxonomy"
                                       : "alignment");
    return FC_OK;
}

/* A server that lives on must not know the prompts of the run before. */
static fc_status draw_salt(setup *s) {
    while (!s->salt)
        if (getrandom(&s->salt, sizeof s->salt, 0) != (ssize_t)sizeof s->salt)
            return FC_FAIL(FC_ERR_IO, "no random bytes for a salt: %s", strerror(errno));
    return FC_OK;
}

static fc_status check(setup *s) {
    FC_TRY(setup_ns(s->n_text, SETUP_N_MAX, s->n, &s->n_ns));
    FC_TRY(read_rates(s));
    FC_TRY(setup_commit(s->commit));
    FC_TRY(check_url(s));
    FC_TRY(draw_salt(s));
    if ((s->prompt_tokens != 0) == (s->prompts_file != NULL))
        return FC_FAIL(FC_ERR_ARG, "give --prompt-tokens or --prompts%s", s->prompts_file ? ", not both" : "");
    if (s->url && s->prompt_tokens && !s->a.novelty)
        return FC_FAIL(FC_ERR_ARG,
                       "--prompt-tokens: with --url, --novelty says the model whose ids they are; or give --prompts");
    return s->out ? report_can_write(s->out) : FC_OK;
}

/* ---- an engine in this process ---- */

/* What fills the recipe's templates before the first prompt does, and whether that is a history. */
static fc_status find_holes(setup *s, bool *histories) {
    const char *const *names;
    fc_holes holes = {.prompt = "x"};
    fc_request r;
    char why[400];
    fc_status st;
    *histories = false;
    if (!s->a.recipe) return FC_OK;
    FC_TRY(request_args_recipe(s->a.recipe, &s->probe));
    if (s->a.taxonomy) FC_TRY(fc_recipe_set_taxonomy(s->probe, s->a.taxonomy));
    st = fc_recipe_request(s->probe, &holes, &r);
    if (!st) return FC_OK;
    snprintf(why, sizeof why, "%s", fc_last_error());
    holes = (fc_holes){.n_history = fc_recipe_names(s->probe, &names)};
    if (holes.n_history > 2) holes.n_history = 2;
    if (holes.n_history) holes.history = names;
    if (!holes.n_history || fc_recipe_request(s->probe, &holes, &r)) return FC_FAIL(st, "%s", why);
    for (size_t i = 0; i < holes.n_history; i++) s->a.history.items[s->a.history.n++] = names[i];
    *histories = true;
    return FC_OK;
}

static fc_status open_local(setup *s, int most) {
    fc_request r;
    bool histories;
    FC_TRY(find_holes(s, &histories));
    if (!histories) s->a.prompt = "x";
    FC_TRY(request_args_request(&s->a, true, &r));
    /* fixed lengths: what a candidate is said to end with stays */
    if (!s->a.recipe && r.constraint == FC_CONSTRAINT_OFF && !option_args_gives(&s->a.options, "ignore_eos"))
        r.sampling.ignore_eos = true;
    if (!option_args_gives(&s->a.options, "max_requests") && !s->a.engine.max_requests)
        s->a.engine.max_requests = QUEUE;
    r.n = most;
    s->report.max_tokens = r.sampling.max_tokens;
    s->seed = r.seed;
    s->request = r;
    FC_TRY(bench_prompts_open(s->prompts_file, s->a.novelty, s->prompt_tokens, r.seed, histories, &s->prompts));
    return bench_local_open(&s->a, &r, &s->prompts, s->salt, &s->line, &s->target);
}

/* ---- a server ---- */

/* The inside of a JSON object, which joins that of every request. */
static fc_status put_inside(setup *s, const char *text, size_t size) {
    fc_json_doc *d;
    const char *from, *to = text + size;
    bool object, empty;
    FC_TRY(fc_json_parse("--body", text, size, &d));
    object = fc_json_kind(fc_json_root(d)) == FC_JSON_OBJECT;
    empty = object && fc_json_count(fc_json_root(d)) == 0;
    fc_json_close(d);
    if (!object) return FC_FAIL(FC_ERR_ARG, "--body: it takes a JSON object");
    from = strchr(text, '{') + 1;
    while (to[-1] != '}') to--;
    return empty ? FC_OK : fc_str_put(&s->body, from, (size_t)(to - 1 - from));
}

/* The first line of a file: what is on a command line, everybody sees. */
static fc_status read_key(setup *s) {
    char *text;
    size_t size, n;
    fc_status st;
    if (!s->key_file) return FC_OK;
    FC_TRY(text_read(s->key_file, &text, &size));
    n = strcspn(text, "\r\n");
    if (n) st = fc_str_put(&s->key, text, n);
    else st = FC_FAIL(FC_ERR_FORMAT, "%s: its first line is empty", s->key_file);
    fc_free(text);
    return st;
}

static fc_status read_more(setup *s) {
    char *text;
    size_t size;
    fc_status st;
    if (!s->more) return FC_OK;
    if (strchr("{[\"", s->more[0])) return put_inside(s, s->more, strlen(s->more));
    FC_TRY(text_read(s->more, &text, &size));
    st = put_inside(s, text, size);
    fc_free(text);
    return st;
}

/* What a flag says would be passed over in silence, if it were not among those that are sent. */
static fc_status check_sent(const setup *s) {
    static const char *const sent[] = {"keep",  "seed",  "max_tokens", "min_tokens", "temperature",
                                       "top_k", "top_p", "min_p",      "ignore_eos"};
    for (size_t i = 0; i < s->a.options.n; i++) {
        const fc_option *o = s->a.options.given[i].option;
        char flag[32];
        bool is_sent = false;
        for (size_t k = 0; k < sizeof sent / sizeof *sent; k++) is_sent = is_sent || strcmp(sent[k], o->name) == 0;
        if (is_sent) continue;
        option_flag(o, flag, sizeof flag);
        if (o->scope == FC_SCOPE_ENGINE)
            return FC_FAIL(FC_ERR_ARG, "--%s: a server has its own; leave it out with --url", flag);
        return FC_FAIL(FC_ERR_ARG, "--%s: it is not sent to servers; --body may say it", flag);
    }
    return FC_OK;
}

static fc_status open_remote(setup *s) {
    fc_request *r = &s->request;
    bench_remote_options o = {
        .url = s->url, .score_url = s->score_url, .score_model = s->score_model, .prompts = &s->prompts};
    FC_TRY(check_sent(s));
    *r = s->a.base;
    FC_TRY(option_args_set(&s->a.options, &s->a.engine, r));
    if (!option_args_gives(&s->a.options, "ignore_eos")) r->sampling.ignore_eos = true;
    if (!option_args_gives(&s->a.options, "keep")) r->keep = 1;
    FC_TRY(read_more(s));
    FC_TRY(read_key(s));
    if (s->key.size) o.key = fc_str_text(&s->key);
    o.form = (remote_form){.model = s->model,
                           .more = s->body.size ? fc_str_text(&s->body) : NULL,
                           .r = r,
                           .prompts = &s->prompts,
                           .salt = s->salt};
    FC_TRY(bench_api_parse(s->api ? s->api : "forkcast", &o.form.api));
    s->report.max_tokens = r->sampling.max_tokens;
    s->seed = r->seed;
    /* where no salt keeps caches apart, other prompts do */
    const uint64_t drawn_by = remote_salts(o.form.api) || s->keep_cache ? r->seed : r->seed ^ s->salt;
    FC_TRY(bench_prompts_open(s->prompts_file, s->a.novelty, s->prompt_tokens, drawn_by, s->histories, &s->prompts));
    return bench_remote_open(&o, &s->target);
}

/* ---- together ---- */

/* Every n, on prompts of its own: what is allocated and touched for the first time is in no sample. */
static fc_status warm_up(setup *s) {
    for (int i = 0; i < s->n_ns; i++)
        for (int w = 0; w < s->warm_up; w++) {
            const int prompt = WARM_UP_PROMPT + i * s->warm_up + w;
            bench_sample one;
            progress_say(&s->line, "warming up, n = %d", s->n[i]);
            FC_TRY(bench_load_one(
                s->target, &(bench_ask){.n = s->n[i], .seed = s->seed, .prompt = prompt, .salt = (uint64_t)prompt + 1},
                &one));
            if (!one.ok) return FC_FAIL(FC_ERR_IO, "the first request of n = %d failed: %s", s->n[i], one.why);
        }
    return FC_OK;
}

fc_status setup_open(setup *s, int argc, char **argv) {
    int most = 1;
    s->argc = argc;
    s->argv = argv;
    FC_TRY(check(s));
    for (int i = 0; i < s->n_ns; i++)
        if (s->n[i] > most) most = s->n[i];
    FC_TRY(s->url ? open_remote(s) : open_local(s, most));
    FC_TRY(conditions_put(s));
    return warm_up(s);
}

fc_status setup_point(setup *s, bench_point **out) {
    bench_report *r = &s->report;
    void *p = r->points;
    FC_TRY(fc_grow(&p, &s->cap_points, r->n_points + 1, sizeof *r->points, "points"));
    r->points = p;
    *out = &r->points[r->n_points++];
    return FC_OK;
}

bench_load setup_load(setup *s, int n, int round, int row) {
    return (bench_load){.n = n,
                        .requests = 1,
                        .concurrency = s->concurrency,
                        .seed = s->seed + (uint64_t)round,
                        .first = s->target->salts || s->keep_cache ? round : row * s->runs + round,
                        .series = ++s->series,
                        .keep_cache = s->keep_cache};
}
