"""/metrics: the format, every name with its type, and numbers against what was asked."""
import os
import re
import subprocess
import shutil
import socket
import tempfile
import time
import unittest

from test_option_flags import lora
from util_cli import BIN
from util_http import sanitized
from util_serve import Serve, alignment, body, events, long, main, novelty

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*\})? (-?\d+(?:\.\d+)?(?:e[+-]\d+)?)\Z')

# Names that dashboards and gateways read, with their types.
WANTED = {
    "vllm:num_requests_running": "gauge", "vllm:num_requests_waiting": "gauge", "vllm:kv_cache_usage_perc": "gauge",
    "vllm:cache_config_info": "gauge", "vllm:prompt_tokens_total": "counter", "vllm:generation_tokens_total": "counter",
    "vllm:request_success_total": "counter", "vllm:num_preemptions_total": "counter", "vllm:prefix_cache_queries_total": "counter",
    "vllm:prefix_cache_hits_total": "counter", "vllm:time_to_first_token_seconds": "histogram",
    "vllm:request_time_per_output_token_seconds": "histogram", "vllm:e2e_request_latency_seconds": "histogram",
    "vllm:request_queue_time_seconds": "histogram", "vllm:request_prefill_time_seconds": "histogram",
    "vllm:request_decode_time_seconds": "histogram", "vllm:request_inference_time_seconds": "histogram",
    "vllm:request_prompt_tokens": "histogram", "vllm:request_generation_tokens": "histogram", "vllm:request_params_n": "histogram",
    "vllm:request_params_max_tokens": "histogram", "forkcast_best_of": "histogram", "forkcast_score": "histogram",
    "forkcast_score_margin": "histogram", "forkcast_score_seconds": "histogram", "forkcast_candidates_total": "counter",
    "forkcast_rows_total": "counter", "forkcast_admission_rejections_total": "counter", "forkcast_cancelled_total": "counter",
    "http_requests_total": "counter", "http_request_duration_seconds": "histogram", "process_resident_memory_bytes": "gauge",
    "vllm:inter_token_latency_seconds": "histogram", "process_open_fds": "gauge", "vllm:lora_requests_info": "gauge",
    "vllm:iteration_tokens_total": "histogram", "vllm:request_max_num_generation_tokens": "histogram", "vllm:request_failure_total": "counter",
    "forkcast_candidates_pruned_total": "counter", "forkcast_score_tokens_total": "counter", "forkcast_shared_prefix_tokens_total": "counter",
    "forkcast_computed_prefix_tokens_total": "counter", "forkcast_gpu_memory_bytes": "gauge", "process_start_time_seconds": "gauge",
    "process_virtual_memory_bytes": "gauge", "process_cpu_seconds_total": "counter", "process_max_fds": "gauge",
}


def parse(text):
    """Samples by family, each checked; types by family."""
    types, helps, samples, family = {}, set(), {}, None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ", 3)[2]
            assert family not in helps, f"{family}: told twice"
            helps.add(family)
            continue
        if line.startswith("# TYPE "):
            name, kind = line.split(" ")[2:]
            assert name == family and kind in ("counter", "gauge", "histogram"), line
            types[name] = kind
            continue
        m = SAMPLE.match(line)
        assert m, f"no sample: {line}"
        base = re.sub("_(bucket|sum|count)$", "", m[1]) if types[family] == "histogram" else m[1]
        assert base == family, f"{line}: it stands under {family}"
        assert (m[1], m[2]) not in samples, f"{line}: twice"
        samples[m[1], m[2]] = float(m[3])
    return types, samples


class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.s = Serve("--novelty", novelty(), "--alignment", alignment(), "--served-model-name", 'a "name"\\')

    @classmethod
    def tearDownClass(cls):
        assert cls.s.stop() == 0, cls.s.logged()
        cls.s.__exit__()

    def read(self):
        a = self.s.get("/metrics")
        self.assertEqual(a.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        return a.body.decode()

    # If this fails, a dashboard stays empty.
    def test_format(self):
        self.s.ok("/v1/completions", {"prompt": "the night", "n": 2, "best_of": 3})
        self.s.ok("/rerank", {"query": "the night", "documents": ["a", "b"]})
        self.s.get("/v1/models/none")
        self.s.get("/nothing")
        text = self.read()
        types, samples = parse(text)
        self.assertEqual({k: types.get(k) for k in WANTED}, WANTED)
        odd = {"vllm:iteration_tokens_total"}  # a histogram, by the name that vLLM gave it
        self.assertTrue(all(k.endswith("_total") == (v == "counter") for k, v in types.items() if k not in odd))
        vllm = 'model_name="a \\"name\\"\\\\",engine="0"'
        self.assertEqual([k for k in samples if k[0].startswith("vllm:") and not k[1].startswith("{" + vllm)], [])
        for family, kind in types.items():
            if kind != "histogram":
                continue
            series = {}
            for (name, labels), v in samples.items():
                if name == family + "_bucket":
                    rest, le = re.fullmatch(r'\{(.*?),?le="([^"]*)"\}', labels).groups()
                    series.setdefault(rest, []).append((float(le), v))
            for rest, buckets in series.items():
                labels = "{" + rest + "}" if rest else None
                self.assertEqual(buckets, sorted(buckets), family)  # bounds rise, and so do counts
                self.assertEqual([v for _, v in buckets], sorted(v for _, v in buckets), family)
                self.assertEqual(buckets[-1], (float("inf"), samples[family + "_count", labels]), family)
                self.assertIn((family + "_sum", labels), samples)
        handlers = {k[1] for k in samples if k[0] == "http_requests_total"}
        self.assertIn('{handler="/v1/models/{}",method="GET",status="404"}', handlers)
        self.assertIn('{handler="other",method="",status="404"}', handlers)
        try:
            from prometheus_client.parser import text_string_to_metric_families as families
        except ImportError:
            families = None
        if families:
            self.assertGreater(len(list(families(text))), 40)
        if shutil.which("promtool"):  # its lint has two remarks: the colon in vLLM's names, and a histogram called _total
            p = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True)
            self.assertIn(p.returncode, (0, 3), p.stderr)
            self.assertEqual([x for x in p.stderr.decode().splitlines() if not re.match(r"vllm:\w+ metric names should not contain ':'$", x)
                              and not x.startswith("vllm:iteration_tokens_total non-counter metrics")], [])

    # If this fails, the numbers are of something else.
    def test_numbers(self):
        before = parse(self.read())[1]
        begin = time.monotonic()
        a = self.s.ok("/v1/completions", {"prompt": "the house of the night", "n": 2, "best_of": 6, "max_tokens": 7, "seed": 3})
        took = time.monotonic() - begin
        events(self.s.post("/v1/completions", {"prompt": ["abc", "xyz"], "n": 1, "max_tokens": 5, "stream": True, "ignore_eos": True}))
        self.s.refused("/v1/completions", {"prompt": "x", "n": 0}, 400, "n")
        after = parse(self.read())[1]
        model = 'model_name="a \\"name\\"\\\\",engine="0"'

        def rise(name, labels=None):
            return after[name, labels] - before.get((name, labels), 0)
        acc = a["best_of"]["accounting"]
        self.assertEqual(rise("vllm:e2e_request_latency_seconds_count", "{" + model + "}"), 3)
        self.assertEqual(rise("forkcast_candidates_total"), 8)
        self.assertEqual(rise("vllm:inter_token_latency_seconds_count", "{" + model + "}"), 8)  # of the stream: 2 candidates of 5 tokens
        self.assertEqual(rise("forkcast_best_of_sum"), 8)
        self.assertEqual(rise("vllm:request_params_n_sum", "{" + model + "}"), 4)
        self.assertEqual(rise("vllm:request_params_max_tokens_sum", "{" + model + "}"), 17)
        self.assertEqual(rise("vllm:request_success_total", "{" + model + ',finished_reason="length"}')
                         + rise("vllm:request_success_total", "{" + model + ',finished_reason="stop"}'), 3)
        self.assertGreaterEqual(rise("forkcast_rows_total", '{kind="score"}'), acc["rows_score"])
        self.assertEqual(rise("forkcast_score_count"), 3)
        self.assertLess(rise("vllm:time_to_first_token_seconds_sum", "{" + model + "}"), rise("vllm:e2e_request_latency_seconds_sum", "{" + model + "}"))
        self.assertEqual(rise("http_requests_total", '{handler="/v1/completions",method="POST",status="200"}'), 2)
        self.assertEqual(rise("http_requests_total", '{handler="/v1/completions",method="POST",status="400"}'), 1)
        self.assertLessEqual(a["best_of"]["timings_ms"]["total"] / 1000, took)
        self.assertEqual(after["forkcast_calls", None], 0)
        self.assertEqual(rise("vllm:request_failure_total", "{" + model + ',stage="request",code="400"}'), 1)
        self.assertEqual(rise("vllm:request_max_num_generation_tokens_sum", "{" + model + "}"), 17)
        rows = [rise("forkcast_rows_total", f'{{kind="{k}"}}') for k in ("prefill", "decode", "score", "replay")]
        self.assertEqual(rise("vllm:iteration_tokens_total_count", "{" + model + "}"), rise("forkcast_batches_total"))
        self.assertEqual(rise("vllm:iteration_tokens_total_sum", "{" + model + "}"), sum(rows))
        self.assertEqual(rise("forkcast_score_tokens_total"), rows[2])
        self.assertEqual(rise("forkcast_computed_prefix_tokens_total"), rows[0])
        self.assertGreater(rise("forkcast_shared_prefix_tokens_total"), 4 * rows[0])  # of six candidates one prompt
        self.assertLess(abs(time.time() - after["process_start_time_seconds", None]), 600)
        self.assertGreater(after["process_virtual_memory_bytes", None], after["process_resident_memory_bytes", None])

    def test_pruned(self):
        before = parse(self.read())[1]
        self.s.ok("/v1/completions", {"prompt": "the house", "n": 2, "best_of": 24, "max_tokens": 3, "seed": 3, "forkcast": {"stop_when": "stable:1"}})
        a = self.s.ok("/v1/completions", {"prompt": "the house", "n": 1, "best_of": 24, "max_tokens": 12, "seed": 3, "ignore_eos": True,
                                          "forkcast": {"stop_when": "hopeless:1", "all": True}})
        after = parse(self.read())[1]
        rise = {k: after["forkcast_candidates_pruned_total", f'{{reason="{k}"}}'] - before["forkcast_candidates_pruned_total", f'{{reason="{k}"}}']
                for k in ("hopeless", "stopped")}
        self.assertGreater(rise["stopped"], 0)
        self.assertEqual(rise["hopeless"], sum("hopeless" in c for c in a["best_of"]["all_candidates"]))
        self.assertGreater(rise["hopeless"], 0)

    # If this fails, a router sends requests of an adapter to whoever has not loaded it.
    def test_adapters(self):
        def info(s):
            (labels, when), = [(k[1], v) for k, v in parse(s.get("/metrics").body.decode())[1].items() if k[0] == "vllm:lora_requests_info"]
            self.assertLess(abs(when - time.time()), 60)
            return dict(re.findall(r'(\w+)="([^"]*)"', labels))
        with tempfile.TemporaryDirectory() as d:
            for name in ("a", "b"):
                lora(os.path.join(d, name), 1.0)
            with Serve("--novelty", long(), "--alignment", "none", "--adapter", f"one={d}/a", "--adapter", f"two={d}/b") as s:
                want = {"model_name": "long", "engine": "0", "max_lora": "2", "running_lora_adapters": "", "waiting_lora_adapters": ""}
                self.assertEqual(info(s), want)
                with s.connect() as c:
                    c.send(body("/v1/completions", {"model": "two", "prompt": "x", "max_tokens": 8000, "ignore_eos": True, "stream": True}))
                    self.assertIn(b"200 OK", c.s.recv(100))
                    s.until("vllm:num_requests_running", 1)  # told behind the step whose token this was
                    self.assertEqual(info(s), {**want, "running_lora_adapters": "two"})
                s.until("vllm:num_requests_running", 0)
                self.assertEqual(info(s), want)

    # If this fails, a token's wait is counted again in that of the next.
    def test_between_tokens(self):
        name, model = "vllm:inter_token_latency_seconds", '{model_name="a \\"name\\"\\\\",engine="0"}'
        before, begin = parse(self.read())[1], time.monotonic()
        events(self.s.post("/v1/completions", {"prompt": "abc", "max_tokens": 100, "stream": True, "ignore_eos": True}))
        took, after = time.monotonic() - begin, parse(self.read())[1]
        self.assertEqual(after[name + "_count", model] - before[name + "_count", model], 99)
        self.assertLess(after[name + "_sum", model] - before[name + "_sum", model], took)

    # If this fails, files are lost without anybody seeing it.
    def test_open_files(self):
        with self.s.connect() as c:
            for more in (0, 5):
                others = [self.s.connect() for _ in range(more)]
                for o in others:  # accepted
                    o.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    o.answer()
                self.s.files()  # who asked before is gone
                c.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.assertEqual(parse(c.answer().body.decode())[1]["process_open_fds", None], self.s.files())
                for o in others:
                    o.s.close()

    # If this fails, a scrape every 50 ms is felt by those who wait.
    def test_quick(self):
        took = []
        with self.s.connect() as c:
            for _ in range(50):
                begin = time.monotonic()
                c.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                c.answer()
                took.append(time.monotonic() - begin)
        if not sanitized(BIN):
            self.assertLess(sorted(took)[25], 0.005)  # with the way there and back, and Python


class Apart(unittest.TestCase):
    # If this fails, who may scrape needs a key that draws, or a port that anybody may reach draws for them.
    def test_a_port_of_their_own(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with tempfile.TemporaryDirectory() as d:
            with open(os.path.join(d, "keys"), "w") as f:
                f.write("sk-first-0001\n")
            with Serve("--novelty", novelty(), "--alignment", "none", "--api-key-file", f.name, "--metrics-port", port) as s:
                said, key = s.p.stdout.readline().decode(), b"Authorization: Bearer sk-first-0001"
                self.assertEqual(said, f"metrics on http://127.0.0.1:{port}\n")
                self.assertEqual([s.get(p).status for p in ("/metrics", "/v1/models", "/health")], [401, 401, 200])
                self.assertEqual(s.post("/v1/completions", {"prompt": "a", "max_tokens": 1, "ignore_eos": True}, key).status, 200)
                main, s.address = s.address, f"127.0.0.1:{port}"
                for path in ("/health", "/livez", "/ping"):
                    self.assertEqual(s.get(path).status, 200)
                self.assertEqual(s.number("forkcast_calls"), 0)
                self.assertEqual(s.number('vllm:request_success_total{model_name="novelty",engine="0",finished_reason="length"}'), 1)
                for path in ("/", "/v1/models", "/version", "/openapi.json", "/v1/completions"):
                    self.assertEqual(s.get(path, key).status, 404, path)
                s.refused("/v1/completions", {"prompt": "a"}, 404)
                s.refused("/tokenize", {"prompt": "a"}, 404)
                s.address = main
                self.assertEqual(s.get("/metrics", key).status, 200)  # routers want it beside the rest

    def test_while_it_loads(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with Serve("--novelty", "like:smollm2-1.7b", "--alignment", "none", "--metrics-port", port, ready=False) as s:
            s.address, health = f"127.0.0.1:{port}", None
            while not health:
                try:
                    health = s.get("/health").status
                except ConnectionRefusedError:
                    self.assertIsNone(s.p.poll(), s.logged())
            self.assertEqual((health, s.get("/livez").status, s.get("/metrics").status), (503, 200, 503))


if __name__ == "__main__":
    main()
