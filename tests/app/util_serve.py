"""What tests of `forkcast serve` share: a server on tiny models, requests as JSON, metrics. Standard library alone."""
import atexit
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

from util_cli import BIN, ENV, ROOT, run
from util_http import Server

JSON = b"Content-Type: application/json"
made = None


def model(name, *args):
    """The path of a model made once a process."""
    global made
    if not made:
        made = tempfile.TemporaryDirectory()
        atexit.register(made.cleanup)
    path = os.path.join(made.name, name + ".gguf")
    if not os.path.exists(path):
        code, _, err = run("tiny", path, *args)
        assert code == 0, err
    return path


def novelty():
    return model("novelty", "--seed", 1, "--reward-head")


def alignment():
    return model("alignment", "--seed", 2, "--reward-head")


def slow():
    """Some milliseconds a token, and room for thousands."""
    return model("slow", "--seed", 3, "--dim", 256, "--layers", 6, "--hidden", 1024, "--ctx", 8192)


def long():
    """The bytes of a stream come fast, and there are many of them."""
    return model("long", "--seed", 4, "--ctx", 8192)


def body(path, o, *headers):
    data = json.dumps(o).encode() if not isinstance(o, bytes) else o
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % (path.encode(), len(data))
    return head + b"".join(h + b"\r\n" for h in (JSON, *headers)) + b"\r\n" + data


class Serve(Server):
    """A server; options as of its command line. ready: waits until it can be asked."""

    def __init__(self, *options, ready=True, address=("--port", 0), env=None, start=(BIN,), **kw):
        self.log = tempfile.TemporaryFile()
        self.args = [*start, "serve", *map(str, options), *map(str, address)]
        self.p = subprocess.Popen(self.args, stdout=subprocess.PIPE, stderr=self.log, env=dict(ENV, **(env or {})), **kw)
        self.addresses = []
        if ready:
            self.wait_ready()

    def wait_ready(self):
        line = self.p.stdout.readline().decode().strip()
        assert line.startswith("listening on "), (line, self.logged())
        self.address = line[13:].replace("http://", "")
        self.addresses.append(self.address)

    def post(self, path, o, *headers):
        return self.ask(body(path, o, *headers))

    def get(self, path, *headers):
        return self.ask(b"GET %s HTTP/1.1\r\nHost: localhost\r\n" % path.encode() + b"".join(h + b"\r\n" for h in headers) + b"\r\n")

    def ok(self, path, o, *headers):
        a = self.post(path, o, *headers)
        assert a.status == 200, (a.status, a.body)
        return json.loads(a.body)

    def refused(self, path, o, status, param=None, word="", *headers):
        """The answer, which is an error that looks as clients expect."""
        a = self.post(path, o, *headers)
        e = a.error()
        assert a.status == status == e["code"], (a.status, a.body)
        assert e["param"] == param and word in e["message"], e
        assert a.headers["content-type"] == "application/json"
        return a

    def metrics(self):
        """Samples by name and labels as they stand."""
        a = self.get("/metrics")
        assert a.status == 200
        return dict(line.rsplit(" ", 1) for line in a.body.decode().splitlines() if not line.startswith("#"))

    def number(self, name):
        m = self.metrics()
        full = [name] if name in m else [k for k in m if k.startswith(name + "{")]
        assert len(full) == 1, (name, full)
        return float(m[full[0]])

    def until(self, name, value, seconds=10):
        end = time.monotonic() + seconds
        while self.number(name) != value:
            assert time.monotonic() < end, f"{name} is {self.number(name)}, not {value}, after {seconds} s"
            time.sleep(0.005)


def events(a):
    """The data of a stream's events; comments left out."""
    assert a.status == 200 and a.whole and a.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert a.headers["cache-control"] == "no-cache" and a.headers["x-accel-buffering"] == "no"
    blocks = a.body.decode().split("\n\n")
    assert blocks.pop() == ""
    blocks = [b for b in blocks if b != ": ping"]
    assert all(b.startswith("data: ") for b in blocks) and blocks[-1] == "data: [DONE]"
    return [json.loads(b[6:]) for b in blocks[:-1]]


def texts(chunks, n):
    out = [""] * n
    for c in chunks:
        for choice in c["choices"]:
            out[choice["index"]] += choice["text"] if "text" in choice else choice["delta"].get("content", "")
    return out


def main():
    if not os.path.exists(BIN):
        sys.exit(f"{BIN} is not built")
    os.chdir(ROOT)
    unittest.main()
