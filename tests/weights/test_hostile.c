/* Model files that somebody broke, by accident or on purpose: each opens or is refused with a sentence that names the
 * file, and none reads outside it, hangs or takes memory that the file does not pay for. Best under ASan and UBSan: the
 * bytes lie in memory of exactly the file's size.
 */
#include "tests/util.h"

#include "engine/base/mem.h"
#include "tests/weights/util_gguf.h"
#include "tests/weights/util_st.h"
#include "weights_tools/config_read.h"
#include "weights_tools/safetensors.h"
#include "weights_tools/weights.h"

#include <time.h>

static volatile unsigned sink; /* keeps the reads of touch() alive */

static void touch(const void *data, size_t n) {
    const unsigned char *p = data;
    unsigned sum = 0;
    for (size_t i = 0; i < n; i++) sum += p[i];
    sink += sum;
}

static void touch_array(const fc_gguf *g, const fc_gguf_meta *m) {
    void *p = NULL;
    fc_status st;
    assert_ok(fc_alloc(m->value.count, 16, "elements", &p));
    if (m->value.elem == FC_META_STRING) {
        assert_ok(fc_gguf_strings(g, m->key, p, m->value.count));
        for (size_t i = 0; i < m->value.count; i++) touch(((fc_view_str *)p)[i].text, ((fc_view_str *)p)[i].size);
    } else if (m->value.elem == FC_META_FLOAT) {
        st = fc_gguf_floats(g, m->key, p, m->value.count);
        assert_true(st == FC_OK || st == FC_ERR_FORMAT);
    } else {
        st = fc_gguf_ints(g, m->key, p, m->value.count);
        assert_true(st == FC_OK || st == FC_ERR_FORMAT);
    }
    fc_free(p);
}

/* The only ways out. A table too large for the file would show as FC_ERR_MEM. */
static void check_status(fc_status st, const char *name, const char *how, size_t at) {
    if (st == FC_OK) return;
    if ((st != FC_ERR_FORMAT && st != FC_ERR_UNSUPPORTED) || !strstr(fc_status_text(), name))
        fail_msg("%s at %zu: %s: %s", how, at, fc_status_name(st), fc_status_text());
}

/* Parses a copy of exactly n bytes and reads all that the parse vouches for. */
static fc_status try_gguf(const char *bytes, size_t n, const char *how, size_t at) {
    fc_gguf g;
    fc_model_config c;
    unsigned char *copy = malloc(n ? n : 1);
    fc_status st;
    assert_non_null(copy);
    if (n) memcpy(copy, bytes, n);
    st = fc_gguf_parse("made.gguf", copy, n, &g);
    check_status(st, "made.gguf", how, at);
    if (!st) {
        for (size_t i = 0; i < g.n_tensors; i++) touch(g.tensors[i].data, g.tensors[i].bytes);
        for (size_t i = 0; i < g.n_meta; i++) {
            if (g.meta[i].value.kind == FC_META_STRING) touch(g.meta[i].value.s.text, g.meta[i].value.s.size);
            if (g.meta[i].value.kind == FC_META_ARRAY) touch_array(&g, &g.meta[i]);
        }
        st = fc_config_gguf(&g, &c);
        check_status(st, "made.gguf", how, at);
        fc_gguf_fini(&g);
    }
    free(copy);
    return st;
}

/* The same through the whole door, from a file. */
static fc_status try_file(const char *bytes, size_t n, const char *file, const char *open_as, const char *how,
                          size_t at) {
    fc_weights *w = NULL;
    fc_status st;
    gg_write(gg_path(file), bytes, n);
    st = fc_weights_open(gg_path(open_as), &w);
    check_status(st, gg_folder(), how, at);
    if (!st) sink += (unsigned)fc_weights_fingerprint(w);
    fc_weights_close(st ? NULL : w);
    return st;
}

typedef struct {
    gg_file g;
    fc_str bytes;
    size_t header; /* bytes before the data */
} subject;

static void subject_init(subject *s) {
    memset(s, 0, sizeof *s);
    gg_init(&s->g);
    gg_model(&s->g, "llama", 1);
    gg_finish(&s->g, &s->bytes);
    s->header = s->bytes.size - s->g.data.size;
}

static void subject_fini(subject *s) {
    fc_str_fini(&s->bytes);
    gg_fini(&s->g);
}

static void truncated_gguf(void **state) {
    subject s;
    size_t refused = 0;
    (void)state;
    subject_init(&s);
    assert_ok(try_gguf(s.bytes.data, s.bytes.size, "whole", 0));
    for (size_t n = 0; n < s.bytes.size; n += n < s.header ? 1 : 97) {
        if (try_gguf(s.bytes.data, n, "cut", n) == FC_OK)
            fail_msg("a file cut at %zu of %zu bytes opens", n, s.bytes.size);
        refused++;
    }
    for (size_t n = 1; n < s.bytes.size; n += n < s.header ? 41 : 997)
        assert_int_not_equal(try_file(s.bytes.data, n, "m.gguf", "m.gguf", "cut", n), FC_OK);
    assert_true(refused > s.header);
    subject_fini(&s);
}

static void every_flipped_bit_of_a_gguf_header(void **state) {
    subject s;
    size_t opened = 0, refused = 0;
    (void)state;
    subject_init(&s);
    for (size_t bit = 0; bit < s.header * 8; bit++) {
        fc_status st;
        s.bytes.data[bit / 8] ^= (char)(1 << (bit % 8));
        st = try_gguf(s.bytes.data, s.bytes.size, "flip of bit", bit);
        if (bit % 37 == 0) try_file(s.bytes.data, s.bytes.size, "m.gguf", "m.gguf", "flip of bit", bit);
        s.bytes.data[bit / 8] ^= (char)(1 << (bit % 8));
        if (st) refused++;
        else opened++;
    }
    print_message("%zu bits of a header of %zu bytes: %zu opened, %zu refused\n", s.header * 8, s.header, opened,
                  refused);
    assert_true(opened > 0 && refused > opened / 4); /* texts may change freely, numbers may not */
    subject_fini(&s);
}

/* Numbers that break careless arithmetic, written over random places of the header. */
static void seeded_numbers_in_a_gguf_header(void **state) {
    static const uint64_t nasty[] = {0,
                                     1,
                                     8,
                                     9,
                                     0x7f,
                                     0xff,
                                     0x7fffffff,
                                     0x80000000u,
                                     0xffffffffu,
                                     0x100000000u,
                                     0x1fffffffffffffffu,
                                     0x3fffffffffffffffu,
                                     0x4000000000000001u,
                                     0x7fffffffffffffffu,
                                     0x8000000000000000u,
                                     0xffffffffffffffe0u,
                                     0xfffffffffffffff8u,
                                     0xffffffffffffffffu};
    subject s;
    uint64_t seed = 20240607;
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    subject_init(&s);
    for (int i = 0; i < 6000; i++) {
        char kept[8];
        size_t n = test_below(&seed, 2) ? 8 : 4, at = (size_t)test_below(&seed, (int)(s.header - n));
        uint64_t v = nasty[test_below(&seed, sizeof nasty / sizeof nasty[0])];
        memcpy(kept, s.bytes.data + at, n);
        memcpy(s.bytes.data + at, &v, n);
        try_gguf(s.bytes.data, s.bytes.size, "number", at);
        memcpy(s.bytes.data + at, kept, n);
    }
    subject_fini(&s);
}

/* What g makes must be refused with these words, at once and without memory for what it claims. */
static void refused(const gg_file *g, const char *words) {
    fc_str bytes = {0};
    fc_gguf out;
    unsigned char *copy;
    clock_t start = clock();
    gg_finish(g, &bytes);
    copy = malloc(bytes.size);
    assert_non_null(copy);
    memcpy(copy, bytes.data, bytes.size);
    assert_fails(fc_gguf_parse("made.gguf", copy, bytes.size, &out), FC_ERR_FORMAT, words);
    assert_non_null(strstr(fc_status_text(), "made.gguf"));
    assert_true(clock() - start < CLOCKS_PER_SEC); /* of this process: other work on the machine does not count */
    free(copy);
    fc_str_fini(&bytes);
}

static void refused_entry(uint32_t n_dims, uint64_t d0, uint64_t d1, uint64_t d2, uint32_t type, uint64_t offset,
                          const char *words) {
    gg_file g;
    const uint64_t dims[] = {d0, d1, d2, 1, 1, 1, 1, 1};
    gg_init(&g);
    gg_tensor(&g, "first", 0, 64); /* 256 bytes of data */
    gg_entry(&g, "evil.weight", n_dims < 8 ? n_dims : 8, dims, type, offset);
    if (n_dims > 8) memcpy(gg_at(&g.infos, "evil.weight") + 11, &n_dims, 4);
    refused(&g, words);
    if (!strstr(fc_status_text(), "evil.weight")) fail_msg("no tensor in: %s", fc_status_text());
    gg_fini(&g);
}

static void crafted_tensor_entries(void **state) {
    (void)state;
    refused_entry(1, 0, 0, 0, 0, 0, "dimension 0 is 0");
    refused_entry(2, 32, 0, 0, 0, 0, "dimension 1 is 0");
    refused_entry(0, 0, 0, 0, 0, 0, "0 dimensions");
    refused_entry(5, 1, 1, 1, 0, 0, "5 dimensions");
    refused_entry(0xffffffffu, 1, 1, 1, 0, 0, "4294967295 dimensions");
    refused_entry(1, 1ull << 63, 0, 0, 0, 0, "dimension 0 is 9223372036854775808");
    /* products that wrap to something small */
    refused_entry(1, (1ull << 62) + 2, 0, 0, 0, 0, "address space");
    refused_entry(2, 1ull << 32, 1ull << 32, 0, 0, 0, "address space");
    refused_entry(3, 2, 1ull << 32, 1ull << 32, 0, 0, "address space");
    refused_entry(2, 4, (1ull << 60) + 1, 0, 0, 0, "address space");
    refused_entry(3, 2, 7, 7905747460161236407u, 0, 0, "address space"); /* 7 times this is 1 modulo 2^64 */
    refused_entry(2, 32, (1ull << 59) + 1, 0, 8, 0, "");
    /* rows that are no whole blocks */
    refused_entry(2, 33, 1, 0, 8, 0, "no multiple of its block of 32");
    refused_entry(2, 128, 1, 0, 12, 0, "no multiple of its block of 256");
    /* places */
    refused_entry(1, 8, 0, 0, 0, 256, "end behind the file");
    refused_entry(1, 65, 0, 0, 0, 0, "end behind the file");
    refused_entry(2, 1ull << 60, 2, 0, 0, 1ull << 63, "end behind the file"); /* place + size is 0 modulo 2^64 */
    refused_entry(1, 8, 0, 0, 0, 1ull << 40, "end behind the file");
    refused_entry(1, 8, 0, 0, 0, 0xffffffffffffffe0u, "end behind the file");
    refused_entry(1, 8, 0, 0, 0, 0x7fffffffffffffe0u, "end behind the file");
    refused_entry(1, 8, 0, 0, 0, 4, "no multiple of the alignment");
    refused_entry(1, 8, 0, 0, 0, 0, "overlap");
    refused_entry(1, 8, 0, 0, 0, 224, "overlap");
}

/* Counts are held against the bytes that are there before a table is made, and against a limit. */
static void crafted_counts(void **state) {
    static const uint64_t counts[] = {3, 1000, 65537, 1u << 20, 1ull << 32, 1ull << 60, UINT64_MAX / 33, UINT64_MAX};
    gg_file g;
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const bool many = counts[i] > 65536;
        char words[64];
        gg_init(&g);
        gg_u32(&g, "a", 1);
        g.n_meta = counts[i];
        snprintf(words, sizeof words,
                 many ? "%llu metadata keys; the limit is 65536" : "too short: %llu metadata keys in",
                 (unsigned long long)counts[i]);
        refused(&g, words);
        g.n_meta = 1;
        g.n_tensors = counts[i];
        snprintf(words, sizeof words, many ? "%llu tensors; the limit is 65536" : "too short: %llu tensors in",
                 (unsigned long long)counts[i]);
        refused(&g, words);
        gg_fini(&g);
    }
    gg_init(&g);
    for (int i = 0; i < 65537; i++) {
        char name[16];
        const uint64_t dim = 1;
        snprintf(name, sizeof name, "t%d", i);
        gg_entry(&g, name, 1, &dim, 24, (uint64_t)i * 32);
    }
    refused(&g, "65537 tensors");
    gg_fini(&g);
    gg_init(&g);
    for (int i = 0; i < 65537; i++) {
        char name[16];
        snprintf(name, sizeof name, "k%d", i);
        gg_bool(&g, name, true);
    }
    refused(&g, "65537 metadata keys");
    gg_fini(&g);
}

/* One metadata value whose own numbers are wrong; tail is what follows the type number. */
static void refused_value(uint32_t type, const void *tail, size_t n, const char *words) {
    gg_file g;
    gg_init(&g);
    gg_raw(&g, "some.key", type, tail, n);
    refused(&g, words);
    gg_fini(&g);
}

static void refused_array(uint32_t elem, uint64_t count, const char *words) {
    unsigned char tail[12 + 64] = {0};
    memcpy(tail, &elem, 4);
    memcpy(tail + 4, &count, 8);
    refused_value(GG_ARRAY, tail, sizeof tail, words);
}

static void crafted_metadata(void **state) {
    static const uint64_t lengths[] = {200, 1000, 1ull << 31, 1ull << 32, 1ull << 63, UINT64_MAX - 7, UINT64_MAX};
    unsigned char tail[8 + 64] = {0};
    gg_file g;
    char long_key[400];
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        memcpy(tail, &lengths[i], 8);
        refused_value(GG_STRING, tail, sizeof tail, "some.key needs");
        refused_array(GG_STRING, lengths[i], "strings in");
        refused_array(GG_U8, lengths[i], "some.key");
        refused_array(GG_F64, lengths[i], "some.key");
    }
    refused_array(GG_U64, (1ull << 61) + 1, "some.key"); /* 8 times this wraps to 8 */
    refused_array(13, 1, "element type 13");
    refused_array(0xffffffffu, 1, "element type 4294967295");
    refused_value(13, tail, 8, "value type 13");
    refused_value(GG_BOOL, "\2", 1, "bool of value 2");
    memset(tail, 0, sizeof tail);
    memcpy(tail, "\7\0\0\0\1\0\0\0\0\0\0\0\2", 13);
    refused_value(GG_ARRAY, tail, 13, "element 0 is a bool of value 2");
    gg_init(&g);
    memset(long_key, 'k', sizeof long_key);
    long_key[399] = '\0';
    gg_u32(&g, long_key, 1);
    refused(&g, "399 bytes; 1 to 255");
    gg_fini(&g);
    gg_init(&g);
    gg_u32(&g, "", 1);
    refused(&g, "0 bytes; 1 to 255");
    gg_fini(&g);
    gg_init(&g);
    gg_u32(&g, "a\nb", 1);
    refused(&g, "byte 0x0a");
    gg_fini(&g);
    for (uint32_t a = 0; a < 8; a++) { /* sizes that are no power of two, or absurd */
        static const uint32_t wrong[] = {0, 1, 4, 24, 33, 1u << 21, 1u << 31, 0xffffffffu};
        gg_init(&g);
        gg_u32(&g, "general.alignment", wrong[a]);
        gg_tensor(&g, "t", 0, 8);
        refused(&g, "general.alignment");
        gg_fini(&g);
    }
    gg_init(&g);
    gg_str(&g, "general.alignment", "32");
    refused(&g, "general.alignment");
    gg_fini(&g);
}

/* Nested arrays could be made as deep as the file is long. */
static void nested_arrays_do_not_recurse(void **state) {
    gg_file g;
    fc_str bytes = {0};
    fc_gguf out;
    (void)state;
    gg_init(&g);
    gg_raw(&g, "deep", GG_ARRAY, "", 0);
    for (int i = 0; i < 100000; i++) {
        gg_put_u32(&g.meta, GG_ARRAY);
        gg_put_u64(&g.meta, 1);
    }
    gg_finish(&g, &bytes);
    assert_fails(fc_gguf_parse("made.gguf", (const unsigned char *)bytes.data, bytes.size, &out), FC_ERR_UNSUPPORTED,
                 "array of arrays");
    fc_str_fini(&bytes);
    gg_fini(&g);
}

/* ---- safetensors ---- */

static void broken_safetensors(void **state) {
    st_file f = {.seed = 3};
    fc_str bytes = {0};
    size_t header, opened = 0, refused_n = 0, config = strlen(st_llama_config);
    char text[512];
    (void)state;
    st_llama(&f, "BF16", 0);
    st_finish(&f, 8, &bytes);
    header = bytes.size - f.data.size;
    gg_write(gg_path("config.json"), st_llama_config, config);
    assert_ok(try_file(bytes.data, bytes.size, "m.safetensors", "m.safetensors", "whole", 0));
    for (size_t n = 1; n < bytes.size; n += n < header ? 1 : 499)
        if (try_file(bytes.data, n, "m.safetensors", "m.safetensors", "cut", n) == FC_OK)
            fail_msg("cut at %zu opens", n);
    for (size_t bit = 0; bit < header * 8; bit++) {
        fc_status st;
        if (bit >= 64 && bit % 3) continue; /* every third of the JSON's */
        bytes.data[bit / 8] ^= (char)(1 << (bit % 8));
        st = try_file(bytes.data, bytes.size, "m.safetensors", "m.safetensors", "flip of bit", bit);
        bytes.data[bit / 8] ^= (char)(1 << (bit % 8));
        if (st) refused_n++;
        else opened++;
    }
    print_message("safetensors header of %zu bytes: %zu opened, %zu refused\n", header, opened, refused_n);
    assert_true(opened > 0 && refused_n > opened);
    gg_write(gg_path("m.safetensors"), bytes.data, bytes.size);
    memcpy(text, st_llama_config, config);
    for (size_t n = 0; n < config; n++)
        assert_int_not_equal(try_file(text, n, "config.json", "m.safetensors", "config cut", n), FC_OK);
    for (size_t bit = 0; bit < config * 8; bit++) {
        text[bit / 8] ^= (char)(1 << (bit % 8));
        try_file(text, config, "config.json", "m.safetensors", "config flip of bit", bit);
        text[bit / 8] ^= (char)(1 << (bit % 8));
    }
    fc_str_fini(&bytes);
    st_fini(&f);
}

/* JSON that is deep, long or full of one key. */
static void hostile_headers(void **state) {
    fc_str s = {0};
    char number[32];
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        fc_str json = {0};
        gg_put(&json, "{\"t\":", 5);
        for (int i = 0; i < 200000; i++) {
            if (kind == 0) gg_put(&json, "[", 1);
            if (kind == 1) gg_put(&json, i ? ",0" : "[0", 2);
            if (kind == 2) gg_put(&json, i ? ",\"k\":0" : "{\"k\":0", 6);
        }
        if (kind == 1) gg_put(&json, "]}", 2);
        if (kind == 2) gg_put(&json, "}}", 2);
        fc_str_clear(&s);
        gg_put_u64(&s, json.size);
        gg_put(&s, json.data, json.size);
        snprintf(number, sizeof number, "kind %d", kind);
        assert_int_not_equal(try_file(s.data, s.size, "deep.safetensors", "deep.safetensors", number, 0), FC_OK);
        fc_str_fini(&json);
    }
    fc_str_fini(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(truncated_gguf),
        cmocka_unit_test(every_flipped_bit_of_a_gguf_header),
        cmocka_unit_test(seeded_numbers_in_a_gguf_header),
        cmocka_unit_test(crafted_tensor_entries),
        cmocka_unit_test(crafted_counts),
        cmocka_unit_test(crafted_metadata),
        cmocka_unit_test(nested_arrays_do_not_recurse),
        cmocka_unit_test(broken_safetensors),
        cmocka_unit_test(hostile_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
