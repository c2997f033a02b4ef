/* call - what a parsed body holds beside its requests; for the files of this layer. */
#ifndef FC_APP_OPENAI_CALL_H
#define FC_APP_OPENAI_CALL_H

#include "engine/app/openai/openai.h"
#include "engine/base/json.h"
#include "engine/base/mem.h"

enum {
    OPENAI_VALUES_MAX = 1 << 19, /* commas of a body: each value costs more than a hundred bytes */
    OPENAI_LOGPROBS_MAX = 20,
    OPENAI_STOPS_MAX = 16,
    OPENAI_STOP_BYTES = 256
};

/* A prompt as it is fed: templates filled, ids decoded. */
typedef struct {
    const char *text; /* [size] */
    size_t size;
    size_t tokens; /* counted in advance, for the usage of chunks; 0: not counted */
} openai_prompt;

/* How scores are shown. */
typedef enum { OPENAI_AS_SCORES = 0, OPENAI_AS_LABELS, OPENAI_AS_RERANK, OPENAI_AS_COHERE, OPENAI_AS_TEI } openai_as;

/* A text that is scored, of request `request` its candidate `place`. */
typedef struct {
    const char *text; /* NULL: ids */
    size_t size;
    size_t request;
    int place;
} openai_scored;

/* What the answer needs. */
typedef struct openai_show {
    int64_t created;
    /* completions, both kinds */
    bool echo, logprobs, prompt_logprobs, return_ids, ids_as_tokens;
    bool distinct; /* choices are different candidates: by wish, or by diversity or draw */
    bool events, all, include_usage, continuous;
    bool in_order; /* a stream of all that is drawn: choices are in candidate order */
    bool live;     /* and each is streamed while it is drawn */
    int n, best_of;
    openai_prompt *prompts; /* [n_requests] */
    /* scores */
    openai_as as;
    openai_scored *docs; /* [n_docs] */
    size_t n_docs;
    int n_labels;    /* AS_LABELS: a document's requests follow one another, one a label */
    int top;         /* the best so many are shown */
    bool activation; /* scores are made probabilities */
    bool with_text;
    const char *key; /* of a lookup */
    bool drawn;      /* AS_LABELS: of the whole vocabulary, from a drawn token's log-probs */
} openai_show;

/* What a call lives in. */
typedef struct openai_held {
    fc_arena arena, kept;     /* kept: what the answer needs, too */
    fc_json_doc *doc, *inner; /* the body; a `forkcast` that came as text */
    fc_request base;          /* the values of the body over those of the recipe */
    fc_option_target set;     /* into base */
    fc_recipe *own;           /* the request's own alignment template, suffix and labels */
} openai_held;

enum { OPENAI_FILLED = 8 << 20 }; /* bytes of all templates of a body, filled */

/* A body while it is read. */
typedef struct {
    openai_server *s;
    const openai_context *c;
    openai_call *call;
    openai_held *held;
    openai_show *show;
    fc_request *base;    /* held->base */
    const fc_json *root; /* the body's object */
    const fc_json *more; /* the `forkcast` object, or NULL */
    const char *param;   /* the field that is read: where an error is */
    int http;            /* of an error that has a status of its own; else 0 */
    bool chat;
    bool own_template, own_suffix, own_labels; /* what held->own has */
    bool no_score;
    int usual_tokens;           /* of a request that does not say max_tokens */
    const char *taxonomy;       /* id, or NULL */
    const char *const *choices; /* [n_choices] the request's own names */
    size_t n_choices;
    const char *const *history; /* [n_history] */
    size_t n_history;
    const char *retrieved; /* NULL: none, and the hole is empty */
    size_t filled;         /* bytes of the templates that were filled so far */
} openai_parse;

/* The member of that name, and p->param; NULL where it is absent or null. */
const fc_json *openai_get(openai_parse *p, const fc_json *object, const char *name);
/* Booleans and texts of the body's object; *out stays where the field is absent. */
fc_status openai_get_bool(openai_parse *p, const char *name, bool *out);
fc_status openai_get_text(openai_parse *p, const char *name, const char **out);
fc_status openai_get_int(openai_parse *p, const char *name, int64_t min, int64_t max, int64_t *out);
/* FC_ERR_ARG with the field's name in front, p->param. */
fc_status openai_refuse(openai_parse *p, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
fc_status openai_alloc(openai_parse *p, size_t count, size_t size, void *out_ptr); /* until the call is trimmed */
fc_status openai_keep(openai_parse *p, size_t count, size_t size, void *out_ptr);  /* until its answer is closed */
/* A list of strings, each not empty, into texts [*n]. */
fc_status openai_get_texts(openai_parse *p, const fc_json *list, const char *const **texts, size_t *n);
/* Ids of a list, below the vocabulary of role. */
fc_status openai_get_ids(openai_parse *p, const fc_json *list, fc_role role, const int32_t **ids, size_t *n);

/* Reads a body into a document of held; also how many values it may have. */
fc_status openai_read(const char *body, size_t size, fc_json_doc **out);
fc_status openai_pick_model(openai_parse *p, const openai_model **out); /* by `model`; 404 */
fc_status openai_set_option(openai_parse *p, const char *name, const fc_json *value);
void openai_ignore(openai_parse *p, const char *name); /* call->ignored: a field that nobody knows */
fc_status openai_read_taken(openai_parse *p);          /* fields that are OPENAI_TAKEN */
/* What a failure of p's reading is over HTTP. */
void openai_parse_error(const openai_parse *p, fc_status st, openai_error *e);
bool openai_asks_nothing(const fc_json *n);                  /* false, an empty list or object */
fc_status openai_read_id(openai_parse *p, const char *kind); /* call->id: "cmpl-..." */
fc_status openai_read_salt(openai_parse *p);                 /* cache_salt */
fc_status openai_read_specials(openai_parse *p);             /* add_special_tokens */

/* more.c: the `forkcast` object, wherever it is; n and best_of out of it where it has them. */
fc_status openai_more_find(openai_parse *p);
fc_status openai_more_read(openai_parse *p, int64_t *n, int64_t *best_of);
bool openai_is_more(const char *name); /* a member of it: an option of a request, or what is none */
/* form.c: choice out of structured_outputs, guided_choice, response_format. */
fc_status openai_form_read(openai_parse *p);
/* prompt.c: requests out of prompt or messages. */
fc_status openai_prompts_read(openai_parse *p);
/* The recipe's request for one prompt text, all of it the call's; `said` NULL: without one. */
fc_status openai_fill(openai_parse *p, const char *said, fc_request *out);
/* messages.c: messages as pieces of the model's template; *said: the last user's text. */
fc_status openai_messages_read(openai_parse *p, const fc_json *list, fc_role role, fc_prompt *out, const char **said);
/* Forms of the bodies that are scored: labels by the alignment model, or from a drawn token. */
enum {
    OPENAI_FORM_PAIRS = 1,
    OPENAI_FORM_JUDGED = 2,
    OPENAI_FORM_DRAWN = 4,
    OPENAI_FORM_RERANK = 8,
    OPENAI_FORM_TEI = 16
};
/* score_fields.c: refuses what means nothing in the form; p->more. */
fc_status openai_score_fields(openai_parse *p, int form);
/* score.c */
fc_status openai_score_read(openai_parse *p);
fc_status openai_rerank_read(openai_parse *p);
fc_status openai_lookup_read(openai_parse *p); /* lookup.c */

/* token.c. The bytes of ids[at] as they stand in the text of ids; `special`: names of special tokens too. An id
 * that the tokenizer does not know has none. */
fc_status openai_token_text(const fc_tokenizer *t, const int32_t *ids, size_t at, bool special, fc_str *out);
size_t openai_chars(const char *text, size_t size); /* code points */
/* Ids of a prompt, freed by fc_memory_free: as the engine makes them, but where text of the prompt is also a special
 * token's name or joins with a template's. */
fc_status openai_prompt_ids(const fc_tokenizer *t, const fc_prompt *p, bool bos, int32_t **ids, size_t *n);

#endif
