/* http_client - several POSTs at once, for the benchmark of servers. libcurl, where the program was built with it; else
 * opening one says that it was not. */
#ifndef FC_APP_BENCH_HTTP_CLIENT_H
#define FC_APP_BENCH_HTTP_CLIENT_H

#include "engine/base/status.h"

#include <stddef.h>

typedef struct http_client http_client;

/* key: a bearer token, or NULL. */
fc_status http_client_open(const char *key, http_client **out);
void http_client_close(http_client *c); /* NULL is fine; what is under way is dropped */

/* body is copied; type JSON. NULL body: a GET. */
fc_status http_client_send(http_client *c, const char *url, const char *body, size_t size, int tag);

typedef struct {
    int tag, status; /* status 0: there was no answer, and error says why */
    char *body;      /* [size], NUL behind; fc_free */
    size_t size;
    char error[200];
} http_answer;

/* FC_ERR_TIMEOUT when nothing ended. */
fc_status http_client_wait(http_client *c, int timeout_ms, http_answer *out);
/* All that is under way ends with status 0. */
void http_client_cancel(http_client *c);

#endif
