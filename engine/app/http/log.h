/* log - lines for a descriptor that may be slow: a thread of its own writes them, so that a full pipe holds up
 * nobody. What finds no room is dropped, and the next line says how many were.
 */
#ifndef FC_APP_HTTP_LOG_H
#define FC_APP_HTTP_LOG_H

#include "engine/base/status.h"
#include "engine/base/str.h"

#include <stddef.h>
#include <stdint.h>

typedef struct http_log http_log;

enum { HTTP_LOG_ROOM = 256 * 1024 }; /* bytes that wait, at most */

fc_status http_log_open(int fd, http_log **out); /* the descriptor stays the caller's */
/* What waits is written first, within a second. NULL is fine. */
void http_log_close(http_log *l);
void http_log_put(http_log *l, const char *line, size_t size); /* with its line feed */

/* "2026-01-31T23:59:59.123Z" */
fc_status http_log_time(fc_str *out);

#endif
