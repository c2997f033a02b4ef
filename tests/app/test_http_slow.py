"""The server's HTTP against clients that send or take a byte now and then: they are cut, and meanwhile shut out nobody.

Runs against http_echo, a server made for it. Standard library alone.
"""
import concurrent.futures
import socket
import tempfile
import threading
import time
import unittest

from util_http import GET, Server, main, post, sanitized


class Senders(unittest.TestCase):
    # If this fails, a few half-sent requests, renewed now and then, take the server out of its front end's rotation.
    def test_half_sent_requests_give_way(self):
        half = (b"GET /items/ha", b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
        for raw in half:
            with Server("listen=127.0.0.1:0", "connections=6") as s:
                held = [s.connect() for _ in range(6)]
                for c in held:
                    c.send(raw)
                with s.connect() as c:
                    c.send(GET % b"/health")  # none of them is slow yet: what is quick is answered all the same,
                    a = c.answer()
                    self.assertEqual((a.status, a.body, a.headers["connection"]), (200, b"ok", "close"))
                    self.assertTrue(c.closed())
                with s.connect() as c:
                    c.send(GET % b"/items/x")  # and nothing else is
                    self.assertEqual(c.answer().status, 503)
                time.sleep(1.1)
                for k in range(6):  # the one that came first gives way first
                    self.assertEqual(s.ask(GET % b"/items/new").body, b"new")
                    while True:  # its slot is free again: take it, so that the next one finds none
                        held.append(s.connect())
                        held[-1].send(GET % b"/hang")
                        if s.counts()["gave_way"] > k:
                            break
                    self.assertTrue(held[k].closed(), k)
                self.assertEqual(s.counts()["gave_way"], 6)
                self.assertEqual({x["status"] for x in s.lines() if "gave way" in x.get("why", "")}, {499})
                for c in held:
                    c.s.close()

    # If this fails, a few bodies that never end take all memory that there is for bodies.
    def test_half_sent_bodies_give_way(self):
        half = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 120000\r\n\r\n" + b"x" * 100000
        with Server("listen=127.0.0.1:0", "memory=500000") as s:
            held = [s.connect() for _ in range(3)]
            for k, c in enumerate(held):
                c.send(half)
                s.until("bodies", 131072 * (k + 1))
            whole = post(b"/echo", b"y" * 120000)
            self.assertEqual(s.ask(whole).status, 503)  # none of them is slow yet
            time.sleep(1.1)
            self.assertEqual(s.ask(whole).body, b"y" * 120000)
            self.assertTrue(held[0].closed())
            self.assertEqual((s.counts()["gave_way"], s.counts()["bodies"]), (1, 2 * 131072))
            for c in held[1:]:  # as slow, and not in the way
                c.send(b"x" * 20000)
                self.assertEqual(len(c.answer().body), 120000)
            for c in held:
                c.s.close()

    # If this fails, requests that are honestly under way are ended for those that come.
    def test_requests_under_way_stay(self):
        with Server("listen=127.0.0.1:0", "connections=4") as s:
            held = [s.connect() for _ in range(4)]
            for c in held:
                c.send(GET % b"/later?ms=2500")
            time.sleep(1.2)
            for _ in range(100):  # more than there are spare ones
                with s.connect() as c:
                    c.send(GET % b"/health")
                    self.assertEqual(c.answer().status, 200)
            self.assertEqual(s.ask(GET % b"/items/x").status, 503)
            for c in held:
                self.assertEqual(c.answer().body, b"later")
                c.s.close()

    # If this fails, whoever opens connections faster than they end shuts out the probes.
    def test_a_flood_of_silent_connections(self):
        with Server("listen=127.0.0.1:0", "connections=4") as s:
            held = [s.connect() for _ in range(4)]
            for c in held:
                c.send(GET % b"/hang")
            s.until("hanging", 4)
            flood = [s.connect() for _ in range(200)]
            for _ in range(5):
                self.assertEqual(s.ask(GET % b"/health").body, b"ok")
                flood += [s.connect() for _ in range(100)]
            probe = s.connect()  # it takes a while to ask: those that came before it go first
            flood += [s.connect() for _ in range(20)]
            probe.send(GET % b"/health")
            self.assertEqual(probe.answer().body, b"ok")
            probe.s.close()
            silent = flood[-1]  # one that never asks is told why
            a = silent.answer()
            self.assertEqual((a.status, a.headers["retry-after"]), (503, "1"))
            s.until("connections", 5)  # the spare ones have gone
            for c in held + flood:
                c.s.close()


def read_slowly(c, rate, done):
    """Reads so many bytes a second."""
    try:
        while not done.is_set() and c.s.recv(max(1, rate // 20)):
            time.sleep(0.05)
    except OSError:
        pass


class Readers(unittest.TestCase):
    SMALL = (socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    # If this fails, a byte a minute is enough to hold an answer in memory for as long as one likes.
    def test_less_than_the_rate(self):
        with Server("listen=127.0.0.1:0", "stall_ms=1500", "read_rate=1000000") as s:
            done = threading.Event()
            for path in (b"/own?size=20000000", b"/stream?n=2000&size=10000"):
                before = s.counts()["too_slow"]
                c = s.connect()
                c.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
                c.send(GET % path)
                t = threading.Thread(target=read_slowly, args=(c, 200000, done))  # something in every window
                t.start()
                s.until("too_slow", before + 1, seconds=10)
                s.until("unread", 0)
                done.set()
                t.join()
                done.clear()
                c.s.close()
            self.assertEqual([x.get("cut") for x in s.lines()], [True, True])

    # If this fails, one who reads slowly, but as fast as is asked, loses the answer.
    def test_as_fast_as_the_rate(self):
        with Server("listen=127.0.0.1:0", "stall_ms=1000", "read_rate=20000") as s, s.connect() as c:
            c.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
            c.send(GET % b"/stream?n=2000&size=10000")
            end = time.monotonic() + 3.5
            while time.monotonic() < end:
                c.more()
                time.sleep(0.02)
            a = c.answer()
            self.assertEqual((len(a.body), a.whole, s.counts()["too_slow"]), (20000000, True, 0))

    # If this fails, a proxy behind a Unix socket is judged by whole buffers: cut although it reads as fast as is asked, or never.
    def test_a_unix_socket_is_judged_by_bytes(self):
        head = {b"/own?size=3000000": b"Content-Length: 3000000", b"/stream?n=10000&size=300": b"Transfer-Encoding: chunked"}

        def cut(path, rate):
            """Was who reads so fast cut off? Who was not has the rest at once, and it is whole."""
            with tempfile.TemporaryDirectory() as d, Server(f"listen=unix:{d}/s", "stall_ms=1000", "read_rate=8000") as s, s.connect() as c:
                c.send(GET % path)
                c.until(b"\r\n\r\n")
                start, read = time.monotonic(), 0
                while time.monotonic() < start + 4.5: # by the clock: a busy machine may sleep for longer
                    due = int(rate * (time.monotonic() - start)) - read
                    c.buffer += c.received(due)
                    read += due
                    time.sleep(0.05)
                if s.counts()["too_slow"]:
                    return True
                c.buffer[:0] = b"HTTP/1.1 200 OK\r\n" + head[path] + b"\r\n\r\n"
                return len(c.answer().body) != 3000000

        cases = [(path, rate) for path in head for rate in (16000, 4000)]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            self.assertEqual(list(pool.map(lambda x: cut(*x), cases)), [rate < 8000 for _, rate in cases])

    # If this fails, what waits for slow readers is no part of what bounds the server's memory.
    def test_unread_answers_count(self):
        with Server("listen=127.0.0.1:0", "memory=20000000") as s:
            held = []
            for k in range(1, 4):
                c = s.connect()
                c.s.setsockopt(*self.SMALL)
                c.send(GET % b"/big?size=8000000")
                c.until(b"\r\n\r\n")
                held.append(c)
                self.assertGreater(s.counts()["unread"], k * 8000000)
            a = s.ask(post(b"/echo", b"x"))
            self.assertEqual((a.status, "max_memory" in a.error()["message"]), (503, True))
            self.assertEqual(s.ask(GET % b"/items/x").status, 200)  # who brings no body is no burden
            for c in held:
                c.s.close()
            s.until("unread", 0)
            self.assertEqual(s.ask(post(b"/echo", b"x")).body, b"x")

    # If this fails, an answer's memory stays until the last byte of it is read.
    def test_memory_goes_as_it_is_read(self):
        with Server("listen=127.0.0.1:0") as s, s.connect() as c:
            before = s.memory_kb()
            c.send(GET % b"/own?size=60000000")
            self.assertIn(b"Content-Length: 60000000", c.until(b"\r\n\r\n"))
            self.assertGreater(s.counts()["unread"], 50000000)
            c.exactly(45000000)
            self.assertLess(s.counts()["unread"], 30000000)  # of 64 MiB
            if not sanitized():
                self.assertLess(s.memory_kb() - before, 30000)
            c.exactly(15000000)
            s.until("unread", 0)

    # If this fails, a large answer to a fast reader keeps the loop from all others: it leaves in parts.
    def test_a_large_answer_is_whole(self):
        with Server("listen=127.0.0.1:0") as s, s.connect() as c:
            for _ in range(2):
                c.send(GET % b"/own?size=9000000" + GET % b"/items/behind")
                self.assertEqual(c.answer().body, b"b" * 9000000)
                self.assertEqual(c.answer().body, b"behind")
            turns = s.counts()["turns"]
            c.send(GET % b"/big?size=9000000")
            self.assertEqual(len(c.answer().body), 9000000)
            self.assertGreater(s.counts()["turns"] - turns, 30)


if __name__ == "__main__":
    main()
