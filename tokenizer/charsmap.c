/* SentencePiece's compiled normalisation rules ("Precompiled"): a double-array tree of texts, and what they become.
 *
 * layout  u32 bytes of the tree, the tree as u32 units, replacement texts, each with a NUL behind; little endian
 */
#include "tokenizer/parts.h"
#include "tokenizer/text.h"

#include <string.h>
#include <utf8proc.h>

/* Clusters of fewer bytes than this are looked up as a whole, and the first, shortest rule that matches their beginning
 * replaces all of them; longer ones go character by character. That is what `tokenizers` does. */
enum { CLUSTER_BYTES = 6 };

static uint32_t word_at(const char *map, size_t i) {
    const unsigned char *b = (const unsigned char *)map + 4 * i;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

fc_status fc_charsmap_check(const char *name, const char *map, size_t size) {
    size_t tree, bad;
    if (size < 4) return FC_FAIL(FC_ERR_FORMAT, "%s: precompiled_charsmap has %zu bytes", name, size);
    tree = word_at(map, 0);
    if (tree % 4 != 0 || tree == 0 || tree > size - 4)
        return FC_FAIL(FC_ERR_FORMAT, "%s: precompiled_charsmap says %zu bytes of tree in %zu", name, tree, size);
    if (!fc_utf8_valid(map + 4 + tree, size - 4 - tree, &bad))
        return FC_FAIL(FC_ERR_FORMAT, "%s: precompiled_charsmap: byte %zu of its texts is not UTF-8", name, bad);
    return FC_OK;
}

/* A rule for a beginning of key[n]: the length of that beginning, 0 when there is none, and where the rule has its
 * text. The longest such rule, or the shortest. */
static size_t look_up(const char *map, const char *key, size_t n, bool longest, uint32_t *value) {
    size_t units = word_at(map, 0) / 4, node = 0, found = 0;
    uint32_t unit = word_at(map, 1);
    node ^= (size_t)(unit >> 10) << ((unit & (1u << 9)) >> 6);
    for (size_t i = 0; i < n && key[i] != 0; i++) {
        node ^= (unsigned char)key[i];
        if (node >= units) break;
        unit = word_at(map, node + 1);
        if ((unit & 0x800000FFu) != (unsigned char)key[i]) break;
        node ^= (size_t)(unit >> 10) << ((unit & (1u << 9)) >> 6);
        if (!((unit >> 8) & 1)) continue;
        if (node >= units) break;
        *value = word_at(map, node + 1) & 0x7FFFFFFFu;
        found = i + 1;
        if (!longest) break;
    }
    return found;
}

/* The rule's text, appended; *used, how much of the key it is for, is 0 without a rule, or with one that points
 * nowhere. */
static fc_status transform(const char *map, size_t map_size, const char *key, size_t n, bool longest, fc_str *out,
                           size_t *used) {
    size_t texts = 4 + (size_t)word_at(map, 0);
    uint32_t value = 0, cp;
    const char *text, *end;
    *used = look_up(map, key, n, longest, &value);
    if (*used == 0) return FC_OK;
    if (value >= map_size - texts || ((unsigned char)map[texts + value] & 0xC0) == 0x80) {
        *used = 0;
        return FC_OK;
    }
    for (size_t whole = 0; longest && whole < *used;) { /* a rule that ends inside a character would leave half of it */
        whole += fc_text_next(key + whole, &cp);
        if (whole > *used) *used = whole;
    }
    text = map + texts + value;
    end = memchr(text, 0, map_size - texts - value);
    return fc_str_put(out, text, end ? (size_t)(end - text) : map_size - texts - value);
}

static size_t cluster_end(const char *text, size_t size, size_t from) {
    utf8proc_int32_t state = 0;
    uint32_t cp, next;
    size_t end = from + fc_text_next(text + from, &cp);
    for (; end < size; cp = next) {
        size_t n = fc_text_next(text + end, &next);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)cp, (utf8proc_int32_t)next, &state)) break;
        end += n;
    }
    return end;
}

/* As SentencePiece itself: the longest rule at each place, else one character as it is. */
static fc_status apply_longest(const char *map, size_t map_size, const char *text, size_t size, fc_str *out) {
    for (size_t i = 0, used; i < size; i += used) {
        uint32_t cp;
        FC_TRY(transform(map, map_size, text + i, size - i, true, out, &used));
        if (used > 0) continue;
        used = fc_text_next(text + i, &cp);
        FC_TRY(fc_str_put(out, text + i, used));
    }
    return FC_OK;
}

fc_status fc_charsmap_apply(const char *map, size_t map_size, bool longest, const char *text, size_t size, fc_str *out,
                            bool *moved) {
    if (longest) return apply_longest(map, map_size, text, size, out);
    for (size_t i = 0; i < size;) {
        size_t end = cluster_end(text, size, i), was = out->size, first = i, used = 0;
        if (end - i < CLUSTER_BYTES) FC_TRY(transform(map, map_size, text + i, end - i, false, out, &used));
        for (size_t n; used == 0 && i < end; i += n) {
            uint32_t cp;
            size_t known;
            n = fc_text_next(text + i, &cp);
            FC_TRY(transform(map, map_size, text + i, n, false, out, &known));
            if (known == 0) FC_TRY(fc_str_put(out, text + i, n));
        }
        if (first == 0 && out->size == was) *moved = true;
        i = end;
    }
    return FC_OK;
}
