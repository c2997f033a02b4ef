/* The scan (json_scan.c) makes sure that cJSON meets nothing that it would take wrongly; cJSON builds the tree; one
 * walk turns it into an array of nodes in document order, which know their document, parent and exact integer.
 */
#include "engine/base/json.h"

#include "engine/base/json_scan.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fc_json {
    const fc_json_doc *doc;
    const cJSON *c;
    const fc_json *parent, *next;
    size_t children;          /* the first one is the next node of the array */
    const fc_json_wide *wide; /* NULL: the double says all */
};

struct fc_json_doc {
    char *name;
    cJSON *tree;
    fc_json *nodes; /* [n] in document order: a node, then its children */
    size_t n;
    fc_json_census census;
};

/* "sampling.stop[2]" of a node, for a sentence; long keys are cut, control characters replaced. */
typedef struct {
    char text[256];
} path;

static void path_add(path *out, const char *text, size_t most) {
    size_t n = strlen(text), at = strlen(out->text);
    if (n > most) n = fc_utf8_complete(text, most);
    if (n > sizeof out->text - 1 - at) n = fc_utf8_complete(text, sizeof out->text - 1 - at);
    for (size_t i = 0; i < n && at + 1 < sizeof out->text; i++, at++)
        out->text[at] = (unsigned char)text[i] < 32 ? '?' : text[i];
    out->text[at] = '\0';
}

static path path_of(const fc_json *n) {
    const fc_json *up[FC_JSON_DEPTH + 1];
    int depth = 0;
    path out = {""};
    for (; n->parent && depth <= FC_JSON_DEPTH; n = n->parent) up[depth++] = n;
    while (depth--) {
        const fc_json *k = up[depth];
        if (cJSON_IsObject(k->parent->c)) {
            if (out.text[0]) path_add(&out, ".", 1);
            path_add(&out, k->c->string, 60);
        } else {
            size_t index = 0;
            char number[32];
            for (const fc_json *s = k->parent + 1; s != k; s = s->next) index++;
            snprintf(number, sizeof number, "[%zu]", index);
            path_add(&out, number, sizeof number);
        }
    }
    if (!out.text[0]) path_add(&out, "the document", 60);
    return out;
}

typedef struct {
    uint64_t hash;
    const char *key;
} hashed;

static int by_hash(const void *a, const void *b) {
    const hashed *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return strcmp(x->key, y->key);
}

static fc_status duplicate(const fc_json *object, const char *k) {
    path p = path_of(object), shown = {""};
    path_add(&shown, k, 60);
    return FC_FAIL(FC_ERR_FORMAT, "%s: %s: the key \"%s\" appears twice", object->doc->name, p.text, shown.text);
}

/* Sorted rather than hashed into a table: a vocabulary has 10^5 keys, and keys made to collide must not cost more. */
static fc_status check_keys(const fc_json *object) {
    void *mem;
    hashed *h;
    size_t i = 0;
    fc_status st = FC_OK;
    if (object->children <= 8) {
        for (const fc_json *a = fc_json_first(object); a; a = a->next)
            for (const fc_json *b = a->next; b; b = b->next)
                if (strcmp(a->c->string, b->c->string) == 0) return duplicate(object, b->c->string);
        return FC_OK;
    }
    FC_TRY(fc_alloc(object->children, sizeof *h, object->doc->name, &mem));
    h = mem;
    for (const fc_json *a = fc_json_first(object); a; a = a->next, i++) {
        h[i] = (hashed){.hash = 0xcbf29ce484222325u, .key = a->c->string}; /* FNV-1a, 64 bits */
        for (const char *c = a->c->string; *c; c++) h[i].hash = (h[i].hash ^ (unsigned char)*c) * 0x100000001b3u;
    }
    qsort(h, object->children, sizeof *h, by_hash);
    for (i = 1; i < object->children && !st; i++)
        if (by_hash(&h[i - 1], &h[i]) == 0) st = duplicate(object, h[i].key);
    fc_free(mem);
    return st;
}

typedef struct {
    fc_json_doc *doc;
    size_t used, wide; /* nodes, and entries of the census, taken so far */
} walk;

/* Fills the node of c and those below it. At most FC_JSON_DEPTH calls deep. */
static fc_status fill(walk *w, const cJSON *c, const fc_json *parent) {
    fc_json_doc *d = w->doc;
    fc_json *n = &d->nodes[w->used], *last = NULL;
    FC_ASSERT(w->used < d->n);
    *n = (fc_json){.doc = d, .c = c, .parent = parent};
    if (w->wide < d->census.n_wide && d->census.wide[w->wide].value == w->used) n->wide = &d->census.wide[w->wide++];
    w->used++;
    if (cJSON_IsNumber(c) && !isfinite(c->valuedouble)) {
        path p = path_of(n);
        return FC_FAIL(FC_ERR_FORMAT, "%s: %s: a number that no double can hold", d->name, p.text);
    }
    for (const cJSON *k = c->child; k; k = k->next) {
        fc_json *child = &d->nodes[w->used];
        if (last) last->next = child;
        last = child;
        n->children++;
        FC_TRY(fill(w, k, n));
    }
    return cJSON_IsObject(c) ? check_keys(n) : FC_OK;
}

fc_status fc_json_parse(const char *name, const char *text, size_t size, fc_json_doc **out) {
    fc_status st;
    void *mem;
    const char *end = NULL;
    fc_json_doc *d;
    if (size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) { /* RFC 8259, 8.1: a byte order mark may be ignored */
        text += 3;
        size -= 3;
    }
    FC_TRY(fc_alloc(1, sizeof *d, name, &mem));
    d = mem;
    FC_TRY_GOTO(st, fc_copy_str(name, "document name", &d->name), fail);
    FC_TRY_GOTO(st, fc_json_scan(name, text, size, &d->census), fail);
    d->n = d->census.values;
    d->tree = cJSON_ParseWithLengthOpts(text, size, &end, 0); /* the scan has seen that nothing follows */
    if (!d->tree) {
        st = FC_FAIL(FC_ERR_MEM, "%s: no memory for %zu JSON values of %zu bytes of text", name, d->n, size);
        goto fail;
    }
    FC_TRY_GOTO(st, fc_alloc(d->n, sizeof *d->nodes, name, &mem), fail);
    d->nodes = mem;
    walk w = {.doc = d};
    FC_TRY_GOTO(st, fill(&w, d->tree, NULL), fail);
    FC_ASSERT(w.used == d->n && w.wide == d->census.n_wide);
    *out = d;
    return FC_OK;
fail:
    fc_json_close(d);
    return st;
}

fc_status fc_json_open(const char *file, size_t max_bytes, fc_json_doc **out) {
    char *text;
    size_t size;
    fc_status st;
    FC_TRY(fc_file_read(file, max_bytes, &text, &size));
    st = fc_json_parse(file, text, size, out);
    fc_free(text);
    return st;
}

void fc_json_close(fc_json_doc *d) {
    if (!d) return;
    fc_free(d->nodes);
    cJSON_Delete(d->tree);
    fc_free(d->census.wide);
    fc_free(d->name);
    fc_free(d);
}

const fc_json *fc_json_root(const fc_json_doc *d) { return d->nodes; }

fc_json_type fc_json_kind(const fc_json *n) {
    switch (n->c->type & 0xFF) {
    case cJSON_False:
    case cJSON_True: return FC_JSON_BOOL;
    case cJSON_Number: return FC_JSON_NUMBER;
    case cJSON_String: return FC_JSON_STRING;
    case cJSON_Array: return FC_JSON_ARRAY;
    case cJSON_Object: return FC_JSON_OBJECT;
    default: return FC_JSON_NULL;
    }
}

const char *fc_json_kind_name(fc_json_type t) {
    static const char *const names[] = {"null", "boolean", "number", "string", "array", "object"};
    return (unsigned)t < sizeof names / sizeof *names ? names[t] : "?";
}

const fc_json *fc_json_first(const fc_json *n) { return n->children ? n + 1 : NULL; }
const fc_json *fc_json_next(const fc_json *n) { return n->next; }
size_t fc_json_count(const fc_json *n) { return n->children; }
const char *fc_json_key(const fc_json *n) { return n->c->string ? n->c->string : ""; }

const fc_json *fc_json_get(const fc_json *object, const char *key) {
    if (!object || !cJSON_IsObject(object->c)) return NULL;
    for (const fc_json *k = fc_json_first(object); k; k = k->next)
        if (strcmp(k->c->string, key) == 0) return k;
    return NULL;
}

fc_status fc_json_fail(const fc_json *n, fc_status st, const char *fmt, ...) {
    path p = path_of(n);
    char text[768];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    return FC_FAIL(st, "%s: %s: %s", n->doc->name, p.text, text);
}

static fc_status expect(const fc_json *n, fc_json_type t) {
    path p;
    if (fc_json_kind(n) == t) return FC_OK;
    p = path_of(n);
    return FC_FAIL(FC_ERR_FORMAT, "%s: %s is of type %s; %s is expected", n->doc->name, p.text,
                   fc_json_kind_name(fc_json_kind(n)), fc_json_kind_name(t));
}

fc_status fc_json_string(const fc_json *n, const char **out) {
    FC_TRY(expect(n, FC_JSON_STRING));
    *out = n->c->valuestring;
    return FC_OK;
}

fc_status fc_json_bool(const fc_json *n, bool *out) {
    FC_TRY(expect(n, FC_JSON_BOOL));
    *out = cJSON_IsTrue(n->c);
    return FC_OK;
}

fc_status fc_json_double(const fc_json *n, double *out) {
    FC_TRY(expect(n, FC_JSON_NUMBER));
    *out = n->c->valuedouble;
    return FC_OK;
}

/* The whole number of a node as sign and magnitude; false when it has a fraction or lies beyond 64 bits. */
static bool whole(const fc_json *n, bool *negative, uint64_t *magnitude) {
    double v = n->c->valuedouble;
    if (n->wide) {
        *negative = n->wide->negative;
        *magnitude = n->wide->magnitude;
        return true;
    }
    if (v != floor(v) || fabs(v) > 0x1p53) return false; /* 1e3 is whole; 1e17 may not be the number that was meant */
    *negative = v < 0;
    *magnitude = (uint64_t)fabs(v);
    return true;
}

fc_status fc_json_int(const fc_json *n, int64_t min, int64_t max, int64_t *out) {
    bool negative, ok;
    uint64_t magnitude;
    int64_t v = 0;
    path p;
    FC_TRY(expect(n, FC_JSON_NUMBER));
    ok = whole(n, &negative, &magnitude);
    if (ok && negative) ok = magnitude <= (uint64_t)INT64_MAX + 1;
    else if (ok) ok = magnitude <= (uint64_t)INT64_MAX;
    if (ok) v = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    if (ok && v >= min && v <= max) {
        *out = v;
        return FC_OK;
    }
    p = path_of(n);
    return FC_FAIL(FC_ERR_FORMAT, "%s: %s is %.17g; a whole number from %lld to %lld is expected", n->doc->name, p.text,
                   n->c->valuedouble, (long long)min, (long long)max);
}

fc_status fc_json_uint64(const fc_json *n, uint64_t *out) {
    bool negative;
    uint64_t magnitude;
    path p;
    FC_TRY(expect(n, FC_JSON_NUMBER));
    if (whole(n, &negative, &magnitude) && (!negative || magnitude == 0)) {
        *out = magnitude;
        return FC_OK;
    }
    p = path_of(n);
    return FC_FAIL(FC_ERR_FORMAT, "%s: %s is %.17g; a whole number from 0 to %llu is expected", n->doc->name, p.text,
                   n->c->valuedouble, (unsigned long long)UINT64_MAX);
}

fc_status fc_json_put_string(fc_str *s, const char *text, size_t size) {
    FC_TRY(fc_str_put(s, "\"", 1));
    for (size_t i = 0; i < size;) {
        size_t n = 0, bad;
        unsigned char c = (unsigned char)text[i];
        const char *short_form = c ? strchr("\"\"\\\\\bb\ff\nn\rr\tt", c) : NULL; /* pairs: character, letter */
        if (c == '"' || c == '\\' || (short_form && c < 32)) {
            char pair[2] = {'\\', short_form[1]};
            FC_TRY(fc_str_put(s, pair, 2));
            i++;
        } else if (c < 32) {
            FC_TRY(fc_str_printf(s, "\\u%04x", c));
            i++;
        } else { /* the longest run that needs no escape */
            while (i + n < size && (unsigned char)text[i + n] >= 32 && text[i + n] != '"' && text[i + n] != '\\') n++;
            for (n += i; i < n; i++) {
                bool valid = fc_utf8_valid(text + i, n - i, &bad);
                if (valid) bad = n - i;
                FC_TRY(fc_str_put(s, text + i, bad));
                i += bad;
                if (valid) break;
                FC_TRY(fc_str_puts(s, "\xEF\xBF\xBD"));
            }
        }
    }
    return fc_str_put(s, "\"", 1);
}

fc_status fc_json_put_double(fc_str *s, double v) {
    char text[40];
    if (isnan(v)) return fc_str_puts(s, "null");
    if (isinf(v)) return fc_str_puts(s, v > 0 ? "9999.0" : "-9999.0");
    snprintf(text, sizeof text, "%.9g", v);
    for (char *c = text; *c; c++)
        if (*c == ',') *c = '.'; /* a host program may have set a locale */
    return fc_str_puts(s, text);
}
