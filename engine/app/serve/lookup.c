/* lookup - /v1/lookup: a row of the table, or, of a history that it lacks, a request of the engine.
 *
 * The file is read by the loop's thread: it is immutable, so a row costs some tens of microseconds and waits
 * for no lock. The kernel reads it ahead when it is opened, so that pages are there before they are asked for. A look
 * at the path before each answer tells whether another file has taken its place; that one is then opened and the old
 * one closed. One that cannot be opened is a warning, and the old one goes on.
 */
#include "engine/app/serve/serve.h"
#include "engine/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { KEY_BYTES = 8 << 10 }; /* what is parsed by the thread that serves */

struct serve_table {
    fc_table *t;
    struct stat seen; /* of the path, when it was last looked at */
    fc_str name, key, body, out;
};

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void learn(serve *s) {
    const fc_table_meta *m = fc_table_meta_of(s->table->t);
    s->lookup = (openai_lookup){.histories = strstr(m->value[FC_META_KEYS], "\"kind\":\"histories\"") != NULL,
                                .set = strstr(m->value[FC_META_KEYS], "\"order\":\"set\"") != NULL,
                                .seed = strtoull(m->value[FC_META_SEED], NULL, 10)};
}

static fc_status keep(serve *s, fc_table_meta_name name, const char *text) {
    void *p;
    FC_TRY(fc_arena_alloc(&s->c.arena, strlen(text) + 1, 1, &p));
    s->own[name] = memcpy(p, text, strlen(text) + 1);
    return FC_OK;
}

static fc_status keep_hash(serve *s, fc_table_meta_name name, uint64_t h) {
    char text[24];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)h);
    return keep(s, name, text);
}

fc_status serve_table_own(serve *s) {
    const fc_recipe_info *info = fc_recipe_edit(s->recipe);
    fc_taxonomy_names names;
    fc_request r = info->request;
    fc_str settings = {0};
    uint64_t h;
    fc_status st;
    if (!s->table) return FC_OK;
    r.score = s->api.tok[FC_ALIGNMENT] != NULL;
    FC_TRY(fc_table_fingerprint(s->c.novelty, &h));
    FC_TRY(keep_hash(s, FC_META_NOVELTY, h));
    if (r.score) FC_TRY(fc_table_fingerprint(s->c.alignment, &h));
    FC_TRY(r.score ? keep_hash(s, FC_META_ALIGNMENT, h) : keep(s, FC_META_ALIGNMENT, ""));
    FC_TRY(keep_hash(s, FC_META_TEMPLATES, fc_table_templates(s->recipe)));
    FC_TRY(fc_recipe_taxonomy(s->recipe, &names) ? keep_hash(s, FC_META_NAMES, fc_table_names(&names, r.diversity))
                                                 : keep(s, FC_META_NAMES, ""));
    st = fc_table_settings(&r, &info->engine, &settings);
    if (!st) st = keep(s, FC_META_SETTINGS, fc_str_text(&settings));
    fc_str_fini(&settings);
    return st;
}

void serve_table_compare(serve *s) {
    const fc_table_meta *m;
    if (!s->table || !s->table->t) return;
    m = fc_table_meta_of(s->table->t);
    for (int i = 0; i < FC_TABLE_META; i++)
        if (s->own[i] && strcmp(s->own[i], m->value[i]) != 0)
            fc_log(
                FC_LOG_WARN,
                "table %s: its rows were made with another %s than this server's: what it lacks is answered otherwise",
                s->c.table, fc_table_meta_text((fc_table_meta_name)i));
}

fc_status serve_table_open(serve *s) {
    void *p;
    if (!s->c.table) return FC_OK;
    FC_TRY(fc_alloc(1, sizeof *s->table, "table", &p));
    s->table = p;
    (void)stat(s->c.table, &s->table->seen); /* open says what is wrong with it */
    FC_TRY(fc_table_open(s->c.table, &s->table->t));
    learn(s);
    return FC_OK;
}

void serve_table_close(serve *s) {
    if (!s->table) return;
    fc_table_close(s->table->t);
    fc_str_fini(&s->table->name);
    fc_str_fini(&s->table->key);
    fc_str_fini(&s->table->body);
    fc_str_fini(&s->table->out);
    fc_free(s->table);
    s->table = NULL;
}

/* Where another file stands at the path, it is the table from now on. */
static void refresh(serve *s) {
    struct serve_table *t = s->table;
    struct stat now;
    fc_table *fresh;
    bool in_place;
    if (stat(s->c.table, &now) || same_file(&now, &t->seen)) return;
    in_place = now.st_dev == t->seen.st_dev && now.st_ino == t->seen.st_ino;
    t->seen = now;
    if (fc_table_open(s->c.table, &fresh)) {
        fc_log(FC_LOG_WARN, "%s; %s", fc_last_error(),
               in_place ? "it was written over, so none is served" : "the table that was there before is served on");
        if (!in_place) return;
        fresh = NULL;
    }
    fc_table_close(t->t);
    t->t = fresh;
    if (!fresh) return;
    learn(s);
    serve_table_compare(s);
}

/* ---- a query as a body ---- */

static int digit_of(char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; }

/* Escapes are whole: http has seen to that. */
static fc_status put_decoded(const char *text, size_t size, fc_str *out) {
    for (size_t i = 0; i < size; i++) {
        char c = text[i] == '+' ? ' ' : text[i];
        if (c == '%' && i + 2 < size) {
            c = (char)(digit_of(text[i + 1]) * 16 + digit_of(text[i + 2]));
            i += 2;
        }
        FC_TRY(fc_str_put(out, &c, 1));
    }
    return FC_OK;
}

/* "history=A&history=B" is {"history":["A","B"]}, any other member a text; called and value are
 * scratch. */
static fc_status put_query(const char *query, fc_str *called, fc_str *value, fc_str *out) {
    bool some = false, history = false;
    for (int pass = 0; pass < 2; pass++) {
        for (const char *at = query; *at;) {
            const size_t size = strcspn(at, "&"), name = strcspn(at, "=&");
            bool listed;
            fc_str_clear(called);
            FC_TRY(put_decoded(at, name, called));
            listed = strcmp(fc_str_text(called), "history") == 0;
            if (size && listed == (pass == 0)) {
                fc_str_clear(value);
                if (size > name) FC_TRY(put_decoded(at + name + 1, size - name - 1, value));
                FC_TRY(fc_str_puts(out, some ? "," : "{"));
                if (listed && !history) FC_TRY(fc_str_puts(out, "\"history\":["));
                if (!listed) FC_TRY(fc_json_put_string(out, fc_str_text(called), called->size));
                if (!listed) FC_TRY(fc_str_puts(out, ":"));
                FC_TRY(fc_json_put_string(out, fc_str_text(value), value->size));
                history = history || listed;
                some = true;
            }
            at += size;
            at += *at == '&';
        }
        if (pass == 0 && history) FC_TRY(fc_str_puts(out, "]"));
    }
    return fc_str_puts(out, some ? "}" : "{}");
}

/* ---- the answer ---- */

static fc_status read_body(struct serve_table *t, http_req *r, const char **body, size_t *size) {
    *body = http_body(r, size);
    if (*size > KEY_BYTES)
        return FC_FAIL(FC_ERR_ARG, "a body of %zu bytes; a key's has at most %d", *size, (int)KEY_BYTES);
    if (strcmp(http_method(r), "POST") == 0) return FC_OK;
    fc_str_clear(&t->body);
    FC_TRY(put_query(http_query(r), &t->name, &t->key, &t->body));
    *body = fc_str_text(&t->body);
    *size = t->body.size;
    return FC_OK;
}

/* *e is filled where it fails. */
static fc_status find(serve *s, const char *body, size_t size, bool *found, bool *live, char ignored[OPENAI_IGNORED],
                      openai_error *e) {
    struct serve_table *t = s->table;
    fc_table_row row;
    fc_status st;
    fc_str_clear(&t->key);
    FC_TRY(openai_lookup_key(&s->api, &s->lookup, body, size, &t->key, live, ignored, e));
    fc_str_clear(&t->out);
    st = fc_table_get(t->t, fc_str_text(&t->key), &row, found);
    if (!st && *found) st = openai_lookup_row(&s->lookup, &row, &t->out);
    if (st) openai_error_of(st, fc_last_error(), NULL, false, e);
    return st;
}

/* What a browser sends for a page of another site without asking first, as it may a GET, costs no more than a look. */
static bool may_compute(http_req *r) {
    const char *site = http_header(r, "sec-fetch-site"), *method = http_method(r);
    if (strcmp(method, "POST") == 0) return true;
    return strcmp(method, "GET") == 0 && (!site || strcmp(site, "none") == 0 || strcmp(site, "same-origin") == 0);
}

void serve_lookup(void *self, http_req *r, const char *rest) {
    serve *s = self;
    const char *body;
    size_t size;
    bool found = false, live = false;
    char ignored[OPENAI_IGNORED];
    openai_error e;
    fc_status st;
    (void)rest;
    if (!s->table) {
        http_fail(r, 404, "no table is served; --table FILE names one");
        return;
    }
    refresh(s);
    if (!s->table->t) {
        http_fail(r, 503, "the table was written over, and is none; put one in its place by a rename");
        return;
    }
    st = read_body(s->table, r, &body, &size);
    if (st) openai_error_of(st, fc_last_error(), NULL, false, &e);
    else st = find(s, body, size, &found, &live, ignored, &e);
    if (st) {
        serve_refuse(r, &e);
    } else if (found) {
        serve_count(&s->metrics, SERVE_LOOKUPS_TABLE, 1);
        if (*ignored && http_field(r, "x-forkcast-ignored", ignored)) http_fail(r, 503, "out of memory");
        else http_answer(r, 200, "application/json", fc_str_text(&s->table->out), s->table->out.size);
    } else if (live && !may_compute(r)) {
        http_fail(r, 403, "the table lacks it, and a page of another site, or HEAD, has nothing computed");
    } else if (live) {
        if (!serve_admit(s, r)) return;
        const bool own = strcmp(http_method(r), "POST") == 0;
        serve_call_begin_as(s, r, OPENAI_LOOKUP, own ? NULL : body, size);
    } else {
        openai_error_http(404, "key: the table has no such row", &e);
        serve_refuse(r, &e);
    }
}
