/* error - one table from fc_status to HTTP. */
#include "engine/app/openai/fields.h"
#include "engine/app/print.h"

#include <stdio.h>
#include <string.h>

const char openai_ping[] = ": ping\n\n";

/* FC_ERR_FORMAT is a body that is not what it should be: files were read at start. What the engine says later of its
 * own files is not the client's fault, and comes as anything but ARG and FORMAT from a submit. */
static const struct {
    fc_status st;
    int http;
    bool may_retry;
    int retry_after;
} by_status[] = {
    {FC_ERR_ARG, 400, false, 0},      {FC_ERR_FORMAT, 400, false, 0},  {FC_ERR_IO, 500, true, 0},
    {FC_ERR_MEM, 503, true, 1},       {FC_ERR_FULL, 429, true, 1},     {FC_ERR_UNSUPPORTED, 501, false, 0},
    {FC_ERR_CANCELLED, 503, true, 1}, {FC_ERR_TIMEOUT, 504, false, 0}, {FC_ERR_INTERNAL, 500, true, 0},
};

static const struct {
    int http;
    const char *type;
} types[] = {
    {400, "BadRequestError"},      {401, "AuthenticationError"},        {403, "PermissionDeniedError"},
    {404, "NotFoundError"},        {405, "MethodNotAllowedError"},      {408, "RequestTimeoutError"},
    {413, "RequestTooLargeError"}, {415, "UnsupportedMediaTypeError"},  {422, "UnprocessableEntityError"},
    {429, "RateLimitError"},       {431, "RequestHeaderTooLargeError"}, {500, "InternalServerError"},
    {501, "NotImplementedError"},  {503, "ServiceUnavailableError"},    {504, "TimeoutError"},
};

void openai_error_http(int http, const char *sentence, openai_error *out) {
    *out = (openai_error){.http = http,
                          .type = http < 500 ? "BadRequestError" : "InternalServerError",
                          .may_retry = http == 408 || http == 429 || http == 500 || http == 503};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].http == http) out->type = types[i].type;
    snprintf(out->message, sizeof out->message, "%s", sentence);
}

/* The engine's sentences begin with the field that they are about: "min_tokens = 9; ...", "prompt: ...". */
static void find_param(const char *sentence, char *out, size_t size) {
    static const char *const others[][2] = {{"keep", "n"},
                                            {"n", "best_of"},
                                            {"given", "documents"},
                                            {"prompt_top_logprobs", "prompt_logprobs"},
                                            {"top_logprobs", "logprobs"},
                                            {"labels", "forkcast"},
                                            {"history", "forkcast"},
                                            {"alignment prompt", "prompt"}};
    const char *at = sentence;
    size_t n;
    static const char doubled[] = "the document: the key \"";
    if (strncmp(at, "request: ", 9) == 0) at += 9;       /* the name under which bodies are read */
    if (strncmp(at, doubled, sizeof doubled - 1) == 0) { /* "... appears twice" */
        at += sizeof doubled - 1;
        n = strcspn(at, "\"");
        snprintf(out, size, "%.*s", (int)fc_utf8_complete(at, n < size ? n : size - 1), at);
        return;
    }
    n = strcspn(at, ":=[(\"");
    while (n && at[n - 1] == ' ') n--;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strlen(others[i][0]) == n && memcmp(at, others[i][0], n) == 0) {
            snprintf(out, size, "%s", others[i][1]);
            return;
        }
    if (n >= size) return;
    snprintf(out, size, "%.*s", (int)n, at);
    if (openai_field_find(at, n)) return;
    out[strcspn(out, " ")] = '\0'; /* "draw sbs: ..." */
    if (strcmp(out, "taxonomy") == 0 || fc_option_find(out)) snprintf(out, size, "forkcast");
    else out[0] = '\0';
}

void openai_error_of(fc_status st, const char *sentence, const char *param, bool draining, openai_error *out) {
    int http = 500, retry_after = 0;
    bool may_retry = true;
    for (size_t i = 0; i < sizeof by_status / sizeof *by_status; i++) {
        if (by_status[i].st != st) continue;
        http = by_status[i].http;
        may_retry = by_status[i].may_retry;
        retry_after = by_status[i].retry_after;
    }
    if (st == FC_ERR_FULL && draining) http = 503;
    openai_error_http(http, sentence, out);
    out->may_retry = may_retry;
    out->retry_after = retry_after;
    if (param) snprintf(out->param, sizeof out->param, "%s", param);
    else if (http == 400) find_param(sentence, out->param, sizeof out->param);
}

void openai_error_field(const openai_call *c, openai_error *e) {
    const char *name = strcmp(e->param, "prompt") == 0      ? c->prompt_field
                       : strcmp(e->param, "documents") == 0 ? c->given_field
                                                            : NULL;
    if (name) snprintf(e->param, sizeof e->param, "%s", name);
}

fc_status openai_error_put(const openai_error *e, fc_str *out) {
    json_object o = {.out = out};
    FC_TRY(fc_str_puts(out, "{\"error\":{"));
    FC_TRY(json_text(&o, "message", e->message, strlen(e->message)));
    FC_TRY(json_text(&o, "type", e->type, strlen(e->type)));
    if (e->param[0]) FC_TRY(json_text(&o, "param", e->param, strlen(e->param)));
    else FC_TRY(fc_str_puts(out, ",\"param\":null"));
    FC_TRY(json_int(&o, "code", e->http));
    return fc_str_puts(out, "}}");
}

fc_status openai_stream_error(const openai_error *e, fc_str *out) {
    FC_TRY(fc_str_puts(out, "data: "));
    FC_TRY(openai_error_put(e, out));
    return fc_str_puts(out, "\n\ndata: [DONE]\n\n");
}
