/* remote_json - what servers are asked and what they answer, without sockets. */
#ifndef FC_APP_BENCH_REMOTE_JSON_H
#define FC_APP_BENCH_REMOTE_JSON_H

#include "engine/app/bench/prompts.h"
#include "engine/app/bench/target.h"

/* What a server is known to understand besides OpenAI's fields. */
typedef enum { API_FORKCAST = 0, API_VLLM, API_LLAMA, API_OPENAI } bench_api;
fc_status bench_api_parse(const char *name, bench_api *out);
const char *bench_api_name(bench_api a);
bool remote_salts(bench_api a); /* it takes something that keeps caches apart */

typedef struct {
    bench_api api;
    const char *model;            /* NULL: the field is left out */
    const char *more;             /* fields of every request: a JSON object's inside, or NULL */
    const fc_request *r;          /* sampling, keep */
    const bench_prompts *prompts; /* drawn: its ids; else lines */
    uint64_t salt;                /* of the run */
} remote_form;

fc_status remote_body(const remote_form *f, const bench_ask *ask, fc_str *out);

/* What of an answer is read behind the first: texts of the choices, for a server that scores. Borrowed. */
typedef struct {
    const char **texts; /* [n] fc_free */
    size_t n;
} remote_texts;

/* An answer of status 200 into a sample; FC_ERR_FORMAT says what is missing. texts NULL: they are not wanted. */
fc_status remote_answer(bench_api api, const struct fc_json *root, bench_sample *s, remote_texts *texts);
/* {"model", "query", "documents"} of a rerank. */
fc_status remote_rank_body(const char *model, const char *query, const remote_texts *texts, fc_str *out);
/* The best score of its answer. */
fc_status remote_rank_answer(const struct fc_json *root, double *best);
/* The sentence of an error answer, or its beginning as it stands. */
void remote_error(int status, const char *body, size_t size, char *out, size_t room);

#endif
