/* budget - the bytes that requests hold in a server: one bound over all of them, whoever holds them.
 *
 *   bodies    of requests, as they arrive, until they have been read
 *   parsed    trees of bodies that are being read
 *   answers   what answers under way are made of: claimed before anything is drawn
 *   unread    written, and not taken by the client yet
 *
 * The HTTP core owns it (http_memory) and counts bodies and unread; the layers above count the others there. What is
 * new may fill seven eighths of it: the last one is for what is under way. Any thread.
 */
#ifndef FC_APP_HTTP_BUDGET_H
#define FC_APP_HTTP_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum { HTTP_BODIES = 0, HTTP_PARSED, HTTP_ANSWERS, HTTP_UNREAD, HTTP_SHARES } http_share;

/* Zeroed, then `most`. used == the sum of by[], when nobody is in a call. */
typedef struct {
    size_t most; /* bytes */
    atomic_size_t used, by[HTTP_SHARES];
} http_budget;

size_t http_budget_new(const http_budget *b); /* as much as what is new may fill */
/* False, and nothing is counted: they would not fit. admit: something new; take: something under way. */
bool http_budget_admit(http_budget *b, http_share s, size_t size);
bool http_budget_take(http_budget *b, http_share s, size_t size);
void http_budget_hold(http_budget *b, http_share s, size_t size); /* what is there, whether it fits or not */
void http_budget_give(http_budget *b, http_share s, size_t size);
bool http_budget_fits(const http_budget *b, size_t size); /* something new would, now */
size_t http_budget_used(const http_budget *b);
size_t http_budget_share(const http_budget *b, http_share s);

#endif
