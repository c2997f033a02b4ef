"""Measures and their intervals. Standard library alone; small enough to be checked by hand."""
import random

from tables import DataError


def mean(values):
    values = list(values)
    if not values:
        raise DataError("a mean of nothing")
    return sum(values) / len(values)


class Resampling:
    """Users drawn with replacement, again and again: a user's values are not independent of one another.

    All intervals of one experiment are made of the same draws, so that two numbers of one draw can be subtracted.
    """

    def __init__(self, users, draws=1000, seed=1):
        users, rng = sorted(set(users)), random.Random(seed)
        if not users or draws < 1:
            raise DataError(f"{draws} resamplings of {len(users)} users; at least one of each is needed")
        self.draws, self.seed = draws, seed
        self.times = {u: [0] * draws for u in users}  # user -> how often each draw has it
        for i in range(draws):
            for u in rng.choices(users, k=len(users)):
                self.times[u][i] += 1

    def weighted(self, amounts):
        """[draws]: sum of user's amount times how often the draw has the user; amounts are numbers, or one for each draw."""
        total = [0.0] * self.draws
        for user, amount in amounts:
            if isinstance(amount, list):
                total = [t + w * a for t, w, a in zip(total, self.times[user], amount)]
            else:
                total = [t + w * amount for t, w in zip(total, self.times[user])]
        return total

    def means(self, users, values):
        """[draws]: mean of the values, each its user's; None where a draw has none of these users."""
        of, count = {}, {}
        for u, v in zip(users, values):
            count[u] = count.get(u, 0) + 1
            if not isinstance(v, list):
                of[u] = of.get(u, 0.0) + v
        vectors = [(u, v) for u, v in zip(users, values) if isinstance(v, list)]
        return [t / n if n else None for t, n in zip(self.weighted([*of.items(), *vectors]), self.weighted(count.items()))]

    def statistics(self, users, rows, statistic):
        """[draws]: STATISTIC of the rows of the drawn users, each as often as its user is drawn; None where it is None."""
        out = []
        for i in range(self.draws):
            drawn = [r for u, r in zip(users, rows) for _ in range(self.times[u][i])]
            out.append(statistic(drawn) if drawn else None)
        return out


def interval(found, level=0.95):
    """(low, high): what the middle LEVEL of the resampled values lies between; those that are None are left out."""
    found = sorted(f for f in found if f is not None)
    if not found:
        raise DataError("an interval of nothing")
    tail = (1 - level) / 2
    return found[int(tail * len(found))], found[min(len(found) - 1, int((1 - tail) * len(found)))]


def entry(value, found, digits=4, **more):
    """A number as the results have it, with its interval."""
    low, high = interval(found)
    return {"value": round(value, digits), "low": round(low, digits), "high": round(high, digits), **more}


def auc(scores, hits):
    """Probability that a hit has the larger score; ties count half. None where all are hits or none is."""
    pairs = sorted(zip(scores, hits))
    n_hits = sum(1 for _, h in pairs if h)
    n_misses = len(pairs) - n_hits
    if not n_hits or not n_misses:
        return None
    total, below, i = 0.0, 0, 0
    while i < len(pairs):
        j = i
        while j < len(pairs) and pairs[j][0] == pairs[i][0]:
            j += 1
        hits_here = sum(1 for _, h in pairs[i:j] if h)
        misses_here = j - i - hits_here
        total += hits_here * (below + misses_here / 2)
        below += misses_here
        i = j
    return total / (n_hits * n_misses)


BINS = 10


def reliability(predicted, hits, bins=BINS):
    """[(mean prediction, share of hits, count)] of bins with equally many values, the least predictions first."""
    if len(predicted) < bins:
        raise DataError(f"{len(predicted)} predictions are too few for {bins} bins")
    pairs = sorted(zip(predicted, hits))
    cuts = [len(pairs) * i // bins for i in range(bins + 1)]
    return [(mean(p for p, _ in pairs[a:b]), mean(h for _, h in pairs[a:b]), b - a) for a, b in zip(cuts, cuts[1:])]


def calibration_error(curve):
    """Mean distance of prediction and share of hits, weighted by count."""
    return sum(abs(p - h) * n for p, h, n in curve) / sum(n for _, _, n in curve)


def best_of(draws, n):
    """Of the first N draws [(name, score)], the name with the largest score; the earliest of equal ones."""
    if not 1 <= n <= len(draws):
        raise DataError(f"the best of {n} of {len(draws)} draws")
    return max(draws[:n], key=lambda d: d[1])[0]


def best_of_law(probabilities, scores, n):
    """Of each name the probability to be the best of N independent draws: over infinitely many seeds.

    The best is c if no draw has a larger score and one draw has c's: P(all <= s) - P(all < s), shared between names of
    equal score by probability.
    """
    order = sorted(range(len(scores)), key=lambda c: scores[c])
    law, below, i = [0.0] * len(scores), 0.0, 0
    whole = sum(probabilities)
    while i < len(order):
        j = i
        while j < len(order) and scores[order[j]] == scores[order[i]]:
            j += 1
        level = order[i:j]
        weight = sum(probabilities[c] for c in level) / whole
        if weight > 0:
            chance = min(1.0, below + weight) ** n - below ** n
            for c in level:
                law[c] = chance * probabilities[c] / (weight * whole)
        below += weight
        i = j
    return law


def stable_after(draws, patience):
    """How many of DRAWS a rule uses that ends once PATIENCE draws in a row changed nothing about who is best: what
    forkcast's stop rule stable:PATIENCE does where one is kept."""
    best, unchanged = None, 0
    for i, (name, score) in enumerate(draws):
        if best is None or score > best:
            best, unchanged = score, 0
        else:
            unchanged += 1
        if unchanged >= patience:
            return i + 1
    return len(draws)
