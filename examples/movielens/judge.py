"""Who judges a pick, and against what: the held-out part of the data, users as groups, policies without a model.

Held-out feedback of a pick is that of the test part: mean feedback of all users who met the pick, drawn from narrow to
wide groups as in labels.py. `own` looks at the user alone: the share of liked ones among that user's later ratings in the
picked cluster, where there are any.

The judge errs, too, as its users are few: each resampling of the users makes the held-out feedback again of those drawn.
"""
import os
import random
from collections import defaultdict

import labels
import triples
from measures import Resampling, entry, mean
from tables import FILM_CLUSTER, read_names, read_ratings, read_table


PULL = 10.0  # of the judge: so many imagined feedbacks of the wider group stand beside those of the test part


class Redrawn:
    """labels.Feedback of ROWS in each resampling of their users."""

    def __init__(self, rows, sampling, pull=PULL):
        self.sampling, self.pull, self.made = sampling, pull, {}
        self.counts = defaultdict(lambda: defaultdict(lambda: [0, 0]))  # key -> user -> feedbacks, liked
        for r in rows:
            for key in labels.Feedback.keys(r["first"], r["second"], r["next"]):
                self.counts[key][r["user"]][0] += 1
                self.counts[key][r["user"]][1] += r["feedback"]

    def mean(self, first, second, new):
        """[draws]; a group that no row is of has the mean of the wider one."""
        wide, *narrow = labels.Feedback.keys(first, second, new)
        found = self._made(wide, [0.0] * self.sampling.draws, 0.0)
        for key in narrow:
            if key in self.counts:
                found = self._made(key, found, self.pull)
        return found

    def _made(self, key, wider, pull):
        if key not in self.made:
            count, liked = (self.sampling.weighted([(u, c[i]) for u, c in self.counts[key].items()]) for i in (0, 1))
            self.made[key] = [(l + pull * m) / (n + pull) for n, l, m in zip(count, liked, wider)]
        return self.made[key]


class World:
    """What is known of the data: before the test part as a policy may know it, and after as the judge knows it."""

    def __init__(self, folder, bootstrap=1000, seed=1):
        at = lambda name: os.path.join(folder, name)
        self.rows = read_table(at("triples.tsv"), triples.TRIPLES)
        self.names = read_names(folder)
        self.successors = labels.Successors(self.rows)
        train = [r for r in self.rows if r["split"] == "train"]
        self.known = labels.Feedback(train)             # what the alignment model learns from
        self.known_as_judged = labels.Feedback(train, PULL)
        self.test = [r for r in self.rows if r["split"] == "test"]
        self.held_out = labels.Feedback(self.test, PULL)
        self.users = Resampling((r["user"] for r in self.test), bootstrap, seed)
        self.redrawn = Redrawn(self.test, self.users)
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

    def untied(self, a):
        """What the order within one second, which the data does not have, leaves as it is: nothing, history (no cluster of
        it was rated in the second of the next one), alone (nor was any other one), or all (nor do the last ratings of the
        clusters before fall into one second)."""
        together = {c for t, c, _ in self.ratings[a["user"]] if t == a["time"]}
        last = {c: t for t, c, _ in self.ratings[a["user"]] if t < a["time"]}
        if together & {a["first"], a["second"]}:
            return "nothing"
        if together != {a["next"]}:
            return "history"
        times = sorted(last.values())[-3:]
        return "all" if len(set(times)) == len(times) else "alone"

    def judged(self, a, pick):
        """All that is measured of one pick; own is None where the user has no later rating there, redrawn is the feedback in
        each resampling."""
        own = [liked for t, c, liked in self.ratings[a["user"]] if t >= a["time"] and c == pick]
        return {"feedback": self.held_out.mean(a["first"], a["second"], pick),
                "redrawn": self.redrawn.mean(a["first"], a["second"], pick), "hit": float(pick == a["next"]),
                "later": float(pick in self.later(a)), "new": float(pick not in self.seen(a)),
                "own": mean(own) if own else None}


def last_clusters(ratings, cluster_of):
    """The two different clusters that RATINGS, one user's in order of time, end with; fewer where there are none."""
    last = []
    for r in ratings:
        last = [c for c in last if c != cluster_of[r["film"]]] + [cluster_of[r["film"]]]
    return last[-2:]


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
        f"feedback table, pull {PULL:.0f}": lambda a: best(a, lambda c: world.known_as_judged.mean(a["first"], a["second"], c)),
        "novelty model alone": lambda a: best(a, lambda c: a["logprob"][c]),
        "novelty model alone, retrieved line": lambda a: best(a, lambda c: a["logprob_retrieved"][c]),
        "alignment model alone": lambda a: best(a, lambda c: a["score"][c]),
        "best possible": lambda a: best(a, lambda c: world.held_out.mean(a["first"], a["second"], c)),
    }


def drawn(a):
    return list(zip(a["draws"], a["draw_scores"]))


def estimate(answers, values, users, redrawn=None):
    """Mean and interval over USERS, a Resampling, of the values that are there; None where none is. REDRAWN: what each value
    is in each resampling, where it is not the same in all."""
    kept = [i for i, v in enumerate(values) if v is not None]
    if not kept:
        return None
    found = users.means([answers[i]["user"] for i in kept], [(redrawn or values)[i] for i in kept])
    return entry(mean(values[i] for i in kept), found, count=len(kept))


def per_user(answers, picks):
    """Distinct picks of a user for each pick: 1 if no two are the same; of users with at least two."""
    of = {}
    for a, p in zip(answers, picks):
        of.setdefault(a["user"], []).append(p)
    return {u: len(set(ps)) / len(ps) for u, ps in of.items() if len(ps) > 1}


FIELDS = ("feedback", "hit", "later", "new", "own")


def measured(world, answers, picks, fields=FIELDS):
    judged = [world.judged(a, p) for a, p in zip(answers, picks)]
    out = {key: estimate(answers, [j[key] for j in judged], world.users, key == "feedback" and [j["redrawn"] for j in judged])
           for key in fields}
    spread = per_user(answers, picks)
    if spread:
        out["distinct_per_user"] = estimate([{"user": u} for u in spread], list(spread.values()), world.users)
    out["distinct"] = len(set(picks))
    return out


def difference(world, answers, picks, others, fields=FIELDS):
    """PICKS minus OTHERS in each resampling; of own, the means of the triples that each of them has it for."""
    users, pair = [a["user"] for a in answers], [[world.judged(a, p) for a, p in zip(answers, ps)] for ps in (picks, others)]
    out = {}
    for key in fields:
        values, found = [], []
        for judged in pair:
            kept = [i for i, j in enumerate(judged) if j[key] is not None]
            values.append(mean(judged[i][key] for i in kept) if kept else None)
            found.append(world.users.means([users[i] for i in kept],
                                           [judged[i]["redrawn" if key == "feedback" else key] for i in kept]))
        out[key] = None if None in values else entry(values[0] - values[1], [
            None if None in (a, b) else a - b for a, b in zip(*found)])
    return out
