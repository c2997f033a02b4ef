#include "weights_tools/tiny_tok.h"

#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/base/str.h"

#include <string.h>

enum { SPECIALS = 3, BYTES = 256, LONGEST = 64 };

/* The first merges spell these; what a small vocabulary holds is common English. '_' is a space. */
static const char words[] =
    "_the _and _of _to _in _a ing er _is _that _for re _on _with on ed _was _as _be _he _it ly _you _are _at _or "
    "_this _have _from al en _not _but _by an _they ion _we _one ar _all es _can or _his _her _had _there _what "
    "_were _their _an _will _which _about _out ent _if _up ity _more _so _do ment _people _like _new _music _time "
    "_some _them _other _into _has _two _could _just _over _how _movie _first _our _game _book _only _also "
    "_travel _after _well _cook _work _home _play _best _art _food _garden _science _sport _history _make _learn "
    "_good _day _year _night _city _water _story _house _world _light _team _health _design _craft _nature _ocean "
    "_fashion _photo _animal _market _family _school _guitar _classic _modern _fantasy _romance _mystery _cycling "
    "_running _hiking _painting _baking _camping _board _video _space _street _mountain _winter _summer _coffee "
    "_bread _vintage _outdoor _documentary _comedy ";

typedef struct {
    int32_t left, right;
} pair;

/* A token's text as bytes lies at text[at .. at + size). */
typedef struct {
    uint32_t at, size;
} span;

typedef struct {
    int n, V;    /* tokens so far, tokens wanted */
    span *spans; /* [V] of ids; specials hold nothing */
    pair *pairs; /* [V] of ids made by a merge */
    fc_str text;
    int32_t *merges; /* [slots] ids by their pair, 0 = free */
    size_t slots;    /* a power of two */
} maker;

static uint64_t mix(uint64_t x) { return fc_rng_next(&x); }

static int32_t *merge_slot(maker *m, int32_t left, int32_t right) {
    size_t i = (size_t)mix((uint64_t)(uint32_t)left << 32 | (uint32_t)right) & (m->slots - 1);
    while (m->merges[i] && (m->pairs[m->merges[i]].left != left || m->pairs[m->merges[i]].right != right))
        i = (i + 1) & (m->slots - 1);
    return &m->merges[i];
}

static fc_status add_token(maker *m, const char *text, size_t size) {
    m->spans[m->n] = (span){(uint32_t)m->text.size, (uint32_t)size};
    m->n++;
    return fc_str_put(&m->text, text, size);
}

/* The word as BPE splits it by the merges so far: the earliest merge first. Returns the number of tokens. */
static int split(maker *m, const char *word, size_t size, int32_t ids[LONGEST]) {
    int n = (int)size;
    for (int i = 0; i < n; i++) ids[i] = SPECIALS + (unsigned char)word[i];
    for (;;) {
        int32_t best = 0;
        int at = 0;
        for (int i = 0; i + 1 < n; i++) {
            int32_t id = *merge_slot(m, ids[i], ids[i + 1]);
            if (id && (!best || id < best)) {
                best = id;
                at = i;
            }
        }
        if (!best) return n;
        ids[at] = best;
        memmove(ids + at + 1, ids + at + 2, (size_t)(n - at - 2) * sizeof *ids);
        n--;
    }
}

/* Merges from the left until the word is one token. The first two pieces never make a token that is there already: if
 * one had their text, nothing reaches across its end, so the split would have come to it. */
static fc_status add_word(maker *m, const char *word, size_t size) {
    int32_t ids[LONGEST];
    while (m->n < m->V && split(m, word, size, ids) > 1) {
        size_t n = m->spans[ids[0]].size + m->spans[ids[1]].size;
        m->pairs[m->n] = (pair){ids[0], ids[1]};
        *merge_slot(m, ids[0], ids[1]) = m->n;
        FC_TRY(add_token(m, word, n));
    }
    return FC_OK;
}

static const char *pick(const char *const *from, size_t n, uint64_t *state) { return from[fc_rng_next(state) % n]; }

/* A made-up word of one to four syllables, most with a space in front. */
static size_t invent(uint64_t *state, char word[LONGEST]) {
    static const char *const onsets[] = {"b",  "c",  "d",  "f",  "g",  "h",  "l",  "m",   "n",  "p",
                                         "r",  "s",  "t",  "v",  "w",  "",   "br", "ch",  "cl", "cr",
                                         "fl", "gr", "pl", "pr", "qu", "sh", "st", "str", "th", "tr"};
    static const char *const vowels[] = {"a", "e",  "i",  "o",  "u",  "a",  "e", "i",
                                         "o", "ai", "ea", "ee", "ie", "oo", "ou"};
    static const char *const codas[] = {"",  "",  "",   "",   "n",  "r",  "s",  "t", "l",
                                        "d", "m", "ck", "nd", "ng", "nt", "rd", "st"};
    int syllables = 1 + (int)(fc_rng_next(state) % 4);
    size_t n = 0, first;
    if (fc_rng_next(state) % 8) word[n++] = ' ';
    first = n;
    for (int i = 0; i < syllables; i++) {
        const char *parts[3];
        parts[0] = pick(onsets, sizeof onsets / sizeof *onsets, state);
        parts[1] = pick(vowels, sizeof vowels / sizeof *vowels, state);
        parts[2] = pick(codas, sizeof codas / sizeof *codas, state);
        for (int k = 0; k < 3; k++) {
            memcpy(word + n, parts[k], strlen(parts[k]));
            n += strlen(parts[k]);
        }
    }
    if (fc_rng_next(state) % 8 == 0) word[first] = (char)(word[first] - 'a' + 'A');
    return n;
}

static fc_status make(maker *m) {
    uint64_t state = 1;
    char word[LONGEST];
    for (int i = 0; i < SPECIALS; i++) m->spans[m->n++] = (span){0, 0};
    for (int b = 0; b < BYTES; b++) {
        char byte = (char)b;
        FC_TRY(add_token(m, &byte, 1));
    }
    for (const char *p = words; *p && m->n < m->V;) {
        size_t n = 0;
        for (; *p != ' '; p++) word[n++] = *p == '_' ? ' ' : *p;
        p++;
        FC_TRY(add_word(m, word, n));
    }
    while (m->n < m->V) FC_TRY(add_word(m, word, invent(&state, word)));
    return FC_OK;
}

/* Bytes in the alphabet of byte-level BPE: printable ones of Latin-1 are themselves, the others follow U+0100 in
 * order. */
static fc_status put_alphabet(fc_str *s, const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        unsigned b = (unsigned char)text[i], c;
        if (b <= 32) c = 256 + b;
        else if (b >= 127 && b <= 160) c = 256 + 33 + (b - 127);
        else if (b == 173) c = 256 + 33 + 34;
        else c = b;
        if (c < 128) {
            char one = (char)c;
            FC_TRY(fc_str_put(s, &one, 1));
        } else {
            char two[2] = {(char)(0xC0 | c >> 6), (char)(0x80 | (c & 63))};
            FC_TRY(fc_str_put(s, two, 2));
        }
    }
    return FC_OK;
}

static fc_status put_token(fc_str *s, const maker *m, int32_t id) {
    return put_alphabet(s, m->text.data + m->spans[id].at, m->spans[id].size);
}

/* One array of strings, made entry by entry in `s`; ends and views are room for the longest. */
typedef struct {
    fc_str s;
    size_t *ends;       /* [V] */
    fc_view_str *views; /* [V] */
} strings;

static fc_status write_strings(fc_gguf_write *w, const char *key, strings *a, size_t n) {
    for (size_t i = 0, at = 0; i < n; at = a->ends[i++]) a->views[i] = (fc_view_str){a->s.data + at, a->ends[i] - at};
    return fc_gguf_write_strings(w, key, a->views, n);
}

static fc_status write_tokens(fc_gguf_write *w, const maker *m, strings *a, int32_t *types) {
    enum { NORMAL = 1, CONTROL = 3 };
    static const char *const specials[SPECIALS] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    for (int32_t i = 0; i < m->V; i++) {
        FC_TRY(i < SPECIALS ? fc_str_puts(&a->s, specials[i]) : put_token(&a->s, m, i));
        a->ends[i] = a->s.size;
        types[i] = i < SPECIALS ? CONTROL : NORMAL;
    }
    FC_TRY(write_strings(w, "tokenizer.ggml.tokens", a, (size_t)m->V));
    FC_TRY(fc_gguf_write_i32s(w, "tokenizer.ggml.token_type", types, (size_t)m->V));
    fc_str_clear(&a->s);
    for (int32_t i = SPECIALS + BYTES; i < m->V; i++) {
        FC_TRY(put_token(&a->s, m, m->pairs[i].left));
        FC_TRY(fc_str_puts(&a->s, " "));
        FC_TRY(put_token(&a->s, m, m->pairs[i].right));
        a->ends[i - SPECIALS - BYTES] = a->s.size;
    }
    return write_strings(w, "tokenizer.ggml.merges", a, (size_t)(m->V - SPECIALS - BYTES));
}

static fc_status write_rules(fc_gguf_write *w) {
    static const char chatml[] =
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
        "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
    FC_TRY(fc_gguf_write_u32(w, "tokenizer.ggml.bos_token_id", FC_TINY_BOS));
    FC_TRY(fc_gguf_write_u32(w, "tokenizer.ggml.eos_token_id", FC_TINY_EOS));
    FC_TRY(fc_gguf_write_u32(w, "tokenizer.ggml.padding_token_id", FC_TINY_EOS));
    FC_TRY(fc_gguf_write_bool(w, "tokenizer.ggml.add_bos_token", false));
    FC_TRY(fc_gguf_write_bool(w, "tokenizer.ggml.add_space_prefix", false));
    return fc_gguf_write_string(w, "tokenizer.chat_template", chatml, sizeof chatml - 1);
}

static fc_status take(void **out, size_t n, size_t size) {
    return fc_alloc(n, size, "tokenizer of a random model", out);
}

fc_status fc_tiny_tok_write(fc_gguf_write *w, int V) {
    maker m = {.V = V, .slots = 1024};
    strings a = {0};
    void *p[5] = {0};
    size_t n = (size_t)V;
    fc_status st;
    FC_ASSERT(V >= FC_TINY_MIN_V);
    while (m.slots < 2 * n) m.slots *= 2;
    FC_TRY_GOTO(st, take(&p[0], n, sizeof *m.spans), out);
    FC_TRY_GOTO(st, take(&p[1], n, sizeof *m.pairs), out);
    FC_TRY_GOTO(st, take(&p[2], m.slots, sizeof *m.merges), out);
    FC_TRY_GOTO(st, take(&p[3], n, sizeof *a.ends), out);
    FC_TRY_GOTO(st, take(&p[4], n, sizeof *a.views), out);
    m.spans = p[0];
    m.pairs = p[1];
    m.merges = p[2];
    a.ends = p[3];
    a.views = p[4];
    FC_TRY_GOTO(st, make(&m), out);
    FC_TRY_GOTO(st, fc_gguf_write_string(w, "tokenizer.ggml.model", "gpt2", 4), out);
    FC_TRY_GOTO(st, fc_gguf_write_string(w, "tokenizer.ggml.pre", "gpt-2", 5), out);
    /* the table of merges is done with: its room is big enough for the token types */
    FC_TRY_GOTO(st, write_tokens(w, &m, &a, m.merges), out);
    st = write_rules(w);
out:
    fc_str_fini(&a.s);
    fc_str_fini(&m.text);
    for (int i = 4; i >= 0; i--) fc_free(p[i]);
    return st;
}
