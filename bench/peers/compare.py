#!/usr/bin/env python3
"""forkcast beside other engines: the same weights, prompts and n, in turn on one machine.

usage: bench/peers/compare.py --model MODEL.gguf --peers openvino,llamacpp --jobs generate:128:16,prefill:1024,score:1024:16,taxonomy
                              --out RESULT.json [-n 1,16,64] [--runs 5] [--build build] [--dir build/peers] [--threads T] [--kv TYPE]
       bench/peers/compare.py --table RESULT.json

Peers are what bench/peers/install.sh made in build/peers. Each engine is a program that lives as long as the run and is stopped while
another one has its turn. A case is done once to warm up, then --runs times by all engines in turn, each time with another prompt.
--table prints Markdown: median (least-most) of seconds, and of peer's seconds by forkcast's, run by run. README.md has the rest.
"""
import argparse
import json
import os
import select
import signal
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import jobs  # noqa: E402
import result  # noqa: E402

PROGRAMS = {"forkcast": "forkcast", "openvino": "openvino", "llamacpp": "llamacpp", "ikllama": "llamacpp", "transformers": "transformers",
            "ctranslate2": "ctranslate2", "vllm": "vllm"}


class Failed(Exception):
    pass


class Engine:
    """A program of peer.py's kind in a process group of its own, which is stopped whenever it has nothing to do."""

    def __init__(self, name, folder, a):
        python = os.path.join(folder, "bin", "python")
        command = [python if os.path.exists(python) else sys.executable, os.path.join(HERE, f"peer_{PROGRAMS[name]}.py"), name, folder, a.model, str(a.threads)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(a.threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "FORKCAST_KV": a.kv}
        self.name, self.log, self.alive, self.timeout = name, os.path.join(a.dir, f"{name}.log"), True, a.timeout
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, start_new_session=True)
        hello = self.read()
        self.subject = {"name": hello["name"], "version": hello["version"], "weights": f"{os.path.basename(a.model)}: {hello['weights']}"}
        self.signal(signal.SIGSTOP)

    def signal(self, what):
        try:
            os.killpg(self.process.pid, what)
        except ProcessLookupError:
            pass

    def read(self):
        """Answers are one line each, so that a pipe that can be read has nothing but what belongs to the next."""
        line = self.process.stdout.readline() if select.select([self.process.stdout], [], [], self.timeout)[0] else b""
        if not line.endswith(b"\n"):
            self.end()
            raise Failed(f"no answer, in {self.timeout} s or ever; see {self.log}")
        return json.loads(line)

    def ask(self, case):
        self.signal(signal.SIGCONT)
        try:
            self.process.stdin.write(json.dumps(case).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self.end()
            raise Failed(f"it ended; see {self.log}") from None
        answer = self.read()
        self.signal(signal.SIGSTOP)
        if "seconds" not in answer:
            raise Failed("cannot: " + answer["cannot"] if "cannot" in answer else answer["error"])
        return answer

    def end(self):
        self.alive = False
        self.signal(signal.SIGKILL)
        self.process.wait()


def measure(a, model, engines, what, limits):
    """A row an engine; one that cannot, or fails, has none, and that is printed."""
    answers = {e.name: [] for e in engines if e.alive}
    for run in range(-1, a.runs):  # -1 warms up
        full = jobs.case(model, what, run)
        for e in engines:
            if e.name not in answers:
                continue
            try:
                answers[e.name].append((full, e.ask(full)))
            except Failed as why:
                print(f"  {e.name}: {why}", flush=True)
                del answers[e.name]
                if e.name == "forkcast":
                    raise SystemExit("there is nothing to compare with") from None
    rows, ours = [], [r for _, r in answers["forkcast"]]
    for e in engines:
        if e.name not in answers:
            continue
        full, first = answers[e.name][1]
        row = {"case": what, "subject": e.subject, "seconds": {"total": [r["seconds"]["total"] for _, r in answers[e.name][1:]]}, "counts": first["counts"]}
        if "loglik" in first:
            differences = [abs(x - y) for x, y in zip(first["loglik"], ours[1]["loglik"])]
            row["counts"]["loglik_difference"] = statistics.mean(differences) / what["L"]
        if limits:
            row["limit_seconds"] = jobs.limit(model, limits, what, full, ours[1]["counts"])
        rows.append(row)
        print(f"  {e.name}: {result.spread(row['seconds']['total'], digits=3)} s", flush=True)
    return rows


def job_name(case):
    return ":".join(str(case[k]) for k in ("job", "P", "G", "L", "pairs") if k in case)


def tables(rows):
    """A table a job: a line each n, columns for each engine. taxonomy counts prompts a second, others seconds."""
    out = []
    for job in dict.fromkeys(job_name(r["case"]) for r in rows):
        of = {(r["case"]["n"], r["subject"]["name"]): r for r in rows if job_name(r["case"]) == job}
        names = list(dict.fromkeys(name for _, name in of))
        peers = [n for n in names if n != "forkcast"]
        unit = "prompts/s" if job.startswith("taxonomy") else "s"
        heads = ["n", f"forkcast, {unit}", "share of the limit"] + [x for p in peers for x in (f"{p}, {unit}", f"{p} / forkcast, time")]
        out += [f"**{job}**", "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
        for n in dict.fromkeys(n for n, _ in of):
            ours = of[n, "forkcast"]
            cells = [str(n), shown(ours, unit), f"{100 * ours['limit_seconds'] / statistics.median(ours['seconds']['total']):.0f} %" if "limit_seconds" in ours else "-"]
            for p in peers:
                theirs = of.get((n, p))
                ratios = [t / o for t, o in zip(theirs["seconds"]["total"], ours["seconds"]["total"])] if theirs else []
                cells += [shown(theirs, unit), result.spread(ratios, digits=2)] if theirs else ["-", "-"]
            out.append("| " + " | ".join(cells) + " |")
        out.append("")
    return "\n".join(out)


def shown(row, unit):
    seconds = row["seconds"]["total"]
    return result.spread([row["counts"]["prompts"] / s for s in seconds] if unit == "prompts/s" else seconds, digits=3)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--table", metavar="RESULT.json")
    p.add_argument("--model")
    p.add_argument("--peers", default="openvino,llamacpp", help="; ".join(n for n in PROGRAMS if n != "forkcast"))
    p.add_argument("--jobs", default="generate:128:16,generate:1024:32,prefill:1024,score:1024:16,taxonomy", help=jobs.USAGE)
    p.add_argument("-n", default="1,16,64", help="candidates, of generate")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--out", metavar="RESULT.json")
    p.add_argument("--build", default="build", help="where forkcast and bench/roofline are")
    p.add_argument("--dir", default="build/peers", help="where install.sh put the peers")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--kv", default="bf16", choices=["f32", "bf16", "int8", "fp8"], help="forkcast's KV")
    p.add_argument("--timeout", type=float, default=900, help="seconds until an engine that does not answer is ended")
    a = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that engines, which are stopped, are ended too
    if a.table:
        with open(a.table) as f:
            print(tables(json.load(f)["rows"]), end="")
        return
    if not a.model or not a.out or a.runs < 1:
        p.error("--model and --out are needed, and --runs of at least 1")
    names = a.peers.split(",")
    for name in names:
        if name not in PROGRAMS or name == "forkcast":
            p.error(f"no peer is called {name}")
        if not os.path.exists(os.path.join(a.dir, name, "installed")):
            p.error(f"{name} is not installed: bench/peers/install.sh {name}")
    cases = jobs.parse(a.jobs, [int(x) for x in a.n.split(",")])
    model = jobs.Model(os.path.join(a.build, "forkcast"), a.model)
    limits = result.limits(a.build, a.threads)  # before anything else runs
    engines, rows = [], []
    try:
        for name in ["forkcast"] + names:
            print(f"{name}: starts", flush=True)
            try:
                engines.append(Engine(name, a.build if name == "forkcast" else os.path.join(a.dir, name), a))
            except Failed as why:
                print(f"  {name}: {why}", flush=True)
        for what in cases:
            print(f"{job_name(what)}, n {what['n']}", flush=True)
            rows += measure(a, model, engines, what, limits)
            result.write(a.out, result.make(rows, limits))  # what is there is kept
    finally:
        for e in engines:
            e.end()
    print("\n" + tables(rows), end="")


if __name__ == "__main__":
    main()
