#define _GNU_SOURCE
#include "engine/base/str.h"

#include "engine/base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

void fc_str_fini(fc_str *s) {
    fc_free(s->data);
    *s = (fc_str){0};
}

void fc_str_clear(fc_str *s) {
    s->size = 0;
    if (s->data) s->data[0] = '\0';
}

/* Room for size more bytes and the NUL. */
static fc_status reserve(fc_str *s, size_t size) {
    size_t want;
    void *p = s->data;
    if (!fc_add(s->size, size, &want) || !fc_add(want, 1, &want))
        return FC_FAIL(FC_ERR_MEM, "text: %zu + %zu bytes are too many", s->size, size);
    FC_TRY(fc_grow(&p, &s->cap, want, 1, "text"));
    s->data = p;
    return FC_OK;
}

fc_status fc_str_put(fc_str *s, const char *text, size_t size) {
    FC_TRY(reserve(s, size));
    if (size) memcpy(s->data + s->size, text, size);
    s->size += size;
    s->data[s->size] = '\0';
    return FC_OK;
}

fc_status fc_str_puts(fc_str *s, const char *text) { return fc_str_put(s, text, strlen(text)); }

fc_status fc_str_printf(fc_str *s, const char *fmt, ...) {
    va_list ap;
    int n;
    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) return FC_FAIL(FC_ERR_INTERNAL, "text: the format \"%s\" cannot be printed", fmt);
    FC_TRY(reserve(s, (size_t)n));
    va_start(ap, fmt);
    vsnprintf(s->data + s->size, (size_t)n + 1, fmt, ap);
    va_end(ap);
    s->size += (size_t)n;
    return FC_OK;
}

bool fc_ends_with(const char *text, const char *end) {
    size_t n = strlen(text), k = strlen(end);
    return n >= k && memcmp(text + n - k, end, k) == 0;
}

fc_status fc_str_put_base64(fc_str *s, const char *text) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t held = 0;
    int bits = 0;
    size_t size = strlen(text);
    while (size > 0 && text[size - 1] == '=') size--;
    FC_TRY(reserve(s, size / 4 * 3 + 3));
    for (size_t i = 0; i < size; i++) {
        const char *d = strchr(digits, text[i]);
        if (!d) return FC_FAIL(FC_ERR_FORMAT, "character %zu is not base64", i);
        held = held << 6 | (uint32_t)(d - digits);
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        s->data[s->size++] = (char)(held >> bits & 0xff);
    }
    s->data[s->size] = '\0';
    return FC_OK;
}

const char *fc_str_text(const fc_str *s) { return s->data ? s->data : ""; }

enum { BAD = 0, CUT = -1 };

/* The sequence at p[0..n), n >= 1: its length, BAD, or CUT when all n bytes begin a valid one that goes on. The second
 * byte's range excludes overlong forms, surrogates and what lies above U+10FFFF (Unicode, table 3-7). */
static int sequence(const unsigned char *p, size_t n) {
    unsigned lead = p[0], low = 0x80, high = 0xBF;
    int length;
    if (lead < 0x80) return 1;
    if (lead < 0xC2 || lead > 0xF4) return BAD;
    length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
    for (int i = 1; i < length; i++) {
        if ((size_t)i == n) return CUT;
        if (p[i] < low || p[i] > high) return BAD;
        low = 0x80;
        high = 0xBF;
    }
    return length;
}

size_t fc_utf8_complete(const char *text, size_t size) {
    const unsigned char *p = (const unsigned char *)text;
    for (size_t back = 1; back <= 3 && back <= size; back++) {
        if (p[size - back] < 0x80) break;
        if (p[size - back] >= 0xC0) return sequence(p + size - back, back) == CUT ? size - back : size;
    }
    return size;
}

bool fc_utf8_valid(const char *text, size_t size, size_t *at) {
    const unsigned char *p = (const unsigned char *)text;
    for (size_t i = 0; i < size;) {
        int length;
        unsigned long long eight; /* most text is ASCII */
        if (size - i >= sizeof eight) {
            memcpy(&eight, p + i, sizeof eight);
            if (!(eight & 0x8080808080808080u)) {
                i += sizeof eight;
                continue;
            }
        }
        length = sequence(p + i, size - i);
        if (length <= 0) {
            *at = i;
            return false;
        }
        i += (size_t)length;
    }
    return true;
}
