/* openai_rig - a server without sockets for tests of its API: an engine on tiny models, bodies in, bytes out. */
#ifndef FC_TESTS_APP_OPENAI_RIG_H
#define FC_TESTS_APP_OPENAI_RIG_H

#include "engine/app/openai/answer.h"
#include "tests/engine/util_engine.h"

typedef struct {
    fc_engine *e; /* NULL: parsing alone */
    fc_tokenizer *tok[2];
    openai_model models[2];
    openai_server s;
    openai_context c;
} rig;

/* recipe: JSON text, or NULL: a server without one. aligned: the novelty model scores, too. */
void rig_open(rig *r, const char *recipe, bool aligned);
/* The novelty model scores; ctx, kv_pool: of the engine, 0: its own. */
void rig_open_small(rig *r, const char *recipe, int ctx, uint64_t kv_pool);
/* The scoring model is another one, with another tokenizer. */
void rig_open_apart(rig *r, const char *recipe);
void rig_close(rig *r);

/* The call of a body; a failure fails the test. The caller closes it. */
openai_call *rig_parse(rig *r, openai_route route, const char *body);
/* The error of a body, as JSON, until the next call. A success fails the test. */
const char *rig_refused(rig *r, openai_route route, const char *body, int *http);
/* The whole answer of a body, stream or not, or the error's JSON with its status in *http (200). Freed by free. */
char *rig_post(rig *r, openai_route route, const char *body, int *http);
/* The bytes of a call once all of its requests have run; the call is gone. Freed by free. */
char *rig_run(rig *r, openai_call *c, int *http);

/* The texts of a stream's choice in a row: "text" or delta's "content". Freed by free. */
char *rig_joined(const char *stream, int index);
/* Number of places where `what` stands. */
int rig_count(const char *text, const char *what);

/* The document of a JSON answer; closed by fc_json_close. */
fc_json_doc *rig_json(const char *text);
/* A member by its path: "choices.0.text". Fails the test where there is none. */
const fc_json *rig_at(const fc_json_doc *d, const char *path);
const char *rig_text(const fc_json_doc *d, const char *path);
double rig_number(const fc_json_doc *d, const char *path);

#endif
