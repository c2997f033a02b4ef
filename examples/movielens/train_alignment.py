#!/usr/bin/env python3
"""Trains the alignment LoRA and its reward head: from two clusters and a new one to the aggregated feedback, each by itself.

Names that share a prompt are read behind it in one row, which spares reading the prompt for each.
"""
import argparse
import sys

import peft
import torch
import transformers

import prompts
import training
from tables import LABEL, DataError, read_names


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    training.add_options(p, epochs=1, rate=1e-3, batch=4, what="histories")
    args = p.parse_args()
    base = training.begin(args)
    names = read_names(args.folder)
    rows = training.read_examples(args.folder, "alignment_set.tsv", LABEL)
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
    model = peft.get_peft_model(training.lightened(model, args), training.lora(args, base, "SEQ_CLS"))
    ids = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
    groups = {}
    for r in rows:
        groups.setdefault((r["first"], r["second"]), []).append((ids(names[r["next"]]) + ids(prompts.SUFFIX), r["label"]))

    def examples(_):
        """(ids of the prompt, [(ids of name and suffix, label)]), each tokenised apart as forkcast does."""
        return [(ids(prompts.alignment(names[first], names[second])), nexts) for (first, second), nexts in groups.items()]

    def loss_of(batch):
        """Cross-entropy between label and sigmoid of the reward, which is read at the last id of each name."""
        names = [name for _, nexts in batch for name, _ in nexts]
        x, positions, mask, starts = training.tree([(prompt, [name for name, _ in nexts]) for prompt, nexts in batch])
        rows, ends = [b for b, _ in starts], [t + len(name) - 1 for (_, t), name in zip(starts, names)]
        hidden = model.base_model.model.model(input_ids=x, position_ids=positions, attention_mask=mask).last_hidden_state
        reward = model.base_model.model.score(hidden[rows, ends])[:, 0]
        return torch.nn.functional.binary_cross_entropy_with_logits(reward.float(),
                                                                    torch.tensor([l for _, nexts in batch for _, l in nexts]))

    training.save(model, args, training.train(model, examples, loss_of, args))


if __name__ == "__main__":
    try:
        main()
    except DataError as e:
        sys.exit(f"train_alignment: {e}")
