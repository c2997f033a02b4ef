#include "engine/app/http/head.h"

#include <stdint.h>
#include <string.h>

static bool alpha(unsigned char c) { return (c | 32u) >= 'a' && (c | 32u) <= 'z'; }
static bool digit(unsigned char c) { return c >= '0' && c <= '9'; }
static bool hex(unsigned char c) { return digit(c) || ((c | 32u) >= 'a' && (c | 32u) <= 'f'); }
static bool token(unsigned char c) { return alpha(c) || digit(c) || (c && strchr("!#$%&'*+-.^_`|~", c)); }
static unsigned char lower(unsigned char c) { return c >= 'A' && c <= 'Z' ? (unsigned char)(c | 32u) : c; }

static size_t span(const char *p, size_t size, bool (*of)(unsigned char)) {
    size_t n = 0;
    while (n < size && of((unsigned char)p[n])) n++;
    return n;
}

bool http_is_token(const char *text, size_t size) { return size > 0 && span(text, size, token) == size; }

bool http_same(const char *a, size_t size, const char *b) {
    if (strlen(b) != size) return false;
    for (size_t i = 0; i < size; i++)
        if (lower((unsigned char)a[i]) != lower((unsigned char)b[i])) return false;
    return true;
}

const char *http_line_bytes(const char *p, size_t size, bool ascii, bool *cr) {
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)p[i];
        if (*cr != (c == '\n')) return *cr ? "a CR stands alone" : "a line ends in LF alone";
        *cr = c == '\r';
        if (c == '\r' || c == '\n') continue;
        if (c == 0x7f || (c < 0x20 && (c != '\t' || ascii))) return "a control character in the head";
        if (c > 0x7f && ascii) return "the request line is not ASCII";
    }
    return NULL;
}

const char *http_request_line(const char *line, size_t size, int *status) {
    const char *sp = memchr(line, ' ', size), *end = line + size, *version;
    *status = 400;
    if (!sp || !http_is_token(line, (size_t)(sp - line))) return "the request line does not begin with a method";
    version = memchr(sp + 1, ' ', (size_t)(end - sp - 1));
    if (!version || version == sp + 1) return "the request line is not \"METHOD target HTTP/1.1\"";
    version++;
    if (end - version != 8 || memcmp(version, "HTTP/", 5) || !digit((unsigned char)version[5]) || version[6] != '.' ||
        !digit((unsigned char)version[7]))
        return "the request line does not end in an HTTP version";
    if (version[5] == '1' && (version[7] == '0' || version[7] == '1')) return NULL;
    *status = 505;
    return "HTTP/1.1 and HTTP/1.0 are spoken here";
}

const char *http_field_line(const char *line, size_t size) {
    size_t n = span(line, size, token);
    if (size && (*line == ' ' || *line == '\t')) return "a header line is folded";
    if (n == 0) return "a header has no name";
    if (n == size || line[n] != ':') return "a header's name is not followed by a colon";
    return NULL;
}

/* "quoted text" at p; its length, 0 where it does not end. */
static size_t quoted(const char *p, size_t size) {
    for (size_t i = 1; i < size; i++) {
        if (p[i] == '"') return i + 1;
        if (p[i] == '\\') i++;
    }
    return 0;
}

const char *http_chunk_line(const char *line, size_t size, bool *last) {
    static const char bad[] = "a chunk's extension is malformed";
    size_t n = span(line, size, hex);
    if (n == 0 || n > 15) return "a chunk's size is not a hexadecimal number";
    *last = true;
    for (size_t i = 0; i < n; i++)
        if (line[i] != '0') *last = false;
    while (n < size) {
        size_t k;
        if (line[n] != ';') return bad;
        n++;
        k = span(line + n, size - n, token);
        if (k == 0) return bad;
        n += k;
        if (n == size || line[n] != '=') continue;
        n++;
        k = n < size && line[n] == '"' ? quoted(line + n, size - n) : span(line + n, size - n, token);
        if (k == 0) return bad;
        n += k;
    }
    return NULL;
}

const char *http_target(const char *target, size_t size) {
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)target[i];
        if (c <= 0x20 || c >= 0x7f || strchr("\"<>\\#", c)) return "the target holds a character that no URL has";
        if (c != '%') continue;
        if (size - i < 3 || !hex((unsigned char)target[i + 1]) || !hex((unsigned char)target[i + 2]))
            return "the target holds a broken percent escape";
        if (target[i + 1] == '0' && target[i + 2] == '0') return "the target holds a NUL";
    }
    return NULL;
}

/* Length of the host without its port; size where there is none. */
static size_t without_port(const char *host, size_t size) {
    size_t n = size;
    while (n > 0 && digit((unsigned char)host[n - 1])) n--;
    return n > 0 && host[n - 1] == ':' ? n - 1 : size;
}

static bool name_char(unsigned char c) { return alpha(c) || digit(c) || c == '-' || c == '.' || c == '_'; }
static bool ipv6_char(unsigned char c) { return hex(c) || c == ':' || c == '.'; }

bool http_host_valid(const char *host, size_t size) {
    size_t n;
    unsigned port = 0;
    if (size == 0 || size > 255 + 6) return false;
    n = without_port(host, size);
    if (n < size) {
        if (size - n < 2 || size - n > 6) return false; /* ":" and 1 to 5 digits */
        for (size_t i = n + 1; i < size; i++) port = port * 10 + (unsigned)(host[i] - '0');
        if (port > 65535) return false;
    }
    if (n >= 2 && host[0] == '[') return host[n - 1] == ']' && n > 3 && span(host + 1, n - 2, ipv6_char) == n - 2;
    return n > 0 && host[0] != '.' && span(host, n, name_char) == n;
}

bool http_origin_valid(const char *text) {
    const char *host = strstr(text, "://");
    const size_t scheme = host ? (size_t)(host - text) : 0;
    for (const char *p = text; *p; p++)
        if (*p >= 'A' && *p <= 'Z') return false;
    if (!scheme || !alpha((unsigned char)text[0]) || !http_is_token(text, scheme)) return false;
    return http_host_valid(host + 3, strlen(host + 3));
}

bool http_host_is(const char *host, size_t size, const char *name) {
    return http_same(host, without_port(host, size), name);
}

/* Four numbers, the first 127: "127.evil.example" is a name. */
static bool loopback_ipv4(const char *p, size_t size) {
    int dots = 0;
    if (size < 9 || memcmp(p, "127.", 4)) return false;
    for (size_t i = 0; i < size; i++) {
        if (p[i] == '.') dots++;
        else if (!digit((unsigned char)p[i])) return false;
    }
    return dots == 3;
}

bool http_host_is_loopback(const char *host, size_t size) {
    static const char below[] = ".localhost";
    const size_t n = without_port(host, size), k = sizeof below - 1;
    return http_same(host, n, "localhost") || http_same(host, n, "[::1]") || loopback_ipv4(host, n) ||
           (n > k && http_same(host + n - k, k, below)); /* RFC 6761: never asked of the network */
}

bool http_id_valid(const char *text) {
    size_t n = strlen(text);
    return n <= 128 && n > 0 && span(text, n, name_char) == n;
}

static bool lower_hex(unsigned char c) { return digit(c) || (c >= 'a' && c <= 'f'); }

bool http_traceparent_valid(const char *text) {
    if (strlen(text) != 55 || memcmp(text, "00-", 3)) return false;
    return span(text + 3, 32, lower_hex) == 32 && text[35] == '-' && span(text + 36, 16, lower_hex) == 16 &&
           text[52] == '-' && span(text + 53, 2, lower_hex) == 2 &&
           memcmp(text + 3, "00000000000000000000000000000000", 32) && memcmp(text + 36, "0000000000000000", 16);
}
