#include "weights_tools/quant_config.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define KEY "quantization_config"

static const fc_json *member(const fc_json *object, const char *key) {
    const fc_json *n = fc_json_get(object, key);
    return n && fc_json_kind(n) != FC_JSON_NULL ? n : NULL;
}

static fc_status text_of(const fc_json *object, const char *key, const char *otherwise, const char **out) {
    const fc_json *n = member(object, key);
    *out = otherwise;
    return n ? fc_json_string(n, out) : FC_OK;
}

/* Scales for blocks of so many rows and columns; one file has one size. */
static fc_status set_blocks(const char *path, int64_t rows, int64_t cols, fc_quant_info *q) {
    if (q->block_rows && (q->block_rows != rows || q->block_cols != cols))
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: " KEY ": blocks of %lld x %lld beside blocks of %lld x %lld", path,
                       (long long)q->block_rows, (long long)q->block_cols, (long long)rows, (long long)cols);
    q->block_rows = rows;
    q->block_cols = cols;
    return FC_OK;
}

/* [rows, columns] */
static fc_status read_blocks(const char *path, const fc_json *list, const char *key, fc_quant_info *q) {
    int64_t rows, cols;
    if (!list || fc_json_kind(list) != FC_JSON_ARRAY || fc_json_count(list) != 2)
        return FC_FAIL(FC_ERR_FORMAT, "%s: " KEY ": %s is not an array of two numbers", path, key);
    FC_TRY(fc_json_int(fc_json_first(list), 1, INT_MAX, &rows));
    FC_TRY(fc_json_int(fc_json_next(fc_json_first(list)), 1, INT_MAX, &cols));
    return set_blocks(path, rows, cols, q);
}

static fc_status read_fp8(const char *path, const fc_json *n, fc_quant_info *q) {
    const fc_json *blocks = member(n, "weight_block_size");
    const char *fmt;
    FC_TRY(text_of(n, "fmt", "e4m3", &fmt));
    if (strcmp(fmt, "e4m3") != 0)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: " KEY ": fmt \"%.60s\"; e4m3 is supported", path, fmt);
    return blocks ? read_blocks(path, blocks, "weight_block_size", q) : FC_OK;
}

static fc_status read_modelopt(const char *path, const fc_json *n) {
    const char *algo;
    FC_TRY(text_of(n, "quant_algo", "", &algo));
    if (strcmp(algo, "FP8") == 0 || strcmp(algo, "FP8_PER_CHANNEL_PER_TOKEN") == 0) return FC_OK;
    return FC_FAIL(FC_ERR_UNSUPPORTED,
                   "%s: " KEY ": quant_algo \"%.60s\"; FP8 and FP8_PER_CHANNEL_PER_TOKEN are supported", path, algo);
}

static fc_status flag_of(const fc_json *object, const char *key, bool otherwise, bool *out) {
    const fc_json *n = member(object, key);
    *out = otherwise;
    return n ? fc_json_bool(n, out) : FC_OK;
}

/* The first of two names for the same thing. */
static const fc_json *either(const fc_json *object, const char *a, const char *b) {
    const fc_json *n = member(object, a);
    return n ? n : member(object, b);
}

/* Bits of a code, and columns that share a scale; -1: all. */
static fc_status read_sizes(const fc_json *n, fc_quant_info *q) {
    const fc_json *bits = either(n, "bits", "w_bit"), *group = either(n, "group_size", "q_group_size");
    int64_t v;
    if (!bits || !group) return fc_json_fail(n, FC_ERR_FORMAT, "%s is missing", bits ? "group_size" : "bits");
    FC_TRY(fc_json_int(bits, 1, INT_MAX, &v));
    if (v != 4 && (v != 8 || q->packed == FC_PACKED_AWQ))
        return fc_json_fail(bits, FC_ERR_UNSUPPORTED, "codes of %lld bits; %s", (long long)v,
                            q->packed == FC_PACKED_AWQ ? "of AWQ, 4 are supported" : "4 and 8 are supported");
    q->bits = (int)v;
    FC_TRY(fc_json_int(group, -1, INT_MAX, &v));
    if (v == 0) return fc_json_fail(group, FC_ERR_FORMAT, "groups of 0 columns");
    q->group = v > 0 ? v : 0;
    return FC_OK;
}

static fc_status read_gptq(const fc_json *n, fc_quant_info *q) {
    const fc_json *format = either(n, "checkpoint_format", "format");
    const char *name = "gptq";
    bool marlin;
    q->packed = FC_PACKED_GPTQ;
    if (format) FC_TRY(fc_json_string(format, &name));
    FC_TRY(flag_of(n, "is_marlin_format", false, &marlin));
    if (marlin || (strcmp(name, "gptq") != 0 && strcmp(name, "gptq_v2") != 0))
        return fc_json_fail(format ? format : n, FC_ERR_UNSUPPORTED, "format \"%.60s\"; gptq and gptq_v2 are supported",
                            marlin ? "marlin" : name);
    q->zeros_less_one = strcmp(name, "gptq") == 0;
    FC_TRY(flag_of(n, "desc_act", false, &q->act_order));
    return read_sizes(n, q);
}

static fc_status read_awq(const fc_json *n, fc_quant_info *q) {
    const fc_json *version = either(n, "version", "format");
    const char *name = "gemm", *backend;
    q->packed = FC_PACKED_AWQ;
    if (version) FC_TRY(fc_json_string(version, &name));
    FC_TRY(text_of(n, "backend", "autoawq", &backend));
    if (strcasecmp(name, "gemm") != 0 || strcmp(backend, "llm-awq") == 0)
        return fc_json_fail(version ? version : n, FC_ERR_UNSUPPORTED,
                            "version \"%.60s\" of backend \"%.60s\"; gemm, of autoawq, is supported", name, backend);
    return read_sizes(n, q);
}

/* Packed integers of one of compressed-tensors' config_groups. */
static fc_status read_packed_group(const char *path, const fc_json *w, int64_t bits, fc_quant_info *q) {
    const fc_json *size = member(w, "group_size");
    const char *strategy;
    int64_t n = 0;
    if (bits != 4 && bits != 8)
        return fc_json_fail(w, FC_ERR_UNSUPPORTED, "packed weights of %lld bits; 4 and 8 are supported",
                            (long long)bits);
    FC_TRY(text_of(w, "strategy", size ? "group" : "channel", &strategy));
    if (strcmp(strategy, "group") != 0 && strcmp(strategy, "channel") != 0)
        return fc_json_fail(w, FC_ERR_UNSUPPORTED,
                            "strategy \"%.60s\" of packed weights; group and channel are supported", strategy);
    q->packed = FC_PACKED_COMPRESSED;
    if (strcmp(strategy, "channel") == 0) return FC_OK; /* one scale a row needs no size */
    if (!size) return FC_FAIL(FC_ERR_FORMAT, "%s: " KEY ": strategy group without a group_size", path);
    FC_TRY(fc_json_int(size, 1, INT_MAX, &n));
    if (q->group && q->group != n)
        return fc_json_fail(size, FC_ERR_UNSUPPORTED, "groups of %lld columns beside groups of %lld", (long long)n,
                            (long long)q->group);
    q->group = n;
    return FC_OK;
}

/* One of compressed-tensors' config_groups; packed: its integers are. */
static fc_status read_group(const char *path, const fc_json *group, bool packed, fc_quant_info *q) {
    const fc_json *w = member(group, "weights"), *flag = member(w, "symmetric"), *bits = member(w, "num_bits");
    const char *type, *strategy;
    bool symmetric = true;
    int64_t n = 8;
    if (!w) return FC_OK; /* activations alone */
    FC_TRY(text_of(w, "type", "int", &type));
    FC_TRY(text_of(w, "strategy", "tensor", &strategy));
    if (bits) FC_TRY(fc_json_int(bits, 1, INT_MAX, &n));
    if (flag) FC_TRY(fc_json_bool(flag, &symmetric));
    if (packed && strcmp(type, "int") == 0) return read_packed_group(path, w, n, q);
    if (strcmp(type, "float") != 0 || n != 8 || !symmetric)
        return FC_FAIL(FC_ERR_UNSUPPORTED,
                       "%s: " KEY ": weights of %lld bits, type \"%.60s\"%s; 8 bits, float, symmetric are supported",
                       path, (long long)n, type, symmetric ? "" : ", not symmetric");
    if (strcmp(strategy, "tensor") == 0 || strcmp(strategy, "channel") == 0) return FC_OK;
    if (strcmp(strategy, "block") == 0) return read_blocks(path, member(w, "block_structure"), "block_structure", q);
    if (strcmp(strategy, "group") == 0) {
        const fc_json *size = member(w, "group_size");
        if (!size) return FC_FAIL(FC_ERR_FORMAT, "%s: " KEY ": strategy group without a group_size", path);
        FC_TRY(fc_json_int(size, 1, INT_MAX, &n));
        return set_blocks(path, 1, n, q);
    }
    return FC_FAIL(FC_ERR_UNSUPPORTED,
                   "%s: " KEY ": strategy \"%.60s\"; tensor, channel, group and block are supported", path, strategy);
}

static fc_status read_compressed(const char *path, const fc_json *n, fc_quant_info *q) {
    const fc_json *groups = member(n, "config_groups");
    const char *sparsity, *all, *format;
    FC_TRY(text_of(n, "format", "", &all));
    FC_TRY(text_of(member(n, "sparsity_config"), "format", "dense", &sparsity));
    if (strcmp(sparsity, "dense") != 0)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: " KEY ": sparsity_config of format \"%.60s\"; dense is supported", path,
                       sparsity);
    if (!groups || fc_json_kind(groups) != FC_JSON_OBJECT)
        return FC_FAIL(FC_ERR_FORMAT, "%s: " KEY ": compressed-tensors without config_groups", path);
    for (const fc_json *g = fc_json_first(groups); g; g = fc_json_next(g)) {
        FC_TRY(text_of(g, "format", all, &format));
        FC_TRY(read_group(path, g, strcmp(format, "pack-quantized") == 0 || strcmp(format, "int-quantized") == 0, q));
    }
    return FC_OK;
}

fc_status fc_quant_config_hf(const char *path, const fc_json *config, fc_quant_info *out) {
    const fc_json *n = member(config, KEY), *text = member(config, "text_config");
    fc_quant_info q = {.block_rows = 0};
    const char *method;
    if (!n && text) n = member(text, KEY);
    *out = q;
    if (!n) return FC_OK;
    FC_TRY(text_of(n, "quant_method", "", &method));
    if (strcmp(method, "fp8") == 0) FC_TRY(read_fp8(path, n, &q));
    else if (strcmp(method, "compressed-tensors") == 0) FC_TRY(read_compressed(path, n, &q));
    else if (strcmp(method, "modelopt") == 0) FC_TRY(read_modelopt(path, n));
    else if (strcmp(method, "gptq") == 0) FC_TRY(read_gptq(n, &q));
    else if (strcmp(method, "awq") == 0) FC_TRY(read_awq(n, &q));
    else if (strcmp(method, "fbgemm_fp8") != 0)
        return FC_FAIL(FC_ERR_UNSUPPORTED,
                       "%s: " KEY ": quant_method \"%.60s\"; fp8, fbgemm_fp8, gptq, awq, compressed-tensors and of "
                       "modelopt what is FP8 are supported",
                       path, method);
    snprintf(q.method, sizeof q.method, "%s", method);
    *out = q;
    return FC_OK;
}

fc_status fc_quant_config_own(const fc_json *root, fc_quant_info *out) {
    bool awq = member(root, "w_bit") || member(root, "version");
    fc_quant_info q = {.block_rows = 0};
    const char *method;
    FC_TRY(text_of(root, "quant_method", awq ? "awq" : "gptq", &method));
    awq = strcmp(method, "awq") == 0;
    if (!awq && strcmp(method, "gptq") != 0)
        return fc_json_fail(root, FC_ERR_UNSUPPORTED, "quant_method \"%.60s\"; gptq and awq are supported", method);
    FC_TRY(awq ? read_awq(root, &q) : read_gptq(root, &q));
    snprintf(q.method, sizeof q.method, "%s", method);
    *out = q;
    return FC_OK;
}
