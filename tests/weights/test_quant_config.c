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

#define PACKED(weights)                                                                                                \
    "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{\"group_0\":"           \
    "{\"targets\":[\"Linear\"],\"weights\":" weights "}}}"

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

static void packed_configurations_are_read(void **state) {
    static const struct {
        const char *json;
        fc_packed_kind kind;
        int bits, group;
        bool act_order, zeros_less_one;
    } good[] = {
        {"{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":-1,\"desc_act\":true}", FC_PACKED_GPTQ, 4, 0, true,
         true},
        {"{\"quant_method\":\"gptq\",\"bits\":8,\"group_size\":64,\"checkpoint_format\":\"gptq_v2\"}", FC_PACKED_GPTQ,
         8, 64, false, false},
        {"{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":128,\"version\":\"GEMM\"}", FC_PACKED_AWQ, 4, 128, false,
         false},
        {"{\"quant_method\":\"awq\",\"w_bit\":4,\"q_group_size\":32}", FC_PACKED_AWQ, 4, 32, false, false},
        {PACKED("{\"num_bits\":4,\"type\":\"int\",\"strategy\":\"group\",\"group_size\":128,\"actorder\":\"static\"}"),
         FC_PACKED_COMPRESSED, 0, 128, false, false},
        {PACKED("{\"num_bits\":8,\"type\":\"int\",\"strategy\":\"channel\",\"group_size\":null}"), FC_PACKED_COMPRESSED,
         0, 0, false, false},
    };
    fc_quant_info q;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (read_config(good[i].json, &q)) fail_msg("%s: %s", good[i].json, fc_status_text());
        assert_int_equal(q.packed, good[i].kind);
        assert_int_equal(q.bits, good[i].bits);
        assert_int_equal(q.group, good[i].group);
        assert_int_equal(q.act_order, good[i].act_order);
        assert_int_equal(q.zeros_less_one, good[i].zeros_less_one);
    }
}

static void other_methods_are_refused_by_name(void **state) {
    static const struct {
        const char *json;
        fc_status status;
        const char *words;
    } bad[] = {
        {"{\"bits\":4}", FC_ERR_UNSUPPORTED, "quant_method \"\"; fp8, fbgemm_fp8"},
        {"{\"quant_method\":\"aqlm\"}", FC_ERR_UNSUPPORTED, "config.json: quantization_config: quant_method \"aqlm\""},
        {"{\"quant_method\":\"awq\"}", FC_ERR_FORMAT, "bits is missing"},
        {"{\"quant_method\":\"awq\",\"w_bit\":4,\"q_group_size\":64,\"backend\":\"llm-awq\"}", FC_ERR_UNSUPPORTED,
         "of backend \"llm-awq\""},
        {"{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":-2}", FC_ERR_FORMAT, "group_size"},
        {"{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":64,\"is_marlin_format\":true}", FC_ERR_UNSUPPORTED,
         "format \"marlin\""},
        {PACKED("{\"num_bits\":4,\"type\":\"int\",\"strategy\":\"tensor\"}"), FC_ERR_UNSUPPORTED,
         "strategy \"tensor\" of packed weights"},
        {PACKED("{\"num_bits\":4,\"type\":\"int\",\"strategy\":\"group\"}"), FC_ERR_FORMAT, "without a group_size"},
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
        cmocka_unit_test(packed_configurations_are_read),
        cmocka_unit_test(other_methods_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
