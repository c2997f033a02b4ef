#define _GNU_SOURCE /* memmem */

#include "tokenizer/text.h"

#include <string.h>
#include <utf8proc.h>

size_t fc_text_decode(const char *p, size_t size, uint32_t *cp, size_t *bad) {
    const unsigned char *b = (const unsigned char *)p;
    unsigned char low = 0x80, high = 0xBF; /* allowed range of the second byte: no overlong forms, no surrogates */
    size_t need, i;
    uint32_t v;
    *bad = 1;
    if (b[0] < 0x80) {
        *cp = b[0];
        return 1;
    }
    if (b[0] >= 0xC2 && b[0] <= 0xDF) {
        need = 2;
        v = b[0] & 0x1Fu;
    } else if (b[0] >= 0xE0 && b[0] <= 0xEF) {
        need = 3;
        v = b[0] & 0x0Fu;
        if (b[0] == 0xE0) low = 0xA0;
        if (b[0] == 0xED) high = 0x9F;
    } else if (b[0] >= 0xF0 && b[0] <= 0xF4) {
        need = 4;
        v = b[0] & 0x07u;
        if (b[0] == 0xF0) low = 0x90;
        if (b[0] == 0xF4) high = 0x8F;
    } else {
        return 0;
    }
    for (i = 1; i < need; i++) {
        if (i >= size || b[i] < low || b[i] > high) {
            *bad = i;
            return 0;
        }
        v = (v << 6) | (b[i] & 0x3Fu);
        low = 0x80;
        high = 0xBF;
    }
    *cp = v;
    return need;
}

size_t fc_text_next(const char *p, uint32_t *cp) {
    const unsigned char *b = (const unsigned char *)p;
    if (b[0] < 0x80) {
        *cp = b[0];
        return 1;
    }
    if (b[0] < 0xE0) {
        *cp = ((b[0] & 0x1Fu) << 6) | (b[1] & 0x3Fu);
        return 2;
    }
    if (b[0] < 0xF0) {
        *cp = ((b[0] & 0x0Fu) << 12) | ((b[1] & 0x3Fu) << 6) | (b[2] & 0x3Fu);
        return 3;
    }
    *cp = ((b[0] & 0x07u) << 18) | ((b[1] & 0x3Fu) << 12) | ((b[2] & 0x3Fu) << 6) | (b[3] & 0x3Fu);
    return 4;
}

size_t fc_text_prev(const char *p, size_t at) {
    do at--;
    while (at > 0 && ((unsigned char)p[at] & 0xC0) == 0x80);
    return at;
}

size_t fc_text_write(uint32_t cp, char out[4]) {
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)cp, (utf8proc_uint8_t *)out);
}

fc_status fc_text_put(fc_str *s, uint32_t cp) {
    char out[4];
    size_t n = fc_text_write(cp, out);
    return fc_str_put(s, out, n);
}

bool fc_text_is_white(uint32_t cp) {
    if (cp < 0x80) return cp == ' ' || (cp >= 9 && cp <= 13);
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 ||
           cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

bool fc_text_is_numeric(uint32_t cp) {
    utf8proc_category_t c;
    if (cp < 0x80) return cp >= '0' && cp <= '9';
    c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

bool fc_text_is_word(uint32_t cp) {
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: break;
    }
    /* Other_Alphabetic outside the letter and mark categories: circled and squared letters; and the two joiners */
    return (cp >= 0x24B6 && cp <= 0x24E9) || (cp >= 0x1F130 && cp <= 0x1F149) || (cp >= 0x1F150 && cp <= 0x1F169) ||
           (cp >= 0x1F170 && cp <= 0x1F189) || cp == 0x200C || cp == 0x200D;
}

uint32_t fc_text_byte_rune(unsigned char b) {
    if (b < 33) return 256u + b;
    if (b >= 127 && b <= 160) return 162u + b; /* 289 onwards */
    if (b == 173) return 323;
    return b;
}

int fc_text_rune_byte(uint32_t cp) {
    if (cp < 33 || cp > 323) return -1;
    if (cp >= 289) return cp == 323 ? 173 : (int)cp - 162;
    if (cp >= 256) return (int)cp - 256;
    return (cp >= 127 && cp <= 160) || cp == 173 ? -1 : (int)cp;
}

static int hex(char c, bool strict) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (!strict && c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

int fc_text_byte_piece(const char *text, size_t size, bool strict) {
    int high, low;
    if (size != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    high = hex(text[3], strict);
    low = hex(text[4], strict);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

size_t fc_text_count(const char *text, size_t size, const char *what, size_t what_size) {
    size_t n = 0;
    while (size >= what_size) {
        const char *hit = memmem(text, size, what, what_size);
        if (!hit) break;
        n++;
        size -= (size_t)(hit - text) + what_size;
        text = hit + what_size;
    }
    return n;
}
