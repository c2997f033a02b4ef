"""The page that `forkcast serve` has at /: its headers, and what its file may hold. test_serve_ui_browser.py runs it."""
import base64
import glob
import hashlib
import os
import re
import tempfile
import unittest
from html.parser import HTMLParser

from util_cli import ROOT
from util_serve import Serve, alignment, main, novelty

HEAD = b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n"
ALONE = {"meta", "link", "input", "br", "hr", "img"}  # no end tag belongs to them
SHARED = ("etag", "cache-control", "content-security-policy", "cross-origin-opener-policy", "cross-origin-resource-policy", "referrer-policy",
          "x-content-type-options")


class Page(HTMLParser):
    """Every tag closed in order; ids, what refers to them, and what an attribute may not be."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.refers, self.controls, self.bodies, self.wrong = [], set(), [], [], {}, []
        self.feed(text)
        self.close()
        self.wrong += [f"<{t}> is not closed" for t in self.open]

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.wrong += [f"{k} of <{tag}>" for k in a if k.startswith("on") or k == "style"]
        if "id" in a:
            self.wrong += [f"id {a['id']} twice"] * (a["id"] in self.ids)
            self.ids.add(a["id"])
        self.refers += [a[k] for k in ("for",) if k in a] + sum((a[k].split() for k in ("aria-describedby", "aria-labelledby") if k in a), [])
        if tag in ("input", "textarea", "select"):
            self.controls.append((a.get("id"), dict(attrs)))
        if tag == "label":
            self.bodies.setdefault("label", []).append(a.get("for"))
        if tag not in ALONE:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> at line {self.getpos()[0]}")

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            self.bodies.setdefault(self.open[-1], []).append(data)


class Ui(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.s = Serve("--novelty", novelty(), "--alignment", alignment())
        cls.a = cls.s.get("/")
        cls.text = cls.a.body.decode()
        cls.page = Page(cls.text)

    @classmethod
    def tearDownClass(cls):
        assert cls.s.stop() == 0, cls.s.logged()
        cls.s.__exit__()

    def test_headers(self):
        h = self.a.headers
        self.assertEqual((self.a.status, h["content-type"], h["cache-control"]), (200, "text/html; charset=utf-8", "no-cache"))
        self.assertEqual((h["x-content-type-options"], h["referrer-policy"]), ("nosniff", "no-referrer"))
        self.assertEqual((h["cross-origin-opener-policy"], h["cross-origin-resource-policy"]), ("same-origin", "same-origin"))
        self.assertRegex(h["etag"], '^"[0-9a-f]{32}"$')

    # If this fails, the browser runs none of the page's own script, or somebody else's.
    def test_policy_is_of_this_script_alone(self):
        policy = dict(p.strip().split(" ", 1) for p in self.a.headers["content-security-policy"].split(";"))
        for kind in ("script", "style"):
            (text,) = self.page.bodies[kind]
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            self.assertEqual(policy.pop(kind + "-src"), f"'sha256-{digest}'")
        self.assertEqual(policy, {"default-src": "'none'", "connect-src": "'self'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'",
                                  "frame-ancestors": "'none'", "require-trusted-types-for": "'script'", "trusted-types": "'none'"})

    def test_kept_by_the_client(self):
        tag = self.a.headers["etag"]
        for said, status in ((tag, 304), ("W/" + tag, 304), ("*", 304), ('"x", ' + tag, 304), ('"x",W/' + tag + ', "y"', 304), (tag[:-2] + '"', 200),
                             ('"x"', 200), ("", 200)):
            a = self.s.get("/", b"If-None-Match: " + said.encode())
            self.assertEqual(a.status, status, said)
            self.assertEqual(a.body, b"" if status == 304 else self.a.body)
            self.assertEqual([a.headers[k] for k in SHARED], [self.a.headers[k] for k in SHARED])

    def test_head(self):
        with self.s.connect() as c:
            c.send(HEAD + b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            a = c.answer(head=True)
            self.assertEqual((a.status, a.headers["content-length"], a.headers["etag"]), (200, str(len(self.a.body)), self.a.headers["etag"]))
            self.assertEqual(c.answer().status, 200)  # right behind the head: there was no body
        self.assertEqual(self.s.post("/", {}).headers["allow"], "GET, HEAD, OPTIONS")

    def test_well_formed(self):
        self.assertEqual(self.page.wrong, [])
        self.assertEqual(set(self.page.refers) - self.page.ids, set())
        self.assertEqual([c for c, _ in self.page.controls if c not in self.page.bodies["label"]], [], "a control without a label")
        self.assertIn("<noscript>", self.text)
        used = set(re.findall(r"(?:\$|say)\('([\w-]+)'", self.page.bodies["script"][0]))
        self.assertGreater(len(used), 10)
        self.assertEqual(used - self.page.ids, set(), "the script asks for what the page does not have")

    # If this fails, the page tells others who looks at it, or takes a model's text for HTML.
    def test_nothing_from_elsewhere(self):
        found = re.findall(r"""(?:https?:)?//[\w.-]+\.\w[^\s"'`)]*""", self.text)
        self.assertEqual(found, ["http://www.w3.org/2000/svg"])  # a name, not an address
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "localStorage", "sessionStorage", "cookie",
                     "import(", "@import", "@font-face", "url("):
            self.assertFalse(word in self.text, word)
        self.assertLess(len(self.a.body), 40000)

    def test_files(self):
        for path in glob.glob(os.path.join(ROOT, "engine/app/serve/ui/*")):
            with open(path) as f:
                lines = f.read().split("\n")
            self.assertLessEqual(len(lines), 600, path)
            self.assertLessEqual(max(map(len, lines)), 120, path)

    def test_screenshot(self):
        with open(os.path.join(ROOT, "engine/app/serve/ui.png"), "rb") as f:
            png = f.read()
        self.assertEqual(png[:8], b"\x89PNG\r\n\x1a\n")
        self.assertLess(len(png), 150 * 1000)
        with open(os.path.join(ROOT, "README.md")) as f:
            self.assertIn("](engine/app/serve/ui.png)", f.read())

    def test_off(self):
        for given in (("--no-ui",), ("--no-ui=true",)):
            with Serve("--novelty", novelty(), "--alignment", "none", *given) as s:
                a = s.get("/")
                self.assertEqual((a.status, a.error()["type"]), (404, "NotFoundError"))
                self.assertEqual(s.post("/", {}).status, 404)
                self.assertEqual(s.metrics()['http_requests_total{handler="other",method="",status="404"}'], "2")
                self.assertEqual(s.ok("/v1/completions", {"prompt": "x", "max_tokens": 1})["object"], "text_completion")
                self.assertEqual(s.stop(), 0)
        self.assertEqual(self.s.metrics()['http_requests_total{handler="/",method="GET",status="200"}'][0].isdigit(), True)

    # If this fails, nobody can open the page to type a key.
    def test_needs_no_key(self):
        with tempfile.NamedTemporaryFile("w") as f:
            f.write("a-key-of-ours\n")
            f.flush()
            with Serve("--novelty", novelty(), "--alignment", "none", "--api-key-file", f.name) as s:
                self.assertEqual(s.get("/").body, self.a.body)
                self.assertEqual(s.get("/v1/models").status, 401)
                self.assertEqual(s.get("/v1/models", b"X-Api-Key: a-key-of-ours").status, 200)
                self.assertEqual(s.stop(), 0)


if __name__ == "__main__":
    main()
