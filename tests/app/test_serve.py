"""What `forkcast serve` answers: the same bytes as the command line and the C interface, every endpoint, every kind of error."""
import json
import os
import subprocess
import tempfile
import unittest

from test_option_flags import lora
from util_cli import ROOT, run
from util_http import BUILD
from util_serve import Serve, alignment, body, events, main, model, novelty, texts

PROMPT = "the night of the craft"
TAXONOMY = "g1\tGames\tplay\nc\tChess\tboards\tg1\no\tGo\tstones\tg1\nk\tCooking\tpots\n"

# Asks through the C interface: prints the texts of all candidates, in hex, and the scores' bits.
USER = r"""
#include <forkcast.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv) {
    fc_engine_options o = {.novelty = argv[1], .alignment = argv[2]};
    fc_piece piece = {.text = argv[3], .size = strlen(argv[3])};
    fc_engine *e;
    fc_request r;
    fc_event ev;
    uint64_t id;
    (void)argc;
    if (fc_engine_open(&o, &e)) return fprintf(stderr, "%s\n", fc_last_error()), 1;
    fc_request_init(&r);
    r.prompt.pieces = &piece;
    r.prompt.n_pieces = 1;
    r.score = true;
    r.n = atoi(argv[4]);
    r.seed = strtoull(argv[5], NULL, 10);
    r.sampling.max_tokens = atoi(argv[6]);
    if (fc_submit(e, &r, &id) || fc_poll(e, -1, &ev) || ev.status) return fprintf(stderr, "%s\n", fc_last_error()), 1;
    for (int i = 0; i < ev.result->n_kept; i++) {
        const fc_candidate *c = &ev.result->kept[i];
        printf("%d %.9g ", c->index, c->score);
        for (size_t k = 0; k < c->n_tokens; k++) printf("%d,", (int)c->tokens[k]);
        printf("\n");
    }
    fc_event_fini(&ev);
    fc_engine_close(e);
    return 0;
}
"""


def retemplate(source, out, name):
    """A model with another chat template, of tests/data: the file's head grows by a multiple of what its tensors are aligned to."""
    with open(os.path.join(ROOT, "tests", "data", "tokenizer", "chat_render.json")) as f:
        new = next(t["template"] for t in json.load(f)["templates"] if t["name"] == name).encode()
    with open(source, "rb") as f:
        data = f.read()
    at = data.index(b"tokenizer.chat_template") + len(b"tokenizer.chat_template") + 4
    size = int.from_bytes(data[at:at + 8], "little")
    new = new.replace(b"{% ", b"{% " + b" " * ((size - len(new)) % 64), 1)  # where blanks say nothing
    with open(out, "wb") as f:
        f.write(data[:at] + len(new).to_bytes(8, "little") + new + data[at + 8 + size:])


def ran(o):
    """The record but for its clock and its caches."""
    return {k: v for k, v in o.items() if k not in ("timings_ms", "accounting")}


class Answers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory()
        cls.taxonomy = os.path.join(cls.dir.name, "t.tsv")
        with open(cls.taxonomy, "w") as f:
            f.write(TAXONOMY)
        cls.strong = os.path.join(cls.dir.name, "strong")
        lora(cls.strong, 0.5)
        cls.s = Serve("--novelty", novelty(), "--alignment", alignment(), "--taxonomy", cls.taxonomy, "--adapter", "tuned=" + cls.strong)

    @classmethod
    def tearDownClass(cls):
        assert cls.s.stop() == 0, cls.s.logged()
        cls.s.__exit__()
        cls.dir.cleanup()

    # If this fails, what was tried on the command line is not what is served.
    def test_same_bytes_everywhere(self):
        ask = {"prompt": PROMPT, "n": 3, "best_of": 8, "seed": 77, "max_tokens": 12}
        over_http = self.s.ok("/v1/completions", ask)
        code, out, err = run("bestof", "--novelty", novelty(), "--alignment", alignment(), "--taxonomy", self.taxonomy, "--prompt", PROMPT,
                             "-n", 8, "-k", 3, "--seed", 77, "--max-tokens", 12, "--json")
        self.assertEqual(code, 0, err)
        record = json.loads(out)
        self.assertEqual(ran(over_http["best_of"]), ran(record))
        kept = record["candidates"]
        self.assertEqual([c["text"] for c in over_http["choices"]], [c["text"] for c in kept])
        self.assertEqual([c["score"] for c in over_http["choices"]], [c["score"] for c in kept])
        with open(os.path.join(self.dir.name, "user.c"), "w") as f:
            f.write(USER)
        user, build = os.path.join(self.dir.name, "user"), os.path.abspath(BUILD)
        with open(os.path.join(build, "CMakeCache.txt")) as f:
            sanitize = [x.strip().split("=", 1)[1] for x in f if x.startswith("FORKCAST_SANITIZE:")]
        subprocess.run(["gcc", "-std=c99", user + ".c", "-o", user, "-I", build + "/include", build + "/libforkcast.so",
                        "-Wl,-rpath," + build, *(["-fsanitize=" + sanitize[0]] if sanitize and sanitize[0] else [])], check=True)
        lines = subprocess.run([user, novelty(), alignment(), PROMPT, "8", "77", "12"], check=True, capture_output=True, text=True)
        c_api = [(int(i), float(score), [int(t) for t in ids.split(",")[:-1]])
                 for i, score, ids in (line.split(" ") for line in lines.stdout.splitlines())]
        self.assertEqual(c_api[:3], [(c["index"], c["score"], c["tokens"]) for c in kept])

    def test_streams_are_the_whole_answer(self):
        for n, best_of in ((1, 1), (3, 3), (2, 6)):
            ask = {"prompt": PROMPT, "n": n, "best_of": best_of, "seed": 5, "max_tokens": 16}
            whole = self.s.ok("/v1/completions", ask)
            chunks = events(self.s.post("/v1/completions", {**ask, "stream": True, "stream_options": {"include_usage": True}}))
            got = texts(chunks, n)
            if n == best_of:  # live: by candidate
                order = {c["candidate_index"]: c["text"] for c in whole["choices"]}
                self.assertEqual([t.replace("\ufffd", "") for t in got], [order[i].replace("\ufffd", "") for i in range(n)])
            else:
                self.assertEqual(got, [c["text"] for c in whole["choices"]])
            self.assertEqual(chunks[-1]["usage"]["completion_tokens"], whole["usage"]["completion_tokens"])
            record = [c["best_of"] for c in chunks if "best_of" in c]
            self.assertEqual([ran(r) for r in record], [ran(whole["best_of"])])
            self.assertEqual({c["id"] for c in chunks}, {chunks[0]["id"]})

    # If this fails, a client cannot tell its own stop from the model's end.
    def test_stop_reasons(self):
        ask = {"prompt": PROMPT, "seed": 5, "max_tokens": 16, "temperature": 0, "ignore_eos": True, "return_token_ids": True}
        free = self.s.ok("/v1/completions", ask)["choices"][0]
        fifth, word = free["token_ids"][4], free["text"][6:9]
        for stop, reason in (({"stop_token_ids": [fifth]}, fifth), ({"stop": ["\x01\x02", word]}, word), ({}, None)):
            c = self.s.ok("/v1/completions", {**ask, **stop})["choices"][0]
            self.assertEqual((c["finish_reason"], c["stop_reason"]), ("stop" if stop else "length", reason))
            self.assertTrue(free["text"].startswith(c["text"]))
            chunks = events(self.s.post("/v1/completions", {**ask, **stop, "stream": True}))
            last = chunks[-1]["choices"][0]
            self.assertEqual((last["finish_reason"], last["stop_reason"]), (c["finish_reason"], reason))
            self.assertEqual([i for k in chunks for i in k["choices"][0]["token_ids"]], c["token_ids"])
            self.assertEqual(texts(chunks, 1)[0], c["text"])

    # If this fails, whoever streams log-probs sees others than who does not.
    def test_alternatives_are_streamed(self):
        ask = {"prompt": PROMPT, "seed": 5, "max_tokens": 12, "n": 3, "logprobs": 3, "logprob_token_ids": [70, 71], "return_tokens_as_token_ids": True}
        whole = {c["candidate_index"]: c["logprobs"] for c in self.s.ok("/v1/completions", ask)["choices"]}
        chunks = events(self.s.post("/v1/completions", {**ask, "stream": True}))
        self.assertEqual([c["choices"][0]["index"] for c in chunks[:3]], [0, 1, 2])  # live: side by side
        for i in range(3):
            parts = [c["choices"][0]["logprobs"] for c in chunks if c["choices"][0]["index"] == i]
            for key in ("tokens", "token_logprobs", "top_logprobs"):
                self.assertEqual([x for p in parts if p for x in p[key]], whole[i][key], key)
            self.assertGreaterEqual(min(len(x) for x in whole[i]["top_logprobs"]), 5)
        ask = {"messages": [{"role": "user", "content": "Say it."}], "seed": 3, "max_tokens": 8, "logprobs": True, "top_logprobs": 2}
        whole = self.s.ok("/v1/chat/completions", ask)["choices"][0]["logprobs"]["content"]
        chunks = events(self.s.post("/v1/chat/completions", {**ask, "stream": True}))
        self.assertEqual([x for c in chunks if c["choices"][0]["logprobs"] for x in c["choices"][0]["logprobs"]["content"]], whole)

    def test_chat(self):
        ask = {"messages": [{"role": "user", "content": "Say it."}], "seed": 3, "max_tokens": 8, "n": 2}
        whole = self.s.ok("/v1/chat/completions", ask)
        self.assertEqual(whole["object"], "chat.completion")
        chunks = events(self.s.post("/v1/chat/completions", {**ask, "stream": True}))
        order = {c["candidate_index"]: c["message"]["content"] for c in whole["choices"]}
        self.assertEqual([t.replace("\ufffd", "") for t in texts(chunks, 2)], [order[i].replace("\ufffd", "") for i in range(2)])

    # If this fails, who writes max_token wonders why sixteen come.
    def test_unknown_fields_are_told(self):
        for path, ask, stream in (("/v1/completions", {"prompt": "a", "max_token": 3, "thinking": {}}, False), ("/v1/completions", {"prompt": "a", "max_token": 3, "thinking": 1}, True),
                                  ("/rerank", {"query": "a", "documents": ["b"], "max_token": 1, "thinking": None, "think\r\nX: y": 1}, False)):
            a = self.s.post(path, {**ask, "stream": True} if stream else ask)
            self.assertEqual((a.status, a.headers.get("x-forkcast-ignored")), (200, "max_token" if path == "/rerank" else "max_token, thinking"))
        self.assertNotIn("x-forkcast-ignored", self.s.post("/v1/completions", {"prompt": "a", "user": "u"}).headers)
        self.s.refused("/v1/completions", {"prompt": "a", "forkcast": {"max_token": 3}}, 400, "forkcast", "max_token: there is no such option")

    # If this fails, what a chat is tried out with on the command line is another one over HTTP.
    def test_chat_from_the_command_line(self):
        cli = ("bestof", "--chat", "--prompt", "Say it.", "--taxonomy", self.taxonomy, "-n", 6, "-k", 3, "--seed", 3, "--max-tokens", 8, "--json")
        ask = {"messages": [{"role": "user", "content": "Say it."}], "seed": 3, "max_tokens": 8, "n": 3, "best_of": 6}
        code, out, err = run(*cli, "--novelty", novelty(), "--alignment", alignment())
        self.assertEqual(code, 0, err)
        self.assertEqual(ran(json.loads(out)), ran(self.s.ok("/v1/chat/completions", ask)["best_of"]))
        other = os.path.join(self.dir.name, "other.gguf")  # with another tokenizer, and a template of its own
        retemplate(model("other", "--seed", 2, "--vocab", 600), other, "smollm2")
        recipe = os.path.join(self.dir.name, "chat.json")
        with open(recipe, "w") as f:
            json.dump({"alignment": {"template": "How good is {prompt}?"}, "taxonomy": self.taxonomy}, f)
        for more in ((), ("--recipe", recipe)):
            with Serve("--novelty", novelty(), "--alignment", other, "--taxonomy", self.taxonomy, *more) as s:
                for system in ((), ("Be short.",)):
                    code, out, err = run(*cli, "--novelty", novelty(), "--alignment", other, *(("--system", *system) if system else ()), *more)
                    self.assertEqual(code, 0, err)
                    a = s.ok("/v1/chat/completions", {**ask, "messages": [*({"role": "system", "content": x} for x in system), *ask["messages"]]})
                    self.assertEqual(ran(json.loads(out)), ran(a["best_of"]), (more, system))
        for args, word in ((("--history", "Chess"), "--chat: a prompt is needed"), (("--prompt", "x", "--system", "y"), "--system: only --chat")):
            code, out, err = run("bestof", "--novelty", novelty(), "--alignment", "none", *args, *(("--chat",) if "--history" in args else ()))
            self.assertEqual((code, out), (2, b""))
            self.assertIn(word, err)

    def test_several_prompts(self):
        ask = {"seed": 9, "max_tokens": 6, "n": 2, "best_of": 3}
        both = self.s.ok("/v1/completions", {**ask, "prompt": ["abc", "xyz"]})
        apart = [self.s.ok("/v1/completions", {**ask, "prompt": p}) for p in ("abc", "xyz")]
        self.assertEqual([c["text"] for c in both["choices"]], [c["text"] for a in apart for c in a["choices"]])
        self.assertEqual([c["index"] for c in both["choices"]], [0, 1, 2, 3])
        self.assertEqual([r["prompt"] for r in both["best_of"]], ["abc", "xyz"])

    def test_taxonomy(self):
        a = self.s.ok("/v1/completions", {"prompt": "I like", "n": 2, "best_of": 4, "seed": 1, "forkcast": {"constraint": "mask", "distinct": True}})
        self.assertLessEqual({c["text"] for c in a["choices"]}, {"Games", "Chess", "Go", "Cooking"})
        self.assertEqual({c["valid"] for c in a["best_of"]["candidates"]}, {True})

    def test_adapters_are_models(self):
        name = "novelty"
        listed = json.loads(self.s.get("/v1/models").body)
        self.assertEqual([(m["id"], m["parent"]) for m in listed["data"]], [(name, None), ("tuned", name)])
        self.assertEqual(json.loads(self.s.get("/v1/models/tuned").body), listed["data"][1])
        self.assertEqual(self.s.get("/v1/models/none").status, 404)
        ask = {"prompt": PROMPT, "seed": 4, "max_tokens": 12}
        plain, tuned = (self.s.ok("/v1/completions", {**ask, "model": m}) for m in (name, "tuned"))
        self.assertEqual((plain["model"], tuned["model"]), (name, "tuned"))
        self.assertNotEqual(plain["choices"][0]["text"], tuned["choices"][0]["text"])
        self.s.refused("/v1/completions", {**ask, "model": "gpt-4"}, 404, "model", "does not exist")
        with Serve("--novelty", novelty(), "--alignment", novelty(), "--adapter", "tuned=" + self.strong) as s:
            ask = {"query": "the ni", "items": ["ght"], "label_token_ids": [70, 71]}
            plain, tuned = (s.ok("/v1/score", {**ask, "model": m})["scores"] for m in (name, "tuned"))
            self.assertNotEqual(plain, tuned)

    def test_scores(self):
        ask = {"query": "the night", "documents": ["the house", "craft", "beer"]}
        ranked = self.s.ok("/rerank", ask)
        for path in ("/v1/rerank", "/v2/rerank"):
            again = self.s.ok(path, ask)
            self.assertEqual([(r["index"], r["relevance_score"]) for r in again["results"]],
                             [(r["index"], r["relevance_score"]) for r in ranked["results"]], path)
        pairs = self.s.ok("/score", {"text_1": "the night", "text_2": ask["documents"]})
        self.assertEqual(pairs["data"], self.s.ok("/v1/score", {"queries": "the night", "documents": ask["documents"]})["data"])
        by_index = {r["index"]: r["relevance_score"] for r in ranked["results"]}
        self.assertEqual([d["score"] for d in pairs["data"]], [by_index[i] for i in range(3)])

    def test_tokens(self):
        ids = self.s.ok("/tokenize", {"prompt": PROMPT})["tokens"]
        self.assertEqual(self.s.ok("/detokenize", {"tokens": ids})["prompt"], PROMPT)
        for path, ask in (("/tokenize", {"prompt": PROMPT}), ("/detokenize", {"tokens": ids})):
            self.s.refused(path, {**ask, "model": "gpt-4"}, 404, "model", "does not exist")

    def test_what_it_says_of_itself(self):
        for path in ("/health", "/livez", "/ping"):
            a = self.s.get(path)
            self.assertEqual((a.status, a.body), (200, b""))
        self.assertIn("version", json.loads(self.s.get("/version").body))

    # If this fails, a client is told nothing that it can act upon.
    def test_errors(self):
        s, path = self.s, "/v1/completions"
        s.refused(path, b"{", 400, None, "request")
        s.refused(path, {"prompt": "x", "n": 0}, 400, "n", "n")
        s.refused(path, {"prompt": "x", "temperature": -1}, 400, "temperature", "temperature")
        s.refused(path, {"prompt": "x", "n": 5, "best_of": 2}, 400, "best_of", "at least")
        s.refused(path, {"prompt": "x", "best_of": 65}, 400, "best_of", "at most 64 (--max-best-of)")
        s.refused(path, {"prompt": "x", "suffix": "y"}, 400, "suffix")
        a = s.refused(path, {"prompt": "x" * 2000, "max_tokens": 10}, 400, "prompt")
        self.assertEqual(a.headers["x-should-retry"], "false")
        s.refused("/v1/chat/completions", {}, 400, "messages", "missing")
        s.refused("/rerank", {"query": "x"}, 400, "documents", "missing")
        s.refused("/nothing", {}, 404, None, "path")
        s.refused("/v1/models", {}, 405, None, "method")
        s.refused(path, {"prompt": "x"}, 400, "priority", "x-vllm-priority", b"X-Vllm-Priority: high")
        raw = body(path, {"prompt": "x"}).replace(b"application/json", b"text/plain")
        a = s.ask(raw)
        self.assertEqual((a.status, a.error()["type"]), (415, "UnsupportedMediaTypeError"))
        a = s.ask(body(path, {"prompt": "x" * (5 << 20)}))
        self.assertEqual((a.status, a.error()["code"]), (413, 413))
        a = s.get("/v1/completions")
        self.assertEqual((a.status, a.headers["allow"]), (405, "POST, OPTIONS"))

    def test_ids_and_log(self):
        a = self.s.post("/v1/completions", {"prompt": PROMPT, "n": 2, "best_of": 5, "max_tokens": 3, "ignore_eos": True}, b"X-Request-Id: my-own.id",
                        b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        self.assertEqual(a.headers["x-request-id"], "my-own.id")
        self.assertEqual(json.loads(a.body)["id"], "cmpl-my-own.id")
        line = [x for x in self.s.lines() if x["id"] == "my-own.id"][0]
        self.assertEqual((line["n"], line["best_of"], line["prompts"], line["tokens"], line["stream"]), (2, 5, 1, 15, False))
        self.assertEqual(line["traceparent"], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        self.assertGreater(line["rows"], 0)
        self.s.post("/v1/completions", {"prompt": PROMPT, "n": 9, "best_of": 4}, b"X-Request-Id: refused.id")
        line = [x for x in self.s.lines() if x["id"] == "refused.id"][0]
        self.assertEqual((line["status"], line["error"], line["param"], "message" in line), (400, "BadRequestError", "best_of", False))
        self.assertNotIn(PROMPT, self.s.logged())
        wrong = ((404, "NotFoundError", b"GET /nowhere HTTP/1.1\r\n"), (405, "MethodNotAllowedError", b"GET /tokenize HTTP/1.1\r\n"),
                 (415, "UnsupportedMediaTypeError", b"POST /tokenize HTTP/1.1\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n"),
                 (413, "RequestTooLargeError", b"POST /tokenize HTTP/1.1\r\nContent-Length: 99999999\r\n"), (400, "BadRequestError", b"GET / HTTP/1.1\r\nHost: b\r\n"))
        for status, kind, raw in wrong:
            self.assertEqual(self.s.ask(raw + b"Host: localhost\r\n\r\n").status, status)
            line = self.s.lines()[-1]
            self.assertEqual((line["status"], line["error"]), (status, kind))

    # If this fails, a page of another address does not see which of its fields nobody knew, nor whether to try again.
    def test_what_a_page_may_read(self):
        with Serve("--novelty", novelty(), "--alignment", "none", "--allowed-origin", "https://a.example") as s:
            own = set()
            for ask in ({"prompt": "a", "max_token": 1}, {"prompt": "a", "n": 0}):
                a = s.post("/v1/completions", ask, b"Origin: https://a.example")
                own.update(h for h in a.headers if h.startswith("x-"))
            self.assertEqual(own, {"x-request-id", "x-forkcast-ignored", "x-should-retry"})
            self.assertEqual(set(a.headers["access-control-expose-headers"].split(", ")), own | {"retry-after"})


class Recipe(unittest.TestCase):
    def test_request_over_recipe_over_default(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "r.json")
            with open(path, "w") as f:
                json.dump({"novelty": {"model": novelty(), "template": "About {prompt}:"}, "alignment": {"model": alignment()}, "n": 6, "keep": 2,
                           "seed": 11, "sampling": {"max_tokens": 5}}, f)
            with Serve("--recipe", path, "--served-model-name", "tiny", "--served-model-name", "other") as s:
                a = s.ok("/v1/completions", {"prompt": "tea", "model": "other"})
                self.assertEqual((len(a["choices"]), a["best_of"]["n"], a["best_of"]["prompt"]), (2, 6, "About tea:"))
                code, out, err = run("bestof", "--recipe", path, "--prompt", "tea", "--json")
                self.assertEqual(code, 0, err)
                self.assertEqual(ran(a["best_of"]), ran(json.loads(out)))
                a = s.ok("/v1/completions", {"prompt": "tea", "n": 1, "best_of": 3, "max_tokens": 2})
                self.assertEqual((a["model"], a["best_of"]["n"], a["usage"]["completion_tokens"]), ("tiny", 3, 2))


if __name__ == "__main__":
    main()
