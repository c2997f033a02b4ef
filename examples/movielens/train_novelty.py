#!/usr/bin/env python3
"""Trains the novelty LoRA: from two clusters to the next new one, on a few triples of each cluster.

In every other epoch the prompt has the line with the retrieved cluster, so that the adapter knows both.
"""
import argparse
import sys

import peft
import torch
import transformers

import labels
import prompts
import training
from tables import EXAMPLE, DataError, read_names


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    training.add_options(p, epochs=4, rate=1.5e-3, batch=1, what="prompts")
    args = p.parse_args()
    base = training.begin(args)
    names = read_names(args.folder)
    rows = training.read_examples(args.folder, "novelty_set.tsv", EXAMPLE)
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = peft.get_peft_model(training.lightened(model, args), training.lora(args, base, "CAUSAL_LM"))
    ids = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]

    def examples(epoch):
        """(ids of the prompt, [ids of a name and its end]): apart, as forkcast tokenises them."""
        return [(ids(prompts.novelty(names[first], names[second], names[line] if epoch % 2 else None)),
                 [ids(names[n]) + ids(prompts.END) for n in nexts])
                for first, second, line, nexts in labels.novelty_groups(rows, seed=args.seed * 1000 + epoch)]

    def loss_of(batch):
        """Cross-entropy of a name, the mean over names; the head is computed where it is read and nowhere else: each id of a name
        is foretold by the one before it, the first by the last one of the prompt."""
        x, positions, mask, starts = training.tree(batch)
        hidden = model.base_model.model.model(input_ids=x, position_ids=positions, attention_mask=mask).last_hidden_state
        said = [name for _, nexts in batch for name in nexts]
        rows = [b for (b, _), name in zip(starts, said) for _ in name]
        at = [t for (b, start), name in zip(starts, said) for t in [len(batch[b][0]) - 1, *range(start, start + len(name) - 1)]]
        logits = model.base_model.model.lm_head(hidden[rows, at])
        return torch.nn.functional.cross_entropy(logits.float(), torch.tensor([t for name in said for t in name]),
                                                 reduction="sum") / len(said)

    training.save(model, args, training.train(model, examples, loss_of, args))


if __name__ == "__main__":
    try:
        main()
    except DataError as e:
        sys.exit(f"train_novelty: {e}")
