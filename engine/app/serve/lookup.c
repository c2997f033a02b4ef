/* lookup - /v1/lookup: a row of the table, or, of a history that it lacks, a request of the engine.
 *
 * The file is read by a thread of its own: it is immutable, so a row costs some tens of microseconds and waits for no
 * lock; but where its pages are not in memory, as of a table that has just been put there, a row waits for the disk
 * (up to 0.2 s of 579,121 rows), and who asks for something else must not. The kernel reads the file ahead when it is
 * opened. A look at the path before each answer tells whether another file has taken its place; that one is then opened
 * and the old one closed. One that cannot be opened is a warning, and the old one goes on.
 */
#include "engine/app/serve/call.h"
#include "engine/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { KEY_BYTES = 8 << 10 };

/* The looker's, once it runs. */
struct serve_table {
    fc_table *t;
    openai_lookup known; /* of t */
    struct stat seen;    /* of the path, when it was last looked at */
    fc_str key;
};

/* A look-up at the looker. */
typedef struct {
    serve_task task;
    serve *s;
    http_req *r;      /* NULL: nobody waits, */
    atomic_bool gone; /* as the looker sees it */
    fc_str body;
    /* what it becomes */
    enum { ROW_FOUND, ROW_LACKS, ROW_NO_TABLE, ROW_WRONG } what;
    bool live; /* it lacks a history */
    openai_lookup known;
    fc_str out; /* the answer */
    char ignored[OPENAI_IGNORED];
    openai_error e;
} looking;

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void learn(struct serve_table *t) {
    const fc_table_meta *m = fc_table_meta_of(t->t);
    t->known = (openai_lookup){.histories = strstr(m->value[FC_META_KEYS], "\"kind\":\"histories\"") != NULL,
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
                "table %s: the %s of its rows and of this server are not the same: what it lacks is answered otherwise",
                s->c.table, fc_table_meta_text((fc_table_meta_name)i));
}

fc_status serve_table_open(serve *s) {
    void *p;
    if (!s->c.table) return FC_OK;
    FC_TRY(fc_alloc(1, sizeof *s->table, "table", &p));
    s->table = p;
    (void)stat(s->c.table, &s->table->seen); /* open says what is wrong with it */
    FC_TRY(fc_table_open(s->c.table, &s->table->t));
    learn(s->table);
    return FC_OK;
}

void serve_table_close(serve *s) {
    if (!s->table) return;
    fc_table_close(s->table->t);
    fc_str_fini(&s->table->key);
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
    learn(t);
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

/* ---- in the looker's thread ---- */

static fc_status find(looking *a, bool *found) {
    serve *s = a->s;
    struct serve_table *t = s->table;
    fc_table_row row;
    fc_status st;
    fc_str_clear(&t->key);
    FC_TRY(openai_lookup_key(&s->api, &t->known, fc_str_text(&a->body), a->body.size, &t->key, &a->live, a->ignored,
                             &a->e));
    st = fc_table_get(t->t, fc_str_text(&t->key), &row, found);
    if (!st && *found) st = openai_lookup_row(&t->known, &row, &a->out);
    if (st) openai_error_of(st, fc_last_error(), NULL, false, &a->e);
    return st;
}

static void run(serve_task *task) {
    looking *a = (looking *)task;
    struct serve_table *t = a->s->table;
    bool found = false;
    if (atomic_load(&a->gone)) return;
    refresh(a->s);
    if (!t->t) a->what = ROW_NO_TABLE;
    else if (find(a, &found)) a->what = ROW_WRONG;
    else a->what = found ? ROW_FOUND : ROW_LACKS;
    a->known = t->known;
    http_budget_hold(http_memory(a->s->h), HTTP_ANSWERS, a->out.cap);
}

/* ---- in the loop's ---- */

/* What a browser sends for a page of another site without asking first, as it may a GET, costs no more than a look. */
static bool may_compute(http_req *r) {
    const char *site = http_header(r, "sec-fetch-site"), *method = http_method(r);
    if (strcmp(method, "POST") == 0) return true;
    return strcmp(method, "GET") == 0 && (!site || strcmp(site, "none") == 0 || strcmp(site, "same-origin") == 0);
}

static void answer(looking *a) {
    serve *s = a->s;
    http_req *r = a->r;
    if (a->what == ROW_WRONG) {
        serve_refuse(r, &a->e);
    } else if (a->what == ROW_NO_TABLE) {
        http_fail(r, 503, "the table was written over, and is none; put one in its place by a rename");
    } else if (a->what == ROW_FOUND) {
        serve_count(&s->metrics, SERVE_LOOKUPS_TABLE, 1);
        if (*a->ignored && http_field(r, "x-forkcast-ignored", a->ignored)) http_fail(r, 503, "out of memory");
        else http_answer_own(r, 200, "application/json", &a->out);
    } else if (!a->live) {
        openai_error_http(404, "key: the table has no such row", &a->e);
        serve_refuse(r, &a->e);
    } else if (!may_compute(r)) {
        http_fail(r, 403, "the table lacks it, and a page of another site, or HEAD, has nothing computed");
    } else if (serve_admit(s, r)) {
        s->lookup = a->known;
        serve_call_begin_as(s, r, OPENAI_LOOKUP, fc_str_text(&a->body), a->body.size);
    }
}

static void back(serve_task *task) {
    looking *a = (looking *)task;
    const size_t size = a->out.cap;
    if (a->r) answer(a);
    http_budget_give(http_memory(a->s->h), HTTP_ANSWERS, size);
    serve_drop_body(a->s, &a->body);
    fc_str_fini(&a->out);
    fc_free(a);
}

static void cancelled(void *self, http_req *r, http_why why) {
    looking *a = self;
    a->r = NULL;
    atomic_store(&a->gone, true);
    if (why != HTTP_GONE) http_fail(r, 503, "the server is stopping");
}

static const http_watcher watcher = {.on_cancel = cancelled};

/* The body, or what a query says as one; it counts as one. */
static fc_status take_body(serve *s, http_req *r, fc_str *out) {
    fc_str name = {0}, value = {0};
    fc_status st;
    size_t size;
    (void)http_body(r, &size);
    if (size > KEY_BYTES)
        return FC_FAIL(FC_ERR_ARG, "a body of %zu bytes; a key's has at most %d", size, (int)KEY_BYTES);
    if (strcmp(http_method(r), "POST") == 0) {
        http_take_body(r, out);
        return FC_OK;
    }
    st = put_query(http_query(r), &name, &value, out);
    http_budget_hold(http_memory(s->h), HTTP_BODIES, out->cap);
    fc_str_fini(&name);
    fc_str_fini(&value);
    return st;
}

void serve_lookup(void *self, http_req *r, const char *rest) {
    serve *s = self;
    openai_error e;
    fc_status st;
    looking *a;
    void *p = NULL;
    (void)rest;
    if (!s->table) {
        http_fail(r, 404, "no table is served; --table FILE names one");
        return;
    }
    if (serve_worker_is_full(s, &s->looker, r)) return;
    st = fc_alloc(1, sizeof *a, "look-up", &p);
    a = p;
    if (!st) st = take_body(s, r, &a->body);
    if (st) {
        openai_error_of(st, fc_last_error(), NULL, false, &e);
        serve_refuse(r, &e);
        if (p) serve_drop_body(s, &a->body);
        fc_free(p);
        return;
    }
    a->task = (serve_task){.run = run, .back = back};
    a->s = s;
    a->r = r;
    a->what = ROW_NO_TABLE;
    http_watch(r, &watcher, a);
    serve_worker_put(&s->looker, &a->task);
}
