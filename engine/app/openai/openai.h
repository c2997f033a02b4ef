/* openai - the HTTP API that everyone speaks, without sockets: a body becomes requests for the engine, their events
 * become an answer's bytes. Who has a socket does:
 *
 *   openai_call_parse       body -> call, or an error to answer with
 *   fc_submit               each of call->requests; a refusal goes through openai_error_of
 *   openai_call_trim        the body's tree and what only requests need are freed
 *   openai_answer_open      takes the call
 *   openai_answer_event     each event, with the place of its request in the call; bytes are appended to *out
 *
 * When not a byte has been sent yet a failure is an answer of its own (openai_error_put, with its HTTP status); behind
 * the first bytes of a stream it is openai_stream_error.
 *
 * Threads: what takes an openai_server that is not const is called from one thread, since the recipe belongs to it. An
 * answer belongs to one thread at a time, whichever that is.
 */
#ifndef FC_APP_OPENAI_H
#define FC_APP_OPENAI_H

#include "engine/base/str.h"
#include "engine/forkcast.h"
#include "engine/table.h"

/* What a request's `model` may name. */
typedef struct {
    const char *id;
    const char *root;                                /* the model behind it: a name or path */
    const char *parent;                              /* of an adapter: the id of its base; else NULL */
    const char *novelty_adapter, *alignment_adapter; /* loaded ones, or NULL */
} openai_model;

/* What is known of the table that /v1/lookup reads. */
typedef struct {
    bool histories; /* its keys are histories, not names of prompts */
    bool set;       /* whose order does not count */
    uint64_t seed;  /* of which a key's is made */
} openai_lookup;

/* What a server was started with. Strings and lists are borrowed; openai_server_init puts in what is 0. */
typedef struct {
    const openai_model *models; /* [n_models] the first is meant where a request names none */
    size_t n_models;
    const fc_tokenizer *tok[2]; /* by fc_role; no alignment model: NULL */
    fc_engine_info info;
    fc_recipe *recipe;       /* never NULL: "{}" where the server has none; has_recipe says which */
    bool has_recipe;         /* then what it says stands where a request is silent */
    const char *taxonomy;    /* id under which the recipe's names are registered, or NULL */
    const char *fingerprint; /* system_fingerprint */
    int64_t started;         /* Unix seconds: `created` of the models */
    bool usage_all;          /* completion_tokens counts all candidates, not the returned ones */
    int max_best_of;         /* 64, or what the recipe draws */
    int max_prompts;         /* 64 in one body */
    int chat_max_tokens;     /* 512, as far as the context goes: chat where nobody says max_tokens */
    int64_t max_draws;       /* 4194304: prompts x best_of x max_tokens of one body */
} openai_server;

fc_status openai_server_init(openai_server *s); /* after info and recipe are set; tells the recipe whether to score */

/* ---- errors ---- */

/* status and sentence as {"error":{message,type,param,code}}. */
typedef struct {
    int http;         /* 400 */
    const char *type; /* "BadRequestError"; static */
    char param[64];   /* the field, "": none */
    char message[1024];
    bool may_retry;  /* false: x-should-retry: false */
    int retry_after; /* seconds for Retry-After; 0: none */
} openai_error;

/* What a failed call of the engine or of this layer is over HTTP; param: the field, or NULL to read it from the
 * sentence. A full queue of a server that is `draining` is 503, else 429. */
void openai_error_of(fc_status st, const char *sentence, const char *param, bool draining, openai_error *out);
/* Of a status that has no fc_status: 401, 404, 405, 413, 415, ... */
void openai_error_http(int http, const char *sentence, openai_error *out);
fc_status openai_error_put(const openai_error *e, fc_str *out);    /* the JSON body */
fc_status openai_stream_error(const openai_error *e, fc_str *out); /* as an event, and [DONE] */

extern const char openai_ping[]; /* ": ping\n\n": keeps a stream alive */

/* ---- calls ---- */

typedef enum {
    OPENAI_COMPLETIONS = 0, /* /v1/completions */
    OPENAI_CHAT,            /* /v1/chat/completions */
    OPENAI_LOOKUP,          /* /v1/lookup, of a history that the table lacks */
    OPENAI_SCORE,           /* /score, /v1/score: vLLM's form or SGLang's, by the body */
    OPENAI_RERANK,          /* /rerank, /v1/rerank: Jina's form, or TEI's by the body */
    OPENAI_RERANK_V2        /* /v2/rerank: Cohere's */
} openai_route;

/* What is known of a request besides its body. */
typedef struct {
    const char *request_id; /* sane, for the answer's id; NULL: made of random */
    uint64_t random;        /* the seed where nobody gives one */
    int64_t now;            /* Unix seconds: `created` */
    const char *api_key;    /* whose prefixes and scores are whose; NULL: all share */
    const int *priority;    /* of a header; the body's goes first */
    openai_lookup lookup;
} openai_context;

enum { OPENAI_IGNORED = 192 };

typedef struct openai_call {
    openai_route route;
    fc_request *requests; /* [n_requests], for fc_submit in order; what they point to lives as long as the call */
    size_t n_requests;
    bool stream;       /* the answer is text/event-stream */
    bool sends_early;  /* bytes come before the end: worth a keep-alive when they do not */
    const char *model; /* as served */
    const char *prompt_field,
        *given_field;             /* of the body, where they have other names than prompt and documents; or NULL */
    char id[160];                 /* "cmpl-..." */
    char ignored[OPENAI_IGNORED]; /* fields that nobody knows, as "a, b"; as far as there is room, and sane names */
    struct openai_show *show;     /* for the answer */
    struct openai_held *held;     /* what everything lives in */
} openai_call;

fc_status openai_call_parse(openai_server *s, openai_route route, const openai_context *c, const char *body,
                            size_t size, openai_call **out, openai_error *err);
void openai_call_close(openai_call *c); /* NULL is fine */
/* The field of e by the name that it has in the call's body. */
void openai_error_field(const openai_call *c, openai_error *e);
/* Once its requests are submitted: of them only numbers, sampling and names that the server has are left. */
void openai_call_trim(openai_call *c);

/* ---- weights: bytes of memory ---- */

#define OPENAI_WEIGHT_MAX (SIZE_MAX / 4)

size_t openai_weigh_body(const char *body, size_t size); /* while it is read, and its requests are made */
size_t openai_weigh_answer(const openai_call *c);        /* from then on, before it is trimmed: at most, about */
int64_t openai_candidates(const fc_request *r);          /* drawn at most, or given */

/* The key of a lookup's body. *live: it is a history, which can be computed; ignored: as of a call. Of the server it
 * reads the models alone, which do not change: another thread may parse a call meanwhile. */
fc_status openai_lookup_key(openai_server *s, const openai_lookup *l, const char *body, size_t size, fc_str *key,
                            bool *live, char ignored[OPENAI_IGNORED], openai_error *e);
fc_status openai_lookup_row(const openai_lookup *l, const fc_table_row *r, fc_str *out); /* the answer out of a table */

/* ---- answers ---- */

typedef struct openai_answer openai_answer;

fc_status openai_answer_open(const openai_server *s, openai_call *c, openai_answer **out); /* the call is its own now */
void openai_answer_close(openai_answer *a);                                                /* NULL is fine */
const openai_call *openai_answer_call(const openai_answer *a);
size_t openai_answer_size(const openai_answer *a); /* bytes that it takes now */
/* ev belongs to the caller. *over: the answer is whole, stream end included. A failure is the whole answer's: the
 * other requests of the call are to be cancelled. */
fc_status openai_answer_event(openai_answer *a, size_t request, const fc_event *ev, fc_str *out, bool *over,
                              openai_error *err);

/* ---- answers at once ---- */

fc_status openai_models(const openai_server *s, fc_str *out);                                     /* /v1/models */
fc_status openai_model_one(const openai_server *s, const char *id, fc_str *out, openai_error *e); /* /v1/models/{id} */
fc_status openai_version(fc_str *out);                                                            /* /version */
/* /health, /livez, /ping: HTTP status and body. ready: loaded and not draining; alive: the engine thread answers. */
int openai_health(bool alive, bool ready, fc_str *out);
fc_status openai_tokenize(openai_server *s, const char *body, size_t size, fc_str *out, openai_error *e);
fc_status openai_detokenize(openai_server *s, const char *body, size_t size, fc_str *out, openai_error *e);

#endif
