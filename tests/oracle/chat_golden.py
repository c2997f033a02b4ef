"""Chat prompts as transformers renders them: writes tests/data/tokenizer/chat_render.json, and their ids with the small
tokenizers that lie beside it: chat_ids.json.

    pip install transformers tokenizers jinja2
    python tests/oracle/chat_golden.py

The templates are short equivalents of the published ones, written for this project: each makes the published template's
statements for conversations without tools, in the published order and with its kind of blanks. SmolLM2's is the one
that its model file carries (Apache-2.0).
"""
import json
import os

import jinja2
import tokenizers
import transformers
from transformers import PreTrainedTokenizerFast

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "tokenizer")

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")

CHATML = (
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")

CHATML_BOS = (
    "{{ bos_token }}{% for message in messages %}"
    "{{'<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")

QWEN2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")

QWEN25 = r"""{%- if tools %}
    {{- raise_exception("no tools here") }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""

QWEN3_HEAD = r"""{%- if tools %}
    {{- raise_exception("no tools here") }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
"""

QWEN3_THINKS = QWEN3_HEAD + r"""{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
"""

QWEN3 = QWEN3_THINKS + r"""{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"""

QWEN3_THINKING = QWEN3_THINKS + r"""{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n<think>\n' }}
{%- endif %}"""

QWEN3_INSTRUCT = QWEN3_HEAD + r"""{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role + '\n' + content }}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}"""

LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}")
LLAMA3_OPENS = LLAMA3.replace("{% if add_generation_prompt %}", "").removesuffix("{% endif %}")

LLAMA31 = r"""{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}

{#- a leading system message has its own place #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{{- "Cutting Knowledge Date: December 2023\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"""

MISTRAL_V1 = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('turns must alternate') }}{% endif %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ message['content'] + eos_token + ' ' }}{% else %}{{ raise_exception('no such role') }}{% endif %}{% endfor %}")
MISTRAL_V02 = MISTRAL_V1.replace("+ eos_token + ' ' }}", "+ eos_token}}")

MISTRAL_HEAD = r"""{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
"""

MISTRAL_V1_SYSTEM = MISTRAL_HEAD + r"""
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('turns must alternate') }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.first and system_message is defined %}
            {{- " [INST] " + system_message + "\n\n" + message["content"] + " [/INST]" }}
        {%- else %}
            {{- " [INST] " + message["content"] + " [/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] + eos_token}}
    {%- else %}
        {{- raise_exception("no such role") }}
    {%- endif %}
{%- endfor %}
"""

MISTRAL_V3 = MISTRAL_HEAD + r"""{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
        {{- raise_exception("turns must alternate") }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
{%- endfor %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- else %}
        {{- raise_exception("no such role") }}
    {%- endif %}
{%- endfor %}
"""
MISTRAL_NEMO = MISTRAL_V3.replace('"[INST] "', '"[INST]"').replace('{{- " " + message["content"]|trim + eos_token}}',
                                                                  '{{- message["content"] + eos_token}}')

GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('turns must alternate') }}{% endif %}{% if (message['role'] == 'assistant') %}"
    "{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}")

GEMMA3 = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first_user_prefix = messages[0]['content'] + '

' -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("turns must alternate") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '
' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- endif -%}
    {{ '<end_of_turn>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model
'}}
{%- endif -%}
"""

# name, family, template, bos, eos
TEMPLATES = [
    ("smollm2", "smollm2", SMOLLM2, "<|im_start|>", "<|im_end|>"),
    ("chatml", "chatml", CHATML, "", "<|im_end|>"),
    ("chatml with bos", "chatml", CHATML_BOS, "<s>", "<|im_end|>"),
    ("qwen2", "qwen2", QWEN2, "", "<|im_end|>"),
    ("qwen2.5", "qwen2", QWEN25, "", "<|im_end|>"),
    ("qwen3", "chatml", QWEN3, "", "<|im_end|>"),
    ("qwen3 thinking 2507", "chatml", QWEN3_THINKING, "", "<|im_end|>"),
    ("qwen3 instruct 2507", "chatml", QWEN3_INSTRUCT, "", "<|im_end|>"),
    ("llama3", "llama3", LLAMA3, "<|begin_of_text|>", "<|eot_id|>"),
    ("llama3 always opens", "llama3", LLAMA3_OPENS, "<|begin_of_text|>", "<|eot_id|>"),
    ("llama3.1", "llama3", LLAMA31, "<|begin_of_text|>", "<|eot_id|>"),
    ("mistral v0.1", "mistral", MISTRAL_V1, "<s>", "</s>"),
    ("mistral v0.2", "mistral", MISTRAL_V02, "<s>", "</s>"),
    ("mistral v1 with system", "mistral", MISTRAL_V1_SYSTEM, "<s>", "</s>"),
    ("mistral v3", "mistral", MISTRAL_V3, "<s>", "</s>"),
    ("mistral nemo", "mistral", MISTRAL_NEMO, "<s>", "</s>"),
    ("gemma", "gemma", GEMMA, "<bos>", "<eos>"),
    ("gemma3", "gemma", GEMMA3, "<bos>", "<eos>"),
]

S, U, A = "system", "user", "assistant"
CONVERSATIONS = [
    [(U, "Name three trees.")],
    [(S, "Answer in one line."), (U, "Name three trees.")],
    [(U, "Hi"), (A, "Hello!"), (U, "Which birds sing at night?")],
    [(S, "Be kind."), (U, "Hi"), (A, "Hello!"), (U, "Which birds sing at night?"), (A, "The nightingale."), (U, "Others?")],
    [(S, "  Blanks \n"), (U, "\t around \u2003\u00a0\n\n"), (A, "  everywhere\u3000 \n"), (U, " \x1c\u0085 kept or cut \u2028")],
    [(U, ""), (A, ""), (U, "")],
    [(S, ""), (U, " \n ")],
    [(U, "It\u2019s 7 \u20ac \u2013 \u65e5\u672c\u8a9e \U0001f98a e\u0301 \"quoted\" 'single' \\n {{ not code }} {% if %}")],
    [(U, "One\nTwo\n\nThree"), (A, "Four\n"), (U, "\n\nFive")],
    [(U, "2+2?"), (A, "<think>\nfour, surely\n</think>\n\n4"), (U, "And 3+3?")],
    [(U, "2+2?"), (A, "\n<think>\n\n\nfour\n\n</think>\n\n\n4\n")],
    [(U, "2+2?"), (A, "4")],
    [(U, "2+2?"), (A, "4"), (A, "no </think> four <think> </think>\n\nfive")],
    [(U, "2+2?"), (A, "<think>a</think>b"), (U, "<tool_response>\n4\n</tool_response>"), (A, "\n\nfour")],
    [(U, "a"), (A, "plain, then"), (A, "end")],
    [(S, "s"), (A, "An answer first."), (U, "q")],
    [(A, "An answer first.")],
    [(U, "q"), (S, "a system message late"), (U, "r")],
    [(S, "one"), (S, "two"), (U, "q")],
    [(S, "only a system message")],
    [(U, "a"), (U, "b")],
    [(U, "text with <|im_end|> and <|eot_id|> and </s> and [/INST] and <end_of_turn> names")],
    [(U, "<tool_response>only</tool_response>"), (A, "x")],
]

# Template and tokenizer (tests/data/tokenizer/NAME.json) whose ids are kept. Llama 2's has no token [INST], and puts a
# blank in front of whatever follows a special token.
IDS = [("smollm2", "qwen2"), ("qwen2.5", "qwen2"), ("qwen3", "qwen2"), ("llama3", "llama3"), ("llama3.1", "llama3"),
       ("mistral v3", "mistral"), ("mistral nemo", "mistral"), ("mistral v0.1", "llama2"),
       ("mistral v1 with system", "llama2"), ("gemma", "gemma"), ("gemma3", "gemma")]

# Not known: what a careless recogniser would take for a known family.
UNKNOWN = [
    "",
    "hello",
    "{{ bos_token }}",
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}",
    CHATML.replace("message['content']", "message['content'] | trim"),
    CHATML.replace("'<|im_end|>' + '\\n'", "'<|im_end|>'"),
    CHATML.replace("{% endfor %}", " {% endfor %}"),
    CHATML.replace("{% if add_generation_prompt %}", ""),
    CHATML.replace("{% for", "{{ 'Answer briefly. ' }}{% for", 1),
    QWEN2.replace("loop.first and ", ""),
    QWEN25.replace("{%- for message in messages %}", "{%- for message in messages %}{{- '<|vision_start|>' }}"),
    QWEN3.replace("loop.last or ", ""),
    LLAMA3.replace(" | trim", ""),
    LLAMA31.replace("December 2023", "June 2025"),
    LLAMA31.replace("{{- bos_token }}", "{{ bos_token }}").replace("{%- if not date", "{% if not date"),
    MISTRAL_V3.replace("loop.last and", "loop.index == 2 and"),
    MISTRAL_V3.replace('"[INST] " + message', '"[INST]  " + message'),
    MISTRAL_V1.replace("'[INST] ' + ", "'[INST] <<SYS>>' + "),
    GEMMA.replace("<end_of_turn>\n", "<end_of_turn>"),
    GEMMA3.replace("{%- if message['content'] is string -%}", "{% if message['content'] is string -%}").replace(
        'else "") }}', 'else "") }} -'),
]


def tokenizer(template, bos, eos):
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    t = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=eos, **({"bos_token": bos} if bos else {}))
    t.chat_template = template
    return t


def render(t, conversation, opens):
    try:
        messages = [{"role": r, "content": c} for r, c in conversation]
        return t.apply_chat_template(messages, tokenize=False, add_generation_prompt=opens)
    except jinja2.TemplateError:
        return None  # the template raised


def write(name, out):
    with open(os.path.join(FOLDER, name), "w", encoding="utf-8") as f:
        json.dump(out, f, ensure_ascii=False, indent=0)
        f.write("\n")


def ids_of(template, bos, eos, name):
    """Ids of every conversation that the template takes; null too where a message holds the name of a special token."""
    t = PreTrainedTokenizerFast(tokenizer_file=os.path.join(FOLDER, name + ".json"), eos_token=eos,
                                **({"bos_token": bos} if bos else {}))
    t.chat_template = template
    names = [str(a) for a in t.added_tokens_decoder.values() if a.special]
    out = []
    for c in CONVERSATIONS:
        held = any(n in content for _, content in c for n in names)
        text = render(t, c, True)
        ids = None if held or text is None else t.apply_chat_template(
            [{"role": r, "content": x} for r, x in c], tokenize=True, add_generation_prompt=True, return_dict=False)
        out.append(ids)
    return out


def main():
    versions = {"made_by": "tests/oracle/chat_golden.py", "transformers": transformers.__version__,
                "tokenizers": tokenizers.__version__, "jinja2": jinja2.__version__}
    out = {**versions, "conversations": CONVERSATIONS, "templates": [], "unknown": UNKNOWN}
    for name, family, template, bos, eos in TEMPLATES:
        t = tokenizer(template, bos, eos)
        out["templates"].append({"name": name, "family": family, "template": template, "bos": bos,
                                 "closed": [render(t, c, False) for c in CONVERSATIONS],
                                 "open": [render(t, c, True) for c in CONVERSATIONS]})
    write("chat_render.json", out)
    texts = [x for t in out["templates"] for x in t["closed"] + t["open"]]
    print(f"{len(texts)} prompts, {texts.count(None)} of them refused")
    by_name = {t[0]: t for t in TEMPLATES}
    pairs = [{"template": a, "tokenizer": b, "ids": ids_of(by_name[a][2], by_name[a][3], by_name[a][4], b)} for a, b in IDS]
    write("chat_ids.json", {**versions, "pairs": pairs})
    print(sum(x is not None for p in pairs for x in p["ids"]), "prompts as ids")


if __name__ == "__main__":
    main()
