#include "engine/stop.h"

#include "engine/base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STABLE = 4096, MAX_HOPELESS = 1 << 24 };

/* ---- text ---- */

/* The number behind "word:", when the piece [size] begins so. JSON's numbers: no locale, no hexadecimal. */
static bool value_of(const char *piece, size_t size, const char *word, double *out) {
    size_t n = strlen(word);
    fc_json_doc *d;
    bool number;
    if (size <= n + 1 || memcmp(piece, word, n) != 0 || piece[n] != ':') return false;
    if (fc_json_parse("stop_when", piece + n + 1, size - n - 1, &d)) return false;
    number = fc_json_double(fc_json_root(d), out) == FC_OK;
    fc_json_close(d);
    return number;
}

static fc_status put_count(const char *word, double v, int max, int *out) {
    if (*out) return FC_FAIL(FC_ERR_ARG, "stop_when: %s is given twice", word);
    if (!(v >= 1 && v <= max && v == floor(v)))
        return FC_FAIL(FC_ERR_ARG, "stop_when: %s:%g; it is a whole number from 1 to %d", word, v, max);
    *out = (int)v;
    return FC_OK;
}

fc_status fc_stop_parse(const char *text, fc_stop_rules *out) {
    fc_stop_rules r = {0};
    for (const char *at = text ? text : ""; *at;) {
        size_t n = strcspn(at, ",");
        double v;
        if (value_of(at, n, "stable", &v)) FC_TRY(put_count("stable", v, MAX_STABLE, &r.stable));
        else if (value_of(at, n, "hopeless", &v)) FC_TRY(put_count("hopeless", v, MAX_HOPELESS, &r.hopeless));
        else if (value_of(at, n, "margin", &v)) {
            if (r.margin > 0) return FC_FAIL(FC_ERR_ARG, "stop_when: margin is given twice");
            if (!(v > 0)) return FC_FAIL(FC_ERR_ARG, "stop_when: margin:%g; it must be above 0", v);
            r.margin = v;
        } else
            return FC_FAIL(FC_ERR_ARG, "stop_when: \"%.*s\"; it is a list of stable:R, margin:X and hopeless:B",
                           (int)(n < 40 ? n : 40), at);
        at += n;
        if (*at && !*++at) return FC_FAIL(FC_ERR_ARG, "stop_when: \"%.60s\" ends in a comma", text);
    }
    *out = r;
    return FC_OK;
}

fc_status fc_stop_format(const fc_stop_rules *r, fc_str *out) {
    const char *comma = "";
    if (r->stable) {
        FC_TRY(fc_str_printf(out, "stable:%d", r->stable));
        comma = ",";
    }
    if (r->margin > 0) {
        char text[40];
        int digits = 1;
        do snprintf(text, sizeof text, "%.*g", digits, r->margin); /* the shortest that reads as the same number */
        while (strtod(text, NULL) != r->margin && ++digits <= 17);
        for (char *c = text; *c; c++)
            if (*c == ',') *c = '.'; /* a host program may have set a locale */
        FC_TRY(fc_str_printf(out, "%smargin:%s", comma, text));
        comma = ",";
    }
    return r->hopeless ? fc_str_printf(out, "%shopeless:%d", comma, r->hopeless) : FC_OK;
}

/* ---- candidates in order ---- */

fc_status fc_stop_open(fc_arena *a, const fc_stop_options *o, fc_stop *out) {
    void *p;
    *out = (fc_stop){.o = *o};
    FC_TRY(fc_arena_alloc(a, (size_t)o->max, sizeof *out->item, &p));
    out->item = p;
    FC_TRY(fc_arena_alloc(a, (size_t)o->keep, sizeof *out->kept, &p));
    out->kept = p;
    FC_TRY(fc_arena_alloc(a, (size_t)o->keep, sizeof *out->was, &p));
    out->was = p;
    return fc_rank_marks_open(a, o->n_tags, &out->marks);
}

/* Puts the item in its place; true when the kept set is another one now. */
static bool put(fc_stop *s, const fc_rank_item *item) {
    int lo = 0, hi = s->n, *was = s->was, n_was = s->n_kept;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (fc_rank_before(item, &s->item[mid])) hi = mid;
        else lo = mid + 1;
    }
    memmove(s->item + lo + 1, s->item + lo, (size_t)(s->n - lo) * sizeof *s->item);
    s->item[lo] = *item;
    s->n++;
    if (n_was == s->o.keep && lo > s->kept[n_was - 1]) return false; /* the walk ends above it */
    s->was = s->kept;
    s->kept = was;
    s->n_kept = fc_rank_keep(s->item, s->n, s->o.keep, &s->marks, s->kept);
    if (s->n_kept != n_was) return true;
    for (int i = 0; i < n_was; i++)
        if (s->kept[i] != s->was[i] + (s->was[i] >= lo)) return true; /* places from lo on have moved down by one */
    return false;
}

static bool holds(const fc_stop *s) {
    if (s->o.rules.stable && s->m - s->changed >= s->o.rules.stable) return true;
    return s->o.rules.margin > 0 && fc_rank_margin(s->item, s->n) >= s->o.rules.margin;
}

bool fc_stop_take(fc_stop *s, const fc_stop_candidate *c) {
    bool hopeless = !c->repeats && fc_stop_hopeless(s, c->bound);
    FC_ASSERT(!s->fixed && s->m < s->o.max && c->item.index == s->m);
    if (s->o.token_budget && c->ids > s->o.token_budget - s->ids) {
        s->fixed = true;
        return false;
    }
    s->ids += c->ids;
    s->m++;
    if (!c->repeats && put(s, &c->item)) s->changed = s->m;
    s->fixed = holds(s);
    return hopeless;
}

/* ---- hopeless ---- */

double fc_stop_bound(double sum, int n_ids, bool mean) { return mean ? sum / n_ids : sum; }

double fc_stop_floor(const fc_stop *s) {
    if (s->n < 2 || s->n_kept < s->o.keep) return -INFINITY;
    return s->o.keep == 1 ? s->item[1].key : s->item[s->kept[s->o.keep - 1]].key;
}

bool fc_stop_hopeless(const fc_stop *s, double bound) { return s->o.rules.hopeless && bound < fc_stop_floor(s); }
