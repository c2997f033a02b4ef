#include "engine/app/bench/prompts.h"

#include "engine/app/textio.h"
#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include <string.h>

enum { TRIES = 10000 };

/* Cuts text at c; what stands in front of it. NULL text: nothing is left. */
static char *cut(char **text, char c) {
    char *from = *text, *at = from ? strchr(from, c) : NULL;
    if (at) *at++ = '\0';
    *text = at;
    return from;
}

static fc_status add_line(bench_prompts *p, char *text) {
    void *q = p->lines;
    FC_TRY(fc_grow(&q, &p->cap_lines, p->n_lines + 1, sizeof *p->lines, "prompts"));
    p->lines = q;
    p->lines[p->n_lines] = (bench_line){.text = text};
    while (p->histories && text) {
        q = p->names;
        FC_TRY(fc_grow(&q, &p->cap_names, p->n_names + 1, sizeof *p->names, "names of histories"));
        p->names = q;
        p->names[p->n_names++] = cut(&text, '\t');
        p->lines[p->n_lines].n_history++;
    }
    p->n_lines++;
    return FC_OK;
}

static fc_status read_lines(bench_prompts *p, const char *path) {
    size_t size, at = 0;
    char *text;
    FC_TRY(text_read(path, &p->file, &size));
    if (memchr(p->file, 0, size)) return FC_FAIL(FC_ERR_FORMAT, "%s: it has a NUL byte", path);
    p->hash = fc_siphash(0, 0, p->file, size);
    text = p->file;
    while (text) {
        char *line = cut(&text, '\n');
        if (*line) FC_TRY(add_line(p, line));
    }
    if (!p->n_lines) return FC_FAIL(FC_ERR_FORMAT, "%s: no prompts; it takes one a line", path);
    for (size_t i = 0; i < p->n_lines && p->histories; at += p->lines[i++].n_history)
        p->lines[i].history = p->names + at;
    return FC_OK;
}

fc_status bench_prompts_open(const char *path, const char *model, int tokens, uint64_t seed, bool histories,
                             bench_prompts *out) {
    bench_prompts *p = out;
    void *q;
    *p = (bench_prompts){.tokens = tokens, .seed = seed, .histories = histories};
    if (!tokens) return read_lines(p, path);
    FC_TRY(fc_tokenizer_open(model, &p->tokenizer));
    FC_TRY(fc_alloc((size_t)tokens, sizeof *p->ids, "ids of a prompt", &q));
    p->ids = q;
    return FC_OK;
}

void bench_prompts_close(bench_prompts *p) {
    fc_free(p->ids);
    fc_tokenizer_close(p->tokenizer);
    fc_free(p->names);
    fc_free(p->lines);
    fc_free(p->file);
    *p = (bench_prompts){0};
}

/* Does an id stand for text? Special tokens and places without a token do not. */
static fc_status is_text(const bench_prompts *p, int32_t id, bool *out) {
    char *text;
    size_t size;
    FC_TRY(fc_tokenizer_decode(p->tokenizer, &id, 1, false, &text, &size));
    *out = size > 0 && !memchr(text, 0, size);
    fc_memory_free(text);
    return FC_OK;
}

fc_status bench_prompts_draw(bench_prompts *p, int i) {
    uint64_t state = p->seed ^ ((uint64_t)(uint32_t)i << 32), vocab = (uint64_t)fc_tokenizer_vocab(p->tokenizer);
    for (int at = 0, tries = 0; at < p->tokens; tries++) {
        bool text = false;
        if (tries > TRIES + 100 * p->tokens)
            return FC_FAIL(FC_ERR_UNSUPPORTED, "a prompt of random ids: too few of the vocabulary's %llu are text",
                           (unsigned long long)vocab);
        p->ids[at] = (int32_t)(fc_rng_next(&state) % vocab);
        FC_TRY(is_text(p, p->ids[at], &text));
        at += text;
    }
    return FC_OK;
}

const bench_line *bench_prompts_line(const bench_prompts *p, int i) { return &p->lines[(size_t)i % p->n_lines]; }
