/* models - what a server says of itself, and its tokenizer. */
#include "engine/app/openai/call.h"
#include "engine/app/print.h"

#include <string.h>

/* ---- models ---- */

static fc_status put_model(const openai_server *s, const openai_model *m, fc_str *out) {
    json_object o = {.out = out};
    const char *root = m->root ? m->root : m->id;
    FC_TRY(fc_str_puts(out, "{"));
    FC_TRY(json_text(&o, "id", m->id, strlen(m->id)));
    FC_TRY(json_text(&o, "object", "model", 5));
    FC_TRY(json_int(&o, "created", s->started));
    FC_TRY(json_text(&o, "owned_by", "forkcast", 8));
    FC_TRY(json_text(&o, "root", root, strlen(root)));
    if (m->parent) FC_TRY(json_text(&o, "parent", m->parent, strlen(m->parent)));
    else FC_TRY(fc_str_puts(out, ",\"parent\":null"));
    FC_TRY(json_int(&o, "max_model_len", s->info.novelty.ctx));
    return fc_str_puts(out, ",\"permission\":[]}");
}

fc_status openai_models(const openai_server *s, fc_str *out) {
    FC_TRY(fc_str_puts(out, "{\"object\":\"list\",\"data\":["));
    for (size_t i = 0; i < s->n_models; i++) {
        if (i) FC_TRY(fc_str_puts(out, ","));
        FC_TRY(put_model(s, &s->models[i], out));
    }
    return fc_str_puts(out, "]}");
}

fc_status openai_model_one(const openai_server *s, const char *id, fc_str *out, openai_error *e) {
    fc_status st;
    for (size_t i = 0; i < s->n_models; i++)
        if (strcmp(s->models[i].id, id) == 0) return put_model(s, &s->models[i], out);
    st = FC_FAIL(FC_ERR_ARG, "The model `%.*s` does not exist; /v1/models lists those that do.",
                 (int)fc_utf8_complete(id, strlen(id) < 80 ? strlen(id) : 80), id);
    openai_error_http(404, fc_last_error(), e);
    memcpy(e->param, "model", sizeof "model");
    return st;
}

fc_status openai_version(fc_str *out) { return fc_str_printf(out, "{\"version\":\"%s\"}", fc_version()); }

int openai_health(bool alive, bool ready, fc_str *out) {
    openai_error e;
    if (alive && ready) return 200;
    openai_error_http(503, !alive ? "the engine does not answer" : "the server is loading or draining", &e);
    (void)openai_error_put(&e, out); /* without memory the status says it alone */
    return 503;
}

/* ---- /tokenize ---- */

static fc_status put_strings(const openai_parse *p, const int32_t *ids, size_t n, fc_str *out) {
    const fc_tokenizer *t = p->s->tok[FC_NOVELTY];
    fc_str text = {0};
    fc_status st = fc_str_puts(out, ",\"token_strs\":[");
    for (size_t i = 0; i < n && !st; i++) {
        fc_str_clear(&text);
        st = openai_token_text(t, ids, i, true, &text);
        if (!st && i) st = fc_str_puts(out, ",");
        if (!st) st = fc_json_put_string(out, fc_str_text(&text), text.size);
    }
    fc_str_fini(&text);
    return st ? st : fc_str_puts(out, "]");
}

/* llama-server's form says `content`, and wants the ids alone. */
static fc_status put_tokens(openai_parse *p, const int32_t *ids, size_t n, bool strings, bool alone, fc_str *out) {
    json_object o = {.out = out};
    FC_TRY(fc_str_puts(out, "{"));
    if (!alone) FC_TRY(json_int(&o, "count", (int64_t)n));
    if (!alone) FC_TRY(json_int(&o, "max_model_len", p->s->info.novelty.ctx));
    FC_TRY(json_ids(&o, "tokens", ids, n));
    if (strings) FC_TRY(put_strings(p, ids, n, out));
    return fc_str_puts(out, "}");
}

static fc_status chat_ids(openai_parse *p, bool special, int32_t **ids, size_t *n) {
    const fc_json *list = openai_get(p, p->root, "messages");
    fc_prompt prompt;
    const char *said;
    FC_TRY(openai_messages_read(p, list, FC_NOVELTY, &prompt, &said));
    return openai_prompt_ids(p->s->tok[FC_NOVELTY], &prompt, special, ids, n);
}

/* One text in one of the three forms; a field of another form would say something that nobody reads. */
static fc_status check_form(openai_parse *p, const char *form) {
    static const char *const fields[][2] = {{"prompt", "prompt"},
                                            {"messages", "messages"},
                                            {"content", "content"},
                                            {"add_special_tokens", "prompt messages"},
                                            {"return_token_strs", "prompt messages"},
                                            {"add_generation_prompt", "messages"},
                                            {"continue_final_message", "messages"},
                                            {"add_special", "content"},
                                            {"parse_special", "content"},
                                            {"with_pieces", "content"},
                                            {"chat_template", ""},
                                            {"chat_template_kwargs", ""},
                                            {"tools", ""},
                                            {"mm_processor_kwargs", ""}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const fc_json *n = openai_get(p, p->root, fields[i][0]);
        if (!n || strstr(fields[i][1], form) || openai_asks_nothing(n)) continue;
        if (fields[i][1][0]) return openai_refuse(p, fields[i][0], "%s is given, which it does not go with", form);
        return openai_refuse(p, fields[i][0], "it is not offered");
    }
    return FC_OK;
}

static fc_status tokenize(openai_parse *p, fc_str *out) {
    bool add = true, strings = false, parse = false, llama, chat;
    const openai_model *m;
    const char *text = NULL;
    int32_t *ids;
    size_t n;
    fc_status st;
    FC_TRY(openai_pick_model(p, &m));
    chat = openai_get(p, p->root, "messages") != NULL;
    llama = !chat && !openai_get(p, p->root, "prompt") && openai_get(p, p->root, "content");
    FC_TRY(check_form(p, chat ? "messages" : llama ? "content" : "prompt"));
    if (llama) add = false;
    FC_TRY(openai_get_bool(p, llama ? "add_special" : "add_special_tokens", &add));
    FC_TRY(openai_get_bool(p, llama ? "with_pieces" : "return_token_strs", &strings));
    if (llama) FC_TRY(openai_get_bool(p, "parse_special", &parse));
    if (!chat) FC_TRY(openai_get_text(p, llama ? "content" : "prompt", &text));
    if (!chat && !text) return openai_refuse(p, "prompt", "it is missing: prompt, or messages");
    if (chat) FC_TRY(chat_ids(p, add, &ids, &n));
    else FC_TRY(fc_tokenizer_encode(p->s->tok[FC_NOVELTY], text, strlen(text), add, parse, &ids, &n));
    st = put_tokens(p, ids, n, strings, llama, out);
    fc_memory_free(ids);
    return st;
}

static fc_status detokenize(openai_parse *p, fc_str *out) {
    const openai_model *m;
    const fc_json *list;
    const int32_t *ids;
    char *text;
    size_t n, size;
    fc_status st;
    FC_TRY(openai_pick_model(p, &m));
    list = openai_get(p, p->root, "tokens");
    if (!list) return openai_refuse(p, "tokens", "it is missing");
    FC_TRY(openai_get_ids(p, list, FC_NOVELTY, &ids, &n));
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= fc_tokenizer_vocab(p->s->tok[FC_NOVELTY]))
            return openai_refuse(p, "tokens", "id %d is beyond the tokenizer's %d", ids[i],
                                 fc_tokenizer_vocab(p->s->tok[FC_NOVELTY]));
    FC_TRY(fc_tokenizer_decode(p->s->tok[FC_NOVELTY], ids, n, true, &text, &size));
    st = fc_str_puts(out, "{\"prompt\":");
    if (!st) st = fc_json_put_string(out, text, size);
    if (!st) st = fc_str_puts(out, "}");
    fc_memory_free(text);
    return st;
}

static fc_status at_once(openai_server *s, const char *body, size_t size, fc_status (*work)(openai_parse *, fc_str *),
                         fc_str *out, openai_error *e) {
    openai_held held = {0};
    openai_parse p = {.s = s, .held = &held};
    fc_status st;
    fc_arena_init(&held.arena);
    st = openai_read(body, size, &held.doc);
    if (!st) {
        p.root = fc_json_root(held.doc);
        st = work(&p, out);
    }
    if (st) openai_parse_error(&p, st, e);
    fc_json_close(held.doc);
    fc_arena_fini(&held.arena);
    return st;
}

fc_status openai_tokenize(openai_server *s, const char *body, size_t size, fc_str *out, openai_error *e) {
    return at_once(s, body, size, tokenize, out, e);
}

fc_status openai_detokenize(openai_server *s, const char *body, size_t size, fc_str *out, openai_error *e) {
    return at_once(s, body, size, detokenize, out, e);
}
