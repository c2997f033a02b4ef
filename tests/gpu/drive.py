"""Runs the steps of one verb of tests/gpu.sh (test, sanitize, bench), each with a limit of its own, and writes as it goes:
results.jsonl, report.txt and log.txt in $OUT, else build/gpu-results.

    drive.py PACK test|sanitize|bench [STEP...]
"""
import concurrent.futures
import datetime
import glob
import json
import os
import signal
import subprocess
import sys
import threading
import time

SECONDS = float(os.environ.get("FORKCAST_GPU_SECONDS", 480))
JOBS = int(os.environ.get("FORKCAST_GPU_JOBS", 4))  # tests side by side: most of their time is the reference's, on the CPU
TOOLS = ("memcheck", "synccheck", "racecheck")
SKIPPED, STOPPED = 77, 124


class Drive:
    def __init__(self, pack, verb, only):
        self.begun, self.verb, self.only, self.failed, self.steps = time.monotonic(), verb, only, [], 0
        self.bin = os.path.join(os.path.abspath(pack), "bin")
        self.out = os.environ.get("OUT") or "build/gpu-results"
        self.lock = threading.Lock()
        os.makedirs(self.out, exist_ok=True)
        os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, (os.path.join(os.path.abspath(pack), "lib"), os.environ.get("LD_LIBRARY_PATH"))))
        os.environ["PATH"] += ":/usr/local/cuda/bin:/usr/local/cuda/compute-sanitizer"
        os.environ["CMOCKA_MESSAGE_OUTPUT"] = "STDOUT"
        os.environ["FORKCAST_BUILD"] = self.bin  # where the program lies
        with open(os.path.join(pack, "commit")) as f:
            self.commit = f.read().strip()

    def append(self, name, text):
        with open(os.path.join(self.out, name), "a") as f:
            f.write(text)

    def tell(self, line, text, log=None):
        """A line for programs, one for people, and all that was printed."""
        with self.lock:
            self.append("results.jsonl", json.dumps(line) + "\n")
            self.append("report.txt", text + "\n")
            if log is not None:
                self.append("log.txt", f"\n== {text}\n{log}")
            print(text, flush=True)

    def wanted(self, name):
        return not self.only or name in self.only

    def step(self, part, name, most, command, env=None, results=None):
        """One command within `most` seconds and within what is left of the verb's. results: a file whose lines go to results.jsonl."""
        if not self.wanted(name):
            return
        self.steps += 1
        begin = time.monotonic()
        left = SECONDS - (begin - self.begun) - 5
        if left < 3:
            status, log, word = STOPPED, "", "LEFT OUT: no time is left"
        else:
            most = min(most, left)
            status, log = self.command(command, most, env)
            word = self.word(status, log, most)
        seconds = round(time.monotonic() - begin, 2)
        lines = []
        if results and os.path.exists(results):
            with open(results) as f:
                lines = f.read().splitlines()
            os.unlink(results)
        with self.lock:
            for line in lines:
                self.append("results.jsonl", line + "\n")
        self.tell({"part": part, "name": name, "status": status, "word": word, "seconds": seconds}, f"{part:<9} {name:<26} {seconds:>7.1f} s  {word}", log)
        if status not in (0, SKIPPED):
            self.failed.append(f"{part} {name}")

    @staticmethod
    def command(command, most, env):
        try:
            p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                 env={**os.environ, **(env or {})}, start_new_session=True)
        except OSError as e:
            return 127, f"{command[0]}: {e.strerror}"
        try:
            log = p.communicate(timeout=most)[0]
            return p.returncode, log
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            return STOPPED, p.communicate()[0]

    @staticmethod
    def word(status, log, most):
        said = [line for line in log.splitlines() if line.strip()]
        if status == 0:
            part = [line for line in said if line.lower().startswith("skipped") or "skipped=" in line]
            return "ok" + (f"; in part {part[0]}" if part else "")
        if status == SKIPPED:
            return next((line for line in said if line.lower().startswith("skipped")), "skipped")[:200]
        if status == STOPPED:
            return f"FAILED: stopped after {most:.0f} s"
        named = [line for line in said if "FAILED" in line or "ERROR" in line or "rror:" in line] or said[-1:]
        return f"FAILED: {f'status {status}' if status > 0 else f'signal {-status}'}: {named[0][:200] if named else 'no word'}"

    def device(self):
        try:
            found = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"], capture_output=True, text=True).stdout
            name, driver, memory = (x.strip() for x in found.splitlines()[0].split(","))
        except (OSError, IndexError, ValueError):
            name, driver, memory = "none answers", "", ""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        cpu = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
        self.tell({"part": "device", "verb": self.verb, "device": name, "driver": driver, "memory": memory, "commit": self.commit, "date": now,
                   "cpu": cpu[0] if cpu else "?", "cores": os.cpu_count(), "ram_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
                   "system": f"{os.uname().sysname} {os.uname().release}"},
                  f"== {self.verb}: {name}, driver {driver}, {memory}; commit {self.commit}; {now}")

    def program(self, name):
        return os.path.join(self.bin, name)

    def kernel_tests(self):
        return sorted(os.path.basename(p) for p in glob.glob(self.program("gpu_test_*")))

    def side_by_side(self, steps):
        with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
            for done in [pool.submit(self.step, *args, **more) for args, more in steps]:
                done.result()

    def test(self):
        file, lines = os.path.join(self.out, "conform.bin"), os.path.join(self.out, "conform.jsonl")
        command = f'"{self.program("gpu_conform")}" write "{file}" && "{self.program("emu_conform")}" compare "{file}" "{lines}"'
        self.step("test", "conform", 60, ["bash", "-c", command], results=lines)
        if os.path.exists(file):
            os.unlink(file)
        steps = [(("test", os.path.basename(script)[:-3], 240, [sys.executable, script]), {}) for script in sorted(glob.glob("tests/gpu/test_*.py"))]
        steps += [(("test", name, 180, [self.program(name)]), {"env": {"FORKCAST_GPU_FULL": "1"}}) for name in self.kernel_tests()]
        self.side_by_side(steps)  # the longest, which run the program, first

    def sanitize(self):
        under = ["compute-sanitizer", "--error-exitcode", "9", "--print-limit", "20", "--tool"]
        steps = [((tool, "conform", 60, [*under, tool, self.program("gpu_conform"), "write", "/dev/null", *(["whole"] if tool == "racecheck" else [])]), {}) for tool in TOOLS]
        steps += [((tool, name, 120, [*under, tool, self.program(name)]), {}) for tool in TOOLS for name in self.kernel_tests()]
        self.side_by_side(steps)

    def bench(self):
        listed = subprocess.run([self.program("gpu_bench"), "list"], capture_output=True, text=True).stdout.split()
        if not listed:
            self.step("bench", "gpu_bench", 5, [self.program("gpu_bench"), "list"])
        lines = os.path.join(self.out, "bench.jsonl")
        for name in listed:  # one after another: they are timed
            self.step("bench", name, 150, [self.program("gpu_bench"), name, lines], results=lines)
        for script in ("latency", "bars"):
            self.step("bench", script, 200, [sys.executable, f"tests/gpu/{script}.py", lines], results=lines)

    def run(self):
        self.device()
        getattr(self, self.verb)()
        if not self.steps:
            self.failed.append(f"no step is named {' or '.join(self.only)}")
        seconds = round(time.monotonic() - self.begun, 1)
        self.tell({"part": "end", "verb": self.verb, "failed": self.failed, "seconds": seconds},
                  f"== {self.verb}: {f'{len(self.failed)} FAILED: ' + ', '.join(self.failed) if self.failed else 'all is well'}; {seconds:.0f} s")
        return 1 if self.failed else 0


if __name__ == "__main__":
    sys.exit(Drive(sys.argv[1], sys.argv[2], sys.argv[3:]).run())
