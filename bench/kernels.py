#!/usr/bin/env python3
"""Kernels' speed as a result: what bench_attn, bench_linear and bench_lora say, with machine, commit and limits.

Beside each is what the cost model has for it (engine/cost.h), and at the end by how much that is wrong in the median.

usage: bench/kernels.py --out RESULT.json [--only attn,linear,lora] [--build build] [--threads T] [--cpu LEVEL] [--commit ID]
"""
import argparse
import json
import os
import statistics
import subprocess

import result

KERNELS = ("attn", "linear", "lora")


def rows(a, kernel):
    """linear's type: those that it measures unless one is named."""
    types = ("Q4_1", "Q8_0") if kernel == "linear" else (None,)
    for t in types:
        command = [os.path.join(a.build, "bench", f"bench_{kernel}"), "--json", a.cpu, *([t] if t else []), str(a.threads)]
        out = subprocess.run(command, capture_output=True, text=True)
        if out.returncode:
            result.stop(out.stderr.strip())
        yield from map(json.loads, out.stdout.splitlines())


def predicted(row):
    return row["values"]["predicted"][0]


def error(rows):
    """Of predictions, by what was measured."""
    ratios = [min(row["seconds"]["best"]) / predicted(row) for row in rows]
    return (f"{len(rows)} cases, median error {100 * statistics.median(abs(1 / r - 1) for r in ratios):.0f} %, "
            f"measured by predicted {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", required=True, metavar="RESULT.json")
    p.add_argument("--only", default=",".join(KERNELS), help="some of " + ", ".join(KERNELS))
    p.add_argument("--build", default="build", help="where bench/ is")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--cpu", default="auto", help="level of vector unit")
    p.add_argument("--commit", help="where git does not know it")
    a = p.parse_args()
    kernels = a.only.split(",")
    if not set(kernels) <= set(KERNELS):
        p.error(f"--only: some of {', '.join(KERNELS)}")
    result.need(a.build, "bench/roofline", *(f"bench/bench_{k}" for k in kernels))
    commit, limits = result.commit_of(a.commit), result.limits(a.build, a.threads)
    found = [row for kernel in kernels for row in rows(a, kernel)]
    result.write(a.out, result.make(found, limits, of_commit=commit))
    for row in found:
        best = min(row["seconds"]["best"])
        print(f"{100 * row['limit_seconds'] / best:4.0f} % of the limit, {best * 1e6:9.1f} us, predicted {predicted(row) * 1e6:9.1f}, ratio {best / predicted(row):5.2f}: " + ", ".join(f"{k} {v}" for k, v in row["case"].items()))
    for kernel in dict.fromkeys(row["case"]["kernel"] for row in found):
        print(f"{kernel}: {error([row for row in found if row['case']['kernel'] == kernel])}")
    print(f"all: {error(found)}")


if __name__ == "__main__":
    main()
