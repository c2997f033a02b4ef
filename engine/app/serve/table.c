/* table - the options of the server, and how their texts become values. */
#include "engine/app/serve/config.h"
#include "engine/app/serve_options.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    fc_option o;
    size_t at; /* in serve_config: const char *, arg_list, int or bool, by the kind */
} row;

#define AT(field) .at = offsetof(serve_config, field)

static const row rows[] = {
    {.o.name = "recipe",
     .o.kind = FC_OPTION_PATH,
     .o.value = "FILE",
     .o.help = "JSON that says what a request is silent about (examples/recipes/README.md), or interests",
     AT(recipe)},
    {.o.name = "novelty",
     .o.kind = FC_OPTION_PATH,
     .o.value = "MODEL",
     .o.help = "the model that proposes: GGUF, safetensors or a folder",
     AT(novelty)},
    {.o.name = "alignment",
     .o.kind = FC_OPTION_PATH,
     .o.value = "MODEL",
     .o.help = "the model that scores; none ranks by log-prob",
     AT(alignment)},
    {.o.name = "taxonomy",
     .o.kind = FC_OPTION_PATH,
     .o.value = "FILE",
     .o.help = "TSV of the valid names: id, name, keywords, parent",
     AT(taxonomy)},
    {.o.name = "adapter",
     .o.kind = FC_OPTION_TEXTS,
     .o.value = "NAME=FOLDER",
     .o.help = "PEFT adapter of the novelty model, served as the model NAME",
     AT(adapters)},
    {.o.name = "alignment_adapter",
     .o.kind = FC_OPTION_PATH,
     .o.value = "FOLDER",
     .o.help = "PEFT adapter or reward head of the alignment model, for all requests",
     AT(alignment_adapter)},
    {.o.name = "served_model_name",
     .o.kind = FC_OPTION_TEXTS,
     .o.value = "NAME",
     .o.help = "what requests call the model; the novelty model's file name unless said",
     AT(served_names)},
    {.o.name = "table",
     .o.kind = FC_OPTION_PATH,
     .o.value = "FILE",
     .o.help = "a table of forkcast bulk, for /v1/lookup; one that takes its place is seen at once",
     AT(table)},
    {.o.name = "host",
     .o.kind = FC_OPTION_TEXT,
     .o.value = "HOST",
     .o.fallback = "127.0.0.1",
     .o.help = "name or address to listen at",
     AT(host)},
    {.o.name = "port",
     .o.kind = FC_OPTION_INT,
     .o.max = 65535,
     .o.value = "N",
     .o.fallback = "8000",
     .o.help = "its port; 0: one that is free",
     AT(port)},
    {.o.name = "metrics_port",
     .o.kind = FC_OPTION_INT,
     .o.max = 65535,
     .o.value = "N",
     .o.fallback = "0",
     .o.help = "a port of the same host for /metrics, /health, /livez and /ping alone, without a key; 0: none",
     AT(metrics_port)},
    {.o.name = "listen",
     .o.kind = FC_OPTION_TEXTS,
     .o.value = "ADDRESS",
     .o.help = "HOST:PORT, [IPv6]:PORT or unix:PATH, in place of host and port",
     AT(listen)},
    {.o.name = "allowed_host",
     .o.kind = FC_OPTION_TEXTS,
     .o.value = "NAME",
     .o.help = "what a request over loopback may name as its host, besides localhost; * is any",
     AT(hosts)},
    {.o.name = "allowed_origin",
     .o.kind = FC_OPTION_TEXTS,
     .o.value = "URL",
     .o.help = "origin of pages that may read the answers (CORS); none unless said",
     AT(origins)},
    {.o.name = "api_key_file",
     .o.kind = FC_OPTION_PATH,
     .o.value = "FILE",
     .o.help = "keys, one a line: all but the page, /health, /livez and /ping then need one",
     AT(api_key_file)},
    {.o.name = "max_requests",
     .o.kind = FC_OPTION_INT,
     .o.min = 1,
     .o.max = 65536,
     .o.value = "N",
     .o.fallback = "256",
     .o.help = "prompts that wait and run at once; more are answered 429",
     AT(max_requests)},
    {.o.name = "max_candidates",
     .o.kind = FC_OPTION_INT,
     .o.min = 1,
     .o.max = 16777216,
     .o.value = "N",
     .o.fallback = "8192",
     .o.help = "candidates, or texts to score, of these prompts; more are answered 429",
     AT(max_candidates)},
    {.o.name = "max_connections",
     .o.kind = FC_OPTION_INT,
     .o.min = 1,
     .o.max = 1000000,
     .o.value = "N",
     .o.fallback = "4096",
     .o.help = "connections at once; more are answered 503",
     AT(max_connections)},
    {.o.name = "max_body",
     .o.kind = FC_OPTION_INT,
     .o.min = 1024,
     .o.max = 1 << 30,
     .o.value = "BYTES",
     .o.fallback = "4194304",
     .o.help = "of one request's body; more is answered 413",
     AT(max_body)},
    {.o.name = "max_memory",
     .o.kind = FC_OPTION_INT,
     .o.min = 1,
     .o.max = 1 << 20,
     .o.value = "MIB",
     .o.fallback = "512",
     .o.help = "MiB for bodies, answers under way and what clients have not read; more is answered 503",
     AT(max_memory)},
    {.o.name = "max_best_of",
     .o.kind = FC_OPTION_INT,
     .o.max = FC_N_MAX,
     .o.value = "N",
     .o.fallback = "0",
     .o.help = "candidates of one prompt; 0: 64, or what the recipe draws",
     AT(max_best_of)},
    {.o.name = "max_prompts",
     .o.kind = FC_OPTION_INT,
     .o.min = 1,
     .o.max = 4096,
     .o.value = "N",
     .o.fallback = "64",
     .o.help = "prompts of one body",
     AT(max_prompts)},
    {.o.name = "chat_max_tokens",
     .o.kind = FC_OPTION_INT,
     .o.min = 1,
     .o.max = 16777216,
     .o.value = "N",
     .o.fallback = "512",
     .o.help = "tokens of a chat, where neither it nor the recipe says max_tokens",
     AT(chat_max_tokens)},
    {.o.name = "request_ms",
     .o.kind = FC_OPTION_INT,
     .o.max = 86400000,
     .o.value = "MS",
     .o.fallback = "0",
     .o.help = "a request that takes longer is ended with 504; 0: never",
     AT(request_ms)},
    {.o.name = "ping_ms",
     .o.kind = FC_OPTION_INT,
     .o.max = 86400000,
     .o.value = "MS",
     .o.fallback = "30000",
     .o.help = "a stream that is silent for so long gets a comment; 0: never",
     AT(ping_ms)},
    {.o.name = "head_ms",
     .o.kind = FC_OPTION_INT,
     .o.min = 1,
     .o.max = 86400000,
     .o.value = "MS",
     .o.fallback = "10000",
     .o.help = "for a request's head to arrive",
     AT(head_ms)},
    {.o.name = "body_ms",
     .o.kind = FC_OPTION_INT,
     .o.min = 1,
     .o.max = 86400000,
     .o.value = "MS",
     .o.fallback = "60000",
     .o.help = "for its body to arrive",
     AT(body_ms)},
    {.o.name = "idle_ms",
     .o.kind = FC_OPTION_INT,
     .o.min = 1,
     .o.max = 86400000,
     .o.value = "MS",
     .o.fallback = "60000",
     .o.help = "a connection without a request is closed then",
     AT(idle_ms)},
    {.o.name = "stall_ms",
     .o.kind = FC_OPTION_INT,
     .o.min = 1,
     .o.max = 86400000,
     .o.value = "MS",
     .o.fallback = "60000",
     .o.help = "a client that reads too little for so long is cut off",
     AT(stall_ms)},
    {.o.name = "read_rate",
     .o.kind = FC_OPTION_INT,
     .o.max = 1 << 30,
     .o.value = "N",
     .o.fallback = "1024",
     .o.help = "too little: less than so many bytes a second, while more waits; 0: nothing at all",
     AT(read_rate)},
    {.o.name = "drain_delay_ms",
     .o.kind = FC_OPTION_INT,
     .o.max = 86400000,
     .o.value = "MS",
     .o.fallback = "0",
     .o.help = "after SIGTERM: how long all goes on, while /health says 503",
     AT(drain_delay_ms)},
    {.o.name = "drain_ms",
     .o.kind = FC_OPTION_INT,
     .o.min = 1,
     .o.max = 86400000,
     .o.value = "MS",
     .o.fallback = "15000",
     .o.help = "then: how long requests under way may take",
     AT(drain_ms)},
    {.o.name = "usage_counts",
     .o.kind = FC_OPTION_WORD,
     .o.choices = "returned|all",
     .o.value = "WHAT",
     .o.fallback = "returned",
     .o.help = "candidates that completion_tokens counts",
     AT(usage_counts)},
    {.o.name = "access_log",
     .o.kind = FC_OPTION_BOOL,
     .o.fallback = "true",
     .o.help = "a line of JSON on standard error for each request",
     AT(access_log)},
    {.o.name = "no_ui", .o.kind = FC_OPTION_BOOL, .o.fallback = "false", .o.help = "no web page at /", AT(no_ui)},
    {.o.name = "config",
     .o.kind = FC_OPTION_PATH,
     .o.value = "FILE",
     .o.help = "JSON that says any of these, by names with _",
     AT(config)},
};

size_t serve_option_count(void) { return sizeof rows / sizeof *rows; }
const fc_option *serve_option_at(size_t i) { return &rows[i].o; }

static fc_status no_choice(const fc_option *o, const char *said, const char *text) {
    char choices[128];
    return FC_FAIL(FC_ERR_ARG, "%s: \"%.60s\"; it is %s", said, text, fc_option_choices(o, choices, sizeof choices));
}

static bool is_choice(const fc_option *o, const char *text) {
    const size_t n = strlen(text);
    for (const char *at = o->choices; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
        if (n && strncmp(at, text, n) == 0 && (at[n] == '|' || !at[n])) return true;
    return false;
}

static fc_status set_int(const fc_option *o, const char *said, const char *text, int *out) {
    char *end;
    const long v = strtol(text, &end, 10);
    if (end == text || *end || (double)v < o->min || (double)v > o->max)
        return FC_FAIL(FC_ERR_ARG, "%s: \"%.60s\" is not a whole number from %.0f to %.0f", said, text, o->min, o->max);
    *out = (int)v;
    return FC_OK;
}

static fc_status add(const fc_option *o, const char *said, const char *text, arg_list *list) {
    const char *equals = strchr(text, '=');
    if (strcmp(o->value, "NAME=FOLDER") == 0 && (!equals || equals == text || !equals[1]))
        return FC_FAIL(FC_ERR_ARG, "%s: \"%.80s\" is not NAME=FOLDER", said, text);
    if (list->n == ARG_LIST_MAX) return FC_FAIL(FC_ERR_ARG, "%s: given more than %d times", said, ARG_LIST_MAX);
    list->items[list->n++] = text;
    return FC_OK;
}

fc_status serve_option_set(serve_config *c, const fc_option *o, const char *said, const char *text) {
    const row *r = (const row *)(const void *)o; /* o is its first member */
    arg_list none = {0};
    int number = 0;
    void *to = c ? (char *)c + r->at : NULL;
    if (!*text) return FC_FAIL(FC_ERR_ARG, "%s: it is empty", said);
    switch (o->kind) {
    case FC_OPTION_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            return FC_FAIL(FC_ERR_ARG, "%s: \"%.60s\"; it is true or false", said, text);
        if (to) *(bool *)to = *text == 't';
        return FC_OK;
    case FC_OPTION_INT: return set_int(o, said, text, to ? to : &number);
    case FC_OPTION_TEXTS: return add(o, said, text, to ? to : &none);
    default:
        if (o->choices && !is_choice(o, text)) return no_choice(o, said, text);
        if (to) *(const char **)to = text;
        return FC_OK;
    }
}
