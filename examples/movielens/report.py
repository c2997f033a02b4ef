#!/usr/bin/env python3
"""Fills the tables of README.md from result.json, bulk.json and items.json beside it: --write; without it, says whether they are equal."""
import argparse
import json
import os
import re
import sys

from tables import DataError

HERE = os.path.dirname(os.path.abspath(__file__))
SECTION = re.compile(r"(<!-- (\w+): made by `report.py --write` -->\n)(.*?)(<!-- end of \2 -->\n)", re.S)
FIELDS = (("feedback", "held-out feedback"), ("own", "own feedback"), ("hit", "next one"), ("later", "met later"), ("new", "new to the user"))


def shown(e, digits=3):
    """Value and interval; a dash where nothing could be measured."""
    if e is None:
        return "-"
    low, high = f"{e['low']:.{digits}f}", f"{e['high']:.{digits}f}"
    return f"{e['value']:.{digits}f} ({low}{' to ' if low[0] == '-' else '-'}{high})"


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(map(str, r)) + " |" for r in rows)])


def data(result, _):
    d, a = result["data"], result["asked"]
    return table(["", "count"], [["clusters", d["clusters"]], ["triples", d["triples"]], ["of them in the test part", d["test"]], ["users of the test part, who judge", d["test_users"]],
                                 ["share of these that were liked", d["feedback_test"]],
                                 ["triples asked about, drawn at random", a["triples"]], ["their users", a["users"]],
                                 ["triples of the train part that give the temperatures", a["fit"]]])


def curve(result, _):
    head = ["n", "held-out feedback", "its gain over the n before", *(title for _, title in FIELDS[1:]), "next one among the n",
            "distinct names of n"]
    return table(head, [[b["n"], shown(b["feedback"]), shown(b["gain"]), *(shown(b[f]) for f, _ in FIELDS[1:]), shown(b["recall"]),
                         f"{b['names']['value']:.1f}"]
                        for b in result["best_of_n"]])


def policies(result, _):
    head = ["pick", *(title for _, title in FIELDS), "distinct picks", "distinct for a user"]
    best = result["best_of_n"][-1]
    rows = [(f"best of {best['n']}", best), *result["policies"].items()]
    return table(head, [[name, *(shown(p[f]) for f, _ in FIELDS), p["distinct"], shown(p.get("distinct_per_user"))] for name, p in rows])


def differences(result, _):
    head = [f"best of {result['best_of_n'][-1]['n']} minus", *(title for _, title in FIELDS)]
    return table(head, [[name, *(shown(d[f]) for f, _ in FIELDS)] for name, d in result["differences"].items()])


def order(result, _):
    titles = {"nothing": "all", "history": "no film of the history's clusters in the second of the next one",
              "alone": "no other cluster in that second", "all": "nor the last three clusters before in one second"}
    best = f"best of {result['asked']['n']}"
    head = ["triples", "of the test part", "frequency table there: next one", "asked about", f"{best}: held-out feedback", "next one",
            "met later", f"next one among {result['asked']['n']}"]
    rows = []
    for kind, o in result["order"].items():
        b = o["best of n"] or dict.fromkeys(("feedback", "hit", "later"))
        rows.append([titles[kind], f"{o['test']} ({o['share']:.1%})", shown(o["frequency table"]), o["asked"], shown(b["feedback"]),
                     shown(b["hit"]), shown(b["later"]), shown(o["recall"])])
    return table(head, rows)


# Of a trial before this example, whose data is not kept.
TRIAL = ("0.606", "0.797", "0.026", "0.72", "0.94-0.97, by another definition")


def trial(result, _):
    """What the trial had, in the order of TRIAL, beside the same of this run."""
    first, last = result["best_of_n"][0], result["best_of_n"][-1]
    here = (("held-out feedback, n = 1", first["feedback"]), (f"held-out feedback, n = {last['n']}", last["feedback"]),
            (f"the best of {last['n']} is the next one", last["hit"]), ("valid mass", result["constraint"]["valid_mass"]),
            (f"the best of {last['n']} is new to the user", last["new"]))
    return table(["", "first trial", "this run"], [[title, was, shown(now)] for (title, now), was in zip(here, TRIAL)])


def retrieved(result, _):
    r, n = result["retrieved"], result["asked"]["n"]
    kinds = (("next_logprob", "log-prob of the cluster that came next"), ("recall", f"it is among {n} draws"), ("entropy", "entropy, nats"),
             ("line", "probability of the retrieved cluster"), ("feedback", f"held-out feedback of the best of {n}, over all seeds"),
             ("drawn_recall", f"next one among {n}, as drawn"), ("drawn_names", f"distinct names of {n}, as drawn"),
             ("drawn_feedback", f"held-out feedback of the best of {n}, as drawn"))
    uniform = lambda k: f"{r['uniform'][k]:.3f}" if k in r["uniform"] else "-"
    return table(["", "all names alike", "without the line", "with it", "difference"],
                 [[t, uniform(k), *(shown(r[kind][k]) for kind in ("without", "with", "difference"))] for k, t in kinds])


def constraint(result, _):
    c = result["constraint"]
    return table(["", "value"], [
        ["free draws that are names (exact match)", shown(c["exact_match"])],
        ["valid mass under the mask", shown(c["valid_mass"])],
        ["held-out feedback of a free draw that is a name", shown(c["feedback_free"])],
        [f"held-out feedback of a draw under the mask, the first {c['draws']}", shown(c["feedback_constrained"])]])


def calibration(result, _):
    c = result["confidence"]["calibration"]
    kinds = (("novelty", "probability of a name, against whether it came next"), ("novelty_flat", "the same at another temperature"),
             ("alignment", "feedback the score stands for, against whether the next one was liked"),
             ("alignment_flat", "the same at another temperature"), ("feedback_table", "the same by the feedback table"))
    return table(["what", "temperature", "mean error over ten bins", "of right predictions, by chance", "log-loss", "area under the curve"],
                 [[title, f"{c[k]['temperature']:.2f}", shown(c[k]["error"], 4), shown(c[k]["calibrated"], 4), shown(c[k]["log_loss"]),
                   shown(c[k]["auc"])] for k, title in kinds])


def signals(result, _):
    hits = (("hit", "came next"), ("later", "met later"), ("drawn", "next one among the draws"), ("liked", "pick's feedback above the median"))
    return table(["signal", *(t for _, t in hits)],
                 [[name, *(shown(s[k]) for k, _ in hits)] for name, s in result["confidence"]["foretelling"].items()])


def adaptive(result, _):
    return table(["rule", "draws used, mean", "most", "held-out feedback", "of that many draws for all", "difference"],
                 [[f"stable:{a['patience']}", f"{a['mean_n']:.1f}", a["most_n"], shown(a["feedback"]), shown(a["feedback_fixed"]),
                   shown(a["difference"])] for a in result["confidence"]["adaptive"]])


def fallbacks(result, _):
    f = result["confidence"]["fallbacks"]
    rows = [("the confident rest, best of n", f["confident"]), *((f"least confident {f['share']:.0%}: {k}", v) for k, v in f["low"].items())]
    return table(["answers and what is served", *(t for _, t in FIELDS)], [[n, *(shown(p[k]) for k, _ in FIELDS)] for n, p in rows])


def hard(result, _):
    return table(["history", "pick", "came next", "largest log-prob", "pick's held-out feedback"],
                 [[f"{h['first']}; {h['second']}", h["pick"], h["next"], h["confidence"], h["feedback"]] for h in result["confidence"]["hard"]])


def gates(result, _):
    b = result["bulk"]
    said = {True: "held", False: "not held", None: "-"}
    rows = [[g["name"], "-" if g["found"] is None else f"{g['found']:.4f}", f"{g['bound']:.4g}", said[g["held"]]] for g in b["gates"]]
    return table(["gate", "found", "at least", ""], rows)


def bulk(result, _):
    b = result["bulk"]
    s = b["stats"]
    return table(["the table", ""], [
        ["histories", f"{b['pairs']} of {b['of']}"], ["test transitions with these histories", f"{b['transitions']} ({b['test_share']:.1%})"],
        ["rows, failures", f"{s['rows']}, {s['failures']}"], ["ranked clusters", s["candidates"]],
        ["different clusters in first place", s["first_texts"]], [f"distinct names of {s['n_used']:.0f}, mean", f"{s['distinct']:.1f}"],
        ["entropy of the draws, nats, mean", f"{s['entropy']:.3f}"],
        ["score in first place: least, median, largest", ", ".join(f"{s['score'][i]:.3f}" for i in (0, len(s["score"]) // 2, -1))]])


def seeds(result, _):
    c = result["bulk"]["compared"]
    d = c["other_seed"]
    return table(["", "same seed", "another seed"], [
        ["histories", c["keys"], d["both"]], ["file", "the same bytes" if c["identical"] else "other bytes", "other bytes"],
        ["same cluster in first place", c["keys"], d["same_first"]], ["same ranked clusters, in order", c["keys"], d["same_kept"]],
        ["overlap of the ranked clusters (Jaccard, mean)", "1.000", f"{d['overlap']:.3f}"],
        ["distance of the scores in first place (Kolmogorov-Smirnov)", "0.000", f"{d['ks']:.3f}"]])


def items(_, measured):
    return table(["among the first", "factorisation", "popularity", "chance"],
                 [[top, *(shown(measured[top][k]) for k in ("factorisation", "popularity", "chance"))] for top in ("1", "5", "10")])


TABLES = {f.__name__: f for f in (data, order, curve, policies, differences, trial, retrieved, constraint, calibration, signals, adaptive, fallbacks, hard, gates, bulk, seeds,
                                 items)}


def remade(text, result, measured):
    def fill(m):
        if m[2] not in TABLES:
            raise DataError(f"README.md has a section {m[2]}; tables are {', '.join(TABLES)}")
        return m[1] + "\n" + TABLES[m[2]](result, measured) + "\n\n" + m[4]
    return SECTION.sub(fill, text)


def read(path):
    try:
        with open(path, encoding="utf-8") as f:
            return json.load(f)
    except OSError as e:
        raise DataError(f"cannot read {path}: {e.strerror}") from e


def results():
    """What remade() takes, of the files beside this one."""
    at = lambda name: read(os.path.join(HERE, name))
    return {**at("result.json"), "bulk": at("bulk.json")}, at("items.json")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--write", action="store_true", help="make the tables again")
    write = p.parse_args().write
    path = os.path.join(HERE, "README.md")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    new = remade(text, *results())
    if new != text and not write:
        raise DataError("README.md does not say what result.json, bulk.json and items.json say; report.py --write makes its tables again")
    with open(path, "w", encoding="utf-8") as f:
        f.write(new)


if __name__ == "__main__":
    try:
        main()
    except DataError as e:
        sys.exit(f"report: {e}")
