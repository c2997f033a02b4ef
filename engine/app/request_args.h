/* request_args - the options that bestof, run and score share: models, engine, sampling; and how they become a request. */
#ifndef FC_APP_REQUEST_ARGS_H
#define FC_APP_REQUEST_ARGS_H

#include "engine/app/args.h"
#include "engine/app/progress.h"
#include "engine/base/str.h"
#include "engine/forkcast.h"

/* Where option values land. Zeroed, then request_args_init. */
typedef struct {
    const char *recipe, *novelty, *alignment, *taxonomy;
    const char *prompt, *prompt_file, *prompt_ids, *mode, *suffix, *end, *kv_type, *cpu, *backend;
    arg_list history, labels, stop, bias, stop_ids;
    fc_sampling sampling;
    int n, keep, threads, ctx, max_rows, max_branches, page_slots;
    uint64_t seed, kv_pool;
    bool json;

    /* owned */
    fc_recipe *opened;
    char *prompt_text;
    size_t prompt_size;
    fc_piece piece, suffix_piece;
    int32_t *ids, *bias_ids, *stop_id_list;
    float *bias_values;
    size_t n_ids;
    fc_str shown; /* the prompt as text, for the JSON */
} request_args;

void request_args_init(request_args *a);
void request_args_fini(request_args *a);

/* Rows of the option table; each appends to args[*n]. */
void request_args_engine(request_args *a, arg *args, size_t *n);
void request_args_sampling(request_args *a, const char *max_tokens, arg *args, size_t *n); /* max_tokens: its help */

/* Reads recipe, prompt and files. The request points into *a. c: the parsed command, for what was given. */
fc_status request_args_request(request_args *a, const command *c, bool needs_alignment, fc_request *r);
/* Opens the engine that the request needs; p says so meanwhile. Caller: fc_engine_close. */
fc_status request_args_open(const request_args *a, const fc_request *r, progress *p, fc_engine **engine);

/* Submits *r and waits for its done event; other events go to on_event (may be NULL), whose failure ends the wait. Caller:
 * fc_event_fini. */
fc_status request_wait(fc_engine *e, const fc_request *r, fc_status (*on_event)(void *self, const fc_event *ev),
                       void *self, fc_event *done);

#endif
