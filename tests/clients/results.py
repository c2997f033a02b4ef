"""One line of what a load tool wrote: KIND FILE REQUESTS; or of a server's log and its description: operations LOG OPENAPI. Exit code 1
where requests failed, or not all were made; where an operation gave no answer but refusals."""
import json
import re
import sys


UNLOGGED = ("/health", "/livez", "/ping", "/metrics")  # unless something is wrong


def operations(log, openapi):
    with open(openapi) as f:
        wanted = {(m.upper(), path) for path, o in json.load(f)["paths"].items() for m in o if m in ("get", "post") and path not in UNLOGGED}
    with open(log, encoding="utf-8", errors="replace") as f:
        said = [json.loads(line) for line in f if line.startswith('{"time"')]
    good = [(o["method"], o["path"].split("?")[0]) for o in said if 200 <= o.get("status", 0) < 300]

    def answered(method, path):
        form = re.compile("[^/]+".join(re.escape(part) for part in re.split(r"\{\w+\}", path)))
        return any(m == method and form.fullmatch(at) for m, at in good)
    without = sorted(f"{m} {path}" for m, path in wanted if not answered(m, path))
    print(f"{len(good)} bodies and paths taken" + "".join(f"; none by {o}" for o in without))
    sys.exit(bool(without))


if sys.argv[1] == "operations":
    operations(*sys.argv[2:])
kind, path, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(path) as f:
    r = json.load(f)
if kind == "guidellm":
    (b,) = r["benchmarks"]
    totals = b["metrics"]["request_totals"]
    good, bad, rate = totals["successful"], totals["errored"] + totals["incomplete"], b["metrics"]["requests_per_second"]["successful"]["mean"]
elif kind == "aiperf":
    good, bad, rate = r["request_count"]["avg"], sum(e["count"] for e in r["error_summary"]), r["request_throughput"]["avg"]
elif kind == "vllm":
    good, bad, rate = r["completed"], wanted - r["completed"], r["request_throughput"]  # of reranks it does not count the failed ones
print(f"{good:.0f} requests, {bad:.0f} failed, {rate:.0f}/s")
sys.exit(good != wanted or bad != 0)
