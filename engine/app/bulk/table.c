/* table - what is done with tables, a verb each. */
#include "engine/app/args.h"
#include "engine/app/bulk/gates.h"
#include "engine/app/commands.h"
#include "engine/app/print_row.h"
#include "engine/app/textio.h"
#include "engine/base/json.h"
#include "engine/base/mem.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *out, *key;
    bool json, work;
    gates g;
    char **files; /* [n] */
    int n;
} verb_args;

static bool has_histories(const fc_table *t) {
    return strstr(fc_table_meta_of(t)->value[FC_META_KEYS], "\"kind\":\"histories\"") != NULL;
}

static bool has_sets(const fc_table *t) {
    return strstr(fc_table_meta_of(t)->value[FC_META_KEYS], "\"order\":\"set\"") != NULL;
}

static fc_status open_one(const verb_args *v, int i, fc_table **out) {
    return v->work ? fc_table_work_open(v->files[i], out) : fc_table_open(v->files[i], out);
}

static fc_status write_out(fc_str *out) {
    const fc_status st = text_write(fc_str_text(out), out->size);
    fc_str_clear(out);
    return st;
}

/* "0.1234", or "-" for what is not known. */
typedef struct {
    char text[32];
} real;

static real real_of(double v) {
    real out = {"-"};
    if (!isnan(v)) snprintf(out.text, sizeof out.text, "%.4f", v);
    return out;
}

/* ---- export and lookup ---- */

static fc_status put_row(const fc_table *t, const fc_table_row *r, fc_str *out) {
    json_object o = {.out = out};
    FC_TRY(fc_str_puts(out, "{"));
    FC_TRY(print_row(r, has_histories(t), &o));
    return fc_str_puts(out, "}\n");
}

static fc_status export_rows(fc_table *t, FILE *f, const char *name, fc_str *out) {
    fc_table_row r;
    bool more;
    fc_table_rewind(t);
    for (;;) {
        FC_TRY(fc_table_next(t, &r, &more));
        if (!more) break;
        fc_str_clear(out);
        FC_TRY(put_row(t, &r, out));
        if (fwrite(out->data, 1, out->size, f) != out->size)
            return errno == EPIPE && f == stdout ? FC_ERR_CANCELLED
                                                 : FC_FAIL(FC_ERR_IO, "%s: %s", name, strerror(errno));
    }
    if (fflush(f)) return FC_FAIL(FC_ERR_IO, "%s: %s", name, strerror(errno));
    return FC_OK;
}

static fc_status do_export(const verb_args *v) {
    fc_table *t;
    fc_str out = {0};
    FILE *f = stdout;
    fc_status st;
    FC_TRY(open_one(v, 0, &t));
    if (v->out) f = fopen(v->out, "wb");
    if (f) st = export_rows(t, f, v->out ? v->out : "standard output", &out);
    else st = FC_FAIL(FC_ERR_IO, "%s: %s", v->out, strerror(errno));
    if (f && f != stdout && fclose(f) && !st) st = FC_FAIL(FC_ERR_IO, "%s: %s", v->out, strerror(errno));
    fc_str_fini(&out);
    fc_table_close(t);
    return st;
}

static fc_status put_found(const fc_table *t, const fc_table_row *r, bool json, fc_str *out) {
    const fc_confidence *c = &r->confidence;
    if (json) return put_row(t, r, out);
    FC_TRY(fc_str_puts(out, "rank      score   log-prob  votes  text\n"));
    for (size_t i = 0; i < r->n_entries; i++) {
        const fc_table_entry *e = &r->entries[i];
        FC_TRY(fc_str_printf(out, "%4zu %10s %10s %6d  ", i + 1, real_of(e->score).text, real_of(e->logprob).text,
                             e->votes));
        FC_TRY(print_escaped(e->text, e->text_size, 0, out));
        FC_TRY(fc_str_puts(out, "\n"));
    }
    return fc_str_printf(out, "%d candidates, %d distinct, %zu kept, entropy %s, margin %s, seed %llu\n", c->n_used,
                         c->distinct, r->n_entries, real_of(c->entropy).text, real_of(c->margin).text,
                         (unsigned long long)r->seed);
}

static fc_status do_lookup(const verb_args *v) {
    fc_table *t;
    fc_str key = {0}, out = {0};
    fc_table_row r;
    bool found = false;
    fc_status st;
    if (!v->key == (v->n < 2)) return FC_FAIL(FC_ERR_ARG, "give the names of a history behind the file, or --key");
    FC_TRY(open_one(v, 0, &t));
    if (v->key) st = fc_str_puts(&key, v->key);
    else st = fc_table_key((const char *const *)v->files + 1, (size_t)v->n - 1, has_sets(t), &key);
    if (!st) st = fc_table_get(t, fc_str_text(&key), &r, &found);
    if (!st && !found) st = FC_FAIL(FC_ERR_FORMAT, "%s: no row of key \"%.200s\"", v->files[0], fc_str_text(&key));
    if (!st) st = put_found(t, &r, v->json, &out);
    if (!st) st = write_out(&out);
    fc_str_fini(&key);
    fc_str_fini(&out);
    fc_table_close(t);
    return st;
}

/* ---- stats, diff, check ---- */

static fc_status put_stats(const fc_table *t, const fc_table_stats *s, bool json, fc_str *out) {
    const struct {
        const char *name;
        double v;
    } reals[] = {{"exact_match", s->exact_match}, {"n_used", s->n_used},         {"distinct", s->distinct},
                 {"entropy", s->entropy},         {"vote_share", s->vote_share}, {"margin", s->margin}};
    const struct {
        const char *name;
        int64_t v;
    } wholes[] = {{"planned", s->planned},       {"rows", s->rows},
                  {"failures", s->failures},     {"empty", s->empty},
                  {"candidates", s->candidates}, {"first_texts", s->first_texts}};
    const fc_table_meta *m = fc_table_meta_of(t);
    json_object o = {.out = out};
    if (json) FC_TRY(fc_str_puts(out, "{"));
    for (size_t i = 0; i < sizeof wholes / sizeof *wholes; i++)
        FC_TRY(json ? json_int(&o, wholes[i].name, wholes[i].v)
                    : fc_str_printf(out, "%-18s %lld\n", wholes[i].name, (long long)wholes[i].v));
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        FC_TRY(json ? json_number(&o, reals[i].name, reals[i].v)
                    : fc_str_printf(out, "%-18s %s\n", reals[i].name, real_of(reals[i].v).text));
    if (json) FC_TRY(json_key(&o, "score"));
    FC_TRY(json ? fc_str_puts(out, "[") : fc_str_printf(out, "%-18s", "score, by tenths"));
    for (int i = 0; i <= FC_TABLE_BINS; i++) {
        if (json && i) FC_TRY(fc_str_puts(out, ","));
        FC_TRY(json ? fc_json_put_double(out, s->score[i]) : fc_str_printf(out, " %s", real_of(s->score[i]).text));
    }
    FC_TRY(fc_str_puts(out, json ? "]" : "\n"));
    for (int i = 0; i < FC_TABLE_META; i++) {
        const char *name = fc_table_meta_text((fc_table_meta_name)i);
        if (i == FC_META_PLANNED) continue;
        FC_TRY(json ? json_text(&o, name, m->value[i], strlen(m->value[i]))
                    : fc_str_printf(out, "%-18s %s\n", name, m->value[i]));
    }
    return fc_str_puts(out, json ? "}\n" : "");
}

static fc_status do_stats(const verb_args *v) {
    fc_table *t;
    fc_table_stats s;
    fc_str out = {0};
    fc_status st;
    FC_TRY(open_one(v, 0, &t));
    st = fc_table_measure(t, &s);
    if (!st) st = put_stats(t, &s, v->json, &out);
    if (!st) st = write_out(&out);
    fc_str_fini(&out);
    fc_table_close(t);
    return st;
}

static double share(int64_t a, int64_t b) { return b ? (double)a / (double)b : NAN; }

static fc_status put_diff(const fc_table *a, const fc_table *b, const fc_table_diff *d, bool json, fc_str *out) {
    const fc_table_meta *x = fc_table_meta_of(a), *y = fc_table_meta_of(b);
    json_object o = {.out = out};
    bool some = false;
    if (json) {
        FC_TRY(fc_str_puts(out, "{"));
        FC_TRY(json_int(&o, "only_a", d->only_a));
        FC_TRY(json_int(&o, "only_b", d->only_b));
        FC_TRY(json_int(&o, "both", d->both));
        FC_TRY(json_int(&o, "same_rows", d->same_rows));
        FC_TRY(json_int(&o, "same_first", d->same_first));
        FC_TRY(json_int(&o, "same_kept", d->same_kept));
        FC_TRY(json_number(&o, "overlap", d->overlap));
        FC_TRY(json_number(&o, "ks", d->ks));
        FC_TRY(json_key(&o, "differs"));
        FC_TRY(fc_str_puts(out, "["));
    } else {
        FC_TRY(fc_str_printf(out, "keys: %lld in both, %lld only in the first, %lld only in the second\n",
                             (long long)d->both, (long long)d->only_a, (long long)d->only_b));
        FC_TRY(fc_str_printf(out,
                             "of those in both: %s are the same, %s have the same first, %s the same kept; overlap "
                             "of the kept %s\n",
                             real_of(share(d->same_rows, d->both)).text, real_of(share(d->same_first, d->both)).text,
                             real_of(share(d->same_kept, d->both)).text, real_of(d->overlap).text));
        FC_TRY(fc_str_printf(out, "distance of the best scores %s\n", real_of(d->ks).text));
    }
    for (int i = 0; i < FC_TABLE_META; i++) {
        const char *name = fc_table_meta_text((fc_table_meta_name)i);
        if (strcmp(x->value[i], y->value[i]) == 0) continue;
        if (json && some) FC_TRY(fc_str_puts(out, ","));
        some = true;
        FC_TRY(json ? fc_json_put_string(out, name, strlen(name))
                    : fc_str_printf(out, "%s: %s\n%*s%s\n", name, x->value[i], (int)strlen(name) + 2, "", y->value[i]));
    }
    return json ? fc_str_puts(out, "]}\n") : FC_OK;
}

static fc_status do_diff(const verb_args *v) {
    fc_table *a = NULL, *b = NULL;
    fc_table_diff d;
    fc_str out = {0};
    fc_status st = open_one(v, 0, &a);
    if (!st) st = open_one(v, 1, &b);
    if (!st) st = fc_table_compare(a, b, &d);
    if (!st) st = put_diff(a, b, &d, v->json, &out);
    if (!st) st = write_out(&out);
    fc_str_fini(&out);
    fc_table_close(b);
    fc_table_close(a);
    return st;
}

static fc_status do_check(const verb_args *v) {
    fc_table *t;
    fc_str out = {0};
    int64_t rows, failures;
    fc_status st;
    FC_TRY(open_one(v, 0, &t));
    st = fc_table_check(t);
    if (!st) st = fc_table_count(t, &rows, &failures);
    if (!st)
        st = fc_str_printf(&out, "%s: in order, %lld rows, %lld failures\n", v->files[0], (long long)rows,
                           (long long)failures);
    if (!st) st = write_out(&out);
    fc_str_fini(&out);
    fc_table_close(t);
    return st;
}

/* ---- merge and publish ---- */

static fc_status publish(const verb_args *v, fc_table *work, const char *path) {
    gate_result r[GATES] = {{0}};
    fc_str out = {0};
    char why[1024] = "";
    fc_status st = gates_publish(&v->g, work, path, r), said = FC_OK;
    snprintf(why, sizeof why, "%s", fc_last_error());
    if (r[0].name) said = gates_print(r, &out);
    if (!said && !st) said = fc_str_printf(&out, "published %s\n", path);
    if (!said) said = write_out(&out);
    fc_str_fini(&out);
    return st ? FC_FAIL(st, "%s", why) : said;
}

static fc_status do_publish(const verb_args *v) {
    fc_table *work;
    bool made;
    fc_status st;
    FC_TRY(fc_table_work(v->files[0], NULL, &work, &made));
    st = publish(v, work, v->files[1]);
    fc_table_close(work);
    return st;
}

/* The parts are all of one job, each once. */
static fc_status check_parts(const verb_args *v, fc_table *const *parts, int n, int64_t *planned) {
    bool *seen;
    void *p;
    fc_status st = FC_OK;
    FC_TRY(fc_alloc((size_t)n, sizeof *seen, "shards", &p));
    seen = p;
    *planned = 0;
    for (int i = 0; i < n && !st; i++) {
        const fc_table_meta *m = fc_table_meta_of(parts[i]), *first = fc_table_meta_of(parts[0]);
        const int differs = fc_table_meta_differs(first, m);
        int shard, of;
        *planned += strtoll(m->value[FC_META_PLANNED], NULL, 10);
        if (differs != FC_TABLE_META)
            st = FC_FAIL(FC_ERR_ARG, "%s and %s are not of one job: %s is \"%.120s\" and \"%.120s\"", v->files[1],
                         v->files[i + 1], fc_table_meta_text((fc_table_meta_name)differs), first->value[differs],
                         m->value[differs]);
        else if (sscanf(m->value[FC_META_SHARD], "%d/%d", &shard, &of) != 2 || shard < 1 || shard > of)
            st = FC_FAIL(FC_ERR_FORMAT, "%s: shard is \"%.40s\"", v->files[i + 1], m->value[FC_META_SHARD]);
        else if (of != n)
            st = FC_FAIL(FC_ERR_ARG, "%s is shard %s, and %d files are given", v->files[i + 1], m->value[FC_META_SHARD],
                         n);
        else if (seen[shard - 1])
            st = FC_FAIL(FC_ERR_ARG, "%s: shard %s is given twice", v->files[i + 1], m->value[FC_META_SHARD]);
        else seen[shard - 1] = true;
    }
    fc_free(p);
    return st;
}

static fc_status merge_into(const verb_args *v, fc_table **parts, int n, const char *work_name) {
    fc_table *work = NULL;
    fc_table_meta m;
    char sum[24];
    bool made;
    int64_t planned;
    fc_status st;
    FC_TRY(check_parts(v, parts, n, &planned));
    m = *fc_table_meta_of(parts[0]);
    snprintf(sum, sizeof sum, "%lld", (long long)planned);
    m.value[FC_META_SHARD] = "1/1";
    m.value[FC_META_PLANNED] = sum;
    FC_TRY(fc_table_work(work_name, &m, &work, &made));
    st = made ? FC_OK : FC_FAIL(FC_ERR_ARG, "%s: it is there already; end its job, or remove it", work_name);
    for (int i = 0; i < n && !st; i++) st = fc_table_take(work, parts[i]);
    if (!st) st = publish(v, work, v->files[0]);
    if (!made) {
        fc_table_close(work);
        return st;
    }
    if (st == FC_ERR_UNSUPPORTED) { /* a gate: what was merged can still be published */
        fc_table_close(work);
        return st;
    }
    return fc_table_work_remove(work) ? (st ? st : FC_ERR_IO) : st;
}

static fc_status do_merge(const verb_args *v) {
    const int n = v->n - 1;
    fc_table **parts;
    fc_str work = {0};
    void *p;
    fc_status st;
    FC_TRY(fc_alloc((size_t)n, sizeof *parts, "shards", &p));
    parts = p;
    st = fc_str_printf(&work, "%s.work", v->files[0]);
    for (int i = 0; i < n && !st; i++) st = fc_table_open(v->files[i + 1], &parts[i]);
    if (!st) st = merge_into(v, parts, n, fc_str_text(&work));
    for (int i = 0; i < n; i++) fc_table_close(parts[i]);
    fc_free(p);
    fc_str_fini(&work);
    return st;
}

/* ---- verbs ---- */

typedef struct {
    const char *name, *files, *about;
    int least, most; /* files; most 0: any number */
    fc_status (*run)(const verb_args *v);
    bool json, out, key, gates, work;
} verb;

static const verb verbs[] = {
    {.name = "stats",
     .files = "FILE",
     .about = "What the table holds and what it was made with.",
     .least = 1,
     .most = 1,
     .run = do_stats,
     .json = true,
     .work = true},
    {.name = "lookup",
     .files = "FILE [NAME...]",
     .about = "The row of one key.",
     .least = 1,
     .run = do_lookup,
     .json = true,
     .key = true,
     .work = true},
    {.name = "export",
     .files = "FILE",
     .about = "All rows in key order, a JSON object a line.",
     .least = 1,
     .most = 1,
     .run = do_export,
     .out = true,
     .work = true},
    {.name = "diff",
     .files = "A B",
     .about = "How two tables differ: keys, answers, scores, settings.",
     .least = 2,
     .most = 2,
     .run = do_diff,
     .json = true,
     .work = true},
    {.name = "check",
     .files = "FILE",
     .about = "Whether the file is whole and keeps its rules.",
     .least = 1,
     .most = 1,
     .run = do_check,
     .work = true},
    {.name = "merge",
     .files = "TABLE SHARD...",
     .about = "Joins all shards of one job, and publishes the whole.",
     .least = 2,
     .run = do_merge,
     .gates = true},
    {.name = "publish",
     .files = "WORK TABLE",
     .about = "Publishes what a work file holds, under these gates. The work file stays.",
     .least = 2,
     .most = 2,
     .run = do_publish,
     .gates = true},
};

static int usage(FILE *out, int code) {
    fprintf(out, "Looks into tables of forkcast bulk, compares, merges and publishes them.\n\n");
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        fprintf(out, "usage: forkcast table %-8s %-16s %s\n", verbs[i].name, verbs[i].files, verbs[i].about);
    fprintf(out, "\nforkcast table VERB --help says more\n");
    return code;
}

static int run_verb(const verb *w, int argc, char **argv) {
    verb_args v = {0};
    bool help = false;
    int rest = 1;
    char name[32], said[64];
    arg args[16];
    command c = {.args = args, .positional = w->files, .about = w->about, .name = name, .usage = said};
    fc_status st;
    gates_init(&v.g);
    snprintf(name, sizeof name, "table %s", w->name);
    snprintf(said, sizeof said, "table %s %s", w->name, w->files);
    if (w->key) args[c.n_args++] = arg_of(ARG_TEXT, "key", &v.key, "KEY", "the key as it stands, in place of names");
    if (w->out) args[c.n_args++] = arg_of(ARG_TEXT, "out", &v.out, "FILE", "a file in place of standard output");
    if (w->work) args[c.n_args++] = arg_of(ARG_FLAG, "work", &v.work, NULL, "FILE is a work file");
    if (w->json) args[c.n_args++] = arg_of(ARG_FLAG, "json", &v.json, NULL, "one JSON object");
    if (w->gates) gates_args(&v.g, args, &c.n_args);
    st = args_parse(&c, argc, argv, &rest, &help);
    v.files = argv + rest;
    v.n = argc - rest;
    if (!st && !help && (v.n < w->least || (w->most && v.n > w->most)))
        st = FC_FAIL(FC_ERR_ARG, "%d files are given; it takes %s", v.n, w->files);
    if (!st && !help && w->gates) st = gates_prepare(&v.g);
    if (!st && !help) st = w->run(&v);
    return args_exit(name, st);
}

int cmd_table(int argc, char **argv) {
    if (argc < 2) return usage(stderr, 2);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) return usage(stdout, 0);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(argv[1], verbs[i].name) == 0) return run_verb(&verbs[i], argc - 1, argv + 1);
    fprintf(stderr, "forkcast table: unknown verb \"%s\"; forkcast table --help lists them\n", argv[1]);
    return 2;
}
