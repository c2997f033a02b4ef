#include "tests/app/openai_rig.h"

#include "engine/base/mem.h"

static void open_small(rig *r, const char *recipe, const char *path, const char *scorer, int ctx, uint64_t kv_pool) {
    memset(r, 0, sizeof *r);
    r->e = open_engine(
        &(fc_engine_options){.novelty = path, .alignment = scorer, .threads = 1, .ctx = ctx, .kv_pool = kv_pool});
    assert_ok(fc_tokenizer_open(path, &r->tok[0]));
    if (scorer) assert_ok(fc_tokenizer_open(scorer, &r->tok[1]));
    r->models[0] = (openai_model){.id = "tiny", .root = "tiny-root"};
    r->models[1] = (openai_model){.id = "tuned", .root = "tuned-root", .parent = "tiny", .novelty_adapter = "tuned"};
    r->s = (openai_server){.models = r->models, .n_models = 2, .tok = {r->tok[0], r->tok[1]}, .started = 1600000000};
    fc_engine_describe(r->e, &r->s.info);
    assert_ok(fc_recipe_parse("recipe", recipe ? recipe : "{}", strlen(recipe ? recipe : "{}"), &r->s.recipe));
    r->s.has_recipe = recipe != NULL;
    assert_ok(openai_server_init(&r->s));
    r->c = (openai_context){.random = 0x1234, .now = 1700000000};
}

static void open_models(rig *r, const char *recipe, const char *path, const char *scorer) {
    open_small(r, recipe, path, scorer, 0, 0);
}

void rig_open_small(rig *r, const char *recipe, int ctx, uint64_t kv_pool) {
    const char *path = tiny_model("llama", 11, false);
    open_small(r, recipe, path, path, ctx, kv_pool);
}

void rig_open(rig *r, const char *recipe, bool aligned) {
    const char *path = tiny_model("llama", 11, false);
    open_models(r, recipe, path, aligned ? path : NULL);
}

void rig_open_apart(rig *r, const char *recipe) {
    open_models(r, recipe, tiny_model("llama", 11, false), tiny_model_vocab("llama", 12, false, 400));
}

void rig_close(rig *r) {
    fc_recipe_close(r->s.recipe);
    for (int i = 0; i < 2; i++) fc_tokenizer_close(r->tok[i]);
    fc_engine_close(r->e);
}

openai_call *rig_parse(rig *r, openai_route route, const char *body) {
    openai_call *c = NULL;
    openai_error e;
    if (openai_call_parse(&r->s, route, &r->c, body, strlen(body), &c, &e)) fail_msg("%s: %s", body, e.message);
    return c;
}

const char *rig_refused(rig *r, openai_route route, const char *body, int *http) {
    static fc_str text;
    openai_call *c;
    openai_error e;
    if (openai_call_parse(&r->s, route, &r->c, body, strlen(body), &c, &e) == FC_OK) fail_msg("%s: it is taken", body);
    fc_str_clear(&text);
    assert_ok(openai_error_put(&e, &text));
    if (http) *http = e.http;
    return fc_str_text(&text);
}

static char *error_text(const openai_error *e, int *http) {
    fc_str text = {0};
    char *copy;
    assert_ok(openai_error_put(e, &text));
    copy = strdup(fc_str_text(&text));
    fc_str_fini(&text);
    *http = e->http;
    return copy;
}

char *rig_run(rig *r, openai_call *c, int *http) {
    openai_answer *a;
    openai_error err;
    uint64_t ids[64];
    fc_str out = {0};
    bool over = false;
    char *copy;
    fc_status st = FC_OK;
    size_t n = c->n_requests, left = n;
    assert_true(n <= 64);
    *http = 200;
    for (size_t i = 0; i < n && !st; i++) {
        st = fc_submit(r->e, &c->requests[i], &ids[i]);
        if (st) openai_error_of(st, fc_last_error(), NULL, false, &err);
        if (st) openai_error_field(c, &err);
        if (st && i) fail_msg("request %zu: %s", i, err.message);
    }
    if (st) {
        openai_call_close(c);
        return error_text(&err, http);
    }
    openai_call_trim(c);
    assert_ok(openai_answer_open(&r->s, c, &a));
    while (left) {
        fc_event ev;
        size_t i = 0;
        assert_ok(fc_poll(r->e, 60000, &ev));
        while (i < n && ids[i] != ev.id) i++;
        assert_true(i < n);
        if (!st) st = openai_answer_event(a, i, &ev, &out, &over, &err);
        left -= ev.type == FC_EVENT_DONE;
        fc_event_fini(&ev);
    }
    assert_int_equal(over, st == FC_OK);
    copy = st ? error_text(&err, http) : strdup(fc_str_text(&out));
    fc_str_fini(&out);
    openai_answer_close(a);
    return copy;
}

char *rig_post(rig *r, openai_route route, const char *body, int *http) {
    openai_call *c;
    openai_error err;
    if (openai_call_parse(&r->s, route, &r->c, body, strlen(body), &c, &err)) return error_text(&err, http);
    return rig_run(r, c, http);
}

int rig_count(const char *text, const char *what) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what)) n++;
    return n;
}

fc_json_doc *rig_json(const char *text) {
    fc_json_doc *d;
    assert_ok(fc_json_parse("answer", text, strlen(text), &d));
    return d;
}

static const fc_json *step(const fc_json *n, const char *key) {
    char *end;
    long i = strtol(key, &end, 10);
    if (fc_json_kind(n) != FC_JSON_ARRAY) return fc_json_get(n, key);
    n = fc_json_first(n);
    while (n && i--) n = fc_json_next(n);
    return n;
}

const fc_json *rig_at(const fc_json_doc *d, const char *path) {
    const fc_json *n = fc_json_root(d);
    char key[64];
    for (const char *at = path; *at && n;) {
        size_t len = strcspn(at, ".");
        snprintf(key, sizeof key, "%.*s", (int)len, at);
        n = step(n, key);
        at += len;
        at += *at == '.';
    }
    if (!n) fail_msg("%s: it is not there", path);
    return n;
}

const char *rig_text(const fc_json_doc *d, const char *path) {
    const char *text;
    assert_ok(fc_json_string(rig_at(d, path), &text));
    return text;
}

double rig_number(const fc_json_doc *d, const char *path) {
    double v;
    assert_ok(fc_json_double(rig_at(d, path), &v));
    return v;
}

char *rig_joined(const char *stream, int index) {
    fc_str all = {0};
    char *copy;
    for (const char *at = stream; *at;) {
        const char *end = strstr(at, "\n\n");
        fc_json_doc *d;
        const fc_json *n;
        assert_non_null(end);
        assert_memory_equal(at, "data: ", 6);
        assert_null(memchr(at, '\n', (size_t)(end - at)));
        if (end - at == 12 && memcmp(at, "data: [DONE]", 12) == 0) {
            assert_string_equal(end, "\n\n"); /* nothing follows */
            break;
        }
        assert_ok(fc_json_parse("chunk", at + 6, (size_t)(end - at - 6), &d));
        for (n = fc_json_first(fc_json_get(fc_json_root(d), "choices")); n; n = fc_json_next(n)) {
            const fc_json *delta = fc_json_get(n, "delta"), *text = fc_json_get(n, "text");
            const char *words;
            int64_t i;
            assert_ok(fc_json_int(fc_json_get(n, "index"), 0, 4096, &i));
            if (delta) text = fc_json_get(delta, "content");
            if (i != index || !text) continue;
            assert_ok(fc_json_string(text, &words));
            assert_ok(fc_str_puts(&all, words));
        }
        fc_json_close(d);
        at = end + 2;
    }
    copy = strdup(fc_str_text(&all));
    fc_str_fini(&all);
    return copy;
}
