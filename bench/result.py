"""What benchmarks in Python share: a result as bench/result.schema.json has it, the machine that made it, medians for tables."""
import datetime
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def stop(text):
    """Ends the program with a sentence."""
    sys.stdout.flush()
    print(f"{os.path.basename(sys.argv[0])}: {text}", file=sys.stderr)
    raise SystemExit(1)


def need(build, *names):
    """Programs of the build folder that are run."""
    missing = [os.path.join(build, name) for name in names if not os.access(os.path.join(build, name), os.X_OK)]
    if missing:
        stop(f"{' and '.join(missing)}: not built; `cmake -S . -B {shlex.quote(build)} -G Ninja && ninja -C {shlex.quote(build)}` builds what is measured")


def commit():
    """Of this tree, or None where git or its history is missing."""
    def git(*args):
        return subprocess.run(["git", "-C", ROOT, *args], check=True, capture_output=True, text=True).stdout.strip()
    try:
        return git("rev-parse", "--short=7", "HEAD") + ("-changed" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def commit_of(given):
    """What --commit says, or what git says: a result without it cannot be compared."""
    found = given or commit()
    if not found or not re.fullmatch(r"[0-9a-f]{7,40}(-changed)?", found):
        stop(f"--commit: {given!r} is not a commit: 7 to 40 hexadecimal digits" if given else
             "git says no commit of this tree, and a result needs one; give it by --commit")
    return found


def read(path):
    """Rows of a result."""
    try:
        with open(path) as f:
            return json.load(f)["rows"]
    except OSError as e:
        stop(f"{path}: {e.strerror}")
    except (ValueError, KeyError, TypeError):
        stop(f"{path}: it is no result (bench/result.schema.json)")


def machine():
    with open("/proc/cpuinfo") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return {"cpu": names[0] if names else platform.machine(), "cores": os.cpu_count(),
            "ram_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "system": f"{platform.system()} {platform.release()}"}


def limits(build, threads):
    """Of bench/roofline; its peaks are best rates, as limits are."""
    out = subprocess.run([os.path.join(build, "bench", "roofline"), "--json", "--threads", str(threads)], capture_output=True, text=True)
    if out.returncode:
        stop(out.stderr.strip())
    r = json.loads(out.stdout)
    keys = ("threads", "read_gbs_dram", "read_gbs_cache", "gops_int8", "gflops_bf16", "gflops_f32")
    return {"level": r["cpu_level"], **{k: r[k] for k in keys}}


def make(rows, measured=None, machine_of=None, of_commit=None):
    return {"format": 1, "program": os.path.basename(sys.argv[0]), "command": shlex.join(sys.argv), "commit": of_commit or commit_of(None), "machine": machine_of or machine(),
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "limits": measured, "rows": rows}


def write(path, result):
    try:
        with open(path, "w") as f:
            json.dump(result, f, indent=1)
            f.write("\n")
    except OSError as e:
        stop(f"{path}: {e.strerror}")


def spread(values, scale=1.0, digits=0):
    """median (least-most)"""
    if len(values) == 1:
        return f"{values[0] * scale:.{digits}f}"
    return f"{statistics.median(values) * scale:.{digits}f} ({min(values) * scale:.{digits}f}-{max(values) * scale:.{digits}f})"
