/* msg - one request, from bytes: its head, checked and taken apart, and its body, unchunked.
 *
 * llhttp decides what the bytes mean; head.h looks at them first. Where either objects, the message is bad: what
 * comes behind it on the connection cannot be trusted, and the connection ends with the answer.
 * How the bytes are cut into calls changes nothing.
 */
#ifndef FC_APP_HTTP_MSG_H
#define FC_APP_HTTP_MSG_H

#include "engine/base/str.h"

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_FIELDS_MAX = 100, HTTP_HEAD_MAX = 60000 /* offsets are 16 bits */ };

typedef struct {
    size_t head, target, body; /* bytes, at most */
} http_limits;

typedef enum {
    GOT_MORE, /* all bytes are used, the message goes on */
    GOT_HEAD, /* the head is complete and can be read; call again with the rest, be it empty */
    GOT_DONE, /* the message is complete */
    GOT_BAD   /* status and why say what is wrong */
} http_got;

typedef struct {
    uint16_t name, value; /* offsets in head; each ends in NUL */
    uint16_t name_size, value_size;
} http_field_at;

typedef struct {
    const http_limits *limits;
    llhttp_t parser;
    enum { MSG_LINE, MSG_FIELDS, MSG_BODY, MSG_COMPLETE, MSG_BAD } at;

    fc_str head; /* the head's bytes; from GOT_HEAD on names and values end in NUL here, and it is not moved */
    size_t line; /* where the line under way begins */
    bool cr;     /* the last byte was a CR */
    bool blank;  /* an empty line came before the request line */
    http_field_at fields[HTTP_FIELDS_MAX];
    size_t n_fields;

    /* from GOT_HEAD on */
    const char *method, *path, *query,
        *host; /* query, host: "" when absent. Of a bad message: what is known, or NULL */
    size_t path_at, path_size;
    bool has_body, chunked, expects, keep, http10;
    uint64_t length; /* of the body, as announced; 0 when chunked */

    fc_str body; /* whole at GOT_DONE */

    /* framing of a chunked body */
    enum { FRAME_SIZE, FRAME_END, FRAME_TRAILER } frame; /* what the line under way is */
    const char *cursor;                                  /* of the bytes given: up to here they were looked at */
    fc_str frame_line;
    size_t frame_bytes;

    int status; /* GOT_BAD: 4xx or 5xx */
    const char *why;
} http_msg;

void http_msg_init(http_msg *m, const http_limits *limits); /* limits outlive it */
void http_msg_fini(http_msg *m);

/* *used: how many of the bytes belong to this message. After GOT_DONE and GOT_BAD it is not called again. */
http_got http_msg_feed(http_msg *m, const char *data, size_t size, size_t *used);

/* The first header of that name, "" when it is empty, NULL when it is absent. */
const char *http_msg_field(const http_msg *m, const char *name);

#endif
