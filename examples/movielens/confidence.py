"""How far an answer can be trusted: calibration, what the confidence record foretells, n spent where it helps, fallbacks.

The record's signals are known without the future. Larger is more confident, so those that fall with confidence (entropy,
distinct) are taken with a minus.
"""
import math

import judge
import labels
from measures import auc, best_of, calibration_error, interval, mean, reliability, stable_after

PATIENCE = (1, 2, 4, 8, 16, 32)
LOW_SHARE = 0.25
HARD = 10
SIGNALS = {
    "logprob": lambda a: a["confidence"]["logprob"],
    "vote_share": lambda a: a["confidence"]["vote_share"],
    "entropy": lambda a: -a["confidence"]["entropy"],
    "distinct": lambda a: -a["confidence"]["distinct"],
    "margin": lambda a: a["confidence"]["margin"] or 0.0,
    "valid_mass": lambda a: a["confidence"]["valid_mass"],
    "best score": lambda a: max(a["draw_scores"]),
    "largest probability": lambda a: max(a["logprob"]),
}


def probabilities(logprobs):
    """Of the names, adding up to 1: exact ones do but for rounding."""
    largest = max(logprobs)
    weights = [math.exp(lp - largest) for lp in logprobs]
    return [w / sum(weights) for w in weights]


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def curve(predicted, hits):
    points = reliability(predicted, hits)
    area = auc(predicted, hits)
    return {"curve": [[round(p, 5), round(h, 5), n] for p, h, n in points], "error": round(calibration_error(points), 5),
            "auc": None if area is None else round(area, 4)}


def calibration(world, answers):
    """novelty: each name's probability, against whether it came next; alignment: the feedback that the score of the name that
    came next stands for, against whether it was liked."""
    _, (low, high) = labels.alignment_set(world.rows)
    chances, came = [], []
    for a in answers:
        chances += probabilities(a["logprob"])
        came += [float(c == a["next"]) for c in range(len(world.names))]
    foretold = [low + (high - low) * sigmoid(a["score"][a["next"]]) for a in answers]
    table = [world.known.mean(a["first"], a["second"], a["next"]) for a in answers]
    liked = [float(a["feedback"]) for a in answers]
    return {"novelty": curve(chances, came), "alignment": curve(foretold, liked), "feedback_table": curve(table, liked)}


def foretelling(answers, judged, args):
    """Signal -> area under the curve for: the pick came next, the pick came later, the next one was among the draws, the
    pick's held-out feedback was above the median; with intervals over users."""
    middle = labels.quantile([j["feedback"] for j in judged], 0.5)
    hits = {"hit": [j["hit"] for j in judged], "later": [j["later"] for j in judged],
            "drawn": [float(a["next"] in a["draws"]) for a in answers],
            "liked": [float(j["feedback"] > middle) for j in judged]}
    out = {}
    for name, signal in SIGNALS.items():
        out[name] = {}
        for what, hit in hits.items():
            groups = judge.grouped(answers, [(signal(a), h) for a, h in zip(answers, hit)])
            if auc(*zip(*(v for g in groups for v in g))) is None:
                out[name][what] = None
                continue
            value, low, high = interval(groups, lambda vs: auc(*zip(*vs)) or 0.5, args.bootstrap, seed=args.seed)
            out[name][what] = {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4)}
    return out


def adaptive(world, answers, args):
    """stable:R against the fixed n that draws as much in all, and their difference triple by triple."""
    out = []
    for patience in PATIENCE:
        used = [stable_after(judge.drawn(a), patience) for a in answers]
        n = max(1, round(mean(used)))
        value = lambda a, n: world.held_out.mean(a["first"], a["second"], best_of(judge.drawn(a), n))
        stopped, fixed = [value(a, m) for a, m in zip(answers, used)], [value(a, n) for a in answers]
        out.append({"patience": patience, "mean_n": round(mean(used), 2), "most_n": max(used), "fixed_n": n,
                    "feedback": judge.estimate(answers, stopped, args),
                    "feedback_fixed": judge.estimate(answers, fixed, args),
                    "difference": judge.estimate(answers, [s - f for s, f in zip(stopped, fixed)], args)})
    return out


def fallbacks(world, answers, picks, signal, args):
    """What else could be served to the least confident LOW_SHARE of the answers, and how the rest does without them."""
    order = sorted(range(len(answers)), key=lambda i: (SIGNALS[signal](answers[i]), i))
    low = sorted(order[:max(1, int(LOW_SHARE * len(answers)))])
    rest = sorted(set(range(len(answers))) - set(low))
    others = judge.policies(world, args.seed)
    part = lambda which, pick: judge.measured(world, [answers[i] for i in which], [pick(i) for i in which], args)
    return {"signal": signal, "share": LOW_SHARE, "confident": part(rest, lambda i: picks[i]),
            "low": {"best of n": part(low, lambda i: picks[i]),
                    **{name: part(low, lambda i: others[name](answers[i]))
                       for name in ("frequency table", "feedback table", "popularity", "random")}}}


def hard(world, answers, picks, signal):
    order = sorted(range(len(answers)), key=lambda i: (SIGNALS[signal](answers[i]), i))
    rows = []
    for i in order[:HARD]:
        a = answers[i]
        rows.append({"first": world.names[a["first"]], "second": world.names[a["second"]], "pick": world.names[picks[i]],
                     "next": world.names[a["next"]], "confidence": round(SIGNALS[signal](a), 4),
                     "feedback": round(world.held_out.mean(a["first"], a["second"], picks[i]), 4)})
    return rows


def measured(world, answers, args, signal="largest probability"):
    picks = [best_of(judge.drawn(a), len(a["draws"])) for a in answers]
    judged = [world.judged(a, p) for a, p in zip(answers, picks)]
    return {"calibration": calibration(world, answers), "foretelling": foretelling(answers, judged, args),
            "adaptive": adaptive(world, answers, args), "fallbacks": fallbacks(world, answers, picks, signal, args),
            "hard": hard(world, answers, picks, signal)}
