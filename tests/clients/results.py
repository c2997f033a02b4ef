"""One line of what a load tool wrote: KIND FILE REQUESTS. Exit code 1 where requests failed, or not all were made."""
import json
import sys

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
