#include "engine/template.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    fc_hole hole;
    bool indexed; /* takes _1, _2, ... */
} holes[] = {
    {"prompt", FC_HOLE_PROMPT, false},
    {"retrieved", FC_HOLE_RETRIEVED, false},
    {"history", FC_HOLE_HISTORY, true},
    {"keywords", FC_HOLE_KEYWORDS, true},
};

/* "1" to "999" without leading zeros; 0 for anything else. */
static int hole_index(const char *text, size_t size) {
    int v = 0;
    if (size == 0 || size > 3 || text[0] == '0') return 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9') return 0;
        v = v * 10 + (text[i] - '0');
    }
    return v;
}

/* The name between the braces. */
static fc_status name_hole(const char *name, size_t size, fc_template_part *out) {
    for (size_t i = 0; i < sizeof holes / sizeof *holes; i++) {
        size_t n = strlen(holes[i].name);
        int index = 0;
        if (size < n || memcmp(name, holes[i].name, n) != 0) continue;
        if (size > n) {
            if (!holes[i].indexed || name[n] != '_') continue;
            index = hole_index(name + n + 1, size - n - 1);
            if (!index) continue;
        }
        *out = (fc_template_part){.hole = holes[i].hole, .index = index};
        return FC_OK;
    }
    return FC_FAIL(
        FC_ERR_FORMAT,
        "unknown hole {%.*s}; known are {prompt}, {retrieved}, {history}, {keywords}, {history_1}, {keywords_1} "
        "and so on; a literal brace is {{ or }}",
        size > 60 ? 60 : (int)size, name);
}

fc_status fc_template_parse(const char *text, fc_arena *arena, fc_template *out) {
    size_t size = strlen(text), n = 0, most = 1, fill = 0, start = 0;
    fc_template_part *parts;
    char *literal;
    void *p;
    for (size_t i = 0; i < size; i++) most += text[i] == '{' ? 2 : 0; /* a hole, and a literal behind it */
    FC_TRY(fc_arena_alloc(arena, most, sizeof *parts, &p));
    parts = p;
    FC_TRY(fc_arena_alloc(arena, size + 1, 1, &p));
    literal = p;
    for (size_t i = 0; i < size; i++) {
        const char *close;
        size_t inside;
        if ((text[i] == '{' || text[i] == '}') && text[i + 1] == text[i]) {
            literal[fill++] = text[i++];
            continue;
        }
        if (text[i] == '}') return FC_FAIL(FC_ERR_FORMAT, "a single } at byte %zu; the character is written }}", i + 1);
        if (text[i] != '{') {
            literal[fill++] = text[i];
            continue;
        }
        inside = strcspn(text + i + 1, "{}");
        close = text + i + 1 + inside;
        if (*close != '}')
            return FC_FAIL(FC_ERR_FORMAT, "a single { at byte %zu, without its }; the character is written {{", i + 1);
        if (fill > start) parts[n++] = (fc_template_part){.text = literal + start, .size = fill - start};
        start = fill;
        FC_TRY(name_hole(text + i + 1, inside, &parts[n]));
        n++;
        i += inside + 1;
    }
    if (fill > start) parts[n++] = (fc_template_part){.text = literal + start, .size = fill - start};
    *out = (fc_template){.n = n, .parts = parts};
    return FC_OK;
}

/* "{history_2}", for messages. */
typedef struct {
    char text[32];
} hole_name;

static hole_name name_of(const fc_template_part *p) {
    hole_name out;
    const char *name = "prompt";
    for (size_t i = 0; i < sizeof holes / sizeof *holes; i++)
        if (holes[i].hole == p->hole) name = holes[i].name;
    if (p->index) snprintf(out.text, sizeof out.text, "{%s_%d}", name, p->index);
    else snprintf(out.text, sizeof out.text, "{%s}", name);
    return out;
}

static fc_status check_value(const fc_template_part *p, const fc_template_values *v) {
    size_t need = p->index ? (size_t)p->index : 1, first = p->index ? need - 1 : 0,
           last = p->index ? need : v->n_history;
    if (p->hole == FC_HOLE_PROMPT)
        return v->prompt ? FC_OK : FC_FAIL(FC_ERR_ARG, "the template's hole {prompt} has no value: no prompt is given");
    if (p->hole == FC_HOLE_RETRIEVED)
        return v->retrieved
                   ? FC_OK
                   : FC_FAIL(FC_ERR_ARG, "the template's hole {retrieved} has no value: no retrieved line is given");
    if (v->n_history < need)
        return FC_FAIL(FC_ERR_ARG, "the template's hole %s has no value: %zu history name%s given", name_of(p).text,
                       v->n_history, v->n_history == 1 ? " is" : "s are");
    if (p->hole == FC_HOLE_HISTORY) return FC_OK;
    if (!v->keywords)
        return FC_FAIL(FC_ERR_ARG, "the template's hole %s has no value: there is no taxonomy", name_of(p).text);
    for (size_t i = first; i < last; i++)
        if (!v->keywords[i][0])
            return FC_FAIL(FC_ERR_ARG,
                           "the template's hole %s has no value: the taxonomy has no keywords for \"%.60s\"",
                           name_of(p).text, v->history[i]);
    return FC_OK;
}

/* *room: bytes that the template may still have. */
static fc_status join(const char *const *texts, size_t n, const char *between, size_t *room, fc_arena *arena,
                      fc_piece *out) {
    size_t size = 1, gap = strlen(between), at = 0;
    char *text;
    void *p;
    for (size_t i = 0; i < n; i++)
        if (!fc_add(size, strlen(texts[i]), &size) || !fc_add(size, gap, &size))
            return FC_FAIL(FC_ERR_MEM, "history: the names are too long");
    if (size > *room)
        return FC_FAIL(FC_ERR_ARG, "the template: with what fills it, it has more than %d bytes", FC_TEMPLATE_BYTES);
    *room -= size;
    FC_TRY(fc_arena_alloc(arena, size, 1, &p));
    text = p;
    for (size_t i = 0; i < n; i++) {
        size_t k = strlen(texts[i]);
        if (i) {
            memcpy(text + at, between, gap);
            at += gap;
        }
        memcpy(text + at, texts[i], k);
        at += k;
    }
    out->text = text;
    out->size = at;
    return FC_OK;
}

fc_status fc_template_fill(const fc_template *t, const fc_template_values *v, fc_arena *arena, fc_prompt *out) {
    size_t room = FC_TEMPLATE_BYTES;
    fc_piece *pieces;
    void *mem;
    FC_TRY(fc_arena_alloc(arena, t->n, sizeof *pieces, &mem));
    pieces = mem;
    for (size_t i = 0; i < t->n; i++) {
        const fc_template_part *p = &t->parts[i];
        const char *const *texts = p->hole == FC_HOLE_KEYWORDS ? v->keywords : v->history;
        if (p->hole == FC_HOLE_NONE) {
            pieces[i] = (fc_piece){.text = p->text, .size = p->size, .special = true};
            continue;
        }
        FC_TRY(check_value(p, v));
        if (p->hole == FC_HOLE_PROMPT) FC_TRY(join(&v->prompt, 1, "", &room, arena, &pieces[i]));
        else if (p->hole == FC_HOLE_RETRIEVED) FC_TRY(join(&v->retrieved, 1, "", &room, arena, &pieces[i]));
        else if (p->index) FC_TRY(join(texts + p->index - 1, 1, "", &room, arena, &pieces[i]));
        else FC_TRY(join(texts, v->n_history, p->hole == FC_HOLE_KEYWORDS ? "; " : ", ", &room, arena, &pieces[i]));
    }
    *out = (fc_prompt){.pieces = pieces, .n_pieces = t->n};
    return FC_OK;
}

bool fc_template_shows(const fc_template *t, fc_hole hole) {
    for (size_t i = 0; i < t->n; i++)
        if (t->parts[i].hole == hole) return true;
    return false;
}

bool fc_template_shows_history(const fc_template *t, size_t i) {
    for (size_t k = 0; k < t->n; k++) {
        const fc_template_part *p = &t->parts[k];
        if (p->hole >= FC_HOLE_HISTORY && (p->index == 0 || (size_t)p->index == i)) return true;
    }
    return false;
}
