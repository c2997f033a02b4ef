#include "engine/app/openai/fields.h"

#include <string.h>

#define BOTH OPENAI_IN_BOTH
#define TEXT OPENAI_IN_COMPLETIONS
#define CHAT OPENAI_IN_CHAT

static const openai_field fields[] = {
    {"model", BOTH, OPENAI_OWN, NULL},
    {"prompt", TEXT, OPENAI_OWN, NULL},
    {"messages", CHAT, OPENAI_OWN, NULL},
    {"n", BOTH, OPENAI_OWN, NULL},
    {"best_of", BOTH, OPENAI_OWN, NULL},
    {"max_tokens", BOTH, OPENAI_OPTION, NULL},
    {"max_completion_tokens", BOTH, OPENAI_OPTION, "max_tokens"},
    {"temperature", BOTH, OPENAI_OPTION, NULL},
    {"top_p", BOTH, OPENAI_OPTION, NULL},
    {"seed", BOTH, OPENAI_OWN, NULL},
    {"stop", BOTH, OPENAI_OWN, NULL},
    {"logprobs", BOTH, OPENAI_OWN, NULL},
    {"top_logprobs", CHAT, OPENAI_OWN, NULL},
    {"echo", TEXT, OPENAI_OWN, NULL},
    {"logit_bias", BOTH, OPENAI_OPTION, NULL},
    {"presence_penalty", BOTH, OPENAI_OPTION, NULL},
    {"frequency_penalty", BOTH, OPENAI_OPTION, NULL},
    {"user", BOTH, OPENAI_TAKEN, NULL},
    {"suffix", TEXT, OPENAI_NEVER, "text behind the completion is not offered"},
    {"stream", BOTH, OPENAI_OWN, NULL},
    {"stream_options", BOTH, OPENAI_OWN, NULL},
    {"top_k", BOTH, OPENAI_OWN, NULL},
    {"min_p", BOTH, OPENAI_OPTION, NULL},
    {"typical_p", BOTH, OPENAI_OPTION, NULL},
    {"repetition_penalty", BOTH, OPENAI_OPTION, NULL},
    {"min_tokens", BOTH, OPENAI_OPTION, NULL},
    {"ignore_eos", BOTH, OPENAI_OPTION, NULL},
    {"stop_token_ids", BOTH, OPENAI_OPTION, NULL},
    {"bad_words", BOTH, OPENAI_OPTION, NULL},
    {"allowed_token_ids", BOTH, OPENAI_OPTION, NULL},
    {"include_stop_str_in_output", BOTH, OPENAI_OPTION, NULL},
    {"skip_special_tokens", BOTH, OPENAI_OPTION, NULL},
    {"add_special_tokens", BOTH, OPENAI_OWN, NULL},
    {"truncate_prompt_tokens", BOTH, OPENAI_OPTION, NULL},
    {"prompt_logprobs", BOTH, OPENAI_OWN, NULL},
    {"return_token_ids", BOTH, OPENAI_OWN, NULL},
    {"return_tokens_as_token_ids", BOTH, OPENAI_OWN, NULL},
    {"logprob_token_ids", BOTH, OPENAI_OWN, NULL},
    {"structured_outputs", BOTH, OPENAI_OWN, NULL},
    {"guided_choice", BOTH, OPENAI_OWN, NULL},
    {"guided_json", BOTH, OPENAI_REFUSED, "structured output is limited to choice and taxonomy"},
    {"guided_regex", BOTH, OPENAI_REFUSED, "structured output is limited to choice and taxonomy"},
    {"guided_grammar", BOTH, OPENAI_REFUSED, "structured output is limited to choice and taxonomy"},
    {"guided_decoding_backend", BOTH, OPENAI_REFUSED, "structured output is limited to choice and taxonomy"},
    {"guided_whitespace_pattern", BOTH, OPENAI_REFUSED, "structured output is limited to choice and taxonomy"},
    {"structural_tag", BOTH, OPENAI_REFUSED, "structured output is limited to choice and taxonomy"},
    {"response_format", BOTH, OPENAI_OWN, NULL},
    {"priority", BOTH, OPENAI_OPTION, NULL},
    {"request_id", BOTH, OPENAI_OWN, NULL},
    {"session_id", BOTH, OPENAI_TAKEN, NULL}, /* for a router in front */
    {"cache_salt", BOTH, OPENAI_OWN, NULL},
    {"kv_transfer_params", BOTH, OPENAI_REFUSED, "KV caches are not moved between servers"},
    {"vllm_xargs", BOTH, OPENAI_OWN, NULL},
    {"forkcast", BOTH, OPENAI_OWN, NULL},
    {"judge", BOTH, OPENAI_NEVER, "it is not offered; use forkcast: mode, alignment_template, suffix and labels"},
    {"return_candidates", BOTH, OPENAI_NEVER, "it is not offered; use forkcast: all"},
    {"min_score", BOTH, OPENAI_NEVER, "it is not offered; use forkcast, and scores are in each choice"},
    {"use_beam_search", BOTH, OPENAI_REFUSED, "use forkcast: draw beam, over a taxonomy or choice"},
    {"length_penalty", BOTH, OPENAI_OWN, NULL},
    {"prompt_embeds", BOTH, OPENAI_REFUSED, "a prompt is text or token ids"},
    {"logits_processors", BOTH, OPENAI_REFUSED, "code is not taken from requests"},
    {"add_generation_prompt", CHAT, OPENAI_OWN, NULL},
    {"continue_final_message", CHAT, OPENAI_OWN, NULL},
    {"chat_template", CHAT, OPENAI_NEVER, "a template is the model's own, never a request's"},
    {"chat_template_kwargs", CHAT, OPENAI_REFUSED, "templates take no arguments"},
    {"documents", CHAT, OPENAI_REFUSED, "templates take no documents"},
    {"tools", CHAT, OPENAI_REFUSED, "tools are not offered"},
    {"tool_choice", CHAT, OPENAI_OWN, NULL},
    {"parallel_tool_calls", CHAT, OPENAI_TAKEN, NULL}, /* without tools nothing calls */
    {"functions", CHAT, OPENAI_REFUSED, "tools are not offered"},
    {"function_call", CHAT, OPENAI_REFUSED, "tools are not offered"},
    {"modalities", CHAT, OPENAI_OWN, NULL},
    {"audio", CHAT, OPENAI_REFUSED, "a message is text"},
    {"web_search_options", CHAT, OPENAI_NEVER, "nothing is searched"},
    {"metadata", BOTH, OPENAI_TAKEN, NULL},
    {"service_tier", BOTH, OPENAI_TAKEN, NULL},
    {"store", BOTH, OPENAI_REFUSED, "nothing is stored"},
};

size_t openai_field_count(void) { return sizeof fields / sizeof *fields; }
const openai_field *openai_field_at(size_t i) { return &fields[i]; }

const openai_field *openai_field_find(const char *name, size_t size) {
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strlen(fields[i].name) == size && memcmp(fields[i].name, name, size) == 0) return &fields[i];
    return NULL;
}
