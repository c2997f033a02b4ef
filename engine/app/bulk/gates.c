#include "engine/app/bulk/gates.h"

#include "engine/app/bulk/lines.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void gates_init(gates *g) {
    *g = (gates){.coverage = 1, .exact_match = 0.9f, .recall = 0.015f, .drift = 0.2f, .recall_at = 1};
}

void gates_args(gates *g, arg *args, size_t *n) {
    args[(*n)++] = arg_of(ARG_HEADING, "Gates, before the table takes the place of the old one:", NULL, NULL, NULL);
    args[(*n)++] = arg_of(ARG_FLOAT, "min-coverage", &g->coverage, "P", "rows of planned keys; default 1: all");
    args[(*n)++] = arg_of(ARG_FLOAT, "min-exact-match", &g->exact_match, "P",
                          "share of drawn candidates that are names of the taxonomy; default 0.9");
    args[(*n)++] = arg_of(ARG_TEXT, "transitions", &g->transitions, "FILE",
                          "test transitions for the recall, JSON lines: {\"key\": [\"A\", \"B\"], \"next\": \"C\"}");
    args[(*n)++] = arg_of(ARG_FLOAT, "min-recall", &g->recall, "P",
                          "share of them whose next name is among the first that are kept; default 0.015");
    args[(*n)++] =
        arg_int("recall-at", &g->recall_at, 0, FC_N_MAX, "K", "so many of the kept ones count; 0: all; default 1");
    args[(*n)++] = arg_of(ARG_FLOAT, "max-drift", &g->drift, "D",
                          "distance (Kolmogorov-Smirnov, 0 to 1) of the best scores from the old table's; default 0.2");
}

static const char *const transition[] = {"key", "next", NULL};

fc_status gates_prepare(const gates *g) {
    const struct {
        const char *flag;
        float v;
    } shares[] = {{"min-coverage", g->coverage},
                  {"min-exact-match", g->exact_match},
                  {"min-recall", g->recall},
                  {"max-drift", g->drift}};
    lines l = {0};
    fc_str key = {0};
    fc_status st = FC_OK;
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
        if (!(shares[i].v >= 0 && shares[i].v <= 1))
            return FC_FAIL(FC_ERR_ARG, "--%s: %g is not between 0 and 1", shares[i].flag, (double)shares[i].v);
    if (!g->transitions) return FC_OK;
    st = lines_open(&l, g->transitions);
    while (!st) {
        const fc_json *root;
        const char *next;
        st = lines_next(&l, transition, &root);
        if (st || !root) break;
        fc_str_clear(&key);
        st = lines_text(root, "next", &next);
        if (!st) st = lines_key(root, false, &key);
    }
    fc_str_fini(&key);
    lines_close(&l);
    return st;
}

/* ---- recall ---- */

static bool is_among(const fc_table_row *r, const char *next, int at) {
    size_t n = at && (size_t)at < r->n_entries ? (size_t)at : r->n_entries;
    for (size_t i = 0; i < n; i++)
        if (strcmp(r->entries[i].text, next) == 0) return true;
    return false;
}

/* left: transitions without a row. */
static fc_status count_hits(const gates *g, fc_table *t, lines *l, bool set, int64_t *hits, int64_t *n, int64_t *left) {
    fc_str key = {0};
    fc_status st = FC_OK;
    while (!st) {
        const fc_json *root;
        const char *next;
        fc_table_row row;
        bool found = false;
        st = lines_next(l, transition, &root);
        if (st || !root) break;
        fc_str_clear(&key);
        st = lines_text(root, "next", &next);
        if (!st) st = lines_key(root, set, &key);
        if (!st) st = fc_table_get(t, fc_str_text(&key), &row, &found);
        if (st) break;
        *left += !found;
        *n += found;
        *hits += found && is_among(&row, next, g->recall_at);
    }
    fc_str_fini(&key);
    return st;
}

static bool keeps_sets(const fc_table *t) {
    return strstr(fc_table_meta_of(t)->value[FC_META_KEYS], "\"order\":\"set\"") != NULL;
}

static bool is_part(const fc_table *t) { return strcmp(fc_table_meta_of(t)->value[FC_META_SHARD], "1/1") != 0; }

static fc_status check_recall(const gates *g, fc_table *t, gate_result *r) {
    lines l = {0};
    int64_t hits = 0, n = 0, left = 0;
    fc_status st;
    if (!g->transitions) {
        snprintf(r->note, sizeof r->note, "no transitions are given");
        return FC_OK;
    }
    st = lines_open(&l, g->transitions);
    if (!st) st = count_hits(g, t, &l, keeps_sets(t), &hits, &n, &left);
    lines_close(&l);
    r->asked = true;
    if (!is_part(t)) n += left; /* a part has no rows of other parts' keys */
    r->found = n ? (double)hits / (double)n : NAN;
    snprintf(r->note, sizeof r->note, "%lld of %lld transitions; %lld %shave no row", (long long)hits, (long long)n,
             (long long)left, is_part(t) ? "more " : "of them ");
    return st;
}

/* ---- drift ---- */

/* What scores mean. */
static bool same_scale(const fc_table *a, const fc_table *b) {
    static const char *const members[] = {"\"score\":", "\"mode\":"};
    const char *x = fc_table_meta_of(a)->value[FC_META_SETTINGS], *y = fc_table_meta_of(b)->value[FC_META_SETTINGS];
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        const char *p = strstr(x, members[i]), *q = strstr(y, members[i]);
        size_t n = p ? strcspn(p, ",}") : 0;
        if (!p || !q || strncmp(p, q, n) != 0) return false;
    }
    return true;
}

static fc_status check_drift(fc_table *t, fc_table *old, gate_result *r) {
    fc_table_diff d;
    if (!old || !same_scale(t, old)) {
        snprintf(r->note, sizeof r->note, old ? "the old table was scored in another mode" : "there is no old table");
        return FC_OK;
    }
    FC_TRY(fc_table_compare(old, t, &d));
    r->found = d.ks;
    r->asked = !isnan(d.ks);
    if (!r->asked) snprintf(r->note, sizeof r->note, "a table has no scores");
    return FC_OK;
}

/* ---- all ---- */

fc_status gates_check(const gates *g, fc_table *t, fc_table *old, gate_result *out) {
    fc_table_stats s;
    gate_result r[GATES] = {{.name = "coverage", .bound = (double)g->coverage, .asked = true},
                            {.name = "exact match", .bound = (double)g->exact_match},
                            {.name = "recall", .bound = (double)g->recall},
                            {.name = "drift", .bound = (double)g->drift}};
    FC_TRY(fc_table_measure(t, &s));
    r[0].found = s.planned ? (double)s.rows / (double)s.planned : NAN;
    snprintf(r[0].note, sizeof r[0].note, "%lld of %lld keys, %lld failed", (long long)s.rows, (long long)s.planned,
             (long long)s.failures);
    r[1].found = s.exact_match;
    r[1].asked = !isnan(s.exact_match);
    if (!r[1].asked) snprintf(r[1].note, sizeof r[1].note, "there is no taxonomy");
    else if (s.by_construction)
        snprintf(r[1].note, sizeof r[1].note, "nothing else could be drawn; full_logprob would say what is");
    FC_TRY(check_recall(g, t, &r[2]));
    FC_TRY(check_drift(t, old, &r[3]));
    for (int i = 0; i < GATES; i++)
        r[i].held = !r[i].asked || (i == 3 ? r[i].found <= r[i].bound : r[i].found >= r[i].bound);
    memcpy(out, r, sizeof r);
    for (int i = 0; i < GATES; i++)
        if (!r[i].held)
            return FC_FAIL(FC_ERR_UNSUPPORTED, "gate %s: %.6f, and %s %.6f is asked: %.6f %s", r[i].name, r[i].found,
                           i == 3 ? "at most" : "at least", r[i].bound, fabs(r[i].bound - r[i].found),
                           i == 3 ? "too much" : "too little");
    return FC_OK;
}

fc_status gates_print(const gate_result *r, fc_str *out) {
    for (int i = 0; i < GATES; i++) {
        FC_TRY(fc_str_printf(out, "gate %-12s", r[i].name));
        if (r[i].asked)
            FC_TRY(fc_str_printf(out, " %-6s %.4f, %s %.4f", r[i].held ? "held" : "FAILED", r[i].found,
                                 i == 3 ? "at most" : "at least", r[i].bound));
        else FC_TRY(fc_str_puts(out, " left out"));
        FC_TRY(fc_str_printf(out, "%s%s\n", r[i].note[0] ? ": " : "", r[i].note));
    }
    return FC_OK;
}

fc_status gates_publish(const gates *g, fc_table *work, const char *path, gate_result *out) {
    fc_table *old = NULL;
    char why[800];
    fc_status st = fc_table_flush(work);
    if (!st && fc_path_exists(path)) st = fc_table_open(path, &old);
    if (!st) st = gates_check(g, work, old, out);
    fc_table_close(old);
    if (st == FC_ERR_UNSUPPORTED) { /* a gate */
        snprintf(why, sizeof why, "%s", fc_last_error());
        return FC_FAIL(st, "%s; %s %s, the rows are in %s", why, path,
                       fc_path_exists(path) ? "stays as it was" : "is not made", fc_table_path(work));
    }
    return st ? st : fc_table_publish(work, path);
}
