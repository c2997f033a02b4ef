/* score - a prompt and candidates from a file, scored in one pass. */
#include "engine/app/commands.h"
#include "engine/app/print.h"
#include "engine/app/request_args.h"
#include "engine/app/textio.h"
#include "engine/base/mem.h"

#include <string.h>

/* Lines of text; "\n" and "\\" inside a line are written \n and \\. */
static fc_status split_lines(const char *path, char *text, size_t size, fc_given **out, size_t *n_out) {
    void *given = NULL;
    size_t n = 0, cap = 0;
    for (char *p = text, *end = text + size; p < end;) {
        char *eol = memchr(p, '\n', (size_t)(end - p)), *next = eol ? eol + 1 : end, *w = p, *line = p;
        fc_status st;
        if (!eol) eol = end;
        if (eol > p && eol[-1] == '\r') eol--;
        for (; p < eol; p++) {
            if (*p == '\\' && p + 1 < eol && (p[1] == 'n' || p[1] == '\\')) *w++ = *++p == 'n' ? '\n' : '\\';
            else *w++ = *p;
        }
        st = fc_grow(&given, &cap, n + 1, sizeof(fc_given), path);
        if (st) {
            fc_free(given);
            return st;
        }
        ((fc_given *)given)[n++] = (fc_given){.text = line, .size = (size_t)(w - line)};
        p = next;
    }
    if (n == 0) return FC_FAIL(FC_ERR_FORMAT, "%s: no candidates", path);
    *out = given;
    *n_out = n;
    return FC_OK;
}

static fc_status put_tsv(const fc_result *r, fc_str *out) {
    FC_TRY(fc_str_puts(out, "index\trank\tscore\ttext\n"));
    for (int i = 0; i < r->n_all; i++) {
        const fc_candidate *c = &r->all[i];
        FC_TRY(fc_str_printf(out, "%d\t%d\t%.9g\t", c->index, c->rank, c->score));
        FC_TRY(print_escaped(c->text, c->text_size, 0, out));
        FC_TRY(fc_str_puts(out, "\n"));
    }
    return FC_OK;
}

static fc_status job(request_args *a, const char *path) {
    fc_engine *e = NULL;
    fc_event done = {0};
    fc_str out = {0};
    fc_given *given = NULL;
    char *text = NULL;
    size_t size, n = 0;
    fc_request r;
    progress p;
    fc_status st = text_read(path, &text, &size);
    progress_begin(&p);
    if (!st) st = split_lines(strcmp(path, "-") == 0 ? "standard input" : path, text, size, &given, &n);
    if (!st) st = request_args_request(a, true, &r);
    if (!st) st = request_args_open(a, &r, &p, &e);
    if (!st) {
        r.given = given;
        r.n_given = n;
        r.events = p.seen;
        p.n = (int)n;
        p.given = true;
        st = request_wait(e, &r, progress_event, &p, &done);
    }
    progress_end(&p);
    if (!st && a->json)
        st = print_json(done.result,
                        &(print_options){.prompt = fc_str_text(&a->shown), .prompt_size = a->shown.size, .all = true},
                        &out);
    else if (!st) st = put_tsv(done.result, &out);
    if (!st) st = text_write(fc_str_text(&out), out.size);
    fc_str_fini(&out);
    fc_event_fini(&done);
    fc_engine_close(e);
    fc_free(given);
    fc_free(text);
    return st;
}

/* Standard input can be read once. */
static fc_status check_inputs(const request_args *a, const char *candidates) {
    const char *prompt = a->prompt_file ? a->prompt_file : a->prompt_ids;
    if (!a->novelty) return FC_FAIL(FC_ERR_ARG, "--model: a model is needed");
    if (!candidates) return FC_FAIL(FC_ERR_ARG, "--candidates: a file is needed");
    if (strcmp(candidates, "-") == 0 && prompt && strcmp(prompt, "-") == 0)
        return FC_FAIL(FC_ERR_ARG, "--candidates and --prompt-%s: both name standard input; give one of them as a file",
                       a->prompt_file ? "file" : "ids");
    return FC_OK;
}

int cmd_score(int argc, char **argv) {
    request_args a;
    const char *candidates = NULL;
    bool help;
    int rest;
    size_t n = 0;
    arg args[ARGS_MAX];
    command c = {
        .name = "score",
        .usage = "score --model MODEL --prompt TEXT --candidates FILE [options]",
        .about = "Scores given candidates for one prompt: the prompt is computed once, each distinct candidate once.\n"
                 "Prints TSV in the order of the file: index, rank, score, text. Equal candidates share a rank.",
        .args = args,
    };
    fc_status st;
    request_args_init(&a);
    a.base.keep = 0;
    args[n++] = arg_of(ARG_HEADING, "Job:", NULL, NULL, NULL);
    args[n++] = arg_of(ARG_TEXT, "model", &a.novelty, "MODEL", "the model that scores: GGUF, safetensors or a folder");
    args[n++] = arg_of(ARG_TEXT, "prompt", &a.prompt, "TEXT", "what stands before each candidate");
    args[n++] = arg_of(ARG_TEXT, "prompt-file", &a.prompt_file, "FILE",
                       "the same from a file, its last line break included; - is standard input");
    args[n++] = arg_of(ARG_TEXT, "prompt-ids", &a.prompt_ids, "FILE",
                       "a file of decimal token ids apart by blanks or commas; - is standard input");
    args[n++] = arg_of(ARG_TEXT, "candidates", &candidates, "FILE",
                       "one a line, \\n for a line break, at most 4096; - is standard input");
    request_args_taxonomy(&a, args, &n);
    request_args_scoring(&a, args, &n);
    request_args_ranking(&a, false, args, &n);
    option_args_default(args, n, "keep", "0");
    request_args_engine(&a, args, &n);
    args[n++] = arg_of(ARG_HEADING, "Output:", NULL, NULL, NULL);
    args[n++] = arg_of(ARG_FLAG, "json", &a.json, NULL, "one JSON object instead of TSV");
    c.n_args = n;
    st = args_parse(&c, argc, argv, &rest, &help);
    if (!st && !help) st = check_inputs(&a, candidates);
    a.alignment = a.novelty; /* one model is both: loaded once */
    if (!st && !help) st = job(&a, candidates);
    request_args_fini(&a);
    return args_exit("score", st);
}
