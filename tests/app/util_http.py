"""What tests of the HTTP core share: a server process, raw sockets, answers read by their framing. Standard library alone."""
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import sys
import time
import unittest

BUILD = os.environ.get("FORKCAST_BUILD", "build")
ECHO = os.path.join(BUILD, "tests", "http_echo")
GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post(path, body, *headers, version=b"1.1", host=b"localhost"):
    lines = [b"POST %s HTTP/%s" % (path, version), b"Host: " + host, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def sanitized(program=ECHO):
    """Built with a sanitizer, whose own memory is no matter of ours."""
    with open(program, "rb") as f:
        text = f.read()
    return b"__asan_init" in text or b"__tsan_init" in text


class Server:
    """One server with options as KEY=VALUE; its log is a file."""

    def __init__(self, *options, **kw):
        self.log = tempfile.TemporaryFile()
        self.p = subprocess.Popen([ECHO, *(options or ("listen=127.0.0.1:0",))], stdout=subprocess.PIPE, stderr=self.log, **kw)
        self.addresses = []
        line = self.p.stdout.readline().decode().strip()
        assert line, self.logged()
        self.addresses.append(line)
        self.address = line

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
        return self.log.read().decode()

    def lines(self):
        time.sleep(0.05)  # a thread of its own writes them
        return [json.loads(x) for x in self.logged().splitlines()]

    def connect(self, address=None):
        address = address or self.address
        if address.startswith("unix:"):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(20)
            s.connect(address[5:])
            return Client(s)
        host, port = address.rsplit(":", 1)
        return Client(socket.create_connection((host.strip("[]"), int(port)), timeout=20))

    def ask(self, raw, **kw):
        with self.connect() as c:
            c.send(raw)
            return c.answer(**kw)

    def counts(self):
        return json.loads(self.ask(GET % b"/counts").body)

    def until(self, name, value, seconds=5):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.counts()[name] == value:
                return
            time.sleep(0.005)
        raise AssertionError(f"{name} is {self.counts()[name]}, not {value}, after {seconds} s")

    def stop(self, seconds=20):
        self.p.send_signal(signal.SIGTERM)
        return self.p.wait(timeout=seconds)

    def ticks(self):
        with open(f"/proc/{self.p.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def memory_kb(self):
        with open(f"/proc/{self.p.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))

    def files(self):
        time.sleep(0.1)  # who has just asked is being closed
        return len(os.listdir(f"/proc/{self.p.pid}/fd"))


class Answer:
    def __init__(self, head, body, whole=True):
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {}
        for line in lines[1:]:
            name, value = line.split(": ", 1)
            assert name.lower() not in self.headers, f"{name} twice"
            self.headers[name.lower()] = value
        self.body, self.whole = body, whole

    def error(self):
        return json.loads(self.body)["error"]


class Client:
    def __init__(self, s):
        self.s, self.buffer = s, bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.s.close()

    def send(self, raw):
        self.s.sendall(raw)

    def received(self, most=65536):
        try:
            return self.s.recv(most)
        except ConnectionResetError:
            return b""

    def more(self):
        got = self.received()
        self.buffer += got
        return bool(got)

    def until(self, mark):
        while mark not in self.buffer:
            if not self.more():
                raise EOFError(f"the connection ended with {self.buffer[:200]!r}")
        return self.cut(self.buffer.find(mark) + len(mark))[:-len(mark)]

    def cut(self, n):
        """The first n bytes; what is behind them stays where it is."""
        got = bytes(self.buffer[:n])
        del self.buffer[:n]
        return got

    def exactly(self, n):
        while len(self.buffer) < n:
            got = self.received(min(n - len(self.buffer), 1 << 20))
            self.buffer += got
            if not got:
                raise EOFError(f"the connection ended in a body, {len(self.buffer)} of {n} bytes")
        return self.cut(n)

    def answer(self, head=False):
        """The next answer, by its framing; whole is False where a stream was cut."""
        top = self.until(b"\r\n\r\n")
        a = Answer(top, b"")
        if head or a.status in (204, 304) or a.status == 100:
            return a
        if "content-length" in a.headers:
            a.body = self.exactly(int(a.headers["content-length"]))
        elif a.headers.get("transfer-encoding") == "chunked":
            parts = []
            try:
                while True:
                    size = int(self.until(b"\r\n"), 16)
                    parts.append(self.exactly(size))
                    assert self.exactly(2) == b"\r\n"
                    if size == 0:
                        break
            except EOFError:
                a.whole = False
            a.body = b"".join(parts)
        else:
            while self.more():
                pass
            a.body = self.cut(len(self.buffer))
        return a

    def closed(self, seconds=5):
        """True when the server has ended the connection, with nothing more to read."""
        self.s.settimeout(seconds)
        try:
            return not self.buffer and not self.more()
        except socket.timeout:
            return False


def main():
    if not os.path.exists(ECHO):
        sys.exit(f"{ECHO} is not built")
    unittest.main()
