"""How far an answer can be trusted: calibration, what the confidence record foretells, n spent where it helps, fallbacks.

The record's signals are known without the future. Larger is more confident, so those that fall with confidence (entropy,
distinct) are taken with a minus.
"""
import math
import random

import judge
import labels
from measures import BINS, auc, best_of, calibration_error, entry, mean, reliability, stable_after
from tables import DataError

PATIENCE = (1, 2, 4, 8, 16, 32)
TEMPERATURES = tuple(round(0.5 * 1.05 ** i, 3) for i in range(48))  # 0.5 to 4.95
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
    total = sum(weights)
    return [w / total for w in weights]


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def curve(world, users, predicted, hits):
    """Reliability, its error and the area under the curve, over USERS, one for each prediction; `calibrated` is the error that
    predictions which are right would show by chance, as bins have few values."""
    order = sorted(range(len(hits)), key=lambda i: predicted[i])  # sorted once, not in each resampling
    users, rows = [users[i] for i in order], [(predicted[i], hits[i]) for i in order]
    error = lambda rows: calibration_error(reliability(*zip(*rows))) if len(rows) >= BINS else None
    area = lambda rows: auc(*zip(*rows))
    rng = random.Random(world.users.seed)
    right = [error([(p, float(rng.random() < p)) for p, _ in rows]) for _ in range(world.users.draws)]
    return {"curve": [[round(p, 5), round(h, 5), n] for p, h, n in reliability(predicted, hits)],
            "error": entry(error(rows), world.users.statistics(users, rows, error), digits=5),
            "calibrated": entry(mean(right), right, digits=5),
            "auc": None if area(rows) is None else entry(area(rows), world.users.statistics(users, rows, area))}


def log_odds(p):
    return math.log(p / (1 - p))


def flat_names(temperature):
    """Of an answer, the probabilities of all names at a temperature."""
    return lambda a: probabilities([lp / temperature for lp in a["logprob"]])


def flat_feedback(scale, temperature):
    """What the score of the name that came next stands for, its log-odds divided by a temperature."""
    low, high = scale
    return lambda a: sigmoid(log_odds(low + (high - low) * sigmoid(a["score"][a["next"]])) / temperature)


def losses(answers, names_of, feedback_of):
    """Log-loss of each answer: of the name that came next, and of whether it was liked."""
    liked = [feedback_of(a) if a["feedback"] else 1 - feedback_of(a) for a in answers]
    return [-math.log(names_of(a)[a["next"]]) for a in answers], [-math.log(p) for p in liked]


def temperatures(scale, fit):
    """Those of TEMPERATURES that lose least on answers to triples of the train part: of names, and of feedback."""
    tried = [(t, *map(mean, losses(fit, flat_names(t), flat_feedback(scale, t)))) for t in TEMPERATURES]
    return min(tried, key=lambda t: t[1])[0], min(tried, key=lambda t: t[2])[0]


def calibration(world, answers, fit):
    """novelty: each name's probability, against whether it came next; alignment: the feedback that the score of the name that
    came next stands for, against whether it was liked; both again at the temperatures that FIT, answers to triples of the
    train part, would have."""
    _, scale = labels.alignment_set(world.rows)
    liked, users = [float(a["feedback"]) for a in answers], [a["user"] for a in answers]
    came = [float(c == a["next"]) for a in answers for c in range(len(world.names))]
    out = {}

    def put(novelty, alignment, t_names, t_feedback):
        names_of, feedback_of = flat_names(t_names), flat_feedback(scale, t_feedback)
        lost = losses(answers, names_of, feedback_of)
        chances = [p for a in answers for p in names_of(a)]
        out[novelty] = {**curve(world, [u for u in users for _ in world.names], chances, came), "temperature": t_names,
                        "log_loss": judge.estimate(answers, lost[0], world.users)}
        out[alignment] = {**curve(world, users, [feedback_of(a) for a in answers], liked), "temperature": t_feedback,
                          "log_loss": judge.estimate(answers, lost[1], world.users)}

    put("novelty", "alignment", 1.0, 1.0)
    put("novelty_flat", "alignment_flat", *temperatures(scale, fit))
    table = [world.known.mean(a["first"], a["second"], a["next"]) for a in answers]
    lost = [-math.log(p if l else 1 - p) for p, l in zip(table, liked)]
    out["feedback_table"] = {**curve(world, users, table, liked), "temperature": 1.0,
                             "log_loss": judge.estimate(answers, lost, world.users)}
    return out


def foretelling(world, answers, judged):
    """Signal -> area under the curve for: the pick came next, the pick came later, the next one was among the draws, the
    pick's held-out feedback was above the median; with intervals over users."""
    middle = labels.quantile([j["feedback"] for j in judged], 0.5)
    hits = {"hit": [j["hit"] for j in judged], "later": [j["later"] for j in judged],
            "drawn": [float(a["next"] in a["draws"]) for a in answers],
            "liked": [float(j["feedback"] > middle) for j in judged]}
    users, area, out = [a["user"] for a in answers], lambda rows: auc(*zip(*rows)), {}
    for name, signal in SIGNALS.items():
        out[name] = {}
        for what, hit in hits.items():
            rows = [(signal(a), h) for a, h in zip(answers, hit)]
            value = area(rows)
            out[name][what] = None if value is None else entry(value, world.users.statistics(users, rows, area))
    return out


def between(low, high, share):
    """SHARE of the way from one to the other, of numbers or of one for each resampling."""
    if isinstance(low, list):
        return [(1 - share) * l + share * h for l, h in zip(low, high)]
    return (1 - share) * low + share * high


def adaptive(world, answers):
    """stable:R against fixed n that draws as much in all, and their difference triple by triple. Where the mean is between two
    n, fixed n is a lot between both that has this mean."""
    out = []
    for patience in PATIENCE:
        used = [stable_after(judge.drawn(a), patience) for a in answers]
        n = mean(used)
        low, high = math.floor(n), math.ceil(n)
        at = lambda a, m: world.judged(a, best_of(judge.drawn(a), m))
        stopped, few, many = ([at(a, m) for a, m in zip(answers, ms)] for ms in (used, [low] * len(used), [high] * len(used)))
        values = {k: ([s[k] for s in stopped], [between(f[k], m[k], n - low) for f, m in zip(few, many)])
                  for k in ("feedback", "redrawn")}
        minus = [s - f for s, f in zip(*values["feedback"])]
        minus_redrawn = [[s - f for s, f in zip(*pair)] for pair in zip(*values["redrawn"])]
        estimate = lambda v, redrawn: judge.estimate(answers, v, world.users, redrawn)
        out.append({"patience": patience, "mean_n": round(n, 2), "most_n": max(used),
                    "feedback": estimate(values["feedback"][0], values["redrawn"][0]),
                    "feedback_fixed": estimate(values["feedback"][1], values["redrawn"][1]),
                    "difference": estimate(minus, minus_redrawn)})
    return out


def asked_to_stop(answers):
    """What forkcast's own stop_when ended with, which is to be what its draws say: another end or pick is an error."""
    for a in answers:
        stop = a["stopped"]
        n = stable_after(judge.drawn(a), stop["stable"])
        pick = best_of(judge.drawn(a), n)
        if (stop["n"], stop["pick"]) != (n, pick):
            raise DataError(f"triple {a['number']}: forkcast's stable:{stop['stable']} ended after {stop['n']} draws with name "
                            f"{stop['pick']}; of the same draws the rule ends after {n} with name {pick}")
    return {"stable": answers[0]["stopped"]["stable"], "same": len(answers), "mean_n": round(mean(a["stopped"]["n"] for a in answers), 2)}


def fallbacks(world, answers, picks, signal, seed):
    """What else could be served to the least confident LOW_SHARE of the answers, and how the rest does without them."""
    order = sorted(range(len(answers)), key=lambda i: (SIGNALS[signal](answers[i]), i))
    low = sorted(order[:max(1, int(LOW_SHARE * len(answers)))])
    rest = sorted(set(range(len(answers))) - set(low))
    others = judge.policies(world, seed)
    part = lambda which, pick: judge.measured(world, [answers[i] for i in which], [pick(i) for i in which])
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


def measured(world, answers, fit, seed, signal="largest probability"):
    picks = [best_of(judge.drawn(a), len(a["draws"])) for a in answers]
    judged = [world.judged(a, p) for a, p in zip(answers, picks)]
    return {"calibration": calibration(world, answers, fit), "foretelling": foretelling(world, answers, judged),
            "adaptive": adaptive(world, answers), "asked_to_stop": asked_to_stop(answers), "fallbacks": fallbacks(world, answers, picks, signal, seed),
            "hard": hard(world, answers, picks, signal)}
