/* chat_template - which family a chat template is of.
 *
 * The template is read into one normal form: comments and blanks outside string literals gone, quotes ', `x.role` as
 * `x['role']`, 'a' + 'b' as 'ab', a line end in a literal as \n. Then a family is the statements it must contain and
 * the ones it must not. What a template would print between its tags must be nothing: the renderer prints none.
 */
#include "engine/base/mem.h"
#include "tokenizer/chat.h"

#include <string.h>

enum { MAX_TEMPLATE = 1 << 20 };

typedef struct {
    const char *s;
    size_t n;
} span;

static bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f'; }

static bool word_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* One literal, from its quote on; *i ends behind the closing quote. Joined to a literal before it. */
static fc_status put_literal(span t, size_t *i, fc_str *out) {
    char quote = t.s[*i];
    if (out->size >= 2 && !memcmp(out->data + out->size - 2, "'+", 2)) out->data[out->size -= 2] = '\0';
    else FC_TRY(fc_str_put(out, "'", 1));
    for ((*i)++; *i < t.n && t.s[*i] != quote; (*i)++) {
        char c = t.s[*i];
        if (c == '\\' && *i + 1 < t.n) {
            char next = t.s[++*i];
            if (next == '"') FC_TRY(fc_str_put(out, "\"", 1));
            else {
                FC_TRY(fc_str_put(out, "\\", 1));
                FC_TRY(fc_str_put(out, &next, 1));
            }
        } else if (c == '\n') {
            FC_TRY(fc_str_put(out, "\\n", 2));
        } else if (c == '\'') {
            FC_TRY(fc_str_put(out, "\\'", 2));
        } else {
            FC_TRY(fc_str_put(out, &c, 1));
        }
    }
    if (*i < t.n) (*i)++;
    return fc_str_put(out, "'", 1);
}

/* `.role` and `.content` of a message, with the attribute's name not part of a longer one. */
static bool put_attribute(span t, size_t *i, fc_str *out, fc_status *st) {
    static const char *const names[] = {"role", "content"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        size_t len = strlen(names[k]), end = *i + 1 + len;
        if (end > t.n || memcmp(t.s + *i + 1, names[k], len) || (end < t.n && word_char(t.s[end]))) continue;
        *st = fc_str_printf(out, "['%s']", names[k]);
        *i = end;
        return true;
    }
    return false;
}

/* One {{ }} or {% %}; *i stands on its first brace and ends behind its last. *cut: the tag ends in '-'. */
static fc_status put_tag(span t, size_t *i, fc_str *out, bool *cut) {
    char close = t.s[*i + 1] == '{' ? '}' : '%';
    int depth = 0;
    FC_TRY(fc_str_put(out, t.s + *i, 2));
    *i += 2;
    if (*i < t.n && t.s[*i] == '-') (*i)++;
    *cut = false;
    while (*i < t.n) {
        char c = t.s[*i];
        if (depth == 0 && c == '-' && *i + 2 < t.n && t.s[*i + 1] == close && t.s[*i + 2] == '}') {
            *cut = true;
            (*i)++;
            continue;
        }
        if (depth == 0 && c == close && *i + 1 < t.n && t.s[*i + 1] == '}') {
            FC_TRY(fc_str_put(out, t.s + *i, 2));
            *i += 2;
            return FC_OK;
        }
        fc_status st = FC_OK;
        if (c == '\'' || c == '"') {
            FC_TRY(put_literal(t, i, out));
        } else if (c == '.' && put_attribute(t, i, out, &st)) {
            FC_TRY(st);
        } else {
            if (c == '{') depth++;
            if (c == '}') depth--;
            if (!blank(c)) FC_TRY(fc_str_put(out, &c, 1));
            (*i)++;
        }
    }
    return FC_OK;
}

/* Does the text between two tags print anything? before, after: the tags' second characters, 0 at the ends of the
 * template. As transformers sets up jinja: a block or comment eats one line end behind it and blanks in front of it
 * on its line; '-' eats all. */
static bool prints(span x, char before, bool cut_before, char after, bool cut_after) {
    bool line_start = before == 0;
    if (cut_before) {
        while (x.n && blank(*x.s)) x.s++, x.n--;
    } else if ((before == '%' || before == '#') && x.n && *x.s == '\n') {
        x.s++, x.n--;
        line_start = true;
    }
    if (cut_after) {
        while (x.n && blank(x.s[x.n - 1])) x.n--;
    } else if (after == '%' || after == '#') {
        size_t n = x.n;
        while (n && (x.s[n - 1] == ' ' || x.s[n - 1] == '\t')) n--;
        if (n ? x.s[n - 1] == '\n' : line_start) x.n = n;
    } else if (after == 0 && x.n && x.s[x.n - 1] == '\n') {
        x.n--; /* jinja drops the template's last line end */
    }
    return x.n > 0;
}

/* The normal form; *printing: some text between tags would be printed. */
static fc_status normalise(span t, fc_str *out, bool *printing) {
    char before = 0;
    bool cut = false;
    *printing = false;
    for (size_t i = 0;;) {
        size_t start = i;
        while (i < t.n && !(t.s[i] == '{' && i + 1 < t.n && strchr("{%#", t.s[i + 1]))) i++;
        char after = i < t.n ? t.s[i + 1] : '\0', sign = i + 2 < t.n ? t.s[i + 2] : '\0';
        if (prints((span){t.s + start, i - start}, before, cut, after, after && sign == '-')) *printing = true;
        if (i >= t.n) return FC_OK;
        if (after == '#') {
            for (i += 2; i + 1 < t.n && !(t.s[i] == '#' && t.s[i + 1] == '}'); i++) {
            }
            cut = t.s[i - 1] == '-';
            i = i + 2 < t.n ? i + 2 : t.n;
        } else {
            FC_TRY(put_tag(t, &i, out, &cut));
        }
        before = after;
    }
}

static bool has(const fc_str *c, const char *text) { return strstr(fc_str_text(c), text) != NULL; }

static bool has_any(const fc_str *c, const char *const *texts) {
    for (; *texts; texts++)
        if (has(c, *texts)) return true;
    return false;
}

/* The next literal of the normal form from *at on, as it stands between its quotes. */
static bool next_literal(const fc_str *c, size_t *at, span *out) {
    size_t i = *at;
    while (i < c->size && c->data[i] != '\'') i++;
    if (i >= c->size) return false;
    size_t start = ++i;
    while (i < c->size && c->data[i] != '\'') i += c->data[i] == '\\' && i + 1 < c->size ? 2 : 1;
    if (i > c->size) i = c->size;
    *out = (span){c->data + start, i - start};
    *at = i + 1;
    return true;
}

/* All literals are among the known ones, or begin and end as a default system message does. */
static bool literals_known(const fc_str *c, const char *const *known) {
    span x;
    for (size_t at = 0; next_literal(c, &at, &x);) {
        bool found = x.n > 20 && !memcmp(x.s, "<|im_start|>system\\n", 20);
        for (const char *const *k = known; *k && !found; k++) found = strlen(*k) == x.n && !memcmp(*k, x.s, x.n);
        if (!found) return false;
    }
    return true;
}

/* 'literal' with escapes resolved, into a field of the template; false when it does not fit. */
static bool unescape(span x, char *out, size_t room) {
    size_t n = 0;
    for (size_t i = 0; i < x.n; i++) {
        char c = x.s[i];
        if (c == '\\' && i + 1 < x.n) {
            c = x.s[++i];
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        if (n + 1 >= room) return false;
        out[n++] = c;
    }
    out[n] = '\0';
    return true;
}

/* ChatML's default system message: the one literal that holds a whole system turn. */
static bool default_system(const fc_str *c, fc_chat_template *t) {
    static const char head[] = "<|im_start|>system\\n", tail[] = "<|im_end|>\\n";
    size_t nh = sizeof head - 1, nt = sizeof tail - 1;
    span x;
    for (size_t at = 0; next_literal(c, &at, &x);) {
        if (x.n <= nh + nt || memcmp(x.s, head, nh) || memcmp(x.s + x.n - nt, tail, nt)) continue;
        if (t->default_system[0]) return false; /* two of them: not the templates we know */
        if (!unescape((span){x.s + nh, x.n - nh - nt}, t->default_system, sizeof t->default_system)) return false;
    }
    return true;
}

static bool chatml(const fc_str *c, fc_chat_template *t) {
    static const char *const plain[] = {"<|im_start|>", "\\n",     "<|im_end|>\\n", "<|im_start|>assistant\\n",
                                        "role",         "content", "system",        NULL};
    static const char *const strange[] = {"macro", "image", "vision", "video", "audio", "|trim", "documents", NULL};
    static const char turn[] = "'<|im_start|>'+message['role']+'\\n'+";
    bool tools = has(c, "{%iftools"), think = has(c, "last_query_index");
    if (has_any(c, strange) || !default_system(c, t)) return false;
    if (has(c, "bos_token")) {
        if (strncmp(fc_str_text(c), "{{bos_token}}", 13)) return false;
        t->variant |= FC_CHAT_BOS;
    }
    if (tools) { /* Qwen2.5, Qwen3: what tools would need is not rendered, as no tool is ever given */
        if (!has(c, "(message['role']=='user')or(message['role']=='system'andnotloop.first)")) return false;
        if (!has(c, "{{'<|im_start|>system\\n'+messages[0]['content']+'<|im_end|>\\n'}}")) return false;
        if (!think && has(c, "think>")) return false;
        if (think && !has(c, "{%ifloop.lastor(notloop.lastandreasoning_content)%}")) return false;
        if (think) t->variant |= FC_CHAT_THINK;
    } else {
        if (!literals_known(c, plain)) return false;
        if (!has(c, "{{'<|im_start|>'+message['role']+'\\n'+message['content']+'<|im_end|>\\n'}}")) return false;
        if (t->default_system[0] && !has(c, "{%ifloop.firstandmessages[0]['role']!='system'%}")) return false;
    }
    if (!has(c, turn) && !tools) return false;
    if (has(c, "{%ifadd_generation_prompt%}{{'<|im_start|>assistant\\n<think>\\n'}}"))
        t->variant |= FC_CHAT_OPENS_THINK;
    else if (!has(c, "{%ifadd_generation_prompt%}{{'<|im_start|>assistant\\n'}}")) return false;
    t->family = !t->default_system[0]                 ? FC_CHAT_CHATML
                : strstr(t->default_system, "SmolLM") ? FC_CHAT_SMOLLM2
                                                      : FC_CHAT_QWEN2;
    return true;
}

static bool llama3(const fc_str *c, fc_chat_template *t) {
    static const char *const first[] = {"<|start_header_id|>",
                                        "<|end_header_id|>\\n\\n",
                                        "<|eot_id|>",
                                        "role",
                                        "content",
                                        "<|start_header_id|>assistant<|end_header_id|>\\n\\n",
                                        NULL};
    static const char *const strange[] = {"macro", "image", "think", NULL};
    if (has_any(c, strange) || !has(c, "bos_token")) return false;
    if (!has(c, "'<|start_header_id|>'+message['role']+'<|end_header_id|>\\n\\n'+message['content']|trim+'<|eot_id|>'"))
        return false;
    if (!has(c, "{{'<|start_header_id|>assistant<|end_header_id|>\\n\\n'}}")) return false;
    t->variant = FC_CHAT_BOS;
    if (has(c, "date_string")) {
        static const char set[] = "{%setdate_string='";
        if (!has(c, "setsystem_message=messages[0]['content']|trim") ||
            !has(c, "'Today Date: '+date_string+'\\n\\n'") || !has(c, "Cutting Knowledge Date: December 2023\\n") ||
            !has(c, "add_generation_prompt"))
            return false;
        const char *day = strstr(fc_str_text(c), set);
        if (!day) return false;
        size_t at = (size_t)(day - c->data) + sizeof set - 2;
        span x;
        if (!next_literal(c, &at, &x) || !unescape(x, t->date, sizeof t->date)) return false;
        t->variant |= FC_CHAT_DATE;
    } else {
        if (!literals_known(c, first) || !has(c, "{%ifloop.index0==0%}{%setcontent=bos_token+content%}")) return false;
        if (!has(c, "add_generation_prompt")) t->variant |= FC_CHAT_ALWAYS_OPENS;
    }
    t->family = FC_CHAT_LLAMA3;
    return true;
}

/* Mistral's releases differ in blanks and in where a system message goes; each is read off its own statement. */
static bool mistral(const fc_str *c, fc_chat_template *t) {
    static const struct {
        const char *text;
        int bits;
    } users[] = {{"{{'[INST] '+message['content']+' [/INST]'}}", FC_CHAT_SPACE_IN | FC_CHAT_SPACE_CLOSE},
                 {"{{' [INST] '+message['content']+' [/INST]'}}",
                  FC_CHAT_SPACE_OPEN | FC_CHAT_SPACE_IN | FC_CHAT_SPACE_CLOSE},
                 {"{{'[INST] '+message['content']+'[/INST]'}}", FC_CHAT_SPACE_IN},
                 {"{{'[INST]'+message['content']+'[/INST]'}}", 0}},
      answers[] = {
          {"=='assistant'%}{{message['content']+eos_token}}", 0},
          {"=='assistant'%}{{message['content']+eos_token+' '}}", FC_CHAT_SPACE_AFTER},
          {"=='assistant'%}{{' '+message['content']+eos_token}}", FC_CHAT_SPACE_ANSWER},
          {"=='assistant'%}{{message['content']|trim+eos_token}}", FC_CHAT_TRIM_ANSWER},
          {"=='assistant'%}{{' '+message['content']|trim+eos_token}}", FC_CHAT_SPACE_ANSWER | FC_CHAT_TRIM_ANSWER}};
    static const char *const strange[] = {"<<SYS>>", "[SYSTEM_PROMPT]", "macro", "THINK", "think", "image", NULL};
    int user = 0, answer = 0;
    if (has_any(c, strange) || !has(c, "{{bos_token}}") || !has(c, "raise_exception(")) return false;
    if (!has(c, "(message['role']=='user')!=(loop.index0%2==0)") &&
        !has(c, "(message['role']=='user')!=(ns.index%2==0)"))
        return false;
    for (size_t k = 0; k < sizeof users / sizeof *users; k++)
        if (has(c, users[k].text)) user++, t->variant |= users[k].bits;
    for (size_t k = 0; k < sizeof answers / sizeof *answers; k++)
        if (has(c, answers[k].text)) answer++, t->variant |= answers[k].bits;
    if (user != 1 || answer != 1) return false;
    if (has(c, "system_message")) {
        bool first = has(c, "{%ifloop.firstandsystem_messageisdefined%}"),
             last = has(c, "{%ifloop.lastandsystem_messageisdefined%}");
        if (first == last || !has(c, "[INST]") || !has(c, "'+system_message+'\\n\\n'+message['content']+'"))
            return false;
        t->variant |= first ? FC_CHAT_SYSTEM_FIRST : FC_CHAT_SYSTEM_LAST;
    }
    t->variant |= FC_CHAT_BOS;
    t->family = FC_CHAT_MISTRAL;
    memcpy(t->eos, "</s>", 5);
    return true;
}

static bool gemma(const fc_str *c, fc_chat_template *t) {
    static const char *const strange[] = {"macro", "think", "tools", "developer", NULL};
    if (has_any(c, strange)) return false;
    if (!has(c, "(message['role']=='user')!=(loop.index0%2==0)")) return false;
    if (!has(c, "{%if(message['role']=='assistant')%}{%setrole='model'%}{%else%}{%setrole=message['role']%}{%endif%}"))
        return false;
    if (!has(c, "{%ifadd_generation_prompt%}{{'<start_of_turn>model\\n'}}")) return false;
    if (has(c, "first_user_prefix")) {
        if (!has(c, "{%setfirst_user_prefix=messages[0]['content']+'\\n\\n'%}") ||
            !has(c, "{{'<start_of_turn>'+role+'\\n'+(first_user_prefixifloop.firstelse'')}}") ||
            !has(c, "{{message['content']|trim}}") || !has(c, "{{'<end_of_turn>\\n'}}"))
            return false;
        t->variant |= FC_CHAT_SYSTEM_FIRST;
    } else if (!has(c, "{%ifmessages[0]['role']=='system'%}{{raise_exception(") ||
               !has(c, "{{'<start_of_turn>'+role+'\\n'+message['content']|trim+'<end_of_turn>\\n'}}")) {
        return false;
    }
    if (has(c, "bos_token")) {
        if (strncmp(fc_str_text(c), "{{bos_token}}", 13)) return false;
        t->variant |= FC_CHAT_BOS;
    }
    t->family = FC_CHAT_GEMMA;
    return true;
}

static bool recognise(const fc_str *c, fc_chat_template *t) {
    if (has(c, "<|im_start|>")) return chatml(c, t);
    if (has(c, "<|start_header_id|>")) return llama3(c, t);
    if (has(c, "<start_of_turn>")) return gemma(c, t);
    return has(c, "[INST]") && mistral(c, t);
}

fc_status fc_chat_recognise(const char *template_text, size_t size, fc_chat_template *out) {
    fc_str c = {0};
    fc_chat_template t = {0};
    bool printing;
    if (size > MAX_TEMPLATE)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "chat template: %zu bytes; at most %d are read", size, MAX_TEMPLATE);
    if (size && memchr(template_text, 0, size)) return FC_FAIL(FC_ERR_FORMAT, "chat template: a NUL byte in it");
    fc_status st = normalise((span){template_text, size}, &c, &printing);
    bool known = !st && !printing && recognise(&c, &t);
    fc_str_fini(&c);
    if (st) return st;
    if (!known)
        return FC_FAIL(
            FC_ERR_UNSUPPORTED,
            "chat template: not one that is known (ChatML, SmolLM2, Qwen2, Qwen2.5, Qwen3, Llama 3, Llama 3.1 to "
            "3.3, Mistral v1 to v3, Gemma 1 to 3); %zu bytes beginning \"%.*s\"",
            size, (int)(size < 40 ? size : 40), size ? template_text : "");
    *out = t;
    return FC_OK;
}
