/* messages - chat messages to a prompt, by the model's own template. */
#include "engine/app/openai/call.h"

#include <string.h>

/* Parts of a message are joined as lines, as vLLM joins them. */
static fc_status read_parts(openai_parse *p, const fc_json *parts, const char **out) {
    fc_str s = {0};
    char *copy;
    fc_status st = FC_OK;
    for (const fc_json *k = fc_json_first(parts); k && !st; k = fc_json_next(k)) {
        const fc_json *type = fc_json_get(k, "type"), *text = fc_json_get(k, "text");
        const char *kind = "text", *words = "";
        if (type) st = fc_json_string(type, &kind);
        if (!st && (strcmp(kind, "text") != 0 || !text))
            st = fc_json_fail(k, FC_ERR_ARG, "a part of type text is expected; no other kind is offered");
        if (!st) st = fc_json_string(text, &words);
        if (!st && k != fc_json_first(parts)) st = fc_str_puts(&s, "\n");
        if (!st) st = fc_str_puts(&s, words);
    }
    if (!st) st = openai_alloc(p, s.size + 1, 1, &copy);
    if (!st) memcpy(copy, fc_str_text(&s), s.size + 1);
    if (!st) *out = copy;
    fc_str_fini(&s);
    return st;
}

static fc_status read_one(openai_parse *p, const fc_json *k, fc_message *out) {
    static const char *const roles[] = {"system", "user", "assistant"};
    const fc_json *role = fc_json_get(k, "role"), *content = fc_json_get(k, "content"),
                  *calls = fc_json_get(k, "tool_calls");
    const char *text;
    if (!role) return fc_json_fail(k, FC_ERR_ARG, "an object with role and content is expected");
    FC_TRY(fc_json_string(role, &text));
    if (strcmp(text, "developer") == 0) text = "system"; /* its newer name */
    out->role = NULL;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (strcmp(roles[i], text) == 0) out->role = roles[i];
    if (!out->role)
        return fc_json_fail(role, FC_ERR_ARG, "system, user or assistant are expected; tools are not offered");
    if (calls && fc_json_kind(calls) != FC_JSON_NULL && (fc_json_kind(calls) != FC_JSON_ARRAY || fc_json_count(calls)))
        return fc_json_fail(calls, FC_ERR_ARG, "tools are not offered");
    if (!content || fc_json_kind(content) == FC_JSON_NULL)
        return fc_json_fail(k, FC_ERR_ARG, "content is expected: a string, or a list of text parts");
    if (fc_json_kind(content) == FC_JSON_ARRAY) return read_parts(p, content, &out->content);
    return fc_json_string(content, &out->content);
}

static fc_status keep_pieces(openai_parse *p, const fc_piece *pieces, size_t n, const char *last, fc_prompt *out) {
    fc_piece *list;
    char *text;
    FC_TRY(openai_alloc(p, n + 1, sizeof *list, &list));
    for (size_t i = 0; i < n; i++) {
        FC_TRY(openai_alloc(p, pieces[i].size + 1, 1, &text));
        memcpy(text, pieces[i].text, pieces[i].size);
        list[i] = (fc_piece){.text = text, .size = pieces[i].size, .special = pieces[i].special};
    }
    if (last) list[n++] = (fc_piece){.text = last, .size = strlen(last)};
    *out = (fc_prompt){.pieces = list, .n_pieces = n};
    return FC_OK;
}

fc_status openai_messages_read(openai_parse *p, const fc_json *list, fc_role role, fc_prompt *out, const char **said) {
    const fc_json *ask = openai_get(p, p->root, "add_generation_prompt");
    bool generate = true, go_on = false;
    fc_message *m;
    fc_piece *pieces;
    size_t n = 0, n_pieces;
    const char *last = NULL;
    fc_status st;
    if (ask) FC_TRY(fc_json_bool(ask, &generate));
    FC_TRY(openai_get_bool(p, "continue_final_message", &go_on));
    if (go_on && ask && generate)
        return openai_refuse(p, "continue_final_message",
                             "add_generation_prompt is true, too; one of them is possible");
    p->param = "messages";
    if (fc_json_kind(list) != FC_JSON_ARRAY || !fc_json_count(list))
        return fc_json_fail(list, FC_ERR_ARG, "a list of one message or more is expected");
    FC_TRY(openai_alloc(p, fc_json_count(list), sizeof *m, &m));
    for (const fc_json *k = fc_json_first(list); k; k = fc_json_next(k), n++) FC_TRY(read_one(p, k, &m[n]));
    *said = m[n - 1].content;
    for (size_t i = 0; i < n; i++)
        if (strcmp(m[i].role, "user") == 0) *said = m[i].content;
    if (go_on) { /* the answer begins as this one does, and its end is not written */
        if (strcmp(m[n - 1].role, "assistant") != 0)
            return openai_refuse(p, "continue_final_message", "the last message is not the assistant's");
        last = m[--n].content;
        generate = true;
    }
    st = fc_tokenizer_chat(p->s->tok[role], m, n, generate, &pieces, &n_pieces);
    if (st) return st;
    st = keep_pieces(p, pieces, n_pieces, last, out);
    fc_memory_free(pieces);
    return st;
}
