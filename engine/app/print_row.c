#include "engine/app/print_row.h"

#include "engine/base/json.h"

#include <string.h>

static fc_status put_key(const char *key, bool histories, json_object *o) {
    if (!histories) return json_text(o, "key", key, strlen(key));
    FC_TRY(json_key(o, "key"));
    FC_TRY(fc_str_puts(o->out, "["));
    for (const char *at = key;; at++) {
        const size_t n = strcspn(at, "\t");
        if (at > key) FC_TRY(fc_str_puts(o->out, ","));
        FC_TRY(fc_json_put_string(o->out, at, n));
        at += n;
        if (!*at) return fc_str_puts(o->out, "]");
    }
}

static fc_status put_head(const char *key, bool histories, uint64_t seed, int n, json_object *o) {
    FC_TRY(put_key(key, histories, o));
    FC_TRY(json_int(o, "seed", (int64_t)seed));
    FC_TRY(json_int(o, "n", n));
    FC_TRY(json_key(o, "candidates"));
    return fc_str_puts(o->out, "[");
}

static fc_status put_entry(const fc_table_entry *e, size_t at, fc_str *out) {
    json_object o = {.out = out};
    FC_TRY(fc_str_puts(out, at ? ",{" : "{"));
    FC_TRY(json_int(&o, "rank", (int64_t)at + 1));
    FC_TRY(json_text(&o, "text", e->text, e->text_size));
    FC_TRY(json_number(&o, "score", e->score));
    FC_TRY(json_number(&o, "logprob", e->logprob));
    FC_TRY(json_int(&o, "votes", e->votes));
    FC_TRY(json_key(&o, "valid"));
    return fc_str_puts(out, e->valid < 0 ? "null}" : e->valid ? "true}" : "false}");
}

static fc_status put_tail(const fc_confidence *c, json_object *o) {
    FC_TRY(fc_str_puts(o->out, "]"));
    return print_confidence(o, c);
}

fc_status print_row(const fc_table_row *r, bool histories, json_object *o) {
    FC_TRY(put_head(r->key, histories, r->seed, r->n, o));
    for (size_t i = 0; i < r->n_entries; i++) FC_TRY(put_entry(&r->entries[i], i, o->out));
    return put_tail(&r->confidence, o);
}

fc_status print_row_live(const char *key, bool histories, uint64_t seed, const fc_result *r, json_object *o) {
    FC_TRY(put_head(key, histories, seed, r->n, o));
    for (int i = 0; i < r->n_kept; i++) {
        const fc_candidate *c = &r->kept[i];
        const fc_table_entry e = {.text = c->text,
                                  .text_size = c->text_size,
                                  .score = c->score,
                                  .logprob = c->logprob,
                                  .votes = c->votes,
                                  .valid = c->valid};
        FC_TRY(put_entry(&e, (size_t)i, o->out));
    }
    return put_tail(&r->confidence, o);
}
