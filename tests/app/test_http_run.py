"""The server around its HTTP: idle, drain, keys, CORS, log, addresses, socket activation.

Runs against http_echo, a server made for it. Standard library alone.
"""
import os
import random
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from util_http import ECHO, GET, Client, Server, main, post


class Running(unittest.TestCase):
    # If this fails, an idle server heats its machine.
    def test_idle_takes_no_time(self):
        with Server() as s:
            with s.connect() as c:
                c.send(GET % b"/items/x")
                c.answer()
                a, turns = s.ticks(), s.counts()["turns"]
                time.sleep(1.5)
                self.assertLessEqual(s.ticks() - a, 1)  # one that had begun may end in here
                self.assertLessEqual(s.counts()["turns"] - turns, 8)  # of the two that ask, and no timer
            time.sleep(0.05)
            a, turns = s.ticks(), s.counts()["turns"]
            time.sleep(0.5)  # the same with nobody there
            self.assertLessEqual(s.ticks() - a, 1)
            self.assertLessEqual(s.counts()["turns"] - turns, 8)

    # If this fails, a rollout loses requests that were taken.
    def test_drain_under_load(self):
        with Server("listen=127.0.0.1:0", "drain_ms=5000") as s:
            done, lock, stop = [], threading.Lock(), threading.Event()

            def client(k):
                rng = random.Random(k)
                try:
                    c = s.connect()
                except OSError:
                    return
                while not stop.is_set():
                    path = rng.choice((b"/later?ms=30", b"/stream?n=5&ms=5", b"/items/x", b"/big?size=400000"))
                    try:
                        c.send(GET % path)
                    except OSError:  # it was closed before it was asked
                        return
                    try:
                        a = c.answer()
                        kind = "full" if a.status == 200 and a.whole else "error" if a.status == 503 else "broken"
                    except (EOFError, OSError) as e:
                        kind = f"lost: {e}"
                        a = None
                    with lock:
                        done.append(kind)
                    if a is None or a.headers.get("connection") == "close":
                        c.s.close()
                        try:
                            c = s.connect()
                        except OSError:
                            return

            threads = [threading.Thread(target=client, args=(k,)) for k in range(16)]
            for t in threads:
                t.start()
            time.sleep(0.4)
            begin = time.monotonic()
            self.assertEqual(s.stop(), 0)
            took = time.monotonic() - begin
            stop.set()
            for t in threads:
                t.join()
            self.assertGreater(done.count("full"), 50)
            self.assertEqual(set(done) - {"full", "error"}, set())
            self.assertLess(took, 4)

    def test_drain_in_steps(self):
        with Server("listen=127.0.0.1:0", "drain_delay_ms=500", "drain_ms=600") as s:
            kept, hang, stream, later = (s.connect() for _ in range(4))
            kept.send(GET % b"/items/x")
            kept.answer()
            hang.send(GET % b"/hang")
            later.send(GET % b"/later?ms=700")
            stream.send(GET % b"/stream?n=100000&ms=5")
            stream.until(b"\r\n\r\n")
            s.until("hanging", 1)
            begin = time.monotonic()
            s.p.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            self.assertEqual(s.ask(GET % b"/health").status, 503)  # told to the front end, while all still goes on
            kept.send(GET % b"/items/y")
            a = kept.answer()
            self.assertEqual((a.body, a.headers["connection"]), (b"y", "close"))
            time.sleep(0.5)
            with self.assertRaises(OSError):
                s.connect()
            self.assertEqual(later.answer().body, b"later")
            a = hang.answer()  # its time is over
            self.assertEqual(a.status, 503)
            stream.buffer[:0] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            a = stream.answer()
            self.assertTrue(a.whole)
            self.assertTrue(a.body.endswith(b"closing"))
            for c in (kept, hang, stream, later):
                c.s.close()
            self.assertEqual(s.p.wait(timeout=5), 0)
            self.assertTrue(1.0 < time.monotonic() - begin < 3)

    # If this fails, a request that was on its way when the server was told to stop ends without a word.
    def test_request_on_its_way(self):
        with Server() as s, s.connect() as c:
            c.send(GET % b"/items/x")
            c.answer()
            s.p.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            c.send(GET % b"/items/y")
            a = c.answer()
            self.assertEqual((a.status, a.headers["connection"]), (503, "close"))
            c.s.close()
            self.assertEqual(s.p.wait(timeout=3), 0)

    def test_second_signal_ends_it(self):
        with Server() as s, s.connect() as c:
            c.send(GET % b"/hang")
            s.until("hanging", 1)
            s.p.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            s.p.send_signal(signal.SIGTERM)
            c.answer()
            c.s.close()
            self.assertEqual(s.p.wait(timeout=3), 0)

    # If this fails, a server that is out of descriptors spins, or never comes back.
    def test_out_of_descriptors(self):
        with Server(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))) as s:
            clients = [s.connect() for _ in range(50)]  # the last ones wait in the backlog
            time.sleep(0.3)
            a = s.ticks()
            time.sleep(0.5)
            self.assertLess(s.ticks() - a, 5)
            for c in clients[:30]:
                c.s.close()
            for c in clients[30:]:
                c.send(GET % b"/items/x")
                self.assertEqual(c.answer().body, b"x")
                c.s.close()

    # If this fails, a key is guessed, told or not asked for.
    def test_keys(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "keys")
            with open(path, "w") as f:
                f.write("# two keys\nsk-first-0001\n\nsk-second-0002  \r\n")
            with Server("listen=127.0.0.1:0", "keys=" + path) as s:
                for header in (b"Authorization: Bearer sk-first-0001", b"authorization: bearer   sk-second-0002", b"X-Api-Key: sk-first-0001"):
                    self.assertEqual(s.ask(post(b"/echo", b"", header)).status, 200, header)
                for header in (b"X: 1", b"Authorization: Bearer sk-first-000", b"Authorization: Bearer sk-first-00011", b"Authorization: Bearer",
                               b"Authorization: Basic sk-first-0001", b"Authorization: sk-first-0001", b"X-Api-Key: ", b"X-Api-Key: # two keys",
                               b"Authorization: Bearer nobody-knows\r\nX-Api-Key: sk-first-0001"):
                    a = s.ask(post(b"/echo", b"", header))
                    self.assertEqual((a.status, a.headers["www-authenticate"]), (401, "Bearer"), header)
                self.assertEqual(s.ask(GET % b"/nothing").status, 401)  # what is there is nobody's business
                self.assertEqual(s.ask(b"PUT /echo HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 401)
                self.assertEqual(s.ask(GET % b"/health").status, 200)
                # before the body: nobody unknown makes the server hold one
                with s.connect() as c:
                    c.send(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
                    self.assertEqual(c.answer().status, 401)
                self.assertNotIn("sk-", s.logged())
                self.assertNotIn("nobody-knows", s.logged())
            for text, words in (("short\n", "line 1"), ("sk-first-0001\nkey with blanks\n", "line 2"), ("# none\n", "no key")):
                with open(path, "w") as f:
                    f.write(text)
                p = subprocess.run([ECHO, "listen=127.0.0.1:0", "keys=" + path], capture_output=True, timeout=20)
                self.assertIn(words, p.stderr.decode())
                self.assertNotIn(text.split("\n")[0] if text[0] != "#" else "\n# none", p.stderr.decode())

    def test_cors(self):
        with Server("listen=127.0.0.1:0", "origin=https://app.example") as s:
            raw = b"OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: %s\r\nAccess-Control-Request-Method: POST\r\n\r\n"
            a = s.ask(raw % b"https://app.example")
            self.assertEqual(a.headers["access-control-allow-origin"], "https://app.example")
            self.assertIn("POST", a.headers["access-control-allow-methods"])
            self.assertNotIn("access-control-allow-origin", s.ask(raw % b"https://app.example.evil").headers)
            a = s.ask(post(b"/echo", b"", b"Origin: https://app.example"))
            self.assertEqual((a.headers["access-control-allow-origin"], a.headers["vary"]), ("https://app.example", "Origin"))

    def test_access_log(self):
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        with Server() as s:
            s.ask(post(b"/echo?key=secret", b"abcde", b"X-Request-Id: one", b"traceparent: " + trace.encode()))
            s.ask(post(b"/echo", b"", b"traceparent: nonsense"))
            s.ask(GET % b"/health")
            s.ask(b"GET /\x01 HTTP/1.1\r\n\r\n")
            s.ask(GET % b"/nothing/%22quoted%22")
            lines = s.lines()
            self.assertEqual([(x["method"], x["path"], x["status"]) for x in lines],
                             [("POST", "/echo", 200), ("POST", "/echo", 200), (None, None, 400), ("GET", "/nothing/%22quoted%22", 404)])
            self.assertEqual((lines[0]["id"], lines[0]["traceparent"], lines[0]["bytes"], lines[0]["note"]), ("one", trace, 5, 1))
            self.assertRegex(lines[0]["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
            self.assertRegex(lines[0]["peer"], r"^127\.0\.0\.1:\d+$")
            self.assertNotIn("traceparent", lines[1])
            self.assertIn("control character", lines[2]["why"])
            self.assertNotIn("secret", s.logged())

    # If this fails, a log that nobody reads stops the server.
    def test_log_that_nobody_reads(self):
        r, w = os.pipe()
        p = subprocess.Popen([ECHO, "listen=127.0.0.1:0"], stdout=subprocess.PIPE, stderr=w)
        os.close(w)
        try:
            host, port = p.stdout.readline().decode().strip().rsplit(":", 1)
            c = Client(socket.create_connection((host, int(port)), timeout=20))
            for _ in range(20):
                c.send(GET % b"/items/x" * 200)
                for _ in range(200):
                    c.answer()
            c.s.close()
            p.send_signal(signal.SIGTERM)
            self.assertEqual(p.wait(timeout=5), 0)
        finally:
            p.kill()
            p.wait()
            p.stdout.close()
            os.close(r)

    def test_unix_socket(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "s.sock")
            with Server("listen=unix:" + path) as s:
                self.assertEqual(os.stat(path).st_mode & 0o777, 0o660)
                self.assertEqual(s.address, "unix:" + path)
                # no name resolves to it, so any host may be asked for
                self.assertEqual(s.ask(b"GET /items/u HTTP/1.1\r\nHost: any.example\r\n\r\n").body, b"u")
                c = s.connect()
                c.send(GET % b"/hang")
                s.until("hanging", 1)
                c.s.close()
                s.until("hanging", 0)
                p = subprocess.run([ECHO, "listen=unix:" + path], capture_output=True, timeout=20)
                self.assertIn("another server answers there", p.stderr.decode())
                self.assertEqual(s.lines()[0]["peer"], "unix")
                s.p.kill()  # what it leaves is replaced
                s.p.wait()
                self.assertTrue(os.path.exists(path))
                with Server("listen=unix:" + path, "unix_mode=0600") as t:
                    self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
                    self.assertEqual(t.ask(GET % b"/items/u").body, b"u")
                    self.assertEqual(t.stop(), 0)
                self.assertFalse(os.path.exists(path))
                with open(path, "w") as f:
                    f.write("a file")
                p = subprocess.run([ECHO, "listen=unix:" + path], capture_output=True, timeout=20)
                self.assertIn("no socket lies there", p.stderr.decode())

    def test_addresses(self):
        for address, words in (("127.0.0.1", "HOST:PORT"), ("127.0.0.1:65536", "HOST:PORT"), ("127.0.0.1:x", "HOST:PORT"),
                               ("256.0.0.1:0", "256.0.0.1:0"), ("unix:", "1 to 107"), ("unix:/" + "x" * 200, "1 to 107")):
            p = subprocess.run([ECHO, "listen=" + address], capture_output=True, timeout=60)
            self.assertEqual(p.returncode, 1, address)
            self.assertIn(words, p.stderr.decode())
        with Server("listen=127.0.0.1:0", "listen=127.0.0.2:0") as s:
            other = s.p.stdout.readline().decode().strip()
            with s.connect(other) as c:
                c.send(GET % b"/items/o")
                self.assertEqual(c.answer().body, b"o")
            p = subprocess.run([ECHO, "listen=" + s.address], capture_output=True, timeout=20)
            self.assertIn("in use", p.stderr.decode())

    def test_socket_activation_and_notify(self):
        with tempfile.TemporaryDirectory() as d:
            notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            notify.bind(os.path.join(d, "notify"))
            notify.settimeout(10)
            tcp, unix = socket.socket(), socket.socket(socket.AF_UNIX)
            tcp.bind(("127.0.0.1", 0))
            unix.bind(os.path.join(d, "s.sock"))
            for s in (tcp, unix):
                s.listen(5)
            read, write = os.pipe()

            def launch(fds, pid=None, count=None):
                child = os.fork()
                if child == 0:
                    try:
                        kept = [os.dup(fd) for fd in fds]  # above those that they become
                        for i, fd in enumerate(kept):
                            os.dup2(fd, 40 + i)
                        os.dup2(write, 1)
                        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                        for i in range(len(fds)):
                            os.dup2(40 + i, 3 + i)
                        env = dict(os.environ, LISTEN_FDS=str(count or len(fds)), LISTEN_PID=str(pid or os.getpid()),
                                   NOTIFY_SOCKET=os.path.join(d, "notify"))
                        os.execve(ECHO, [ECHO, "inherit=1"], env)
                    finally:
                        os._exit(99)
                return child

            def exit_of(child):
                for _ in range(500):
                    pid, status = os.waitpid(child, os.WNOHANG)
                    if pid:
                        return os.waitstatus_to_exitcode(status)
                    time.sleep(0.02)
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return "it runs on"

            child = launch([tcp.fileno(), unix.fileno()])
            self.assertEqual(notify.recv(100), b"READY=1")
            said = os.read(read, 1000).decode().split()
            self.assertEqual(said, ["127.0.0.1:%d" % tcp.getsockname()[1], "unix:" + os.path.join(d, "s.sock")])
            for s in (tcp, unix):
                c = Client(socket.socket(s.family))
                c.s.settimeout(10)
                c.s.connect(s.getsockname())
                c.send(GET % b"/items/a")
                self.assertEqual(c.answer().body, b"a")
                c.s.close()
            os.kill(child, signal.SIGTERM)
            self.assertEqual(notify.recv(100), b"STOPPING=1")
            self.assertEqual(exit_of(child), 0)
            self.assertTrue(os.path.exists(os.path.join(d, "s.sock")))  # systemd's, not ours
            for args in (([tcp.fileno()], 1), ([write],)):  # another process is meant; a pipe is no listener
                self.assertEqual(exit_of(launch(*args)), 1)
            for s in (tcp, unix, notify):
                s.close()
            os.close(read)
            os.close(write)


if __name__ == "__main__":
    main()
