"""The server's memory and its threads: what is read and written beside the loop, the budget that all of it counts in, and who is
told that there is no room, now or ever."""
import json
import random
import signal
import socket
import threading
import time
import unittest

from util_cli import BIN
from util_http import sanitized
from util_serve import Serve, alignment, body, events, long, main, novelty, slow

PATH = "/v1/completions"
LONG = {"prompt": "the night", "max_tokens": 2500, "ignore_eos": True, "seed": 1}  # seconds of work
SLOW = ("--novelty", slow(), "--alignment", "none", "--kv-pool", "1G", "--threads", 1)
FAST = ("--novelty", long(), "--alignment", "none", "--kv-pool", "1G", "--threads", 1)
KINDS = ("bodies", "parsed", "answers", "unread")
DONE = 'vllm:request_success_total{model_name="long",engine="0",finished_reason="length"}'
MANY = 30 if sanitized(BIN) else 120  # tokens of a large answer


def large(prompts):
    """Seconds of JSON: every token with twenty others."""
    return {"prompt": [f"the night {k}" for k in range(prompts)], "n": 64, "max_tokens": MANY, "logprobs": 20, "ignore_eos": True, "seed": 1}


def held(s):
    m = s.metrics()
    return {k: float(m['forkcast_memory_bytes{kind="%s"}' % k]) for k in KINDS}


def until_empty(s):
    """Nothing is under way, and nothing is counted any more."""
    for name in ("forkcast_calls", "forkcast_requests", "forkcast_requests_candidates", "forkcast_bodies_unread"):
        s.until(name, 0, seconds=30)
    for k in KINDS:
        s.until('forkcast_memory_bytes{kind="%s"}' % k, 0)


class Beside(unittest.TestCase):
    # If this fails, one client's large answer is everybody's wait: the loop makes it.
    def test_large_answers_are_written_beside_the_loop(self):
        with Serve(*FAST) as s:
            c = s.connect()
            c.send(body(PATH, large(3)))
            seen = 0  # times that the loop answered while an answer that is drawn was not written yet
            with s.connect() as other:
                while True:
                    other.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    m = dict(x.rsplit(" ", 1) for x in other.answer().body.decode().splitlines() if x[0] != "#")
                    if float(m[DONE]) == 3 and float(m["forkcast_calls"]) == 0:
                        break
                    seen += float(m[DONE]) == 3
            self.assertGreater(seen, 3)
            a = json.loads(c.answer().body)
            self.assertEqual([x["index"] for x in a["choices"]], list(range(192)))
            self.assertEqual({len(x["logprobs"]["tokens"]) for x in a["choices"]}, {MANY})
            c.s.close()
            until_empty(s)

    # If this fails, a large body is everybody's wait: the loop reads it.
    def test_bodies_are_read_beside_the_loop(self):
        with Serve("--novelty", novelty(), "--alignment", "none") as s:
            text = json.dumps({"prompt": "x", "max_tokens": 1, "ignored": [0] * 500000}).encode()
            cs = [s.connect() for _ in range(8)]
            for c in cs:
                c.send(body(PATH, text))
            seen, answered, end = 0, 0, time.monotonic() + 100
            while answered < 8 and time.monotonic() < end:
                m = s.metrics()
                seen += float(m['forkcast_memory_bytes{kind="parsed"}']) > 0  # the loop answers while a tree is there
                answered = float(m.get('http_requests_total{handler="/v1/completions",method="POST",status="200"}', 0))
            for c in cs:
                self.assertEqual(c.answer().status, 200)
                c.s.close()
            self.assertGreater(seen, 0)
            until_empty(s)

    # If this fails, what is quick overtakes what was asked before it on the same connection.
    def test_order_on_a_connection(self):
        with Serve("--novelty", novelty(), "--alignment", alignment()) as s, s.connect() as c:
            asks = [("/tokenize", {"prompt": "ab " * 20000}), (PATH, {"prompt": "abc", "max_tokens": 3, "seed": 7}), (PATH, {"prompt": "x", "n": 0}),
                    ("/detokenize", {"tokens": [5, 6]}), (PATH, {"prompt": "abc", "max_tokens": 3, "stream": True}), ("/tokenize", {"prompt": 3}),
                    ("/rerank", {"query": "a", "documents": ["b", "c"]}), ("/tokenize", {"prompt": "z"})]
            c.send(b"".join(body(path, ask, b"X-Request-Id: ask-%d" % i) for i, (path, ask) in enumerate(asks)))
            got = [c.answer() for _ in asks]
            self.assertEqual([a.headers["x-request-id"] for a in got], [f"ask-{i}" for i in range(len(asks))])
            self.assertEqual([a.status for a in got], [200, 200, 400, 200, 200, 400, 200, 200])
            self.assertGreater(json.loads(got[0].body)["count"], 20000)
            self.assertEqual(events(got[4])[-1]["choices"][0]["finish_reason"] in ("stop", "length"), True)

    # If this fails, an event that comes before its request is known is lost, and its client waits for ever.
    def test_events_that_come_early(self):
        with Serve("--novelty", novelty(), "--alignment", alignment()) as s:
            for stream in (False, True):
                for k in range(10):
                    ask = {"prompt": [f"p{k} {i}" for i in range(64)], "max_tokens": 1 + k % 2, "ignore_eos": True, "stream": stream}
                    a = s.post(PATH, ask)
                    choices = [x for e in events(a) for x in e["choices"] if x["finish_reason"]] if stream else json.loads(a.body)["choices"]
                    self.assertEqual(sorted(x["index"] for x in choices), list(range(64)))
            until_empty(s)

    # If this fails, a client that goes while another thread has its request crashes the server, or what it held stays.
    def test_clients_that_go_at_any_time(self):
        rng = random.Random(5)
        junk = [0] * 100000
        with Serve("--novelty", long(), "--alignment", "none", "--kv-pool", "1G", "--access-log=false") as s:
            for k in range(80 if sanitized(BIN) else 250):
                c = s.connect()
                kind = k % 4
                if kind == 0:
                    c.send(body(PATH, {"prompt": ["x"] * 20, "n": 16, "max_tokens": 40, "logprobs": 5, "ignored": junk}))
                elif kind == 1:
                    c.send(body(PATH, {"prompt": "x", "n": 4, "best_of": 16, "max_tokens": 60, "logprobs": 5, "stream": True}))
                elif kind == 2:
                    c.send(body(PATH, {"prompt": "x", "n": 8, "max_tokens": 300, "stream": True}))
                else:
                    c.send(body("/tokenize", {"prompt": "x y " * 20000, "return_token_strs": True}))
                time.sleep(rng.random() * 0.04)
                if rng.random() < 0.3:
                    c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                c.s.close()
            until_empty(s)
            self.assertEqual(s.number('forkcast_kv_pages{state="used"}'), 0)
            self.assertEqual(s.ok(PATH, {"prompt": "x", "max_tokens": 2, "ignore_eos": True})["usage"]["completion_tokens"], 2)
            self.assertEqual(s.stop(), 0, s.logged())

    # If this fails, a rollout loses answers that are being written.
    def test_the_end_waits_for_the_writer(self):
        with Serve(*FAST, "--drain-ms", 60000) as s:
            c = s.connect()
            c.send(body(PATH, large(2)))
            s.until(DONE, 2, seconds=60)
            s.p.send_signal(signal.SIGTERM)
            a = c.answer()
            self.assertEqual((a.status, len(json.loads(a.body)["choices"]), a.headers["connection"]), (200, 128, "close"))
            c.s.close()
            self.assertEqual(s.p.wait(timeout=20), 0, s.logged())

    # If this fails, a server that ends at once waits for what nobody will get, or frees what a thread still has.
    def test_the_end_at_once(self):
        for wait in (0, 0.05, 0.3, 1):
            with Serve(*FAST) as s:
                cs = [s.connect() for _ in range(3)]
                for c in cs:
                    c.send(body(PATH, large(2)))
                time.sleep(wait)
                s.p.send_signal(signal.SIGTERM)
                s.p.send_signal(signal.SIGINT)
                for c in cs:
                    try:
                        self.assertIn(c.answer().status, (200, 503))
                    except EOFError:  # its second is over, and it has not read all of its answer
                        pass
                    c.s.close()
                self.assertEqual(s.p.wait(timeout=20), 0, s.logged())

    # If this fails, /tokenize is a door by which any number of bodies comes in.
    def test_tokenize_is_bounded(self):
        with Serve("--novelty", novelty(), "--alignment", "none", "--max-requests", 2) as s:
            cs = [s.connect() for _ in range(16)]
            text = body("/tokenize", {"prompt": "the house " * 60000, "return_token_strs": True})
            threads = [threading.Thread(target=c.send, args=(text,)) for c in cs]
            for t in threads:
                t.start()
            got = [c.answer() for c in cs]
            for t in threads:
                t.join()
            self.assertEqual({a.status for a in got}, {200, 429})
            self.assertEqual({a.headers["retry-after"] for a in got if a.status == 429}, {"1"})
            for c in cs:
                c.s.close()
            until_empty(s)


class Budget(unittest.TestCase):
    # If this fails, a body of a megabyte holds its tree, sixty of them, until it is answered.
    def test_trees_are_let_go_of(self):
        with Serve(*SLOW, "--max-requests", 12) as s:
            text = json.dumps({**LONG, "ignored": [0] * 500000}).encode()
            before = s.memory_kb()
            cs = [s.connect() for _ in range(12)]
            for c in cs:
                c.send(body(PATH, text))
            s.until("forkcast_requests", 12, seconds=60)
            s.until('forkcast_memory_bytes{kind="parsed"}', 0)
            now = held(s)
            self.assertEqual((now["bodies"], now["parsed"]), (0, 0))
            self.assertTrue(12 * 128 * 1024 < now["answers"] < 12 * 2 ** 20, now)
            if not sanitized(BIN):
                self.assertLess(s.memory_kb() - before, 200 * 1024)
            for c in cs:
                c.s.close()
            until_empty(s)

    # If this fails, who asks for more than there will ever be room for asks for ever.
    def test_what_never_fits_is_said_with_its_sum(self):
        with Serve(*SLOW, "--max-memory", 16, "--max-candidates", 16, "--max-requests", 8) as s:
            s.refused(PATH, json.dumps({"prompt": "x", "ignored": [0] * 200000}).encode(), 400, None, "reading the body takes up to 3")
            s.refused(PATH, {"prompt": "x", "n": 16, "max_tokens": 8000, "logprobs": 20}, 400, "max_tokens", "max_memory has room for 14680064")
            s.refused(PATH, {"prompt": "x", "n": 17}, 400, "best_of", "1 prompts with 17 candidates in all; max_candidates is 16")
            s.refused(PATH, {"prompt": ["x"] * 4, "n": 2, "best_of": 5}, 400, "best_of", "4 prompts with 20 candidates in all")
            s.refused(PATH, {"prompt": ["x"] * 9}, 400, "prompt", "9 prompts; max_requests is 8")
            self.assertEqual(len(s.ok(PATH, {"prompt": ["x"] * 8, "n": 2, "max_tokens": 1})["choices"]), 16)
            until_empty(s)
            self.assertEqual(s.number('forkcast_admission_rejections_total{reason="queue_full"}'), 0)
        with Serve("--novelty", novelty(), "--alignment", alignment(), "--max-candidates", 4) as s:
            s.refused("/rerank", {"query": "a", "documents": ["b"] * 5}, 400, "documents", "5 candidates in all; max_candidates is 4")
        with Serve("--novelty", novelty(), "--alignment", "none", "--kv-pool", "256K", "--max-requests", 2) as s:
            held = [s.connect() for _ in range(1)]
            for _ in range(2):  # nobody else is there, and somebody is: it is the same sentence
                a = s.refused(PATH, {"prompt": "x", "n": 64, "max_tokens": 200}, 400, None, "KV pages")
                self.assertIn("the pool has", a.error()["message"])
                held[0].send(body(PATH, {"prompt": "y", "max_tokens": 200, "ignore_eos": True}))
            held[0].s.close()
            until_empty(s)

    # If this fails, a few requests with many candidates keep out more than a queue of the others is thought to.
    def test_candidates_are_counted(self):
        with Serve(*SLOW, "--max-candidates", 16) as s:
            with s.connect() as c:
                c.send(body(PATH, {**LONG, "n": 10}))
                s.until("forkcast_requests_candidates", 10)
                a = s.refused(PATH, {**LONG, "n": 10}, 429, None, "10 candidates; 10 are waiting or being drawn, max_candidates is 16")
                self.assertEqual(a.headers["retry-after"], "1")
                self.assertEqual(s.post(PATH, {"prompt": "x", "n": 1, "best_of": 5, "max_tokens": 1}).status, 200)
                with s.connect() as d:
                    d.send(body(PATH, {**LONG, "n": 2, "best_of": 6}))
                    s.until("forkcast_requests_candidates", 16)
                    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
                    self.assertEqual(s.ask(head).status, 429)  # before its body
            until_empty(s)

    # If this fails, answers under way take what memory there is, and everybody is drawn for in vain.
    def test_answers_are_claimed_before_they_are_drawn(self):
        with Serve(*SLOW, "--max-memory", 16) as s:
            ask = {**LONG, "n": 4, "logprobs": 5}
            with s.connect() as c:
                c.send(body(PATH, ask))
                s.until("forkcast_requests", 1)
                claimed = held(s)["answers"]
                self.assertTrue(7 * 2 ** 20 < claimed < 14 * 2 ** 20, claimed)
                rows = s.number("forkcast_calls")
                a = s.refused(PATH, ask, 503, None, "of max_memory's 14680064 are in use")
                self.assertEqual((a.headers["retry-after"], a.error()["type"], rows), ("1", "ServiceUnavailableError", 1))
                self.assertEqual(s.number('forkcast_admission_rejections_total{reason="memory"}'), 1)
                self.assertEqual(s.post(PATH, {"prompt": "x", "max_tokens": 1}).status, 200)  # what fits still does
                s.until('forkcast_memory_bytes{kind="answers"}', claimed)
            until_empty(s)
            self.assertEqual(s.post(PATH, {**ask, "max_tokens": 10}).status, 200)

    # If this fails, whoever asks for large answers and does not read them has the server's memory.
    def test_unread_answers_count(self):
        with Serve(*FAST, "--max-memory", 256, "--stall-ms", 4000, "--read-rate", 100000000) as s:
            cs = []
            for _ in range(2):
                c = s.connect()
                c.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                c.send(body(PATH, large(1)))
                c.until(b"\r\n\r\n")
                cs.append(c)
            self.assertGreater(held(s)["unread"], 2 * 64 * MANY * 20 * 20)
            stream = s.connect()
            stream.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stream.send(body(PATH, {**large(1), "n": 32, "best_of": 33, "stream": True}))  # not live: all of it comes at the end
            stream.until(b"data: ")
            s.until('forkcast_slow_readers_total', 3, seconds=60)  # they take something, and less than they are asked to
            for c in cs + [stream]:
                c.s.close()
            until_empty(s)

    # If this fails, streams that are not read are no part of the budget.
    def test_unread_streams_count(self):
        with Serve(*FAST, "--max-memory", 10) as s:
            cs = []
            for _ in range(12):
                c = s.connect()
                c.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                c.send(body(PATH, {**LONG, "n": 8, "stream": True, "logprobs": 0}))
                cs.append(c)
            end, least = time.monotonic() + 60, 0
            while s.number('forkcast_cancelled_total{reason="client"}') == 0:  # long before 8 MiB wait of one of them
                self.assertLess(time.monotonic(), end)
                least = max(least, sum(held(s).values()))
            self.assertTrue(2 ** 20 < least < 14 * 2 ** 20, least)
            for c in cs:
                c.s.close()
            until_empty(s)


if __name__ == "__main__":
    main()
