#!/usr/bin/env python3
"""Holds forkcast against transformers and peft: log-probs of names and rewards under both adapters, for some histories.

On the weights as float32 both must agree closely. On the quantised file forkcast rounds activations too, and it is said how
far that goes; there the ranking is what counts.
"""
import argparse
import json
import os
import random
import subprocess
import sys

import peft
import torch
import transformers

import prompts
from tables import DataError, read_names

CLOSE = 2e-3    # float32 against float32: sums in another order
ROUGHLY = 0.6   # 4-bit weights, 8-bit activations, over all tokens of a name


def forkcast(args, model, names, pair, number):
    recipe = os.path.join(args.folder, "recipe.json")
    done = subprocess.run(
        [args.forkcast, "bestof", "--recipe", recipe, "--novelty", model, "--alignment", model, "--json", "-n", "16", "-k", "0",
         "--seed", str(number), "--novelty-adapter", os.path.join(args.adapters, "novelty"),
         "--alignment-adapter", os.path.join(args.adapters, "alignment"), *(f"--history={names[c]}" for c in pair)],
        capture_output=True, text=True)
    if done.returncode:
        raise DataError(f"forkcast: {done.stderr.strip()}")
    return json.loads(done.stdout)["candidates"]


class Peft:
    """Both adapters on the base in float32."""

    def __init__(self, args):
        base = os.path.join(args.folder, "base")
        self.ids = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
        tokenizer = transformers.AutoTokenizer.from_pretrained(base)
        causal = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        scorer = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
        self.novelty = peft.PeftModel.from_pretrained(causal, os.path.join(args.adapters, "novelty")).eval()
        self.alignment = peft.PeftModel.from_pretrained(scorer, os.path.join(args.adapters, "alignment")).eval()

    @torch.no_grad()
    def logprob(self, first, second, name):
        prompt, said = self.ids(prompts.novelty(first, second)), self.ids(name) + self.ids(prompts.END)
        logits = self.novelty(input_ids=torch.tensor([prompt + said])).logits[0, len(prompt) - 1:-1]
        return torch.log_softmax(logits.double(), -1)[range(len(said)), said].sum().item()

    @torch.no_grad()
    def reward(self, first, second, name):
        ids = self.ids(prompts.alignment(first, second)) + self.ids(name) + self.ids(prompts.SUFFIX)
        hidden = self.alignment.base_model.model.model(input_ids=torch.tensor([ids])).last_hidden_state
        return self.alignment.base_model.model.score(hidden)[0, -1, 0].item()


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--folder", default="build/movielens", help="recipe of prepare.py and base of run.sh --train (%(default)s)")
    p.add_argument("--adapters", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "adapters"))
    p.add_argument("--forkcast", default="build/forkcast", help="the program (%(default)s)")
    p.add_argument("--model", default="models/SmolLM2-135M-Instruct.Q4_1.gguf", help="%(default)s")
    p.add_argument("--histories", type=int, default=4, help="%(default)s")
    args = p.parse_args()
    names, other = read_names(args.folder), Peft(args)
    exact = os.path.join(args.folder, "f32.gguf")
    if not os.path.exists(exact):
        subprocess.run([args.forkcast, "convert", args.model, exact, "--type", "F32"], check=True, stderr=subprocess.DEVNULL)
    rng, failed = random.Random(1), False
    pairs = [rng.sample(range(len(names)), 2) for _ in range(args.histories)]
    for model, bound in ((exact, CLOSE), (args.model, ROUGHLY)):
        worst = {"full_logprob": 0.0, "score": 0.0}
        count = 0
        for number, pair in enumerate(pairs):
            for c in forkcast(args, model, names, pair, number):
                first, second = (names[i] for i in pair)
                for field, value in (("full_logprob", other.logprob), ("score", other.reward)):
                    worst[field] = max(worst[field], abs(c[field] - value(first, second, c["text"])))
                count += 1
        failed |= max(worst.values()) > bound
        print(f"{os.path.basename(model)}: {count} names, at most {worst['full_logprob']:.2g} apart in log-prob and "
              f"{worst['score']:.2g} in reward; {bound} is allowed")
    if failed:
        raise DataError("forkcast and transformers disagree")


if __name__ == "__main__":
    try:
        main()
    except DataError as e:
        sys.exit(f"check_adapters: {e}")
