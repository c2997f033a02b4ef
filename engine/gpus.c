#include "engine/gpus.h"

#include "engine/base/status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DEVICE_MAX = 1023 };

/* What lies between two lists. */
static const char *const between = " ;";

/* Numbers apart by commas; *at ends behind them. */
static fc_status read_list(const char *text, const char **at, fc_gpu_list *out) {
    out->n = 0;
    for (;;) {
        char *end;
        long v;
        errno = 0;
        v = strtol(*at, &end, 10);
        if (end == *at || errno || v < 0 || v > DEVICE_MAX || **at == '+')
            return FC_FAIL(FC_ERR_ARG, "gpus \"%.80s\": \"%.20s\" is no number of a GPU", text, *at);
        for (int i = 0; i < out->n; i++)
            if (out->device[i] == v) return FC_FAIL(FC_ERR_ARG, "gpus \"%.80s\": %ld is there twice", text, v);
        if (out->n == FC_GPUS_MAX)
            return FC_FAIL(FC_ERR_ARG, "gpus \"%.80s\": a model is on %d GPUs at most", text, (int)FC_GPUS_MAX);
        out->device[out->n++] = (int)v;
        *at = end;
        if (*end != ',') break;
        (*at)++;
    }
    if (**at && !strchr(between, **at))
        return FC_FAIL(FC_ERR_ARG, "gpus \"%.80s\": \"%.20s\" follows a number", text, *at);
    return FC_OK;
}

static bool has(const fc_gpu_list *l, int device) {
    for (int i = 0; i < l->n; i++)
        if (l->device[i] == device) return true;
    return false;
}

bool fc_gpus_same(const fc_gpu_list *a, const fc_gpu_list *b) {
    for (int i = 0; i < a->n && a->n == b->n; i++)
        if (a->device[i] != b->device[i]) return false;
    return a->n == b->n;
}

fc_status fc_gpus_parse(const char *text, fc_gpu_list out[2]) {
    static const char *const roles[] = {[FC_NOVELTY] = "novelty=", [FC_ALIGNMENT] = "alignment="};
    const char *at = text;
    memset(out, 0, 2 * sizeof *out);
    if (!text) return FC_OK;
    at += strspn(at, between);
    if (*at >= '0' && *at <= '9') { /* one for both */
        FC_TRY(read_list(text, &at, &out[FC_NOVELTY]));
        at += strspn(at, between);
        if (*at) return FC_FAIL(FC_ERR_ARG, "gpus \"%.80s\": \"%.20s\" follows the list of both models", text, at);
        out[FC_ALIGNMENT] = out[FC_NOVELTY];
        return FC_OK;
    }
    while (*at) {
        int role = -1;
        for (int i = 0; i < 2; i++)
            if (strncmp(at, roles[i], strlen(roles[i])) == 0) role = i;
        if (role < 0)
            return FC_FAIL(FC_ERR_ARG, "gpus \"%.80s\": \"%.20s\"; it is 0,1 or novelty=0,1 alignment=2,3", text, at);
        if (out[role].n) return FC_FAIL(FC_ERR_ARG, "gpus \"%.80s\": %s is there twice", text, roles[role]);
        at += strlen(roles[role]);
        FC_TRY(read_list(text, &at, &out[role]));
        at += strspn(at, between);
    }
    for (int i = 0; i < 2; i++)
        if (!out[i].n) return FC_FAIL(FC_ERR_ARG, "gpus \"%.80s\": it has no %s", text, roles[i]);
    if (fc_gpus_same(&out[0], &out[1])) return FC_OK;
    for (int i = 0; i < out[0].n; i++)
        if (has(&out[1], out[0].device[i]))
            return FC_FAIL(FC_ERR_ARG,
                           "gpus \"%.80s\": %d is of both models; their lists are the same, or have none in common",
                           text, out[0].device[i]);
    return FC_OK;
}
