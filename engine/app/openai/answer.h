/* answer - an answer while its events come in; for the files that write parts of it. */
#ifndef FC_APP_OPENAI_ANSWER_H
#define FC_APP_OPENAI_ANSWER_H

#include "engine/app/openai/call.h"
#include "engine/app/print.h"

/* Tokens [from, to) of a text, and what is known of each. */
typedef struct {
    const int32_t *ids; /* [>= to] from the text's first */
    const float *lp;    /* [>= to] NAN: not known */
    size_t from, to;
    const int32_t *top_ids; /* [>= to, top] */
    const float *top_lp;
    int top;
    const int32_t *asked;  /* [n_asked] */
    const float *asked_lp; /* [>= to, n_asked] */
    int n_asked;
} openai_tokens;

/* What is said of one choice. */
typedef struct {
    int index;
    const char *text; /* [size] */
    size_t size;
    openai_tokens runs[2]; /* [n_runs] */
    size_t n_runs;
    bool over; /* the rest counts */
    fc_finish finish;
    int stop;        /* the stop string that ended it, or -1 */
    int32_t stop_id; /* the stop_token_ids' id that ended it, or -1 */
    double score;
    int candidate;
    const fc_result *prompt; /* also prompt_token_ids and prompt_logprobs, where asked for; NULL: not here */
} openai_choice;

/* A candidate that is streamed while it is drawn. */
typedef struct {
    void *ids, *lps;                 /* int32_t, float [n] drawn so far */
    void *top_ids, *top_lps, *asked; /* int32_t, float, float of each: alternatives, logprob_token_ids */
    size_t n, cap_ids, cap_lps, cap_top_ids, cap_top_lps, cap_asked;
    size_t shown;           /* of them in chunks */
    size_t offset;          /* characters in front of the next token */
    fc_str text;            /* not in a chunk yet */
    size_t came;            /* bytes that events have brought */
    bool began, over, told; /* has a chunk; has its end; that is in a chunk */
    fc_finish finish;
    int stop; /* as of a choice */
    int32_t stop_id;
} openai_live;

/* One request of the call. */
typedef struct {
    bool done;
    int64_t prompt_tokens, tokens, cached;
    fc_str choices;    /* not streamed: as JSON, apart by commas */
    fc_str record;     /* of `best_of` */
    fc_str beside;     /* chat: members of the answer that are a choice's in a completion */
    openai_live *live; /* [n_live] */
    size_t n_live;
    uint64_t *texts; /* [n_live] hash of a finished candidate's text, for votes; 0: not finished */
    double *scores;  /* [n_scores] of given texts, or of labels */
    size_t n_scores;
} openai_part;

struct openai_answer {
    const openai_server *s;
    openai_call *call;
    const openai_show *w;
    const fc_sampling *sampling; /* of the first request: all have the same */
    openai_part *parts;          /* [n_requests] */
    size_t n_done;
    bool chat;
    fc_str held; /* the last chunk with a finish_reason, open at its end: the record goes into the very last one */
};

/* logprobs.c. *offset: characters in front, and then behind. */
fc_status openai_put_logprobs(const openai_answer *a, const openai_choice *c, size_t *offset, fc_str *out);
fc_status openai_put_prompt_logprobs(const openai_answer *a, const fc_result *r, fc_str *out);

/* choice.c. The choices of a result, best first (or in candidate order), into out [at most w->n]; how many. */
fc_status openai_pick(const openai_answer *a, const fc_result *r, double blend, const fc_candidate **out, size_t *n);
bool openai_is_stop_id(const openai_answer *a, int32_t id);
void openai_describe(const openai_answer *a, const fc_result *r, const fc_candidate *c, int index, openai_choice *out);
fc_status openai_put_choice(const openai_answer *a, const openai_choice *c, bool delta, size_t *offset, fc_str *out);

/* answer.c */
fc_status openai_put_head(const openai_answer *a, const char *object, fc_str *out); /* {"id":..,"model":".." */
fc_status openai_put_usage(const openai_answer *a, fc_str *out);                    /* ,"usage":{..} */
fc_status openai_put_record(const openai_answer *a, fc_str *out);                   /* ,"best_of":.. */

/* The prompt as it was fed: what truncate_prompt_tokens left of it. */
fc_status openai_echoed(const openai_answer *a, size_t at, const fc_result *r, fc_str *text);
/* completion_tokens of a request: the end token counts, as it was drawn. */
void openai_count(const openai_answer *a, openai_part *part, const fc_result *r, const fc_candidate *const *picked,
                  size_t n);

/* stream.c */
fc_status openai_stream_event(openai_answer *a, size_t request, const fc_event *ev, fc_str *out);
fc_status openai_stream_result(openai_answer *a, size_t request, const fc_result *r, fc_str *out);
fc_status openai_stream_end(openai_answer *a, fc_str *out);

/* lookup.c */
fc_status openai_lookup_result(openai_answer *a, const fc_result *r, fc_str *out);

/* ranked.c */
fc_status openai_ranked_result(openai_answer *a, size_t request, const fc_result *r);
fc_status openai_ranked_end(openai_answer *a, fc_str *out);

#endif
