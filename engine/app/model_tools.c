/* model_tools - inspect, convert and tiny: the model tools from the command line. */
#include "engine/app/accuracy.h"
#include "engine/app/args.h"
#include "engine/app/commands.h"
#include "engine/app/print.h"
#include "engine/app/progress.h"
#include "engine/app/textio.h"
#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "weights_tools/tools.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* What a conversion lost; check.tokens 0: not checked. */
typedef struct {
    fc_convert_loss weights;
    accuracy check;
} loss;

static void print_loss(const loss *l) {
    const accuracy *c = &l->check;
    if (l->weights.name[0])
        fprintf(stderr, "weights: relative error %.3g %%, largest of %s, %.3g %%\n", 100.0 * l->weights.error,
                l->weights.name, 100.0 * l->weights.worst);
    else fprintf(stderr, "weights: nothing is lost\n");
    if (c->tokens)
        fprintf(stderr, "log-probs of %zu ids: differ by %.4g on average, %.4g at most; their mean is %.4f, was %.4f\n",
                c->tokens, c->mean, c->most, c->after, c->before);
}

static fc_status put_loss(json_object *o, const loss *l) {
    const accuracy *c = &l->check;
    json_object w = {.out = o->out}, a = {.out = o->out};
    FC_TRY(json_key(o, "weights"));
    FC_TRY(fc_str_puts(o->out, "{"));
    FC_TRY(json_number(&w, "error", l->weights.error));
    FC_TRY(json_number(&w, "worst", l->weights.worst));
    FC_TRY(json_text(&w, "worst_tensor", l->weights.name, strlen(l->weights.name)));
    FC_TRY(fc_str_puts(o->out, "}"));
    if (!c->tokens) return FC_OK;
    FC_TRY(json_key(o, "check"));
    FC_TRY(fc_str_puts(o->out, "{"));
    FC_TRY(json_int(&a, "tokens", (int64_t)c->tokens));
    FC_TRY(json_number(&a, "mean_difference", c->mean));
    FC_TRY(json_number(&a, "largest_difference", c->most));
    FC_TRY(json_number(&a, "mean_logprob_before", c->before));
    FC_TRY(json_number(&a, "mean_logprob_after", c->after));
    return fc_str_puts(o->out, "}");
}

/* What was written: lines for people on standard error, or one JSON object. notes: lines, "" for none. l: NULL where
 * nothing was converted. */
static fc_status report(const char *path, bool json, const fc_str *notes, const loss *l) {
    fc_str out = {0};
    json_object o = {.out = &out};
    struct stat file;
    fc_status st = FC_OK;
    bool some = false;
    if (stat(path, &file)) return FC_FAIL(FC_ERR_IO, "%s: %s", path, strerror(errno));
    if (!json) {
        fputs(fc_str_text(notes), stderr);
        if (l) print_loss(l);
        fprintf(stderr, "%s: %.1f MB\n", path, (double)file.st_size * 1e-6);
        return FC_OK;
    }
    FC_TRY_GOTO(st, fc_str_puts(&out, "{"), out);
    FC_TRY_GOTO(st, json_text(&o, "path", path, strlen(path)), out);
    FC_TRY_GOTO(st, json_int(&o, "bytes", file.st_size), out);
    FC_TRY_GOTO(st, json_key(&o, "notes"), out);
    FC_TRY_GOTO(st, fc_str_puts(&out, "["), out);
    for (const char *p = fc_str_text(notes); *p; some = true) {
        size_t n = strcspn(p, "\n");
        FC_TRY_GOTO(st, fc_str_puts(&out, some ? "," : ""), out);
        FC_TRY_GOTO(st, fc_json_put_string(&out, p, n), out);
        p += n + (p[n] == '\n');
    }
    FC_TRY_GOTO(st, fc_str_puts(&out, "]"), out);
    if (l) FC_TRY_GOTO(st, put_loss(&o, l), out);
    FC_TRY_GOTO(st, fc_str_puts(&out, "}\n"), out);
    st = text_write(out.data, out.size);
out:
    fc_str_fini(&out);
    return st;
}

int cmd_inspect(int argc, char **argv) {
    bool json = false, help;
    int rest;
    arg args[] = {arg_of(ARG_FLAG, "json", &json, NULL, "one JSON object")};
    command c = {
        .name = "inspect",
        .usage = "inspect MODEL [--json]",
        .about = "Prints tensors, types, configuration, tokenizer and estimated memory of a model file.",
        .args = args,
        .n_args = 1,
        .positional = "MODEL",
    };
    fc_str out = {0};
    fc_status st = args_parse(&c, argc, argv, &rest, &help);
    if (!st && !help && argc - rest != 1) st = FC_FAIL(FC_ERR_ARG, "one model is inspected; %d are given", argc - rest);
    if (!st && !help) st = fc_tools_inspect(argv[rest], json, &out);
    if (!st && !help) st = text_write(fc_str_text(&out), out.size);
    fc_str_fini(&out);
    return args_exit("inspect", st);
}

static fc_status parse_type(const char *name, fc_dtype *out) {
    if (!fc_dtype_parse(name, out))
        return FC_FAIL(FC_ERR_ARG, "--type: \"%s\"; F32, F16, BF16, F8_E4M3, Q8_0, Q4_0 and Q4_1 are possible", name);
    return FC_OK;
}

/* text: a file's name, NULL for none. */
static fc_status check(const char *in, const char *out, const char *file, accuracy *a) {
    char *text = NULL;
    size_t size = 0;
    fc_status st = FC_OK;
    if (file) FC_TRY(text_read(file, &text, &size));
    st = accuracy_compare(in, out, text, size, a);
    fc_free(text);
    return st;
}

int cmd_convert(int argc, char **argv) {
    const char *type_name = NULL, *check_text = NULL;
    bool json = false, checks = false, help;
    int rest;
    progress p;
    loss lost = {.weights = {.error = 0.0}};
    arg args[] = {
        arg_of(ARG_TEXT, "type", &type_name, "TYPE", "of the matrices: F32, F16, BF16, F8_E4M3, Q8_0, Q4_0 or Q4_1"),
        arg_of(ARG_FLAG, "check", &checks, NULL, "also compare log-probs of IN and OUT on a few built-in paragraphs"),
        arg_of(ARG_TEXT, "check-text", &check_text, "FILE", "as --check, on the text of this file"),
        arg_of(ARG_FLAG, "json", &json, NULL, "one JSON object: path, bytes, notes and losses of what was written")};
    command c = {
        .name = "convert",
        .usage = "convert IN OUT --type TYPE [--check] [--json]",
        .about =
            "Writes a model (safetensors, GPTQ and AWQ too, or GGUF) as GGUF in another type. OUT appears whole or "
            "not at all.",
        .args = args,
        .n_args = 4,
        .positional = "IN OUT",
    };
    fc_str notes = {0};
    fc_dtype type = FC_F32;
    fc_status st = args_parse(&c, argc, argv, &rest, &help);
    if (!st && !help && argc - rest != 2)
        st = FC_FAIL(FC_ERR_ARG, "IN and OUT are needed; %d arguments are given", argc - rest);
    if (!st && !help && !type_name) st = FC_FAIL(FC_ERR_ARG, "--type: it is needed");
    if (!st && !help) st = parse_type(type_name, &type);
    progress_begin(&p);
    if (!st && !help)
        st = fc_tools_convert(argv[rest], argv[rest + 1], type, progress_bytes, &p, &notes, &lost.weights);
    progress_end(&p);
    if (!st && !help && (checks || check_text)) st = check(argv[rest], argv[rest + 1], check_text, &lost.check);
    if (!st && !help) st = report(argv[rest + 1], json, &notes, &lost);
    fc_str_fini(&notes);
    return args_exit("convert", st);
}

int cmd_tiny(int argc, char **argv) {
    enum { MOST = 1 << 24 }; /* of any one size; what goes together is the family's to say */
    fc_tiny_options o = {0};
    const char *type_name = "F32";
    bool json = false, help;
    int rest;
    progress p;
    arg args[] = {
        arg_of(ARG_TEXT, "arch", &o.arch, "NAME",
               "llama (default; also mistral, smollm2), qwen2, qwen3, gemma2 or gemma3"),
        arg_of(ARG_TEXT, "like", &o.like, "MODEL", "shapes of a published model; the list is below"),
        arg_of(ARG_TEXT, "type", &type_name, "TYPE", "of the matrices: F32 (default), F16, BF16, Q8_0 or Q4_0"),
        arg_of(ARG_U64, "seed", &o.seed, "S", "the same seed and options give the same bytes; default 0"),
        arg_of(ARG_FLAG, "reward-head", &o.reward_head, NULL, "add score.weight, a reward head"),
        arg_of(ARG_FLOAT, "logit-std", &o.logit_std, "X", "standard deviation of the logits; 0 (default): 2"),
        arg_of(ARG_HEADING, "Shapes (default: about 1 MB, or what --like says):", NULL, NULL, NULL),
        arg_int("vocab", &o.V, 1, MOST, "V", "vocabulary, at least 300"),
        arg_int("dim", &o.D, 1, MOST, "D", "model dimension"),
        arg_int("layers", &o.L, 1, MOST, "L", "layers"),
        arg_int("heads", &o.H, 1, MOST, "H", "attention heads"),
        arg_int("kv-heads", &o.G, 1, MOST, "G", "KV heads"),
        arg_int("head-dim", &o.E, 1, MOST, "E", "dimension of a head"),
        arg_int("hidden", &o.F, 1, MOST, "F", "hidden dimension of the feed-forward block"),
        arg_int("ctx", &o.ctx, 1, MOST, "N", "context length"),
        arg_int("window", &o.window, 1, MOST, "N",
                "sliding window; llama and qwen: of all layers, gemma: of its local ones"),
        arg_of(ARG_HEADING, "Output:", NULL, NULL, NULL),
        arg_of(ARG_FLAG, "json", &json, NULL, "one JSON object: path, bytes and notes of what was written"),
    };
    command c = {
        .name = "tiny",
        .usage = "tiny OUT [options]",
        .about = "Makes a model with seeded random weights and a small byte-level tokenizer: for tests, and for "
                 "benchmarks without weights.",
        .args = args,
        .n_args = sizeof args / sizeof *args,
        .positional = "OUT",
    };
    fc_str notes = {0}; /* none: what was asked for is what is made */
    fc_status st = args_parse(&c, argc, argv, &rest, &help);
    if (!st && help) {
        printf("\nmodels for --like:");
        for (const char *const *name = fc_tools_tiny_presets(); *name; name++) printf(" %s", *name);
        printf("\n");
    }
    if (!st && !help && argc - rest != 1)
        st = FC_FAIL(FC_ERR_ARG, "one output file is needed; %d are given", argc - rest);
    if (!st && !help) st = parse_type(type_name, &o.type);
    progress_begin(&p);
    if (!st && !help) st = fc_tools_tiny(&o, argv[rest], progress_bytes, &p);
    progress_end(&p);
    if (!st && !help) st = report(argv[rest], json, &notes, NULL);
    return args_exit("tiny", st);
}
