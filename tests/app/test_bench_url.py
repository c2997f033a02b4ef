"""`forkcast bench --url`: its own server, and others as their API has it, played by a small one that remembers what it was asked."""
import http.server
import json
import sys
import threading
import time

from util_bench import Bench
from util_cli import main, run
from util_serve import Serve


class Fake(http.server.ThreadingHTTPServer):
    """Answers n texts of six tokens. pause: seconds that each request takes, one after another; fail: status of every answer from
    the given one on."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, pause=0, fail=None, version=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pause, self.fail, self.version, self.asked, self.lock = pause, fail, version, [], threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):  # whoever gave up does not read its answer
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def bodies(self, path="/v1/completions"):
        return [b for p, b, _ in self.asked if p == path]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def say(self, status, o):
        data = json.dumps(o).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/version" and self.server.version:
            return self.say(200, {"version": self.server.version})
        self.say(404, {"error": {"message": "no such path"}})

    def do_POST(self):
        s = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with s.lock:  # one at a time
            s.asked.append((self.path, body, self.headers.get("Authorization")))
            time.sleep(s.pause)
            if s.fail and len(s.asked) > s.fail[1]:
                return self.say(s.fail[0], {"error": {"message": "too much of it"}})
        if self.path.endswith("/rerank"):
            return self.say(200, {"results": [{"index": i, "relevance_score": i / 4} for i in range(len(body["documents"]))]})
        n = body.get("n", 1)
        self.say(200, {"choices": [{"index": i, "text": f"text {i}"} for i in range(n)], "usage": {"prompt_tokens": 24, "completion_tokens": 6 * n}})


class Url(Bench):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ids = ("--novelty", cls.novelty, "--prompt-tokens", 24, "--max-tokens", 6)

    # ---- its own server

    # If this fails, a server's best-of-n is measured as something else than an engine's.
    def test_forkcast_is_what_it_is_in_process(self):
        server = Serve("--novelty", self.novelty, "--alignment", self.alignment, "--threads", 1)
        try:
            remote, _, page, _ = self.measured("remote", "latency", "--url", "http://" + server.address, *self.ids, "-n", "1,6", "--runs", 3)
            local = self.measured("local", "latency", *self.models, *self.short, "-n", "1,6", "-k", 1, "--runs", 3)[0]
            for a, b in zip(remote["rows"], local["rows"]):
                self.assertEqual(a["values"], b["values"])
                for k in ("rows_prefill", "rows_decode", "rows_score", "rows_reused", "rows_flat", "kv_bytes", "distinct", "candidate_tokens", "returned_tokens"):
                    self.assertEqual(a["counts"][k], b["counts"][k], k)
                self.assertEqual(set(a["seconds"]), set(b["seconds"]))
            self.assertIsNone(remote["limits"])
            self.assertEqual(remote["rows"][0]["subject"]["name"], "forkcast")
            self.assertEqual(remote["rows"][0]["subject"]["version"], local["rows"][0]["subject"]["version"])
            self.assertIn(server.address, page)
            ranked = self.measured("ranked", "latency", "--url", "http://" + server.address, "--api", "openai", "--score-url",
                                   "http://" + server.address + "/v1/rerank", *self.ids, "-n", "1,6", "--runs", 2, "--no-separate", "--salt", 7)[0]  # a text without a NUL
            for row in ranked["rows"]:
                self.assertEqual((len(row["values"]["best_score"]), row["counts"]["failures"]), (2, 0), row)
        finally:
            server.p.kill()
            server.p.wait()

    # If this fails, the second run against a server that lives on is answered from what the first left in its cache.
    def test_a_second_run_is_as_cold_as_the_first(self):
        server = Serve("--novelty", self.novelty, "--alignment", self.alignment, "--threads", 1)
        try:
            args = ("latency", "--url", "http://" + server.address, *self.ids, "-n", "1,6", "--runs", 3)
            first, second = (self.measured("cold", *args)[0] for _ in range(2))
            for a, b in zip(first["rows"], second["rows"]):
                self.assertEqual((a["counts"]["rows_reused"], b["counts"]["rows_reused"]), (0, 0))
                self.assertEqual(a["values"], b["values"])  # the salt is no seed
            salt = first["settings"]["salt"]
            self.assertNotEqual(salt, second["settings"]["salt"])
            again, _, _, said = self.measured("cold", *args, "--salt", salt)
            self.assertEqual(again["settings"]["salt"], salt)
            self.assertIn(f"salt {salt}", said)
            self.assertGreater(again["rows"][0]["counts"]["rows_reused"], 0)  # the server still knows that one
        finally:
            server.p.kill()
            server.p.wait()

    # ---- others

    def test_a_server_without_salts_gets_other_prompts_in_every_run(self):
        with Fake() as fake:
            def asked(*more):
                fake.asked.clear()
                self.measured("other", "latency", "--url", fake.url, "--api", "openai", *self.ids, "-n", 2, "--runs", 2, "--no-separate", "--warm-up", 0, *more)
                return [b["prompt"] for b in fake.bodies()]
            one, two = asked(), asked()
            self.assertFalse({str(p) for p in one} & {str(p) for p in two})
            self.assertEqual(asked("--salt", 5), asked("--salt", 5))
            self.assertEqual(asked("--keep-cache"), asked("--keep-cache"))

    def test_each_api_is_asked_as_it_understands(self):
        prompts = self.path("prompts.txt")
        with open(prompts, "w") as f:
            f.write("Hello\nagain\n")
        grammar = self.path("grammar.json")
        with open(grammar, "w") as f:
            f.write(' {"grammar": "root ::= \\"a\\""}\n\n')
        with Fake(version="1.2.3") as fake:
            def asked(*args):
                fake.asked.clear()
                r = self.measured("api", "latency", "--url", fake.url + "/", *args, "-n", 3, "--runs", 2, "--warm-up", 0, "--model", "m")[0]
                return r, fake.bodies()
            key = self.path("key")
            with open(key, "w") as f:
                f.write("secret\nanother\n")
            r, (whole, *_) = asked("--api", "vllm", *self.ids, "--temperature", 0.5, "--api-key-file", key)
            self.assertNotIn("secret", json.dumps(r))
            self.assertEqual((whole["n"], whole["max_tokens"], whole["temperature"], whole["ignore_eos"], whole["model"]), (3, 6, 0.5, True, "m"))
            self.assertEqual(len(whole["prompt"]), 24)
            self.assertTrue(whole["cache_salt"])
            self.assertEqual({a for _, _, a in fake.asked}, {"Bearer secret"})
            self.assertEqual(r["rows"][0]["subject"]["version"], "1.2.3")
            self.assertEqual(r["rows"][0]["counts"]["candidate_tokens"], 18)
            self.assertEqual(set(r["rows"][0]["seconds"]), {"total", "separate"})
            _, bodies = asked("--api", "llama", "--prompts", prompts, "--body", grammar)
            self.assertEqual({b["grammar"] for b in bodies}, {'root ::= "a"'})
            _, bodies = asked("--api", "llama", "--prompts", prompts, "--body", '{"grammar": "root ::= \\"a\\""}')
            self.assertEqual([b["prompt"] for b in bodies], ["Hello"] * 4 + ["again"] * 4)
            self.assertEqual([b["n"] for b in bodies], [3, 1, 1, 1] * 2)
            self.assertEqual({b["cache_prompt"] for b in bodies}, {False})
            self.assertEqual({b["grammar"] for b in bodies}, {'root ::= "a"'})
            _, bodies = asked("--api", "openai", *self.ids)
            self.assertEqual(set(bodies[0]), {"model", "prompt", "n", "max_tokens", "temperature", "seed"})
            wholes = [str(b["prompt"]) for b in bodies if b["n"] == 3]
            self.assertEqual(len(set(wholes)), 2)
            self.assertFalse(set(wholes) & {str(b["prompt"]) for b in bodies if b["n"] == 1})  # its cache has just seen them

    # If this fails, servers that were asked for different things are compared as one.
    def test_compare_tells_servers_apart(self):
        with Fake() as fake, Fake() as judge, Fake() as other:
            args = ("--url", fake.url, *self.ids, "-n", 2, "--runs", 1, "--no-separate", "--warm-up", 0, "--api")
            vllm = (*args, "vllm")
            self.assertIn("model: a and b", self.unlike("model", "latency", (*vllm, "--model", "a"), (*vllm, "--model", "b")))
            self.unlike("model", "latency", (*vllm, "--model", "x" * 300 + "a"), (*vllm, "--model", "x" * 300 + "b"))
            self.unlike("body_hash", "latency", (*vllm, "--body", '{"x": 1}'), (*vllm, "--body", '{"x": 2}'))
            ranked = (*vllm, "--score-url", judge.url)
            self.unlike("score_url", "latency", ranked, (*vllm, "--score-url", other.url))
            self.unlike("score_model", "latency", ranked, (*ranked, "--score-model", "j"))
            a, b = self.measured("api", "latency", *vllm)[0], self.measured("api", "latency", *args, "llama")[0]
            self.assertEqual((a["settings"]["api"], b["settings"]["api"]), ("vllm", "llama"))

    def test_a_second_server_ranks(self):
        prompts = self.path("prompts.txt")
        with open(prompts, "w") as f:
            f.write("Hello\n")
        with Fake() as fake, Fake() as judge:
            r = self.measured("ranks", "latency", "--url", fake.url, "--api", "vllm", "--score-url", judge.url, "--score-model", "j", "--prompts", prompts,
                              "-n", "1,4", "--runs", 3, "--no-separate", "--warm-up", 0)[0]
            self.assertEqual([row["values"]["best_score"] for row in r["rows"]], [[0] * 3, [0.75] * 3])
            self.assertIn("score", r["rows"][0]["seconds"])
            asked = judge.bodies("/v1/rerank")
            self.assertEqual(sorted(len(b["documents"]) for b in asked), [1] * 3 + [4] * 3)
            self.assertEqual((asked[0]["query"], asked[0]["model"], asked[0]["documents"]), ("Hello", "j", ["text 0"]))

    # If this fails, an open loop counts from when a request was sent, and a server that falls behind looks fast.
    def test_latency_counts_from_when_it_was_due(self):
        with Fake(pause=0.03) as fake:
            r = self.measured("due", "latency", "--url", fake.url, "--api", "openai", *self.ids, "-n", 1, "--runs", 20, "--rate", 5000, "--warm-up", 0)[0]
        took = r["rows"][0]["seconds"]["total"]
        self.assertEqual(len(took), 20)
        self.assertGreater(took[-1], 19 * 0.03)  # it answered one after another, and all were due at once

    def test_failures_are_counted_and_said(self):
        with Fake(fail=(503, 3)) as fake:
            r, lines, page, said = self.measured("fails", "latency", "--url", fake.url, "--api", "openai", *self.ids, "-n", 2, "--runs", 5, "--no-separate",
                                                 "--warm-up", 0)
        row = r["rows"][0]
        self.assertEqual((row["counts"]["requests"], row["counts"]["failures"], len(row["seconds"]["total"])), (5, 2, 3))
        self.assertIn("2 failed, the first: status 503: too much of it", said)
        self.assertEqual(lines[0]["failures"], "2")
        with Fake(fail=(400, 0)) as fake:
            self.refused(1, "the first request of n = 2 failed: status 400: too much of it", "bench", "latency", "--url", fake.url, "--api", "openai", *self.ids,
                         "-n", 2)

    def test_capacity_of_a_server(self):
        with Fake(pause=0.03) as fake:
            r = self.measured("capacity", "capacity", "--url", fake.url, "--api", "openai", *self.ids, "-n", 1, "--runs", 20, "--p99-ms", 400, "--steps", 6)[0]
        kept = [row["case"]["rate"] for row in r["rows"][1:] if row["counts"]["kept"]]
        self.assertTrue(all(rate < 130 for rate in kept), kept)  # it answers 33 a second at most; a burst of 20 takes 600 ms
        self.assertIn(0, [row["counts"]["kept"] for row in r["rows"]])

    # ---- what is wrong

    def test_wrong_arguments_are_named(self):
        def told(words, *args, code=2):
            self.refused(code, words, "bench", "latency", "--url", "http://127.0.0.1:1", *args)
        told("--recipe: a server has its own", *self.ids, "--recipe", "interests")
        told("--alignment: a server has its own", *self.ids, "--alignment", "none")
        told("--threads: a server has its own", *self.ids, "--threads", 2)
        told("--draw: it is not sent to servers; --body may say it", *self.ids, "--draw", "sbs")
        told('--api: "tgi"; it is forkcast, vllm, llama or openai', *self.ids, "--api", "tgi")
        told("--novelty says the model whose ids they are", "--prompt-tokens", 5)
        told("--body: it takes a JSON object", *self.ids, "--body", "[1]")
        told("--body", *self.ids, "--body", "{", code=1)
        told("nowhere.json: No such file", *self.ids, "--body", "nowhere.json", code=1)
        told("--url: http://127.0.0.1:1: ", *self.ids, code=1)
        self.refused(2, '"localhost" is no address', "bench", "latency", "--url", "localhost", *self.ids)
        told("--histories: --score-url ranks by the prompt's text", "--prompts", __file__, "--histories", "--score-url", "http://127.0.0.1:1")
        self.refused(2, "--score-model: it belongs to --score-url", "bench", "latency", "--url", "http://x", *self.ids, "--score-model", "j")


if __name__ == "__main__":
    code, _, err = run("bench", "latency", "--url", "http://127.0.0.1:1", "--prompts", __file__)
    if "built without libcurl" in err:
        print("skipped: the program was built without libcurl (Debian: libcurl4-openssl-dev)")
        sys.exit(77)
    main()
