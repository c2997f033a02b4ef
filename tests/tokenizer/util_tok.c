#include "tests/tokenizer/util_tok.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "tokenizer/text.h"

tok_file tok_file_open(const char *path) {
    tok_file f = {0};
    assert_ok(fc_file_read(path, 64 << 20, &f.data, &f.size));
    return f;
}

void tok_file_close(tok_file *f) { fc_free(f->data); }

const char *tok_file_bytes(tok_file *f, size_t n) {
    const char *p = f->data + f->at;
    if (n > f->size - f->at) fail_msg("a stored file ends at byte %zu; %zu more were to come", f->size, n);
    f->at += n;
    return p;
}

uint32_t tok_file_u16(tok_file *f) {
    const unsigned char *b = (const unsigned char *)tok_file_bytes(f, 2);
    return (uint32_t)(b[0] | b[1] << 8);
}

uint32_t tok_file_u32(tok_file *f) {
    uint32_t low = tok_file_u16(f);
    return low | tok_file_u16(f) << 16;
}

size_t tok_texts_open(tok_file *f, tok_text **out) {
    size_t n;
    *f = tok_file_open(TOK_DATA "strings.bin");
    n = tok_file_u32(f);
    *out = calloc(n, sizeof **out);
    assert_non_null(*out);
    for (size_t i = 0; i < n; i++) {
        (*out)[i].size = tok_file_u16(f);
        (*out)[i].text = tok_file_bytes(f, (*out)[i].size);
    }
    assert_int_equal(f->at, f->size);
    return n;
}

void tok_ids_fini(tok_ids *l) {
    fc_free(l->ids);
    *l = (tok_ids){0};
}

void tok_encode(const fc_tok *t, const char *text, size_t size, unsigned flags, tok_ids *out) {
    out->n = 0;
    assert_ok(fc_tok_encode(t, text, size, flags, &out->ids, &out->n, &out->cap));
}

uint64_t tok_fnv(const void *data, size_t n, uint64_t h) {
    for (size_t i = 0; i < n; i++) h = (h ^ ((const unsigned char *)data)[i]) * UINT64_C(0x100000001B3);
    return h;
}

static uint64_t fnv_ids(const tok_ids *l, uint64_t h) {
    int32_t end = -1;
    return tok_fnv(&end, sizeof end, tok_fnv(l->ids, l->n * sizeof *l->ids, h));
}

static uint64_t fnv_lossy(const char *text, size_t size, uint64_t h) {
    for (size_t i = 0, n; i < size; i += n) {
        uint32_t cp;
        size_t bad;
        n = fc_text_decode(text + i, size - i, &cp, &bad);
        if (n > 0) {
            h = tok_fnv(text + i, n, h);
        } else {
            h = tok_fnv(FC_TEXT_REPLACEMENT, 3, h);
            n = bad;
        }
    }
    return h;
}

static uint32_t fold(uint64_t h) { return (uint32_t)(h ^ h >> 32); }

uint32_t tok_hash_text(const char *text, size_t size) { return fold(fnv_lossy(text, size, TOK_FNV_START)); }

void tok_check_stream(const fc_tok *t, const int32_t *ids, size_t n) {
    fc_tok_stream s;
    fc_str whole = {0}, text = {0};
    size_t bad;
    bool valid;
    assert_ok(fc_tok_decode(t, ids, n, false, &whole));
    valid = fc_utf8_valid(fc_str_text(&whole), whole.size, &bad);
    fc_tok_stream_init(&s, t);
    for (size_t i = 0; i < n; i++) {
        size_t was = text.size;
        assert_ok(fc_tok_stream_put(&s, ids[i], &text));
        if (valid && !fc_utf8_valid(fc_str_text(&text) + was, text.size - was, &bad))
            fail_msg("a stream cuts a character at id %d, number %zu", ids[i], i);
    }
    assert_ok(fc_tok_stream_finish(&s, &text));
    assert_int_equal(text.size, whole.size);
    assert_memory_equal(fc_str_text(&text), fc_str_text(&whole), whole.size);
    fc_tok_stream_fini(&s);
    fc_str_fini(&whole);
    fc_str_fini(&text);
}

uint32_t tok_hash_string(const fc_tok *t, const char *text, size_t size, unsigned flags) {
    tok_ids plain = {0}, special = {0};
    fc_str out = {0};
    uint64_t h;
    tok_encode(t, text, size, 0, &plain);
    tok_encode(t, text, size, flags, &special);
    h = fnv_ids(&special, fnv_ids(&plain, TOK_FNV_START));
    assert_ok(fc_tok_decode(t, plain.ids, plain.n, false, &out));
    h = tok_fnv("", 1, fnv_lossy(fc_str_text(&out), out.size, h));
    fc_str_clear(&out);
    assert_ok(fc_tok_decode(t, special.ids, special.n, flags & FC_TOK_PARSE_SPECIAL, &out));
    h = fnv_lossy(fc_str_text(&out), out.size, h);
    tok_check_stream(t, plain.ids, plain.n);
    fc_str_fini(&out);
    tok_ids_fini(&plain);
    tok_ids_fini(&special);
    return fold(h);
}

/* ---- .spec files ----------------------------------------------------------------------------------------- */

static size_t from_hex(char *text) {
    size_t n = strlen(text) / 2;
    for (size_t i = 0; i < n; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], 0};
        text[i] = (char)strtol(pair, NULL, 16);
    }
    return n;
}

fc_tok *tok_spec_open(const char *path) {
    tok_file f = tok_file_open(path);
    fc_tok_spec spec = {.name = path};
    fc_tok_str *pieces = calloc(f.size, sizeof *pieces); /* more than there are */
    int32_t *types = calloc(f.size, sizeof *types);
    float *scores = calloc(f.size, sizeof *scores);
    char *line = strtok(f.data, "\n"), *hex = strrchr(line, ' ') + 1, model[8];
    int prefix, extra;
    fc_tok *t = NULL;
    assert_int_equal(
        sscanf(line, "%7s %d %d %d %d %d %d", model, &spec.bos, &spec.eos, &spec.unk, &spec.pad, &prefix, &extra), 7);
    spec.model = strcmp(model, "llama") == 0 ? FC_TOK_SPM_BPE : FC_TOK_UNIGRAM;
    spec.add_space_prefix = prefix == 1;
    spec.remove_extra_spaces = extra == 1;
    spec.add_bos = spec.model == FC_TOK_SPM_BPE;
    spec.add_eos = spec.model == FC_TOK_UNIGRAM;
    if (*hex != '-') {
        spec.charsmap_size = from_hex(hex);
        spec.charsmap = hex;
    }
    while ((line = strtok(NULL, "\n"))) {
        char *text = strrchr(line, ' ') + 1;
        types[spec.V] = (int32_t)strtol(line, &line, 10);
        scores[spec.V] = strtof(line, NULL);
        pieces[spec.V].size = from_hex(text);
        pieces[spec.V++].text = text;
    }
    spec.pieces = pieces;
    spec.types = types;
    spec.scores = scores;
    assert_ok(fc_tok_open(&spec, &t));
    free(pieces);
    free(types);
    free(scores);
    tok_file_close(&f);
    return t;
}
