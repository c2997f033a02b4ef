"""What the server's HTTP refuses, asked with raw sockets; each refusal ends the connection.

Runs against http_echo, a server made for it. Standard library alone.
"""
import random
import socket
import unittest

from util_http import GET, Server, main, post


class Refused(unittest.TestCase):
    """Each of these ends the connection, so that what follows it is never taken for a request."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    SMUGGLED = b"GET /items/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"

    def refused(self, status, raw, name=None):
        with self.server.connect() as c:
            c.send(raw + self.SMUGGLED)
            a = c.answer()
            self.assertEqual(a.status, status, (name or raw[:90], a.body))
            self.assertEqual(a.headers["connection"], "close", raw[:90])
            self.assertEqual(a.error()["code"], status)
            self.assertTrue(c.closed(), f"{name or raw[:90]}: something follows: {c.buffer[:300]!r}")

    # If one of these passes, a proxy and this server may disagree on where a request ends.
    def test_smuggling(self):
        def with_headers(*lines, body=b"0\r\n\r\n"):
            return b"POST /echo HTTP/1.1\r\nHost: localhost\r\n" + b"".join(x + b"\r\n" for x in lines) + b"\r\n" + body

        chunked = b"Transfer-Encoding: chunked"
        for status, raw in [
            (400, with_headers(b"Content-Length: 5", chunked)),
            (400, with_headers(chunked, b"Content-Length: 5")),
            (400, with_headers(b"Content-Length: 0", b"Content-Length: 45")),
            (400, with_headers(b"Content-Length: 5", b"Content-Length: 5")),
            (400, with_headers(b"Content-Length: 5, 5")),
            (400, with_headers(b"Content-Length: +5")),
            (400, with_headers(b"Content-Length: -5")),
            (400, with_headers(b"Content-Length: 0x5")),
            (400, with_headers(b"Content-Length: 5 5")),
            (400, with_headers(b"Content-Length: ")),
            (400, with_headers(b"Content-Length: 99999999999999999999")),
            (400, with_headers(b"Content-Length : 5")),
            (400, with_headers(b"Content-Length\t: 5")),
            (400, with_headers(b" Content-Length: 5")),
            (400, with_headers(b"X: 1", b" folded")),
            (400, with_headers(b"X: 1", b"\tfolded")),
            (400, with_headers(b"no colon")),
            (400, with_headers(b": empty name")),
            (400, with_headers(b"X\x00Y: 1")),
            (400, with_headers(b"X: a\x00b")),
            (400, with_headers(b"X: a\rb")),
            (400, with_headers(b"X: a\x01b")),
            (400, with_headers(b"X: a\x7fb")),
            (400, with_headers(b"X\xff: 1")),
            (400, with_headers(b"X(Y): 1")),
            (501, with_headers(chunked, chunked)),
            (501, with_headers(b"Transfer-Encoding: gzip, chunked")),
            (501, with_headers(b"Transfer-Encoding: chunked, chunked")),
            (501, with_headers(b"Transfer-Encoding: identity")),
            (501, with_headers(b"Transfer-Encoding: xchunked")),
            (501, with_headers(b"Transfer-Encoding: chunked;q=1")),
            (501, with_headers(b"Transfer-Encoding: \"chunked\"")),
            (501, with_headers(b"Transfer-Encoding: ")),
            (400, with_headers(chunked).replace(b"HTTP/1.1", b"HTTP/1.0")),
            (417, with_headers(b"Expect: 200-ok")),
            (400, with_headers(b"Upgrade: websocket", b"Connection: Upgrade")),
            (400, with_headers(b"Authorization: Bearer a", b"Authorization: Bearer b")),
            # line ends
            (400, b"GET /items/x HTTP/1.1\nHost: localhost\n\n"),
            (400, b"GET /items/x HTTP/1.1\r\nHost: localhost\n\r\n"),
            (400, b"GET /items/x HTTP/1.1\r\nHost: localhost\r\n\n"),
            (400, b"GET /items/x HTTP/1.1\r\nHost: localhost\r\n\rX"),
            (400, b"GET /items/x HTTP/1.1\rHost: localhost\r\r"),
            (400, b"\r\n\r\nGET /items/x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            (400, b"\nGET /items/x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            # chunks
            *[(400, with_headers(chunked, body=b)) for b in (
                b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhello!\r\n0\r\n\r\n",
                b"5 \r\nhello\r\n0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n",
                b"-1\r\nhello\r\n0\r\n\r\n", b"5g\r\nhello\r\n0\r\n\r\n", b"\r\n\r\n", b"fffffffffffffffff\r\nx", b"5;\r\nhello\r\n0\r\n\r\n",
                b"5;a=\r\nhello\r\n0\r\n\r\n", b"5;a b\r\nhello\r\n0\r\n\r\n", b"5;a=\"b\r\nhello\r\n0\r\n\r\n",
                b"5;a\x00\r\nhello\r\n0\r\n\r\n", b"5;a\nb\r\nhello\r\n0\r\n\r\n", b"5;a\rb\r\nhello\r\n0\r\n\r\n",
                b"0\r\nX : 1\r\n\r\n", b"0\r\nX: 1\r\n folded\r\n\r\n", b"0\r\nX: 1\n\r\n", b"0\r\nno colon\r\n\r\n", b"0\r\n\rX")],
        ]:
            self.refused(status, raw)

    def test_request_lines(self):
        for status, line in [
            (400, b"GET  /items/x HTTP/1.1"), (400, b"GET /items/x  HTTP/1.1"), (400, b"GET /items/x HTTP/1.1 "),
            (400, b" GET /items/x HTTP/1.1"), (400, b"GET\t/items/x HTTP/1.1"), (400, b"GET /items/x"), (400, b"GET"),
            (400, b"GET /items/x HTTQ/1.1"), (400, b"GET /items/x http/1.1"), (400, b"GET /items/x HTTP/1.11"),
            (505, b"GET /items/x HTTP/2.0"), (505, b"GET /items/x HTTP/1.2"), (505, b"GET /items/x HTTP/0.9"),
            (505, b"PRI * HTTP/2.0"), (400, b"G(T /items/x HTTP/1.1"), (405, b"get /items/x HTTP/1.1"),
            (405, b"QUERY /items/x HTTP/1.1"), (405, b"TRACE /items/x HTTP/1.1"), (405, b"CONNECT localhost:80 HTTP/1.1"),
            (400, b"GET items/x HTTP/1.1"), (400, b"GET * HTTP/1.1"), (400, b"GET localhost:80 HTTP/1.1"),
            (400, b"GET http://other/items/x HTTP/1.1"), (400, b"GET http:///items/x HTTP/1.1"),
            (400, b"GET http://a@localhost/items/x HTTP/1.1"), (400, b"GET ftp://localhost/items/x HTTP/1.1"),
            (400, b"GET /items/x#y HTTP/1.1"), (400, b"GET /items/\xc3\xa4 HTTP/1.1"), (400, b"GET /items/%zz HTTP/1.1"),
            (400, b"GET /items/%0 HTTP/1.1"), (400, b"GET /items/%00 HTTP/1.1"), (400, b"GET /items/\x00 HTTP/1.1"),
            (400, b"GET /items\\x HTTP/1.1"), (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ]:
            self.refused(status, line + b"\r\nHost: localhost\r\n\r\n")

    # If this fails, a page whose name resolves to 127.0.0.1 can ask a server on its visitor's machine.
    def test_host(self):
        def ask(*hosts):
            return b"GET /items/x HTTP/1.1\r\n" + b"".join(b"Host: %s\r\n" % h for h in hosts) + b"\r\n"

        for hosts in ((), (b"localhost", b"localhost"), (b"",), (b"a b",), (b"localhost:",), (b"localhost:99999",),
                      (b"localhost:8x",), (b"a/b",), (b"user@localhost",), (b"[::1",), (b"[zz]",), (b"localhost, localhost",), (b":80",)):
            self.refused(400, ask(*hosts))
        for host in (b"evil.example", b"127.0.0.1.evil.example", b"127.evil.example", b"localhost.evil.example", b"10.0.0.1",
                     b"xlocalhost", b"[::2]", b"evil.example:8000"):
            self.refused(421, ask(host))
        for host in (b"localhost", b"LOCALHOST:1", b"127.0.0.1:8000", b"127.1.2.3", b"[::1]:80", b"a.localhost"):
            self.assertEqual(self.server.ask(ask(host)).status, 200, host)
        with Server("listen=127.0.0.1:0", "host=evil.example") as s:
            self.assertEqual(s.ask(ask(b"evil.example:80")).status, 200)
            self.assertEqual(s.ask(ask(b"evil2.example:80")).status, 421)

    # If this fails, a client decides how much memory the server takes.
    def test_too_long(self):
        self.refused(414, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.refused(414, b"G" * 9000)
        self.refused(431, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 40000 + b"\r\n\r\n")
        self.refused(431, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * 100 + b"\r\n")
        self.assertEqual(self.server.ask(b"GET /items/x HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * 99 + b"\r\n").status, 200)
        self.refused(413, b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4194305\r\n\r\n")
        self.refused(413, b"POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 4194305\r\n\r\n")
        # a client that sends on all the same can still read why: no reset overtakes the answer
        self.refused(413, b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 8000000, "a long body")
        chunked = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.refused(413, chunked + b"400001\r\n", "a chunk above the cap, none of it sent")
        self.refused(413, chunked + b"400001\r\n" + b"x" * 0x400001 + b"\r\n0\r\n\r\n", "a chunk above the cap")
        self.refused(413, chunked + (b"100000\r\n" + b"x" * 0x100000 + b"\r\n") * 5 + b"0\r\n\r\n", "chunks above the cap")
        self.refused(413, chunked + b"1;" + b"a" * 2000 + b"\r\nx\r\n0\r\n\r\n")
        self.refused(413, chunked + (b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 100, "extensions without end")
        self.refused(413, chunked + b"0\r\n" + b"X: 1\r\n" * 7000, "trailers without end")
        self.assertEqual(self.server.ask(chunked + b"1\r\nx\r\n" * 50000 + b"0\r\n\r\n").body, b"x" * 50000)
        self.assertEqual(self.server.counts()["bodies"], 0)
        with Server("listen=127.0.0.1:0", "memory=200000") as s:
            c, d = s.connect(), s.connect()
            c.send(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n\r\n" + b"x" * 80000)
            s.until("bodies", 131072)  # what its buffer takes
            # of seven eighths, 175,000, the rest is less: refused before it is read
            d.send(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n")
            a = d.answer()
            self.assertEqual((a.status, a.headers["retry-after"], a.headers["connection"]), (503, "1", "close"))
            # one that says nothing of its size, when it has come that far
            self.assertEqual(s.ask(chunked + b"ea60\r\n" + b"y" * 60000 + b"\r\n0\r\n\r\n").status, 503)
            self.assertEqual(s.ask(post(b"/echo", b"z" * 1000)).status, 200)
            self.assertEqual(s.counts()["no_room"], 2)
            c.send(b"x" * 10000)
            self.assertEqual(c.answer().status, 200)
            c.s.close()
            d.s.close()
            s.until("bodies", 0)

    # If this fails, bytes from anywhere crash the server, or what it does depends on how they are cut.
    def test_random_bytes(self):
        seed = 20261126
        print("seed", seed)
        rng = random.Random(seed)
        seeds = [GET % b"/items/x", post(b"/echo", b"abc"), b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                 b"5;a=b\r\nhello\r\n0\r\nX: 1\r\n\r\n", b"HEAD /stream?n=3 HTTP/1.0\r\n\r\n"]
        words = [b"\r\n", b"\n", b"\r", b"\x00", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b" ", b"0\r\n\r\n", b":", b"\xff"]
        for _ in range(400):
            raw = bytearray(b"".join(rng.choice(seeds) for _ in range(rng.randint(1, 4))))
            for _ in range(rng.randint(0, 4)):
                at = rng.randint(0, len(raw))
                raw[at:at + rng.randint(0, 3)] = rng.choice(words) if rng.random() < 0.7 else rng.randbytes(rng.randint(1, 20))
            with self.server.connect() as c:
                try:
                    at = 0
                    while at < len(raw):
                        n = rng.choice((1, 7, 50, 1000))
                        c.send(bytes(raw[at:at + n]))
                        at += n
                    c.s.shutdown(socket.SHUT_WR)
                    while c.more():
                        pass
                except OSError:  # it was closed on
                    pass
        self.assertEqual(self.server.ask(GET % b"/items/alive").body, b"alive")
        self.server.until("active", 1)
        self.assertIsNone(self.server.p.poll())


if __name__ == "__main__":
    main()
