/* table_stats - what a table holds, whether it is whole, and how two differ. */
#include "engine/table_sql.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- scores at rank 1 ---- */

typedef struct {
    void *v; /* double [n] */
    size_t n, cap;
} reals;

static int rising(const void *a, const void *b) {
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* What ranks the best: the score, or the log-prob where nothing was scored. NAN: there is none. */
static double best_of(const fc_table_row *r) {
    if (!r->n_entries) return NAN;
    return isnan(r->entries[0].score) ? r->entries[0].logprob : r->entries[0].score;
}

static fc_status keep(reals *k, double v) {
    if (isnan(v)) return FC_OK;
    FC_TRY(fc_grow(&k->v, &k->cap, k->n + 1, sizeof v, "scores"));
    ((double *)k->v)[k->n++] = v;
    return FC_OK;
}

static void sort(const reals *k) {
    if (k->n) qsort(k->v, k->n, sizeof(double), rising);
}

/* The largest gap between the shares of a and b that are at most x, over all x. Both sorted. */
static double distance(const reals *a, const reals *b) {
    const double *x = a->v, *y = b->v;
    double most = 0;
    size_t i = 0, j = 0;
    if (!a->n || !b->n) return NAN;
    while (i < a->n && j < b->n) {
        double at = x[i] < y[j] ? x[i] : y[j], gap;
        while (i < a->n && x[i] <= at) i++;
        while (j < b->n && y[j] <= at) j++;
        gap = fabs((double)i / (double)a->n - (double)j / (double)b->n);
        most = gap > most ? gap : most;
    }
    return most;
}

/* ---- one table ---- */

typedef struct {
    double sum;
    int64_t n;
} mean;

static void add(mean *m, double v) {
    if (isnan(v)) return;
    m->sum += v;
    m->n++;
}

static double value(const mean *m) { return m->n ? m->sum / (double)m->n : NAN; }

static double match_of(const fc_table_row *r, bool *constructed) {
    const fc_confidence *c = &r->confidence;
    *constructed = *constructed && isnan(c->valid_mass) && r->n_valid == c->n_used;
    if (!isnan(c->valid_mass)) return c->valid_mass;
    return r->n_valid < 0 || !c->n_used ? NAN : (double)r->n_valid / c->n_used;
}

fc_status fc_table_measure(fc_table *t, fc_table_stats *out) {
    fc_table_stats s = {.planned = strtoll(t->meta.value[FC_META_PLANNED], NULL, 10)};
    mean match = {0}, used = {0}, distinct = {0}, entropy = {0}, share = {0}, margin = {0};
    reals best = {0};
    fc_table_row r;
    bool more = true, all = true, masked = strstr(t->meta.value[FC_META_SETTINGS], "\"constraint\":\"mask\"") != NULL;
    fc_status st = fc_table_count(t, &s.rows, &s.failures);
    fc_table_rewind(t);
    if (!st) st = fc_table_next(t, &r, &more);
    for (; !st && more; st = st ? st : fc_table_next(t, &r, &more)) {
        s.empty += r.n_entries == 0;
        s.candidates += (int64_t)r.n_entries;
        add(&match, match_of(&r, &all));
        add(&used, r.confidence.n_used);
        add(&distinct, r.confidence.distinct);
        add(&entropy, r.confidence.entropy);
        add(&share, r.confidence.vote_share);
        add(&margin, r.confidence.margin);
        st = keep(&best, best_of(&r));
    }
    if (!st) st = fc_table_number(t, "SELECT count(DISTINCT text) FROM candidates WHERE rank = 1", &s.first_texts);
    sort(&best);
    for (int i = 0; i <= FC_TABLE_BINS; i++)
        s.score[i] = best.n ? ((double *)best.v)[(best.n - 1) * (size_t)i / FC_TABLE_BINS] : NAN;
    s.exact_match = value(&match);
    s.by_construction = masked && all && match.n > 0;
    s.n_used = value(&used);
    s.distinct = value(&distinct);
    s.entropy = value(&entropy);
    s.vote_share = value(&share);
    s.margin = value(&margin);
    fc_free(best.v);
    if (!st) *out = s;
    return st;
}

/* ---- two tables ---- */

static bool has_text(const fc_table_row *r, const fc_table_entry *e) {
    for (size_t i = 0; i < r->n_entries; i++)
        if (r->entries[i].text_size == e->text_size && memcmp(r->entries[i].text, e->text, e->text_size) == 0)
            return true;
    return false;
}

static bool same_real(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

static bool same_entry(const fc_table_entry *a, const fc_table_entry *b) {
    return a->text_size == b->text_size && memcmp(a->text, b->text, a->text_size) == 0 &&
           same_real(a->score, b->score) && same_real(a->logprob, b->logprob) && a->votes == b->votes &&
           a->valid == b->valid;
}

static bool same_row(const fc_table_row *a, const fc_table_row *b) {
    const fc_confidence *x = &a->confidence, *y = &b->confidence;
    bool same = a->input == b->input && a->seed == b->seed && a->n == b->n && a->n_valid == b->n_valid &&
                x->n_used == y->n_used && x->distinct == y->distinct && same_real(x->logprob, y->logprob) &&
                same_real(x->entropy, y->entropy) && same_real(x->vote_share, y->vote_share) &&
                same_real(x->margin, y->margin) && same_real(x->valid_mass, y->valid_mass) &&
                a->n_entries == b->n_entries;
    for (size_t i = 0; same && i < a->n_entries; i++) same = same_entry(&a->entries[i], &b->entries[i]);
    return same;
}

static void compare(const fc_table_row *a, const fc_table_row *b, fc_table_diff *d) {
    size_t common = 0, all;
    for (size_t i = 0; i < a->n_entries; i++) common += has_text(b, &a->entries[i]);
    all = a->n_entries + b->n_entries - common;
    d->both++;
    d->same_rows += same_row(a, b);
    d->same_kept += common == all;
    d->overlap += all ? (double)common / (double)all : 1;
    if (!a->n_entries || !b->n_entries) d->same_first += !a->n_entries && !b->n_entries;
    else
        d->same_first += a->entries[0].text_size == b->entries[0].text_size &&
                         memcmp(a->entries[0].text, b->entries[0].text, a->entries[0].text_size) == 0;
}

/* Both in key order, side by side. */
static fc_status walk(fc_table *a, fc_table *b, fc_table_diff *d, reals *x, reals *y) {
    fc_table_row p, q;
    bool more_p, more_q;
    fc_table_rewind(a);
    fc_table_rewind(b);
    FC_TRY(fc_table_next(a, &p, &more_p));
    FC_TRY(fc_table_next(b, &q, &more_q));
    while (more_p || more_q) {
        int order = !more_p ? 1 : !more_q ? -1 : strcmp(p.key, q.key);
        if (order == 0) compare(&p, &q, d);
        d->only_a += order < 0;
        d->only_b += order > 0;
        if (order <= 0) FC_TRY(keep(x, best_of(&p)));
        if (order >= 0) FC_TRY(keep(y, best_of(&q)));
        if (order <= 0) FC_TRY(fc_table_next(a, &p, &more_p));
        if (order >= 0) FC_TRY(fc_table_next(b, &q, &more_q));
    }
    return FC_OK;
}

fc_status fc_table_compare(fc_table *a, fc_table *b, fc_table_diff *out) {
    fc_table_diff d = {0};
    reals x = {0}, y = {0};
    fc_status st = walk(a, b, &d, &x, &y);
    sort(&x);
    sort(&y);
    d.overlap = d.both ? d.overlap / (double)d.both : NAN;
    d.ks = distance(&x, &y);
    fc_free(x.v);
    fc_free(y.v);
    if (!st) *out = d;
    return st;
}

/* ---- whether it is whole ---- */

static fc_status check_file(fc_table *t) {
    sqlite3_stmt *st = NULL;
    fc_status status = FC_OK;
    int rc = sqlite3_prepare_v2(t->db, "PRAGMA integrity_check(1)", -1, &st, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_step(st);
    if (rc != SQLITE_ROW) status = fc_table_failed(t, rc);
    else if (strcmp((const char *)sqlite3_column_text(st, 0), "ok") != 0)
        status = FC_FAIL(FC_ERR_FORMAT, "table %s: %s", t->path, (const char *)sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
    return status;
}

static fc_status check_row(const fc_table *t, const fc_table_row *r, uint64_t base) {
    int64_t votes = 0;
    if (r->seed != fc_table_seed(base, r->key))
        return FC_FAIL(FC_ERR_FORMAT, "table %s: key \"%.80s\": its seed is %llu, which is not that of the key",
                       t->path, r->key, (unsigned long long)r->seed);
    for (size_t i = 0; i < r->n_entries; i++) votes += r->entries[i].votes;
    if (votes > r->confidence.n_used || r->confidence.n_used < 0)
        return FC_FAIL(FC_ERR_FORMAT, "table %s: key \"%.80s\": %lld votes of %d candidates", t->path, r->key,
                       (long long)votes, r->confidence.n_used);
    return FC_OK;
}

fc_status fc_table_check(fc_table *t) {
    static const struct {
        const char *sql, *what;
    } none[] = {
        {"SELECT count(*) FROM candidates WHERE key NOT IN (SELECT key FROM rows)", "candidates of no row"},
        {"SELECT count(*) FROM failures WHERE key IN (SELECT key FROM rows)", "keys that are a row and a failure"},
        {"SELECT count(*) FROM (SELECT 1 FROM candidates GROUP BY key HAVING max(rank) <> count(*) OR min(rank) <> 1)",
         "keys whose ranks are not 1, 2, ..."},
    };
    const uint64_t base = strtoull(t->meta.value[FC_META_SEED], NULL, 10);
    int64_t n = 0, rows = 0, failures = 0, planned = strtoll(t->meta.value[FC_META_PLANNED], NULL, 10);
    fc_table_row r;
    bool more = true;
    FC_TRY(check_file(t));
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        FC_TRY(fc_table_number(t, none[i].sql, &n));
        if (n) return FC_FAIL(FC_ERR_FORMAT, "table %s: %lld %s", t->path, (long long)n, none[i].what);
    }
    FC_TRY(fc_table_count(t, &rows, &failures));
    if (rows + failures > planned)
        return FC_FAIL(FC_ERR_FORMAT, "table %s: %lld rows and %lld failures of %lld planned keys", t->path,
                       (long long)rows, (long long)failures, (long long)planned);
    fc_table_rewind(t);
    for (;;) {
        FC_TRY(fc_table_next(t, &r, &more));
        if (!more) return FC_OK;
        FC_TRY(check_row(t, &r, base));
    }
}
