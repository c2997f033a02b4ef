"""Who judges a pick, and against what: the held-out part of the data, users as groups, policies without a model.

Held-out feedback of a pick is that of the test part: mean feedback of all users who met the pick, drawn from narrow to
wide groups as in labels.py. `own` looks at the user alone: the share of liked ones among that user's later ratings in the
picked cluster, where there are any.
"""
import os
import random

import labels
import triples
from measures import interval, mean
from tables import read_ratings, read_table

FILM_CLUSTER = {"film": int, "cluster": int}


class World:
    """What is known of the data: before the test part as a policy may know it, and after as the judge knows it."""

    def __init__(self, folder):
        at = lambda name: os.path.join(folder, name)
        self.rows = read_table(at("triples.tsv"), triples.TRIPLES)
        with open(at("taxonomy.tsv"), encoding="utf-8") as f:
            self.names = [line.split("\t")[1] for line in f]
        self.successors = labels.Successors(self.rows)
        self.known = labels.Feedback([r for r in self.rows if r["split"] == "train"])
        self.held_out = labels.Feedback([r for r in self.rows if r["split"] == "test"])
        cluster_of = {r["film"]: r["cluster"] for r in read_table(at("film_clusters.tsv"), FILM_CLUSTER)}
        self.ratings = {}
        for r in read_ratings(at("ratings.tsv")):
            self.ratings.setdefault(r["user"], []).append((r["time"], cluster_of[r["film"]], r["rating"] >= triples.LIKED))
        self.firsts = {}
        for r in self.rows:
            self.firsts.setdefault(r["user"], []).append((r["time"], r["next"]))

    def later(self, a):
        """Clusters that the user met from the triple's time on for the first time, that of the triple among them."""
        return {c for t, c in self.firsts[a["user"]] if t >= a["time"]} - self.seen(a)

    def seen(self, a):
        return {c for t, c, _ in self.ratings[a["user"]] if t < a["time"]} | {a["first"], a["second"]}

    def judged(self, a, pick):
        """All that is measured of one pick; own is None where the user has no later rating there."""
        own = [liked for t, c, liked in self.ratings[a["user"]] if t >= a["time"] and c == pick]
        return {"feedback": self.held_out.mean(a["first"], a["second"], pick), "hit": float(pick == a["next"]),
                "later": float(pick in self.later(a)), "new": float(pick not in self.seen(a)),
                "own": mean(own) if own else None}


def others(a, names):
    return [c for c in range(len(names)) if c not in (a["first"], a["second"])]


def policies(world, seed):
    """Name -> pick of an answer, without n: what best-of-n is held against. None of them picks a cluster of the history."""
    rng = random.Random(seed)
    best = lambda a, key: max(others(a, world.names), key=lambda c: (key(c), -c))
    return {
        "random": lambda a: rng.choice(others(a, world.names)),
        "popularity": lambda a: next(c for c in world.successors.ranked() if c not in (a["first"], a["second"])),
        "frequency table": lambda a: world.successors.retrieved(a["first"], a["second"]),
        "feedback table": lambda a: best(a, lambda c: world.known.mean(a["first"], a["second"], c)),
        "novelty model alone": lambda a: best(a, lambda c: a["logprob"][c]),
        "novelty model alone, retrieved line": lambda a: best(a, lambda c: a["logprob_retrieved"][c]),
        "alignment model alone": lambda a: best(a, lambda c: a["score"][c]),
        "best possible": lambda a: best(a, lambda c: world.held_out.mean(a["first"], a["second"], c)),
    }


def drawn(a):
    return list(zip(a["draws"], a["draw_scores"]))


def grouped(answers, values):
    """Values by user, without those that are None."""
    groups = {}
    for a, v in zip(answers, values):
        if v is not None:
            groups.setdefault(a["user"], []).append(v)
    return list(groups.values())


def estimate(answers, values, args):
    """Mean and interval over users of the values that are there; None where none is."""
    groups = grouped(answers, values)
    if not groups:
        return None
    value, low, high = interval(groups, draws=args.bootstrap, seed=args.seed)
    return {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4), "count": sum(map(len, groups))}


def per_user(answers, picks):
    """Distinct picks of a user for each pick: 1 if no two are the same; of users with at least two."""
    of = {}
    for a, p in zip(answers, picks):
        of.setdefault(a["user"], []).append(p)
    return {u: len(set(ps)) / len(ps) for u, ps in of.items() if len(ps) > 1}


def measured(world, answers, picks, args):
    judged = [world.judged(a, p) for a, p in zip(answers, picks)]
    out = {key: estimate(answers, [j[key] for j in judged], args) for key in ("feedback", "hit", "later", "new", "own")}
    spread = per_user(answers, picks)
    if spread:
        value, low, high = interval([[v] for v in spread.values()], draws=args.bootstrap, seed=args.seed)
        out["distinct_per_user"] = {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4), "count": len(spread)}
    out["distinct"] = len(set(picks))
    return out
