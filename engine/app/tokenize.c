/* tokenize - text to token ids, and back. */
#include "engine/app/args.h"
#include "engine/app/commands.h"
#include "engine/app/print.h"
#include "engine/app/textio.h"
#include "engine/base/json.h"
#include "engine/base/mem.h"

#include <string.h>
#include <unistd.h>

typedef struct {
    const char *model, *text, *file;
    bool decode, add_special, special, json;
} options;

static fc_status put_ids(const fc_tokenizer *t, const options *o, const int32_t *ids, size_t n, fc_str *out) {
    json_object j = {.out = out};
    if (!o->json) {
        for (size_t i = 0; i < n; i++) FC_TRY(fc_str_printf(out, "%s%d", i ? " " : "", ids[i]));
        return fc_str_puts(out, "\n");
    }
    FC_TRY(fc_str_puts(out, "{"));
    FC_TRY(json_int(&j, "count", (int64_t)n));
    FC_TRY(json_ids(&j, "tokens", ids, n));
    FC_TRY(json_key(&j, "token_strs"));
    FC_TRY(fc_str_puts(out, "["));
    for (size_t i = 0; i < n; i++) {
        char *text;
        size_t size;
        fc_status st;
        FC_TRY(fc_tokenizer_decode(t, &ids[i], 1, true, &text, &size));
        st = i ? fc_str_puts(out, ",") : FC_OK;
        if (!st) st = fc_json_put_string(out, text, size);
        fc_memory_free(text);
        FC_TRY(st);
    }
    return fc_str_puts(out, "]}\n");
}

/* A text without a line break at its end would have the shell's prompt behind it. Into a file or pipe it goes as it
 * is. */
static fc_status put_text(const char *text, size_t size, fc_str *out) {
    FC_TRY(fc_str_put(out, text, size));
    return size && text[size - 1] != '\n' && isatty(STDOUT_FILENO) ? fc_str_puts(out, "\n") : FC_OK;
}

static fc_status decode(const fc_tokenizer *t, const options *o, const int32_t *ids, size_t n, fc_str *out) {
    json_object j = {.out = out};
    char *text;
    size_t size;
    fc_status st;
    FC_TRY(fc_tokenizer_decode(t, ids, n, o->special, &text, &size));
    if (o->json) {
        st = fc_str_puts(out, "{");
        if (!st) st = json_text(&j, "text", text, size);
        if (!st) st = fc_str_puts(out, "}\n");
    } else st = put_text(text, size, out);
    fc_memory_free(text);
    return st;
}

/* file: the text's file, "-", or NULL for an argument: what is wrong with ids is wrong there. */
static fc_status work(const options *o, const char *file, const char *text, size_t size, fc_str *out) {
    const char *where = !file ? "the ids" : strcmp(file, "-") == 0 ? "standard input" : file;
    fc_tokenizer *t;
    int32_t *ids = NULL;
    size_t n = 0;
    fc_status st;
    FC_TRY(fc_tokenizer_open(o->model, &t));
    if (o->decode) {
        st = text_ids(text, size, where, file ? FC_ERR_FORMAT : FC_ERR_ARG, &ids, &n);
        if (!st) st = decode(t, o, ids, n, out);
        fc_free(ids);
    } else {
        st = fc_tokenizer_encode(t, text, size, o->add_special, o->special, &ids, &n);
        if (!st) st = put_ids(t, o, ids, n, out);
        if (ids) fc_memory_free(ids);
    }
    if (st == FC_ERR_ARG && file) st = FC_FAIL(FC_ERR_FORMAT, "%s: %s", where, fc_last_error());
    fc_tokenizer_close(t);
    return st;
}

static fc_status job(const options *o, const char *positional) {
    const char *text = o->text ? o->text : positional, *file = text ? NULL : o->file ? o->file : "-";
    char *read = NULL;
    size_t size;
    fc_str out = {0};
    fc_status st = FC_OK;
    if (!o->model) return FC_FAIL(FC_ERR_ARG, "--model: a model is needed");
    if (o->decode && o->add_special)
        return FC_FAIL(FC_ERR_ARG, "--add-special: it is for text to ids, not for --decode");
    if ((o->text != NULL) + (positional != NULL) + (o->file != NULL) > 1)
        return FC_FAIL(FC_ERR_ARG, "give the text once: as the argument, with --text or with --file");
    if (text) size = strlen(text);
    else {
        FC_TRY(text_read(file, &read, &size));
        text = read;
    }
    st = work(o, file, text, size, &out);
    if (!st) st = text_write(fc_str_text(&out), out.size);
    fc_str_fini(&out);
    fc_free(read);
    return st;
}

int cmd_tokenize(int argc, char **argv) {
    options o = {0};
    bool help;
    int rest = argc;
    arg args[] = {
        arg_of(ARG_TEXT, "model", &o.model, "MODEL", "GGUF, safetensors or a folder; no weights are read"),
        arg_of(ARG_TEXT, "text", &o.text, "TEXT",
               "the text, or ids with --decode; else the argument, --file, or standard input"),
        arg_of(ARG_TEXT, "file", &o.file, "FILE", "read the text from a file; - is standard input"),
        arg_of(ARG_FLAG, "decode", &o.decode, NULL, "ids to text instead"),
        arg_of(ARG_FLAG, "add-special", &o.add_special, NULL, "add BOS and EOS as the tokenizer's rule says"),
        arg_of(ARG_FLAG, "special", &o.special, NULL,
               "names of special tokens in the text become those tokens; shown by --decode"),
        arg_of(ARG_FLAG, "json", &o.json, NULL, "count, tokens and token_strs as JSON"),
    };
    command c = {
        .name = "tokenize",
        .usage = "tokenize --model MODEL [TEXT]",
        .about = "Prints the token ids of a text, or the text of ids.",
        .args = args,
        .n_args = sizeof args / sizeof *args,
        .positional = "TEXT",
    };
    fc_status st = args_parse(&c, argc, argv, &rest, &help);
    if (!st && !help && argc - rest > 1)
        st = FC_FAIL(FC_ERR_ARG, "one text is taken, %d are given; quote it", argc - rest);
    if (!st && !help) st = job(&o, rest < argc ? argv[rest] : NULL);
    return args_exit("tokenize", st);
}
