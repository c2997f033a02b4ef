#include "engine/app/print.h"

#include "engine/base/json.h"

#include <math.h>
#include <string.h>

fc_status json_key(json_object *o, const char *key) {
    if (o->some) FC_TRY(fc_str_puts(o->out, ","));
    o->some = true;
    FC_TRY(fc_json_put_string(o->out, key, strlen(key)));
    return fc_str_puts(o->out, ":");
}

fc_status json_text(json_object *o, const char *key, const char *text, size_t size) {
    FC_TRY(json_key(o, key));
    return fc_json_put_string(o->out, text, size);
}

fc_status json_number(json_object *o, const char *key, double v) {
    FC_TRY(json_key(o, key));
    return fc_json_put_double(o->out, v);
}

fc_status json_int(json_object *o, const char *key, int64_t v) {
    FC_TRY(json_key(o, key));
    return fc_str_printf(o->out, "%lld", (long long)v);
}

fc_status json_ids(json_object *o, const char *key, const int32_t *ids, size_t n) {
    FC_TRY(json_key(o, key));
    FC_TRY(fc_str_puts(o->out, "["));
    for (size_t i = 0; i < n; i++) FC_TRY(fc_str_printf(o->out, "%s%d", i ? "," : "", ids[i]));
    return fc_str_puts(o->out, "]");
}

/* "key":[{"id":..,"logprob":..}], ids and lp [n] */
static fc_status put_pairs(json_object *o, const char *key, const int32_t *ids, const float *lp, size_t n) {
    FC_TRY(json_key(o, key));
    FC_TRY(fc_str_puts(o->out, "["));
    for (size_t k = 0; k < n; k++) {
        json_object pair = {.out = o->out};
        FC_TRY(fc_str_puts(o->out, k ? ",{" : "{"));
        FC_TRY(json_int(&pair, "id", ids[k]));
        FC_TRY(json_number(&pair, "logprob", (double)lp[k]));
        FC_TRY(fc_str_puts(o->out, "}"));
    }
    return fc_str_puts(o->out, "]");
}

/* [{"logprob":..,"top":[pairs],"ids":[pairs]}], the lists where they were asked for */
static fc_status put_logprobs(json_object *parent, const fc_candidate *c) {
    json_object o = {.out = parent->out};
    size_t top = (size_t)c->top_n, n = (size_t)c->n_ids;
    FC_TRY(json_key(parent, "logprobs"));
    FC_TRY(fc_str_puts(o.out, "["));
    for (size_t i = 0; i < c->n_logprobs; i++) {
        o.some = false;
        FC_TRY(fc_str_puts(o.out, i ? ",{" : "{"));
        FC_TRY(json_number(&o, "logprob", (double)c->logprobs[i]));
        if (top) FC_TRY(put_pairs(&o, "top", c->top_ids + i * top, c->top_logprobs + i * top, top));
        if (n) FC_TRY(put_pairs(&o, "ids", c->ids, c->id_logprobs + i * n, n));
        FC_TRY(fc_str_puts(o.out, "}"));
    }
    return fc_str_puts(o.out, "]");
}

/* [{"id":..,"logprob":..,"top":[pairs]}] of the prompt; what was not read has neither log-prob nor alternatives. */
static fc_status put_prompt_logprobs(json_object *parent, const fc_result *r) {
    json_object o = {.out = parent->out};
    size_t top = (size_t)r->prompt_top_n;
    FC_TRY(json_key(parent, "prompt_logprobs"));
    FC_TRY(fc_str_puts(o.out, "["));
    for (size_t i = 0; i < r->prompt_tokens; i++) {
        size_t n = isnan(r->prompt_logprobs[i]) ? 0 : top;
        o.some = false;
        FC_TRY(fc_str_puts(o.out, i ? ",{" : "{"));
        FC_TRY(json_int(&o, "id", r->prompt_ids[i]));
        FC_TRY(json_number(&o, "logprob", (double)r->prompt_logprobs[i]));
        if (top) FC_TRY(put_pairs(&o, "top", r->prompt_top_ids + i * top, r->prompt_top_logprobs + i * top, n));
        FC_TRY(fc_str_puts(o.out, "}"));
    }
    return fc_str_puts(o.out, "]");
}

static fc_status put_candidate(fc_str *out, const fc_candidate *c, bool ranked) {
    json_object o = {.out = out};
    const char *valid = c->valid < 0 ? "null" : c->valid ? "true" : "false";
    FC_TRY(fc_str_puts(out, "{"));
    if (ranked) FC_TRY(json_int(&o, "rank", c->rank));
    FC_TRY(json_int(&o, "index", c->index));
    FC_TRY(json_text(&o, "text", c->text, c->text_size));
    FC_TRY(json_ids(&o, "tokens", c->tokens, c->n_tokens));
    FC_TRY(json_number(&o, "score", c->score));
    FC_TRY(json_number(&o, "logprob", c->logprob));
    FC_TRY(json_number(&o, "full_logprob", c->full_logprob));
    FC_TRY(json_number(&o, "gumbel", c->gumbel));
    FC_TRY(json_number(&o, "weight", c->weight));
    FC_TRY(json_int(&o, "votes", c->votes));
    FC_TRY(json_key(&o, "valid"));
    FC_TRY(fc_str_puts(out, valid));
    FC_TRY(json_text(&o, "finish_reason", fc_finish_name(c->finish), strlen(fc_finish_name(c->finish))));
    if (c->hopeless) {
        FC_TRY(json_key(&o, "hopeless"));
        FC_TRY(fc_str_puts(out, "true"));
    }
    if (c->top_n || c->n_ids) FC_TRY(put_logprobs(&o, c));
    return fc_str_puts(out, "}");
}

static fc_status put_list(json_object *o, const char *key, const fc_candidate *list, int n, bool ranked) {
    FC_TRY(json_key(o, key));
    FC_TRY(fc_str_puts(o->out, "["));
    for (int i = 0; i < n; i++) {
        if (i) FC_TRY(fc_str_puts(o->out, ","));
        FC_TRY(put_candidate(o->out, &list[i], ranked));
    }
    return fc_str_puts(o->out, "]");
}

fc_status print_confidence(json_object *parent, const fc_confidence *c) {
    json_object o = {.out = parent->out};
    FC_TRY(json_key(parent, "confidence"));
    FC_TRY(fc_str_puts(o.out, "{"));
    FC_TRY(json_number(&o, "logprob", c->logprob));
    FC_TRY(json_number(&o, "entropy", c->entropy));
    FC_TRY(json_number(&o, "vote_share", c->vote_share));
    FC_TRY(json_int(&o, "distinct", c->distinct));
    FC_TRY(json_number(&o, "margin", c->margin));
    FC_TRY(json_number(&o, "valid_mass", c->valid_mass));
    FC_TRY(json_int(&o, "n_used", c->n_used));
    return fc_str_puts(o.out, "}");
}

static fc_status put_accounting(json_object *parent, const fc_accounting *a) {
    const struct {
        const char *key;
        int64_t v;
    } fields[] = {{"rows_prefill", a->rows_prefill},
                  {"rows_decode", a->rows_decode},
                  {"rows_score", a->rows_score},
                  {"rows_reused", a->rows_reused},
                  {"scores_cached", a->scores_cached},
                  {"rows_replayed", a->rows_replayed},
                  {"redraws", a->redraws},
                  {"rows_flat_prefill", a->rows_flat_prefill},
                  {"rows_flat_decode", a->rows_flat_decode},
                  {"rows_flat_score", a->rows_flat_score},
                  {"kv_bytes", a->kv_bytes}};
    json_object o = {.out = parent->out};
    FC_TRY(json_key(parent, "accounting"));
    FC_TRY(fc_str_puts(o.out, "{"));
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) FC_TRY(json_int(&o, fields[i].key, fields[i].v));
    return fc_str_puts(o.out, "}");
}

static fc_status put_timings(json_object *parent, const fc_timings_ms *t) {
    const struct {
        const char *key;
        double v;
    } fields[] = {{"load", t->load},   {"queue", t->queue}, {"prefill", t->prefill}, {"decode", t->decode},
                  {"score", t->score}, {"host", t->host},   {"total", t->total}};
    json_object o = {.out = parent->out};
    FC_TRY(json_key(parent, "timings_ms"));
    FC_TRY(fc_str_puts(o.out, "{"));
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) FC_TRY(json_number(&o, fields[i].key, fields[i].v));
    return fc_str_puts(o.out, "}");
}

fc_status print_json(const fc_result *r, const print_options *p, fc_str *out) {
    json_object o = {.out = out};
    FC_TRY(fc_str_puts(out, "{"));
    FC_TRY(json_text(&o, "prompt", p->prompt, p->prompt_size));
    FC_TRY(json_int(&o, "n", r->n));
    if (r->prompt_logprobs) FC_TRY(put_prompt_logprobs(&o, r));
    FC_TRY(put_list(&o, "candidates", r->kept, r->n_kept, true));
    if (p->all) FC_TRY(put_list(&o, "all_candidates", r->all, r->n_all, false));
    FC_TRY(print_confidence(&o, &r->confidence));
    FC_TRY(put_accounting(&o, &r->accounting));
    FC_TRY(put_timings(&o, &r->timings));
    return fc_str_puts(out, "}\n");
}

fc_status print_escaped(const char *text, size_t size, size_t columns, fc_str *out) {
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned char ch = (unsigned char)text[i];
        if (columns && used >= columns && (ch & 0xC0) != 0x80) return fc_str_puts(out, "...");
        if (ch == '\\') FC_TRY(fc_str_puts(out, "\\\\"));
        else if (ch == '\n') FC_TRY(fc_str_puts(out, "\\n"));
        else if (ch == '\t') FC_TRY(fc_str_puts(out, "\\t"));
        else if (ch < 32 || ch == 127) FC_TRY(fc_str_printf(out, "\\x%02x", ch));
        else FC_TRY(fc_str_put(out, text + i, 1));
        used += (ch & 0xC0) != 0x80;
    }
    return FC_OK;
}

static fc_status put_real(fc_str *out, double v, int width) {
    if (isnan(v)) return fc_str_printf(out, "%*s", width, "-");
    if (isinf(v)) return fc_str_printf(out, "%*s", width, v < 0 ? "-inf" : "inf");
    return fc_str_printf(out, "%*.4f", width, v);
}

/* Columns that not every job has: there when a candidate has a value. */
typedef struct {
    bool full, gumbel, weight;
} columns;

static columns find_columns(const fc_result *r) {
    columns s = {false};
    for (int i = 0; i < r->n_kept; i++) {
        s.full = s.full || !isnan(r->kept[i].full_logprob);
        s.gumbel = s.gumbel || !isnan(r->kept[i].gumbel);
        s.weight = s.weight || !isnan(r->kept[i].weight);
    }
    return s;
}

static fc_status put_row(fc_str *out, const fc_candidate *c, columns s) {
    const struct {
        bool there;
        double v;
    } reals[] = {
        {true, c->score}, {true, c->logprob}, {s.full, c->full_logprob}, {s.gumbel, c->gumbel}, {s.weight, c->weight}};
    FC_TRY(fc_str_printf(out, "%4d", c->rank));
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        if (!reals[i].there) continue;
        FC_TRY(fc_str_puts(out, " "));
        FC_TRY(put_real(out, reals[i].v, 10));
    }
    FC_TRY(fc_str_printf(out, " %6d  %-5s  ", c->votes, c->valid < 0 ? "-" : c->valid ? "yes" : "no"));
    FC_TRY(print_escaped(c->text, c->text_size, 0, out));
    return fc_str_puts(out, "\n");
}

/* What happened besides, where it did. */
static fc_status put_besides(fc_str *out, const fc_result *r) {
    const fc_accounting *a = &r->accounting;
    int hopeless = 0;
    for (int i = 0; i < r->n_all; i++) hopeless += r->all[i].hopeless;
    if (hopeless) FC_TRY(fc_str_printf(out, ", %d hopeless", hopeless));
    if (!isnan(r->confidence.valid_mass)) FC_TRY(fc_str_printf(out, ", valid mass %.4f", r->confidence.valid_mass));
    if (a->redraws) FC_TRY(fc_str_printf(out, ", %lld drawn again", (long long)a->redraws));
    if (a->scores_cached) FC_TRY(fc_str_printf(out, ", %lld scores known", (long long)a->scores_cached));
    if (a->rows_replayed) FC_TRY(fc_str_printf(out, "; %lld rows replayed", (long long)a->rows_replayed));
    return FC_OK;
}

fc_status print_table(const fc_result *r, fc_str *out) {
    const fc_accounting *a = &r->accounting;
    const fc_timings_ms *t = &r->timings;
    int64_t rows = a->rows_prefill + a->rows_decode + a->rows_score;
    int64_t flat = a->rows_flat_prefill + a->rows_flat_decode + a->rows_flat_score;
    int used = r->confidence.n_used;
    columns s = find_columns(r);
    FC_TRY(fc_str_printf(out, "rank      score   log-prob%s%s%s  votes  valid  text\n", s.full ? " full-log-p" : "",
                         s.gumbel ? "     gumbel" : "", s.weight ? "     weight" : ""));
    for (int i = 0; i < r->n_kept; i++) FC_TRY(put_row(out, &r->kept[i], s));
    FC_TRY(fc_str_printf(out, "%d", used));
    if (used < r->n) FC_TRY(fc_str_printf(out, " of %d", r->n));
    FC_TRY(fc_str_printf(out, " candidate%s, %d distinct, %d kept", used == 1 && r->n == 1 ? "" : "s",
                         r->confidence.distinct, r->n_kept));
    FC_TRY(put_besides(out, r));
    return fc_str_printf(
        out,
        "; rows computed %lld (prefill %lld, decode %lld, score %lld), "
        "%d separate run%s%s %lld; KV %.1f MB; load %.0f ms, prefill %.0f, decode %.0f, score %.0f, total %.0f ms\n",
        (long long)rows, (long long)a->rows_prefill, (long long)a->rows_decode, (long long)a->rows_score, used,
        used == 1 ? "" : "s",
        used < r->n ? (used == 1 ? " for it takes" : " for these take")
        : used == 1 ? " takes"
                    : " take",
        (long long)flat, (double)a->kv_bytes * 1e-6, t->load, t->prefill, t->decode, t->score, t->total);
}
