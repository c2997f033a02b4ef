#!/usr/bin/env python3
"""What each type of weights costs in bytes and in accuracy: a model converted to all of them, each held against the model.

  bench/types.py MODEL [--write weights_tools/TYPES.md] [--forkcast build/forkcast] [--text FILE]

MODEL is anything that `forkcast convert` reads; the table holds the size of the new file, the relative error of the
weights, and the difference of log-probs on FILE or on the paragraphs that are built in.
"""
import argparse
import json
import os
import subprocess
import tempfile

from result import stop

TYPES = ("F32", "BF16", "F16", "Q8_0", "F8_E4M3", "Q4_1", "Q4_0")
BEGIN, END = "<!-- types: made by bench/types.py -->", "<!-- types end -->"


def convert(args, name, folder):
    out = os.path.join(folder, name + ".gguf")
    command = [args.forkcast, "convert", args.model, out, "--type", name, "--json", "--check"]
    if args.text:
        command += ["--check-text", args.text]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        stop(done.stderr.strip())
    os.remove(out)
    return json.loads(done.stdout)


def row(name, r):
    c = r["check"]
    worst = f"{100 * r['weights']['worst']:.2f} % ({r['weights']['worst_tensor']})" if r["weights"]["worst_tensor"] else "-"
    return (f"| {name} | {r['bytes'] / 1e6:.1f} | {100 * r['weights']['error']:.2f} % | {worst} | {c['mean_difference']:.4f} | "
            f"{c['largest_difference']:.3f} | {c['mean_logprob_after']:.4f} |")


def table(args):
    lines = ["| type | MB | error of the weights | largest, of a matrix | log-prob: mean difference | largest | mean log-prob |",
             "|---|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        results = [(name, convert(args, name, folder)) for name in TYPES]
    lines += [row(name, r) for name, r in results]
    c = results[0][1]["check"]
    lines += ["", f"{os.path.basename(args.model)}, {os.path.getsize(args.model) / 1e6:.1f} MB; {c['tokens']} ids, whose mean "
              f"log-prob by it is {c['mean_logprob_before']:.4f}."]
    return "\n".join(lines) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("model")
    p.add_argument("--write", metavar="FILE", help="put the table between its marks in this file")
    p.add_argument("--forkcast", default="build/forkcast", metavar="PATH")
    p.add_argument("--text", metavar="FILE")
    args = p.parse_args()
    text = table(args)
    if not args.write:
        print(text, end="")
        return
    with open(args.write) as f:
        old = f.read()
    if old.count(BEGIN) != 1 or old.count(END) != 1:
        stop(f"{args.write}: it needs the marks {BEGIN} and {END}, once each")
    before, after = old.split(BEGIN)[0], old.split(END)[1]
    with open(args.write, "w") as f:
        f.write(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
