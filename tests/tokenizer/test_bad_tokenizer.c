/* Hostile tokenizers and hostile texts: an error that names file and number, or a tokenizer that works; never a crash
 * or a hang. */
#include "tests/tokenizer/util_tok.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <ctype.h>

/* ---- tokenizer.json -------------------------------------------------------------------------------------- */

static const char small[] =
    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,"
    "\"added_tokens\":[{\"id\":6,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":true,\"rstrip\":true,"
    "\"normalized\":"
    "false,\"special\":true},{\"id\":7,\"content\":\"add\",\"single_word\":true,\"lstrip\":false,\"rstrip\":false,"
    "\"normalized\":true,\"special\":false}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Prepend\",\"prepend\":\"_\"}"
    ","
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"_\"},{\"type\":\"Strip\",\"strip_left\":true,"
    "\"strip_right\":true}]},"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\s+|a+"
    "\"},"
    "\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"Digits\",\"individual_digits\":true},{\"type\":"
    "\"Metaspace\","
    "\"replacement\":\"_\",\"prepend_scheme\":\"first\",\"split\":true}]},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[6],"
    "\"tokens\":[\"<s>\"]}}},"
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"_\"},\"content\":"
    "\" \"},"
    "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},"
    "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<unk>\",\"continuing_subword_prefix\":null,"
    "\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":true,\"ignore_merges\":false,"
    "\"vocab\":{\"<unk>\":0,\"_\":1,\"a\":2,\"b\":3,\"ab\":4,\"_ab\":5},\"merges\":[\"a b\",\"_ ab\"]}}";

static const char unigram[] = "{\"version\":\"1.0\",\"added_tokens\":[],\"normalizer\":{\"type\":\"Precompiled\","
                              "\"precompiled_charsmap\":\"CAAAAAAAAAAAAAAA"
                              "eHh4AA==\"},\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"},\"decoder\":{\"type\":"
                              "\"Metaspace\",\"replacement\":\"_\","
                              "\"prepend_scheme\":\"always\",\"split\":true},\"model\":{\"type\":\"Unigram\",\"unk_"
                              "id\":0,\"vocab\":[[\"<unk>\",0.0],"
                              "[\"a\",-1.5],[\"ab\",-2e3],[\"b\",-1.25]],\"byte_fallback\":false}}";

/* text with the first `from` in it replaced. */
static fc_status open_edited(const char *text, const char *from, const char *to) {
    const char *at = strstr(text, from);
    fc_str s = {0};
    fc_tok *t = NULL;
    fc_status st;
    if (!at) fail_msg("the test's own text lacks \"%s\"", from);
    assert_ok(fc_str_put(&s, text, (size_t)(at - text)));
    assert_ok(fc_str_puts(&s, to));
    assert_ok(fc_str_puts(&s, at + strlen(from)));
    st = fc_tok_open_json_text("bad.json", s.data, s.size, &t);
    if (!st) fc_tok_close(t);
    fc_str_fini(&s);
    return st;
}

static void every_fault_is_named(void **state) {
    static const struct {
        const char *text, *from, *to;
        fc_status status;
        const char *words;
    } faults[] = {
        /* the model */
        {small, "\"_ ab\"", "\"_ abc\"", FC_ERR_FORMAT, "merge 1 names \"abc\""},
        {small, "\"a b\"", "\"b a\"", FC_ERR_FORMAT, "merge 0 makes \"ba\""},
        {small, "\"a b\"", "\"ab\"", FC_ERR_FORMAT, "merge 0, \"ab\""},
        {small, "\"a b\"", "\"a b c\"", FC_ERR_FORMAT, "merge 0, \"a b c\""},
        {small, "\"a b\"", "\"a \"", FC_ERR_FORMAT, "merge 0 names \"\""},
        {small, "\"a b\"", "[\"a\",\"b\",\"c\"]", FC_ERR_FORMAT, "merge 0 has 3 parts"},
        {small, "\"a b\"", "7", FC_ERR_FORMAT, "bad.json"},
        {small, "\"b\":3", "\"b\":2", FC_ERR_FORMAT, "id 2 is both \"a\" and \"b\""},
        {small, "\"b\":3", "\"b\":2147483648", FC_ERR_FORMAT, "2147483648"},
        {small, "\"b\":3", "\"b\":70000", FC_ERR_FORMAT, "70000"},
        {small, "\"b\":3", "\"b\":-1", FC_ERR_FORMAT, "-1"},
        {small, "\"b\":3", "\"b\":2.5", FC_ERR_FORMAT, "2.5"},
        {small, "\"b\":3", "\"b\":null", FC_ERR_FORMAT, "bad.json"},
        {small, "\"b\":3", "\"a\":3", FC_ERR_FORMAT, "\"a\""},
        {small, "\"<unk>\",", "\"<nope>\",", FC_ERR_FORMAT, "\"<nope>\""},
        {small, "\"dropout\":null", "\"dropout\":0.1", FC_ERR_UNSUPPORTED, "dropout 0.1"},
        {small, "\"end_of_word_suffix\":null", "\"end_of_word_suffix\":\"</w>\"", FC_ERR_UNSUPPORTED, "</w>"},
        {small, "\"fuse_unk\":false", "\"fuse_unk\":1", FC_ERR_FORMAT, "fuse_unk"},
        {small, "\"ignore_merges\"", "\"ignore_all\"", FC_ERR_UNSUPPORTED, "\"ignore_all\""},
        {small, "\"BPE\"", "\"WordPiece\"", FC_ERR_UNSUPPORTED, "\"WordPiece\""},
        {small, "\"merges\":[\"a b\",\"_ ab\"]", "\"merges\":{}", FC_ERR_FORMAT, "model.merges is not array"},
        {small, "{\"<unk>\":0,\"_\":1,\"a\":2,\"b\":3,\"ab\":4,\"_ab\":5}", "[]", FC_ERR_FORMAT, "model.vocab"},
        /* the rest */
        {small, "\"1.0\"", "\"2.0\"", FC_ERR_UNSUPPORTED, "version \"2.0\""},
        {small, "\"padding\":null", "\"padding\":{}", FC_ERR_UNSUPPORTED, "padding"},
        {small, "\"truncation\":null", "\"truncation\":{}", FC_ERR_UNSUPPORTED, "truncation"},
        {small, "\"padding\":null", "\"extra\":null", FC_ERR_UNSUPPORTED, "\"extra\""},
        {small, "\"id\":6", "\"id\":8", FC_ERR_FORMAT, "\"<s>\" has id 8, where its place gives 6"},
        {small, "\"id\":7,\"content\":\"add\"", "\"id\":6,\"content\":\"<s>\"", FC_ERR_FORMAT, "\"<s>\" comes twice"},
        {small, "\"content\":\"add\"", "\"content\":\"\"", FC_ERR_FORMAT, "id 7 has no text"},
        {small, "\"special\":true", "\"special\":\"yes\"", FC_ERR_FORMAT, "special"},
        {small, "\"special\":true", "\"important\":true", FC_ERR_UNSUPPORTED, "\"important\""},
        {small, "\"NFC\"", "\"BertNormalizer\"", FC_ERR_UNSUPPORTED, "normalizer \"BertNormalizer\""},
        {small, "\"type\":\"NFC\"", "\"type\":\"NFC\",\"x\":1", FC_ERR_UNSUPPORTED, "normalizer: \"x\""},
        {small, "\"strip_left\":true", "\"strip_left\":3", FC_ERR_FORMAT, "strip_left"},
        {small, "{\"String\":\" \"}", "{\"Glob\":\" \"}", FC_ERR_UNSUPPORTED, "neither String nor Regex"},
        {small, "{\"String\":\" \"}", "{\"String\":\"\"}", FC_ERR_UNSUPPORTED, "empty pattern"},
        {small, "\"Digits\"", "\"Punctuation\"", FC_ERR_UNSUPPORTED, "pre_tokenizer \"Punctuation\""},
        {small, "\"Isolated\"", "\"Sideways\"", FC_ERR_UNSUPPORTED, "\"Sideways\""},
        {small, "\"first\"", "\"last\"", FC_ERR_UNSUPPORTED, "\"last\""},
        {small, "\"replacement\":\"_\"", "\"replacement\":\"__\"", FC_ERR_FORMAT, "not one character"},
        {small, "\"Fuse\"", "\"CTC\"", FC_ERR_UNSUPPORTED, "\"CTC\""},
        {small, "\"stop\":0", "\"stop\":1", FC_ERR_UNSUPPORTED, "stop 1"},
        {small, "{\"type\":\"ByteFallback\"}", "{\"type\":\"Fuse\"},{\"type\":\"ByteFallback\"}", FC_ERR_UNSUPPORTED,
         "\"ByteFallback\""},
        {small, "\"TemplateProcessing\"", "\"BertProcessing\"", FC_ERR_UNSUPPORTED,
         "post_processor \"BertProcessing\""},
        {small, "\"ids\":[6]", "\"ids\":[8]", FC_ERR_FORMAT, "id 8 of \"<s>\""},
        {small, "\"ids\":[6]", "\"ids\":[1,1,1,1,1,1,1,1,1]", FC_ERR_UNSUPPORTED, "more than 8"},
        {small, "\"id\":\"A\"", "\"id\":\"B\"", FC_ERR_UNSUPPORTED, "not one Sequence A"},
        /* expressions: what means another thing, or nothing, to PCRE2 */
        {small, "\\\\s+|a+", "(a", FC_ERR_UNSUPPORTED, "\"(a\""},
        {small, "\\\\s+|a+", "a*", FC_ERR_UNSUPPORTED, "can match nothing"},
        {small, "\\\\s+|a+", "a{1,2}+", FC_ERR_UNSUPPORTED, "count followed by '+'"},
        {small, "\\\\s+|a+", "(a)\\\\1", FC_ERR_UNSUPPORTED, "escape that is not supported"},
        {small, "\\\\s+|a+", "\\\\h+", FC_ERR_UNSUPPORTED, "escape that is not supported"},
        {small, "\\\\s+|a+", "[a[b]]", FC_ERR_UNSUPPORTED, "class in a class"},
        {small, "\\\\s+|a+", "[a&&b]", FC_ERR_UNSUPPORTED, "intersection"},
        {small, "\\\\s+|a+", "(*ACCEPT)", FC_ERR_UNSUPPORTED, "'('"},
        {small, "\\\\s+|a+", "(?R)a", FC_ERR_UNSUPPORTED, "kind of group"},
        {small, "\\\\s+|a+", "\\\\p{Nonsense}", FC_ERR_UNSUPPORTED, "Nonsense"},
        {small, "\\\\s+|a+", "[\\\\s", FC_ERR_UNSUPPORTED, "without an end"},
        {small, "\\\\s+|a+", "\\\\x{110000}", FC_ERR_UNSUPPORTED, "hexadecimal"},
        /* unigram */
        {unigram, "\"unk_id\":0", "\"unk_id\":null", FC_ERR_UNSUPPORTED, "unk_id is null"},
        {unigram, "\"unk_id\":0", "\"unk_id\":4", FC_ERR_FORMAT, "unk_id is not an id of the 4"},
        {unigram, "[\"a\",-1.5]", "[\"ab\",-1.5]", FC_ERR_FORMAT, "\"ab\" has two ids"},
        {unigram, "[\"a\",-1.5]", "[\"a\"]", FC_ERR_FORMAT, "entry 1"},
        {unigram, "[\"a\",-1.5]", "[\"a\",1e999]", FC_ERR_FORMAT, "no double can hold"},
        {unigram, "[\"a\",-1.5]", "[\"a\",\"x\"]", FC_ERR_FORMAT, "bad.json"},
        {unigram, "CAAAAAAAAAAAAAAAeHh4AA==", "CAAAAA=A", FC_ERR_FORMAT, "not base64"},
        {unigram, "CAAAAAAAAAAAAAAAeHh4AA==", "//8AAAAA", FC_ERR_FORMAT, "65535 bytes of tree"},
        {unigram, "CAAAAAAAAAAAAAAAeHh4AA==", "AA==", FC_ERR_FORMAT, "has 1 bytes"},
        {unigram, "CAAAAAAAAAAAAAAAeHh4AA==", "CAAAAAAAAAAAAAAA/w==", FC_ERR_FORMAT, "not UTF-8"},
    };
    (void)state;
    assert_ok(open_edited(small, "\"b\":3", "\"b\":3"));
    assert_ok(open_edited(unigram, "-1.5", "-1.5"));
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        fc_status st = open_edited(faults[i].text, faults[i].from, faults[i].to);
        if (st != faults[i].status || !strstr(fc_status_text(), faults[i].words) ||
            !strstr(fc_status_text(), "bad.json"))
            fail_msg("%s -> %s: %s (%s), not %s with \"%s\"", faults[i].from, faults[i].to, fc_status_name(st),
                     st ? fc_status_text() : "", fc_status_name(faults[i].status), faults[i].words);
    }
}

/* Whatever opens must work: encode and decode a few texts. */
static void try_out(fc_tok *t) {
    static const char text[] = " ab_a<s> add adda 12 \xFF\xCC\x81\xF0\x9F\x98\x80 <0x41> bbbb\n";
    tok_ids ids = {0};
    fc_str out = {0};
    for (unsigned flags = 0; flags < 4; flags++) {
        ids.n = 0;
        if (fc_tok_encode(t, text, sizeof text - 1, flags, &ids.ids, &ids.n, &ids.cap)) continue;
        for (size_t i = 0; i < ids.n; i++) assert_true(ids.ids[i] >= 0 && (size_t)ids.ids[i] < fc_tok_size(t));
        assert_ok(fc_tok_decode(t, ids.ids, ids.n, true, &out));
        tok_check_stream(t, ids.ids, ids.n);
    }
    fc_str_fini(&out);
    tok_ids_fini(&ids);
}

static int mutate(const char *text, size_t size, int rounds, uint64_t *seed) {
    static const char *const splices[] = {"null", "-1",   "2147483648",  "1e308", "\"\"", "{}",
                                          "[]",   "true", "\"\\ud800\"", ",",     "65535"};
    int opened = 0;
    char *copy = malloc(size + 64);
    for (int i = 0; i < rounds; i++) {
        size_t n = size, at = (size_t)test_below(seed, (int)size);
        fc_tok *t = NULL;
        memcpy(copy, text, size);
        switch (test_below(seed, 4)) {
        case 0: n = at; break;                                                   /* cut off */
        case 1: copy[at] = (char)(copy[at] ^ (1 << test_below(seed, 8))); break; /* a bit */
        case 2: /* what JSON does not mind: a digit or a letter for another */
            while (!isalnum((unsigned char)copy[at])) at = (at + 1) % size;
            copy[at] = isdigit((unsigned char)copy[at]) ? (char)('0' + test_below(seed, 10))
                                                        : (char)('a' + test_below(seed, 3));
            break;
        default: { /* a value put over some bytes */
            const char *s = splices[test_below(seed, (int)(sizeof splices / sizeof *splices))];
            size_t gone = (size_t)test_below(seed, 8), k = strlen(s);
            if (at + gone > size) gone = size - at;
            memcpy(copy + at, s, k);
            memcpy(copy + at + k, text + at + gone, size - at - gone);
            n = size - gone + k;
        }
        }
        if (fc_tok_open_json_text("mutated.json", copy, n, &t) != FC_OK) {
            assert_non_null(strstr(fc_status_text(), "mutated.json"));
            continue;
        }
        opened++;
        try_out(t);
        fc_tok_close(t);
    }
    free(copy);
    return opened;
}

static void mutated_files_open_or_fail(void **state) {
    static const char *const files[] = {"llama3", "xlmr", "unigram"};
    uint64_t seed = 31;
    int opened;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    opened = mutate(small, sizeof small - 1, 20000, &seed) + mutate(unigram, sizeof unigram - 1, 10000, &seed);
    printf("%d of 30000 opened\n", opened);
    assert_true(opened > 900); /* else the mutations test only the JSON reader */
    for (int i = 0; i < 3; i++) {
        char path[128];
        tok_file f;
        snprintf(path, sizeof path, TOK_DATA "%s.json", files[i]);
        f = tok_file_open(path);
        mutate(f.data, f.size, 60, &seed);
        tok_file_close(&f);
    }
}

/* ---- specs ----------------------------------------------------------------------------------------------- */

#define STR(s)                                                                                                         \
    { .text = s, .size = sizeof s - 1 }

static void bad_specs(void **state) {
    fc_tok_str pieces[] = {STR("<unk>"), STR("a"), STR("b"), STR("ab"), STR("<0x41>"), STR("")};
    fc_tok_str merges[] = {STR("a b")};
    int32_t types[] = {FC_TOK_UNKNOWN, 1, 1, 1, FC_TOK_BYTE, 1};
    float scores[] = {0, -1, -2, -3, 0, 0};
    const fc_tok_spec good = {.name = "m.gguf",
                              .pieces = pieces,
                              .types = types,
                              .scores = scores,
                              .V = 6,
                              .merges = merges,
                              .n_merges = 1,
                              .bos = -1,
                              .eos = -1,
                              .unk = 0,
                              .pad = -1};
    fc_tok_spec s = good;
    fc_tok *t = NULL;
    (void)state;
    assert_ok(fc_tok_open(&s, &t)); /* an empty piece is only never found */
    try_out(t);
    fc_tok_close(t);
    s.pre = "made-up";
    assert_fails(fc_tok_open(&s, &t), FC_ERR_UNSUPPORTED, "m.gguf: tokenizer.ggml.pre \"made-up\"");
    s = good, s.V = 0;
    assert_fails(fc_tok_open(&s, &t), FC_ERR_FORMAT, "empty");
    s = good, s.bos = 6;
    assert_fails(fc_tok_open(&s, &t), FC_ERR_FORMAT, "BOS token is 6");
    s = good, s.unk = -2;
    assert_fails(fc_tok_open(&s, &t), FC_ERR_FORMAT, "unknown token is -2");
    s = good, s.add_eos = true;
    assert_fails(fc_tok_open(&s, &t), FC_ERR_FORMAT, "EOS is to be added");
    s = good, s.model = (fc_tok_model)9;
    assert_fails(fc_tok_open(&s, &t), FC_ERR_ARG, "model 9");
    for (int m = FC_TOK_SPM_BPE; m <= FC_TOK_UNIGRAM; m++) {
        s = good, s.model = (fc_tok_model)m;
        assert_ok(fc_tok_open(&s, &t));
        try_out(t);
        fc_tok_close(t);
        s.scores = NULL;
        assert_fails(fc_tok_open(&s, &t), FC_ERR_FORMAT, "without scores");
        s = good, s.model = (fc_tok_model)m, s.charsmap = "abc", s.charsmap_size = 3;
        assert_fails(fc_tok_open(&s, &t), FC_ERR_FORMAT, "charsmap has 3 bytes");
    }
    s = good, s.model = FC_TOK_UNIGRAM, s.unk = -1;
    assert_fails(fc_tok_open(&s, &t), FC_ERR_UNSUPPORTED, "unknown piece");
    scores[2] = NAN;
    s = good;
    assert_fails(fc_tok_open(&s, &t), FC_ERR_FORMAT, "score of id 2");
    scores[2] = -2;
    types[3] = 7;
    assert_fails(fc_tok_open(&s, &t), FC_ERR_FORMAT, "type 7 of id 3");
    types[3] = 1;
    pieces[2] = (fc_tok_str)STR("a");
    assert_fails(fc_tok_open(&s, &t), FC_ERR_FORMAT, "\"a\" has two ids, 1 and 2");
    pieces[2] = (fc_tok_str)STR("b\xC3");
    assert_fails(fc_tok_open(&s, &t), FC_ERR_FORMAT, "piece 2 is not UTF-8");
    pieces[2] = (fc_tok_str)STR("b");
    merges[0] = (fc_tok_str)STR("a c");
    assert_fails(fc_tok_open(&s, &t), FC_ERR_FORMAT, "merge 0 names \"c\"");
    merges[0] = (fc_tok_str)STR(" b");
    assert_fails(fc_tok_open(&s, &t), FC_ERR_FORMAT, "merge 0, \" b\"");
    merges[0] = (fc_tok_str)STR("");
    assert_fails(fc_tok_open(&s, &t), FC_ERR_FORMAT, "merge 0");
}

/* A merge to a control token never fires, so that plain text cannot spell one. */
static void merges_never_make_a_control_token(void **state) {
    fc_tok_str pieces[] = {STR("a"), STR("b"), STR("ab"), STR("abb")}, merges[] = {STR("a b"), STR("ab b")};
    int32_t types[] = {1, 1, FC_TOK_CONTROL, 1};
    fc_tok_spec s = {.name = "m.gguf",
                     .pre = "llama-bpe",
                     .pieces = pieces,
                     .types = types,
                     .V = 4,
                     .merges = merges,
                     .n_merges = 2,
                     .bos = -1,
                     .eos = -1,
                     .unk = -1,
                     .pad = -1};
    tok_ids ids = {0};
    fc_tok *t = NULL;
    (void)state;
    assert_ok(fc_tok_open(&s, &t));
    tok_encode(t, "ab", 2, 0, &ids);
    assert_int_equal(ids.n, 2);
    tok_encode(t, "ab", 2, FC_TOK_PARSE_SPECIAL, &ids);
    assert_int_equal(ids.n, 1);
    assert_int_equal(ids.ids[0], 2);
    tok_ids_fini(&ids);
    fc_tok_close(t);
}

/* ---- texts ----------------------------------------------------------------------------------------------- */

static void long_texts_take_time_in_proportion(void **state) {
    static const char *const families[] = {"gpt2", "qwen2", "llama2", "gemma", "unigram", "xlmr"};
    static const char *const units[] = {"a",         " ", "\n", " \n", "\xFF", "\xCC\x96\xCC\x81", "<", "\xE4\xB8\xAD",
                                        "<|im_end|", "1"};
    enum { MEGABYTE = 1 << 20 };
    char *text = malloc(MEGABYTE);
    tok_ids ids = {0};
    uint64_t start = fc_clock_ns();
    (void)state;
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        char path[128];
        fc_tok *t = NULL;
        snprintf(path, sizeof path, TOK_DATA "%s.json", families[f]);
        assert_ok(fc_tok_open_json(path, &t));
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            size_t k = strlen(units[u]), n = MEGABYTE / 8;
            for (size_t i = 0; i < n; i++) text[i] = units[u][i % k];
            tok_encode(t, text, n, 0, &ids);
        }
        fc_tok_close(t);
    }
    printf("60 texts of 128 KiB: %.2f s\n", (double)(fc_clock_ns() - start) * 1e-9);
    tok_ids_fini(&ids);
    free(text);
}

/* 10 MiB in one word: quadratic work would take hours. */
static void ten_megabytes_in_one_word(void **state) {
    enum { N = 10 << 20 };
    char *text = malloc(N);
    tok_ids ids = {0};
    fc_tok *t = NULL;
    (void)state;
    memset(text, '<', N);
    assert_ok(fc_tok_open_json(TOK_DATA "gpt2.json", &t));
    tok_encode(t, text, N, 0, &ids);
    assert_true(ids.n > 0);
    fc_tok_close(t);
    tok_ids_fini(&ids);
    free(text);
}

/* 400,000 added tokens that the model has too: looking for each among those before it would take minutes. */
static void many_added_tokens_open_in_proportion(void **state) {
    enum { N = 400000 };
    fc_str s = {0};
    fc_tok *t = NULL;
    uint64_t start;
    (void)state;
    assert_ok(fc_str_puts(&s, "{\"version\":\"1.0\",\"added_tokens\":["));
    for (int i = 0; i < N; i++)
        assert_ok(fc_str_printf(&s, "%s{\"id\":%d,\"content\":\"t%d\",\"special\":true}", i ? "," : "", i, i));
    assert_ok(fc_str_puts(&s, "],\"model\":{\"type\":\"BPE\",\"vocab\":{"));
    for (int i = 0; i < N; i++) assert_ok(fc_str_printf(&s, "%s\"t%d\":%d", i ? "," : "", i, i));
    assert_ok(fc_str_puts(&s, "},\"merges\":[]},\"decoder\":{\"type\":\"ByteLevel\"}}"));
    start = fc_clock_ns();
    assert_ok(fc_tok_open_json_text("many.json", s.data, s.size, &t));
    printf("%d added tokens: %.2f s\n", N, (double)(fc_clock_ns() - start) * 1e-9);
    assert_int_equal(fc_tok_size(t), N);
    assert_true(fc_tok_is_special(t, N - 1));
    fc_tok_close(t);
    fc_str_fini(&s);
}

/* An expression that backtracks without end is an error, not a hang; the longest run of blanks is neither. */
static void expressions_are_bounded(void **state) {
    static const char *const bad[] = {"(a+)+c", "(a|a)+c", "(a+a+)+[bc]", "(?:(?:a?)+b?)+c"};
    enum { N = 1 << 20 };
    char *text = malloc(N);
    tok_ids ids = {0};
    (void)state;
    memset(text, 'a', N);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *at = strstr(small, "\\\\s+|a+");
        fc_str s = {0};
        fc_tok *t = NULL;
        assert_ok(fc_str_put(&s, small, (size_t)(at - small)));
        assert_ok(fc_str_puts(&s, bad[i]));
        assert_ok(fc_str_puts(&s, at + strlen("\\\\s+|a+")));
        assert_ok(fc_tok_open_json_text("slow.json", s.data, s.size, &t));
        assert_fails(fc_tok_encode(t, text, N, 0, &ids.ids, &ids.n, &ids.cap), FC_ERR_UNSUPPORTED, "too many steps");
        assert_int_equal(ids.n, 0);
        fc_tok_close(t);
        fc_str_fini(&s);
    }
    free(text);
    tok_ids_fini(&ids);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fault_is_named),
        cmocka_unit_test(mutated_files_open_or_fail),
        cmocka_unit_test(bad_specs),
        cmocka_unit_test(merges_never_make_a_control_token),
        cmocka_unit_test(long_texts_take_time_in_proportion),
        cmocka_unit_test(ten_megabytes_in_one_word),
        cmocka_unit_test(many_added_tokens_open_in_proportion),
        cmocka_unit_test(expressions_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
