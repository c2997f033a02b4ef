"""`forkcast bench` in this process: what it writes is what was done, and what it recommends and compares follows from it."""
import copy
import html.parser
import json
import os

from test_option_flags import lora
from util_bench import COUNTS, Bench
from util_cli import main, run

NAMES = [f"{a} {b}" for a in ("light", "dark", "old", "new") for b in ("house", "night", "craft", "day")]


class Page(html.parser.HTMLParser):
    """Tags, and what they would load."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loads, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [v for k, v in attrs if k in ("src", "href", "data", "srcset")]

    def handle_data(self, data):
        self.text.append(data)


class InProcess(Bench):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.taxonomy = cls.path("names.tsv")
        with open(cls.taxonomy, "w") as f:
            f.write("".join(f"{i}\t{name}\tk\n" for i, name in enumerate(NAMES)))
        cls.mask = ("--taxonomy", cls.taxonomy, "--constraint", "mask", "--max-tokens", 40, "--threads", 1, "--no-limits")

    # ---- latency

    # If this fails, a report says other work than was done.
    def test_latency_says_what_was_done(self):
        result, lines, _, said = self.measured("latency", "latency", *self.models, *self.short, "-n", "1,4,8", "--runs", 6)
        self.assertEqual(result["program"], "forkcast bench latency")
        self.assertIn(f"bench latency --novelty {self.novelty}", result["command"])
        self.assertIsNone(result["commit"])
        self.assertEqual(result["settings"]["seed"], "1")
        for n, row, line in zip((1, 4, 8), result["rows"], lines):
            self.assertEqual(row["case"], {"job": "latency", "n": n, "P": 24, "G": 6, "loop": "closed", "concurrency": 1})
            self.assertEqual({k: len(v) for k, v in row["seconds"].items()},
                             dict.fromkeys(("total", "queue", "prefill", "decode", "score", "host", "separate"), 6))
            c = row["counts"]
            self.assertEqual((c["requests"], c["failures"], c["prompt_tokens"]), (6, 0, 24))
            self.assertEqual((c["rows_prefill"], c["rows_reused"]), (24, 0))  # no cache knows a prompt
            self.assertEqual(c["candidate_tokens"], 6 * n)  # fixed lengths
            self.assertEqual(c["rows_flat"], n * (24 + 5 + 24 + 5))
            self.assertLessEqual(sum(c[k] for k in COUNTS), c["rows_flat"])
            self.assertEqual(c["returned_tokens"], 6 * min(n, 4))
            self.assertAlmostEqual(float(line["p50_ms"]), 1e3 * (sorted(row["seconds"]["total"])[2] + sorted(row["seconds"]["total"])[3]) / 2, delta=1e-4)
        best = [row["values"]["best_score"] for row in result["rows"]]
        for few, many in zip(best, best[1:]):  # the same prompts and seeds: more candidates can only add
            self.assertTrue(all(a <= b for a, b in zip(few, many)), (few, many))
        self.assertIn("~ fewer samples than that percentile needs", said)
        self.assertIn("max_tokens 6", said)
        self.assertIn("seed 1\n", said)
        self.assertEqual(float(lines[0]["slowdown"]), 1)

    def test_a_run_is_repeated_by_its_seed(self):
        args = ("latency", *self.models, *self.short, "-n", "2,5", "--runs", 3, "--no-separate")
        a, b, other = (self.measured("again", *args, "--seed", s)[0] for s in (7, 7, 8))
        for x, y, z in zip(a["rows"], b["rows"], other["rows"]):
            self.assertEqual(x["values"], y["values"])
            self.assertEqual([x["counts"][k] for k in COUNTS], [y["counts"][k] for k in COUNTS])
            self.assertNotEqual(x["values"], z["values"])
            self.assertNotIn("separate", x["seconds"])

    # If this fails, bytes and operations are not those of the work, and shares of the limit mean nothing.
    def test_operations_are_those_of_the_matrices(self):
        r, _, _, _ = self.measured("work", "latency", "--novelty", self.novelty, "--alignment", "none", *self.short, "-n", "1,16", "--runs", 2)
        m = json.loads(self.ok("inspect", self.novelty, "--json"))
        head = m["config"]["vocab"] * m["config"]["dim"]
        matrices = sum(t["shape"][0] * t["shape"][1] for t in m["tensors"] if len(t["shape"]) == 2)
        layers = matrices - head * (1 if m["config"]["tied"] else 2)
        for row in r["rows"]:
            c = row["counts"]
            rows, drawn = c["rows_prefill"] + c["rows_decode"], 1 + c["rows_decode"]
            least = 2 * layers * rows + 2 * head * drawn
            self.assertGreater(c["flops"], least * 0.999)
            self.assertLess(c["flops"], least * 1.5)  # attention, and 16 draws of the prompt's one row
            self.assertGreater(c["bytes"], 4 * matrices)  # f32, read at least once
        self.assertLess(r["rows"][1]["counts"]["flops"], 16 * r["rows"][0]["counts"]["flops"] / 2)

    def test_limits_are_measured_in_the_run(self):
        r = self.measured("limits", "latency", *self.models, "--prompt-tokens", 24, "--max-tokens", 6, "--threads", 1, "-n", 2, "--runs", 1)[0]
        self.assertEqual(r["limits"]["threads"], 1)
        row, limits = r["rows"][0], r["limits"]
        self.assertAlmostEqual(row["limit_seconds"], max(row["counts"]["bytes"] / limits["read_gbs_dram"], row["counts"]["flops"] / limits["gops_int8"]) * 1e-9,
                               delta=row["limit_seconds"] * 1e-6)

    def test_caches_lie_only_when_told(self):
        args = ("latency", "--novelty", self.novelty, "--alignment", "none", *self.short, "-n", "1,4", "--runs", 3, "--no-separate")
        apart, kept = (self.measured("cache", *args, *more)[0] for more in ((), ("--keep-cache",)))
        self.assertEqual([r["counts"]["rows_reused"] for r in apart["rows"]], [0, 0])
        self.assertGreater(kept["rows"][1]["counts"]["rows_reused"], 0)  # n = 4 finds what n = 1 left

    def test_loads(self):
        args = ("--novelty", self.novelty, "--alignment", "none", *self.short, "-n", "1,3")
        r = self.measured("many", "latency", *args, "--runs", 9, "--concurrency", 4)[0]
        self.assertEqual([len(row["seconds"]["total"]) for row in r["rows"]], [9, 9])
        r, lines, page, _ = self.measured("open", "latency", *args, "--runs", 12, "--rate", "200,2000")
        self.assertEqual([(row["case"]["n"], row["case"]["rate"]) for row in r["rows"]], [(1, 200), (3, 200), (1, 2000), (3, 2000)])
        for row in r["rows"]:
            self.assertEqual((row["case"]["loop"], len(row["seconds"]["total"])), ("open", 12))
            self.assertEqual((row["counts"]["rows_prefill"], row["counts"]["rows_reused"]), (24, 0))
        self.assertIn("Latency under load", page)
        self.assertEqual(lines[3]["rate_per_s"], "2000")

    # ---- quality

    def test_regret_is_against_every_name(self):
        r = self.measured("regret", "latency", *self.models, *self.mask, "--prompt-tokens", 24, "-n", "1,4,64", "--runs", 4)[0]
        rows = r["rows"]
        for row in rows:
            self.assertEqual(len(row["values"]["regret"]), 4)
            self.assertTrue(all(v >= -1e-5 for v in row["values"]["regret"]), row["values"])
        whole = [[b + g for b, g in zip(row["values"]["best_score"], row["values"]["regret"])] for row in rows]
        for other in whole[1:]:
            for a, b in zip(whole[0], other):
                self.assertAlmostEqual(a, b, places=4)
        self.assertGreater(sum(rows[0]["values"]["regret"]), sum(rows[2]["values"]["regret"]))
        without = self.measured("regret", "latency", *self.models, *self.mask, "--prompt-tokens", 24, "-n", 1, "--runs", 1, "--no-regret")[0]
        self.assertNotIn("regret", without["rows"][0]["values"])

    # If this fails, every name is scored for nobody.
    def test_regret_is_of_one_request_at_a_time(self):
        for load in (("--rate", 200), ("--concurrency", 2)):
            r = self.measured("regret", "latency", *self.models, *self.mask, "--prompt-tokens", 24, "-n", 2, "--runs", 3, *load)[0]
            self.assertNotIn("regret", r["rows"][0]["values"])
            self.assertEqual(r["words"], "Regret is that of one request at a time: it was not measured.\n")

    def test_frontier_recommends(self):
        r, _, page, said = self.measured("frontier", "frontier", *self.models, *self.short, "-n", "8,1,2", "--runs", 30, "--close", 100)
        self.assertEqual([row["case"]["n"] for row in r["rows"]], [1, 2, 8])
        self.assertRegex(r["words"], r"^Run n = [12]: it has \d+ % of what n = 8 adds to n = 1, at \d+ % of its time and ")
        self.assertIn(r["words"].splitlines()[0], said)
        self.assertIn("n = 8: best score", page)
        nearest = self.measured("frontier", "frontier", *self.models, *self.short, "-n", "1,2,8", "--runs", 12, "--close", 0)[0]
        self.assertIn("Run n = 8: it has 100 % of what n = 8 adds to n = 1", nearest["words"])
        same = self.measured("frontier", "frontier", *self.models, *self.short, "-n", "1,2", "--runs", 6, "--temperature", 0)[0]
        self.assertIn("Run n = 1: what n = 2 adds, 0.0000 of score, cannot be told from nothing", same["words"])
        self.refused(2, "--alignment: without a model that scores", "bench", "frontier", "--novelty", self.novelty, "--alignment", "none", *self.short)
        self.refused(2, "3 prompts have a score for every n; a recommendation needs 5", "bench", "frontier", *self.models, *self.short, "--runs", 3)

    def test_capacity_is_bracketed(self):
        args = ("capacity", "--novelty", self.novelty, "--alignment", "none", *self.short, "-n", 2, "--runs", 30, "--steps", 4)
        r = self.measured("capacity", *args, "--p99-ms", 60000)[0]
        self.assertEqual([row["counts"]["kept"] for row in r["rows"]], [1] * 5)
        self.assertEqual(r["rows"][0]["case"]["loop"], "closed")
        rates = [row["case"]["rate"] for row in r["rows"][1:]]
        for a, b in zip(rates, rates[1:]):
            self.assertAlmostEqual(b, 2 * a, delta=a * 1e-6)
        self.assertIn("no rate that was tried did not", r["words"])
        self.assertIn("--runs 100 is the least for p99", r["words"])
        r = self.measured("capacity", *args, "--p99-ms", 0.001)[0]
        self.assertRegex(r["words"], r"^n = 2: no rate keeps p99 below 0.001 ms: a request alone took ")
        self.refused(2, "--p99-ms: how long", "bench", *args)

    # ---- prompts

    def test_prompts_of_a_file(self):
        prompts = self.path("prompts.txt")
        with open(prompts, "w") as f:
            f.write("Hello there\n\nOnce upon a time\n")
        r = self.measured("file", "latency", *self.models, "--max-tokens", 4, "-n", 3, "--runs", 2, "--prompts", prompts, "--no-limits")[0]
        alone = [self.bestof("--prompt", p, "-n", 3, "--max-tokens", 4, "--ignore-eos", "--seed", s)
                 for s, p in ((1, "Hello there"), (2, "Once upon a time"))]
        for got, one in zip(r["rows"][0]["values"]["best_score"], alone):
            self.assertAlmostEqual(got, one["candidates"][0]["score"], places=5)
        self.assertNotIn("P", r["rows"][0]["case"])

    def test_recipes_are_filled(self):
        recipe, lines = self.path("r.json"), self.path("histories.txt")
        with open(recipe, "w") as f:
            json.dump({"novelty": {"model": "novelty.gguf", "template": "{history}:"}, "alignment": {"model": "alignment.gguf", "template": "{history}?"},
                       "taxonomy": "names.tsv", "constraint": "mask", "sampling": {"max_tokens": 40}, "n": 4, "keep": 2}, f)
        with open(lines, "w") as f:
            f.write("light house\told day\nnew craft\n")
        args = ("--recipe", recipe, "-n", 4, "--runs", 2, "--no-limits")
        r = self.measured("recipe", "latency", *args, "--prompts", lines)[0]
        one = json.loads(self.ok("bestof", "--recipe", recipe, "--history", "light house", "--history", "old day", "-n", 4, "--json"))
        self.assertAlmostEqual(r["rows"][0]["values"]["best_score"][0], one["candidates"][0]["score"], places=5)
        fixed = self.measured("recipe", "latency", *args, "--prompt-tokens", 20)[0]
        self.assertEqual(fixed["rows"][0]["counts"]["prompt_tokens"], 20)
        with open(lines, "w") as f:
            f.write("nothing known\n")
        self.refused(1, "the first request of n = 4 failed: ", "bench", "latency", *args, "--prompts", lines)

    # ---- the page

    def test_page_needs_nothing_else(self):
        commit = "abcdef0123-changed"
        _, _, text, _ = self.measured("page", "latency", *self.models, *self.short, "-n", "1,4", "--runs", 2, "--commit", commit, "--min-p", "0.01")
        page = Page(text)
        self.assertEqual(page.loads, [])
        self.assertNotIn("url(", text)
        self.assertNotIn("script", page.tags)
        self.assertGreater(page.tags.count("svg"), 4)
        self.assertIn("prefers-color-scheme:dark", text)
        words = " ".join(page.text)
        for said in ("What it means", "How it was measured", "milliseconds", "n separate requests", "forkcast 0.", commit, "min_p", "0.01", "novelty.gguf",
                     "random ids, others in every run", "bench latency --novelty", "p90~", "p99~", "moved MB", "a candidate"):
            self.assertIn(said, words)
        self.assertRegex(words, r"temperature\s+1\b")  # how it was drawn and scored, though nobody said it
        self.assertRegex(words, r"alignment_mode\s+loglik-mean")
        self.assertNotIn("the machine's limit", page.text)  # in a legend: --no-limits, and so no curve
        self.assertRegex(words, r"date\s+20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")

    def test_text_of_others_is_no_markup(self):
        path = self.path("<b>&x.txt")
        with open(path, "w") as f:
            f.write("Hello\n")
        _, _, text, _ = self.measured("marks", "latency", *self.models, "--prompts", path, "-n", 1, "--runs", 1, "--no-limits")
        self.assertNotIn("b", Page(text).tags)
        self.assertIn("&lt;b&gt;&amp;x.txt", text)

    # ---- compare

    def written(self, name, result):
        path = self.path(name)
        with open(path, "w") as f:
            json.dump(result, f)
        return path

    def test_compare_sees_what_is_worse(self):
        a = self.measured("a", "latency", *self.models, *self.short, "-n", "1,4", "--runs", 12)[0]
        for row in a["rows"]:  # as on a quiet machine
            row["seconds"] = {k: [0.01 + 0.0001 * i for i in range(12)] for k in row["seconds"]}
        slow = copy.deepcopy(a)
        for row in slow["rows"]:
            row["seconds"] = {k: [3 * v for v in values] for k, values in row["seconds"].items()}
        a_path, slow_path = self.written("a.json", a), self.written("slow.json", slow)
        self.assertIn("B is worse in 0 of 2 cases", self.bench("compare", a_path, a_path))
        code, out, err = run("bench", "compare", a_path, slow_path)
        self.assertEqual(code, 3, err)
        self.assertIn("3.0000 (", out.decode())
        self.assertIn("B is worse in 2 of 2 cases", out.decode())
        self.assertIn("B is better", self.bench("compare", slow_path, a_path))
        self.bench("compare", a_path, slow_path, "--margin", 100000)
        few = copy.deepcopy(slow)
        for row in few["rows"]:
            row["seconds"] = {k: v[:3] for k, v in row["seconds"].items()}
        self.assertIn("12 and 3 samples: too few, 5 are needed", self.unknown(a_path, self.written("few.json", few)))
        other = copy.deepcopy(a)
        other["settings"]["threads"] = "7"
        other["machine"]["cpu"] = "another"
        other["settings"]["seed"] = "99"
        path = self.written("other.json", other)
        code, out, err = run("bench", "compare", a_path, path)
        self.assertEqual((code, out), (2, b""))
        self.assertIn("cpu: ", err)
        self.assertIn("threads: 1 and 7", err)
        self.assertNotIn("seed", err)
        self.assertIn("not measured alike: ", self.bench("compare", a_path, path, "--anyway"))
        del other["rows"][0]
        path = self.written("fewer.json", other)
        self.assertIn("only in A: job latency, n 1, ", self.worse(a_path, path, "--anyway"))
        self.assertIn("only in B: job latency, n 1, ", self.bench("compare", path, a_path, "--anyway"))

    # If this fails, a comparison that says nothing passes a gate as one that found nothing.
    def test_compare_says_what_it_cannot_judge(self):
        a = self.measured("a", "latency", *self.models, *self.short, "-n", "1,4", "--runs", 12)[0]
        for row in a["rows"]:
            row["seconds"] = {k: [0.01 + 0.0001 * i for i in range(12)] for k in row["seconds"]}
        a_path = self.written("a.json", a)

        def changed(*changes):
            b = copy.deepcopy(a)
            for row, change in zip(b["rows"], changes):
                row["seconds"]["total"] = change(row["seconds"]["total"])
            return self.written("b.json", b)

        def few(times):
            return times[:4]
        said = self.unknown(a_path, changed(few))
        self.assertEqual(said.count("  not judged: too few total times\n"), 1, said)
        self.assertIn("1 of 2 cases could not be judged, so that B may be worse there\nB is worse in 0 of 1 cases", said)
        self.assertIn("2 of 2 cases could not be judged", self.unknown(a_path, changed(few, few)))
        self.assertIn("  not judged: no times in A\n", self.unknown(changed(lambda times: []), a_path))
        said = self.worse(a_path, changed(few, lambda times: [3 * t for t in times]))  # what is found is found
        self.assertIn("1 of 2 cases could not be judged", said)
        self.assertIn("a median of 0 has no ratio", self.unknown(changed(lambda times: [0] * 12), a_path))
        b = copy.deepcopy(a)
        for row in b["rows"]:
            del row["seconds"]["total"]
        path = self.written("b.json", b)
        self.assertIn("  not judged: total times are not in both\n", self.unknown(path, path))
        for row in a["rows"]:  # a search that gave up early at some rate tried another
            row["counts"]["kept"] = 0
        a["rows"][0]["seconds"]["total"] = []
        path = self.written("a.json", a)
        self.assertNotIn("could not be judged", self.compared(0, path, path))
        a["rows"][1]["seconds"]["total"] = []
        path = self.written("a.json", a)
        self.assertIn("0 of 0 cases could not be judged", self.unknown(path, path))

    # If this fails, --anyway promises a comparison and finds no case for it.
    def test_compare_sets_aside_what_differs_as_a_whole(self):
        a = self.measured("a", "latency", *self.models, *self.short, "-n", "1,4", "--runs", 6)[0]
        b = self.measured("b", "latency", *self.models, "--prompt-tokens", 30, "--max-tokens", 7, "--threads", 1, "--no-limits", "-n", "4,8", "--runs", 6)[0]
        for row in a["rows"] + b["rows"]:
            row["seconds"] = {"total": [0.01 + 0.0001 * i for i in range(6)]}
        a_path, b_path = self.written("a.json", a), self.written("b.json", b)
        differ = "prompt_tokens: 24 and 30; max_tokens: 6 and 7; P: 24 and 30; G: 6 and 7"
        self.refused(2, f"A and B were not measured alike: {differ}; --anyway compares", "bench", "compare", a_path, b_path)
        said = self.worse(a_path, b_path, "--anyway")
        self.assertIn(f"not measured alike: {differ}\n", said)
        self.assertIn("\njob latency, n 4, loop closed, concurrency 1, forkcast\n  total", said)
        self.assertIn("only in A: job latency, n 1, loop closed, concurrency 1, forkcast\n  no such case in B  B is worse\n", said)
        self.assertIn("only in B: job latency, n 8, ", said)
        self.assertIn("B is worse in 1 of 2 cases", said)
        b["rows"][1]["case"]["P"] = 24  # lengths that vary in one of them are cases again
        self.refused(2, "A and B have no case in common", "bench", "compare", a_path, self.written("b.json", b), "--anyway")
        b = copy.deepcopy(a)
        for row in b["rows"]:
            row["subject"]["name"] = "vllm"
            row["case"].update(loop="open", rate=5)
            del row["case"]["concurrency"]
        said = self.bench("compare", a_path, self.written("b.json", b), "--anyway")
        self.assertIn("not measured alike: loop: closed and open; concurrency: 1 and nothing; rate: nothing and 5; subject: forkcast and vllm\n", said)
        self.assertIn("\njob latency, n 1, P 24, G 6\n  total", said)
        for result, n in ((a, 2), (b, 3)):
            del result["rows"][1]
            result["rows"][0]["case"] = {"n": n}
        said = self.bench("compare", self.written("a.json", a), self.written("b.json", b), "--anyway")
        self.assertIn("n: 2 and 3; subject: forkcast and vllm\n", said)
        self.assertIn("\nthe only case\n  total", said)

    # If this fails, a server that fails fast, or not at all any more, passes for as good.
    def test_compare_sees_failures(self):
        a = self.measured("a", "latency", *self.models, *self.short, "-n", "1,4", "--runs", 12)[0]
        for row in a["rows"]:
            row["seconds"] = {k: [0.01 + 0.0001 * i for i in range(12)] for k in row["seconds"]}
        a_path = self.written("a.json", a)

        def changed(*changes):
            b = copy.deepcopy(a)
            for row, change in zip(b["rows"], changes):
                change(row)
            return self.written("b.json", b)

        def fails(n):
            def change(row):
                row["seconds"]["total"] = row["seconds"]["total"][n:]
                row["counts"].update(failures=n)
            return change
        some = self.worse(a_path, changed(fails(7)))
        self.assertIn("failed         0 of 12 in A, 7 of 12 in B; by luck in 0.23 % of runs  B is worse", some)
        self.assertIn("B is worse in 1 of 2 cases that could be judged", some)
        self.assertIn("1 of 12 in B; by luck in 50 % of runs\n", self.bench("compare", a_path, changed(fails(1))))
        self.bench("compare", changed(fails(7)), a_path)  # fewer are not worse
        self.assertIn("  no times in B  B is worse\n", self.worse(a_path, changed(fails(12))))
        b = copy.deepcopy(a)
        del b["rows"][0]
        gone = self.worse(a_path, self.written("b.json", b))
        self.assertRegex(gone, r"only in A: job latency, n 1, .*\n  no such case in B  B is worse\n")
        self.assertIn("B is worse in 1 of 2 cases", gone)
        a["rows"][0]["counts"]["kept"] = 1  # a search tries other rates every time
        self.bench("compare", self.written("a.json", a), self.written("b.json", b))
        for bad in ({"failures": 13}, {"failures": -1}, {"failures": 0.5}, {"requests": "12"}):
            self.refused(1, "b.json: it is no result", "bench", "compare", a_path, changed(lambda row: row["counts"].update(bad)))

    def test_compare_says_what_its_confidence_is_of(self):
        path = "bench/results/2026-11-26-peers.json"
        said = self.bench("compare", path, path)
        self.assertIn("intervals of totals hold together with 95 % confidence", said)
        self.assertIn("that the intervals of all total times hold together", self.bench("compare", "--help"))

    # If this fails, two runs that did different work are compared as one.
    def test_compare_tells_runs_apart(self):
        def holds(name, text):
            def write():
                with open(self.path(name), "w") as f:
                    f.write(text if isinstance(text, str) else json.dumps(text))
            return write
        once = (*self.models, "-n", 2, "--runs", 1, "--no-separate", "--no-regret", "--threads", 1, "--no-limits", "--max-tokens", 6)
        ids = (*once, "--prompt-tokens", 24)
        self.assertIn("warm_up: 1 and 2", self.unlike("warm_up", "latency", ids, (*ids, "--warm-up", 2)))
        judge = (*ids, "--mode", "judge", "--label", "a")
        self.assertIn("suffix: nothing and !", self.unlike("suffix", "latency", (*judge, "--label", "b"), (*judge, "--label", "b", "--suffix", "!")))
        self.assertIn("label: a; b and a; c", self.unlike("label", "latency", (*judge, "--label", "b"), (*judge, "--label", "c")))
        self.unlike("top_k", "latency", (*ids, "--top-k", 3), (*ids, "--top-k", 3, "--top-k", 4))
        for folder in ("one", "other"):
            lora(self.path(folder), 0.5)
        by = (*ids, "--novelty-adapter", "a", "--adapter")
        self.assertIn("adapter: a=one and a=other", self.unlike("adapter", "latency", (*by, f"a={self.path('one')}"), (*by, f"a={self.path('other')}")))
        for folder, scale in (("one", 0.5), ("two/one", 0.25)):
            lora(self.path(folder), scale)
        for role in ("novelty", "alignment"):
            used = (*ids, f"--{role}-adapter", "a", "--adapter")
            self.unlike(f"{role}_adapter_hash", "latency", (*used, f"a={self.path('one')}"), (*used, f"a={self.path('two/one')}"))
        for folder, seed in (("x", 1), ("y", 2)):
            os.makedirs(self.path(folder), exist_ok=True)
            self.ok("tiny", self.path(f"{folder}/model.gguf"), "--seed", seed)
        for role, other in (("novelty", "alignment"), ("alignment", "novelty")):
            runs = [(f"--{role}", self.path(f"{folder}/model.gguf"), f"--{other}", self.novelty, *ids[4:]) for folder in "xy"]
            self.unlike(f"{role}_hash", "latency", *runs)
        lines = (*once, "--prompts", self.path("lines.txt"))
        self.unlike("prompts_hash", "latency", (holds("lines.txt", "Hello\n"), *lines), (holds("lines.txt", "Hallo\n"), *lines))
        names = (*once[:-2], "--max-tokens", 40, "--prompt-tokens", 24, "--constraint", "mask", "--taxonomy", self.path("few.tsv"))
        table = "# id\tname\tkeywords\n1\tlight house\tk\n2\told day\t"
        self.unlike("names", "latency", (holds("few.tsv", table + "k\n"), *names), (holds("few.tsv", table + "j\n"), *names))
        recipe = {"novelty": {"model": "novelty.gguf", "template": "{prompt}"}, "alignment": {"model": "alignment.gguf"}, "n": 4, "keep": 2}
        said = ("--recipe", self.path("same.json"), "--prompt-tokens", 24, "-n", 2, "--runs", 1, "--no-separate", "--threads", 1, "--no-limits", "--max-tokens", 6)
        self.unlike("recipe_hash", "latency", (holds("same.json", recipe), *said), (holds("same.json", {**recipe, "keep": 1}), *said))

    def test_compare_reads_results_of_peers(self):
        path = "bench/results/2026-11-26-peers.json"
        self.assertIn("B is worse in 0 of", self.bench("compare", path, path))

    def test_compare_refuses(self):
        bad = self.written("bad.json", {"rows": [{"case": {}, "subject": {}, "seconds": 5}]})
        self.refused(1, "bad.json: it is no result", "bench", "compare", bad, bad)
        self.refused(1, "nowhere.json", "bench", "compare", "nowhere.json", bad)
        self.refused(2, "two results are compared, and 1 are given", "bench", "compare", bad)
        self.refused(2, "--confidence: 100 is not between", "bench", "compare", bad, bad, "--confidence", 100)

    # ---- what is wrong

    def test_wrong_arguments_are_named(self):
        def told(words, *args):
            self.refused(2, words, "bench", "latency", *args)
        told('-n: "0,4" is not a list of numbers from 1 to 256', *self.models, *self.short, "-n", "0,4")
        told("-n: 4 is there twice", *self.models, *self.short, "-n", "4,4")
        told('-n: "257"', *self.models, *self.short, "-n", "257")
        for rate in ("1,x", "-3", "0", "0.0009", "1000001", "1e300", "inf", "nan"):
            told(f'--rate: "{rate}" is not a list of numbers from 0.001 to 1e+06', *self.models, *self.short, "--rate", rate)
        told("give --prompt-tokens or --prompts\n", *self.models)
        told("give --prompt-tokens or --prompts, not both", *self.models, *self.short, "--prompts", "x")
        told("--alignment: a model is needed", "--novelty", self.novelty, *self.short)
        told("--novelty: a model is needed", *self.short)
        told("--concurrency: an open loop", *self.models, *self.short, "--rate", 5, "--concurrency", 2)
        told("--commit: \"abc\" is no commit", *self.models, *self.short, "--commit", "abc")
        told("--api: it belongs to --url", *self.models, *self.short, "--api", "vllm")
        told("--histories: it belongs to --url and --prompts", *self.models, *self.short, "--histories")
        self.refused(1, "--out: ", "bench", "latency", *self.models, *self.short, "--out", self.path("nowhere/x"))
        self.refused(1, "no prompts; it takes one a line", "bench", "latency", *self.models, "--prompts", "/dev/null")
        self.refused(1, "the first request of n = 1 failed: ", "bench", "latency", *self.models, "--prompt-tokens", 100000)
        self.refused(2, 'unknown part "fly"', "bench", "fly")
        self.assertEqual(run("bench")[0], 2)
        for part in ("latency", "frontier", "capacity", "compare"):
            self.assertIn(f"usage: forkcast bench {part}", self.bench(part, "--help"))


if __name__ == "__main__":
    main()
