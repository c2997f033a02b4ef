/* run - one plain completion, streamed to the terminal. */
#include "engine/app/commands.h"
#include "engine/app/print.h"
#include "engine/app/request_args.h"
#include "engine/app/textio.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    progress line;
    size_t sent; /* bytes of the text so far */
} watch;

/* The candidate's whole text ends what its tokens left open. */
static fc_status stream(void *self, const fc_event *ev) {
    watch *w = self;
    size_t skip = ev->type == FC_EVENT_CANDIDATE ? w->sent : 0;
    if ((ev->type != FC_EVENT_TOKEN && ev->type != FC_EVENT_CANDIDATE) || ev->text_size <= skip) return FC_OK;
    progress_end(&w->line); /* the loading line */
    w->sent += ev->text_size - skip;
    return text_write(ev->text + skip, ev->text_size - skip);
}

static void summary(const fc_result *r) {
    const fc_timings_ms *t = &r->timings;
    size_t tokens = r->all[0].n_logprobs;
    fprintf(stderr, "%zu prompt and %zu new token%s; load %.0f ms, prefill %.0f ms, decode %.0f ms (%.1f tokens/s)\n",
            r->prompt_tokens, tokens, tokens == 1 ? "" : "s", t->load, t->prefill, t->decode,
            t->decode > 0 ? 1000.0 * (double)(tokens - 1) / t->decode : 0.0);
}

static fc_status job(request_args *a, bool chat, const char *system) {
    fc_engine *e = NULL;
    fc_event done = {0};
    fc_str out = {0};
    fc_piece *pieces = NULL;
    fc_request r;
    watch w = {0};
    fc_status st = request_args_request(a, false, &r);
    progress_begin(&w.line);
    if (!st && chat) st = request_args_chat(a, FC_NOVELTY, system, &r.prompt, &pieces);
    if (!st) st = request_args_open(a, &r, &w.line, &e);
    r.events = !a->json || w.line.seen;
    w.line.n = 1;
    if (!st)
        st = a->json ? request_wait(e, &r, progress_event, &w.line, &done) : request_wait(e, &r, stream, &w, &done);
    progress_end(&w.line);
    if (!st && a->json)
        st = print_json(done.result, &(print_options){.prompt = fc_str_text(&a->shown), .prompt_size = a->shown.size},
                        &out);
    else if (!st) st = fc_str_puts(&out, "\n");
    if (!st) st = text_write(fc_str_text(&out), out.size);
    if (!st && !a->json) summary(done.result);
    fc_str_fini(&out);
    fc_event_fini(&done);
    fc_engine_close(e);
    fc_memory_free(pieces);
    return st;
}

int cmd_run(int argc, char **argv) {
    request_args a;
    bool chat = false, help;
    const char *system = NULL;
    int rest;
    size_t n = 0;
    arg args[ARGS_MAX];
    command c = {
        .name = "run",
        .usage = "run --model MODEL --prompt TEXT [options]",
        .about = "Completes one prompt and streams the text to standard output.",
        .args = args,
    };
    fc_status st;
    request_args_init(&a);
    a.base.n = 1;
    a.alignment = "none";
    a.base.sampling.max_tokens = 128;
    args[n++] = arg_of(ARG_HEADING, "Job:", NULL, NULL, NULL);
    args[n++] = arg_of(ARG_TEXT, "model", &a.novelty, "MODEL", "GGUF, safetensors or a folder");
    args[n++] = arg_of(ARG_TEXT, "prompt", &a.prompt, "TEXT", "used as it stands, or as the user's turn with --chat");
    args[n++] = arg_of(ARG_TEXT, "prompt-file", &a.prompt_file, "FILE",
                       "the same from a file, its last line break included; - is standard input");
    args[n++] = arg_of(ARG_TEXT, "prompt-ids", &a.prompt_ids, "FILE",
                       "a file of decimal token ids apart by blanks or commas; - is standard input");
    args[n++] = arg_of(ARG_FLAG, "chat", &chat, NULL, "apply the model's chat template");
    args[n++] = arg_of(ARG_TEXT, "system", &system, "TEXT", "with --chat: the system message");
    request_args_taxonomy(&a, args, &n);
    request_args_one(&a, args, &n);
    option_args_default(args, n, "max-tokens", "128");
    request_args_engine(&a, args, &n);
    args[n++] = arg_of(ARG_HEADING, "Output:", NULL, NULL, NULL);
    args[n++] = arg_of(ARG_FLAG, "json", &a.json, NULL, "one JSON object at the end instead of the stream");
    c.n_args = n;
    st = args_parse(&c, argc, argv, &rest, &help);
    if (!st && !help && system && !chat) st = FC_FAIL(FC_ERR_ARG, "--system: only --chat has a system message");
    if (!st && !help && !a.novelty) st = FC_FAIL(FC_ERR_ARG, "--model: a model is needed");
    if (!st && !help) st = job(&a, chat, system);
    request_args_fini(&a);
    return args_exit("run", st);
}
