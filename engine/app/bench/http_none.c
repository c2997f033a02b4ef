/* http_none - in a program that was built without libcurl. */
#include "engine/app/bench/http_client.h"

fc_status http_client_open(const char *key, http_client **out) {
    (void)key, (void)out;
    return FC_FAIL(FC_ERR_UNSUPPORTED, "--url: this program was built without libcurl (Debian: libcurl4-openssl-dev), "
                                       "so that it can ask no server; build it again where that is installed");
}

void http_client_close(http_client *c) { (void)c; }

fc_status http_client_send(http_client *c, const char *url, const char *body, size_t size, int tag) {
    (void)c, (void)url, (void)body, (void)size, (void)tag;
    return FC_FAIL(FC_ERR_INTERNAL, "no client was opened");
}

fc_status http_client_wait(http_client *c, int timeout_ms, http_answer *out) {
    (void)c, (void)timeout_ms, (void)out;
    return FC_FAIL(FC_ERR_INTERNAL, "no client was opened");
}

void http_client_cancel(http_client *c) { (void)c; }
