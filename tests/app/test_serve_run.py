"""A server under way: clients that go, queues that fill, streams that are silent or not read, its end, its doors, its numbers."""
import json
import os
import signal
import socket
import tempfile
import threading
import time
import unittest

from util_cli import BIN
from util_http import sanitized
from util_serve import Serve, alignment, body, events, long, main, novelty, slow, texts

LONG = {"prompt": "the night", "max_tokens": 2500, "ignore_eos": True, "seed": 1}  # seconds of work
PATH = "/v1/completions"
SLOW = ("--novelty", slow(), "--alignment", "none", "--kv-pool", "1G", "--threads", 1)


class Pressure(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.s = Serve(*SLOW, "--max-requests", 4)

    @classmethod
    def tearDownClass(cls):
        assert cls.s.stop() == 0, cls.s.logged()
        cls.s.__exit__()

    def rows(self):
        m = self.s.metrics()
        return sum(float(v) for k, v in m.items() if k.startswith("forkcast_rows_total"))

    # If this fails, the machine works on for clients that have gone.
    def test_cancel_on_disconnect(self):
        for stream in (False, True):
            before = self.s.metrics()
            c = self.s.connect()
            c.send(body(PATH, {**LONG, "n": 8, "stream": stream}))
            self.s.until("vllm:num_requests_running", 1)
            if stream:
                c.until(b"data: ")
            else:
                time.sleep(0.1)
            self.assertGreater(self.s.number('forkcast_kv_pages{state="used"}'), 0)
            c.s.close()
            begin = time.monotonic()
            self.s.until("forkcast_requests", 0)
            self.s.until('forkcast_kv_pages{state="used"}', 0)
            self.assertLess(time.monotonic() - begin, 1)
            rows = self.rows()
            time.sleep(0.1)
            self.assertEqual(self.rows(), rows)
            after = self.s.metrics()
            for name in ('forkcast_cancelled_total{reason="client"}', 'vllm:request_success_total{model_name="slow",engine="0",finished_reason="abort"}'):
                self.assertEqual(float(after[name]) - float(before[name]), 1, name)
            self.assertEqual(self.s.lines()[-1]["tokens"], 0)

    # If this fails, a crowd waits for answers that it will not get.
    def test_full_queue(self):
        held = [self.s.connect() for _ in range(4)]
        for c in held[:3]:
            c.send(body(PATH, LONG))
        self.s.until("forkcast_requests", 3)
        self.s.refused(PATH, {"prompt": ["x"] * 2}, 429, None, "2 prompts; 3 requests are waiting or running, max_requests is 4")
        held[3].send(body(PATH, LONG))
        end = time.monotonic() + 10
        while self.s.number("forkcast_calls") < 4:
            self.assertLess(time.monotonic(), end)
        took = []
        for _ in range(50):
            begin = time.monotonic()
            a = self.s.refused(PATH, {"prompt": "x"}, 429, None, "max_requests is 4")
            took.append(time.monotonic() - begin)
            self.assertEqual((a.headers["retry-after"], a.error()["type"]), ("1", "RateLimitError"))
        self.assertLess(sorted(took)[25], 0.01)
        self.assertEqual(self.s.get("/health").status, 200)
        self.assertEqual(self.s.post("/tokenize", {"prompt": "x"}).status, 200)
        for c in held:
            c.s.close()
        self.s.until("forkcast_calls", 0)
        self.s.until("forkcast_requests", 0)
        self.s.refused(PATH, {"prompt": ["x"] * 5}, 400, "prompt", "5 prompts; max_requests is 4")  # not 429 for ever
        self.assertEqual(self.s.ok(PATH, {"prompt": ["x"] * 4, "max_tokens": 1})["usage"]["completion_tokens"], 4)
        self.assertGreaterEqual(self.s.number('forkcast_admission_rejections_total{reason="queue_full"}'), 51)

    # If this fails, one client's answer is another's wait.
    def test_health_while_it_computes(self):
        with self.s.connect() as c:
            c.send(body(PATH, {**LONG, "n": 8}))
            self.s.until("vllm:num_requests_running", 1)
            took = []
            with self.s.connect() as h:
                for _ in range(200):
                    begin = time.monotonic()
                    h.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    self.assertEqual(h.answer().status, 200)
                    took.append(time.monotonic() - begin)
        self.assertLess(sorted(took)[100], 0.005)

    def test_pipelined(self):
        with self.s.connect() as c:
            asks = [{"prompt": "abc", "seed": k, "max_tokens": 4} for k in range(5)]
            c.send(b"".join(body(PATH, a) for a in asks))
            got = [json.loads(c.answer().body)["choices"][0]["text"] for _ in asks]
        self.assertEqual(got, [self.s.ok(PATH, a)["choices"][0]["text"] for a in asks])
        self.assertGreater(len(set(got)), 1)


class Time(unittest.TestCase):
    # If this fails, a proxy takes a silent stream for a dead one.
    def test_ping(self):
        with Serve(*SLOW, "--ping-ms", 50) as s:
            a = s.post(PATH, {**LONG, "max_tokens": 150, "n": 2, "best_of": 3, "stream": True})
            self.assertGreaterEqual(a.body.count(b": ping\n\n"), 2)
            self.assertEqual(s.number("forkcast_stream_pings_total"), a.body.count(b": ping\n\n"))
            self.assertEqual(events(a)[-1]["choices"][0]["finish_reason"], "length")
            a = s.post(PATH, {**LONG, "max_tokens": 150, "n": 2, "best_of": 3})  # no stream, no comment
            self.assertEqual(len(json.loads(a.body)["choices"]), 2)

    def test_deadline(self):
        with Serve(*SLOW, "--request-ms", 300, "--ping-ms", 50) as s:
            begin = time.monotonic()
            a = s.refused(PATH, LONG, 504, None, "300 ms")
            self.assertLess(time.monotonic() - begin, 2)
            self.assertEqual(a.headers["x-should-retry"], "false")
            a = s.post(PATH, {**LONG, "n": 1, "best_of": 2, "stream": True})  # the pings have begun it
            self.assertTrue(a.whole and a.body.endswith(b"\n\ndata: [DONE]\n\n"))
            self.assertEqual(json.loads(a.body.split(b"data: ")[1])["error"]["code"], 504)
            s.until("forkcast_requests", 0)
            self.assertEqual(s.number('forkcast_cancelled_total{reason="deadline"}'), 2)

    # If this fails, a client that does not read holds the server's memory, or its engine.
    def test_slow_reader(self):
        with Serve("--novelty", long(), "--alignment", "none", "--stall-ms", 1500, "--kv-pool", "1G") as s:
            c = s.connect()
            c.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            c.send(body(PATH, {**LONG, "n": 64, "stream": True, "logprobs": 0}))
            c.until(b"data: ")
            before = s.memory_kb()
            s.until('forkcast_cancelled_total{reason="client"}', 1, seconds=20)
            s.until("forkcast_requests", 0)
            if not sanitized(BIN):
                self.assertLess(s.memory_kb() - before, 64 * 1024)
            c.s.close()

    # If this fails, a client that reads late gets another answer.
    def test_late_reader(self):
        with Serve("--novelty", long(), "--alignment", "none", "--kv-pool", "1G") as s, s.connect() as c:
            c.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            c.send(body(PATH, {**LONG, "n": 64, "max_tokens": 60 if sanitized(BIN) else 350, "stream": True}))
            s.until('vllm:request_success_total{model_name="long",engine="0",finished_reason="length"}', 1, seconds=30)  # more waits than sockets take
            chunks = events(c.answer())
            self.assertEqual(chunks[-1]["choices"][0]["finish_reason"], "length")
            kept = {c["index"]: c["text"].replace("\ufffd", "") for c in chunks[-1]["best_of"]["candidates"]}
            self.assertEqual({i: t.replace("\ufffd", "") for i, t in enumerate(texts(chunks, 64))}, kept)

    # If this fails, a stream that ends in an error looks as if it had been broken off.
    def test_error_behind_what_waits(self):
        with Serve("--novelty", long(), "--alignment", "none", "--request-ms", 400, "--kv-pool", "1G") as s, s.connect() as c:  # long before 8 MiB wait, which end it, too
            c.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            c.send(body(PATH, {**LONG, "n": 64, "stream": True}))
            s.until('forkcast_cancelled_total{reason="deadline"}', 1)
            s.until("forkcast_requests", 0)
            a = c.answer()
            self.assertTrue(a.whole and a.body.endswith(b'"code":504}}\n\ndata: [DONE]\n\n'), a.body[-200:])
            s.until("forkcast_calls", 0)

    # If this fails, a rollout loses requests that were taken.
    def test_end_under_load(self):
        with Serve(*SLOW, "--drain-ms", 8000) as s:
            done, lock = [], threading.Lock()

            def client(k):
                kind = "error"
                while kind in ("full", "error"):
                    ask = {**LONG, "max_tokens": (20 + 10 * (k % 4)) // (10 if sanitized(BIN) else 1), "seed": k, "n": 2, "best_of": 2 + k % 2, "stream": k % 3 == 0}
                    try:
                        c = s.connect()
                    except OSError:
                        return
                    with c:
                        try:
                            c.send(body(PATH, ask))
                            a = c.answer()
                        except (EOFError, OSError) as e:
                            kind = f"lost: {e}"
                            a = None
                        if a and a.status == 200:
                            whole = a.body.endswith(b"data: [DONE]\n\n") if ask["stream"] else len(json.loads(a.body)["choices"]) == 2
                            kind = "full" if a.whole and whole else "broken"
                        elif a:
                            kind = "error" if a.status in (429, 503) and a.error()["code"] == a.status else "broken"
                        with lock:
                            done.append(kind)

            threads = [threading.Thread(target=client, args=(k,)) for k in range(8)]
            for t in threads:
                t.start()
            while done.count("full") < 10:
                time.sleep(0.01)
            self.assertEqual(s.stop(), 0, s.logged())
            for t in threads:
                t.join()
            self.assertEqual(set(done) - {"full", "error"}, set())

    def test_end_in_steps(self):
        with Serve(*SLOW, "--drain-delay-ms", 300, "--drain-ms", 300) as s:
            whole, stream = s.connect(), s.connect()
            whole.send(body(PATH, LONG))
            stream.send(body(PATH, {**LONG, "stream": True}))
            stream.until(b"\r\n\r\n")
            s.p.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            self.assertEqual((s.get("/health").status, s.get("/livez").status), (503, 200))
            a = whole.answer()
            self.assertEqual((a.status, a.error()["type"], a.headers["retry-after"]), (503, "ServiceUnavailableError", "1"))
            stream.buffer[:0] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            a = stream.answer()
            self.assertTrue(a.whole and a.body.endswith(b'"code":503}}\n\ndata: [DONE]\n\n'), a.body[-200:])
            whole.s.close()
            stream.s.close()
            self.assertEqual(s.p.wait(timeout=5), 0)

    # If this fails, a reader that has stopped takes the server with it: its error waits where nobody reads.
    def test_end_while_nobody_reads(self):
        with Serve("--novelty", long(), "--alignment", "none", "--max-branches", 8, "--drain-ms", 100) as s:
            c = s.connect()
            c.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            c.send(body(PATH, {"prompt": ["the night", "a craft that"], "n": 8, "best_of": 8, "max_tokens": 3000, "ignore_eos": True, "stream": True}))
            end = time.monotonic() + 20
            while s.number('forkcast_memory_bytes{kind="unread"}') < 300000:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.02)
            s.p.send_signal(signal.SIGTERM)
            self.assertEqual(s.p.wait(timeout=20), 0)
            c.s.close()

    def test_second_signal_ends_it(self):
        with Serve(*SLOW) as s, s.connect() as c:
            c.send(body(PATH, LONG))
            s.until("vllm:num_requests_running", 1)
            s.p.send_signal(signal.SIGINT)
            time.sleep(0.1)
            begin = time.monotonic()
            s.p.send_signal(signal.SIGTERM)
            self.assertEqual(c.answer().status, 503)
            c.s.close()
            self.assertEqual(s.p.wait(timeout=3), 0)
            self.assertLess(time.monotonic() - begin, 1)


class Doors(unittest.TestCase):
    def test_several_addresses(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "s.sock")
            with Serve("--novelty", novelty(), "--alignment", "none", address=("--listen", "127.0.0.1:0", "--listen", "unix:" + path)) as s:
                s.wait_ready()
                self.assertEqual(s.addresses[1], "unix:" + path)
                got = []
                for address in s.addresses:
                    with s.connect(address) as c:
                        c.send(body(PATH, {"prompt": "x", "seed": 1}))
                        got.append(json.loads(c.answer().body)["choices"])
                self.assertEqual(got[0], got[1])
                self.assertEqual(s.stop(), 0)
            self.assertFalse(os.path.exists(path))

    # If this fails, whoever finds the port is served.
    def test_keys(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "keys")
            with open(path, "w") as f:
                f.write("sk-first-0001\nsk-second-0002\n")
            with Serve("--novelty", novelty(), "--alignment", alignment(), "--api-key-file", path) as s:
                first, second = b"Authorization: Bearer sk-first-0001", b"X-Api-Key: sk-second-0002"
                for ask in (("/v1/models",), ("/metrics",), ("/version",)):
                    a = s.get(*ask)
                    self.assertEqual((a.status, a.error()["type"], a.headers["www-authenticate"]), (401, "AuthenticationError", "Bearer"))
                    self.assertEqual(s.get(*ask, first).status, 200)
                self.assertEqual(s.get("/health").status, 200)
                ask = {"prompt": "the house of the craft of the night", "seed": 1}
                s.refused(PATH, ask, 401)
                # what one key's requests have left in the caches is not another's
                said = [s.ok(PATH, ask, key) for key in (first, first, second, second)]
                self.assertEqual([r["best_of"]["accounting"]["rows_reused"] > 0 for r in said], [False, True, False, True])
                self.assertEqual([r["usage"]["prompt_tokens_details"]["cached_tokens"] > 0 for r in said], [False, True, False, True])
                self.assertNotIn("sk-", s.logged())

    def find_port(self, s):
        """Of a server that listens and is not ready, so has not said it."""
        while True:
            with open(f"/proc/{s.p.pid}/net/tcp") as f:
                inodes = {os.readlink(p.path) for p in os.scandir(f"/proc/{s.p.pid}/fd")}
                rows = [r.split() for r in f.read().splitlines()[1:]]
            for r in rows:
                if r[3] == "0A" and f"socket:[{r[9]}]" in inodes:
                    s.address = f"127.0.0.1:{int(r[1].split(':')[1], 16)}"
                    return

    # If this fails, a front end sends requests to a server that cannot take them.
    def test_loading(self):
        with Serve("--novelty", "like:smollm2-135m", "--alignment", "none", ready=False) as s:
            self.find_port(s)
            self.assertEqual((s.get("/health").status, s.get("/livez").status), (503, 200))
            s.refused(PATH, {"prompt": "x"}, 503, None, "loaded")
            s.wait_ready()
            self.assertEqual(s.get("/health").status, 200)

    # If this fails, a probe ends a server whose first step takes long.
    def test_a_long_first_step_is_no_silence(self):
        with Serve("--novelty", "like:smollm2-135m", "--alignment", "none", "--max-rows", 2048, "--threads", 1) as s:
            asked = threading.Thread(target=s.ok, args=(PATH, {"prompt": "a night " * 200, "max_tokens": 1}))
            asked.start()
            s.until("vllm:num_requests_waiting", 1)
            seen = []
            while asked.is_alive():
                seen.append(s.get("/livez").status)
                time.sleep(0.02)
            asked.join()
            self.assertGreater(len(seen), 5)
            self.assertEqual(set(seen), {200})

    def test_end_while_loading(self):
        with Serve("--novelty", "like:smollm2-135m", "--alignment", "none", ready=False) as s:
            self.find_port(s)
            self.assertEqual(s.get("/health").status, 503)
            self.assertEqual(s.stop(), 0)
            self.assertEqual(s.p.stdout.read(), b"")  # it never could be asked

    # If this fails, a rollout that is taken back waits until models of many gigabytes are loaded, or is taken for a crash.
    def test_an_end_does_not_wait_for_the_load(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "s.sock")
            for first in (signal.SIGTERM, signal.SIGINT):
                with Serve("--novelty", "like:smollm2-1.7b", "--alignment", "none", "--drain-delay-ms", 600000, ready=False, address=("--listen", "unix:" + path)) as s:
                    s.address = "unix:" + path
                    health = None
                    while not health:
                        try:
                            health = s.get("/health").status
                        except (FileNotFoundError, ConnectionRefusedError):
                            self.assertIsNone(s.p.poll(), s.logged())
                    self.assertEqual((health, s.get("/livez").status), (503, 200))
                    with s.connect():
                        s.p.send_signal(first)
                        _, status, used = os.wait4(s.p.pid, 0)
                    s.p.returncode = os.waitstatus_to_exitcode(status)
                    self.assertEqual((s.p.returncode, s.p.stdout.read()), (0, b""), s.logged())
                    self.assertLess(used.ru_maxrss, 1 << 20)  # of 3.4 GB
                    self.assertIn("ended by a signal while the models were being loaded", s.logged())
                    self.assertFalse(os.path.exists(path))

    # If this fails, a unit's socket is left alone, and the server listens somewhere else.
    def test_sockets_that_are_passed(self):
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            mine = "%s:%d" % listening.getsockname()
            # the shell has the process's own number by then, as systemd would say it
            start = ["sh", "-c", 'LISTEN_PID=$$ exec "$0" "$@"', BIN]
            with Serve("--novelty", novelty(), "--alignment", "none", address=(), env={"LISTEN_FDS": "1"}, start=start, pass_fds=(3,),
                       preexec_fn=lambda: os.dup2(listening.fileno(), 3)) as s:
                self.assertEqual(s.address, mine)
                self.assertEqual(s.get("/health").status, 200)

    def test_systemd_is_told(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "notify")
            n = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            n.bind(path)
            n.settimeout(10)
            with Serve("--novelty", novelty(), "--alignment", "none", env={"NOTIFY_SOCKET": path}) as s:
                self.assertEqual(n.recv(200), b"STATUS=loading the models")
                self.assertEqual(n.recv(200), b"READY=1\nSTATUS=serving; 0 requests, 0 connections")
                self.assertEqual(s.stop(), 0)
                self.assertEqual(n.recv(200), b"STOPPING=1")
            # If this fails, the service is killed although it lives.
            with Serve("--novelty", novelty(), "--alignment", "none", env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "40000"}) as s:
                with s.connect():
                    said = [n.recv(200).decode() for _ in range(12)]
                    self.assertEqual(said[:2], ["STATUS=loading the models", "WATCHDOG=1\nSTATUS=loading the models"])
                    self.assertEqual(sum(x.startswith("READY=1\n") for x in said), 1)
                    self.assertGreaterEqual(sum(x.startswith("WATCHDOG=1\nSTATUS=") for x in said), 9)
                    while n.recv(200) != b"WATCHDOG=1\nSTATUS=serving; 0 requests, 1 connections":
                        pass
                self.assertEqual(s.stop(), 0)
                while n.recv(200) != b"STOPPING=1":
                    pass
            with Serve("--novelty", novelty(), "--alignment", "none", env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}) as s:
                self.assertEqual(s.stop(), 0)
                said = [n.recv(200) for _ in range(3)]
                self.assertEqual((said[2], any(b"WATCHDOG" in x for x in said)), (b"STOPPING=1", False))
            n.close()

    def test_failures_to_start(self):
        for args, word in ((("--novelty", "/nowhere.gguf"), "/nowhere.gguf"), (("--novelty", novelty(), "--adapter", "a=/nowhere"), "/nowhere")):
            with Serve(*args, "--alignment", "none", ready=False) as s:
                self.assertEqual(s.p.wait(timeout=10), 1)
                self.assertIn(word, s.logged())
        with Serve("--novelty", novelty(), "--alignment", "none") as s:
            with Serve("--novelty", novelty(), "--alignment", "none", address=("--port", s.address.split(":")[1]), ready=False) as t:
                self.assertEqual(t.p.wait(timeout=10), 1)
                self.assertIn("in use; --port names another", t.logged())


class Flat(unittest.TestCase):
    # If this fails, a server dies of its age.
    def test_nothing_grows(self):
        with Serve("--novelty", novelty(), "--alignment", alignment(), "--threads", 1, "--access-log=false", "--kv-pool", "1M",
                   "--score-cache", "1M") as s:  # so that they are full before it is measured
            def some(n, base):
                c = s.connect()
                for k in range(n):
                    ask = {"prompt": f"the {base + k}", "n": 2, "best_of": 3, "max_tokens": 5, "seed": k, "stream": k % 3 == 0}
                    c.send(body(PATH, ask if k % 7 else {**ask, "n": 9}))
                    if k % 10 == 5:  # it goes at some point
                        if k % 20 == 5:
                            c.s.recv(50)
                        c.s.close()
                        c = s.connect()
                    else:
                        c.answer()
                c.s.close()
                s.until("forkcast_calls", 0)
                s.until("forkcast_requests", 0)

            some(600, 0)
            memory, files = s.memory_kb(), s.files()
            some(2000, 1000)
            self.assertEqual(s.files(), files)
            if not sanitized(BIN):
                self.assertLess(s.memory_kb() - memory, 3000)
            self.assertEqual(s.number('forkcast_kv_pages{state="used"}'), 0)


if __name__ == "__main__":
    main()
