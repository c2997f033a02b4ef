#include "engine/app/textio.h"

#include "engine/base/mem.h"
#include "engine/base/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TEXT = 64 << 20 };

static const char separators[] = " \t\r\n,";

/* Not by its size: a pipe has none. */
static fc_status read_all(FILE *f, const char *name, fc_str *out) {
    char buffer[65536];
    size_t n;
    while ((n = fread(buffer, 1, sizeof buffer, f)) > 0) {
        FC_TRY(fc_str_put(out, buffer, n));
        if (out->size > MAX_TEXT)
            return FC_FAIL(FC_ERR_FORMAT, "%s: more than %d bytes; no more are read", name, MAX_TEXT);
    }
    if (ferror(f)) return FC_FAIL(FC_ERR_IO, "%s: %s", name, strerror(errno));
    return fc_str_put(out, "", 0); /* a NUL behind nothing, too */
}

fc_status text_read(const char *path, char **text, size_t *size) {
    bool from_stdin = strcmp(path, "-") == 0;
    FILE *f = from_stdin ? stdin : fopen(path, "rb");
    fc_str s = {0};
    fc_status st;
    if (!f) return FC_FAIL(FC_ERR_IO, "%s: %s", path, strerror(errno));
    st = read_all(f, from_stdin ? "standard input" : path, &s);
    if (!from_stdin) fclose(f);
    if (st) {
        fc_str_fini(&s);
        return st;
    }
    *text = s.data;
    *size = s.size;
    return FC_OK;
}

const char *text_file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

fc_status text_write(const char *text, size_t size) {
    if (fwrite(text, 1, size, stdout) == size && fflush(stdout) == 0 && !ferror(stdout)) return FC_OK;
    if (errno == EPIPE) return FC_FAIL(FC_ERR_CANCELLED, "standard output: its reader has gone");
    return FC_FAIL(FC_ERR_IO, "standard output: %s", strerror(errno));
}

bool text_id(const char *text, size_t size, int32_t *out) {
    int64_t v = 0;
    if (size == 0 || size > 10) return false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        v = v * 10 + (text[i] - '0');
    }
    if (v > INT32_MAX) return false;
    *out = (int32_t)v;
    return true;
}

fc_status text_ids(const char *text, size_t size, const char *where, fc_status bad, int32_t **ids, size_t *n) {
    void *list = NULL;
    size_t count = 0, cap = 0;
    if (memchr(text, 0, size)) return FC_FAIL(bad, "%s: a NUL byte among the ids", where);
    for (const char *p = text + strspn(text, separators); *p;) {
        size_t len = strcspn(p, separators);
        int32_t id = 0;
        fc_status st = text_id(p, len, &id) ? fc_grow(&list, &cap, count + 1, sizeof id, "token ids")
                                            : FC_FAIL(bad, "%s: id %zu, \"%.*s\", is not a decimal token id", where,
                                                      count, (int)fc_utf8_complete(p, len < 20 ? len : 20), p);
        if (st) {
            fc_free(list);
            return st;
        }
        ((int32_t *)list)[count++] = id;
        p += len;
        p += strspn(p, separators);
    }
    *ids = list;
    *n = count;
    return FC_OK;
}
