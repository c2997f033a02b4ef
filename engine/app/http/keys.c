#define _GNU_SOURCE
#include "engine/app/http/keys.h"

#include "engine/app/http/head.h"
#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

enum { KEY_MIN = 8, KEY_MAX = 512, FILE_MAX = 1 << 20 };

typedef struct {
    uint64_t a, b;
} digest;

struct http_keys {
    uint64_t secret[4];
    digest *of; /* [n] */
    size_t n, cap;
};

static digest digest_of(const http_keys *k, const char *key, size_t size) {
    return (digest){fc_siphash(k->secret[0], k->secret[1], key, size),
                    fc_siphash(k->secret[2], k->secret[3], key, size)};
}

static fc_status add(http_keys *k, const char *path, size_t line, const char *key, size_t size) {
    void *p = k->of;
    if (size < KEY_MIN || size > KEY_MAX)
        return FC_FAIL(FC_ERR_FORMAT, "%s: line %zu: a key has %d to %d characters, not %zu", path, line, (int)KEY_MIN,
                       (int)KEY_MAX, size);
    for (size_t i = 0; i < size; i++)
        if (key[i] < 0x21 || key[i] > 0x7e)
            return FC_FAIL(FC_ERR_FORMAT, "%s: line %zu: character %zu is not visible ASCII", path, line, i + 1);
    FC_TRY(fc_grow(&p, &k->cap, k->n + 1, sizeof *k->of, "keys"));
    k->of = p;
    k->of[k->n++] = digest_of(k, key, size);
    return FC_OK;
}

fc_status http_keys_open(const char *path, http_keys **out) {
    fc_status st = FC_OK;
    void *p;
    http_keys *k;
    char *text = NULL;
    size_t size = 0, line = 1;
    FC_TRY(fc_alloc(1, sizeof *k, "keys", &p));
    k = p;
    FC_TRY_GOTO(st, fc_file_read(path, FILE_MAX, &text, &size), fail);
    if (getrandom(k->secret, sizeof k->secret, 0) != (ssize_t)sizeof k->secret) {
        st = FC_FAIL(FC_ERR_IO, "random bytes: %s", strerror(errno));
        goto fail;
    }
    for (const char *at = text, *end = text + size; at < end; line++) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((lf ? lf : end) - at);
        while (n && (at[n - 1] == '\r' || at[n - 1] == ' ' || at[n - 1] == '\t')) n--;
        if (n && *at != '#') FC_TRY_GOTO(st, add(k, path, line, at, n), fail);
        at = lf ? lf + 1 : end;
    }
    if (k->n == 0) {
        st = FC_FAIL(FC_ERR_FORMAT, "%s: no key in it: then nobody could ask", path);
        goto fail;
    }
    explicit_bzero(text, size);
    fc_free(text);
    *out = k;
    return FC_OK;
fail:
    if (text) explicit_bzero(text, size);
    fc_free(text);
    http_keys_close(k);
    return st;
}

void http_keys_close(http_keys *k) {
    if (!k) return;
    fc_free(k->of);
    explicit_bzero(k, sizeof *k);
    fc_free(k);
}

size_t http_keys_count(const http_keys *k) { return k->n; }

const char *http_credential(const http_req *r) {
    const char *bearer = http_header(r, "authorization");
    if (!bearer) return http_header(r, "x-api-key");
    if (strlen(bearer) < 8 || !http_same(bearer, 7, "bearer ")) return NULL;
    bearer += 7;
    return bearer + strspn(bearer, " ");
}

bool http_keys_have(const http_keys *k, const char *key) {
    uint64_t found = 0;
    digest d;
    if (!key) return false;
    d = digest_of(k, key, strlen(key));
    for (size_t i = 0; i < k->n; i++) { /* all of them, whichever it is */
        uint64_t differ = (d.a ^ k->of[i].a) | (d.b ^ k->of[i].b);
        found |= 1 ^ ((differ | (0 - differ)) >> 63);
    }
    return found != 0;
}
