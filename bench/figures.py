#!/usr/bin/env python3
"""Figures of documents, made from results: tables and plots between markers, and numbers in sentences.

usage: bench/figures.py --check | --write | --plot RESULT.json OUT.svg

A section is what stands between these two lines; its name says who makes the table:

    <!-- NAME: made by `bench/figures.py --write` from bench/results/RESULT.json -->
    <!-- end of NAME -->

switches: bench/switches.py; peers: bench/peers/compare.py; latency: this program, a table and a plot beside the result, RESULT.svg.
A number is what stands between `<!--figure RESULT KEY=VALUE ... WHAT-->` and `<!--/figure-->`: of the one row of
bench/results/RESULT.json whose case and subject have these values (name=forkcast is the subject's), WHAT: counts.rows_decode, or
the median of seconds.total. Both are found in README.md and bench/SPEED.md. --check says what differs, and fails.
"""
import argparse
import difflib
import json
import math
import os
import re
import statistics
import subprocess
import sys
from xml.sax.saxutils import escape

import result

DOCUMENTS = ("README.md", "bench/SPEED.md")
SECTION = re.compile(r"(<!-- (\w+): made by `bench/figures.py --write` from (\S+) -->\n)(.*?)(<!-- end of \2 -->\n)", re.S)
NUMBER = re.compile(r"(<!--figure ([^>]+?)-->)(.*?)(<!--/figure-->)", re.S)
SCRIPTS = {"switches": "bench/switches.py", "peers": "bench/peers/compare.py"}


# ---- numbers

def number(words):
    name, *keys, what = words.split()
    path = f"bench/results/{name}.json"
    want = dict(k.split("=", 1) for k in keys)
    found = [r for r in result.read(path) if all(str({**r["case"], "name": r["subject"]["name"]}.get(k)) == v for k, v in want.items())]
    if len(found) != 1:
        result.stop(f"{path}: {len(found)} rows have {' '.join(keys)}; a figure is of one")
    part, _, key = what.partition(".")
    if key not in found[0].get(part, {}):
        result.stop(f"{path}: the row with {' '.join(keys)} has no {what}")
    value = found[0][part][key]
    return f"{statistics.median(value):.3g}" if isinstance(value, list) else f"{value:g}" if value % 1 else str(int(value))


# ---- latency against n

def curves(rows):
    """{(work, P): {subject: [(n, row)]}} in the order of the rows."""
    out = {}
    for r in rows:
        key = (r["case"].get("work", "free"), r["case"].get("P"))
        out.setdefault(key, {}).setdefault(r["subject"]["name"], []).append((r["case"]["n"], r))
    return out


def panel_name(work, P):
    return work if P is None else f"{work}, prompt of {P} ids"


def latency_table(path):
    rows, out = result.read(path), []
    for (work, P), subjects in curves(rows).items():
        ns = sorted({n for points in subjects.values() for n, _ in points})
        out += [f"**{panel_name(work, P)}**, ms: median (least-most)", "", "| n | " + " | ".join(subjects) + " |", "|---" * (len(subjects) + 1) + "|"]
        for n in ns:
            cells = [dict(points).get(n) for points in subjects.values()]
            out.append(f"| {n} | " + " | ".join(result.spread(c["seconds"]["total"], 1e3) if c and c["seconds"]["total"] else "-" for c in cells) + " |")
        out.append("")
    plot = os.path.splitext(path)[0] + ".svg"
    return f"![Latency of a request against n]({plot})\n\n" + "\n".join(out)


STYLE = ("text{font:12px system-ui,sans-serif;fill:#59636e}.h{font-weight:600;fill:#1b1f24}.g{stroke:#d5dae0}polyline{fill:none;stroke-width:2}"
         + "".join(f".s{i}{{stroke:{c};fill:{c}}}" for i, c in enumerate(("#2166ac", "#00798c", "#b2500d", "#8b3fa0", "#2d7f3b", "#a01f3c")))
         + "@media(prefers-color-scheme:dark){text{fill:#9aa4af}.h{fill:#e6e8eb}.g{stroke:#3a414a}"
         + "".join(f".s{i}{{stroke:{c};fill:{c}}}" for i, c in enumerate(("#7ab4ec", "#5cc8d8", "#f0a060", "#cf94e0", "#7ccf8a", "#f08aa0"))) + "}")


def ticks(low, high):
    """Powers of two around them, at most eight."""
    first, last = math.floor(math.log2(low)), math.ceil(math.log2(high))
    step = max(1, -(-(last - first) // 8))
    return [2.0 ** e for e in range(first, max(last, first + 1) + step, step)]


def panel(name, subjects, colours, x0, y0, w, h):
    points = [(n, 1e3 * statistics.median(r["seconds"]["total"])) for ps in subjects.values() for n, r in ps if r["seconds"]["total"]]
    if not points:
        result.stop(f"{name}: no run of it succeeded")
    xs, ys = ticks(min(n for n, _ in points), max(n for n, _ in points)), ticks(min(y for _, y in points), max(y for _, y in points))

    def at(n, ms):
        return x0 + 52 + math.log(n / xs[0]) / math.log(xs[-1] / xs[0]) * (w - 70), y0 + h - 40 - math.log(ms / ys[0]) / math.log(ys[-1] / ys[0]) * (h - 80)
    out = [f'<text class="h" x="{x0 + 52}" y="{y0 + 20}">{escape(name)}</text>']
    for y in ys:
        _, py = at(xs[0], y)
        out.append(f'<line class="g" x1="{x0 + 52}" x2="{x0 + w - 18}" y1="{py:.1f}" y2="{py:.1f}"/><text x="{x0 + 46}" y="{py + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in xs:
        out.append(f'<text x="{at(x, ys[0])[0]:.1f}" y="{y0 + h - 22}" text-anchor="middle">{x:g}</text>')
    for subject, ps in subjects.items():
        line = [at(n, 1e3 * statistics.median(r["seconds"]["total"])) for n, r in sorted(ps, key=lambda p: p[0]) if r["seconds"]["total"]]
        s = colours[subject]
        out.append(f'<polyline class="s{s}" style="fill:none" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in line)}"/>')
        out += [f'<circle class="s{s}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in line]
    return out


def latency_plot(path):
    rows = result.read(path)
    panels = curves(rows)
    colours = {name: i % 6 for i, name in enumerate(dict.fromkeys(r["subject"]["name"] for r in rows))}
    w, h, across = 420, 300, min(2, len(panels))
    down = -(-len(panels) // across)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w * across} {h * down + 40}">', f"<style>{STYLE}</style>"]
    for i, ((work, P), subjects) in enumerate(panels.items()):
        out += panel(panel_name(work, P) + ": ms of a request against n", subjects, colours, i % across * w, i // across * h, w, h)
    x = 52
    for name, s in colours.items():
        out.append(f'<circle class="s{s}" cx="{x}" cy="{h * down + 16}" r="5"/><text x="{x + 10}" y="{h * down + 20}">{escape(name)}</text>')
        x += 30 + 7 * len(name)
    return "\n".join(out + ["</svg>"]) + "\n"


# ---- documents

def table(name, path):
    if name == "latency":
        return latency_table(path)
    if name not in SCRIPTS:
        result.stop(f"no table is called {name}: {', '.join((*SCRIPTS, 'latency'))}")
    return subprocess.run([sys.executable, SCRIPTS[name], "--table", path], check=True, capture_output=True, text=True).stdout


def remade(text):
    text = SECTION.sub(lambda m: m[1] + "\n" + table(m[2], m[3]) + "\n" + m[5], text)
    return NUMBER.sub(lambda m: m[1] + number(m[2]) + m[4], text)


def figures():
    """Every file that has figures, as it should be, and whether it is found in them: {path: text}, and how many there are."""
    out, found = {}, 0
    for path in DOCUMENTS:
        with open(path) as f:
            text = f.read()
        sections = SECTION.findall(text)
        found += len(sections) + len(NUMBER.findall(text))
        if len(sections) != text.count("made by `bench/figures.py --write` from") or len(NUMBER.findall(text)) != text.count("<!--figure "):
            result.stop(f"{path}: a marker has no end, or is not as bench/figures.py has it")
        out[path] = remade(text)
        for _, name, source, *_ in sections:
            if name == "latency":
                out[os.path.splitext(source)[0] + ".svg"] = latency_plot(source)
    return out, found


def check():
    bad, (wanted, found) = 0, figures()
    for path, text in wanted.items():
        there = open(path).read() if os.path.exists(path) else ""
        if there != text:
            bad += 1
            sys.stdout.writelines(difflib.unified_diff(there.splitlines(True), text.splitlines(True), path, "as its result says", n=0))
    if bad:
        result.stop(f"{bad} files do not say what their results say; bench/figures.py --write makes them again")
    print(f"{found} figures are what their results say")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true")
    what.add_argument("--write", action="store_true")
    what.add_argument("--plot", nargs=2, metavar=("RESULT.json", "OUT.svg"))
    a = p.parse_args()
    if a.plot:
        with open(a.plot[1], "w") as f:
            f.write(latency_plot(a.plot[0]))
        return
    os.chdir(result.ROOT)
    if a.check:
        check()
        return
    for path, text in figures()[0].items():
        with open(path, "w") as f:
            f.write(text)


if __name__ == "__main__":
    main()
