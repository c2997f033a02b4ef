/* openapi - the bytes of /openapi.json, put into the program when it is built: openapi.json with the schemas of
 * openapi_requests.json and openapi_answers.json, which are kept by hand (openapi.cmake). No NUL behind. */
#ifndef FC_APP_OPENAPI_H
#define FC_APP_OPENAPI_H

#include <stddef.h>

extern const unsigned char openapi_text[];
extern const size_t openapi_text_size;

#endif
