"""The server's HTTP, asked with raw sockets: order, framing, disconnects, slow clients, many clients.

Runs against http_echo, a server made for it. Standard library alone.
"""
import random
import socket
import time
import unittest

from util_http import GET, Server, main, post, sanitized


class Basics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    # If this fails, a kept connection gets somebody else's answer, or none.
    def test_keep_alive_and_pipelining(self):
        with self.server.connect() as c:
            c.send(b"".join(post(b"/echo", b"body %d" % i) for i in range(200)))
            for i in range(200):
                self.assertEqual(c.answer().body, b"body %d" % i)
            # a slow answer is not overtaken by quick ones behind it
            c.send(GET % b"/later?ms=80" + GET % b"/items/2" + GET % b"/stream?n=3&ms=1" + post(b"/echo", b"4"))
            self.assertEqual(c.answer().body, b"later")
            self.assertEqual(c.answer().body, b"2")
            self.assertEqual(c.answer().body.count(b"data: "), 3)
            self.assertEqual(c.answer().body, b"4")

    # If this fails, how a network cuts a request changes what it means.
    def test_byte_by_byte(self):
        chunked = (b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                   b"5;a=b\r\nhello\r\n1;c=\"d;e\"\r\n!\r\n0\r\nTrailer: x\r\n\r\n")
        with self.server.connect() as c:
            c.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for raw, want in ((post(b"/echo", b"abc"), b"abc"), (chunked, b"hello!"), (b"\r\n" + GET % b"/items/x", b"x")):
                for i in range(len(raw)):
                    c.send(raw[i:i + 1])
                self.assertEqual(c.answer().body, want)
            c.send(chunked * 3 + GET % b"/items/end")
            for want in (b"hello!", b"hello!", b"hello!", b"end"):
                self.assertEqual(c.answer().body, want)

    # If this fails, clients that check a header before they send a body, or that ask for heads alone, hang or err.
    def test_head_expect_and_versions(self):
        with self.server.connect() as c:
            c.send(b"HEAD /items/abc HTTP/1.1\r\nHost: localhost\r\n\r\n" + GET % b"/items/abc")
            a = c.answer(head=True)
            self.assertEqual((a.status, a.headers["content-length"]), (200, "3"))
            self.assertEqual(c.answer().body, b"abc")
            c.send(b"HEAD /stream?n=5 HTTP/1.1\r\nHost: localhost\r\n\r\n" + GET % b"/items/s")
            c.answer(head=True)
            self.assertEqual(c.answer().body, b"s")
            c.send(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n")
            self.assertEqual(c.answer().status, 100)
            c.send(b"abc")
            self.assertEqual(c.answer().body, b"abc")
        a = self.server.ask(b"GET /items/o HTTP/1.0\r\n\r\n")
        self.assertEqual((a.body, a.headers["connection"]), (b"o", "close"))
        a = self.server.ask(b"GET /stream?n=2&size=10 HTTP/1.0\r\n\r\n")
        self.assertEqual(len(a.body), 20)
        self.assertNotIn("transfer-encoding", a.headers)
        with self.server.connect() as c:
            for _ in range(2):
                c.send(b"GET /items/k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                self.assertEqual(c.answer().headers["connection"], "keep-alive")
        with self.server.connect() as c:
            c.send(b"GET /items/k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            self.assertEqual(c.answer().headers["connection"], "close")
            self.assertTrue(c.closed())
        for target in (b"http://localhost/items/abs?x=1", b"HTTP://LocalHost/items/abs"):
            self.assertEqual(self.server.ask(GET % target).body, b"abs")
        # h2c is offered by some clients with every request, and may be left alone
        self.assertEqual(self.server.ask(b"GET /items/h HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                                         b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n").body, b"h")

    # If this fails, an answer lacks what clients, caches and proxies go by.
    def test_headers_of_an_answer(self):
        a = self.server.ask(post(b"/echo", b"", b"X-Probe:  two words \t", b"X-Request-Id: My-id.1_2"))
        self.assertEqual(a.headers["x-probe"], "two words")
        self.assertEqual(a.headers["x-request-id"], "My-id.1_2")
        self.assertRegex(a.headers["date"], r"^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$")
        ids = {self.server.ask(GET % b"/items/x").headers["x-request-id"] for _ in range(20)}
        self.assertEqual(len(ids), 20)
        for bad in (b"a b", b"a\"b", b"x" * 129, b"", b"a/b"):
            a = self.server.ask(post(b"/echo", b"", b"X-Request-Id: " + bad))
            self.assertRegex(a.headers["x-request-id"], "^[0-9a-f]{16}$")

    def test_routes(self):
        self.assertEqual(self.server.ask(GET % b"/items/a%2Fb%20c").body, b"a/b c")
        self.assertEqual(self.server.ask(GET % b"/items/org/model").body, b"org/model")
        for path in (b"/items/", b"/items", b"/nothing", b"//echo", b"/echo/", b"/ECHO"):
            self.assertEqual(self.server.ask(GET % path).status, 404, path)
        self.assertEqual(self.server.ask(GET % b"/items/%ff").status, 400)
        a = self.server.ask(b"DELETE /echo HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual((a.status, a.headers["allow"]), (405, "POST, GET, HEAD, OPTIONS"))
        a = self.server.ask(b"OPTIONS /hang HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\r\n")
        self.assertEqual((a.status, a.headers["allow"]), (204, "GET, HEAD, POST, OPTIONS"))
        self.assertNotIn("access-control-allow-origin", a.headers)
        self.assertEqual(self.server.ask(b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 204)
        self.assertEqual(self.server.ask(post(b"/small", b"x" * 100)).status, 200)
        self.assertEqual(self.server.ask(post(b"/small", b"x" * 101)).status, 413)
        self.assertEqual(self.server.ask(b"POST /small HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                                         b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n").status, 413)

    # If this fails, a handler that forgets a request leaves its client waiting for ever.
    # If this fails, a client sends its next request to a server that has hung up.
    def test_an_unread_body_ends_the_connection(self):
        for body, closes in ((b"x" * 100, True), (b"", False)):
            with self.server.connect() as c:
                c.send(post(b"/nothing", body))
                a = c.answer()
                self.assertEqual((a.status, a.headers.get("connection")), (404, "close" if closes else None))
                if not closes:
                    c.send(GET % b"/counts")
                    self.assertEqual(c.answer().status, 200)
                else:
                    self.assertTrue(c.closed())

    def test_forgotten_request(self):
        self.assertEqual(self.server.ask(GET % b"/forget").status, 500)

    # If this fails, an engine thread cannot answer.
    def test_answers_of_another_thread(self):
        clients = [self.server.connect() for _ in range(20)]
        for c in clients:
            c.send(GET % b"/thread")
        for c in clients:
            self.assertEqual(c.answer().body, b"woken")
            c.s.close()

    def test_bodies_come_back_whole(self):
        rng = random.Random(7)
        for size in (1, 16383, 16384, 16385, 1000003, 4 << 20):
            body = rng.randbytes(size)
            self.assertEqual(self.server.ask(post(b"/echo", body)).body, body, size)
        self.assertEqual(self.server.ask(GET % b"/big?size=9000000").body, b"b" * 9000000)
        self.assertEqual(self.server.counts()["bodies"], 0)


class Clients(unittest.TestCase):
    # If this fails, candidates are drawn for somebody who has left.
    def test_disconnect(self):
        with Server() as s:
            def leave(how, raw):
                c = s.connect()
                c.send(raw)
                s.until("hanging", 1)
                begin = time.monotonic()
                if how == "reset":
                    c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                if how == "half":
                    c.s.shutdown(socket.SHUT_WR)
                else:
                    c.s.close()
                s.until("hanging", 0)
                self.assertLess(time.monotonic() - begin, 0.5)
                c.s.close()

            for how in ("close", "reset", "half"):
                leave(how, GET % b"/hang")
                leave(how, GET % b"/hang" + GET % b"/items/behind")
                leave(how, post(b"/hang", b"x" * 100000))
            for raw in (GET % b"/stream?n=100000&ms=1", GET % b"/stream?n=100000&size=10000"):
                c = s.connect()
                c.send(raw)
                c.until(b"data: ")
                c.s.close()
                s.until("active", 1)  # the one that asks
            self.assertEqual(s.counts()["cancelled"], 11)
            for raw in (b"GET /it", b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc"):
                c = s.connect()
                c.send(raw)
                s.until("active", 2)
                c.s.close()
                s.until("active", 1)
            self.assertEqual(s.counts()["bodies"], 0)
            self.assertEqual([x["status"] for x in s.lines() if x["path"] == "/hang"], [499] * 9)

    # If this fails, one who has only ended its own side, as nc does, gets no answer that was there at once.
    def test_half_closed_after_asking(self):
        with Server() as s, s.connect() as c:
            c.send(GET % b"/items/1" + GET % b"/items/2" + GET % b"/big?size=3000000" + GET % b"/items/4")
            c.s.shutdown(socket.SHUT_WR)
            got = [c.answer().body for _ in range(4)]
            self.assertEqual((got[0], got[1], len(got[2]), got[3]), (b"1", b"2", 3000000, b"4"))
            self.assertTrue(c.closed())

    # If this fails, a cut stream looks whole.
    def test_cut(self):
        with Server() as s:
            a = s.ask(GET % b"/cut")
            self.assertEqual((a.body, a.whole), (b"half", False))
            with s.connect() as c:
                c.send(b"GET /cut HTTP/1.0\r\n\r\n")
                with self.assertRaises(ConnectionResetError):
                    while c.s.recv(65536):
                        pass
            self.assertEqual([x.get("cut") for x in s.lines()], [True, True])

    # If this fails, a client that does not read costs memory without bound, or stops the others.
    def test_slow_reader(self):
        with Server("listen=127.0.0.1:0", "buffer=65536", "stall_ms=700") as s:
            before = s.memory_kb()
            c = s.connect()
            c.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            c.send(GET % b"/stream?n=20000&size=10000")  # 200 MB
            time.sleep(0.2)
            self.assertEqual(s.ask(GET % b"/items/x").body, b"x")
            self.assertLess(s.memory_kb() - before, 2000)
            sent = s.counts()["bytes_out"]
            begin = ticks = s.ticks()
            s.until("active", 1, seconds=3)  # nothing was read for 0.7 s
            self.assertLess(s.counts()["bytes_out"] - sent, 1000000)
            self.assertLess(s.ticks() - begin, 30, f"{ticks}: the loop spins while a client does not read")
            c.s.close()
            # one that reads in bursts is not cut, though it takes longer than that
            with s.connect() as c:
                c.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
                c.send(GET % b"/stream?n=600&size=10000")
                end = time.monotonic() + 1.5
                while time.monotonic() < end:
                    c.more()
                    time.sleep(0.02)
                a = c.answer()
                self.assertEqual((len(a.body), a.whole), (6000000, True))

    # If this fails, whoever sends slowly holds connections for nothing.
    def test_slow_senders(self):
        with Server("listen=127.0.0.1:0", "head_ms=400", "body_ms=400", "idle_ms=300") as s:
            def until_closed(raw, trickle):
                with s.connect() as c:
                    begin = time.monotonic()
                    c.send(raw)
                    c.s.settimeout(0.05)
                    while time.monotonic() - begin < 5:
                        try:
                            got = c.s.recv(1000)
                            c.buffer += got
                            if b"HTTP/1.1" in c.buffer or not got:
                                break
                        except socket.timeout:
                            if trickle:
                                c.send(trickle)
                    return time.monotonic() - begin, c.buffer[9:12]

            for raw, trickle, status in ((b"GET /items", b"x", b"408"),
                                         (b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n", b"x", b"408"),
                                         (b"", b"", b"")):
                took, got = until_closed(raw, trickle)
                self.assertEqual(got, status, raw)
                self.assertTrue(0.25 < took < 2, (raw, took))
            with s.connect() as c:  # a wait for an answer is no idleness
                c.send(GET % b"/later?ms=800")
                self.assertEqual(c.answer().body, b"later")
                self.assertTrue(c.closed(2))

    # If this fails, a front end with a pool of connections takes the server down, or its memory.
    def test_many_connections(self):
        with Server() as s:
            s.ask(GET % b"/items/x")
            before, files = s.memory_kb(), s.files()
            idle = [s.connect() for _ in range(1000)]
            for c in idle:
                c.send(GET % b"/items/x")
            for c in idle:
                c.answer()
            self.assertEqual(s.counts()["connections"], 1001)
            grown = (s.memory_kb() - before) * 1024 / 1000
            print(f"{grown:.0f} bytes of memory an idle connection")
            self.assertLess(grown, 2000 if not sanitized() else 10000)
            streams = [s.connect() for _ in range(50)]
            begin = time.monotonic()
            for c in streams:
                c.send(GET % b"/stream?n=40&ms=10")
            slowest = 0
            for _ in range(50):
                t = time.monotonic()
                self.assertEqual(s.ask(GET % b"/health").status, 200)
                slowest = max(slowest, time.monotonic() - t)
            for c in streams:
                self.assertEqual(c.answer().body.count(b"data: "), 40)
            print(f"50 streams beside 1,000 idle connections: {time.monotonic() - begin:.2f} s, /health {slowest * 1e3:.1f} ms at worst")
            idle[7].send(GET % b"/items/still")
            self.assertEqual(idle[7].answer().body, b"still")
            for c in idle + streams:
                c.s.close()
            s.until("connections", 1)
            self.assertEqual(s.files(), files)

    def test_too_many_connections(self):
        with Server("listen=127.0.0.1:0", "connections=3") as s:
            hang = [s.connect() for _ in range(3)]
            for c in hang:
                c.send(GET % b"/hang")
            time.sleep(0.1)
            with s.connect() as c:
                a = c.answer()
                self.assertEqual((a.status, a.headers["connection"], a.headers["retry-after"]), (503, "close", "1"))
            hang[0].s.close()
            time.sleep(0.1)
            kept = s.connect()
            kept.send(GET % b"/items/kept")
            self.assertEqual(kept.answer().body, b"kept")
            with s.connect() as c:
                self.assertEqual(c.answer().status, 503)  # it may be about to ask again
            time.sleep(1.1)  # idle for so long it gives way to who comes
            self.assertEqual(s.ask(GET % b"/items/new").body, b"new")
            self.assertTrue(kept.closed())
            for c in hang[1:] + [kept]:
                c.s.close()

    # If this fails, a leak ends the server after some days.
    def test_memory_is_flat(self):
        with Server() as s:
            rng = random.Random(3)

            def some(n):
                for _ in range(n):
                    with s.connect() as c:
                        c.send(GET % b"/items/x" + post(b"/echo", b"x" * rng.randint(0, 50000)) + GET % b"/stream?n=30&size=3000")
                        if rng.random() < 0.5:
                            c.exactly(rng.randint(1, 20000))

            some(300)
            s.until("connections", 1)
            before, files = s.memory_kb(), s.files()
            some(3000)
            s.until("connections", 1)
            grown = s.memory_kb() - before
            print(f"{grown} KB more after 3,000 connections")
            if not sanitized():
                self.assertLess(grown, 400)
            self.assertEqual(s.files(), files)


if __name__ == "__main__":
    main()
