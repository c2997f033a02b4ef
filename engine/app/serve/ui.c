/* ui - the web page: its bytes are constant, so are its headers. */
#include "engine/app/serve/ui.h"

#include <string.h>

/* If-None-Match: a list of tags, weak ones too, or "*". */
static bool has_it(const char *tags) {
    const size_t n = strlen(serve_ui_etag);
    while (tags && *tags) {
        tags += strspn(tags, " \t,");
        if (*tags == '*') return true;
        if (strncmp(tags, "W/", 2) == 0) tags += 2;
        if (strncmp(tags, serve_ui_etag, n) == 0) return true;
        tags += strcspn(tags, ",");
    }
    return false;
}

void serve_ui(void *self, http_req *r, const char *rest) {
    const struct {
        const char *name, *value;
    } fields[] = {{"ETag", serve_ui_etag},
                  {"Cache-Control", "no-cache"}, /* kept, and asked about each time */
                  {"Content-Security-Policy", serve_ui_policy},
                  {"Cross-Origin-Opener-Policy", "same-origin"},
                  {"Cross-Origin-Resource-Policy", "same-origin"},
                  {"Referrer-Policy", "no-referrer"},
                  {"X-Content-Type-Options", "nosniff"}};
    const char *type = "text/html; charset=utf-8";
    (void)self, (void)rest;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (http_field(r, fields[i].name, fields[i].value)) {
            http_fail(r, 503, "out of memory");
            return;
        }
    if (has_it(http_header(r, "if-none-match"))) http_answer(r, 304, NULL, "", 0);
    else http_answer(r, 200, type, serve_ui_page, serve_ui_page_size);
}
