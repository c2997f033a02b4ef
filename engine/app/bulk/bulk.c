/* bulk - best-of-n for all keys of a plan: from flags to a published table. */
#include "engine/app/bulk/gates.h"
#include "engine/app/bulk/run.h"
#include "engine/app/commands.h"
#include "engine/app/print.h"
#include "engine/app/textio.h"
#include "engine/base/hash.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    request_args a;
    gates g;
    const char *table, *prompts, *retrieved_path, *shard, *work_path;
    plan_shape shape;
    bool json, no_publish;
    int flight, retries;

    plan p;
    lines_map retrieved;
    fc_engine *e;
    fc_table *work, *old;
    fc_str work_name, settings, keys;
    char prints[8][24], kv_type[24], base_seed[24], planned[24], numerics[16];
    run_counts n;
    gate_result gates[GATES];
    bool published;
} bulk;

/* ---- what rows are computed with ---- */

static void print_hash(uint64_t h, char out[24]) { snprintf(out, 24, "%016llx", (unsigned long long)h); }

/* What flags say in place of the recipe's. */
static uint64_t put_flags(uint64_t h, const request_args *a) {
    if (a->suffix) h = fc_siphash(h, 1, a->suffix, strlen(a->suffix));
    for (size_t i = 0; i < a->labels.n; i++) h = fc_siphash(h, 2, a->labels.items[i], strlen(a->labels.items[i]));
    return h;
}

static fc_status print_path(const char *path, char out[24]) {
    uint64_t h;
    out[0] = '\0';
    if (!path) return FC_OK;
    FC_TRY(fc_table_fingerprint(path, &h));
    print_hash(h, out);
    return FC_OK;
}

static fc_status make_meta(bulk *b, const fc_request *r, fc_table_meta *m) {
    const char *paths[4] = {b->a.novelty, r->score ? b->a.alignment : NULL, NULL, NULL};
    const fc_recipe_info *info = fc_recipe_edit(b->a.opened);
    fc_engine_info engine;
    fc_taxonomy_names names;
    fc_engine_describe(b->e, &engine);
    paths[2] = request_args_adapter(&b->a, r->novelty_adapter);
    paths[3] = r->score ? request_args_adapter(&b->a, r->alignment_adapter) : NULL;
    for (int i = 0; i < 4; i++) FC_TRY(print_path(paths[i], b->prints[i]));
    if (fc_recipe_taxonomy(b->a.opened, &names)) {
        print_hash(fc_table_names(&names, r->diversity), b->prints[4]);
        print_hash(fc_table_taxonomy(&names), b->prints[5]);
    }
    print_hash(put_flags(fc_table_templates(b->a.opened), &b->a), b->prints[6]);
    if (b->prompts || b->retrieved.n) print_hash(b->p.texts ^ b->retrieved.fingerprint, b->prints[7]);
    snprintf(b->kv_type, sizeof b->kv_type, "%s%s%s", engine.novelty.kv_type, r->score ? "," : "",
             r->score ? engine.alignment.kv_type : "");
    FC_TRY(fc_table_settings(r, &info->engine, &b->settings));
    FC_TRY(plan_describe(&b->p, &b->keys));
    snprintf(b->base_seed, sizeof b->base_seed, "%llu", (unsigned long long)info->request.seed);
    snprintf(b->planned, sizeof b->planned, "%lld", (long long)(b->p.end - b->p.first));
    snprintf(b->numerics, sizeof b->numerics, "%d", fc_table_numerics());
    *m = (fc_table_meta){{
        [FC_META_VERSION] = fc_version(),
        [FC_META_NUMERICS] = b->numerics,
        [FC_META_BACKEND] = engine.backend,
        [FC_META_CPU] = engine.cpu,
        [FC_META_KV_TYPE] = b->kv_type,
        [FC_META_NOVELTY] = b->prints[0],
        [FC_META_ALIGNMENT] = b->prints[1],
        [FC_META_NOVELTY_ADAPTER] = b->prints[2],
        [FC_META_ALIGNMENT_ADAPTER] = b->prints[3],
        [FC_META_NAMES] = b->prints[4],
        [FC_META_TAXONOMY] = b->prints[5],
        [FC_META_TEMPLATES] = b->prints[6],
        [FC_META_TEXTS] = b->prints[7],
        [FC_META_SETTINGS] = fc_str_text(&b->settings),
        [FC_META_SEED] = b->base_seed,
        [FC_META_KEYS] = fc_str_text(&b->keys),
        [FC_META_SHARD] = b->shard ? b->shard : "1/1",
        [FC_META_PLANNED] = b->planned,
    }};
    for (int i = 0; i < FC_TABLE_META; i++) { /* what points into `engine` is copied before it goes */
        void *p;
        FC_TRY(fc_arena_alloc(&b->p.arena, strlen(m->value[i]) + 1, 1, &p));
        m->value[i] = memcpy(p, m->value[i], strlen(m->value[i]) + 1);
    }
    return FC_OK;
}

/* ---- parts of the job ---- */

static fc_status check(const bulk *b) {
    if (!b->table) return FC_FAIL(FC_ERR_ARG, "--table: a file is needed");
    if (b->shape.clusters < 1 || b->shape.clusters > PLAN_CLUSTERS_MAX)
        return FC_FAIL(FC_ERR_ARG, "--clusters: %d is not 1, 2 or 3", b->shape.clusters);
    if (b->flight < 1 || b->flight > RUN_FLIGHT_MAX)
        return FC_FAIL(FC_ERR_ARG, "--in-flight: %d is not between 1 and %d", b->flight, RUN_FLIGHT_MAX);
    if (b->prompts && (b->shape.set || b->shape.self))
        return FC_FAIL(FC_ERR_ARG, "--%s: it is for histories, and --prompts has its own keys",
                       b->shape.set ? "set" : "self");
    return gates_prepare(&b->g);
}

static fc_status make_plan(bulk *b) {
    const char *const *names;
    size_t n = fc_recipe_names(b->a.opened, &names);
    if (b->prompts) FC_TRY(plan_prompts(&b->p, b->prompts));
    else FC_TRY(plan_histories(&b->p, names, n, &b->shape));
    if (b->shard) FC_TRY(plan_shard(&b->p, b->shard));
    return b->retrieved_path ? lines_map_open(&b->retrieved, b->retrieved_path, b->shape.set) : FC_OK;
}

/* The request of no key in particular: what all have in common. */
static fc_status common(bulk *b, fc_request *r) {
    *r = fc_recipe_edit(b->a.opened)->request;
    r->score = strcmp(b->a.alignment, "none") != 0;
    if (!r->score) r->alignment_adapter = NULL;
    if (r->deadline_ms)
        return FC_FAIL(FC_ERR_ARG,
                       "deadline_ms: %d ms; a row that depends on a clock is never computed again as it was",
                       r->deadline_ms);
    return FC_OK;
}

static fc_status open_files(bulk *b, const fc_table_meta *m) {
    const fc_table_meta *old;
    bool made;
    if (b->work_path) FC_TRY(fc_str_puts(&b->work_name, b->work_path));
    else FC_TRY(fc_str_printf(&b->work_name, "%s.work", b->table));
    FC_TRY(fc_table_work(fc_str_text(&b->work_name), m, &b->work, &made));
    FC_TRY(fc_table_forget_failures(b->work));
    if (!fc_path_exists(b->table)) return FC_OK;
    FC_TRY(fc_table_open(b->table, &b->old));
    old = fc_table_meta_of(b->old);
    for (int i = 0; i < FC_META_ROWS_END; i++)
        if (strcmp(old->value[i], m->value[i]) != 0) {
            fprintf(stderr, "forkcast bulk: %s has another %s: none of its rows is taken over\n", b->table,
                    fc_table_meta_text((fc_table_meta_name)i));
            fc_table_close(b->old);
            b->old = NULL;
            return FC_OK;
        }
    return FC_OK;
}

static fc_status compute(bulk *b, progress *shown) {
    fc_request r, opened;
    fc_table_meta m;
    run_job j;
    FC_TRY(common(b, &r));
    opened = r;
    fc_recipe_edit(b->a.opened)->engine.max_requests = b->flight > 256 ? b->flight : 0;
    b->a.engine = fc_recipe_edit(b->a.opened)->engine;
    FC_TRY(request_args_open(&b->a, &opened, shown, &b->e));
    FC_TRY(make_meta(b, &r, &m));
    FC_TRY(open_files(b, &m));
    j = (run_job){.args = &b->a,
                  .p = &b->p,
                  .retrieved = b->retrieved_path ? &b->retrieved : NULL,
                  .work = b->work,
                  .old = b->old,
                  .seed = fc_recipe_edit(b->a.opened)->request.seed,
                  .names = opened.taxonomy != NULL,
                  .taxonomy = opened.taxonomy,
                  .flight = b->flight,
                  .retries = b->retries,
                  .shown = shown};
    return run_keys(&j, b->e, &b->n);
}

/* ---- what is said at the end ---- */

static double share(double a, double b) { return b > 0 ? a / b : NAN; }

static fc_status put_json(const bulk *b, fc_str *out) {
    const run_counts *n = &b->n;
    const fc_accounting *a = &n->rows;
    const int64_t score_reused = a->rows_reused - n->prompt_cached;
    const struct {
        const char *name;
        int64_t v;
    } wholes[] = {{"planned", b->p.end - b->p.first},
                  {"of", b->p.total},
                  {"kept", n->kept},
                  {"copied", n->copied},
                  {"computed", n->computed},
                  {"failed", n->failed},
                  {"retried", n->retried},
                  {"rows_prefill", a->rows_prefill},
                  {"rows_decode", a->rows_decode},
                  {"rows_score", a->rows_score},
                  {"rows_reused", a->rows_reused},
                  {"rows_replayed", a->rows_replayed},
                  {"scores_cached", a->scores_cached},
                  {"redraws", a->redraws},
                  {"prompt_tokens", n->prompt_tokens},
                  {"score_tokens", a->rows_score + score_reused}};
    json_object o = {.out = out};
    FC_TRY(fc_str_puts(out, "{"));
    FC_TRY(json_text(&o, "table", b->table, strlen(b->table)));
    FC_TRY(json_key(&o, "published"));
    FC_TRY(fc_str_puts(out, b->published ? "true" : "false"));
    for (size_t i = 0; i < sizeof wholes / sizeof *wholes; i++) FC_TRY(json_int(&o, wholes[i].name, wholes[i].v));
    FC_TRY(json_number(&o, "seconds", n->seconds));
    FC_TRY(json_number(&o, "pairs_per_second", share((double)n->computed, n->seconds)));
    FC_TRY(json_number(&o, "prefill_saved", share((double)n->prompt_tokens, (double)a->rows_prefill)));
    FC_TRY(json_key(&o, "gates"));
    FC_TRY(fc_str_puts(out, "["));
    for (int i = 0; i < GATES && b->gates[0].name; i++) {
        json_object g = {.out = out};
        FC_TRY(fc_str_puts(out, i ? ",{" : "{"));
        FC_TRY(json_text(&g, "name", b->gates[i].name, strlen(b->gates[i].name)));
        FC_TRY(json_number(&g, "found", b->gates[i].asked ? b->gates[i].found : NAN));
        FC_TRY(json_number(&g, "bound", b->gates[i].bound));
        FC_TRY(json_key(&g, "held"));
        FC_TRY(fc_str_puts(out, !b->gates[i].asked ? "null}" : b->gates[i].held ? "true}" : "false}"));
    }
    return fc_str_puts(out, "]}\n");
}

static fc_status put_lines(const bulk *b, fc_str *out) {
    const run_counts *n = &b->n;
    const fc_accounting *a = &n->rows;
    const double keys = (double)n->computed;
    FC_TRY(fc_str_printf(
        out, "%lld of %lld keys: %lld computed, %lld from the work file, %lld from the old table, %lld failed",
        (long long)(n->computed + n->kept + n->copied), (long long)(b->p.end - b->p.first), (long long)n->computed,
        (long long)n->kept, (long long)n->copied, (long long)n->failed));
    if (n->computed)
        FC_TRY(fc_str_printf(
            out,
            "; %.1f keys/s; rows a key: prefill %.1f, decode %.1f, score %.1f; prompts of %.1f tokens, "
            "%.1f times what was computed",
            share(keys, n->seconds), share((double)a->rows_prefill, keys), share((double)a->rows_decode, keys),
            share((double)a->rows_score, keys), share((double)n->prompt_tokens, keys),
            share((double)n->prompt_tokens, (double)a->rows_prefill)));
    FC_TRY(fc_str_puts(out, "\n"));
    if (b->gates[0].name) FC_TRY(gates_print(b->gates, out));
    if (b->published) FC_TRY(fc_str_printf(out, "published %s\n", b->table));
    return FC_OK;
}

static fc_status say(const bulk *b) {
    fc_str out = {0};
    fc_status st = b->json ? put_json(b, &out) : put_lines(b, &out);
    if (!st) st = text_write(fc_str_text(&out), out.size);
    fc_str_fini(&out);
    return st;
}

/* The failures, the first few by name. */
static fc_status tell_failures(bulk *b) {
    enum { SHOWN = 5 };
    fc_str after = {0};
    fc_status st = FC_OK;
    for (int i = 0; i < SHOWN && !st; i++) {
        const char *key, *status, *error;
        bool found;
        st = fc_table_failure(b->work, fc_str_text(&after), &key, &status, &error, &found);
        if (st || !found) break;
        fprintf(stderr, "forkcast bulk: key \"%.120s\": %s\n", key, error);
        fc_str_clear(&after);
        st = fc_str_puts(&after, key);
    }
    fc_str_fini(&after);
    return st;
}

static fc_status job(bulk *b) {
    progress shown;
    fc_status st;
    FC_TRY(check(b));
    FC_TRY(request_args_many_open(&b->a));
    FC_TRY(make_plan(b));
    progress_begin(&shown);
    st = compute(b, &shown);
    progress_end(&shown);
    if (st == FC_ERR_CANCELLED) {
        fprintf(stderr, "forkcast bulk: stopped; what is done is in %s, and the same command goes on\n",
                fc_str_text(&b->work_name));
        FC_TRY(say(b));
        return FC_ERR_CANCELLED;
    }
    FC_TRY(st);
    if (!b->shard && b->n.lines < (int64_t)b->retrieved.n)
        fprintf(stderr, "forkcast bulk: %lld of %zu retrieved lines are of no key\n",
                (long long)b->retrieved.n - b->n.lines, b->retrieved.n);
    FC_TRY(tell_failures(b));
    fc_table_close(b->old);
    b->old = NULL;
    if (!b->no_publish) st = gates_publish(&b->g, b->work, b->table, b->gates);
    b->published = !b->no_publish && !st;
    if (b->gates[0].name || !st) {
        char why[1024];
        fc_status said;
        snprintf(why, sizeof why, "%s", fc_last_error());
        said = say(b);
        if (st) return FC_FAIL(st, "%s", why);
        FC_TRY(said);
    }
    FC_TRY(st);
    if (b->published) {
        st = fc_table_work_remove(b->work);
        b->work = NULL;
        FC_TRY(st);
    }
    if (b->n.failed)
        return FC_FAIL(FC_ERR_INTERNAL, "%lld keys have no row; the same command tries them again",
                       (long long)b->n.failed);
    return FC_OK;
}

static void close_all(bulk *b) {
    fc_engine_close(b->e);
    fc_table_close(b->old);
    fc_table_close(b->work);
    lines_map_close(&b->retrieved);
    plan_close(&b->p);
    fc_str_fini(&b->work_name);
    fc_str_fini(&b->settings);
    fc_str_fini(&b->keys);
    request_args_fini(&b->a);
}

static void put_args(bulk *b, arg *args, size_t *n) {
    request_args *a = &b->a;
    args[(*n)++] = arg_of(ARG_HEADING, "Job:", NULL, NULL, NULL);
    args[(*n)++] = arg_of(ARG_TEXT, "recipe", &a->recipe, "FILE",
                          "JSON that says the whole job (examples/recipes/README.md), or interests");
    args[(*n)++] = arg_of(ARG_TEXT, "table", &b->table, "FILE", "the table that is made, or brought up to date");
    args[(*n)++] = arg_of(ARG_TEXT, "work", &b->work_path, "FILE", "where rows gather until then; default FILE.work");
    args[(*n)++] = arg_of(ARG_TEXT, "novelty", &a->novelty, "MODEL", "the model that proposes");
    args[(*n)++] =
        arg_of(ARG_TEXT, "alignment", &a->alignment, "MODEL", "the model that scores; none ranks by log-prob");
    request_args_taxonomy(a, args, n);
    args[(*n)++] = arg_of(ARG_HEADING, "Keys:", NULL, NULL, NULL);
    args[(*n)++] = arg_int("clusters", &b->shape.clusters, 0, 0, "K", "names of a history: 1, 2 or 3; default 2");
    args[(*n)++] = arg_of(ARG_FLAG, "set", &b->shape.set, NULL, "the order of a history does not count");
    args[(*n)++] = arg_of(ARG_FLAG, "self", &b->shape.self, NULL, "a history may have a name twice");
    args[(*n)++] = arg_of(ARG_TEXT, "prompts", &b->prompts, "FILE",
                          "in place of histories, JSON lines: {\"key\": \"k\", \"prompt\": \"...\"}, or with history");
    args[(*n)++] =
        arg_of(ARG_TEXT, "retrieved", &b->retrieved_path, "FILE",
               "for {retrieved}, JSON lines: {\"key\": [\"A\", \"B\"], \"text\": \"...\"}; empty where there is none");
    args[(*n)++] = arg_of(ARG_TEXT, "shard", &b->shard, "I/N", "the I-th of N parts; forkcast table merge joins them");
    args[(*n)++] = arg_int("in-flight", &b->flight, 0, 0, "N", "requests in the engine at once; default 64");
    args[(*n)++] = arg_int("retries", &b->retries, 0, 100, "N",
                           "further tries of a key that failed for want of something; default 1");
    gates_args(&b->g, args, n);
    args[(*n)++] = arg_of(ARG_FLAG, "no-publish", &b->no_publish, NULL, "leave the rows in the work file");
    request_args_many(a, args, n);
    request_args_scoring(a, args, n);
    request_args_ranking(a, true, args, n);
    request_args_engine(a, args, n);
    args[(*n)++] = arg_of(ARG_HEADING, "Output:", NULL, NULL, NULL);
    args[(*n)++] = arg_of(ARG_FLAG, "json", &b->json, NULL, "one JSON object instead of lines");
}

int cmd_bulk(int argc, char **argv) {
    bool help = false;
    int rest;
    size_t n = 0;
    arg args[ARGS_MAX];
    bulk b = {.shape.clusters = 2, .flight = 64, .retries = 1};
    command c = {
        .name = "bulk",
        .usage = "bulk --recipe R --table FILE [--clusters K | --prompts FILE] [options]",
        .about =
            "Computes best-of-n for every history of K names of the taxonomy, or every prompt of a file, and keeps "
            "what is\nranked in a table. Stopped or killed at any moment, the same command goes on. Rows whose "
            "prompt and settings\nare as before are taken over from the table that is there.",
        .args = args,
    };
    fc_status st;
    request_args_init(&b.a);
    gates_init(&b.g);
    put_args(&b, args, &n);
    c.n_args = n;
    st = args_parse(&c, argc, argv, &rest, &help);
    if (!st && !help) st = job(&b);
    rest = args_exit("bulk", st); /* before the engine cancels what runs, which has sentences of its own */
    close_all(&b);
    return rest;
}
