#include "engine/app/bulk/lines.h"

#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "engine/table.h"

#include <stdlib.h>
#include <string.h>

fc_status lines_open(lines *l, const char *path) {
    l->path = path;
    return fc_map_open(path, &l->map);
}

void lines_close(lines *l) {
    fc_json_close(l->doc);
    fc_str_fini(&l->name);
    fc_map_close(&l->map);
    *l = (lines){0};
}

static bool is_empty(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (!strchr(" \t\r", text[i])) return false;
    return true;
}

static fc_status check_members(const fc_json *root, const char *const *known) {
    if (fc_json_kind(root) != FC_JSON_OBJECT)
        return fc_json_fail(root, FC_ERR_FORMAT, "it is of type %s; object is expected",
                            fc_json_kind_name(fc_json_kind(root)));
    for (const fc_json *k = fc_json_first(root); k; k = fc_json_next(k)) {
        const char *const *at = known;
        while (*at && strcmp(*at, fc_json_key(k)) != 0) at++;
        if (!*at) return fc_json_fail(k, FC_ERR_FORMAT, "no such member is read here");
    }
    return FC_OK;
}

fc_status lines_next(lines *l, const char *const *known, const fc_json **root) {
    fc_json_close(l->doc);
    l->doc = NULL;
    *root = NULL;
    while (l->at < l->map.size) {
        const char *text = (const char *)l->map.data + l->at, *end = memchr(text, '\n', l->map.size - l->at);
        size_t size = end ? (size_t)(end - text) : l->map.size - l->at;
        l->at += size + (end != NULL);
        l->line++;
        if (is_empty(text, size)) continue;
        fc_str_clear(&l->name);
        FC_TRY(fc_str_printf(&l->name, "%s line %lld", l->path, (long long)l->line));
        FC_TRY(fc_json_parse(fc_str_text(&l->name), text, size, &l->doc));
        FC_TRY(check_members(fc_json_root(l->doc), known));
        *root = fc_json_root(l->doc);
        return FC_OK;
    }
    return FC_OK;
}

fc_status lines_text(const fc_json *root, const char *member, const char **out) {
    const fc_json *n = fc_json_get(root, member);
    if (!n) return fc_json_fail(root, FC_ERR_FORMAT, "%s is missing", member);
    return fc_json_string(n, out);
}

fc_status lines_key(const fc_json *root, bool set, fc_str *out) {
    const fc_json *n = fc_json_get(root, "key");
    const char **names, *text;
    fc_status st = FC_OK;
    size_t i = 0;
    void *p;
    if (!n) return fc_json_fail(root, FC_ERR_FORMAT, "key is missing");
    if (fc_json_kind(n) != FC_JSON_ARRAY) {
        FC_TRY(fc_json_string(n, &text));
        return text[0] ? fc_str_puts(out, text) : fc_json_fail(n, FC_ERR_FORMAT, "it is empty");
    }
    FC_TRY(fc_alloc(fc_json_count(n), sizeof *names, "key", &p));
    names = p;
    for (const fc_json *k = fc_json_first(n); k && !st; k = fc_json_next(k)) st = fc_json_string(k, &names[i++]);
    if (!st && fc_table_key(names, i, set, out)) st = fc_json_fail(n, FC_ERR_FORMAT, "%s", fc_status_text());
    fc_free(p);
    return st;
}

/* ---- texts by key ---- */

static int by_key(const void *a, const void *b) {
    const struct lines_pair *x = a, *y = b;
    return strcmp(x->key, y->key);
}

/* Keys and texts one behind the other, in file order; *n counts the pairs. */
static fc_status read_pairs(lines *l, bool set, fc_str *all, size_t *n) {
    static const char *const known[] = {"key", "text", NULL};
    for (;;) {
        const fc_json *root;
        const char *text;
        FC_TRY(lines_next(l, known, &root));
        if (!root) return FC_OK;
        FC_TRY(lines_text(root, "text", &text));
        FC_TRY(lines_key(root, set, all));
        FC_TRY(fc_str_put(all, "", 1));
        FC_TRY(fc_str_put(all, text, strlen(text) + 1));
        (*n)++;
    }
}

static fc_status sort_pairs(lines_map *m, const char *path) {
    const char *at = m->all;
    void *p;
    FC_TRY(fc_alloc(m->n, sizeof *m->pairs, "retrieved lines", &p));
    m->pairs = p;
    for (size_t i = 0; i < m->n; i++) {
        m->pairs[i].key = at;
        at += strlen(at) + 1;
        m->pairs[i].text = at;
        at += strlen(at) + 1;
    }
    qsort(m->pairs, m->n, sizeof *m->pairs, by_key);
    for (size_t i = 0; i < m->n; i++) {
        const struct lines_pair *one = &m->pairs[i];
        if (i && strcmp(m->pairs[i - 1].key, one->key) == 0)
            return FC_FAIL(FC_ERR_FORMAT, "%s: key \"%.200s\" is there twice", path, one->key);
        m->fingerprint = fc_siphash(m->fingerprint, i, one->key, strlen(one->key));
        m->fingerprint = fc_siphash(m->fingerprint, i, one->text, strlen(one->text));
    }
    return FC_OK;
}

fc_status lines_map_open(lines_map *m, const char *path, bool set) {
    lines l = {0};
    fc_str all = {0};
    fc_status st = lines_open(&l, path);
    if (!st) st = read_pairs(&l, set, &all, &m->n);
    lines_close(&l);
    m->all = all.data;
    return st ? st : sort_pairs(m, path);
}

const char *lines_map_find(const lines_map *m, const char *key) {
    const struct lines_pair wanted = {.key = key};
    const struct lines_pair *found = m->n ? bsearch(&wanted, m->pairs, m->n, sizeof *m->pairs, by_key) : NULL;
    return found ? found->text : NULL;
}

void lines_map_close(lines_map *m) {
    fc_free(m->pairs);
    fc_free(m->all);
    *m = (lines_map){0};
}
