#!/usr/bin/env python3
"""Fills the tables of README.md from result.json and items.json beside it: --write; without it, says whether they are equal."""
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
    return "-" if e is None else f"{e['value']:.{digits}f} ({e['low']:.{digits}f}-{e['high']:.{digits}f})"


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(map(str, r)) + " |" for r in rows)])


def data(result, _):
    d, a = result["data"], result["asked"]
    return table(["", "count"], [["clusters", d["clusters"]], ["triples", d["triples"]], ["of them in the test part", d["test"]],
                                 ["share of these that were liked", d["feedback_test"]],
                                 ["triples asked about, drawn at random", a["triples"]], ["their users", a["users"]]])


def curve(result, _):
    head = ["n", *(title for _, title in FIELDS), "next one among the n", "distinct names of n"]
    return table(head, [[b["n"], *(shown(b[f]) for f, _ in FIELDS), shown(b["recall"]), f"{b['names']['value']:.1f}"]
                        for b in result["best_of_n"]])


def policies(result, _):
    head = ["pick", *(title for _, title in FIELDS), "distinct picks", "distinct for a user"]
    best = result["best_of_n"][-1]
    rows = [(f"best of {best['n']}", best), *result["policies"].items()]
    return table(head, [[name, *(shown(p[f]) for f, _ in FIELDS), p["distinct"], shown(p.get("distinct_per_user"))] for name, p in rows])


def retrieved(result, _):
    r, n = result["retrieved"], result["asked"]["n"]
    kinds = (("next_logprob", "log-prob of the cluster that came next"), ("recall", f"it is among {n} draws"), ("entropy", "entropy, nats"),
             ("line", "probability of the retrieved cluster"), ("feedback", f"held-out feedback of the best of {n}, over all seeds"))
    return table(["", "without the line", "with it"], [[t, shown(r["without"][k]), shown(r["with"][k])] for k, t in kinds])


def constraint(result, _):
    c = result["constraint"]
    return table(["", "value"], [
        ["free draws that are names (exact match)", shown(c["exact_match"])],
        ["valid mass under the mask", shown(c["valid_mass"])],
        ["held-out feedback of a free draw that is a name", shown(c["feedback_free"])],
        [f"held-out feedback of a draw under the mask, the first {c['draws']}", shown(c["feedback_constrained"])]])


def calibration(result, _):
    c = result["confidence"]["calibration"]
    kinds = (("novelty", "probability of a name, against whether it came next"),
             ("alignment", "feedback the score stands for, against whether the next one was liked"),
             ("feedback_table", "the same by the feedback table"))
    return table(["what", "mean error over ten bins", "area under the curve"],
                 [[title, f"{c[k]['error']:.4f}", "-" if c[k]["auc"] is None else f"{c[k]['auc']:.3f}"] for k, title in kinds])


def signals(result, _):
    hits = (("hit", "came next"), ("later", "met later"), ("drawn", "next one among the draws"), ("liked", "pick's feedback above the median"))
    return table(["signal", *(t for _, t in hits)],
                 [[name, *(shown(s[k]) for k, _ in hits)] for name, s in result["confidence"]["foretelling"].items()])


def adaptive(result, _):
    return table(["rule", "draws used, mean", "most", "held-out feedback", "of that many draws for all", "difference"],
                 [[f"stable:{a['patience']}", f"{a['mean_n']:.1f}", a["most_n"], shown(a["feedback"]),
                   f"n = {a['fixed_n']}: {shown(a['feedback_fixed'])}", shown(a["difference"])] for a in result["confidence"]["adaptive"]])


def fallbacks(result, _):
    f = result["confidence"]["fallbacks"]
    rows = [("the confident rest, best of n", f["confident"]), *((f"least confident {f['share']:.0%}: {k}", v) for k, v in f["low"].items())]
    return table(["answers and what is served", *(t for _, t in FIELDS)], [[n, *(shown(p[k]) for k, _ in FIELDS)] for n, p in rows])


def hard(result, _):
    return table(["history", "pick", "came next", "largest log-prob", "pick's held-out feedback"],
                 [[f"{h['first']}; {h['second']}", h["pick"], h["next"], h["confidence"], h["feedback"]] for h in result["confidence"]["hard"]])


def items(_, measured):
    return table(["among the first", "factorisation", "popularity", "chance"],
                 [[top, *(shown(measured[top][k]) for k in ("factorisation", "popularity", "chance"))] for top in ("1", "5", "10")])


TABLES = {f.__name__: f for f in (data, curve, policies, retrieved, constraint, calibration, signals, adaptive, fallbacks, hard, items)}


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


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--write", action="store_true", help="make the tables again")
    write = p.parse_args().write
    path = os.path.join(HERE, "README.md")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    new = remade(text, read(os.path.join(HERE, "result.json")), read(os.path.join(HERE, "items.json")))
    if new != text and not write:
        raise DataError("README.md does not say what result.json and items.json say; report.py --write makes its tables again")
    with open(path, "w", encoding="utf-8") as f:
        f.write(new)


if __name__ == "__main__":
    try:
        main()
    except DataError as e:
        sys.exit(f"report: {e}")
