/* request_args - the options that bestof, run and score share: models, engine, sampling; and how they become a
 * request. */
#ifndef FC_APP_REQUEST_ARGS_H
#define FC_APP_REQUEST_ARGS_H

#include "engine/app/option_args.h"
#include "engine/app/progress.h"
#include "engine/base/str.h"
#include "engine/forkcast.h"

/* Where flags land. Zeroed, then request_args_init. */
typedef struct {
    const char *recipe, *novelty, *alignment, *taxonomy;
    const char *prompt, *prompt_file, *prompt_ids, *retrieved, *suffix;
    arg_list history, labels, adapters;
    option_args options;
    bool json;
    fc_request base;          /* what counts without recipe and flags; the command may change it */
    fc_engine_options engine; /* set by request_args_request */

    /* owned */
    fc_recipe *opened;
    char *prompt_text;
    size_t prompt_size;
    fc_piece piece, suffix_piece;
    int32_t *ids;
    size_t n_ids;
    fc_str shown; /* the prompt as text, for the JSON */
} request_args;

void request_args_init(request_args *a);
void request_args_fini(request_args *a);

/* Rows of a command's table, with headings; each appends to args[*n]. */
void request_args_taxonomy(request_args *a, arg *args, size_t *n);
void request_args_many(request_args *a, arg *args, size_t *n); /* how many are drawn, and how */
void request_args_one(request_args *a, arg *args, size_t *n);  /* how one is drawn */
void request_args_scoring(request_args *a, arg *args, size_t *n);
void request_args_ranking(request_args *a, bool drawn, arg *args, size_t *n);
void request_args_engine(request_args *a, arg *args, size_t *n); /* and what any request has */

/* The recipe of a path, or the built-in one of that name, over which a file wins. Caller: fc_recipe_close. */
fc_status request_args_recipe(const char *name, fc_recipe **out);

/* Reads recipe, prompt and files. The request points into *a. */
fc_status request_args_request(request_args *a, bool needs_alignment, fc_request *r);
/* The prompt as the user's turn of the chat template of the model of that role, behind a system message if there is
 * one. *out points to *pieces. Caller: fc_memory_free of them. */
fc_status request_args_chat(const request_args *a, fc_role role, const char *system, fc_prompt *out, fc_piece **pieces);
/* For many requests: opens the recipe, or one that says nothing, with the flags over it; then each request's templates
 * are filled, and what would add to an answer alone is left out. taxonomy: a name that the engine has for the recipe's
 * names, or NULL. What fill gives points into *a and is gone with the next call. */
fc_status request_args_many_open(request_args *a);
fc_status request_args_fill(request_args *a, const fc_holes *holes, const char *taxonomy, fc_request *r);
/* Opens the engine that the request needs, with its adapters and taxonomy, which *r then names; p says so meanwhile.
 * Caller: fc_engine_close. */
fc_status request_args_open(const request_args *a, fc_request *r, progress *p, fc_engine **engine);

/* Where an adapter of that name lies: what --adapter gives, or the name itself; NULL for NULL. */
const char *request_args_adapter(const request_args *a, const char *name);

/* Submits *r and waits for its done event; other events go to on_event (may be NULL), whose failure ends the wait.
 * Caller: fc_event_fini. */
fc_status request_wait(fc_engine *e, const fc_request *r, fc_status (*on_event)(void *self, const fc_event *ev),
                       void *self, fc_event *done);

#endif
