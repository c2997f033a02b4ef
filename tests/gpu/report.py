"""What tests/gpu.sh wrote, as a table to read and, with a name, as bench/results/ has it.

    report.py [NAME]     reads results.jsonl in $OUT, else build/gpu-results; writes report.md beside it, or bench/results/NAME.json and .md
"""
import json
import os
import re
import statistics
import sys

OUT = os.environ.get("OUT") or "build/gpu-results"
CLOCKS = {"bench": "call", "gap": "gap"}  # what seconds are of; else of the whole
RATES = {"gemm_bf16": "TFLOP/s", "mma_bf16": "TFLOP/s", "mma_s8": "TOP/s", "fma_f32": "TFLOP/s", "launch": "us"}


def stop(text):
    raise SystemExit(f"report: {text}")


def lines():
    try:
        with open(os.path.join(OUT, "results.jsonl")) as f:
            return [json.loads(line) for line in f if line.strip()]
    except OSError as e:
        stop(f"{e.filename}: {e.strerror}")


def of(all_, part):
    return [x for x in all_ if x["part"] == part]


def cases_of(all_, part):
    return [x for x in of(all_, part) if "case" in x]


def rate(x):
    """Of one line of the benchmark: its bytes or operations a second, by the median."""
    s = statistics.median(x["seconds"])
    return x["counts"]["bytes"] / s, x["counts"]["flops"] / s


def limits(all_):
    """{name: bytes or operations a second}; of several runs the best."""
    found = {}
    for x in cases_of(all_, "bench"):
        if name := x["case"].get("limit"):
            value = max(rate(x)) if name != "launch" else 1 / statistics.median(x["seconds"])
            found[name] = max(found.get(name, 0), value)
    return found


def bound(x, known):
    """Seconds that the limits allow: bytes through memory, and operations at bf16, whichever takes longer."""
    by = [x["counts"]["bytes"] / known["read_dram"]] if "read_dram" in known else []
    peak = max((known[k] for k in ("mma_bf16", "gemm_bf16") if k in known), default=0)
    return max(by + ([x["counts"]["flops"] / peak] if peak else []), default=0)


def beside(x, seconds):
    return f"{x['predicted'] * 1e6:.1f}, {seconds / x['predicted']:.2f}" if "predicted" in x else "-"


def shown(case):
    return ", ".join(f"{k} {v}" for k, v in case.items() if k not in ("op", "limit"))


def markdown(all_):
    out, device = [], of(all_, "device")
    d = device[-1]
    out += [f"# {d['device']}, {d['date'][:10]}", "",
            f"Driver {d['driver']}, {d['memory']}, {d['cpu']} with {d['cores']} cores; commit {d['commit']}. Made by `tests/gpu.sh report` from what "
            f"`tests/gpu.sh {'`, `'.join(dict.fromkeys(x['verb'] for x in device))}` wrote.", ""]
    steps = [x for x in all_ if "status" in x]
    bad = [x for x in steps if x["status"] not in (0, 77)]
    out += [f"{len(steps)} steps, {len(bad)} of them failed or left out, {sum(x['status'] == 77 for x in steps)} skipped.", "", "| part | step | seconds | |", "|---|---|---|---|"]
    out += [f"| {x['part']} | {x['name']} | {x['seconds']} | {x['word'].replace('|', '/')} |" for x in steps]
    conform = of(all_, "conform")
    if conform:
        out += ["", f"## Wrappers against their emulated twins: {sum(x['ok'] for x in conform)} of {len(conform)} as they should be", "",
                "| what | words | with other bits | wrong | largest, of what is allowed |", "|---|---|---|---|---|"]
        out += [f"| {x['name']} | {x['words']} | {x['other_bits']} | {x['wrong']} | {x['of_allowed']} |" for x in conform if x["other_bits"] or not x["ok"]]
        out += [f"| {sum(not x['other_bits'] for x in conform)} others | {sum(x['words'] for x in conform if not x['other_bits'])} | 0 | 0 | 0 |"]
    known = limits(all_)
    if known:
        out += ["", "## Limits of the device, measured", "", "| limit | |", "|---|---|"]
        out += [f"| {k} | {1e6 / v:.2f} us |" if k == "launch" else f"| {k} | {v / 1e9:.0f} GB/s |" if k not in RATES else f"| {k} | {v / 1e12:.1f} {RATES[k]} |"
                for k, v in known.items()]
    cases = [x for x in cases_of(all_, "bench") if "limit" not in x["case"]]
    if cases:
        out += ["", "## Kernels", "", "Median of one call (least, most), cold. The share is that of what memory or bf16 products allow.", "",
                "| operator | case | us | GB/s | TFLOP/s | share | predicted us, measured by it |", "|---|---|---|---|---|---|---|"]
        for x in cases:
            b, f = rate(x)
            s = statistics.median(x["seconds"])
            out.append(f"| {x['case']['op']} | {shown(x['case'])} | {s * 1e6:.1f} ({min(x['seconds']) * 1e6:.1f}-{max(x['seconds']) * 1e6:.1f}) | {b / 1e9:.0f} | {f / 1e12:.2f} | "
                       f"{100 * bound(x, known) / s:.0f} % | {beside(x, s)} |")
        ratios = [statistics.median(x["seconds"]) / x["predicted"] for x in cases if "predicted" in x]
        if ratios:
            out += ["", f"The cost model (engine/cost.h) is wrong by {100 * statistics.median(abs(1 / r - 1) for r in ratios):.0f} % in the median of {len(ratios)} cases; "
                    f"measured by predicted {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})."]
    gaps = cases_of(all_, "gap")
    if gaps:
        out += ["", "## Between two batches of a request", "", "The device has run one and has nothing of the next: median (least, most), and the share of the request's time.", "",
                "| case | us | share |", "|---|---|---|"]
        out += [f"| {shown(x['case'])} | {1e6 * statistics.median(x['seconds']):.1f} ({1e6 * min(x['seconds']):.1f}-{1e6 * max(x['seconds']):.1f}) | "
                f"{100e6 * sum(x['seconds']) / x['counts']['all_us']:.1f} % |" for x in gaps]
    latency = cases_of(all_, "latency")
    if latency:
        out += ["", "## Whole requests", "", "| case | ms | rows computed |", "|---|---|---|"]
        out += [f"| {shown(x['case'])} | {1e3 * statistics.median(x['seconds']):.1f} ({1e3 * min(x['seconds']):.1f}-{1e3 * max(x['seconds']):.1f}) | "
                f"{sum(v for k, v in x['counts'].items() if k.startswith('rows_')):.0f} |" for x in latency]
    return "\n".join(out) + "\n"


def result(all_):
    """bench/result.schema.json: benchmarks and requests by the clock; a step by its wall time, with 1 where it failed."""
    d, known = of(all_, "device")[-1], limits(all_)
    subject = {"name": "forkcast", "version": d["commit"]}
    rows = []
    for x in all_:
        if "case" in x:
            counts = {k: v for k, v in x.get("counts", {}).items()}
            row = {"case": {"part": x["part"], **x["case"]}, "subject": subject, "seconds": {CLOCKS.get(x["part"], "total"): x["seconds"]}, "counts": counts}
            if "predicted" in x:
                row["values"] = {"predicted": [x["predicted"]]}
            if x["part"] == "bench" and "limit" not in x["case"] and known:
                row["limit_seconds"] = bound(x, known)
            rows.append(row)
        elif "status" in x:
            rows.append({"case": {"part": x["part"], "step": x["name"], "word": x["word"]}, "subject": subject, "seconds": {"wall": [x["seconds"]]},
                         "counts": {"failed": int(x["status"] not in (0, 77)), "skipped": int(x["status"] == 77)}})
        elif x["part"] == "conform":
            rows.append({"case": {"part": "conform", "record": x["name"]}, "subject": subject, "seconds": {"none": [0]},
                         "counts": {k: x[k] for k in ("words", "other_bits", "wrong", "of_allowed")}})
    measured = None
    if {"read_dram", "read_l2", "mma_s8", "mma_bf16", "fma_f32"} <= set(known):
        measured = {"level": "cuda", "threads": 1, "read_gbs_dram": known["read_dram"] / 1e9, "read_gbs_cache": known["read_l2"] / 1e9, "gops_int8": known["mma_s8"] / 1e9,
                    "gflops_bf16": max(known["mma_bf16"], known.get("gemm_bf16", 0)) / 1e9, "gflops_f32": known["fma_f32"] / 1e9}
    return {"format": 1, "program": "gpu.sh", "command": " && ".join(f"tests/gpu.sh {v}" for v in dict.fromkeys(x["verb"] for x in of(all_, "device"))), "date": d["date"],
            "commit": d["commit"], "machine": {"cpu": d["cpu"], "cores": d["cores"], "ram_bytes": d["ram_bytes"], "gpu": f"{d['device']}, {d['memory']}, driver {d['driver']}",
                                               "system": d["system"]}, "limits": measured, "rows": rows}


def main():
    all_ = lines()
    if not of(all_, "device") or not any("status" in x or "case" in x for x in all_):
        stop(f"{OUT}/results.jsonl: no step was run")
    stem = os.path.join(OUT, "report")
    if sys.argv[1:]:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d-[\w-]+", sys.argv[1]):
            stop(f"{sys.argv[1]}: a name is a date and what it is of: 2026-11-26-gpu-h100")
        stem = os.path.join("bench/results", sys.argv[1])
        with open(stem + ".json", "w") as f:
            json.dump(result(all_), f, indent=1)
            f.write("\n")
    with open(stem + ".md", "w") as f:
        f.write(markdown(all_))
    print(f"{stem}.md" + (f" and {stem}.json" if sys.argv[1:] else ""))


if __name__ == "__main__":
    main()
