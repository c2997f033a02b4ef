/* model_tools - inspect, convert and tiny: the model tools from the command line. */
#include "engine/app/args.h"
#include "engine/app/commands.h"
#include "weights_tools/tools.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static fc_status write_out(const fc_str *s) {
    if (fwrite(fc_str_text(s), 1, s->size, stdout) != s->size || fflush(stdout) != 0)
        return FC_FAIL(FC_ERR_IO, "standard output: cannot write");
    return FC_OK;
}

/* Percent on stderr, when somebody is there to see it. */
static void show(void *self, uint64_t done, uint64_t total) {
    int *last = self, percent = total ? (int)(100.0 * (double)done / (double)total) : 100;
    if (percent == *last || !isatty(STDERR_FILENO)) return;
    *last = percent;
    fprintf(stderr, "\r%3d %% of %.0f MB%s", percent, (double)total * 1e-6, percent >= 100 ? "\n" : "");
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
    if (!st && !help) st = write_out(&out);
    fc_str_fini(&out);
    return args_exit("inspect", st);
}

static fc_status parse_type(const char *name, fc_dtype *out) {
    if (!fc_dtype_parse(name, out))
        return FC_FAIL(FC_ERR_ARG, "--type: \"%s\"; F32, F16, BF16, Q8_0 and Q4_0 are possible", name);
    return FC_OK;
}

int cmd_convert(int argc, char **argv) {
    const char *type_name = NULL;
    bool help;
    int rest, percent = -1;
    arg args[] = {arg_of(ARG_TEXT, "type", &type_name, "TYPE", "of the matrices: F32, F16, BF16, Q8_0 or Q4_0")};
    command c = {
        .name = "convert",
        .usage = "convert IN OUT --type TYPE",
        .about = "Writes a model (safetensors or GGUF) as GGUF in another type. OUT appears whole or not at all.",
        .args = args,
        .n_args = 1,
        .positional = "IN OUT",
    };
    fc_str notes = {0};
    fc_dtype type = FC_F32;
    fc_status st = args_parse(&c, argc, argv, &rest, &help);
    if (!st && !help && argc - rest != 2)
        st = FC_FAIL(FC_ERR_ARG, "IN and OUT are needed; %d arguments are given", argc - rest);
    if (!st && !help && !type_name) st = FC_FAIL(FC_ERR_ARG, "--type: it is needed");
    if (!st && !help) st = parse_type(type_name, &type);
    if (!st && !help) st = fc_tools_convert(argv[rest], argv[rest + 1], type, show, &percent, &notes);
    if (notes.size) fprintf(stderr, "%s", fc_str_text(&notes));
    fc_str_fini(&notes);
    return args_exit("convert", st);
}

int cmd_tiny(int argc, char **argv) {
    fc_tiny_options o = {0};
    const char *type_name = "F32";
    bool help;
    int rest, percent = -1;
    arg args[] = {
        arg_of(ARG_TEXT, "arch", &o.arch, "NAME", "llama (default), qwen2, qwen3, gemma2 or gemma3"),
        arg_of(ARG_TEXT, "like", &o.like, "MODEL", "shapes of a published model; the list is below"),
        arg_of(ARG_TEXT, "type", &type_name, "TYPE", "of the matrices: F32 (default), F16, BF16, Q8_0 or Q4_0"),
        arg_of(ARG_U64, "seed", &o.seed, "S", "the same seed and options give the same bytes"),
        arg_of(ARG_FLAG, "reward-head", &o.reward_head, NULL, "add score.weight, a reward head"),
        arg_of(ARG_FLOAT, "logit-std", &o.logit_std, "X", "standard deviation of the logits; default 2"),
        arg_of(ARG_HEADING, "Shapes (default: about 1 MB, or what --like says):", NULL, NULL, NULL),
        arg_of(ARG_INT, "vocab", &o.V, "V", "vocabulary"),
        arg_of(ARG_INT, "dim", &o.D, "D", "model dimension"),
        arg_of(ARG_INT, "layers", &o.L, "L", "layers"),
        arg_of(ARG_INT, "heads", &o.H, "H", "attention heads"),
        arg_of(ARG_INT, "kv-heads", &o.G, "G", "KV heads"),
        arg_of(ARG_INT, "head-dim", &o.E, "E", "dimension of a head"),
        arg_of(ARG_INT, "hidden", &o.F, "F", "hidden dimension of the feed-forward block"),
        arg_of(ARG_INT, "ctx", &o.ctx, "N", "context length"),
        arg_of(ARG_INT, "window", &o.window, "N", "sliding window of families that have one"),
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
    fc_status st = args_parse(&c, argc, argv, &rest, &help);
    if (!st && help) {
        printf("\nmodels for --like:");
        for (const char *const *p = fc_tools_tiny_presets(); *p; p++) printf(" %s", *p);
        printf("\n");
    }
    if (!st && !help && argc - rest != 1)
        st = FC_FAIL(FC_ERR_ARG, "one output file is needed; %d are given", argc - rest);
    if (!st && !help) st = parse_type(type_name, &o.type);
    if (!st && !help) st = fc_tools_tiny(&o, argv[rest], show, &percent);
    return args_exit("tiny", st);
}
