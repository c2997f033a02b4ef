#!/usr/bin/env python3
"""Plots of result.json: feedback against n, what is covered against n, reliability, draws spent where they help."""
import argparse
import json
import os
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "forkcast", "svg.fonttype": "none", "figure.figsize": (7, 4.2), "axes.grid": True,
                            "grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False})
from matplotlib import pyplot

LINES = ("random", "popularity", "frequency table", "feedback table", "novelty model alone", "alignment model alone")


def band(axes, rows, field, label, **style):
    n = [r["n"] for r in rows]
    axes.plot(n, [r[field]["value"] for r in rows], marker="o", label=label, **style)
    axes.fill_between(n, [r[field]["low"] for r in rows], [r[field]["high"] for r in rows], alpha=0.2)


def by_n(axes, result):
    axes.set_xscale("log", base=2)
    axes.set_xticks([r["n"] for r in result["best_of_n"]], [r["n"] for r in result["best_of_n"]])
    axes.set_xlabel("n")


def feedback(axes, result):
    rows = result["best_of_n"]
    band(axes, rows, "feedback", "best of n, 95 % interval")
    axes.plot([r["n"] for r in rows], [r["expected_feedback"] for r in rows], "k:", label="best of n, over all seeds")
    for i, name in enumerate(LINES):
        value = result["policies"][name]["feedback"]["value"]
        axes.axhline(value, color=f"C{i + 1}", linestyle="--", linewidth=1, label=name)
    by_n(axes, result)
    axes.set_ylabel("held-out feedback of the pick")
    axes.legend(fontsize="small", ncols=2)


def coverage(axes, result):
    for field, label in (("recall", "next cluster among the n"), ("hit", "pick is the next cluster"),
                         ("later", "pick is met later"), ("new", "pick is new to the user")):
        band(axes, result["best_of_n"], field, label)
    by_n(axes, result)
    axes.set_ylabel("share of held-out triples")
    axes.legend(fontsize="small")


def reliability(axes, result):
    for name, label in (("alignment", "alignment model"), ("feedback_table", "feedback table")):
        points = result["confidence"]["calibration"][name]["curve"]
        axes.plot([p for p, _, _ in points], [h for _, h, _ in points], marker="o", label=label)
    axes.plot([0, 1], [0, 1], "k:", label="calibrated")
    axes.set_xlabel("feedback foretold for the cluster that came next")
    axes.set_ylabel("share that liked it")
    axes.legend(fontsize="small")


def adaptive(axes, result):
    rows = result["confidence"]["adaptive"]
    band(axes, result["best_of_n"], "feedback", "n fixed")
    axes.plot([r["mean_n"] for r in rows], [r["feedback"]["value"] for r in rows], "s", label="stable:R, R = " +
              ", ".join(str(r["patience"]) for r in rows))
    by_n(axes, result)
    axes.set_xlabel("draws, mean")
    axes.set_ylabel("held-out feedback of the pick")
    axes.legend(fontsize="small")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--result", default="build/movielens/result.json", help="%(default)s")
    p.add_argument("--out", default="build/movielens/plots", help="folder of the plots (%(default)s)")
    args = p.parse_args()
    try:
        with open(args.result, encoding="utf-8") as f:
            result = json.load(f)
    except OSError as e:
        sys.exit(f"plots: cannot read {args.result}: {e.strerror}")
    os.makedirs(args.out, exist_ok=True)
    for draw in (feedback, coverage, reliability, adaptive):
        figure, axes = pyplot.subplots(layout="constrained")
        draw(axes, result)
        figure.savefig(os.path.join(args.out, draw.__name__ + ".svg"), metadata={"Date": None})
        pyplot.close(figure)


if __name__ == "__main__":
    main()
