#define _GNU_SOURCE
#include "engine/app/http/conn.h"
#include "engine/app/http/head.h"

#include "engine/base/hash.h"
#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { PATH_LOGGED_MAX = 256, OWN_MIN = 16 * 1024 /* less is copied */ };

static const char *reason(int status) {
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status) return reasons[i].text;
    return "Status";
}

const char *http_date(http *h) {
    time_t now = time(NULL);
    struct tm tm;
    if (now != h->date_s) { /* made when it is asked for: an idle server keeps no clock */
        gmtime_r(&now, &tm);
        strftime(h->date, sizeof h->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        h->date_s = now;
    }
    return h->date;
}

const char *http_id(const http_req *r) {
    http_req *own = r->c->req; /* the same, to be filled in on first use */
    http *h = r->c->h;
    if (!*own->id) {
        h->n_ids++;
        snprintf(own->id, sizeof own->id, "%016llx",
                 (unsigned long long)fc_siphash(h->id_key[0], h->id_key[1], &h->n_ids, sizeof h->n_ids));
    }
    return own->id;
}

fc_status http_field(http_req *r, const char *name, const char *value) {
    if (!http_is_token(name, strlen(name))) return FC_FAIL(FC_ERR_ARG, "header %s: no header has that name", name);
    for (const char *p = value; *p; p++)
        if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
            return FC_FAIL(FC_ERR_ARG, "header %s: a control character in its value", name);
    return fc_str_printf(&r->fields, "%s: %s\r\n", name, value);
}

/* Bytes that were written make room before more is put behind. */
static void compact(http_conn *c) {
    const size_t left = c->out.size - c->out_at;
    if (c->out_at == 0 || c->out_at < left) return;
    memmove(c->out.data, c->out.data + c->out_at, left);
    c->out.size = left;
    c->out_at = 0;
}

/* Where more is put. */
static fc_str *end_of(http_conn *c) { return c->tail_at < c->tail.size ? &c->behind : &c->out; }

/* Behind what is in out, uncopied. */
static void put_own(http_conn *c, fc_str *bytes) {
    FC_ASSERT(c->tail_at == c->tail.size && !c->behind.size);
    fc_str_fini(&c->tail);
    c->tail = *bytes;
    c->tail_at = c->released = 0;
    *bytes = (fc_str){0};
}

static void end(http_req *r) {
    r->at = REQ_ENDED;
    if (!r->gone) conn_count(r->c);
    conn_ready(r->c);
}

/* What was put so far is no answer that a client could take for whole. */
static void broken(http_req *r) { r->cut = r->c->closing = true; }

static fc_status put_head(http_req *r, int status, const char *type, bool chunked, size_t length) {
    http_conn *c = r->c;
    http *h = c->h;
    fc_str *out = &c->out;
    compact(c);
    r->status = status;
    if (!r->msg.keep || h->state != HTTP_RUNS) c->closing = true;
    if (c->state == CONN_HEAD && r->msg.has_body) c->closing = true; /* refused early: its body is not read */
    FC_TRY(fc_str_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, reason(status), http_date(h)));
    FC_TRY(fc_str_printf(out, "x-request-id: %s\r\n", http_id(r)));
    FC_TRY(fc_str_put(out, fc_str_text(&r->fields), r->fields.size));
    if (type) FC_TRY(fc_str_printf(out, "Content-Type: %s\r\n", type));
    if (chunked) FC_TRY(fc_str_puts(out, "Transfer-Encoding: chunked\r\n"));
    else if (length != SIZE_MAX) FC_TRY(fc_str_printf(out, "Content-Length: %zu\r\n", length));
    if (c->closing) FC_TRY(fc_str_puts(out, "Connection: close\r\n"));
    else if (r->msg.http10) FC_TRY(fc_str_puts(out, "Connection: keep-alive\r\n"));
    return fc_str_puts(out, "\r\n");
}

static bool is_head(const http_req *r) { return r->msg.method && strcmp(r->msg.method, "HEAD") == 0; }

/* own: body is in it, and taken. */
static void answer(http_req *r, int status, const char *type, const void *body, size_t size, fc_str *own) {
    const bool none = status == 204 || status == 304;
    FC_ASSERT(r->at == REQ_OPEN);
    if (!r->gone) {
        fc_status st = put_head(r, status, type, false, none ? SIZE_MAX : size);
        if (!st && !is_head(r) && !none) {
            if (own) put_own(r->c, own);
            else st = fc_str_put(&r->c->out, body, size);
            r->bytes_out = size;
        }
        if (st) broken(r);
    }
    end(r);
}

void http_answer(http_req *r, int status, const char *type, const void *body, size_t size) {
    answer(r, status, type, body, size, NULL);
}

void http_answer_own(http_req *r, int status, const char *type, fc_str *body) {
    answer(r, status, type, body->data, body->size, body->size < OWN_MIN ? NULL : body);
    fc_str_fini(body);
}

void http_fail(http_req *r, int status, const char *sentence) {
    http *h = r->c->h;
    fc_str body = {0};
    if (!h->o.error_body) http_answer(r, status, "text/plain; charset=utf-8", sentence, strlen(sentence));
    else if (h->o.error_body(h->o.self, r, status, sentence, &body) == FC_OK)
        http_answer(r, status, "application/json", fc_str_text(&body), body.size);
    else http_answer(r, status, NULL, "", 0);
    fc_str_fini(&body);
}

void answer_raw(http_req *r, int status, const char *sentence) {
    if (status == 405 && http_field(r, "Allow", "GET, HEAD, POST, OPTIONS")) broken(r);
    if (status == 503 && http_field(r, "Retry-After", "1")) broken(r);
    http_fail(r, status, sentence);
}

void http_begin(http_req *r, int status, const char *type) {
    FC_ASSERT(r->at == REQ_OPEN);
    r->at = REQ_STREAM;
    if (r->gone) return;
    r->chunked = !r->msg.http10;
    if (!r->chunked) r->c->closing = true; /* HTTP/1.0: the end of the connection is the end of the answer */
    if (put_head(r, status, type, r->chunked, SIZE_MAX)) broken(r);
    conn_ready(r->c);
}

static fc_status may_write(http_req *r) {
    const http_conn *c = r->c;
    const size_t waits = conn_pending(c);
    if (waits < c->h->o.buffer && c->tail_at == c->tail.size) return FC_OK;
    r->starved = true;
    return FC_FAIL(FC_ERR_FULL, "%zu bytes wait for the client", waits);
}

fc_status http_write(http_req *r, const void *piece, size_t size) {
    http_conn *c = r->c;
    const size_t before = conn_pending(c);
    fc_status st = FC_OK;
    FC_ASSERT(r->at == REQ_STREAM);
    if (r->gone || r->cut) return FC_FAIL(FC_ERR_CANCELLED, "the client has gone");
    if (is_head(r) || size == 0) return FC_OK;
    FC_TRY(may_write(r));
    compact(c);
    if (r->chunked) st = fc_str_printf(&c->out, "%zx\r\n", size);
    if (!st) st = fc_str_put(&c->out, piece, size);
    if (!st && r->chunked) st = fc_str_puts(&c->out, "\r\n");
    if (st) {
        c->out.size = c->out_at + before; /* as if it had not been tried */
        return st;
    }
    r->bytes_out += size;
    conn_count(c);
    conn_ready(c);
    return FC_OK;
}

fc_status http_write_own(http_req *r, fc_str *piece) {
    http_conn *c = r->c;
    const size_t size = piece->size, before = c->out.size;
    fc_status st = FC_OK;
    if (size < OWN_MIN || is_head(r) || r->gone || r->cut) {
        FC_TRY(http_write(r, fc_str_text(piece), size));
        fc_str_fini(piece);
        return FC_OK;
    }
    FC_ASSERT(r->at == REQ_STREAM);
    FC_TRY(may_write(r));
    if (r->chunked) FC_TRY(fc_str_puts(piece, "\r\n"));
    if (r->chunked) st = fc_str_printf(&c->out, "%zx\r\n", size);
    if (st) {
        c->out.size = before; /* as if it had not been tried */
        piece->size = size;
        return st;
    }
    put_own(c, piece);
    r->bytes_out += size;
    conn_count(c);
    conn_ready(c);
    return FC_OK;
}

void http_end(http_req *r) {
    FC_ASSERT(r->at == REQ_STREAM);
    if (!r->gone && r->chunked && !is_head(r) && !r->cut && fc_str_puts(end_of(r->c), "0\r\n\r\n")) broken(r);
    end(r);
}

void http_cut(http_req *r) {
    FC_ASSERT(r->at != REQ_ENDED);
    broken(r);
    end(r);
}

void http_watch(http_req *r, const http_watcher *w, void *self) {
    r->watcher = w;
    r->watcher_self = self;
}

/* One line. A request whose head never was whole has no method and no path. */
static fc_status put_line(const http_req *r, fc_str *s) {
    const http_msg *m = &r->msg;
    const char *trace = http_msg_field(m, "traceparent");
    const double took = (double)(fc_clock_ns() - r->began_ns) / 1e6;
    FC_TRY(fc_str_puts(s, "{\"time\":\""));
    FC_TRY(http_log_time(s));
    FC_TRY(fc_str_printf(s, "\",\"id\":\"%s\",\"method\":", http_id(r)));
    FC_TRY(m->method ? fc_json_put_string(s, m->method, strlen(m->method)) : fc_str_puts(s, "null"));
    FC_TRY(fc_str_puts(s, ",\"path\":"));
    FC_TRY(m->path ? fc_json_put_string(s, m->path, strnlen(m->path, PATH_LOGGED_MAX)) : fc_str_puts(s, "null"));
    FC_TRY(fc_str_printf(s, ",\"status\":%d,\"ms\":%.3f,\"bytes\":%llu,\"peer\":\"%s\"", r->status ? r->status : 499,
                         took, (unsigned long long)r->bytes_out, r->c->peer));
    if (r->status && (r->gone || r->cut)) FC_TRY(fc_str_puts(s, ",\"cut\":true"));
    if (m->why) {
        FC_TRY(fc_str_puts(s, ",\"why\":"));
        FC_TRY(fc_json_put_string(s, m->why, strlen(m->why)));
    }
    if (trace && http_traceparent_valid(trace)) FC_TRY(fc_str_printf(s, ",\"traceparent\":\"%s\"", trace));
    if (r->note.size) FC_TRY(fc_str_printf(s, ",%s", fc_str_text(&r->note)));
    return fc_str_puts(s, "}\n");
}

void req_log(http_req *r) {
    http *h = r->c->h;
    fc_str line = {0};
    h->counts.requests++;
    if (h->o.on_end)
        h->o.on_end(h->o.self, r, r->status ? r->status : 499, (double)(fc_clock_ns() - r->began_ns) * 1e-9);
    if (r->gone) h->counts.cancelled++;
    if (h->log && (!r->quiet || r->status >= 400) && put_line(r, &line) == FC_OK)
        http_log_put(h->log, line.data, line.size);
    fc_str_fini(&line);
}

void req_free(http_req *r) {
    http_conn *c = r->c;
    http_budget_give(&c->h->memory, HTTP_BODIES, r->counted);
    c->h->counts.active--;
    c->req = NULL;
    http_msg_fini(&r->msg);
    fc_str_fini(&r->fields);
    fc_str_fini(&r->note);
    fc_free(r);
}

const char *http_method(const http_req *r) { return r->msg.method; }
const char *http_path(const http_req *r) { return r->msg.path; }
const char *http_query(const http_req *r) { return r->msg.query; }
const char *http_header(const http_req *r, const char *name) { return http_msg_field(&r->msg, name); }
const char *http_peer(const http_req *r) { return r->c->peer; }
size_t http_listener_of(const http_req *r) { return r->c->listener; }
uint64_t http_began_ns(const http_req *r) { return r->began_ns; }
http *http_server(const http_req *r) { return r->c->h; }
uint64_t http_announced(const http_req *r) { return r->msg.length; }
void http_set_user(http_req *r, void *user) { r->user = user; }
void *http_user(const http_req *r) { return r->user; }
bool http_answered(const http_req *r) { return r->at != REQ_OPEN; }
void http_quiet(http_req *r) { r->quiet = true; }
void http_quick(http_req *r) { r->quick = true; }

const char *http_body(const http_req *r, size_t *size) {
    *size = r->msg.body.size;
    return fc_str_text(&r->msg.body);
}

void http_take_body(http_req *r, fc_str *out) {
    *out = r->msg.body;
    r->msg.body = (fc_str){0};
    r->counted = 0;
}

void http_note(http_req *r, const char *members) {
    fc_status st = r->note.size ? fc_str_puts(&r->note, ",") : FC_OK;
    if (!st) st = fc_str_puts(&r->note, members);
    if (st) fc_str_clear(&r->note); /* a line without it is better than none */
}
