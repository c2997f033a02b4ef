/* bestof - the main job from the command line. */
#include "engine/app/commands.h"
#include "engine/app/print.h"
#include "engine/app/request_args.h"
#include "engine/app/textio.h"

/* What --chat adds: prompts by the models' own templates. */
typedef struct {
    bool on;
    const char *system;
    fc_piece *pieces[2]; /* by fc_role; owned */
} chat;

/* Before the engine is opened: the novelty model's. */
static fc_status chat_begin(request_args *a, chat *c, fc_request *r) {
    FC_TRY(request_args_chat(a, FC_NOVELTY, c->system, &r->prompt, &c->pieces[FC_NOVELTY]));
    fc_str_clear(&a->shown);
    for (size_t i = 0; i < r->prompt.n_pieces; i++)
        FC_TRY(fc_str_put(&a->shown, r->prompt.pieces[i].text, r->prompt.pieces[i].size));
    return FC_OK;
}

/* Then: an alignment model with another tokenizer reads its own template, where it has one. */
static void chat_align(const request_args *a, chat *c, const fc_engine *e, fc_request *r) {
    fc_engine_info info;
    fc_prompt p;
    fc_engine_describe(e, &info);
    if (!r->score || r->alignment_prompt.n_pieces || info.same_tokenizer) return;
    if (request_args_chat(a, FC_ALIGNMENT, c->system, &p, &c->pieces[FC_ALIGNMENT]) == FC_OK) r->alignment_prompt = p;
}

static fc_status job(request_args *a, chat *c, bool all) {
    fc_engine *e = NULL;
    fc_event done = {0};
    fc_str out = {0};
    fc_request r;
    progress p;
    fc_status st = request_args_request(a, true, &r);
    progress_begin(&p);
    if (!st && c->on) st = chat_begin(a, c, &r);
    if (!st) st = request_args_open(a, &r, &p, &e);
    if (!st && c->on) chat_align(a, c, e, &r);
    r.events = p.seen;
    p.n = r.n;
    if (!st) st = request_wait(e, &r, progress_event, &p, &done);
    progress_end(&p);
    if (!st && a->json)
        st = print_json(done.result,
                        &(print_options){.prompt = fc_str_text(&a->shown), .prompt_size = a->shown.size, .all = all},
                        &out);
    else if (!st) st = print_table(done.result, &out);
    if (!st) st = text_write(fc_str_text(&out), out.size);
    fc_str_fini(&out);
    fc_event_fini(&done);
    fc_engine_close(e);
    for (int role = 0; role < 2; role++) fc_memory_free(c->pieces[role]);
    return st;
}

int cmd_bestof(int argc, char **argv) {
    request_args a;
    chat with = {0};
    bool all = false, help;
    int rest;
    size_t n = 0;
    arg args[ARGS_MAX];
    command c = {
        .name = "bestof",
        .usage = "bestof [--recipe R] --novelty MODEL --alignment MODEL|none --prompt TEXT [options]",
        .about = "Samples n candidates for one prompt, scores each distinct one with the alignment model, prints the "
                 "best k.\n"
                 "A model is a GGUF file, a safetensors file, or a folder with one of them. Flags override the recipe.",
        .args = args,
    };
    fc_status st;
    request_args_init(&a);
    args[n++] = arg_of(ARG_HEADING, "Job:", NULL, NULL, NULL);
    args[n++] = arg_of(ARG_TEXT, "recipe", &a.recipe, "FILE",
                       "JSON that says the whole job (examples/recipes/README.md), or interests");
    args[n++] = arg_of(ARG_TEXT, "novelty", &a.novelty, "MODEL", "the model that proposes");
    args[n++] = arg_of(ARG_TEXT, "alignment", &a.alignment, "MODEL", "the model that scores; none ranks by log-prob");
    args[n++] = arg_of(ARG_TEXT, "prompt", &a.prompt, "TEXT", "used as it stands, or for {prompt} of a recipe");
    args[n++] = arg_of(ARG_TEXT, "prompt-file", &a.prompt_file, "FILE",
                       "the same from a file, its last line break included; - is standard input");
    args[n++] = arg_of(ARG_TEXT, "prompt-ids", &a.prompt_ids, "FILE",
                       "a file of decimal token ids apart by blanks or commas; - is standard input");
    args[n++] = arg_of(ARG_FLAG, "chat", &with.on, NULL,
                       "the prompt is the user's turn of the model's chat template, as in /v1/chat/completions");
    args[n++] = arg_of(ARG_TEXT, "system", &with.system, "TEXT", "with --chat: the system message");
    args[n++] = arg_of(ARG_LIST, "history", &a.history, "NAME",
                       "a name of the taxonomy, oldest first; repeatable; the interests recipe");
    args[n++] = arg_of(ARG_TEXT, "retrieved", &a.retrieved, "TEXT", "for {retrieved} of a recipe; may be empty");
    request_args_taxonomy(&a, args, &n);
    request_args_many(&a, args, &n);
    request_args_scoring(&a, args, &n);
    request_args_ranking(&a, true, args, &n);
    request_args_engine(&a, args, &n);
    args[n++] = arg_of(ARG_HEADING, "Output:", NULL, NULL, NULL);
    args[n++] = arg_of(ARG_FLAG, "json", &a.json, NULL, "one JSON object instead of the table");
    args[n++] = arg_of(ARG_FLAG, "all", &all, NULL, "with --json: also all_candidates, n entries by index");
    c.n_args = n;
    st = args_parse(&c, argc, argv, &rest, &help);
    if (!st && !help && all && !a.json) st = FC_FAIL(FC_ERR_ARG, "--all: it adds to the JSON; give --json too");
    if (!st && !help && with.system && !with.on) st = FC_FAIL(FC_ERR_ARG, "--system: only --chat has a system message");
    if (!st && !help) st = job(&a, &with, all);
    request_args_fini(&a);
    return args_exit("bestof", st);
}
