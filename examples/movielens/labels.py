"""What the two models learn from, all of the train part.

novelty    a few triples a label, so that seldom clusters are learnt as well as frequent ones
alignment  a label for each triple of clusters: mean feedback of all users who had it, drawn towards that of (second, next),
           and that towards that of next, as far as there is little of it (aggregated); combinations with too little
           feedback are left out (filtered); scaled so that the spread of the labels is 0 to 1 (normalised), and rounded
retrieved  the most frequent next cluster of each pair
"""
import random
from collections import Counter, defaultdict

from tables import DataError

PER_LABEL = 40
TOGETHER = 16
PULL = 80.0  # so many imagined feedbacks of the wider group stand beside the real ones; chosen on the last fifth of the train part
LEAST = 5    # feedbacks of (second, next)
STEP = 0.05
CUT = 0.01   # of the labels at either end, which the scale leaves outside


def novelty_set(rows, per_label=PER_LABEL, seed=1):
    """At most PER_LABEL liked train triples of each next cluster, in random order."""
    rng, by_label = random.Random(seed), defaultdict(list)
    for row in rows:
        if row["split"] == "train" and row["feedback"]:
            by_label[row["next"]].append(row)
    chosen = []
    for label in sorted(by_label):
        rng.shuffle(by_label[label])
        chosen += by_label[label][:per_label]
    rng.shuffle(chosen)
    return chosen


def novelty_groups(rows, together=TOGETHER, seed=1):
    """[(first, second, retrieved, [next])] of all ROWS: TOGETHER of those with one second cluster, whose next ones stand behind the
    history, and the retrieved line, of one of them. What came next hangs on the second cluster more than on the first, and a
    prompt is read once for several names."""
    rng, by_second, groups = random.Random(seed), defaultdict(list), []
    for row in rows:
        by_second[row["second"]].append(row)
    for second in sorted(by_second):
        left = by_second[second]
        rng.shuffle(left)
        while left:
            head = left[0]
            able = [r for r in left if r["next"] != head["first"]][:together]  # the new one is none of the history
            groups.append((head["first"], second, head["retrieved"], [r["next"] for r in able]))
            left = [r for r in left if not any(r is a for a in able)]
    return groups


class Feedback:
    """Mean feedback of ROWS at three widths, each drawn towards the wider one."""

    def __init__(self, rows, pull=PULL):
        self.pull = pull
        self.counts = defaultdict(lambda: [0, 0])  # key -> feedbacks, liked
        for r in rows:
            for key in self.keys(r["first"], r["second"], r["next"]):
                self.counts[key][0] += 1
                self.counts[key][1] += r["feedback"]
        if not self.counts:
            raise DataError("no feedback to take a mean of")

    @staticmethod
    def keys(first, second, new):
        return (), (new,), (second, new), (first, second, new)

    def count(self, *key):
        return self.counts[key][0] if key in self.counts else 0

    def mean(self, first, second, new):
        count, liked = self.counts[()]
        mean = liked / count
        for key in self.keys(first, second, new)[1:]:
            count, liked = self.counts[key] if key in self.counts else (0, 0)
            mean = (liked + self.pull * mean) / (count + self.pull)
        return mean


def alignment_set(rows, least=LEAST, step=STEP, pull=PULL):
    """[((first, second, next), label 0 to 1)] in order of the clusters, and the scale (low, high) of the labels."""
    train = [r for r in rows if r["split"] == "train"]
    feedback = Feedback(train, pull)
    keys = sorted({(r["first"], r["second"], r["next"]) for r in train})
    keys = [k for k in keys if feedback.count(*k[1:]) >= least]
    if not keys:
        raise DataError(f"no combination has {least} feedbacks")
    means = [feedback.mean(*k) for k in keys]
    low, high = quantile(means, CUT), quantile(means, 1 - CUT)
    if low == high:
        raise DataError(f"all combinations have the feedback {low}: nothing to learn")
    return [(k, rounded((m - low) / (high - low), step)) for k, m in zip(keys, means)], (low, high)


def alignment_groups(rows, pairs, per_pair, seed=1):
    """[(first, second, [(next, label)])] of so many train pairs drawn at random: a prompt is read once for several next
    clusters. These are drawn from all that have enough feedback after the second cluster, met by this very pair or not."""
    rng, train = random.Random(seed), [r for r in rows if r["split"] == "train"]
    _, (low, high) = alignment_set(rows)
    feedback, after = Feedback(train), defaultdict(set)
    for r in train:
        if feedback.count(r["second"], r["next"]) >= LEAST:
            after[r["second"]].add(r["next"])
    able = sorted({(r["first"], r["second"]) for r in train if len(after[r["second"]] - {r["first"]}) >= per_pair})
    if len(able) < pairs:
        raise DataError(f"{pairs} pairs with {per_pair} next clusters are asked for, and {len(able)} have so many")
    groups = []
    for first, second in rng.sample(able, pairs):
        chosen = rng.sample(sorted(after[second] - {first}), per_pair)
        scaled = [(feedback.mean(first, second, n) - low) / (high - low) for n in chosen]
        groups.append((first, second, [(n, rounded(v, STEP)) for n, v in zip(chosen, scaled)]))
    return groups


def quantile(values, q):
    """Of the sorted values, the one at q of the way, between neighbours in proportion."""
    values, at = sorted(values), q * (len(values) - 1)
    low = int(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (at - low) * (values[high] - values[low])


def rounded(value, step):
    """To the nearest multiple of STEP from 0 to 1."""
    return round(min(1.0, max(0.0, round(value / step) * step)), 9)


class Successors:
    """How often each cluster came next in the train part: after a pair, after its second cluster, at all."""

    def __init__(self, rows):
        self.counts = defaultdict(Counter)
        for r in rows:
            if r["split"] == "train":
                for key in self._keys(r["first"], r["second"]):
                    self.counts[key][r["next"]] += 1

    @staticmethod
    def _keys(first, second):
        return (first, second), (second,), ()

    def ranked(self, *key):
        """Of (first, second), (second,) or (): most frequent first, then by number."""
        count = self.counts.get(key, {})
        return sorted(count, key=lambda n: (-count[n], n))

    def retrieved(self, first, second, without=None):
        """The most frequent next cluster after the pair, else after the second one, else of all; never one of the pair.
        WITHOUT: a triple's own next cluster is counted once less, or its line would give the answer away."""
        for key in self._keys(first, second):
            count = dict(self.counts.get(key, {}))
            if without in count:
                count[without] -= 1
            left = [n for n in count if count[n] > 0 and n not in (first, second)]
            if left:
                return min(left, key=lambda n: (-count[n], n))
        raise DataError(f"nothing was ever seen after clusters {first} and {second}")
