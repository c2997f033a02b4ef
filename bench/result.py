"""What benchmarks in Python share: a result as bench/result.schema.json has it, the machine that made it, medians for tables."""
import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def commit():
    def git(*args):
        return subprocess.run(["git", "-C", ROOT, *args], check=True, capture_output=True, text=True).stdout.strip()
    return git("rev-parse", "--short=7", "HEAD") + ("-changed" if git("status", "--porcelain", "--untracked-files=no") else "")


def machine():
    with open("/proc/cpuinfo") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return {"cpu": names[0] if names else platform.machine(), "cores": os.cpu_count(),
            "ram_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "system": f"{platform.system()} {platform.release()}"}


def limits(build, threads):
    """Of bench/roofline; its peaks are best rates, as limits are."""
    out = subprocess.run([os.path.join(build, "bench", "roofline"), "--json", "--threads", str(threads)], check=True, capture_output=True, text=True).stdout
    r = json.loads(out)
    keys = ("threads", "read_gbs_dram", "read_gbs_cache", "gops_int8", "gflops_bf16", "gflops_f32")
    return {"level": r["cpu_level"], **{k: r[k] for k in keys}}


def make(rows, measured=None, machine_of=None):
    return {"format": 1, "program": os.path.basename(sys.argv[0]), "command": shlex.join(sys.argv), "commit": commit(), "machine": machine_of or machine(),
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "limits": measured, "rows": rows}


def write(path, result):
    with open(path, "w") as f:
        json.dump(result, f, indent=1)
        f.write("\n")


def spread(values, scale=1.0, digits=0):
    """median (least-most)"""
    if len(values) == 1:
        return f"{values[0] * scale:.{digits}f}"
    return f"{statistics.median(values) * scale:.{digits}f} ({min(values) * scale:.{digits}f}-{max(values) * scale:.{digits}f})"
