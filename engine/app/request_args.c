#include "engine/app/request_args.h"

#include "engine/app/textio.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void request_args_init(request_args *a) {
    memset(a, 0, sizeof *a);
    fc_sampling_init(&a->sampling);
    a->n = 16;
    a->keep = 4;
    a->seed = 1;
}

void request_args_fini(request_args *a) {
    fc_str_fini(&a->shown);
    fc_free(a->bias_values);
    fc_free(a->bias_ids);
    fc_free(a->stop_id_list);
    fc_free(a->ids);
    fc_free(a->prompt_text);
    fc_recipe_close(a->opened);
}

static void put(arg *args, size_t *n, arg a) { args[(*n)++] = a; }

void request_args_engine(request_args *a, arg *args, size_t *n) {
    put(args, n, arg_of(ARG_HEADING, "Engine:", NULL, NULL, NULL));
    put(args, n, arg_of(ARG_INT, "threads", &a->threads, "T", "threads; 0 (default): all cores"));
    put(args, n, arg_of(ARG_TEXT, "backend", &a->backend, "NAME", "auto or cpu"));
    put(args, n, arg_of(ARG_TEXT, "cpu", &a->cpu, "LEVEL", "auto, avx512, avx2 or portable"));
    put(args, n,
        arg_of(ARG_TEXT, "kv-type", &a->kv_type, "TYPE",
               "KV cache: f32, bf16 or int8; default f32 for f32 models, else bf16"));
    put(args, n,
        arg_of(ARG_BYTES, "kv-pool", &a->kv_pool, "BYTES",
               "KV memory of each model, such as 512M; default two contexts, at least 256M"));
    put(args, n,
        arg_of(ARG_INT, "ctx", &a->ctx, "N", "positions a request may use; 0 (default): the model's, at most 8192"));
    put(args, n, arg_of(ARG_INT, "max-rows", &a->max_rows, "N", "rows of one batch; 0 (default): 512"));
    put(args, n,
        arg_of(ARG_INT, "max-branches", &a->max_branches, "N",
               "KV timelines at once; 0 (default): 1024, or what n takes"));
    put(args, n,
        arg_of(ARG_INT, "page-slots", &a->page_slots, "P",
               "token slots of a KV page: 8, 16, 32 or 64; 0 (default): 16"));
}

void request_args_sampling(request_args *a, const char *max_tokens, arg *args, size_t *n) {
    fc_sampling *s = &a->sampling;
    put(args, n, arg_of(ARG_HEADING, "Sampling:", NULL, NULL, NULL));
    put(args, n, arg_of(ARG_U64, "seed", &a->seed, "S", "candidate i of a seed is the same for every n; default 1"));
    put(args, n, arg_of(ARG_INT, "max-tokens", &s->max_tokens, "N", max_tokens));
    put(args, n, arg_of(ARG_INT, "min-tokens", &s->min_tokens, "N", "no end before so many tokens"));
    put(args, n, arg_of(ARG_FLOAT, "temperature", &s->temperature, "T", "0 is greedy; default 1"));
    put(args, n, arg_of(ARG_INT, "top-k", &s->top_k, "K", "draw from the K most probable; 0 is off"));
    put(args, n, arg_of(ARG_FLOAT, "top-p", &s->top_p, "P", "draw from the most probable that reach mass P; 1 is off"));
    put(args, n, arg_of(ARG_FLOAT, "min-p", &s->min_p, "P", "drop what is under P times the most probable; 0 is off"));
    put(args, n,
        arg_of(ARG_FLOAT, "typical-p", &s->typical_p, "P", "draw from the most typical that reach mass P; 1 is off"));
    put(args, n,
        arg_of(ARG_FLOAT, "repetition-penalty", &s->repetition_penalty, "R", "over prompt and output; 1 is off"));
    put(args, n, arg_of(ARG_FLOAT, "presence-penalty", &s->presence_penalty, "R", "over the output; 0 is off"));
    put(args, n,
        arg_of(ARG_FLOAT, "frequency-penalty", &s->frequency_penalty, "R", "over the output, by count; 0 is off"));
    put(args, n,
        arg_of(ARG_LIST, "logit-bias", &a->bias, "ID=VALUE",
               "add VALUE to a token's logit; -inf forbids it; repeatable"));
    put(args, n,
        arg_of(ARG_LIST, "stop", &a->stop, "TEXT", "end a candidate before TEXT, taken as it stands; repeatable"));
    put(args, n, arg_of(ARG_LIST, "stop-token-id", &a->stop_ids, "ID", "end a candidate at a token; repeatable"));
    put(args, n, arg_of(ARG_TEXT, "end", &a->end, "TEXT", "text of one token that ends a candidate"));
    put(args, n, arg_of(ARG_FLAG, "ignore-eos", &s->ignore_eos, NULL, "the model's end tokens do not end a candidate"));
    put(args, n, arg_of(ARG_INT, "top-logprobs", &s->top_logprobs, "N", "alternatives of each token, in the JSON"));
}

/* ---- prompts ---- */

/* What is wrong with the ids is wrong in the file, so it is the file that is named. */
static fc_status read_ids(request_args *a, fc_request *r) {
    const char *where = strcmp(a->prompt_ids, "-") == 0 ? "standard input" : a->prompt_ids;
    fc_tokenizer *t = NULL;
    char *text, *shown;
    size_t size;
    fc_status st;
    FC_TRY(text_read(a->prompt_ids, &text, &size));
    st = text_ids(text, size, where, FC_ERR_FORMAT, &a->ids, &a->n_ids);
    fc_free(text);
    if (!st && a->n_ids == 0) st = FC_FAIL(FC_ERR_FORMAT, "%s: no token ids", where);
    if (!st) st = fc_tokenizer_open(a->novelty, &t);
    if (st) return st;
    if (fc_tokenizer_decode(t, a->ids, a->n_ids, true, &shown, &size))
        st = FC_FAIL(FC_ERR_FORMAT, "%s: %s", where, fc_last_error());
    else {
        st = fc_str_put(&a->shown, shown, size);
        fc_memory_free(shown);
    }
    fc_tokenizer_close(t);
    r->prompt = (fc_prompt){.ids = a->ids, .n_ids = a->n_ids};
    return st;
}

static fc_status read_prompt(request_args *a, fc_request *r) {
    int given = (a->prompt != NULL) + (a->prompt_file != NULL) + (a->prompt_ids != NULL);
    if (given != 1)
        return FC_FAIL(FC_ERR_ARG, "give the prompt once: --prompt, --prompt-file or --prompt-ids%s",
                       given ? "; more than one is given" : "");
    if (a->prompt_ids) return read_ids(a, r);
    if (a->prompt_file) FC_TRY(text_read(a->prompt_file, &a->prompt_text, &a->prompt_size));
    else a->prompt_size = strlen(a->prompt);
    a->piece = (fc_piece){.text = a->prompt_file ? a->prompt_text : a->prompt, .size = a->prompt_size};
    r->prompt = (fc_prompt){.pieces = &a->piece, .n_pieces = 1};
    return fc_str_put(&a->shown, a->piece.text, a->piece.size);
}

/* ---- flags over the recipe ---- */

static fc_status parse_biases(request_args *a, fc_sampling *s) {
    void *p;
    FC_TRY(fc_alloc(a->bias.n, sizeof *a->bias_ids, "logit bias", &p));
    a->bias_ids = p;
    FC_TRY(fc_alloc(a->bias.n, sizeof *a->bias_values, "logit bias", &p));
    a->bias_values = p;
    for (size_t i = 0; i < a->bias.n; i++) {
        const char *item = a->bias.items[i], *value = strchr(item, '=');
        char *end = NULL;
        float v = value ? strtof(value + 1, &end) : NAN;
        if (!value || end == value + 1 || *end || isnan(v) || !text_id(item, (size_t)(value - item), &a->bias_ids[i]))
            return FC_FAIL(FC_ERR_ARG, "--logit-bias: \"%s\" is not ID=VALUE", item);
        a->bias_values[i] = v;
    }
    s->bias_ids = a->bias_ids;
    s->bias_values = a->bias_values;
    s->n_bias = a->bias.n;
    return FC_OK;
}

static fc_status parse_stop_ids(request_args *a, fc_sampling *s) {
    void *p;
    FC_TRY(fc_alloc(a->stop_ids.n, sizeof *a->stop_id_list, "stop ids", &p));
    a->stop_id_list = p;
    for (size_t i = 0; i < a->stop_ids.n; i++) {
        const char *item = a->stop_ids.items[i];
        if (!text_id(item, strlen(item), &a->stop_id_list[i]))
            return FC_FAIL(FC_ERR_ARG, "--stop-token-id: \"%s\" is not a token id", item);
    }
    s->stop_ids = a->stop_id_list;
    s->n_stop_ids = a->stop_ids.n;
    return FC_OK;
}

/* score has no sampling options: given candidates are not drawn. */
static fc_status override_sampling(request_args *a, const command *c, fc_sampling *s) {
    const fc_sampling *f = &a->sampling;
    if (!args_known(c, "max-tokens")) return FC_OK;
    if (!a->recipe && !a->history.n) s->max_tokens = f->max_tokens; /* the command's own default */
    if (args_given(c, "max-tokens")) s->max_tokens = f->max_tokens;
    if (args_given(c, "min-tokens")) s->min_tokens = f->min_tokens;
    if (args_given(c, "temperature")) s->temperature = f->temperature;
    if (args_given(c, "top-k")) s->top_k = f->top_k;
    if (args_given(c, "top-p")) s->top_p = f->top_p;
    if (args_given(c, "min-p")) s->min_p = f->min_p;
    if (args_given(c, "typical-p")) s->typical_p = f->typical_p;
    if (args_given(c, "repetition-penalty")) s->repetition_penalty = f->repetition_penalty;
    if (args_given(c, "presence-penalty")) s->presence_penalty = f->presence_penalty;
    if (args_given(c, "frequency-penalty")) s->frequency_penalty = f->frequency_penalty;
    if (args_given(c, "ignore-eos")) s->ignore_eos = f->ignore_eos;
    if (args_given(c, "top-logprobs")) s->top_logprobs = f->top_logprobs;
    if (a->stop.n) {
        s->stop = a->stop.items;
        s->n_stop = a->stop.n;
    }
    if (a->stop_ids.n) FC_TRY(parse_stop_ids(a, s));
    return a->bias.n ? parse_biases(a, s) : FC_OK;
}

static void override_scoring(request_args *a, fc_request *r) {
    if (a->suffix) {
        a->suffix_piece = (fc_piece){.text = a->suffix, .size = strlen(a->suffix), .special = true};
        r->suffix = (fc_prompt){.pieces = &a->suffix_piece, .n_pieces = 1};
    }
    if (a->labels.n) {
        r->labels = a->labels.items;
        r->n_labels = a->labels.n;
    }
}

static fc_status show_pieces(request_args *a, const fc_prompt *p) {
    for (size_t i = 0; i < p->n_pieces; i++) FC_TRY(fc_str_put(&a->shown, p->pieces[i].text, p->pieces[i].size));
    return FC_OK;
}

/* A file wins over the built-in recipe of its name; without --recipe, --history uses that one. */
static fc_status open_recipe(request_args *a) {
    static const char builtin[] = "interests";
    if (a->recipe && (strcmp(a->recipe, builtin) != 0 || fc_path_exists(a->recipe)))
        return fc_recipe_open(a->recipe, &a->opened);
    return fc_recipe_builtin(builtin, &a->opened);
}

/* Flags override the recipe before it makes the request, so that it fills the templates that will be read, and no others. */
static fc_status use_recipe(request_args *a, const command *c, fc_request *r) {
    const fc_holes holes = {.prompt = a->prompt, .history = a->history.items, .n_history = a->history.n};
    fc_recipe_info *info;
    if (a->prompt_ids || a->prompt_file)
        return FC_FAIL(FC_ERR_ARG, "--%s: a recipe's template takes --prompt or --history",
                       a->prompt_ids ? "prompt-ids" : "prompt-file");
    FC_TRY(open_recipe(a));
    if (a->taxonomy) FC_TRY(fc_recipe_set_taxonomy(a->opened, a->taxonomy));
    info = fc_recipe_edit(a->opened);
    if (args_given(c, "n")) info->request.n = a->n;
    if (args_given(c, "keep")) info->request.keep = a->keep;
    if (args_given(c, "seed")) info->request.seed = a->seed;
    if (a->end) info->request.end = a->end;
    if (a->mode) FC_TRY(fc_score_mode_parse(a->mode, &info->request.mode));
    if (!a->novelty) a->novelty = info->novelty_model;
    if (a->alignment) info->alignment_model = a->alignment;
    else a->alignment = info->alignment_model;
    FC_TRY(fc_recipe_request(a->opened, &holes, r));
    return show_pieces(a, &r->prompt);
}

/* Without a recipe, --taxonomy only marks valid names. */
static fc_status use_flags(request_args *a, fc_request *r) {
    static const char empty[] = "{\"novelty\":{\"template\":\"{prompt}\"}}";
    if (!a->novelty) return FC_FAIL(FC_ERR_ARG, "--novelty: a model is needed");
    r->n = a->n;
    r->keep = a->keep;
    r->seed = a->seed;
    r->end = a->end;
    if (a->mode) FC_TRY(fc_score_mode_parse(a->mode, &r->mode));
    FC_TRY(read_prompt(a, r));
    if (!a->taxonomy) return FC_OK;
    FC_TRY(fc_recipe_parse("--taxonomy", empty, sizeof empty - 1, &a->opened));
    FC_TRY(fc_recipe_set_taxonomy(a->opened, a->taxonomy));
    r->n_names = fc_recipe_names(a->opened, &r->names);
    return FC_OK;
}

fc_status request_args_request(request_args *a, const command *c, bool needs_alignment, fc_request *r) {
    fc_request_init(r);
    if (a->recipe || a->history.n) FC_TRY(use_recipe(a, c, r));
    else FC_TRY(use_flags(a, r));
    FC_TRY(override_sampling(a, c, &r->sampling));
    override_scoring(a, r);
    if (!a->novelty) return FC_FAIL(FC_ERR_ARG, "--novelty: a model is needed, and the recipe names none");
    if (!a->alignment && needs_alignment)
        return FC_FAIL(FC_ERR_ARG, "--alignment: a model is needed, or none to rank by log-prob");
    r->score = a->alignment && strcmp(a->alignment, "none") != 0;
    if (!r->score && (a->mode || a->suffix || a->labels.n))
        return FC_FAIL(FC_ERR_ARG, "--mode, --suffix and --label need an alignment model");
    return FC_OK;
}

fc_status request_args_open(const request_args *a, const fc_request *r, progress *p, fc_engine **engine) {
    enum { USUAL_BRANCHES = 1024, SCORING = 2 }; /* the engine's default; branches that scoring needs besides n */
    bool two = r->score && !fc_path_same(a->novelty, a->alignment);
    fc_engine_options o = {
        .novelty = a->novelty,
        .alignment = r->score ? a->alignment : NULL,
        .kv_type = a->kv_type,
        .cpu = a->cpu,
        .backend = a->backend,
        .threads = a->threads,
        .ctx = a->ctx,
        .page_slots = a->page_slots,
        .max_rows = a->max_rows,
        .max_branches = a->max_branches,
        .kv_pool = a->kv_pool,
    };
    /* one request is all that runs here, so its n need not be said twice */
    if (!o.max_branches && r->n > USUAL_BRANCHES - SCORING) o.max_branches = r->n + SCORING;
    progress_say(p, "loading %s%s%s", a->novelty, two ? " and " : "", two ? a->alignment : "");
    return fc_engine_open(&o, engine);
}

/* Ends a request whose answer nobody can take any more; st and its sentence stay. */
static fc_status give_up(fc_engine *e, uint64_t id, fc_status st) {
    char why[256];
    bool over = false;
    snprintf(why, sizeof why, "%s", fc_last_error());
    if (fc_cancel(e, id)) over = true;
    while (!over) {
        fc_event ev;
        if (fc_poll(e, -1, &ev)) break;
        over = ev.type == FC_EVENT_DONE;
        fc_event_fini(&ev);
    }
    return FC_FAIL(st, "%s", why);
}

fc_status request_wait(fc_engine *e, const fc_request *r, fc_status (*on_event)(void *self, const fc_event *ev),
                       void *self, fc_event *done) {
    uint64_t id;
    FC_TRY(fc_submit(e, r, &id));
    for (;;) {
        fc_event ev;
        fc_status st = FC_OK;
        FC_TRY(fc_poll(e, -1, &ev));
        if (ev.type == FC_EVENT_DONE && ev.id == id) {
            *done = ev;
            return ev.status ? FC_FAIL(ev.status, "%s", ev.error) : FC_OK;
        }
        if (on_event) st = on_event(self, &ev);
        fc_event_fini(&ev);
        if (st) return give_up(e, id, st);
    }
}
