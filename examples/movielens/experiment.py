#!/usr/bin/env python3
"""Measures what ask.py kept against held-out data, and writes one JSON with an interval for each number."""
import argparse
import json
import math
import os
import sys

import confidence
from judge import World, drawn, estimate, measured, policies
from measures import best_of, expected_best_of, mean
from tables import DataError

NS = (1, 2, 4, 8, 16, 32, 64)


def best_of_n(world, answers, ns, args):
    out = []
    for n in ns:
        picks = [best_of(drawn(a), n) for a in answers]
        entry = {"n": n, **measured(world, answers, picks, args)}
        entry["recall"] = estimate(answers, [float(a["next"] in a["draws"][:n]) for a in answers], args)
        entry["names"] = estimate(answers, [len(set(a["draws"][:n])) for a in answers], args)
        entry["score"] = estimate(answers, [max(a["draw_scores"][:n]) for a in answers], args)
        entry["expected_feedback"] = round(mean(expected_of(world, a, n) for a in answers), 4)
        out.append(entry)
    return out


def expected_of(world, a, n, logprob="logprob"):
    """Held-out feedback of the best of N, over all seeds, from exact probabilities."""
    return expected_best_of(confidence.probabilities(a[logprob]), a["score"],
                            [world.held_out.mean(a["first"], a["second"], c) for c in range(len(world.names))], n)


def retrieved(world, answers, args):
    """The prompt without and with the retrieved line, both from exact probabilities of all names."""
    out, n = {}, len(answers[0]["draws"])
    for key, field in (("without", "logprob"), ("with", "logprob_retrieved")):
        p = [confidence.probabilities(a[field]) for a in answers]
        out[key] = {
            "next_logprob": estimate(answers, [math.log(q[a["next"]]) for a, q in zip(answers, p)], args),
            "recall": estimate(answers, [1 - (1 - q[a["next"]]) ** n for a, q in zip(answers, p)], args),
            "entropy": estimate(answers, [-sum(v * math.log(v) for v in q if v > 0) for q in p], args),
            "line": estimate(answers, [q[a["retrieved"]] for a, q in zip(answers, p)], args),
            "feedback": estimate(answers, [expected_of(world, a, n, field) for a in answers], args)}
    return out


def constraint(world, answers, args):
    """Free draws: how many are names. Names among them follow the law of the free model, not that of the mask."""
    free = [[float(c is not None) for c in a["free"]] for a in answers]
    same = [mean(c is not None and world.held_out.mean(a["first"], a["second"], c) for c in a["free"] if c is not None)
            if any(c is not None for c in a["free"]) else None for a in answers]
    masked = [mean(world.held_out.mean(a["first"], a["second"], c) for c in a["draws"][:len(a["free"])]) for a in answers]
    return {"exact_match": estimate(answers, [mean(f) for f in free], args), "draws": len(answers[0]["free"]),
            "valid_mass": estimate(answers, [a["confidence"]["valid_mass"] for a in answers], args),
            "feedback_free": estimate(answers, same, args), "feedback_constrained": estimate(answers, masked, args)}


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--folder", default="build/movielens", help="tables of prepare.py, answers of ask.py (%(default)s)")
    p.add_argument("--out", default="build/movielens/result.json", help="%(default)s")
    p.add_argument("--bootstrap", type=int, default=1000, help="resamplings for each interval (%(default)s)")
    p.add_argument("--seed", type=int, default=1, help="of resampling and of random picks (%(default)s)")
    args = p.parse_args()
    world, path = World(args.folder), os.path.join(args.folder, "answers.jsonl")
    try:
        with open(path, encoding="utf-8") as f:
            answers = [json.loads(line) for line in f]
    except OSError as e:
        raise DataError(f"cannot read {path}: {e.strerror}; ask.py writes it") from e
    if not answers:
        raise DataError(f"{path} has no answers")
    ns = [n for n in NS if n <= len(answers[0]["draws"])]
    test = [r for r in world.rows if r["split"] == "test"]
    result = {
        "data": {"clusters": len(world.names), "triples": len(world.rows), "test": len(test),
                 "feedback_test": round(mean(r["feedback"] for r in test), 4)},
        "asked": {"triples": len(answers), "users": len({a["user"] for a in answers}), "n": len(answers[0]["draws"])},
        "best_of_n": best_of_n(world, answers, ns, args),
        "policies": {name: measured(world, answers, [pick(a) for a in answers], args)
                     for name, pick in policies(world, args.seed).items()},
        "retrieved": retrieved(world, answers, args),
        "constraint": constraint(world, answers, args),
        "confidence": confidence.measured(world, answers, args),
        "bootstrap": args.bootstrap, "seed": args.seed,
    }
    with open(args.out + ".part", "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)
        f.write("\n")
    os.replace(args.out + ".part", args.out)
    print(f"{args.out}: {len(answers)} triples of {result['asked']['users']} users")


if __name__ == "__main__":
    try:
        main()
    except DataError as e:
        sys.exit(f"experiment: {e}")
