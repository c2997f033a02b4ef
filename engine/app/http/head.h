/* head - checks of a request's head on its raw bytes: those that llhttp leaves out or takes leniently. Pure
 * functions, no memory, no sockets.
 *
 * A line is given without its CRLF. A sentence for the client is returned where something is wrong, else NULL.
 */
#ifndef FC_APP_HTTP_HEAD_H
#define FC_APP_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>

bool http_is_token(const char *text, size_t size);         /* RFC 9110 5.6.2; false when empty */
bool http_same(const char *a, size_t size, const char *b); /* b ends in NUL; letters of either case are one */

/* Bytes of one line of a head, which may be its first part: control characters, bare CR, bytes above ASCII where
 * `ascii`. *cr: the byte before was a CR; kept across parts. */
const char *http_line_bytes(const char *p, size_t size, bool ascii, bool *cr);

/* "METHOD SP target SP HTTP/d.d", single blanks. *status: 400, or 505 for a version other than 1.0 and 1.1. */
const char *http_request_line(const char *line, size_t size, int *status);
/* "name: value", no blank before the colon, not a folded line. */
const char *http_field_line(const char *line, size_t size);
/* A chunk's size with well-formed extensions. *last: the size is 0. */
const char *http_chunk_line(const char *line, size_t size, bool *last);

/* Percent escapes are whole and not of a NUL; nothing in the target that belongs to no URL. */
const char *http_target(const char *target, size_t size);

/* host[:port], as a name, IPv4 or [IPv6]. */
bool http_host_valid(const char *host, size_t size);
/* A name that only this machine answers to: localhost, names below it, 127.0.0.0/8, [::1]. */
bool http_host_is_loopback(const char *host, size_t size);
/* "https://app.example" or "http://localhost:3000", as a page's browser writes it: in lower case, no path. */
bool http_origin_valid(const char *text);
/* Compares hosts without their ports. */
bool http_host_is(const char *host, size_t size, const char *name);

/* [A-Za-z0-9._-]{1,128}: what may be echoed and logged as a request's id. */
bool http_id_valid(const char *text);
/* W3C trace context, version 00. */
bool http_traceparent_valid(const char *text);

#endif
