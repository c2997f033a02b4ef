/* keys - who may ask: a file of keys, and the key that a request brings.
 *
 * A line of the file is a key of 8 to 512 visible ASCII characters; empty lines and lines that begin with # are not.
 * Keys are kept as two SipHash values under keys of this process alone, and compared without a branch on what they
 * hold: neither time nor memory tells one. No error names a key.
 */
#ifndef FC_APP_HTTP_KEYS_H
#define FC_APP_HTTP_KEYS_H

#include "engine/app/http/http.h"

typedef struct http_keys http_keys;

fc_status http_keys_open(const char *path, http_keys **out); /* FC_ERR_FORMAT names the line */
void http_keys_close(http_keys *k);                          /* NULL is fine */
size_t http_keys_count(const http_keys *k);

/* The key that a request brings: of "Authorization: Bearer KEY", else of "x-api-key: KEY"; NULL when there is none. */
const char *http_credential(const http_req *r);
bool http_keys_have(const http_keys *k, const char *key); /* NULL is nobody's key */

#endif
