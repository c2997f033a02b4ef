#!/usr/bin/env python3
"""What holds a server up, in parts: idle, health, overhead, overload, soak, drain. Each number stands beside its bar.

usage: bench/serve_load.py [MODEL.gguf] --out RESULT.json [PART...] [--build build] [--threads T] [--requests 100000] ...
       bench/serve_load.py --smoke --out RESULT.json

  idle       the share of a core that a server takes which nobody asks
  health     /health while the engine is saturated: idle connections and active streams beside it
  overhead   a best of 16 over HTTP against the time that the server says the same request took inside
  overload   requests at ten times the rate that the server can take: how long those wait that it takes, and those that it refuses
  soak       requests of all kinds on a tiny model, one in ten given up at a random point: memory, files, pages, answers
  drain      SIGTERM while some requests are done, some stream, some wait in the queue and connections are idle, with time for what is under way
             and without: what becomes of each kind

Run from the root of the tree, `forkcast` built (`ninja -C build program`), on a machine that does nothing else. One file in both roles; soak
makes a tiny one of its own, and --smoke uses it everywhere, with small numbers, and judges no time. Exit code 1 where a bar is missed.
"""
import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

import result
from serve_client import Lost, Server, allow_files, get, post, quantile

PARTS = ("idle", "health", "overhead", "overload", "soak", "drain")
WORDS = "the night of a craft that goes far and comes back with more than it took so they say in the house by the sea".split()


class Part:
    """What a part has found: times, counts and bars."""

    def __init__(self, a, name, **case):
        self.a, self.name, self.case = a, name, {"part": name, **case}
        self.seconds, self.counts, self.bars = {}, {}, {}

    def bar(self, name, value, below, unit, timed=True):
        """below: the value is to be smaller; 0 asks for nothing at all. What is timed is not judged in a smoke run."""
        met = value < below if below else value == 0  # a process that a signal ended has an exit code below 0
        self.bars[name] = {"value": value, "below": below, "unit": unit, "met": bool(met), "judged": not (timed and self.a.smoke)}

    def row(self):
        return {"case": self.case, "subject": {"name": "forkcast", "version": self.a.version, "weights": os.path.basename(self.a.model_of[self.name])},
                "seconds": self.seconds, "counts": self.counts, "bars": self.bars}


def serve(a, part, *options):
    model = a.model_of[part]
    return Server(os.path.join(a.build, "forkcast"), "--novelty", model, "--alignment", model, "--threads", a.threads, *options)


def words(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def ask(rng, tokens, **more):
    return post("/v1/completions", {"prompt": words(rng, 24), "max_tokens": tokens, "ignore_eos": True, "seed": rng.randrange(1 << 31), **more})


# ---- idle ----

async def idle(a):
    p = Part(a, "idle", seconds=a.idle_seconds)
    with serve(a, "idle") as s:
        answer = await s.ask(ask(random.Random(1), 4, n=1, best_of=2))
        if answer.verdict() != "full":
            raise Lost(f"the first request: {answer.body[:200]!r}")
        await s.quiet()
        await asyncio.sleep(0.5)
        cpu, begin = s.cpu_seconds(), time.monotonic()
        await asyncio.sleep(a.idle_seconds)
        wall, cpu = time.monotonic() - begin, s.cpu_seconds() - cpu
        p.seconds = {"wall": [wall], "cpu": [cpu]}
        p.bar("CPU share", cpu / wall, 0.01, "of a core")
        p.bar("exit code", s.stop(), 0, "", timed=False)
    return p


# ---- health ----

async def stream_on(s, rng, tokens, until, counts):
    while time.monotonic() < until:
        c = await s.connect()
        try:
            c.send(ask(rng, tokens, n=2, best_of=2, stream=True))
            counts[(await c.answer()).verdict()] += 1
        except Lost:
            counts["error"] += 1
        finally:
            c.close()


async def health(a):
    p = Part(a, "health", idle=a.idle_connections, streams=a.streams, seconds=a.health_seconds)
    files = allow_files(a.idle_connections + a.streams + 256)
    if files < a.idle_connections + a.streams + 64:
        result.stop(f"health: {files} open files are allowed; {a.idle_connections} connections and {a.streams} streams need more (ulimit -n)")
    with serve(a, "health", "--idle-ms", 3600000, "--max-connections", a.idle_connections + a.streams + 64, "--max-requests", 4 * a.streams) as s:
        rest = [await s.connect() for _ in range(a.idle_connections)]
        counts, rng = {"full": 0, "error": 0}, random.Random(2)
        until = time.monotonic() + a.health_seconds + 1.5
        streams = [asyncio.create_task(stream_on(s, random.Random(rng.random()), a.stream_tokens, until, counts)) for _ in range(a.streams)]
        await asyncio.sleep(1)  # until they run
        beside = await asyncio.create_subprocess_exec(sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "serve_client.py"),
                                                      f"{s.host}:{s.port}", str(a.health_seconds), "0.005", stdout=subprocess.PIPE)
        await asyncio.sleep(a.health_seconds / 2)
        m = await s.metrics()
        running = sum(v for k, v in m.items() if k.startswith(("vllm:num_requests_running", "vllm:num_requests_waiting")))
        took = json.loads((await beside.communicate())[0])
        await asyncio.gather(*streams)
        p.counts = {"connections": m["forkcast_connections"], "requests_under_way": running, "probes": len(took), "streams_whole": counts["full"]}
        p.seconds = {"health_p50": [quantile(took, 0.5)], "health_p99": [quantile(took, 0.99)], "health_most": [max(took)]}
        p.bar("p99 of /health", quantile(took, 0.99) * 1e3, 5, "ms")
        p.bar("streams that failed", counts["error"], 0, "", timed=False)
        p.bar("idle connections lost", max(0, a.idle_connections + 1 - m["forkcast_connections"]), 0, "", timed=False)
        for c in rest:
            c.close()
        p.bar("held afterwards", sum((await s.quiet()).values()), 0, "pages, calls, requests", timed=False)
        p.bar("exit code", s.stop(), 0, "", timed=False)
    return p


# ---- overhead ----

async def overhead(a):
    p = Part(a, "overhead", best_of=16, max_tokens=a.tokens)
    wall, inside = [], []
    with serve(a, "overhead") as s:
        c, rng = await s.connect(), random.Random(3)
        for i in range(a.runs + 2):
            raw, begin = ask(rng, a.tokens, n=1, best_of=16), time.monotonic()
            c.send(raw)
            answer = await c.answer()
            took = time.monotonic() - begin
            if answer.verdict() != "full":
                raise Lost(f"a best of 16: {answer.body[:200]!r}")
            if i >= 2:  # the first ones warm up
                wall.append(took)
                inside.append(json.loads(answer.body)["best_of"]["timings_ms"]["total"] / 1e3)
        c.close()
        p.seconds = {"http": wall, "inside": inside}
        p.bar("HTTP beside it", statistics.median((w - i) / i for w, i in zip(wall, inside)) * 100, 2, "%")
        p.bar("exit code", s.stop(), 0, "", timed=False)
    return p


# ---- overload ----

async def timed(s, pool, raw, took, counts):
    c = pool.pop() if pool else await s.connect()
    begin = time.monotonic()
    c.send(raw)
    try:
        answer = await c.answer()
    except Lost:
        counts["other"] += 1
        c.close()
        return
    kind = {200: "taken", 429: "refused"}.get(answer.status, "other")
    took[kind].append(time.monotonic() - begin)
    counts[kind] += 1
    if answer.closes:
        c.close()
    else:
        pool.append(c)


async def overload(a):
    p = Part(a, "overload", max_requests=a.capacity, best_of=4, max_tokens=a.tokens, seconds=a.overload_seconds)
    rng = random.Random(4)
    allow_files(8192)
    with serve(a, "overload", "--max-requests", a.capacity) as s:
        pool, base, counts = [], {k: [] for k in ("taken", "refused", "other")}, {k: 0 for k in ("taken", "refused", "other")}

        async def closed(until):
            while time.monotonic() < until:
                await timed(s, pool, ask(rng, a.tokens, n=1, best_of=4), base, counts)
        await asyncio.gather(*(closed(time.monotonic() + 1) for _ in range(a.capacity)))  # warm
        for k in base:
            base[k].clear()
        begin = time.monotonic()
        await asyncio.gather(*(closed(begin + a.overload_seconds) for _ in range(a.capacity)))
        rate = len(base["taken"]) / (time.monotonic() - begin)
        usual = dict(counts)
        took, counts = {k: [] for k in base}, {k: 0 for k in base}
        tasks, due, end = [], time.monotonic(), time.monotonic() + a.overload_seconds
        while due < end:  # an open loop: nobody waits for the server
            await asyncio.sleep(max(0, due - time.monotonic()))
            tasks.append(asyncio.create_task(timed(s, pool, ask(rng, a.tokens, n=1, best_of=4), took, counts)))
            due += 1 / (10 * rate)
        await asyncio.gather(*tasks)
        for c in pool:
            c.close()
        p.counts = {"rate_of_capacity": rate, "sent": len(tasks), "taken": counts["taken"], "refused": counts["refused"]}
        p.seconds = {"usual_p50": [quantile(base["taken"], 0.5)], "usual_p99": [quantile(base["taken"], 0.99)]}
        p.bar("refused below saturation", usual["refused"] + usual["other"], 0, "", timed=False)
        p.bar("neither taken nor refused", counts["other"], 0, "", timed=False)
        if took["taken"]:
            p.seconds.update(taken_p50=[quantile(took["taken"], 0.5)], taken_p99=[quantile(took["taken"], 0.99)])
            p.bar("p50 of those taken", quantile(took["taken"], 0.5) / quantile(base["taken"], 0.5), 1.5, "of the usual")
            p.bar("p99 of those taken", quantile(took["taken"], 0.99) / quantile(base["taken"], 0.99), 1.5, "of the usual")
        if took["refused"]:
            p.seconds.update(refused_p50=[quantile(took["refused"], 0.5)], refused_p99=[quantile(took["refused"], 0.99)])
            p.bar("p99 of a 429", quantile(took["refused"], 0.99) * 1e3, 10, "ms")
        p.bar("refusals missing", float(not took["refused"]), 0, "", timed=False)
        p.bar("held afterwards", sum((await s.quiet()).values()), 0, "pages, calls, requests", timed=False)
        p.bar("exit code", s.stop(), 0, "", timed=False)
    return p


# ---- soak ----

def any_request(rng):
    """A body of some kind, and the status that it is answered with."""
    kind = rng.random()
    if kind < 0.35:
        return ask(rng, rng.randint(1, 6), n=2, best_of=3), 200
    if kind < 0.65:
        return ask(rng, rng.randint(1, 6), n=rng.randint(1, 2), best_of=2, stream=True, logprobs=rng.choice((None, 1))), 200
    if kind < 0.75:
        return post("/v1/chat/completions", {"messages": [{"role": "user", "content": words(rng, 5)}], "max_tokens": 4, "best_of": 2}), 200
    if kind < 0.85:
        return post("/rerank", {"query": words(rng, 4), "documents": [words(rng, 3) for _ in range(4)]}), 200
    if kind < 0.95:
        return post("/tokenize", {"prompt": words(rng, 20)}), 200
    return post("/v1/completions", {"prompt": "x", "n": rng.choice((0, 9999))}), 400


async def give_up(c, raw, rng):
    """Somewhere in the request, behind it, or in its answer."""
    where = rng.random()
    c.send(raw if where > 0.5 else raw[:rng.randrange(1, len(raw))])
    if where > 0.75:
        await c.reader.read(rng.randint(1, 400))
    elif where > 0.25:
        await asyncio.sleep(rng.random() * 0.01)
    c.close(at_once=rng.random() < 0.5)


async def soak(a):
    p = Part(a, "soak", requests=a.requests, clients=a.clients)
    counts = {"answered": 0, "given_up": 0, "other": 0, "lost": 0}
    left, samples, problems = iter(range(a.requests)), [], []
    # pools so small that they are full early
    with serve(a, "soak", "--kv-pool", "2M", "--score-cache", "1M", "--max-requests", 16 * a.clients) as s:
        files, begin, step = s.files(), time.monotonic(), max(1, a.requests // 20)

        async def client():
            c = None
            for i in left:
                rng = random.Random(i)
                raw, status = any_request(rng)
                if c is None:
                    c = await s.connect()
                if rng.random() < 0.1:
                    await give_up(c, raw, rng)
                    counts["given_up"] += 1
                    c = None
                else:
                    try:
                        c.send(raw)
                        answer = await c.answer()
                        good = answer.status == status and (status != 200 or raw.startswith(b"POST /tokenize") or answer.verdict() == "full")
                        counts["answered" if good else "other"] += 1
                        if not good:
                            problems.append(f"{answer.status}: {answer.body[:120]!r}")
                    except Lost as e:
                        counts["lost"] += 1
                        problems.append(str(e))
                        c = None
                if i % step == 0:
                    samples.append(s.resident_bytes())
            if c:
                c.close()
        await asyncio.gather(*(client() for _ in range(a.clients)))
        wall, held = time.monotonic() - begin, await s.quiet()
        await asyncio.sleep(0.2)
        samples.append(s.resident_bytes())
        first, last = max(samples[:max(1, len(samples) // 5)]), samples[-1]
        p.seconds = {"wall": [wall]}
        p.counts = {**counts, "rss_first": first, "rss_last": last, "rss_most": max(samples), "files_first": files, "files_last": s.files()}
        for text in problems[:5]:
            print(f"soak: {text}", file=sys.stderr)
        p.bar("RSS grown since the first fifth", 100 * max(0, last - first) / first, 2, "%")
        p.bar("files more than at first", max(0, p.counts["files_last"] - files), 0, "", timed=False)
        p.bar("held afterwards", sum(held.values()), 0, "pages, calls, requests", timed=False)
        p.bar("answers lost", counts["lost"], 0, "", timed=False)
        p.bar("answers of another kind", counts["other"], 0, "", timed=False)
        p.bar("unaccounted for", a.requests - sum(counts.values()), 0, "requests", timed=False)
        p.bar("exit code", s.stop(), 0, "", timed=False)
    return p


# ---- drain ----

async def answered(c, raw, counts, of):
    """Counts the answer as full, error or lost; late ones: one that is turned away before a byte of an answer is none of these."""
    try:
        c.send(raw)
        await c.writer.drain()
        verdict = (await c.answer()).verdict()
    except (Lost, ConnectionError):
        verdict = "turned_away" if of == "late" and not c.begun else "lost"
    counts[f"{of}_{verdict}"] += 1


async def until(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > end:
            raise Lost(f"{what}: not within {seconds} s")
        await asyncio.sleep(0.002)


async def drain_with(a, drain_ms, counts):
    """At SIGTERM some requests are done, as many stream as the engine has branches for, the others wait behind these, and connections
    are idle: what was asked on them before has been answered, or nothing was. More is asked when it is too late."""
    rng, n, more = random.Random(5), 2, 2  # candidates; branches that scoring them takes of the same model
    with serve(a, "drain", "--drain-ms", drain_ms, "--max-branches", (n + more) * a.drain_streams, "--max-requests", 2 * (a.drain_streams + a.drain_waiting)) as s:
        kept = [await s.connect() for _ in range(a.drain_idle)]
        for i in range(a.drain_done):
            await answered(kept[i % len(kept)], ask(rng, 4, n=1, best_of=n, stream=i % 2 == 0), counts, "done")
        idle = kept[:-2] + [await s.connect() for _ in range(a.drain_idle)]
        streams = [await s.connect() for _ in range(a.drain_streams)]
        waits = [await s.connect() for _ in range(a.drain_waiting)]
        tasks = [asyncio.create_task(answered(c, ask(rng, a.drain_tokens, n=n, best_of=n, stream=True), counts, "streaming")) for c in streams]

        async def all_stream():
            return all(c.begun for c in streams)
        await until(all_stream, "streams that begin")
        tasks += [asyncio.create_task(answered(c, ask(rng, 8, n=1, best_of=n, stream=i % 2 == 0), counts, "waiting")) for i, c in enumerate(waits)]

        async def all_wait():
            return sum(v for k, v in (await s.metrics()).items() if k.startswith("vllm:num_requests_waiting{")) == a.drain_waiting
        await until(all_wait, "requests that wait in the queue")
        ended = sum(t.done() for t in tasks)
        stopped = time.monotonic()
        s.p.terminate()
        tasks += [asyncio.create_task(answered(c, ask(rng, 4, n=1, best_of=n), counts, "late")) for c in kept[-2:]]
        counts["idle_closed"] = sum(await asyncio.gather(*(c.end(60 + drain_ms / 1e3) for c in idle)))
        await asyncio.gather(*tasks)
        code = await asyncio.to_thread(s.p.wait, 60)
        for c in kept + idle + streams + waits:
            c.close()
        return code, time.monotonic() - stopped, ended, len(idle)


async def drain(a):
    p = Part(a, "drain", done=a.drain_done, streaming=a.drain_streams, waiting=a.drain_waiting, idle=2 * a.drain_idle - 2, max_tokens=a.drain_tokens)
    for name, drain_ms in (("patient", 60000), ("hasty", 1)):
        counts = {f"{of}_{v}": 0 for of in ("done", "streaming", "waiting", "late") for v in ("full", "error", "lost")}
        counts["late_turned_away"] = 0
        code, took, ended, idle = await drain_with(a, drain_ms, counts)
        p.seconds[f"{name}_end"] = [took]
        p.counts.update({f"{name}_{k}": v for k, v in counts.items()})
        p.bar(f"{name}: ended before the signal", ended, 0, "streams, waiting", timed=False)
        p.bar(f"{name}: not done before it", a.drain_done - counts["done_full"], 0, "", timed=False)
        for of, sent in (("streaming", a.drain_streams), ("waiting", a.drain_waiting)):
            p.bar(f"{name}: {of}, no answer", sent - counts[f"{of}_full"] - counts[f"{of}_error"], 0, "", timed=False)
            if name == "patient":
                p.bar(f"{name}: {of}, not whole", sent - counts[f"{of}_full"], 0, "", timed=False)
        if name == "hasty":
            p.bar(f"{name}: nothing was cut", float(counts["streaming_error"] + counts["waiting_error"] == 0), 0, "", timed=False)
        p.bar(f"{name}: idle, not closed", idle - counts["idle_closed"], 0, "connections", timed=False)
        p.bar(f"{name}: late, half an answer", counts["late_lost"], 0, "", timed=False)
        p.bar(f"{name}: exit code", code, 0, "", timed=False)
    return p


# ---- all ----

def read_arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS, allow_abbrev=False)
    p.add_argument("rest", nargs="*", metavar="MODEL.gguf | PART", help="the model, in both roles; and parts: all unless said")
    p.add_argument("--out", required=True, metavar="RESULT.json", help="where the result goes, after each part")
    p.add_argument("--build", default="build", metavar="FOLDER", help="build folder, whose forkcast is run; default build")
    p.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="of the engine; default all cores but one, for the clients")
    p.add_argument("--commit", help="what is measured, where git does not know it")
    p.add_argument("--smoke", action="store_true", help="small numbers on a tiny model: does it work, and is nothing lost; no time is judged")
    # name, by default, in a smoke run
    numbers = (("idle-seconds", 10, 0.5), ("idle-connections", 1000, 50), ("streams", 50, 5), ("stream-tokens", 64, 20), ("health-seconds", 10, 1),
               ("runs", 20, 3), ("tokens", 32, 4), ("capacity", 4, 2), ("overload-seconds", 10, 1), ("requests", 100000, 300), ("clients", 16, 8),
               ("drain-tokens", 64, 400), ("drain-done", 16, 8), ("drain-streams", 4, 4), ("drain-waiting", 12, 6), ("drain-idle", 8, 4))
    for name, usual, _ in numbers:
        p.add_argument("--" + name, type=type(usual), metavar="N", help=f"default {usual}")
    a = p.parse_args()
    for name, usual, smoke in numbers:
        key = name.replace("-", "_")
        if getattr(a, key) is None:
            setattr(a, key, smoke if a.smoke else usual)
    models = [x for x in a.rest if x not in PARTS]
    a.parts = [x for x in PARTS if x in a.rest] or list(PARTS)
    if len(models) > 1:
        result.stop(f"{', '.join(models[1:])}: no part, and one model is enough; parts are {', '.join(PARTS)}")
    if not models and not a.smoke and a.parts != ["soak"]:
        result.stop("a model is needed; only soak and --smoke make one of their own")
    a.model = models[0] if models else None
    return a


def table(part):
    for name, b in part.bars.items():
        said = "met" if b["met"] else "MISSED"
        value = f"{b['value']:.4g}"
        want = "none" if b["below"] == 0 else f"< {b['below']:g}"
        print(f"{part.name:<9} {name:<34} {value:>10} {want:>8} {b['unit']:<24} {said if b['judged'] else 'not judged'}", flush=True)


def main():
    a = read_arguments()
    result.need(a.build, "forkcast")
    program = os.path.join(a.build, "forkcast")
    a.version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]
    commit = result.commit_of(a.commit)
    rows, missed = [], False
    with tempfile.TemporaryDirectory() as folder:
        tiny = os.path.join(folder, "tiny.gguf")
        subprocess.run([program, "tiny", tiny, "--seed", "1", "--ctx", "4096"], check=True, capture_output=True)
        a.model_of = {part: tiny if a.smoke or part == "soak" else a.model for part in PARTS}
        print(f"{'part':<9} {'number':<34} {'value':>10} {'bar':>8} {'':<24}")
        for name in a.parts:
            try:
                part = asyncio.run(globals()[name](a))
            except (Lost, OSError) as e:
                result.stop(f"{name}: {e}")
            table(part)
            rows.append(part.row())
            missed = missed or any(b["judged"] and not b["met"] for b in part.bars.values())
            result.write(a.out, result.make(rows, of_commit=commit))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
