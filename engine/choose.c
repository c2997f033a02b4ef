#include "engine/choose.h"

#include "kernels/cuda/backend_cuda.h"
#include "kernels/gpu_probe.h"

#include <stdio.h>
#include <string.h>

const char *fc_backend_auto(char *why, size_t size) {
    fc_gpus g;
    fc_gpu_probe(&g);
    snprintf(why, size, "%s", g.found);
    return g.usable ? "cuda" : "cpu";
}

/* The backend that is asked for, or that auto takes: "cpu", "cuda", or a name that there is not. */
static const char *chosen(const fc_engine_options *o, const fc_gpu_list *gpus) {
    char why[256];
    if (o->backend && strcmp(o->backend, "auto") != 0) return o->backend;
    return gpus->n ? "cuda" : fc_backend_auto(why, sizeof why);
}

int fc_backend_rows(const fc_engine_options *o, const fc_gpu_list *gpus, fc_backend_opener opener) {
    if (o->max_rows) return o->max_rows;
    return !opener && strcmp(chosen(o, gpus), "cuda") == 0 ? FC_ROWS_GPU : FC_ROWS_CPU;
}

fc_status fc_backend_imprecise(const fc_engine_options *o, const char *backend, bool *out) {
    const char *word = o->precise ? o->precise : "auto";
    if (strcmp(word, "auto") != 0 && strcmp(word, "true") != 0 && strcmp(word, "false") != 0)
        return FC_FAIL(FC_ERR_ARG, "precise \"%s\"; it is auto, true or false", word);
    *out = strcmp(word, "false") == 0 || (strcmp(word, "auto") == 0 && strcmp(backend, "cuda") == 0);
    return FC_OK;
}

fc_status fc_backend_choose(const fc_engine_options *o, const fc_gpu_list *gpus, int threads,
                            const fc_op_limits *limits, fc_backend_opener opener, fc_backend **out) {
    const fc_cuda_options cuda = {
        .invariant = !o->batch_variant, .threads = threads, .devices = gpus->device, .n_devices = gpus->n};
    const char *name = o->backend ? o->backend : "auto";
    fc_cpu_level level;
    FC_TRY(fc_cpu_level_parse(o->cpu ? o->cpu : "auto", &level));
    if (strcmp(name, "auto") != 0 && strcmp(name, "cpu") != 0 && strcmp(name, "cuda") != 0)
        return FC_FAIL(FC_ERR_ARG, "backend \"%s\"; it is auto, cpu or cuda", name);
    if (opener) return opener(level, threads, limits, out);
    name = chosen(o, gpus);
    if (strcmp(name, "cpu") == 0 && gpus->n) return FC_FAIL(FC_ERR_ARG, "gpus: the backend is cpu");
    if (strcmp(name, "cpu") == 0) return fc_backend_open_cpu(level, threads, limits, out);
    return fc_gpu_backend_open(&cuda, limits, out);
}
