"""SmolLM2-135M-Instruct (Q4_1) on 20 prompts: writes tests/data/models/smollm2_golden.json.

    pip install torch transformers accelerate gguf
    python tests/oracle/smollm2_golden.py models/SmolLM2-135M-Instruct.Q4_1.gguf

The file's weights are dequantised by the `gguf` package to float32 and run by transformers in float32. Each prompt is
continued greedily by 64 tokens; then prompt and continuation are fed at once, and of every continuation token its
log-prob is stored, with the two most likely ids at its place and the distance between their log-probs.
"""
import hashlib
import json
import os
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "models", "smollm2_golden.json")
NEW = 64

# Text as it stands, or a user's message (a list), which the model's chat template frames.
PROMPTS = [
    "The river rose for three days, and on the fourth morning the miller",
    ["Suggest three weekend walks for somebody who likes birds."],
    "def moving_average(values, width):\n    \"\"\"Mean of each window of `width` values.\"\"\"\n",
    ["Explain to a child why the moon changes its shape."],
    "Ingredients: two onions, a cup of red lentils, a lemon, cumin.\nMethod:\n1.",
    "Q: What is 17 + 26?\nA: 43\nQ: What is 58 + 14?\nA:",
    ["Which is heavier, a litre of water or a litre of oil? Answer in one sentence."],
    "La bibliothèque du village ouvre le mardi et le samedi. Les enfants",
    "SELECT city, COUNT(*) FROM visits WHERE year = 2021 GROUP BY",
    ["Write a short, friendly reminder that the meeting has moved to Thursday at ten."],
    "Chapter 3: How Bridges Carry Weight\n\nWhen a lorry drives onto a bridge,",
    "{\"name\": \"Ada\", \"interests\": [\"trains\", \"embroidery\",",
    ["I enjoyed documentaries about glaciers and about old maps. What else might I like, and why?"],
    "Der Zug nach Hamburg hat heute wegen des Sturms",
    "Dear Ms. Okafor,\n\nThank you for your letter of 4 March. We are sorry to hear that the kettle",
    ["List five words that rhyme with light."],
    "The three states of matter are",
    "    for (int i = 0; i < n; i++) {\n        total += price[i] * count[i];\n    }\n    return",
    ["Summarise in one line: The council voted nine to two for the new cycle path, which will open next spring."],
    "In the year 1900 the town had 4,200 inhabitants; by 1950 there were",
]


def main():
    path = os.path.abspath(sys.argv[1])
    folder, name = os.path.split(path)
    torch.manual_seed(0)
    tok = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32, attn_implementation="eager",
                                                 quantization_config=GgufConfig(dequantize=True)).eval()
    out = {"made_by": "tests/oracle/smollm2_golden.py", "transformers": transformers.__version__, "torch": torch.__version__,
           "gguf": __import__("importlib.metadata", fromlist=["version"]).version("gguf"), "model": name,
           "sha256": hashlib.sha256(open(path, "rb").read()).hexdigest(), "prompts": []}
    with torch.no_grad():
        for prompt in PROMPTS:
            if isinstance(prompt, list):
                text = tok.apply_chat_template([{"role": "user", "content": prompt[0]}], tokenize=False,
                                               add_generation_prompt=True)
            else:
                text = prompt
            ids = tok(text, add_special_tokens=False).input_ids
            seq, past, step = list(ids), None, torch.tensor([ids])
            for _ in range(NEW): # an end token is a token like any other here: the place after it is as good a test
                r = model(step, past_key_values=past, use_cache=True)
                past = r.past_key_values
                seq.append(int(r.logits[0, -1].argmax()))
                step = torch.tensor([[seq[-1]]])
            logp = torch.log_softmax(model(torch.tensor([seq])).logits[0].double(), -1)[len(ids) - 1:-1]
            top = logp.topk(2)
            new = seq[len(ids):]
            out["prompts"].append({
                "text": text, "ids": ids, "new": new,
                "logprob": [round(float(logp[i, t]), 6) for i, t in enumerate(new)],
                "top": top.indices.tolist(),
                "gap": [round(float(v[0] - v[1]), 6) for v in top.values]})
            print(repr(tok.decode(new))[:110], flush=True)
    with open(OUT, "w") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")
    print(os.path.getsize(OUT), "bytes;", sum(g > 0.2 for p in out["prompts"] for g in p["gap"]), "of", 20 * NEW, "gaps over 0.2")


if __name__ == "__main__":
    main()
