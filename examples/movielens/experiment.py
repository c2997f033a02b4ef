#!/usr/bin/env python3
"""Measures what ask.py kept against held-out data, and writes one JSON with an interval for each number."""
import argparse
import json
import math
import os
import sys

import confidence
from judge import World, difference, drawn, estimate, measured, others, policies
from measures import best_of, best_of_law, mean
from tables import DataError

NS = (1, 2, 4, 8, 16, 32, 64)


def best_of_n(world, answers, best):
    """BEST: n -> picks. For each n what is measured of it, and what the held-out feedback gains over the n before."""
    out, before = [], None
    for n, picks in best.items():
        entry = {"n": n, **measured(world, answers, picks)}
        entry["gain"] = difference(world, answers, picks, before, ["feedback"])["feedback"] if before else None
        entry["recall"] = estimate(answers, [float(a["next"] in a["draws"][:n]) for a in answers], world.users)
        entry["names"] = estimate(answers, [len(set(a["draws"][:n])) for a in answers], world.users)
        entry["score"] = estimate(answers, [max(a["draw_scores"][:n]) for a in answers], world.users)
        entry["expected_feedback"] = round(mean(expected_of(world, a, n)[0] for a in answers), 4)
        out.append(entry)
        before = picks
    return out


def expected_of(world, a, n, logprob="logprob", redrawn=False):
    """Held-out feedback of the best of N, over all seeds, from exact probabilities; and in each resampling if REDRAWN."""
    names = range(len(world.names))
    chance = best_of_law(confidence.probabilities(a[logprob]), a["score"], n)
    value = sum(chance[c] * world.held_out.mean(a["first"], a["second"], c) for c in names)
    if not redrawn:
        return value, None
    return value, mixed(world, a, enumerate(chance))


def mixed(world, a, weights):
    """[draws]: feedback of a lot between clusters, [(cluster, weight)]."""
    total = [0.0] * world.users.draws
    for c, weight in weights:
        total = [t + weight * m for t, m in zip(total, world.redrawn.mean(a["first"], a["second"], c))]
    return total


def retrieved(world, answers):
    """The prompt without and with the retrieved line, and the difference: from exact probabilities of all names, and as drawn;
    what a law would do that gives each name the same."""
    n, each = len(answers[0]["draws"]), 1 / len(world.names)
    out, found = {"uniform": {"next_logprob": round(math.log(each), 4), "recall": round(1 - (1 - each) ** n, 4),
                              "entropy": round(-math.log(each), 4), "line": round(each, 4)}}, {}
    for key, field, draws in (("without", "logprob", "draws"), ("with", "logprob_retrieved", "draws_retrieved")):
        p = [confidence.probabilities(a[field]) for a in answers]
        feedback, redrawn = zip(*(expected_of(world, a, n, field, redrawn=True) for a in answers))
        judged = [world.judged(a, best_of(list(zip(a[draws], a[draws.replace("draws", "draw_scores")])), n)) for a in answers]
        found[key] = {"drawn_recall": [float(a["next"] in a[draws]) for a in answers],
                      "drawn_names": [len(set(a[draws])) for a in answers],
                      "drawn_feedback": [j["feedback"] for j in judged], "drawn_redrawn": [j["redrawn"] for j in judged],
                      "next_logprob": [math.log(q[a["next"]]) for a, q in zip(answers, p)],
                      "recall": [1 - (1 - q[a["next"]]) ** n for a, q in zip(answers, p)],
                      "entropy": [-sum(v * math.log(v) for v in q if v > 0) for q in p],
                      "line": [q[a["retrieved"]] for a, q in zip(answers, p)], "feedback": feedback, "redrawn": redrawn}
    found["difference"] = {k: [w - o for w, o in zip(found["with"][k], found["without"][k])]
                           for k in found["with"] if "redrawn" not in k}
    for k in ("redrawn", "drawn_redrawn"):
        found["difference"][k] = [[w - o for w, o in zip(*pair)] for pair in zip(found["with"][k], found["without"][k])]
    for key, values in found.items():
        redrawn = {"feedback": values.pop("redrawn"), "drawn_feedback": values.pop("drawn_redrawn")}
        out[key] = {k: estimate(answers, v, world.users, redrawn.get(k)) for k, v in values.items()}
    return out


def constraint(world, answers):
    """Free draws: how many are names. Names among them follow the law of the free model, not that of the mask."""
    free = [[c for c in a["free"] if c is not None] for a in answers]
    masked = [a["draws"][:len(a["free"])] for a in answers]

    def feedback(drawn):
        values = [mean(world.held_out.mean(a["first"], a["second"], c) for c in cs) if cs else None for a, cs in zip(answers, drawn)]
        return estimate(answers, values, world.users, [mixed(world, a, [(c, 1 / len(cs)) for c in cs]) for a, cs in zip(answers, drawn)])

    return {"exact_match": estimate(answers, [len(f) / len(a["free"]) for f, a in zip(free, answers)], world.users),
            "draws": len(answers[0]["free"]),
            "valid_mass": estimate(answers, [a["confidence"]["valid_mass"] for a in answers], world.users),
            "feedback_free": feedback(free), "feedback_constrained": feedback(masked)}


def order(world, answers, picks):
    """Triples by what hangs on the order within one second: World.untied, each kind with those behind it. Shares of the test
    part; of the triples asked about the best of n; of all of the test part the hits of the frequency table, with no model."""
    kinds = ("nothing", "history", "alone", "all")
    test, asked = ([kinds.index(world.untied(a)) for a in rows] for rows in (world.test, answers))
    out = {}
    for i, kind in enumerate(kinds):
        rows = [r for r, k in zip(world.test, test) if k >= i]
        those = [j for j, k in enumerate(asked) if k >= i]
        few = [answers[j] for j in those]
        out[kind] = {
            "test": len(rows), "share": round(len(rows) / len(world.test), 4), "asked": len(few),
            "best of n": measured(world, few, [picks[j] for j in those], ("feedback", "hit", "later")) if few else None,
            "recall": estimate(few, [float(a["next"] in a["draws"]) for a in few], world.users),
            "random": round(mean(1 / len(others(r, world.names)) for r in rows), 4) if rows else None,
            "frequency table": estimate(rows, [float(world.successors.retrieved(r["first"], r["second"]) == r["next"])
                                               for r in rows], world.users)}
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--folder", default="build/movielens", help="tables of prepare.py, answers of ask.py (%(default)s)")
    p.add_argument("--out", default="build/movielens/result.json", help="%(default)s")
    p.add_argument("--bootstrap", type=int, default=1000, help="resamplings for each interval (%(default)s)")
    p.add_argument("--seed", type=int, default=1, help="of resampling and of random picks (%(default)s)")
    args = p.parse_args()
    world, path = World(args.folder, args.bootstrap, args.seed), os.path.join(args.folder, "answers.jsonl")
    try:
        with open(path, encoding="utf-8") as f:
            answers = [json.loads(line) for line in f]
    except OSError as e:
        raise DataError(f"cannot read {path}: {e.strerror}; ask.py writes it") from e
    fit, answers = ([a for a in answers if a["split"] == part] for part in ("train", "test"))
    if not answers or not fit:
        raise DataError(f"{path} has {len(answers)} answers to triples of the test part and {len(fit)} of the train part; both are needed")
    ns = [n for n in NS if n <= len(answers[0]["draws"])]
    best = {n: [best_of(drawn(a), n) for a in answers] for n in ns}
    picks = {name: [pick(a) for a in answers] for name, pick in policies(world, args.seed).items()}
    against = {**picks, **({f"best of {ns[-2]}": best[ns[-2]]} if len(ns) > 1 else {})}
    result = {
        "data": {"clusters": len(world.names), "triples": len(world.rows), "test": len(world.test),
                 "test_users": len({r["user"] for r in world.test}), "feedback_test": round(mean(r["feedback"] for r in world.test), 4)},
        "asked": {"triples": len(answers), "users": len({a["user"] for a in answers}), "fit": len(fit), "n": len(answers[0]["draws"])},
        "best_of_n": best_of_n(world, answers, best),
        "policies": {name: measured(world, answers, chosen) for name, chosen in picks.items()},
        "differences": {name: difference(world, answers, best[ns[-1]], chosen) for name, chosen in against.items()},
        "order": order(world, answers, best[ns[-1]]),
        "retrieved": retrieved(world, answers),
        "constraint": constraint(world, answers),
        "confidence": confidence.measured(world, answers, fit, args.seed),
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
