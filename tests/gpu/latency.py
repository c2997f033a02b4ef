"""Whole requests on the GPU against the clock, in an engine that stays (bench/bench_service.c): seconds from submit to answer, of prompts that
nothing has cached. A line of JSON for each case goes to the file that is named. FORKCAST_GPU_MODEL: a model instead of like:llama-3.1-8b, random
weights of that shape; where this build makes none in memory, a file of llama-3.2-1b's shape is made.

    latency.py LINES
"""
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

BIN = os.environ.get("FORKCAST_BUILD", "build")
SECONDS, RUNS, TOKENS = 170, 3, 32
CASES = [("generate", prompt, n) for prompt in (128, 4096) for n in (1, 8, 64, 256)] + [("score", prompt, 64) for prompt in (128, 4096)]


class Service:
    def __init__(self, model, *more):
        self.model = model
        self.p = subprocess.Popen([os.path.join(BIN, "bench_service"), model, "0", "examples/recipes/interests-loglik.json", *map(str, more)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        self.ready = self.p.stdout.readline().startswith('{"ready":true')

    def ask(self, line):
        self.p.stdin.write(line + "\n")
        self.p.stdin.flush()
        answer = self.p.stdout.readline()
        if not answer:
            raise SystemExit(f"latency: {self.model}: {self.p.stderr.read().strip() or 'no answer'}")
        return json.loads(answer)

    def close(self):
        self.p.stdin.close()
        return self.p.stderr.read().strip()


def line_of(kind, prompt, n, seed, tokens=TOKENS):
    numbers = random.Random(seed)
    ids = [numbers.randrange(300, 30000) for _ in range(prompt)]
    if kind == "generate":
        return f"generate {n} {tokens} {seed} {' '.join(map(str, ids))}"
    given = [[numbers.randrange(300, 30000) for _ in range(tokens)] for _ in range(n)]
    return "score " + " | ".join(" ".join(map(str, x)) for x in (ids, *given))


def opened(folder):
    named = os.environ.get("FORKCAST_GPU_MODEL", "like:llama-3.1-8b")
    service = Service(named)
    if service.ready:
        return service
    why = service.close()
    if "FORKCAST_GPU_MODEL" in os.environ or "No such file" not in why:
        raise SystemExit(f"latency: {named}: {why}")
    path = os.path.join(folder, "llama-3.2-1b.gguf")
    print(f"skipped: {why}; a file of llama-3.2-1b's shape instead", flush=True)
    subprocess.run([os.path.join(BIN, "forkcast"), "tiny", path, "--like", "llama-3.2-1b", "--type", "BF16"], check=True, stdout=subprocess.DEVNULL)
    service = Service(path)
    if not service.ready:
        raise SystemExit(f"latency: {path}: {service.close()}")
    return service


def main(lines):
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, open(lines, "a") as out:
        service = opened(folder)
        print(f"{os.path.basename(service.model)}, {time.monotonic() - begin:.1f} s to open", flush=True)
        for kind, prompt, n in CASES:
            seconds, rows = [], {}
            for run in range(RUNS + 1):  # the first one is not counted: graphs are made in it
                if time.monotonic() - begin > SECONDS:
                    break
                answer = service.ask(line_of(kind, prompt, n, 1000 * n + 10 * prompt + run))
                rows = {k: v for k, v in answer.items() if k.startswith("rows_")}
                if run:
                    seconds.append(answer["seconds"])
            if not seconds:
                print(f"LEFT OUT: {kind} {prompt} {n}: no time is left", flush=True)
                return 1
            print(f"{kind:<9} prompt {prompt:>5}, {n:>3} candidates of {TOKENS}: {1e3 * sorted(seconds)[len(seconds) // 2]:.1f} ms of {len(seconds)}", flush=True)
            out.write(json.dumps({"part": "latency", "case": {"work": kind, "prompt": prompt, "n": n, "tokens": TOKENS, "model": os.path.basename(service.model)},
                                  "seconds": seconds, "counts": rows}) + "\n")
            out.flush()
        service.close()
    return 0


if __name__ == "__main__":
    if not shutil.which("nvidia-smi") and "FORKCAST_GPU_MODEL" not in os.environ:
        print("skipped: no CUDA device answers")
        sys.exit(77)
    sys.exit(main(sys.argv[1]))
