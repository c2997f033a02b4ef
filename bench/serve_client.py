"""What bench/serve_load.py asks a server with: the program as a process, and HTTP/1.1 over asyncio. Standard library alone.

As a program it is a probe, which a busy client beside it does not hold up: `serve_client.py HOST:PORT SECONDS EVERY` asks for /health every
so many seconds and prints how long each answer took, as JSON.
"""
import asyncio
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time


def post(path, o):
    data = json.dumps(o).encode()
    return (b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(data))) + data


def get(path):
    return b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode()


def quantile(values, q):
    """The value that a share q of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, int(q * len(ordered) + 0.999999) - 1))]


def allow_files(n):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = n if hard == resource.RLIM_INFINITY else min(n, hard)
    if soft < want:
        resource.setrlimit(resource.RLIMIT_NOFILE, (want, hard))
    return want if soft < want else soft


class Lost(Exception):
    """An answer that did not come, or not whole."""


class Server:
    """`forkcast serve` on a port of its own."""

    def __init__(self, program, *options):
        self.log = tempfile.TemporaryFile()
        self.command = [program, "serve", "--port", "0", "--access-log=false", *map(str, options)]
        self.p = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=self.log)
        line = self.p.stdout.readline().decode().strip()
        if not line.startswith("listening on http://"):
            raise Lost(f"the server did not start: {self.logged()}")
        self.host, port = line[len("listening on http://"):].rsplit(":", 1)
        self.port = int(port)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.p.poll() is None:
            self.p.kill()
        self.p.wait()
        self.p.stdout.close()
        self.log.close()

    def logged(self):
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace").strip()

    def stop(self, seconds=60):
        """Its exit code."""
        self.p.send_signal(signal.SIGTERM)
        return self.p.wait(timeout=seconds)

    def cpu_seconds(self):
        with open(f"/proc/{self.p.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self):
        with open(f"/proc/{self.p.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def files(self):
        return len(os.listdir(f"/proc/{self.p.pid}/fd"))

    async def connect(self):
        return Connection(*await asyncio.open_connection(self.host, self.port))

    async def ask(self, raw):
        c = await self.connect()
        try:
            c.send(raw)
            return await c.answer()
        finally:
            c.close()

    async def metrics(self):
        """Numbers by name and labels as they stand."""
        text = (await self.ask(get("/metrics"))).body.decode()
        return {k: float(v) for k, v in (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))}

    async def metric(self, name):
        return (await self.metrics())[name]

    async def quiet(self, seconds=20):
        """Until nothing is under way; what is then held: pages of KV, calls, requests."""
        end = time.monotonic() + seconds
        while True:
            m = await self.metrics()
            held = {"pages": m['forkcast_kv_pages{state="used"}'], "calls": m["forkcast_calls"], "requests": m["forkcast_requests"]}
            if not any(held.values()) or time.monotonic() > end:
                return held
            await asyncio.sleep(0.05)


class Answer:
    def __init__(self, status, closes, body):
        self.status, self.closes, self.body = status, closes, body

    def verdict(self):
        """full, or error: an answer that says that it is one. Anything else is an exception."""
        if self.body.startswith(b"data: ") or self.body.startswith(b": ping"):
            events = [e for e in self.body.decode().split("\n\n") if e and not e.startswith(":")]
            if self.status != 200 or events[-1] != "data: [DONE]":
                raise Lost("a stream without its end")
            return "error" if any("error" in json.loads(e[6:]) for e in events[:-1]) else "full"
        o = json.loads(self.body)
        if self.status == 200 and "error" not in o:
            return "full"
        if self.status >= 400 and o["error"]["code"] == self.status:
            return "error"
        raise Lost(f"status {self.status}: {self.body[:80]!r}")


class Connection:
    """begun: of what was asked last some of an answer is there: its head and, of a stream, its first event."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.begun = reader, writer, False

    def send(self, raw):
        self.begun = False
        self.writer.write(raw)

    async def answer(self):
        """The next one, whole."""
        try:
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            size = re.search(r"\r\ncontent-length: (\d+)\r\n", head, re.I)
            parts = [] if not size else [await self.reader.readexactly(int(size.group(1)))]
            while not size:
                line = await self.reader.readuntil(b"\r\n")
                chunk = await self.reader.readexactly(int(line, 16) + 2)
                if len(chunk) == 2:
                    break
                parts.append(chunk[:-2])
                self.begun = self.begun or not chunk.startswith(b":")
        except (asyncio.IncompleteReadError, ConnectionError) as e:
            self.begun = self.begun or bool(getattr(e, "partial", b""))
            raise Lost(f"the connection ended: {type(e).__name__}") from e
        self.begun = True
        return Answer(int(head.split(" ", 2)[1]), "\r\nconnection: close\r\n" in head.lower(), b"".join(parts))

    async def end(self, seconds):
        """Of one that nothing was asked of: whether the other side closes it, and says nothing before."""
        try:
            return await asyncio.wait_for(self.reader.read(1), seconds) == b""
        except (asyncio.TimeoutError, ConnectionError):
            return False

    def close(self, at_once=False):
        if at_once:
            self.writer.transport.abort()
        else:
            self.writer.close()


def probe(address, seconds, every):
    host, port = address.rsplit(":", 1)
    took, end = [], time.monotonic() + seconds
    with socket.create_connection((host, int(port)), timeout=60) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.monotonic() < end:
            begin, got = time.monotonic(), b""
            s.sendall(get("/health"))
            while b"\r\n\r\n" not in got:
                more = s.recv(4096)
                if not more:
                    raise Lost("the server closed the probe's connection")
                got += more
            took.append(time.monotonic() - begin)
            if not got.startswith(b"HTTP/1.1 200 "):
                raise Lost(f"/health: {got[:40]!r}")
            time.sleep(every)
    return took


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))))
