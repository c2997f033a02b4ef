#include "weights_tools/convert_tok.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <stdio.h>
#include <string.h>

#define KEY "tokenizer.ggml."
enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE }; /* GGUF's token types */
enum { MAX_TOKENIZER = 256 << 20, MAX_CONFIG = 16 << 20 };

typedef struct {
    const char *path; /* of tokenizer.json; NULL: there is none */
    char *json;       /* [json_size] its text */
    size_t json_size;
    fc_json_doc *doc; /* holds the texts of pieces and merges */
    fc_gguf_write *w;
    fc_str *notes;
    const fc_model_config *c;
    fc_convert_rules rules;
    fc_arena arena; /* texts that the document does not hold as they are needed */
    size_t V;
    fc_view_str *text;   /* [V]; text == NULL: no token has this id */
    int32_t *type;       /* [V] */
    float *score;        /* [V] */
    uint32_t *slots;     /* [n_slots] id + 1 by text, 0 = free */
    size_t n_slots;      /* a power of two */
    fc_view_str *merges; /* [n_merges] "left right" */
    size_t n_merges;
    size_t beyond; /* tokens whose ids the embeddings do not have */
} vocab;

static uint32_t *slot_of(const vocab *v, const char *text, size_t size) {
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    size_t i;
    for (i = 0; i < size; i++) h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    for (i = (size_t)(h ^ h >> 32) & (v->n_slots - 1); v->slots[i]; i = (i + 1) & (v->n_slots - 1)) {
        const fc_view_str *t = &v->text[v->slots[i] - 1];
        if (t->size == size && memcmp(t->text, text, size) == 0) break;
    }
    return &v->slots[i];
}

static int32_t find(const vocab *v, const char *text, size_t size) { return (int32_t)*slot_of(v, text, size) - 1; }

static fc_status add(vocab *v, int64_t id, const char *text, size_t size, int32_t type) {
    uint32_t *slot;
    if (id >= (int64_t)v->V) {
        v->beyond++;
        return FC_OK;
    }
    if (v->text[id].text && (v->text[id].size != size || memcmp(v->text[id].text, text, size) != 0))
        return FC_FAIL(FC_ERR_FORMAT, "%s: id %lld is \"%.64s\" and \"%.64s\"", v->path, (long long)id,
                       v->text[id].text, text);
    slot = slot_of(v, text, size);
    if (*slot && *slot != (uint32_t)id + 1)
        return FC_FAIL(FC_ERR_FORMAT, "%s: \"%.64s\" has ids %u and %lld", v->path, text, *slot - 1, (long long)id);
    v->text[id] = (fc_view_str){text, size};
    v->type[id] = type;
    *slot = (uint32_t)id + 1;
    return FC_OK;
}

static bool is_byte_piece(const char *s) { /* <0x0A> */
    return strlen(s) == 6 && strncmp(s, "<0x", 3) == 0 && s[5] == '>' && strspn(s + 3, "0123456789ABCDEFabcdef") == 2;
}

static bool byte_fallback(const fc_json *model) {
    const fc_json *n = fc_json_get(model, "byte_fallback");
    bool v = false;
    return n && fc_json_kind(n) == FC_JSON_BOOL && fc_json_bool(n, &v) == FC_OK && v;
}

/* BPE's {"piece": id}, or unigram's [["piece", score]] in the order of ids. */
static fc_status read_vocab(vocab *v, const fc_json *model) {
    const fc_json *list = fc_json_get(model, "vocab");
    bool bytes = byte_fallback(model);
    int64_t id = 0;
    if (!list || (fc_json_kind(list) != FC_JSON_OBJECT && fc_json_kind(list) != FC_JSON_ARRAY))
        return FC_FAIL(FC_ERR_FORMAT, "%s: model.vocab is neither an object nor an array", v->path);
    for (const fc_json *n = fc_json_first(list); n; n = fc_json_next(n), id++) {
        const char *text = NULL;
        if (fc_json_kind(list) == FC_JSON_OBJECT) {
            text = fc_json_key(n);
            FC_TRY(fc_json_int(n, 0, INT32_MAX, &id));
        } else {
            double score = 0.0;
            if (fc_json_kind(n) != FC_JSON_ARRAY || fc_json_count(n) != 2)
                return FC_FAIL(FC_ERR_FORMAT, "%s: model.vocab: entry %lld is no pair of piece and score", v->path,
                               (long long)id);
            FC_TRY(fc_json_string(fc_json_first(n), &text));
            FC_TRY(fc_json_double(fc_json_next(fc_json_first(n)), &score));
            if (id < (int64_t)v->V) v->score[id] = (float)score;
        }
        FC_TRY(add(v, id, text, strlen(text), bytes && is_byte_piece(text) ? BYTE : NORMAL));
    }
    return FC_OK;
}

static fc_status read_added(vocab *v, const fc_json *root) {
    const fc_json *list = fc_json_get(root, "added_tokens");
    if (!list || fc_json_kind(list) != FC_JSON_ARRAY) return FC_OK;
    for (const fc_json *n = fc_json_first(list); n; n = fc_json_next(n)) {
        const fc_json *id_node = fc_json_get(n, "id"), *text_node = fc_json_get(n, "content"),
                      *special_node = fc_json_get(n, "special");
        const char *text = NULL;
        bool special = false;
        int64_t id = 0;
        if (!id_node || !text_node) return FC_FAIL(FC_ERR_FORMAT, "%s: an added token without id or content", v->path);
        FC_TRY(fc_json_int(id_node, 0, INT32_MAX, &id));
        FC_TRY(fc_json_string(text_node, &text));
        if (special_node) FC_TRY(fc_json_bool(special_node, &special));
        FC_TRY(add(v, id, text, strlen(text), special ? CONTROL : USER_DEFINED));
    }
    return FC_OK;
}

/* One merge as its two pieces: "left right", or ["left", "right"]. */
static fc_status read_merge(vocab *v, const fc_json *n, size_t i, fc_view_str *left, fc_view_str *right) {
    const char *text = NULL, *second = NULL, *blank;
    size_t size;
    void *p;
    if (fc_json_kind(n) == FC_JSON_ARRAY && fc_json_count(n) == 2) {
        FC_TRY(fc_json_string(fc_json_first(n), &text));
        FC_TRY(fc_json_string(fc_json_next(fc_json_first(n)), &second));
        *left = (fc_view_str){text, strlen(text)};
        *right = (fc_view_str){second, strlen(second)};
        size = left->size + 1 + right->size;
        FC_TRY(fc_arena_alloc(&v->arena, size + 1, 1, &p));
        snprintf(p, size + 1, "%s %s", text, second);
        v->merges[i] = (fc_view_str){p, size};
        return FC_OK;
    }
    FC_TRY(fc_json_string(n, &text));
    blank = strchr(text, ' ');
    if (!blank || strchr(blank + 1, ' '))
        return FC_FAIL(FC_ERR_FORMAT, "%s: model.merges: entry %zu, \"%.64s\", is not two pieces with a blank between",
                       v->path, i, text);
    *left = (fc_view_str){text, (size_t)(blank - text)};
    *right = (fc_view_str){blank + 1, strlen(blank + 1)};
    v->merges[i] = (fc_view_str){text, strlen(text)};
    return FC_OK;
}

/* SentencePiece merges by the score of what comes out, so a piece's score is the place of its first merge, negative.
 * Pieces that no merge makes are below them all. */
static fc_status read_merges(vocab *v, const fc_json *model) {
    const fc_json *list = fc_json_get(model, "merges"), *n;
    fc_str whole = {0};
    fc_status st = FC_OK;
    float place = 0.0f;
    size_t i = 0;
    void *p;
    if (!list || fc_json_kind(list) != FC_JSON_ARRAY)
        return FC_FAIL(FC_ERR_FORMAT, "%s: model.merges is no array", v->path);
    v->n_merges = fc_json_count(list);
    FC_TRY(fc_arena_alloc(&v->arena, v->n_merges, sizeof *v->merges, &p));
    v->merges = p;
    for (n = fc_json_first(list); n && !st; n = fc_json_next(n), i++) {
        fc_view_str left, right;
        int32_t id;
        st = read_merge(v, n, i, &left, &right);
        if (st) break;
        fc_str_clear(&whole);
        st = fc_str_put(&whole, left.text, left.size);
        if (!st) st = fc_str_put(&whole, right.text, right.size);
        if (st) break;
        id = find(v, whole.data, whole.size);
        if (id >= 0 && v->score[id] == 0.0f) v->score[id] = place -= 1.0f;
    }
    fc_str_fini(&whole);
    for (i = 0; i < v->V; i++)
        if (v->score[i] == 0.0f && (v->type[i] == NORMAL || v->type[i] == USER_DEFINED)) v->score[i] = place - 1.0f;
    return st;
}

/* Embeddings may have more rows than there are tokens. */
static fc_status fill_holes(vocab *v) {
    for (size_t i = 0; i < v->V; i++) {
        char text[32];
        void *p;
        int n;
        if (v->text[i].text) continue;
        n = snprintf(text, sizeof text, "[PAD%zu]", i);
        FC_TRY(fc_arena_alloc(&v->arena, sizeof text, 1, &p));
        memcpy(p, text, sizeof text);
        v->text[i] = (fc_view_str){p, (size_t)n};
        v->type[i] = UNUSED;
    }
    return FC_OK;
}

/* The id of a token that a config names: "text", {"content": "text"}, or null. */
static int32_t named_id(const vocab *v, const fc_json *n) {
    const char *text = NULL;
    if (n && fc_json_kind(n) == FC_JSON_OBJECT) n = fc_json_get(n, "content");
    if (!n || fc_json_kind(n) != FC_JSON_STRING || fc_json_string(n, &text)) return -1;
    return find(v, text, strlen(text));
}

static fc_status put_id(const vocab *v, const char *key, int32_t id) {
    return id >= 0 && id < (int32_t)v->V ? fc_gguf_write_u32(v->w, key, (uint32_t)id) : FC_OK;
}

/* GGUF has three places for ids that end a text; the first stays the first. */
static fc_status put_ends(const vocab *v) {
    static const char message[] = "<|eom_id|>"; /* Llama 3.1's end of a message, which another may follow */
    int32_t eot = -1, eom = -1;
    FC_TRY(put_id(v, KEY "bos_token_id", v->rules.prefix >= 0 ? v->rules.prefix : v->c->bos));
    for (int i = 1; i < v->c->n_eos; i++) {
        int32_t id = v->c->eos[i];
        const fc_view_str *t = &v->text[id];
        bool is_eom = t->text && t->size == strlen(message) && memcmp(t->text, message, t->size) == 0;
        if (!is_eom && eot < 0) eot = id;
        else if (eom < 0) eom = id;
        else FC_TRY(fc_str_printf(v->notes, "id %d ends a text too, which GGUF has no place for\n", id));
    }
    if (v->c->n_eos > 0) FC_TRY(put_id(v, KEY "eos_token_id", v->c->eos[0]));
    FC_TRY(put_id(v, KEY "eot_token_id", eot));
    return put_id(v, KEY "eom_token_id", eom);
}

static fc_status put_charsmap(const vocab *v) {
    fc_str out = {0};
    fc_status st = fc_str_put_base64(&out, v->rules.charsmap);
    if (st) st = FC_FAIL(st, "%s: precompiled_charsmap: %s", v->path, fc_status_text());
    else st = fc_gguf_write_u8s(v->w, KEY "precompiled_charsmap", (const uint8_t *)fc_str_text(&out), out.size);
    fc_str_fini(&out);
    return st;
}

/* The rules other than pieces and ids. */
static fc_status put_rules(const vocab *v) {
    const fc_convert_rules *r = &v->rules;
    bool sentencepiece = strcmp(r->model, "gpt2") != 0;
    const char *pre = sentencepiece ? "default" : r->pre;
    FC_TRY(fc_gguf_write_string(v->w, KEY "model", r->model, strlen(r->model)));
    if (pre) FC_TRY(fc_gguf_write_string(v->w, KEY "pre", pre, strlen(pre)));
    if (r->unsaid)
        FC_TRY(fc_str_printf(v->notes,
                             "the tokenizer's step %.64s has no place in GGUF's arrays: engines that do not read "
                             "tokenizer.huggingface.json may split text in another way\n",
                             r->unsaid));
    FC_TRY(fc_gguf_write_bool(v->w, KEY "add_bos_token", r->template_known ? r->prefix >= 0 : v->c->add_bos));
    FC_TRY(fc_gguf_write_bool(v->w, KEY "add_eos_token", r->template_known ? r->suffix >= 0 : v->c->add_eos));
    FC_TRY(fc_gguf_write_bool(v->w, KEY "add_space_prefix", sentencepiece && r->space_prefix));
    if (r->collapse) FC_TRY(fc_gguf_write_bool(v->w, KEY "remove_extra_whitespaces", true));
    return r->charsmap ? put_charsmap(v) : FC_OK;
}

static fc_status put_arrays(vocab *v, const fc_json *root, const fc_json *config) {
    const fc_json *model = fc_json_get(root, "model"), *unk_id = fc_json_get(model, "unk_id");
    bool sentencepiece = strcmp(v->rules.model, "gpt2") != 0, unigram = strcmp(v->rules.model, "t5") == 0;
    int32_t unk = named_id(v, fc_json_get(model, "unk_token"));
    int64_t id;
    if (unk_id && fc_json_kind(unk_id) == FC_JSON_NUMBER) {
        FC_TRY(fc_json_int(unk_id, 0, (int64_t)v->V - 1, &id));
        unk = (int32_t)id;
    }
    if (unk < 0) unk = named_id(v, fc_json_get(config, "unk_token"));
    if (sentencepiece && unk >= 0) v->type[unk] = UNKNOWN;
    if (!unigram) FC_TRY(read_merges(v, model));
    FC_TRY(fill_holes(v));
    FC_TRY(put_rules(v));
    FC_TRY(fc_gguf_write_strings(v->w, KEY "tokens", v->text, v->V));
    if (sentencepiece) FC_TRY(fc_gguf_write_f32s(v->w, KEY "scores", v->score, v->V));
    FC_TRY(fc_gguf_write_i32s(v->w, KEY "token_type", v->type, v->V));
    if (!sentencepiece) FC_TRY(fc_gguf_write_strings(v->w, KEY "merges", v->merges, v->n_merges));
    FC_TRY(put_id(v, KEY "unknown_token_id", unk));
    FC_TRY(put_id(v, KEY "padding_token_id", named_id(v, fc_json_get(config, "pad_token"))));
    if (v->beyond)
        FC_TRY(fc_str_printf(v->notes,
                             "%zu tokens have ids from %zu on, which the embeddings do not have; they are left out\n",
                             v->beyond, v->V));
    return FC_OK;
}

static fc_status reserve(vocab *v) {
    void *p;
    for (v->n_slots = 1024; v->n_slots < 2 * v->V; v->n_slots *= 2) {
    }
    FC_TRY(fc_arena_alloc(&v->arena, v->V, sizeof *v->text, &p));
    v->text = p;
    FC_TRY(fc_arena_alloc(&v->arena, v->V, sizeof *v->type, &p));
    v->type = p;
    FC_TRY(fc_arena_alloc(&v->arena, v->V, sizeof *v->score, &p));
    v->score = p;
    FC_TRY(fc_arena_alloc(&v->arena, v->n_slots, sizeof *v->slots, &p));
    v->slots = p;
    return FC_OK;
}

static fc_status write_tokenizer(vocab *v, const fc_json *config) {
    const fc_json *root;
    FC_TRY(fc_file_read(v->path, MAX_TOKENIZER, &v->json, &v->json_size));
    FC_TRY(fc_json_parse(v->path, v->json, v->json_size, &v->doc));
    root = fc_json_root(v->doc);
    FC_TRY(fc_gguf_write_string(v->w, "tokenizer.huggingface.json", v->json, v->json_size));
    FC_TRY(fc_convert_rules_read(root, &v->rules));
    if (!v->rules.model)
        return fc_str_puts(
            v->notes, "GGUF has no arrays for a tokenizer of this kind; it is in tokenizer.huggingface.json only\n");
    FC_TRY(read_vocab(v, fc_json_get(root, "model")));
    FC_TRY(read_added(v, root));
    return put_arrays(v, root, config);
}

static fc_status put_template(const vocab *v, const fc_weights *source) {
    fc_str text = {0};
    fc_status st = fc_weights_chat_template(source, &text);
    if (!st && text.size) st = fc_gguf_write_string(v->w, "tokenizer.chat_template", text.data, text.size);
    fc_str_fini(&text);
    return st;
}

fc_status fc_convert_tok(fc_gguf_write *w, const fc_weights *source, fc_str *notes) {
    const fc_model_config *c = fc_weights_config(source);
    vocab v = {.w = w, .notes = notes, .c = c, .V = (size_t)c->V, .path = fc_weights_tokenizer_json_path(source)};
    fc_json_doc *config = NULL;
    const fc_json *root = NULL;
    fc_str path = {0};
    fc_status st;
    v.rules.prefix = v.rules.suffix = -1;
    fc_arena_init(&v.arena);
    FC_TRY_GOTO(st, reserve(&v), out);
    FC_TRY_GOTO(st, fc_path_beside(fc_weights_path(source), "tokenizer_config.json", &path), out);
    if (fc_path_exists(path.data)) FC_TRY_GOTO(st, fc_json_open(fc_str_text(&path), MAX_CONFIG, &config), out);
    root = config ? fc_json_root(config) : NULL;
    if (v.path) {
        FC_TRY_GOTO(st, write_tokenizer(&v, root), out);
    } else {
        FC_TRY_GOTO(st, fc_str_puts(notes, "no tokenizer.json beside the model: the new file has no tokenizer\n"), out);
    }
    FC_TRY_GOTO(st, put_ends(&v), out);
    st = put_template(&v, source);
out:
    fc_json_close(config);
    fc_str_fini(&path);
    fc_arena_fini(&v.arena);
    fc_json_close(v.doc);
    fc_free(v.json);
    return st;
}
