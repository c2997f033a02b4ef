#include "engine/app/http/msg.h"

#include "engine/app/http/head.h"

#include <string.h>

enum {
    LINE_REST = 32,                /* of the request line, besides the target: method, blanks, version */
    FRAME_LINE_MAX = 1024,         /* a chunk's size with extensions, or a trailer */
    FRAME_BYTES_MAX = 32 * 1024,   /* sizes, extensions and trailers of one body ... */
    FRAME_BYTES_PER_BODY_BYTE = 8, /* ... and so much more; a chunk of one byte takes 5 */
};

static const char ONLY_CHUNKED[] = "of transfer encodings only chunked is understood";

static http_got bad(http_msg *m, int status, const char *why) {
    if (m->at == MSG_BAD) return GOT_BAD; /* the first reason is the cause */
    m->at = MSG_BAD;
    m->status = status;
    m->why = why;
    return GOT_BAD;
}

/* llhttp ends where a callback is not happy; -1 is its word for that. */
static int refuse(http_msg *m, int status, const char *why) {
    bad(m, status, why);
    return -1;
}

static uint16_t at_of(const http_msg *m, const char *at) { return (uint16_t)(at - m->head.data); }

static int on_url(llhttp_t *p, const char *at, size_t size) {
    http_msg *m = p->data;
    m->path_at = at_of(m, at);
    m->path_size = size;
    return 0;
}

static int on_field(llhttp_t *p, const char *at, size_t size) {
    http_msg *m = p->data;
    http_field_at *f = &m->fields[m->n_fields];
    if (m->at != MSG_FIELDS) return 0; /* a trailer: checked as a line, and then forgotten */
    if (m->n_fields == HTTP_FIELDS_MAX) return refuse(m, 431, "there are more than 100 headers");
    *f = (http_field_at){.name = at_of(m, at), .name_size = (uint16_t)size};
    f->value = (uint16_t)(f->name + size + 1); /* behind the colon: where an empty one is */
    return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t size) {
    http_msg *m = p->data;
    http_field_at *f = &m->fields[m->n_fields];
    if (m->at != MSG_FIELDS) return 0;
    if (m->n_fields == HTTP_FIELDS_MAX) return refuse(m, 431, "there are more than 100 headers");
    if (size == 0) return 0; /* at is in the next line then */
    f->value = at_of(m, at);
    f->value_size = (uint16_t)size;
    return 0;
}

static int on_value_end(llhttp_t *p) {
    http_msg *m = p->data;
    if (m->at == MSG_FIELDS) m->n_fields++;
    return 0;
}

static int on_head(llhttp_t *p) {
    p->upgrade = 0; /* no other protocol is ever spoken here: what follows is a body or the next request */
    return 0;
}

/* Framing bytes of a chunked body, in order. They are held against the grammar line by line, because llhttp takes any
 * extension and trailer, of any length. */
static int frame(http_msg *m, const char *p, size_t size) {
    for (; size > 0; p++, size--) {
        const char *why = http_line_bytes(p, 1, false, &m->cr);
        bool last = false;
        if (why) return refuse(m, 400, why);
        if (++m->frame_bytes > FRAME_BYTES_MAX + m->body.size * FRAME_BYTES_PER_BODY_BYTE ||
            m->frame_line.size == FRAME_LINE_MAX)
            return refuse(m, 413, "the framing of the chunked body is too long");
        if (*p == '\r') continue;
        if (*p != '\n') {
            if (fc_str_put(&m->frame_line, p, 1)) return refuse(m, 503, "out of memory");
            continue;
        }
        switch (m->frame) {
        case FRAME_SIZE:
            why = http_chunk_line(fc_str_text(&m->frame_line), m->frame_line.size, &last);
            m->frame = last ? FRAME_TRAILER : FRAME_END;
            break;
        case FRAME_END:
            if (m->frame_line.size) why = "a chunk is longer than its size";
            m->frame = FRAME_SIZE;
            break;
        case FRAME_TRAILER:
            if (m->frame_line.size) why = http_field_line(fc_str_text(&m->frame_line), m->frame_line.size);
            break;
        }
        if (why) return refuse(m, 400, why);
        fc_str_clear(&m->frame_line);
    }
    return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t size) {
    http_msg *m = p->data;
    if (m->chunked && frame(m, m->cursor, (size_t)(at - m->cursor))) return -1;
    m->cursor = at + size;
    if (size > m->limits->body - m->body.size) return refuse(m, 413, "the body is too long");
    if (fc_str_put(&m->body, at, size)) return refuse(m, 503, "out of memory");
    return 0;
}

/* Its size is known, and none of its bytes is read yet. */
static int on_chunk(llhttp_t *p) {
    http_msg *m = p->data;
    if (p->content_length > m->limits->body - m->body.size) return refuse(m, 413, "the body is too long");
    return 0;
}

static int on_complete(llhttp_t *p) {
    http_msg *m = p->data;
    if (m->at != MSG_BAD) m->at = MSG_COMPLETE;
    return HPE_PAUSED; /* the next request is another message's */
}

static const llhttp_settings_t callbacks = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_end,
    .on_headers_complete = on_head,
    .on_chunk_header = on_chunk,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

void http_msg_init(http_msg *m, const http_limits *limits) {
    *m = (http_msg){.limits = limits};
    llhttp_init(&m->parser, HTTP_REQUEST, &callbacks);
    m->parser.data = m;
}

void http_msg_fini(http_msg *m) {
    fc_str_fini(&m->head);
    fc_str_fini(&m->body);
    fc_str_fini(&m->frame_line);
}

const char *http_msg_field(const http_msg *m, const char *name) {
    for (size_t i = 0; i < m->n_fields; i++)
        if (http_same(m->head.data + m->fields[i].name, m->fields[i].name_size, name))
            return m->head.data + m->fields[i].value;
    return NULL;
}

/* A header that says one thing: two of them are two opinions, and a proxy in front may hold the other one. */
static bool repeated(const http_msg *m) {
    static const char *const single[] = {"host",          "content-length", "transfer-encoding",
                                         "authorization", "x-api-key",      "content-type",
                                         "expect",        "upgrade"};
    for (size_t k = 0; k < sizeof single / sizeof *single; k++) {
        size_t n = 0;
        for (size_t i = 0; i < m->n_fields; i++)
            n += http_same(m->head.data + m->fields[i].name, m->fields[i].name_size, single[k]);
        if (n > 1) return true;
    }
    return false;
}

/* Where the request goes: origin-form, absolute-form that says what Host says, or * of OPTIONS. */
static const char *take_target(http_msg *m) {
    char *target = m->head.data + m->path_at, *end = target + m->path_size, *mark;
    const char *why = http_target(target, m->path_size);
    if (why) return why;
    *end = '\0'; /* the blank before the version */
    m->query = "";
    if (strcmp(target, "*") == 0) {
        if (strcmp(m->method, "OPTIONS")) return "the target * is for OPTIONS";
        m->path = target;
        return NULL;
    }
    if (*target != '/') {
        size_t scheme = http_same(target, m->path_size < 7 ? 0 : 7, "http://")    ? 7
                        : http_same(target, m->path_size < 8 ? 0 : 8, "https://") ? 8
                                                                                  : 0;
        size_t n = strcspn(target + scheme, "/?");
        if (!scheme) return "the target is neither a path nor a URL of HTTP";
        if (!http_host_valid(target + scheme, n)) return "the target names no host";
        if (*m->host && !http_same(target + scheme, n, m->host)) return "the target names another host than Host";
        target += scheme + n;
    }
    mark = strchr(target, '?');
    if (mark) {
        *mark = '\0';
        m->query = mark + 1;
    }
    m->path = *target ? target : "/";
    return NULL;
}

static http_got take_host(http_msg *m) {
    const char *host = http_msg_field(m, "host");
    m->host = host ? host : "";
    if (!host && !m->http10) return bad(m, 400, "there is no Host header");
    if (host && !http_host_valid(host, strlen(host))) return bad(m, 400, "the Host header is not a host");
    return GOT_HEAD;
}

/* What the headers say of the body. llhttp has its own opinion, and must not be more lenient than this one. */
static http_got take_framing(http_msg *m) {
    const char *length = http_msg_field(m, "content-length"), *coding = http_msg_field(m, "transfer-encoding");
    if (coding && length) return bad(m, 400, "Content-Length and Transfer-Encoding exclude one another");
    if (coding && m->http10) return bad(m, 400, "HTTP/1.0 has no Transfer-Encoding");
    if (coding && !http_same(coding, strlen(coding), "chunked")) return bad(m, 501, ONLY_CHUNKED);
    if (length) {
        size_t n = strlen(length);
        if (n == 0 || n > 18 || strspn(length, "0123456789") != n) return bad(m, 400, "Content-Length is not a number");
        for (size_t i = 0; i < n; i++) m->length = m->length * 10 + (uint64_t)(length[i] - '0');
        if (m->length > m->limits->body) return bad(m, 413, "the body is too long");
    }
    m->chunked = coding != NULL;
    m->has_body = coding || m->length > 0;
    return GOT_HEAD;
}

static http_got take_rest(http_msg *m) {
    const char *expect = http_msg_field(m, "expect"), *upgrade = http_msg_field(m, "upgrade");
    if (expect && !m->http10) {
        if (!http_same(expect, strlen(expect), "100-continue")) return bad(m, 417, "only 100-continue can be expected");
        m->expects = true;
    }
    /* h2c is offered by every request of some clients, which go on in HTTP/1.1 when it is not taken up. */
    if (upgrade && !http_same(upgrade, strlen(upgrade), "h2c"))
        return bad(m, 400, "another protocol is not spoken here: no Upgrade");
    return GOT_HEAD;
}

/* The head is whole: llhttp takes it apart, then its parts are checked. */
static http_got head(http_msg *m) {
    char *end_of_method = memchr(m->head.data, ' ', m->head.size);
    llhttp_errno_t e = llhttp_execute(&m->parser, m->head.data, m->head.size);
    const char *why;
    if (e == HPE_PAUSED && llhttp_get_error_pos(&m->parser) != m->head.data + m->head.size) e = HPE_INTERNAL;
    if (m->at == MSG_BAD) return GOT_BAD;
    *end_of_method = '\0'; /* http_request_line has seen it */
    m->method = m->head.data;
    if (e == HPE_INVALID_METHOD) return bad(m, 405, "that method is not known here");
    if (e == HPE_INVALID_TRANSFER_ENCODING) return bad(m, 501, ONLY_CHUNKED);
    if (e != HPE_OK && e != HPE_PAUSED) return bad(m, 400, llhttp_get_error_reason(&m->parser));
    m->http10 = m->parser.http_minor == 0;
    for (size_t i = 0; i < m->n_fields; i++) {
        http_field_at *f = &m->fields[i];
        char *v = m->head.data + f->value;
        while (f->value_size && (v[f->value_size - 1] == ' ' || v[f->value_size - 1] == '\t')) f->value_size--;
        m->head.data[f->name + f->name_size] = '\0';
        v[f->value_size] = '\0';
    }
    if (repeated(m)) return bad(m, 400, "a header that can be there once is there twice");
    if (take_host(m) == GOT_BAD) return GOT_BAD;
    if (strcmp(m->method, "TRACE") == 0 || strcmp(m->method, "CONNECT") == 0)
        return bad(m, 405, "that method is not taken here");
    why = take_target(m);
    if (why) return bad(m, 400, why);
    if (take_framing(m) == GOT_BAD || take_rest(m) == GOT_BAD) return GOT_BAD;
    m->keep = llhttp_should_keep_alive(&m->parser) != 0;
    if (m->at == MSG_FIELDS) m->at = MSG_BODY;
    if (m->has_body != (m->at == MSG_BODY)) return bad(m, 400, "it is not clear whether there is a body");
    m->cr = false;
    return GOT_HEAD;
}

/* One line of the head, or a part of one. */
static http_got line(http_msg *m, const char *p, size_t size) {
    const bool first = m->at == MSG_LINE;
    size_t most = m->limits->head, n;
    const char *text, *why;
    int status = 400;
    if (first && most > m->limits->target + LINE_REST) most = m->limits->target + LINE_REST;
    n = most - m->head.size < size ? most - m->head.size : size; /* what the cap allows is looked at in any case */
    why = http_line_bytes(p, n, first, &m->cr);
    if (why) return bad(m, 400, why);
    if (n < size) return first ? bad(m, 414, "the request line is too long") : bad(m, 431, "the headers are too long");
    if (fc_str_put(&m->head, p, size)) return bad(m, 503, "out of memory");
    if (p[size - 1] != '\n') return GOT_MORE;
    text = m->head.data + m->line;
    n = m->head.size - m->line - 2;
    if (first && n == 0 && !m->blank) { /* old clients send one behind a body */
        m->blank = true;
        fc_str_clear(&m->head);
        return GOT_MORE;
    }
    if (first) {
        why = http_request_line(text, n, &status);
        if (why) return bad(m, status, why);
        m->at = MSG_FIELDS;
    } else if (n == 0) {
        return head(m);
    } else {
        why = http_field_line(text, n);
        if (why) return bad(m, 400, why);
    }
    m->line = m->head.size;
    return GOT_MORE;
}

static http_got body(http_msg *m, const char *data, size_t size, size_t *used) {
    llhttp_errno_t e;
    if (size == 0) return GOT_MORE;
    m->cursor = data;
    e = llhttp_execute(&m->parser, data, size);
    *used = e == HPE_OK ? size : (size_t)(llhttp_get_error_pos(&m->parser) - data);
    if (m->at == MSG_BAD) return GOT_BAD;
    if (m->chunked && frame(m, m->cursor, (size_t)(data + *used - m->cursor))) return GOT_BAD;
    if (e == HPE_OK) return GOT_MORE;
    if (e == HPE_PAUSED && m->at == MSG_COMPLETE) return GOT_DONE;
    return bad(m, 400, llhttp_get_error_reason(&m->parser));
}

http_got http_msg_feed(http_msg *m, const char *data, size_t size, size_t *used) {
    http_got got = GOT_MORE;
    *used = 0;
    if (m->at == MSG_COMPLETE) return GOT_DONE;
    if (m->at == MSG_BODY) return body(m, data, size, used);
    while (got == GOT_MORE && *used < size) {
        const char *p = data + *used, *lf = memchr(p, '\n', size - *used);
        size_t n = lf ? (size_t)(lf - p) + 1 : size - *used;
        got = line(m, p, n);
        *used += n;
    }
    return got;
}
