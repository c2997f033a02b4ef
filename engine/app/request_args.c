#include "engine/app/request_args.h"

#include "engine/app/textio.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <stdio.h>
#include <string.h>

void request_args_init(request_args *a) {
    memset(a, 0, sizeof *a);
    option_args_init(&a->options);
    fc_request_init(&a->base);
    a->base.n = 16;
    a->base.keep = 4;
    a->base.seed = 1;
}

void request_args_fini(request_args *a) {
    fc_str_fini(&a->shown);
    fc_free(a->ids);
    fc_free(a->prompt_text);
    fc_recipe_close(a->opened);
    option_args_fini(&a->options);
}

static void put(arg *args, size_t *n, arg a) { args[(*n)++] = a; }

static void heading(const char *text, arg *args, size_t *n) {
    put(args, n, arg_of(ARG_HEADING, text, NULL, NULL, NULL));
}

void request_args_taxonomy(request_args *a, arg *args, size_t *n) {
    put(args, n,
        arg_of(ARG_TEXT, "taxonomy", &a->taxonomy, "FILE",
               "TSV of the valid names: id, name, keywords, parent; marks them, see --constraint"));
}

static void adapters(request_args *a, arg *args, size_t *n) {
    put(args, n,
        arg_of(ARG_LIST, "adapter", &a->adapters, "NAME=FOLDER",
               "what an ADAPTER that is no folder stands for; repeatable"));
}

void request_args_one(request_args *a, arg *args, size_t *n) {
    heading("Candidates:", args, n);
    option_args_rows(&a->options, FC_PART_DRAW, args, n);
    adapters(a, args, n);
    heading("Sampling:", args, n);
    option_args_rows(&a->options, FC_PART_SAMPLING, args, n);
}

void request_args_many(request_args *a, arg *args, size_t *n) {
    heading("Candidates:", args, n);
    option_args_rows(&a->options, FC_PART_MANY, args, n);
    option_args_rows(&a->options, FC_PART_DRAW, args, n);
    adapters(a, args, n);
    heading("Sampling:", args, n);
    option_args_rows(&a->options, FC_PART_SAMPLING, args, n);
}

void request_args_scoring(request_args *a, arg *args, size_t *n) {
    heading("Scoring:", args, n);
    option_args_rows(&a->options, FC_PART_SCORE, args, n);
    put(args, n, arg_of(ARG_TEXT, "suffix", &a->suffix, "TEXT", "what the alignment model reads after the candidate"));
    put(args, n,
        arg_of(ARG_LIST, "label", &a->labels, "TEXT",
               "judge: one token each; the first one's probability is the score; default Yes, No"));
}

void request_args_ranking(request_args *a, bool drawn, arg *args, size_t *n) {
    heading("Ranking:", args, n);
    option_args_rows(&a->options, FC_PART_KEEP, args, n);
    if (drawn) option_args_rows(&a->options, FC_PART_RANK, args, n);
    else adapters(a, args, n);
}

void request_args_engine(request_args *a, arg *args, size_t *n) {
    heading("Request:", args, n);
    option_args_rows(&a->options, FC_PART_JOB, args, n);
    heading("Engine:", args, n);
    option_args_rows(&a->options, FC_PART_ENGINE, args, n);
}

/* ---- prompts ---- */

/* What is wrong with the ids is wrong in the file, so it is the file that is named. */
static fc_status read_ids(request_args *a, fc_request *r) {
    const char *where = strcmp(a->prompt_ids, "-") == 0 ? "standard input" : a->prompt_ids;
    fc_tokenizer *t = NULL;
    char *text, *shown;
    size_t size;
    fc_status st;
    st = text_read(a->prompt_ids, &text, &size);
    if (st) return FC_FAIL(st, "--prompt-ids: %s; it takes a file of ids, or -", fc_last_error());
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

static const char builtin[] = "interests";

fc_status request_args_recipe(const char *name, fc_recipe **out) {
    if (strcmp(name, builtin) != 0 || fc_path_exists(name)) return fc_recipe_open(name, out);
    return fc_recipe_builtin(builtin, out);
}

/* Flags override the recipe before it makes a request, so that it fills the templates that will be read, and no
 * others. */
static fc_status override_recipe(request_args *a) {
    fc_recipe_info *info;
    if (a->taxonomy) FC_TRY(fc_recipe_set_taxonomy(a->opened, a->taxonomy));
    info = fc_recipe_edit(a->opened);
    FC_TRY(option_args_set(&a->options, &info->engine, &info->request));
    /* what only the recipe's mask reads goes with the mask */
    if (option_args_gives(&a->options, "constraint") && info->request.constraint != FC_CONSTRAINT_MASK &&
        !option_args_gives(&a->options, "full_logprob"))
        info->request.full_logprob = false;
    a->engine = info->engine;
    if (!a->novelty) a->novelty = info->novelty_model;
    if (a->alignment) info->alignment_model = a->alignment;
    else a->alignment = info->alignment_model;
    return FC_OK;
}

static fc_status use_recipe(request_args *a, fc_request *r) {
    const fc_holes holes = {
        .prompt = a->prompt, .retrieved = a->retrieved, .history = a->history.items, .n_history = a->history.n};
    if (a->prompt_ids || a->prompt_file)
        return FC_FAIL(FC_ERR_ARG, "--%s: a recipe's template takes --prompt or --history",
                       a->prompt_ids ? "prompt-ids" : "prompt-file");
    FC_TRY(request_args_recipe(a->recipe ? a->recipe : builtin, &a->opened)); /* --history alone uses that one */
    FC_TRY(override_recipe(a));
    FC_TRY(fc_recipe_request(a->opened, &holes, r));
    return show_pieces(a, &r->prompt);
}

/* Without a recipe, an empty one holds the taxonomy. */
static fc_status use_flags(request_args *a, fc_request *r) {
    if (!a->novelty) return FC_FAIL(FC_ERR_ARG, "--novelty: a model is needed");
    *r = a->base;
    if (a->retrieved) return FC_FAIL(FC_ERR_ARG, "--retrieved: it is for {retrieved} of a recipe");
    FC_TRY(option_args_set(&a->options, &a->engine, r));
    FC_TRY(read_prompt(a, r));
    if (!a->taxonomy) return FC_OK;
    FC_TRY(fc_recipe_parse("--taxonomy", "{}", 2, &a->opened));
    return fc_recipe_set_taxonomy(a->opened, a->taxonomy);
}

/* What shows in the JSON alone would be computed for nobody. A recipe may ask for it: it serves others, too. */
static fc_status check_shown(const request_args *a, const fc_request *r) {
    const struct {
        const char *name;
        bool on;
    } in_json[] = {{"prompt_logprobs", r->prompt_logprobs},
                   {"prompt_top_logprobs", r->prompt_top_logprobs > 0},
                   {"logprob_token_ids", r->sampling.n_logprob_ids > 0},
                   {"top_logprobs", r->sampling.top_logprobs > 0}};
    char flag[32];
    for (size_t i = 0; !a->json && i < sizeof in_json / sizeof *in_json; i++)
        if (in_json[i].on && option_args_gives(&a->options, in_json[i].name))
            return FC_FAIL(FC_ERR_ARG, "--%s: it adds to the JSON; give --json too",
                           option_flag(fc_option_find(in_json[i].name), flag, sizeof flag));
    return FC_OK;
}

/* What costs rows or time, and of which nothing is kept where many requests are filled. */
static fc_status check_kept(const request_args *a) {
    static const char *const names[] = {"prompt_logprobs", "prompt_top_logprobs", "logprob_token_ids", "top_logprobs"};
    char flag[32];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (option_args_gives(&a->options, names[i]))
            return FC_FAIL(FC_ERR_ARG, "--%s: nothing of it is kept here",
                           option_flag(fc_option_find(names[i]), flag, sizeof flag));
    return FC_OK;
}

static void leave_out(fc_request *r) {
    r->prompt_logprobs = false;
    r->prompt_top_logprobs = 0;
    r->sampling.top_logprobs = 0;
    r->sampling.n_logprob_ids = 0;
}

/* What only an alignment model reads. */
static fc_status check_unscored(const request_args *a) {
    const fc_option *o = option_args_given(&a->options, FC_PART_SCORE);
    char flag[32];
    if (!o && !a->suffix && !a->labels.n) return FC_OK;
    return FC_FAIL(FC_ERR_ARG, "--%s: it needs an alignment model",
                   o           ? option_flag(o, flag, sizeof flag)
                   : a->suffix ? "suffix"
                               : "label");
}

static fc_status check_models(const request_args *a, bool needs_alignment) {
    if (!a->novelty) return FC_FAIL(FC_ERR_ARG, "--novelty: a model is needed, and the recipe names none");
    if (!a->alignment && needs_alignment)
        return FC_FAIL(FC_ERR_ARG, "--alignment: a model is needed, or none to rank by log-prob");
    return FC_OK;
}

static bool is_scored(const request_args *a) { return a->alignment && strcmp(a->alignment, "none") != 0; }

fc_status request_args_many_open(request_args *a) {
    if (a->recipe) FC_TRY(request_args_recipe(a->recipe, &a->opened));
    else FC_TRY(fc_recipe_parse("no recipe", "{}", 2, &a->opened));
    FC_TRY(override_recipe(a));
    FC_TRY(check_kept(a));
    FC_TRY(check_models(a, true));
    return is_scored(a) ? FC_OK : check_unscored(a);
}

fc_status request_args_fill(request_args *a, const fc_holes *holes, const char *taxonomy, fc_request *r) {
    FC_TRY(fc_recipe_request(a->opened, holes, r));
    override_scoring(a, r);
    leave_out(r);
    r->score = is_scored(a);
    if (!taxonomy) return FC_OK;
    r->taxonomy = taxonomy;
    r->names = NULL;
    r->n_names = 0;
    return FC_OK;
}

fc_status request_args_request(request_args *a, bool needs_alignment, fc_request *r) {
    if (a->recipe || a->history.n) FC_TRY(use_recipe(a, r));
    else FC_TRY(use_flags(a, r));
    override_scoring(a, r);
    FC_TRY(check_shown(a, r));
    FC_TRY(check_models(a, needs_alignment));
    r->score = is_scored(a);
    if (r->score && r->sampling.max_tokens == 0 && r->prompt_logprobs)
        return FC_FAIL(FC_ERR_ARG,
                       "--max-tokens: 0 draws nothing, so there is nothing to score; give --alignment none");
    return r->score ? FC_OK : check_unscored(a);
}

/* ---- chat ---- */

fc_status request_args_chat(const request_args *a, fc_role role, const char *system, fc_prompt *out,
                            fc_piece **pieces) {
    const char *text = a->prompt_text ? a->prompt_text : a->prompt;
    fc_tokenizer *t;
    fc_message m[2];
    size_t n = 0, n_pieces;
    fc_status st;
    if (a->prompt_ids) return FC_FAIL(FC_ERR_ARG, "--chat: the template takes text, not --prompt-ids");
    if (!text) return FC_FAIL(FC_ERR_ARG, "--chat: a prompt is needed");
    if (a->prompt_text && memchr(text, 0, a->prompt_size))
        return FC_FAIL(FC_ERR_ARG, "--chat: the prompt has a NUL byte");
    if (system) m[n++] = (fc_message){"system", system};
    m[n++] = (fc_message){"user", text};
    FC_TRY(fc_tokenizer_open(role == FC_NOVELTY ? a->novelty : a->alignment, &t));
    st = fc_tokenizer_chat(t, m, n, true, pieces, &n_pieces);
    fc_tokenizer_close(t);
    if (!st) *out = (fc_prompt){.pieces = *pieces, .n_pieces = n_pieces};
    return st;
}

/* ---- engine ---- */

/* The folder that --adapter gives for a name, or NULL. */
static const char *adapter_folder(const arg_list *adapters, const char *name) {
    for (size_t i = 0; i < adapters->n; i++) {
        const char *item = adapters->items[i];
        size_t n = strcspn(item, "=");
        if (strlen(name) == n && memcmp(item, name, n) == 0) return item + n + 1;
    }
    return NULL;
}

const char *request_args_adapter(const request_args *a, const char *name) {
    const char *folder = name ? adapter_folder(&a->adapters, name) : NULL;
    return folder ? folder : name;
}

static fc_status check_adapters(const arg_list *adapters, const fc_request *r) {
    const char *used[2] = {r->novelty_adapter, r->alignment_adapter};
    for (size_t i = 0; i < adapters->n; i++) {
        const char *item = adapters->items[i], *equals = strchr(item, '=');
        size_t n = equals ? (size_t)(equals - item) : 0;
        if (!n || !equals[1]) return FC_FAIL(FC_ERR_ARG, "--adapter: \"%.80s\" is not NAME=FOLDER", item);
        for (size_t k = 0; k < i; k++)
            if (strncmp(adapters->items[k], item, n + 1) == 0)
                return FC_FAIL(FC_ERR_ARG, "--adapter: \"%.*s\" is given twice", (int)(n < 80 ? n : 80), item);
        if (!(used[0] && strlen(used[0]) == n && memcmp(used[0], item, n) == 0) &&
            !(used[1] && strlen(used[1]) == n && memcmp(used[1], item, n) == 0))
            return FC_FAIL(FC_ERR_ARG,
                           "--adapter: \"%.*s\" is used by neither --novelty-adapter nor --alignment-adapter",
                           (int)(n < 80 ? n : 80), item);
    }
    return FC_OK;
}

/* The adapters that the request names, each from the folder of that name or that --adapter gives, into out [2]. */
static size_t need_adapters(const request_args *a, const fc_request *r, bool one_file, fc_adapter_option *out) {
    const char *used[2] = {r->novelty_adapter, r->alignment_adapter};
    size_t n = 0;
    for (int role = 0; role < 2; role++) {
        if (!used[role] || (role == 1 && one_file && used[0] && strcmp(used[0], used[1]) == 0)) continue;
        out[n++] = (fc_adapter_option){
            .name = used[role], .path = request_args_adapter(a, used[role]), .model = role ? FC_ALIGNMENT : FC_NOVELTY};
    }
    return n;
}

/* The recipe's taxonomy, with the columns that the request's own names cannot have. */
static fc_status set_taxonomy(const request_args *a, fc_engine *e, fc_request *r) {
    fc_taxonomy_names t;
    if (!a->opened || !fc_recipe_taxonomy(a->opened, &t)) return FC_OK;
    t.id = "recipe";
    FC_TRY(fc_engine_set_taxonomy(e, &t));
    r->taxonomy = t.id;
    r->names = NULL;
    r->n_names = 0;
    return FC_OK;
}

/* KV tables that the request takes at most: a candidate's each, two prompts', and those that hold the tails that are
 * scored: at most four ids for each drawn one (engine/sched.h). Of an unknown context the least is taken. */
static int branches_of(const fc_request *r, int ctx) {
    enum { LEAST_CTX = 256, TAIL_IDS = 4, OTHERS = 4 };
    int64_t n = r->n_max > r->n ? r->n_max : r->n,
            tails = n * TAIL_IDS * r->sampling.max_tokens / (ctx ? ctx : LEAST_CTX);
    return (int)(r->n + OTHERS + (tails < n ? tails : n));
}

fc_status request_args_open(const request_args *a, fc_request *r, progress *p, fc_engine **engine) {
    enum { USUAL_BRANCHES = 1024 }; /* the engine's default */
    bool two = r->score && !fc_path_same(a->novelty, a->alignment);
    fc_adapter_option adapters[2];
    fc_engine_options o = a->engine;
    fc_engine *e;
    fc_status st;
    FC_TRY(check_adapters(&a->adapters, r));
    o.novelty = a->novelty;
    o.alignment = r->score ? a->alignment : NULL;
    o.adapters = adapters;
    o.n_adapters = need_adapters(a, r, !two, adapters);
    /* one request is all that runs here, so its n need not be said twice */
    if (!o.max_branches && branches_of(r, o.ctx) > USUAL_BRANCHES) o.max_branches = branches_of(r, o.ctx);
    progress_say(p, "loading %s%s%s", a->novelty, two ? " and " : "", two ? a->alignment : "");
    FC_TRY(fc_engine_open(&o, &e));
    st = set_taxonomy(a, e, r);
    if (st) {
        fc_engine_close(e);
        return st;
    }
    *engine = e;
    return FC_OK;
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
