"""Measures and their intervals. Standard library alone; small enough to be checked by hand."""
import random

from tables import DataError


def mean(values):
    values = list(values)
    if not values:
        raise DataError("a mean of nothing")
    return sum(values) / len(values)


def interval(groups, statistic=None, draws=1000, level=0.95, seed=1):
    """(value, low, high) of STATISTIC (the mean) over all values of GROUPS, a list of lists.

    Whole groups (users) are drawn with replacement: a user's values are not independent of one another.
    """
    statistic = statistic or mean
    groups = [g for g in groups if g]
    if not groups:
        raise DataError("an interval of nothing")
    rng, found = random.Random(seed), []
    for _ in range(draws):
        found.append(statistic([v for _ in groups for v in rng.choice(groups)]))
    found.sort()
    tail = (1 - level) / 2
    return statistic([v for g in groups for v in g]), found[int(tail * draws)], found[min(draws - 1, int((1 - tail) * draws))]


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


def reliability(predicted, hits, bins=10):
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


def expected_best_of(probabilities, scores, values, n):
    """Expectation of values[c] of the best of N independent draws: what infinitely many seeds would give.

    The best is c if no draw has a larger score and one draw has c's: P(all <= s) - P(all < s), shared between names of
    equal score by probability.
    """
    order = sorted(range(len(scores)), key=lambda c: scores[c])
    total, below, i = 0.0, 0.0, 0
    whole = sum(probabilities)
    while i < len(order):
        j = i
        while j < len(order) and scores[order[j]] == scores[order[i]]:
            j += 1
        level = order[i:j]
        weight = sum(probabilities[c] for c in level) / whole
        if weight > 0:
            chance = min(1.0, below + weight) ** n - below ** n
            total += chance * sum(probabilities[c] * values[c] for c in level) / (weight * whole)
        below += weight
        i = j
    return total


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
