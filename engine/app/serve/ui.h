/* ui - the web page at /: the files of engine/app/serve/ui as one, put into the program when it is built. It asks for
 * nothing but this server's own endpoints, and its policy lets nothing else run or load.
 */
#ifndef FC_APP_SERVE_UI_H
#define FC_APP_SERVE_UI_H

#include "engine/app/http/http.h"

/* Of GET and HEAD: the page, or 304 where the client has it. */
void serve_ui(void *self, http_req *r, const char *rest);

/* Made by engine/app/embed_ui.cmake. */
extern const unsigned char serve_ui_page[]; /* no NUL behind */
extern const size_t serve_ui_page_size;
extern const char serve_ui_etag[];   /* quotes included */
extern const char serve_ui_policy[]; /* Content-Security-Policy */

#endif
