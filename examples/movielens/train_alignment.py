#!/usr/bin/env python3
"""Trains the alignment LoRA and its reward head: from two clusters and a new one to the aggregated feedback, one at a time."""
import argparse
import random
import sys

import peft
import torch
import transformers

import prompts
import training
from tables import DataError

LABEL = {"first": int, "second": int, "next": int, "label": float}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    training.add_options(p, epochs=1, rate=1e-3)
    p.add_argument("--examples", type=int, default=4000, help="labels learnt from, drawn at random (%(default)s)")
    args = p.parse_args()
    base = training.begin(args)
    names = training.names(args.folder)
    rows = training.read_examples(args.folder, "alignment_set.tsv", LABEL)
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
    model = peft.get_peft_model(model, training.lora(args, base, "SEQ_CLS"))
    ids = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
    chosen = random.Random(args.seed).sample(rows, min(args.examples, len(rows)))

    def examples(_):
        """(ids of prompt, name and suffix, each tokenised apart as forkcast does; label)."""
        return [(ids(prompts.alignment(names[r["first"]], names[r["second"]])) + ids(names[r["next"]]) + ids(prompts.SUFFIX),
                 r["label"]) for r in chosen]

    def loss_of(batch):
        """Cross-entropy between the label and the sigmoid of the reward, which is read at the last id."""
        x, mask = training.padded([s for s, _ in batch])
        hidden = model.base_model.model.model(input_ids=x, attention_mask=mask).last_hidden_state
        last = hidden[range(len(batch)), [len(s) - 1 for s, _ in batch]]
        reward = model.base_model.model.score(last)[:, 0]
        return torch.nn.functional.binary_cross_entropy_with_logits(reward.float(), torch.tensor([l for _, l in batch]))

    training.save(model, args, training.train(model, examples, loss_of, args))


if __name__ == "__main__":
    try:
        main()
    except DataError as e:
        sys.exit(f"train_alignment: {e}")
