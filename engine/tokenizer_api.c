/* The tokenizer's part of forkcast.h: a model's own tokenizer and chat template, without its weights. */
#include "engine/forkcast.h"

#include "engine/base/mem.h"
#include "engine/model_tok.h"
#include "tokenizer/chat.h"

#include <string.h>

struct fc_tokenizer {
    fc_tok *tok;
    fc_str chat; /* the model's chat template, "" = none */
    char *name;  /* for errors */
};

/* A tokenizer.json on its own, by whatever name; not the index of a model's shards. */
static bool is_tokenizer_json(const char *path) {
    return fc_ends_with(path, ".json") && !fc_ends_with(path, ".index.json");
}

static fc_status open_model(fc_tokenizer *t, const char *path) {
    fc_weights *w = NULL;
    fc_status st;
    FC_TRY(fc_weights_open(path, &w));
    st = fc_model_tok_open(w, &t->tok);
    if (!st) st = fc_weights_chat_template(w, &t->chat);
    fc_weights_close(w);
    return st;
}

fc_status fc_tokenizer_open(const char *model_path, fc_tokenizer **out) {
    fc_tokenizer *t;
    void *p;
    fc_status st;
    if (!model_path) return FC_FAIL(FC_ERR_ARG, "tokenizer: no model path");
    FC_TRY(fc_alloc(1, sizeof *t, "tokenizer", &p));
    t = p;
    st = fc_copy_str(model_path, "model path", &t->name);
    if (!st) st = is_tokenizer_json(model_path) ? fc_tok_open_json(model_path, &t->tok) : open_model(t, model_path);
    if (st) {
        fc_tokenizer_close(t);
        return st;
    }
    *out = t;
    return FC_OK;
}

void fc_tokenizer_close(fc_tokenizer *t) {
    if (!t) return;
    fc_tok_close(t->tok);
    fc_str_fini(&t->chat);
    fc_free(t->name);
    fc_free(t);
}

fc_status fc_tokenizer_encode(const fc_tokenizer *t, const char *text, size_t size, bool add_special,
                              bool parse_special, int32_t **ids, size_t *n) {
    unsigned flags = (add_special ? FC_TOK_ADD_SPECIAL : 0u) | (parse_special ? FC_TOK_PARSE_SPECIAL : 0u);
    int32_t *list = NULL;
    size_t count = 0, cap = 0, at;
    fc_status st;
    if (fc_tok_loses(t->tok, text, size, &at))
        return FC_FAIL(FC_ERR_ARG, "text: byte 0x%02x at offset %zu has no token in the vocabulary of %s",
                       (unsigned char)text[at], at, t->name);
    st = fc_tok_encode(t->tok, text, size, flags, &list, &count, &cap);
    if (!st && !list) { /* no id is still something to free */
        void *p;
        st = fc_alloc(0, sizeof *list, "ids", &p);
        if (!st) list = p;
    }
    if (st) {
        fc_free(list);
        return st;
    }
    *ids = list;
    *n = count;
    return FC_OK;
}

fc_status fc_tokenizer_decode(const fc_tokenizer *t, const int32_t *ids, size_t n, bool special, char **text,
                              size_t *size) {
    fc_str out = {0};
    fc_status st = fc_tok_decode(t->tok, ids, n, special, &out);
    if (!st) st = fc_str_put(&out, "", 0); /* a NUL behind nothing, too */
    if (st) {
        fc_str_fini(&out);
        return st;
    }
    *text = out.data;
    *size = out.size;
    return FC_OK;
}

int32_t fc_tokenizer_vocab(const fc_tokenizer *t) { return (int32_t)fc_tok_size(t->tok); }

/* One allocation: the pieces, then all their text. */
static fc_status pack(const fc_chat_prompt *c, fc_piece **pieces, size_t *n_pieces) {
    size_t bytes, from = 0;
    void *p;
    fc_piece *list;
    char *text;
    if (!fc_mul(c->n_pieces, sizeof *list, &bytes) || !fc_add(bytes, c->text.size, &bytes) || !fc_add(bytes, 1, &bytes))
        return FC_FAIL(FC_ERR_MEM, "chat prompt: %zu pieces are too many", c->n_pieces);
    FC_TRY(fc_alloc(bytes, 1, "chat prompt", &p));
    list = p;
    text = (char *)(list + c->n_pieces);
    if (c->text.size) memcpy(text, c->text.data, c->text.size);
    for (size_t i = 0; i < c->n_pieces; from = c->pieces[i++].end)
        list[i] = (fc_piece){.text = text + from, .size = c->pieces[i].end - from, .special = c->pieces[i].marker};
    *pieces = list;
    *n_pieces = c->n_pieces;
    return FC_OK;
}

fc_status fc_tokenizer_chat(const fc_tokenizer *t, const fc_message *messages, size_t n, bool add_generation_prompt,
                            fc_piece **pieces, size_t *n_pieces) {
    fc_chat_template chat;
    fc_chat_prompt prompt = {0};
    fc_chat_message *list = NULL;
    fc_str bos = {0}, eos = {0};
    void *p;
    fc_status st;
    if (t->chat.size == 0) return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: the model has no chat template", t->name);
    FC_TRY(fc_chat_recognise(t->chat.data, t->chat.size, &chat));
    FC_TRY(fc_alloc(n, sizeof *list, "messages", &p));
    list = p;
    for (size_t i = 0; i < n; i++) {
        const char *content = messages[i].content ? messages[i].content : "";
        list[i] = (fc_chat_message){.role = messages[i].role, .content = content, .size = strlen(content)};
    }
    st = fc_tok_bos(t->tok) < 0 ? FC_OK : fc_tok_piece(t->tok, fc_tok_bos(t->tok), true, &bos);
    if (!st && fc_tok_eos(t->tok) >= 0) st = fc_tok_piece(t->tok, fc_tok_eos(t->tok), true, &eos);
    if (!st && eos.size > 0 && eos.size < sizeof chat.eos) memcpy(chat.eos, eos.data, eos.size + 1);
    if (!st) st = fc_chat_render(&chat, list, n, fc_str_text(&bos), add_generation_prompt, &prompt);
    if (!st) st = pack(&prompt, pieces, n_pieces);
    fc_chat_prompt_fini(&prompt);
    fc_str_fini(&bos);
    fc_str_fini(&eos);
    fc_free(list);
    return st;
}

void fc_memory_free(void *p) { fc_free(p); }
