/* listen - where connections come from, and what systemd is told. */
#ifndef FC_APP_HTTP_LISTEN_H
#define FC_APP_HTTP_LISTEN_H

#include "engine/base/status.h"

#include <stddef.h>

enum { HTTP_LISTENERS_MAX = 16, HTTP_ADDRESS_SIZE = 128 };

typedef struct {
    int fd;
    char name[HTTP_ADDRESS_SIZE]; /* "127.0.0.1:8000", "[::1]:8000", "unix:/run/forkcast.sock" */
    unsigned long long made[2];   /* device and inode of the socket file that is ours to remove; else 0 */
} http_listener;

/* Appends what the text names to out[*n], of HTTP_LISTENERS_MAX: "host:port" (an own port for 0; a name with several
 * addresses gives several), "[IPv6]:port", or "unix:PATH", whose file gets the mode. A Unix socket that nobody answers
 * is replaced, a live one is not. */
fc_status http_listen(const char *text, unsigned mode, http_listener *out, size_t *n);

/* Whether that may do, without listening: the address is one, its name is known, what lies at a socket's path may be
 * replaced. */
fc_status http_listen_check(const char *text);

/* What systemd has opened for this process (LISTEN_PID, LISTEN_FDS): none is no error. The variables are removed. */
fc_status http_listen_inherited(http_listener *out, size_t *n);

void http_listener_close(http_listener *l);

/* "READY=1", "STATUS=...", to who asked for it (NOTIFY_SOCKET); else nothing. A failure is a warning in the log. */
void http_notify(const char *state);

#endif
