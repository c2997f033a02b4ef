/* chat - a recognised template's prompt as pieces, and its ids. Recognition: chat_template.c. */
#include "tokenizer/chat.h"

#include "engine/base/mem.h"

#include <string.h>

typedef struct {
    const char *s;
    size_t n;
} span;

/* What one rendering works on. turns: the messages without a leading system message that went elsewhere. */
typedef struct {
    const fc_chat_template *t;
    const fc_chat_message *messages;
    size_t n;
    const char *bos;
    fc_chat_prompt *out;
} job;

const char *fc_chat_family_name(fc_chat_family f) {
    static const char *const names[] = {"none", "chatml", "smollm2", "qwen2", "llama3", "mistral", "gemma"};
    return (unsigned)f < sizeof names / sizeof *names ? names[f] : "?";
}

static fc_status put(fc_chat_prompt *p, const char *s, size_t n, bool marker) {
    if (n == 0) return FC_OK;
    bool join = !marker && p->n_pieces && !p->pieces[p->n_pieces - 1].marker;
    if (!join)
        FC_TRY(fc_grow((void **)&p->pieces, &p->cap_pieces, p->n_pieces + 1, sizeof *p->pieces, "chat prompt pieces"));
    FC_TRY(fc_str_put(&p->text, s, n));
    if (!join) p->n_pieces++;
    p->pieces[p->n_pieces - 1].marker = marker;
    p->pieces[p->n_pieces - 1].end = p->text.size;
    return FC_OK;
}

static fc_status mark(const job *j, const char *name) { return put(j->out, name, strlen(name), true); }
static fc_status text(const job *j, const char *s) { return put(j->out, s, strlen(s), false); }
static fc_status data(const job *j, span x) { return put(j->out, x.s, x.n, false); }

static bool is(const fc_chat_message *m, const char *role) { return !strcmp(m->role, role); }
static span content(const fc_chat_message *m) { return (span){m->content, m->size}; }

/* What Python's str.strip() takes off: Unicode's blanks and line ends. Bytes of the one at s[0..n), 0 for none. */
static size_t blank_size(const char *s, size_t n) {
    static const char *const wide[] = {"\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\xa8",
                                       "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};
    if (n == 0) return 0;
    unsigned char c = (unsigned char)s[0];
    if (c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f)) return 1;
    for (size_t k = 0; k < sizeof wide / sizeof *wide; k++)
        if (n >= strlen(wide[k]) && !memcmp(s, wide[k], strlen(wide[k]))) return strlen(wide[k]);
    if (n >= 3 && !memcmp(s, "\xe2\x80", 2) && (unsigned char)s[2] >= 0x80 && (unsigned char)s[2] <= 0x8a) return 3;
    return 0;
}

static span trim(span x) {
    for (size_t k; (k = blank_size(x.s, x.n)) > 0;) x.s += k, x.n -= k;
    for (bool again = true; again;) {
        again = false;
        for (size_t k = 1; k <= 3 && k <= x.n && !again; k++)
            if (blank_size(x.s + x.n - k, k) == k) x.n -= k, again = true;
    }
    return x;
}

static span cut_newlines(span x, bool left, bool right) {
    while (left && x.n && *x.s == '\n') x.s++, x.n--;
    while (right && x.n && x.s[x.n - 1] == '\n') x.n--;
    return x;
}

/* Where `word` first (last) stands in x, or x.n. */
static size_t find(span x, const char *word, bool last) {
    size_t len = strlen(word), at = x.n;
    for (size_t i = 0; i + len <= x.n; i++) {
        if (memcmp(x.s + i, word, len)) continue;
        at = i;
        if (!last) break;
    }
    return at;
}

static span after(span x, const char *word) { /* behind the last `word`; all of x where there is none */
    size_t at = find(x, word, true);
    if (at == x.n) return x;
    at += strlen(word);
    return (span){x.s + at, x.n - at};
}

/* ---- ChatML ---------------------------------------------------------------------------------------------- */

static fc_status chatml_open(const job *j, const char *role) {
    FC_TRY(mark(j, "<|im_start|>"));
    FC_TRY(text(j, role));
    return text(j, "\n");
}

static fc_status chatml_close(const job *j) {
    FC_TRY(mark(j, "<|im_end|>"));
    return text(j, "\n");
}

/* Qwen3: the index of the last message that is a user's own question; n - 1 where there is none, as the template has
 * it. */
static size_t last_question(const job *j) {
    static const char head[] = "<tool_response>", tail[] = "</tool_response>";
    size_t nh = sizeof head - 1, nt = sizeof tail - 1;
    for (size_t i = j->n; i-- > 0;) {
        span x = content(&j->messages[i]);
        bool response = x.n >= nh && x.n >= nt && !memcmp(x.s, head, nh) && !memcmp(x.s + x.n - nt, tail, nt);
        if (is(&j->messages[i], "user") && !response) return i;
    }
    return j->n - 1;
}

/* Qwen3: an answer's thoughts are told from it at </think>; only those behind the last question are written again. */
static fc_status think_answer(const job *j, size_t i, size_t question) {
    span answer = content(&j->messages[i]), thought = {"", 0};
    size_t end = find(answer, "</think>", false);
    if (end < answer.n) {
        thought = cut_newlines((span){answer.s, end}, false, true);
        thought = cut_newlines(after(thought, "<think>"), true, true);
        answer = cut_newlines(after(answer, "</think>"), true, false);
    }
    if (i > question && (i + 1 == j->n || thought.n)) {
        FC_TRY(mark(j, "<think>"));
        FC_TRY(text(j, "\n"));
        FC_TRY(data(j, thought));
        FC_TRY(text(j, "\n"));
        FC_TRY(mark(j, "</think>"));
        FC_TRY(text(j, "\n\n"));
        answer = cut_newlines(answer, true, false);
    }
    return data(j, answer);
}

static fc_status render_chatml(const job *j, bool open) {
    bool think = (j->t->variant & FC_CHAT_THINK) != 0;
    size_t question = last_question(j);
    if (j->t->variant & FC_CHAT_BOS) FC_TRY(mark(j, j->bos));
    if (j->t->default_system[0] && !is(&j->messages[0], "system")) {
        FC_TRY(chatml_open(j, "system"));
        FC_TRY(text(j, j->t->default_system));
        FC_TRY(chatml_close(j));
    }
    for (size_t i = 0; i < j->n; i++) {
        const fc_chat_message *m = &j->messages[i];
        FC_TRY(chatml_open(j, m->role));
        if (think && is(m, "assistant")) FC_TRY(think_answer(j, i, question));
        else FC_TRY(data(j, content(m)));
        FC_TRY(chatml_close(j));
    }
    if (!open) return FC_OK;
    FC_TRY(chatml_open(j, "assistant"));
    if (!(j->t->variant & FC_CHAT_OPENS_THINK)) return FC_OK;
    FC_TRY(mark(j, "<think>"));
    return text(j, "\n");
}

/* ---- Llama 3 --------------------------------------------------------------------------------------------- */

static fc_status llama3_open(const job *j, const char *role) {
    FC_TRY(mark(j, "<|start_header_id|>"));
    FC_TRY(text(j, role));
    FC_TRY(mark(j, "<|end_header_id|>"));
    return text(j, "\n\n");
}

static fc_status render_llama3(const job *j, bool open) {
    size_t first = 0;
    if (j->t->variant & FC_CHAT_BOS) FC_TRY(mark(j, j->bos));
    if (j->t->variant & FC_CHAT_DATE) {
        FC_TRY(llama3_open(j, "system"));
        FC_TRY(text(j, "Cutting Knowledge Date: December 2023\nToday Date: "));
        FC_TRY(text(j, j->t->date));
        FC_TRY(text(j, "\n\n"));
        if (is(&j->messages[0], "system")) FC_TRY(data(j, trim(content(&j->messages[first++]))));
        FC_TRY(mark(j, "<|eot_id|>"));
    }
    for (size_t i = first; i < j->n; i++) {
        FC_TRY(llama3_open(j, j->messages[i].role));
        FC_TRY(data(j, trim(content(&j->messages[i]))));
        FC_TRY(mark(j, "<|eot_id|>"));
    }
    return open || (j->t->variant & FC_CHAT_ALWAYS_OPENS) ? llama3_open(j, "assistant") : FC_OK;
}

/* ---- Mistral, Gemma: strict turns ------------------------------------------------------------------------ */

/* Even turns are the user's, odd ones are not. */
static fc_status alternate(const job *j, size_t first) {
    for (size_t i = first; i < j->n; i++)
        if (is(&j->messages[i], "user") != ((i - first) % 2 == 0))
            return FC_FAIL(FC_ERR_ARG,
                           "chat: message %zu has role %s; after an optional system message, %s's template wants "
                           "user, assistant, user, ...",
                           i, j->messages[i].role, fc_chat_family_name(j->t->family));
    return FC_OK;
}

static fc_status render_mistral(const job *j, bool open) {
    int v = j->t->variant;
    const fc_chat_message *system = NULL;
    size_t first = 0;
    (void)open; /* [/INST] opens the answer already */
    if (is(&j->messages[0], "system") && v & (FC_CHAT_SYSTEM_FIRST | FC_CHAT_SYSTEM_LAST))
        system = &j->messages[first++];
    FC_TRY(alternate(j, first));
    if (v & FC_CHAT_BOS) FC_TRY(mark(j, j->bos));
    for (size_t i = first; i < j->n; i++) {
        const fc_chat_message *m = &j->messages[i];
        if (is(m, "user")) {
            bool tells = v & FC_CHAT_SYSTEM_FIRST ? i == first : i + 1 == j->n;
            FC_TRY(text(j, v & FC_CHAT_SPACE_OPEN ? " " : ""));
            FC_TRY(mark(j, "[INST]"));
            FC_TRY(text(j, v & FC_CHAT_SPACE_IN ? " " : ""));
            if (system && tells) {
                FC_TRY(data(j, content(system)));
                FC_TRY(text(j, "\n\n"));
            }
            FC_TRY(data(j, content(m)));
            FC_TRY(text(j, v & FC_CHAT_SPACE_CLOSE ? " " : ""));
            FC_TRY(mark(j, "[/INST]"));
        } else if (is(m, "assistant")) {
            FC_TRY(text(j, v & FC_CHAT_SPACE_ANSWER ? " " : ""));
            FC_TRY(data(j, v & FC_CHAT_TRIM_ANSWER ? trim(content(m)) : content(m)));
            FC_TRY(mark(j, j->t->eos));
            FC_TRY(text(j, v & FC_CHAT_SPACE_AFTER ? " " : ""));
        } else {
            return FC_FAIL(FC_ERR_ARG, "chat: message %zu has role %s; mistral's template allows it %s", i, m->role,
                           v & (FC_CHAT_SYSTEM_FIRST | FC_CHAT_SYSTEM_LAST) ? "only as message 0" : "nowhere");
        }
    }
    return FC_OK;
}

static fc_status render_gemma(const job *j, bool open) {
    const fc_chat_message *system = NULL;
    size_t first = 0;
    if (is(&j->messages[0], "system")) {
        if (!(j->t->variant & FC_CHAT_SYSTEM_FIRST))
            return FC_FAIL(FC_ERR_ARG, "chat: message 0 has role system; this gemma template has no system role");
        system = &j->messages[first++];
    }
    FC_TRY(alternate(j, first));
    if (j->t->variant & FC_CHAT_BOS) FC_TRY(mark(j, j->bos));
    for (size_t i = first; i < j->n; i++) {
        FC_TRY(mark(j, "<start_of_turn>"));
        FC_TRY(text(j, is(&j->messages[i], "assistant") ? "model" : j->messages[i].role));
        FC_TRY(text(j, "\n"));
        if (system && i == first) {
            FC_TRY(data(j, content(system)));
            FC_TRY(text(j, "\n\n"));
        }
        FC_TRY(data(j, trim(content(&j->messages[i]))));
        FC_TRY(mark(j, "<end_of_turn>"));
        FC_TRY(text(j, "\n"));
    }
    if (!open) return FC_OK;
    FC_TRY(mark(j, "<start_of_turn>"));
    return text(j, "model\n");
}

/* ---- public ---------------------------------------------------------------------------------------------- */

static fc_status render(const job *j, bool open) {
    if (j->n == 0) return FC_FAIL(FC_ERR_ARG, "chat: no message");
    for (size_t i = 0; i < j->n; i++) {
        const fc_chat_message *m = &j->messages[i];
        if (!m->role || (!is(m, "system") && !is(m, "user") && !is(m, "assistant")))
            return FC_FAIL(FC_ERR_ARG, "chat: message %zu has role %s; it is system, user or assistant", i,
                           m->role ? m->role : "null");
        if (m->size && !m->content) return FC_FAIL(FC_ERR_ARG, "chat: message %zu has no content", i);
    }
    switch (j->t->family) {
    case FC_CHAT_CHATML:
    case FC_CHAT_SMOLLM2:
    case FC_CHAT_QWEN2: return render_chatml(j, open);
    case FC_CHAT_LLAMA3: return render_llama3(j, open);
    case FC_CHAT_MISTRAL: return render_mistral(j, open);
    case FC_CHAT_GEMMA: return render_gemma(j, open);
    case FC_CHAT_NONE: break;
    }
    return FC_FAIL(FC_ERR_UNSUPPORTED, "chat: the model has no chat template");
}

fc_status fc_chat_render(const fc_chat_template *t, const fc_chat_message *messages, size_t n, const char *bos,
                         bool add_generation_prompt, fc_chat_prompt *out) {
    const job j = {.t = t, .messages = messages, .n = n, .bos = bos ? bos : "", .out = out};
    fc_str_clear(&out->text);
    out->n_pieces = 0;
    fc_status st = render(&j, add_generation_prompt);
    if (st) fc_chat_prompt_fini(out);
    return st;
}

void fc_chat_prompt_fini(fc_chat_prompt *p) {
    fc_str_fini(&p->text);
    fc_free(p->pieces);
    *p = (fc_chat_prompt){0};
}

/* Would reading the names of special tokens change these ids? */
static fc_status holds_names(const fc_tok *tok, span x, bool *out) {
    int32_t *a = NULL, *b = NULL;
    size_t na = 0, nb = 0, ca = 0, cb = 0;
    fc_status st = fc_tok_encode(tok, x.s, x.n, 0, &a, &na, &ca);
    if (!st) st = fc_tok_encode(tok, x.s, x.n, FC_TOK_PARSE_SPECIAL, &b, &nb, &cb);
    if (!st) *out = na != nb || (na && memcmp(a, b, na * sizeof *a));
    fc_free(a);
    fc_free(b);
    return st;
}

static fc_status texts_hold_names(const fc_tok *tok, const fc_chat_prompt *p, bool *out) {
    *out = false;
    for (size_t i = 0, start = 0; i < p->n_pieces && !*out; start = p->pieces[i++].end)
        if (!p->pieces[i].marker) FC_TRY(holds_names(tok, (span){p->text.data + start, p->pieces[i].end - start}, out));
    return FC_OK;
}

/* A marker's name is one token of this tokenizer. Mistral v1 has no token [INST]: its letters are text like the
 * rest. */
static fc_status is_token(const fc_tok *tok, span x, bool *out) {
    fc_str name = {0};
    fc_status st = fc_str_put(&name, x.s, x.n);
    if (!st) *out = fc_tok_find(tok, fc_str_text(&name)) >= 0;
    fc_str_fini(&name);
    return st;
}

static fc_status encode_apart(const fc_tok *tok, const fc_chat_prompt *p, int32_t **ids, size_t *n, size_t *cap) {
    size_t from = 0; /* text that is not encoded yet begins here */
    for (size_t i = 0, start = 0; i <= p->n_pieces; i++) {
        size_t end = i < p->n_pieces ? p->pieces[i].end : start;
        bool token = i == p->n_pieces;
        if (!token && p->pieces[i].marker) FC_TRY(is_token(tok, (span){p->text.data + start, end - start}, &token));
        if (token) {
            if (from < start) FC_TRY(fc_tok_encode(tok, p->text.data + from, start - from, 0, ids, n, cap));
            if (start < end)
                FC_TRY(fc_tok_encode(tok, p->text.data + start, end - start, FC_TOK_PARSE_SPECIAL, ids, n, cap));
            from = end;
        }
        start = end;
    }
    return FC_OK;
}

fc_status fc_chat_encode(const fc_tok *tok, const fc_chat_prompt *p, int32_t **ids, size_t *n, size_t *cap) {
    size_t before = *n;
    bool names = false;
    FC_TRY(texts_hold_names(tok, p, &names));
    fc_status st = names ? encode_apart(tok, p, ids, n, cap)
                         : fc_tok_encode(tok, fc_str_text(&p->text), p->text.size, FC_TOK_PARSE_SPECIAL, ids, n, cap);
    if (st) *n = before;
    return st;
}
