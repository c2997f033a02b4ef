/* quantization_config of config.json: the FP8 that published checkpoints have, and everything else refused by name. */
#include "tests/util.h"

#include "weights_tools/quant_config.h"

static fc_status read_config(const char *quantization, fc_quant_info *out) {
    char text[1200];
    fc_json_doc *doc = NULL;
    fc_status st;
    snprintf(text, sizeof text, "{\"model_type\":\"llama\"%s%s}", *quantization ? ",\"quantization_config\":" : "",
             quantization);
    assert_ok(fc_json_parse("config.json", text, strlen(text), &doc));
    st = fc_quant_config_hf("config.json", fc_json_root(doc), out);
    fc_json_close(doc);
    return st;
}

#define GROUP(weights)                                                                                                 \
    "{\"quant_method\":\"compressed-tensors\",\"format\":\"float-quantized\",\"sparsity_config\":{},"                  \
    "\"ignore\":[\"lm_head\"],\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"],\"input_activations\":"         \
    "{\"dynamic\":true},\"weights\":" weights "}}}"

static void configurations_are_read(void **state) {
    static const struct {
        const char *json, *method;
        int rows, cols;
    } good[] = {
        {"", "", 0, 0},
        {"null", "", 0, 0},
        {"{\"quant_method\":\"fp8\",\"activation_scheme\":\"static\",\"ignored_layers\":[\"lm_head\"]}", "fp8", 0, 0},
        {"{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\",\"activation_scheme\":\"dynamic\",\"weight_block_size\":[128,64],"
         "\"modules_to_not_convert\":null}",
         "fp8", 128, 64},
        {"{\"quant_method\":\"fp8\",\"weight_block_size\":null}", "fp8", 0, 0},
        {"{\"quant_method\":\"fbgemm_fp8\",\"activation_scale_ub\":1200.0}", "fbgemm_fp8", 0, 0},
        {"{\"quant_method\":\"modelopt\",\"quant_algo\":\"FP8\"}", "modelopt", 0, 0},
        {GROUP("{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"channel\",\"symmetric\":true}"), "compressed-tensors",
         0, 0},
        {GROUP("{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"tensor\"}"), "compressed-tensors", 0, 0},
        {GROUP("{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"block\",\"block_structure\":[128,128]}"),
         "compressed-tensors", 128, 128},
        {GROUP("{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"group\",\"group_size\":64}"), "compressed-tensors", 1,
         64},
        {GROUP("null"), "compressed-tensors", 0, 0},
    };
    fc_quant_info q;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (read_config(good[i].json, &q)) fail_msg("%s: %s", good[i].json, fc_status_text());
        assert_string_equal(q.method, good[i].method);
        assert_int_equal(q.block_rows, good[i].rows);
        assert_int_equal(q.block_cols, good[i].cols);
    }
}

static void other_methods_are_refused_by_name(void **state) {
    static const struct {
        const char *json;
        fc_status status;
        const char *words;
    } bad[] = {
        {"{\"bits\":4}", FC_ERR_UNSUPPORTED, "quant_method \"\"; fp8, fbgemm_fp8"},
        {"{\"quant_method\":\"awq\"}", FC_ERR_UNSUPPORTED, "config.json: quantization_config: quant_method \"awq\""},
        {"{\"quant_method\":7}", FC_ERR_FORMAT, "quant_method"},
        {"{\"quant_method\":\"fp8\",\"fmt\":\"e5m2\"}", FC_ERR_UNSUPPORTED, "fmt \"e5m2\""},
        {"{\"quant_method\":\"fp8\",\"weight_block_size\":128}", FC_ERR_FORMAT, "weight_block_size is not an array"},
        {"{\"quant_method\":\"fp8\",\"weight_block_size\":[128,0]}", FC_ERR_FORMAT, "weight_block_size"},
        {"{\"quant_method\":\"modelopt\",\"quant_algo\":\"NVFP4\"}", FC_ERR_UNSUPPORTED, "quant_algo \"NVFP4\""},
        {"{\"quant_method\":\"compressed-tensors\"}", FC_ERR_FORMAT, "without config_groups"},
        {GROUP("{\"num_bits\":4,\"type\":\"float\"}"), FC_ERR_UNSUPPORTED, "weights of 4 bits, type \"float\""},
        {GROUP("{\"num_bits\":8,\"type\":\"int\"}"), FC_ERR_UNSUPPORTED, "8 bits, type \"int\""},
        {GROUP("{\"num_bits\":8,\"type\":\"float\",\"symmetric\":false}"), FC_ERR_UNSUPPORTED, "not symmetric"},
        {GROUP("{\"type\":\"float\",\"strategy\":\"token\"}"), FC_ERR_UNSUPPORTED, "strategy \"token\""},
        {GROUP("{\"type\":\"float\",\"strategy\":\"group\"}"), FC_ERR_FORMAT, "without a group_size"},
        {GROUP("{\"type\":\"float\",\"strategy\":\"block\"}"), FC_ERR_FORMAT, "block_structure is not an array"},
        {"{\"quant_method\":\"compressed-tensors\",\"sparsity_config\":{\"format\":\"sparse-24-bitmask\"},"
         "\"config_groups\":{}}",
         FC_ERR_UNSUPPORTED, "sparsity_config of format \"sparse-24-bitmask\""},
        {"{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"a\":{\"weights\":{\"type\":\"float\","
         "\"strategy\":\"group\",\"group_size\":64}},\"b\":{\"weights\":{\"type\":\"float\",\"strategy\":\"group\","
         "\"group_size\":32}}}}",
         FC_ERR_UNSUPPORTED, "blocks of 1 x 64 beside blocks of 1 x 32"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fc_quant_info q;
        assert_fails(read_config(bad[i].json, &q), bad[i].status, bad[i].words);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configurations_are_read),
        cmocka_unit_test(other_methods_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
