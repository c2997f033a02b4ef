#!/usr/bin/env python3
"""Trains the novelty LoRA: from two clusters to the next new one, on a few triples of each cluster.

In every other epoch the prompt has the line with the retrieved cluster, so that the adapter knows both.
"""
import argparse
import sys

import peft
import torch
import transformers

import prompts
import training
from tables import EXAMPLE, DataError, read_names


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    training.add_options(p, epochs=2, rate=1e-3)
    args = p.parse_args()
    base = training.begin(args)
    names = read_names(args.folder)
    rows = training.read_examples(args.folder, "novelty_set.tsv", EXAMPLE)
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = peft.get_peft_model(model, training.lora(args, base, "CAUSAL_LM"))
    ids = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]

    def examples(epoch):
        """(ids of the prompt, ids of the name and its end): apart, as forkcast tokenises them."""
        made = []
        for r in rows:
            line = names[r["retrieved"]] if epoch % 2 else None
            made.append((ids(prompts.novelty(names[r["first"]], names[r["second"]], line)), ids(names[r["next"]]) + ids(prompts.END)))
        return made

    def loss_of(batch):
        """Cross-entropy of the name alone; the head is computed where it is read and nowhere else."""
        x, mask = training.padded([prompt + name for prompt, name in batch])
        hidden = model.base_model.model.model(input_ids=x, attention_mask=mask).last_hidden_state
        at = [(b, len(prompt) + i - 1) for b, (prompt, name) in enumerate(batch) for i in range(len(name))]
        logits = model.base_model.model.lm_head(hidden[[b for b, _ in at], [t for _, t in at]])
        return torch.nn.functional.cross_entropy(logits.float(), torch.tensor([t for _, name in batch for t in name]),
                                                 reduction="sum") / len(batch)

    training.save(model, args, training.train(model, examples, loss_of, args))


if __name__ == "__main__":
    try:
        main()
    except DataError as e:
        sys.exit(f"train_novelty: {e}")
