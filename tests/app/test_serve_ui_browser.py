"""The page of `forkcast serve` in a real browser: what is asked is shown, by mouse and by keyboard, in the dark, on a phone, and no text
that a model or a user writes becomes HTML. Needs Debian's `chromium`.

    python3 tests/app/test_serve_ui_browser.py --screenshot    makes engine/app/serve/ui.png, with SmolLM2
"""
import json
import os
import socket
import sys
import tempfile
import time
import unittest

from util_chromium import PROGRAM, Chromium
from util_cli import ROOT
from util_serve import Serve, alignment, main, novelty, slow

DONE = "/^Done/.test(document.getElementById('status').textContent) || document.getElementById('error').textContent"
PROMPT = "the night of the craft"
EVIL = "<img src=x onerror=window.bad=1>"
LEAVES = """[...document.querySelectorAll('#tree [data-candidates]')].map(e => ({
  candidates: e.dataset.candidates.split(' ').map(Number), many: e.querySelector('.many').textContent,
  score: e.querySelector('.score').textContent, rank: (e.querySelector('.rank') || {textContent: ''}).textContent,
  text: [...function*(li) { for (; li; li = li.parentElement.closest('li')) yield li; }(e.closest('li'))]
    .map(li => li.querySelector('.text')).filter(t => !t.classList.contains('prompt')).map(t => t.textContent).reverse().join('')}))"""
SUMS = """[...document.querySelectorAll('#tree li')].filter(li => li.querySelector(':scope > ul')).map(li => {
  const many = e => Number(e.querySelector('.many').textContent.slice(1));
  const own = li.firstElementChild.dataset.candidates;
  return [many(li), [...li.querySelector(':scope > ul').children].reduce((n, k) => n + many(k), own ? own.split(' ').length : 0)]})"""
TABLE = "[...document.querySelectorAll('#%s tr')].map(r => [...r.cells].map(c => c.textContent))"
FACTS = "Object.fromEntries([...document.querySelectorAll('#confidence div')].map(d => [d.children[0].textContent, d.children[1].textContent]))"
# Of the text of each visible element on what lies behind it, by WCAG 2: the worst.
CONTRAST = """(() => {
  const rgb = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => c.slice(0, 3).map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] !== 0) return c; } };
  let worst = [99, ''];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.tagName === 'INPUT';
    if (!own || !e.checkVisibility() || e.getAttribute('aria-disabled') === 'true' || e.closest('svg')) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((p, q) => q - p);
    if ((a + 0.05) / (b + 0.05) < worst[0]) worst = [(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 80)];
  }
  return worst;
})()"""


def number(text):
    return float(text.replace("\u2212", "-"))


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory()
        cls.d = Chromium()
        cls.s = Serve("--novelty", novelty(), "--alignment", alignment(), "--served-model-name", "tiny")

    @classmethod
    def tearDownClass(cls):
        cls.d.__exit__()
        code = cls.s.stop()
        cls.s.__exit__()
        cls.dir.cleanup()
        assert code == 0

    def setUp(self):
        self.d.complaints.clear()
        self.d.size(1200, 900)
        self.d.scheme("light")

    def tearDown(self):
        self.assertEqual(self.d.complaints, [], "against the policy, or an error of the script")
        self.assertIsNone(self.d.js("window.bad ?? null"))

    def open(self, s=None):
        self.d.open(f"http://{(s or self.s).address}/")
        self.d.until("document.getElementById('about').textContent.includes(':') || document.getElementById('key').checkVisibility()")

    def ask(self, s=None, **fields):
        self.open(s)
        for id, value in fields.items():
            self.d.put(id, value)
        self.d.click("run")
        self.d.until(DONE)

    def served(self, **ask):
        return self.s.ok("/v1/completions", {"prompt": PROMPT, "seed": 3, "max_tokens": 3, **ask})

    # If this fails, the page shows something else than the server has answered.
    def test_shows_the_answer(self):
        for temperature in (0.3, 1):  # the first one makes some of them equal
            self.ask(prompt=PROMPT, n=8, keep=3, seed=3, max_tokens=3, temperature=temperature)
            self.assertEqual(self.d.text("error"), "")
            record = self.served(n=3, best_of=8, temperature=temperature, forkcast={"all": True})["best_of"]
            kept, c = record["candidates"], record["confidence"]
            rows = self.d.js(TABLE % "kept")
            self.assertEqual([(int(r[0]), int(r[3]), r[4]) for r in rows], [(k["rank"], k["votes"], k["text"]) for k in kept])
            for r, k in zip(rows, kept):
                self.assertAlmostEqual(number(r[1]), k["score"], places=3)
                self.assertAlmostEqual(number(r[2]), k["logprob"], places=3)
            leaves = self.d.js(LEAVES)
            self.assertEqual(sorted(i for x in leaves for i in x["candidates"]), list(range(8)))
            self.assertEqual(len(leaves), c["distinct"])
            for x in leaves:
                same = [record["all_candidates"][i] for i in x["candidates"]]
                self.assertEqual(x["many"], "\u00d7%d" % len(same))
                self.assertAlmostEqual(number(x["score"].removeprefix("score ")), same[0]["score"], places=2)
                self.assertEqual({json.dumps(a["tokens"]) for a in same}, {json.dumps(same[0]["tokens"])})
                rank = [k["rank"] for k in kept if k["index"] in x["candidates"]]
                self.assertEqual(x["rank"], f"kept, rank {rank[0]}" if rank else "")
            self.assertEqual(sum(bool(x["rank"]) for x in leaves), len(kept))
            sums = self.d.js(SUMS)
            self.assertEqual(sums[0][0], 8)
            self.assertTrue(all(a == b for a, b in sums), sums)
            facts = self.d.js(FACTS)
            self.assertEqual((int(facts["distinct"]), int(facts["n used"]), facts["valid mass"]), (c["distinct"], 8, "\u2013"))
            for name, key in (("entropy, nats", "entropy"), ("margin", "margin"), ("log-prob of the best", "logprob")):
                self.assertAlmostEqual(number(facts[name]), c[key], places=3)
            self.assertAlmostEqual(number(facts["vote share"].removesuffix(" %")), 100 * c["vote_share"], places=1)
            apart, here = (sum(int(r[k]) for r in self.d.js(TABLE % "rows")) for k in (1, 2))
            flat = sum(v for k, v in record["accounting"].items() if k.startswith("rows_flat"))
            self.assertEqual(apart, flat)
            self.assertTrue(self.d.text("saved").startswith(f"{apart - here} of {apart} tokens ("), self.d.text("saved"))
            self.assertIn(f"8 candidates, {c['distinct']} distinct, 3 kept", self.d.text("status"))
            self.assertEqual(self.d.js("document.querySelectorAll('#plot circle').length"), 1)

    # If this fails, candidates that come without their tokens are not shown.
    def test_every_way_to_draw(self):
        self.ask(prompt=PROMPT, n=4, keep=4, seed=3, max_tokens=3)  # live: nothing is left out
        kept = self.served(n=4, best_of=4)["best_of"]["candidates"]
        self.assertEqual([r[4] for r in self.d.js(TABLE % "kept")], [k["text"] for k in kept])
        names = {"Tea", "Te", "Teapots", "Jazz"}
        taxonomy, path = os.path.join(self.dir.name, "names.tsv"), os.path.join(self.dir.name, "draw.json")
        with open(taxonomy, "w") as f:
            f.write("".join(f"{name}\t{name}\tword\n" for name in sorted(names)))
        for more in ({"constraint": "mask"}, {"constraint": "mask", "draw": "sbs"}, {"constraint": "mask", "draw": "topk"},
                     {"constraint": "mask", "n_max": 16, "stop_when": "stable:2"}, {"constraint": "mask", "token_budget": 12},
                     {"constraint": "reject", "reject_budget": 3}):
            with open(path, "w") as f:
                json.dump({"novelty": {"model": novelty()}, "alignment": {"model": alignment()}, "taxonomy": taxonomy, "sampling": {"max_tokens": 12}, **more}, f)
            with Serve("--recipe", path) as s:
                self.ask(s, prompt=PROMPT, n=4, keep=2, seed=1)
                self.assertEqual(self.d.text("error"), "", more)
                ask = {"prompt": PROMPT, "best_of": 4, "n": 2, "seed": 1, "forkcast": {"all": True}}
                record = s.ok("/v1/completions", ask)["best_of"]
                leaves = self.d.js(LEAVES)
                self.assertEqual({i: x["text"].removesuffix("(end)") for x in leaves for i in x["candidates"]},
                                 {c["index"]: c["text"].replace("\n", "\u21b5").replace("\t", "\u21e5") for c in record["all_candidates"]}, more)
                self.assertEqual([x["rank"] for x in leaves].count(""), len(leaves) - len(record["candidates"]))
                if more["constraint"] == "mask":
                    self.assertLessEqual({x["text"].removesuffix("(end)") for x in leaves}, names)

    # If this fails, whoever waits for a slow model sees nothing until it is over.
    def test_grows_while_it_waits(self):
        with Serve("--novelty", slow(), "--alignment", slow()) as s:
            self.open(s)
            self.d.js("""window.seen = []; new MutationObserver(() => {
                const t = document.getElementById('tree');
                seen.push([t.innerText.length, t.querySelectorAll('[data-candidates]').length, /score/.test(t.innerText), /kept/.test(t.innerText),
                           document.getElementById('progress').textContent]);
            }).observe(document.getElementById('tree'), {childList: true}); 0""")
            for id, value in (("prompt", PROMPT), ("n", 6), ("keep", 2), ("max_tokens", 800), ("seed", 1)):
                self.d.put(id, value)
            self.d.click("run")
            self.d.until(DONE)
            seen = self.d.js("seen")
            before = [x for x in seen if not x[3]]
            self.assertGreater(len(before), 3)
            lengths = [x[0] for x in before]
            self.assertGreater(len(set(lengths)), 2, "the tree has not grown")
            self.assertTrue(seen[-1][3])
            self.assertIn("0 of 6 ended, 0 scored", [x[4] for x in seen])
            # Stop: by then it has begun, and the server lets go of it
            self.d.put("max_tokens", 1500)
            self.d.click("run")
            self.d.until("document.getElementById('tree').innerText.length > 100")
            self.d.click("stop")
            self.d.until("document.getElementById('status').textContent === 'Stopped.'")
            s.until("vllm:num_requests_running", 0)
            self.assertEqual(self.d.js("document.getElementById('stop').getAttribute('aria-disabled')"), "true")

    # If this fails, who has no mouse cannot use it.
    def test_by_keyboard_alone(self):
        self.open()
        order, outlines = [], []
        for _ in range(11):
            self.d.key("Tab")
            order.append(self.d.js("document.activeElement.id"))
            outlines.append(self.d.js("(s => s.outlineStyle + ' ' + s.outlineWidth)(getComputedStyle(document.activeElement))"))
        self.assertEqual(order, ["prompt", "interest1", "interest2", "n", "keep", "temperature", "max_tokens", "seed", "run", "stop", "sweep"])
        self.assertEqual(set(outlines), {"solid 3px"})
        self.open()
        said = {"prompt": PROMPT, "n": "4", "keep": "2", "max_tokens": "3", "seed": "3"}
        for _ in range(9):
            self.d.key("Tab")
            id = self.d.js("document.activeElement.id")
            if id in ("n", "keep"):
                self.d.key("Backspace")  # what stands there is selected
            self.d.type(said.get(id, ""))
        self.d.key("Enter")  # on Run
        self.d.until(DONE)
        kept = [k["text"] for k in self.served(n=2, best_of=4)["best_of"]["candidates"]]
        self.assertEqual([r[4] for r in self.d.js(TABLE % "kept")], kept)
        self.assertEqual(self.d.js("document.activeElement.id"), "run", "the focus is where it was")
        self.assertEqual(self.d.js("['status', 'error'].map(id => document.getElementById(id).getAttribute('role'))"), ["status", "alert"])
        for _ in range(3):
            self.d.key("Tab")
        self.assertEqual(self.d.js("document.activeElement.tagName"), "SUMMARY")
        self.d.key("Enter")
        self.assertTrue(self.d.js("document.getElementById('runs').checkVisibility()"))
        self.d.js("document.getElementById('prompt').focus()")
        self.d.key("Enter", modifiers=2)
        self.d.until("document.querySelectorAll('#runs tr').length === 2")

    def test_dark_and_narrow(self):
        self.ask(prompt=PROMPT + " " + "x" * 120, n=8, keep=3, seed=3, max_tokens=12)
        grounds = []
        for scheme in ("light", "dark"):
            for width in (360, 1200):
                self.d.scheme(scheme)
                self.d.size(width, 800)
                self.assertEqual(self.d.js("document.documentElement.scrollWidth"), self.d.js("document.documentElement.clientWidth"), (scheme, width))
                self.assertEqual(self.d.js("innerWidth"), width)
                self.assertEqual(self.d.js("[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth)"
                                           ".map(e => e.outerHTML.slice(0, 80))"), [], (scheme, width))
                self.assertEqual(self.d.js("[...document.querySelectorAll('section *')].filter(e => e.getBoundingClientRect().right >"
                                           "e.closest('section').getBoundingClientRect().right - 10).map(e => e.outerHTML.slice(0, 80))"), [])
                worst = self.d.js(CONTRAST)
                self.assertGreaterEqual(worst[0], 4.5, worst)
            grounds.append(self.d.js("getComputedStyle(document.body).backgroundColor"))
        light, dark = (sum(map(int, g[4:-1].split(","))) for g in grounds)
        self.assertGreater(light, 600)
        self.assertLess(dark, 150)

    # If this fails, who writes a prompt or trains a model runs code in the browser of whoever looks.
    def test_text_is_text(self):
        self.ask(prompt=EVIL + "</script><script>window.bad=2</script>", n=4, keep=2, max_tokens=4)
        self.assertEqual(self.d.text("error"), "")
        self.assertIn(EVIL + "</script><script>window.bad=2", self.d.text("tree"))
        taxonomy, path = os.path.join(self.dir.name, "evil.tsv"), os.path.join(self.dir.name, "evil.json")
        with open(taxonomy, "w") as f:
            f.write(f"a\tTea\tleaves\nb\t{EVIL}\tpots\nc\t<b>bold</b>\tink\n")
        with open(path, "w") as f:
            json.dump({"novelty": {"model": novelty(), "template": "Likes {history}:"}, "taxonomy": taxonomy, "constraint": "mask", "sampling": {"max_tokens": 40},
                       "alignment": {"model": alignment(), "template": "Also {history}:"}}, f)
        with Serve("--recipe", path, "--served-model-name", EVIL, "--served-model-name", "two") as s:
            self.ask(s, interest1="Tea", interest2=EVIL, n=16, keep=3, seed=1)
            self.assertEqual(self.d.text("error"), "")
            texts = [r[4] for r in self.d.js(TABLE % "kept")]
            self.assertEqual(set(texts), {"Tea", EVIL, "<b>bold</b>"})
            self.assertEqual({x["text"] for x in self.d.js(LEAVES)}, set(texts))
            self.assertIn(f"Likes Tea, {EVIL}:", self.d.text("tree"))
            self.assertIn(EVIL, self.d.text("about"))
            self.assertEqual(self.d.js("[...document.querySelectorAll('#model option')].map(o => o.value)"), [EVIL, "two"])
            self.ask(s, interest1=EVIL + "?")  # an error quotes it
            self.assertIn(EVIL + "?", self.d.text("error"))
        self.assertEqual(self.d.js("document.querySelectorAll('img, b, script:not(:last-child)').length"), 0)

    # If this fails, the policy is a header and no more: what is written into the page would run.
    def test_policy_holds(self):
        self.open()
        self.d.js("window.broken = []; addEventListener('securitypolicyviolation', e => broken.push(e.effectiveDirective)); 0")
        for code in ("document.body.innerHTML = '<b>x</b>'", "eval('1')", "document.createElement('script').text = 'window.bad = 1'",
                     "document.body.setAttribute('onclick', 'window.bad = 1')"):
            self.assertTrue(self.d.js(f"(() => {{ try {{ {code}; return false; }} catch {{ return true; }} }})()"), code)
        self.assertTrue(self.d.js("fetch('http://localhost:1/').then(() => false, () => true)"))
        self.d.js("document.body.setAttribute('style', 'color: red'); document.body.click()")
        self.d.until("broken.length >= 5")
        self.assertLessEqual({"require-trusted-types-for", "connect-src", "style-src-attr"}, set(self.d.js("broken")))
        self.d.complaints.clear()

    def test_errors(self):
        for fields, field, word in (({"prompt": PROMPT, "n": 0}, "n", "n"), ({"prompt": PROMPT, "n": 2, "keep": 5}, "n", "at least"),
                                    ({"prompt": PROMPT, "temperature": -1}, "temperature", "temperature"), ({}, "prompt", "prompt"),
                                    ({"interest1": "Tea"}, "interest1", "hole"), ({"prompt": PROMPT, "n": 65}, "n", "at most 64")):
            self.ask(**fields)
            said = self.d.text("error")
            self.assertIn(word, said)
            self.assertEqual(self.d.js("[document.activeElement.id, document.activeElement.getAttribute('aria-invalid')]"), [field, "true"], said)
            self.assertEqual(self.d.text("status"), "")
        self.d.put("interest1", "")
        self.d.put("n", 4)
        self.d.click("run")
        self.d.until(DONE)
        self.assertEqual((self.d.text("error"), self.d.js("document.querySelectorAll('[aria-invalid]').length")), ("", 0))
        with Serve("--novelty", slow(), "--alignment", slow(), "--request-ms", 300) as s:  # an error behind the first bytes of a stream
            self.ask(s, prompt=PROMPT, n=4, max_tokens=4000)
            self.assertIn("300 ms", self.d.text("error"))
            s.stop()
            self.d.click("run")
            self.d.until("document.getElementById('error').textContent === 'The server does not answer.'")

    # If this fails, who opens the page early has to load it again.
    def test_while_it_loads(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with Serve("--novelty", "like:smollm2-135m", "--alignment", "none", "--served-model-name", "late", ready=False, address=("--port", port)) as s:
            s.address = f"127.0.0.1:{port}"
            while s.p.poll() is None:
                try:
                    s.connect().s.close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.01)
            self.d.call("Page.navigate", url=f"http://{s.address}/")
            self.d.until("/being loaded; try again/.test((document.getElementById('error') || {}).textContent)")
            self.d.until("document.getElementById('about').textContent.startsWith('late:')")
            self.assertEqual(self.d.text("error"), "")

    def test_keys(self):
        path = os.path.join(self.dir.name, "keys")
        with open(path, "w") as f:
            f.write("a-key-of-ours\n")
        self.open()
        self.assertFalse(self.d.js("document.getElementById('key').checkVisibility()"))
        with Serve("--novelty", novelty(), "--alignment", alignment(), "--api-key-file", path) as s:
            self.ask(s, prompt=PROMPT, key="another-key")
            self.assertIn("API key", self.d.text("error"))
            self.assertEqual(self.d.js("document.activeElement.id"), "key")
            self.ask(s, prompt=PROMPT, key="cl\u00e9 \u9375")
            self.assertIn("ASCII", self.d.text("error"))
            self.ask(s, prompt=PROMPT, key="a-key-of-ours", max_tokens=2)
            self.assertEqual(self.d.text("error"), "")
            self.open(s)
            self.assertEqual(self.d.js("document.getElementById('key').value + document.cookie + localStorage.length + sessionStorage.length"), "00")
            self.assertNotIn("a-key-of-ours", s.logged())

    # If this fails, the plot shows what a cache has saved, or not what was measured.
    def test_latency(self):
        self.open()
        for id, value in (("prompt", PROMPT), ("keep", 2), ("max_tokens", 4), ("seed", 1)):
            self.d.put(id, value)
        self.d.click("sweep")
        self.d.until(DONE)
        self.assertEqual(self.d.text("error"), "")
        rows = self.d.js(TABLE % "runs")
        self.assertEqual([int(r[0]) for r in rows], [1, 2, 4, 8, 16, 32, 64])
        self.assertTrue(all(float(r[1]) > 0 and float(r[1]) >= float(r[2]) for r in rows), rows)
        self.assertEqual(self.d.js("['circle.dot', '.measured', '.separate'].map(q => document.querySelectorAll('#plot ' + q).length)"), [7, 1, 1])
        self.assertNotIn("score cache", self.d.text("saved"))
        xs = self.d.js("[...document.querySelectorAll('#plot circle')].map(c => [Number(c.getAttribute('cx')), Number(c.getAttribute('cy'))])")
        self.assertEqual(xs, sorted(xs, key=lambda p: p[0]))
        tallest = max(range(7), key=lambda i: float(rows[i][1]))
        self.assertEqual(min(range(7), key=lambda i: xs[i][1]), tallest)
        self.assertTrue(all(0 < y < 200 and 0 < x < 340 for x, y in xs))
        self.d.click("run")
        self.d.until("document.querySelectorAll('#plot circle.single').length === 1")
        self.d.click("sweep")  # again: in place of the first
        self.d.until("/latency/.test(document.getElementById('status').textContent)")
        self.assertEqual(len(self.d.js(TABLE % "runs")), 8)

    def test_without_script(self):
        self.d.call("Emulation.setScriptExecutionDisabled", value=True)
        try:
            self.d.call("Page.navigate", url=f"http://{self.s.address}/?")
            self.d.until("document.readyState === 'complete' && document.body.innerText.includes('needs JavaScript')")
            self.assertFalse(self.d.js("document.getElementById('ask').checkVisibility()"))
        finally:
            self.d.call("Emulation.setScriptExecutionDisabled", value=False)


def screenshot(path):
    with Serve("--recipe", "interests") as s, Chromium(1000, 800) as d:
        d.open(f"http://{s.address}/")
        for id, value in (("interest1", "Chess"), ("interest2", "Jazz"), ("seed", 1)):
            d.put(id, value)
        d.click("sweep")
        d.until(DONE)
        d.put("n", 16)
        d.click("run")
        d.until("document.querySelectorAll('#plot circle').length === 8 && !document.getElementById('kept-section').hidden")
        d.size(1000, d.js("document.documentElement.scrollHeight"))
        d.screenshot(path)
    print(f"{path}: {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    if not PROGRAM:
        print("skipped: there is no chromium (Debian: chromium)")
        sys.exit(77)
    if sys.argv[1:] == ["--screenshot"]:
        os.chdir(ROOT)
        sys.exit(screenshot("engine/app/serve/ui.png"))
    main()
