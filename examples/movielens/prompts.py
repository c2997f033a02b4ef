"""The texts that both models read, and the recipe that says so to forkcast. Training and serving take them from here.

Short texts, as each of their tokens is paid for in training; a name stands alone on its line.
"""
import json
import os

HISTORY = "Films that a person watched: {history_1}; {history_2}.\n"
NOVELTY = HISTORY + "Something new:\n"
RETRIEVED = HISTORY + "Others went on to: {prompt}.\nSomething new:\n"  # {prompt}: the most frequent next cluster
ALIGNMENT = HISTORY + "Would they like this?\n"
END = "\n"     # of a name
SUFFIX = "\n"  # the reward is read here
MAX_TOKENS = 16


def novelty(first, second, retrieved=None):
    template = NOVELTY if retrieved is None else RETRIEVED
    return template.format(history_1=first, history_2=second, prompt=retrieved)


def alignment(first, second):
    return ALIGNMENT.format(history_1=first, history_2=second)


def recipe(folder, model, adapters, taxonomy, retrieved=False):
    """A recipe that lies in FOLDER; its paths are relative to it."""
    near = lambda path: os.path.relpath(path, folder)
    return {
        "novelty": {"model": near(model), "adapter": near(os.path.join(adapters, "novelty")),
                    "template": RETRIEVED if retrieved else NOVELTY, "end": END},
        "alignment": {"model": near(model), "adapter": near(os.path.join(adapters, "alignment")), "mode": "reward",
                      "template": ALIGNMENT, "suffix": SUFFIX},
        "taxonomy": near(taxonomy),
        "constraint": "mask",
        "full_logprob": True,
        "sampling": {"max_tokens": MAX_TOKENS},
        "n": 64, "keep": 5, "seed": 1,
    }


def write_recipe(path, **said):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(recipe(os.path.dirname(os.path.abspath(path)), **said), f, indent=2)
        f.write("\n")
