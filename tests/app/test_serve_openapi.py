"""/openapi.json against the server: every kind of answer is one that it describes, to the last member, every chunk of a stream too;
what it says of bodies is what the tables of fields and options say; what it calls wrong is refused. Needs the package jsonschema.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

from test_option_flags import lora
from util_cli import BIN, ROOT, run
from util_serve import Serve, alignment, events, main, novelty

try:
    import jsonschema
except ImportError:
    print(f"skipped: {sys.executable} has no package jsonschema")
    sys.exit(77)

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"
P = {"prompt": "the night of the craft", "max_tokens": 6, "seed": 3}
M = {"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "the night"}]}], "max_tokens": 6, "seed": 3}
TAXONOMY = "g1\tGames\tplay\nc\tChess\tboards\tg1\no\tGo\tstones\tg1\nk\tCooking\tpots\n"
MASK = {"constraint": "mask", "full_logprob": True}

# In both forms, whole.
WHOLE = (
    {},
    {"n": 2, "best_of": 5, "temperature": 0.7, "top_k": -1, "user": "u", "metadata": {"a": 1}, "unheard_of": 1, "stop": None},
    {"n": 2, "return_token_ids": True, "stop": ["e", "o"], "include_stop_str_in_output": True},
    {"stop_token_ids": list(range(40, 120)), "logit_bias": {"50": 3, "7": False}, "min_p": 0.1},
    {"prompt_logprobs": 2, "return_token_ids": True},
    {"prompt_logprobs": 0, "max_tokens": 0},
    {"forkcast": {"n": 6, "keep": 0, "all": True, "distinct": True, "top_logprobs": 2, "logprob_token_ids": [5]}, "seed": -1},
    {"forkcast": {"score": False, "all": True}, "n": 2, "guided_json": None, "store": False, "length_penalty": 1},
    {"n": 2, "best_of": 8, "forkcast": {**MASK, "all": True}},
    {"n": 3, "forkcast": {"constraint": "mask", "draw": "sbs"}, "add_special_tokens": False},
    {"n": 3, "forkcast": {"constraint": "mask", "draw": "exact", "diversity": "parent"}},
    {"best_of": 3, "forkcast": {"constraint": "reject", "reject_budget": 1, "blend": 0.5, "mode": "judge", "labels": ["a", "b"], "suffix": "?"}},
    {"structured_outputs": {"choice": ["good", "bad"], "json": None}, "response_format": {"type": "text"}},
    {"vllm_xargs": {"best_of": 3, "forkcast": '{"all": true}'}, "model": "tuned", "ignore_eos": True},
    {"forkcast": {"prompt_logprobs": True, "prompt_top_logprobs": 1, "alignment_template": "x {prompt}", "n": 4, "n_max": 8, "stop_when": "margin:0.1"}},
    {"n": 2, "best_of": 12, "forkcast": {"stop_when": "hopeless:1", "all": True}},
)
TEXT_WHOLE = ({"logprobs": 3}, {"logprobs": 0, "echo": True, "logprob_token_ids": [3]}, {"prompt": ["a b", "c d"], "n": 2},
              {"prompt": [5, 6, 7], "return_tokens_as_token_ids": True, "logprobs": 1}, {"prompt": [[5, 6], [7]], "echo": True})
CHAT_WHOLE = ({"logprobs": True, "top_logprobs": 2, "logprob_token_ids": [3]}, {"max_tokens": None, "tools": [], "tool_choice": "none"},
              {"logprobs": True, "modalities": ["text"], "parallel_tool_calls": True})
STREAMS = ({}, {"n": 2}, {"best_of": 4}, {"n": 2, "return_token_ids": True}, {"stream_options": {"include_usage": True}},
           {"n": 3, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}, {"n": 2, "forkcast": {"events": True}},
           {"best_of": 3, "forkcast": {"events": True, "all": True}}, {"n": 2, "forkcast": {"score": False}, "stop": "e"})
TEXT_STREAMS = ({"logprobs": 2, "n": 2}, {"logprobs": 1, "best_of": 3, "echo": True}, {"echo": True}, {"prompt": ["a b", "c d"]})
CHAT_STREAMS = ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "best_of": 3})
# path, body, the schema of its answer; of the body it is the path's
OTHERS = (
    ("/score", {"queries": "a", "documents": ["b", {"type": "text", "text": "c"}], "truncate_prompt_tokens": 5}, "Pairs"),
    ("/v1/score", {"text_1": ["a", "b"], "text_2": ["c", "d"], "use_activation": True, "forkcast": {"mode": "loglik-sum"}}, "Pairs"),
    ("/v1/score", {"data_1": "a", "data_2": "b"}, "Pairs"),
    ("/v1/score", {"query": "a", "items": ["b", "c"], "label_token_ids": [60, 61], "apply_softmax": True, "item_first": True}, "Labels"),
    ("/rerank", {"query": "a", "documents": ["b", {"text": "c"}, "d"], "top_n": 2}, "Rerank"),
    ("/v1/rerank", {"query": "a", "documents": ["b"], "return_documents": False, "max_tokens_per_doc": 1}, "Rerank"),
    ("/v1/rerank", {"query": {"text": "a"}, "texts": ["b", "c"], "return_text": True, "raw_scores": True}, "Tei"),
    ("/v2/rerank", {"query": "a", "documents": ["b", "c"]}, "Cohere"),
    ("/v2/rerank", {"query": "a", "documents": ["b", "c"], "return_documents": True, "priority": 1}, "Cohere"),
    ("/tokenize", {"prompt": "the night", "return_token_strs": True}, "Tokens"),
    ("/tokenize", {"messages": M["messages"], "add_generation_prompt": False}, "Tokens"),
    ("/tokenize", {"content": "the night", "with_pieces": True}, "LlamaTokens"),
    ("/detokenize", {"tokens": [60, 61]}, "Text"),
    ("/v1/lookup", {"key": "k1", "history": None}, "Lookup"),
    ("/v1/lookup", {"key": "k1", "model": "novelty", "priority": 2, "cache_salt": "s", "user": "u", "n": None, "stop": [], "unheard_of": 1}, "Lookup"),
)
# Wrong by the file, and refused by the server: the field that both name.
WRONG = (
    ("n", 0), ("n", "2"), ("best_of", 5000), ("max_tokens", -1), ("temperature", 101), ("temperature", "hot"), ("top_p", 0), ("top_k", -2),
    ("stop", [""]), ("stop", ["a"] * 17), ("seed", 1.5), ("stream", 1), ("logit_bias", {"x": 1}), ("logit_bias", {"5": True}), ("prompt_logprobs", 21),
    ("response_format", {"type": "json_object"}), ("response_format", {}), ("request_id", "a b"), ("cache_salt", "a/b"), ("length_penalty", 2),
    ("structured_outputs", {"regex": "a"}), ("guided_choice", []), ("user", 1), ("stop_token_ids", [-1]), ("forkcast", {"keep": -1}),
    ("forkcast", {"unheard_of": 1}), ("forkcast", {"threads": 2}), ("forkcast", {"draw": "best"}), ("forkcast", {"labels": "a"}), ("forkcast", []),
    ("priority", 1 << 31), ("stream_options", []), ("allowed_token_ids", 5), ("bad_words", [1]),
)
# The same of other paths.
WRONG_OTHERS = (
    (CHAT, {"messages": []}, "messages"), (CHAT, {"messages": [{"role": "tool", "content": "a"}]}, "messages"),
    (CHAT, {"messages": [{"role": "user", "content": "a", "tool_calls": {}}]}, "messages"),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "text": "a"}]}]}, "messages"),
    ("/score", {"queries": "a", "documents": "b", "items": "c"}, "items"), ("/score", {"data_1": "a", "data_2": "b", "text_2": "c"}, "text_2"),
    ("/score", {"queries": None, "documents": "b"}, None), ("/score", {"queries": "a", "documents": []}, "documents"),
    ("/v1/score", {"query": "a", "items": ["b"], "label_token_ids": [60, 61], "apply_softmax": True, "text_1": "c"}, "text_1"),
    ("/v1/score", {"text_1": "a", "text_2": {"type": "image_url", "text": "b"}}, "text_2"),
    ("/rerank", {"query": "a", "documents": []}, "documents"), ("/rerank", {"query": "a", "documents": ["b"], "rank_fields": ["c"]}, "rank_fields"),
    ("/rerank", {"query": {"type": 1, "text": "a"}, "documents": ["b"]}, "query"), ("/rerank", {"query": "a"}, "documents"),
    ("/v1/lookup", {}, "history"), ("/v1/lookup", {"key": "k1", "history": ["a"]}, "history"), ("/v1/lookup", {"key": 1}, "key"),
    ("/v1/lookup", {"key": "k1", "cache_salt": "a/b"}, "cache_salt"), ("/v1/lookup", {"key": "k1", "priority": "1"}, "priority"),
    ("/v1/lookup", {"key": "k1", "user": 1}, "user"), ("/v1/lookup", {"key": "k1", "retrieved": 1}, "retrieved"),
    ("/tokenize", {}, "prompt"), ("/detokenize", {}, "tokens"), ("/detokenize", {"tokens": [-1]}, "tokens"),
)


def source(name):
    with open(os.path.join(ROOT, "engine", "app", name)) as f:
        return f.read()


class OpenApi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory()
        taxonomy, tuned = os.path.join(cls.dir.name, "t.tsv"), os.path.join(cls.dir.name, "tuned")
        with open(taxonomy, "w") as f:
            f.write(TAXONOMY)
        lora(tuned, 0.5)
        table, prompts = os.path.join(cls.dir.name, "table"), os.path.join(cls.dir.name, "prompts.jsonl")
        with open(prompts, "w") as f:
            f.write('{"key": "k1", "prompt": "the night"}\n')
        models = ("--novelty", novelty(), "--alignment", alignment(), "--taxonomy", taxonomy)
        code, _, err = run("bulk", *models, "--prompts", prompts, "--table", table, "--min-exact-match", 0)
        assert code == 0, err
        cls.s = Serve(*models, "--adapter", "tuned=" + tuned, "--table", table)
        cls.doc = json.loads(cls.s.get("/openapi.json").body)
        cls.schemas = cls.doc["components"]["schemas"]
        cls.seen = set()

    @classmethod
    def tearDownClass(cls):
        assert cls.s.stop() == 0, cls.s.logged()
        cls.s.__exit__()
        cls.dir.cleanup()

    def wrong(self, schema, value):
        """What is wrong with it, or None."""
        whole = {"$ref": f"#/components/schemas/{schema}", "components": self.doc["components"]}
        return jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(whole).iter_errors(value))

    def check(self, schema, value):
        e = self.wrong(schema, value)
        self.assertIsNone(e, e and f"{schema}: {e.message} at {list(e.absolute_path)} of {json.dumps(value)[:2000]}")
        self.seen.add(schema)

    def request_schema(self, path):
        s = self.doc["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        return [r["$ref"].rsplit("/", 1)[1] for r in s.get("anyOf", [s])]

    def ask(self, path, body, schema):
        kinds = self.request_schema(path)
        self.assertTrue(any(self.wrong(k, body) is None for k in kinds), f"{body} is none of {kinds}: {self.wrong(kinds[0], body)}")
        answer = self.s.ok(path, body)
        self.check(schema, answer)
        return answer

    def props(self, name):
        """A schema's members, those that it takes over among them."""
        s = self.schemas[name]
        out = dict(s.get("properties", {}))
        for r in s.get("allOf", []):
            out.update(self.props(r["$ref"].rsplit("/", 1)[1]))
        return out

    # If this fails, a client that was made from the file does not understand an answer.
    def test_whole(self):
        for path, base, schema, mine in ((TEXT, P, "Completion", TEXT_WHOLE), (CHAT, M, "Chat", CHAT_WHOLE)):
            for more in WHOLE + mine:
                with self.subTest(path=path, more=more):
                    self.ask(path, {**base, **more}, schema)

    def test_streams(self):
        kinds = set()
        for path, base, schema, mine in ((TEXT, P, "CompletionChunk", TEXT_STREAMS), (CHAT, M, "ChatChunk", CHAT_STREAMS)):
            for more in STREAMS + mine:
                body = {**base, **more, "stream": True}
                with self.subTest(path=path, more=more):
                    self.assertIsNone(self.wrong(self.request_schema(path)[0], body))
                    chunks = events(self.s.post(path, body))
                    for c in chunks:
                        self.check("ForkcastEvent" if c["object"] == "forkcast.event" else schema, c)
                        kinds.add(c["event"]["type"] if "event" in c else "chunk")
                    self.assertTrue(any("best_of" in c for c in chunks))
        self.assertEqual(kinds, {"chunk", "token", "candidate", "score"})

    def test_others(self):
        for path, body, schema in OTHERS:
            with self.subTest(path=path, body=body):
                self.ask(path, body, schema)
        self.check("Lookup", json.loads(self.s.get("/v1/lookup?key=k1").body))
        self.check("Models", json.loads(self.s.get("/v1/models").body))
        self.check("Model", json.loads(self.s.get("/v1/models/tuned").body))
        self.check("Version", json.loads(self.s.get("/version").body))
        for path in ("/health", "/livez", "/ping"):
            self.assertEqual(self.s.get(path).body, b"")
        self.assertEqual(self.s.ask(b"POST /ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").body, b"")

    def test_errors(self):
        for a in (self.s.get("/nothing"), self.s.get("/v1/models/none"), self.s.get(TEXT), self.s.post(TEXT, b"{"), self.s.post(TEXT, b""),
                  self.s.post(TEXT, {"prompt": "x", "model": "none"}), self.s.post(TEXT, {"n": 2}), self.s.post("/rerank", {"query": "a"}),
                  self.s.ask(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"),
                  self.s.ask(b"GET / HTTP/1.1\r\n\r\n"), self.s.post(TEXT, b"[" * 9000), self.s.post("/detokenize", {"tokens": [1 << 30]})):
            self.assertGreaterEqual(a.status, 400)
            self.check("Error", json.loads(a.body))
        types = set(re.findall(r'\{\d+, "(\w+)"\}', source("openai/error.c")))
        self.assertEqual(types, set(self.schemas["Error"]["properties"]["error"]["properties"]["type"]["enum"]))

    # If this fails, the file allows what is refused.
    def test_wrong(self):
        for field, value in WRONG:
            body = {**P, field: value}
            with self.subTest(field=field, value=value):
                self.assertIsNotNone(self.wrong("CompletionRequest", body))
                self.s.refused(TEXT, body, 400, field)
        for path, body, field in WRONG_OTHERS:
            with self.subTest(path=path, body=body):
                self.assertNotIn(None, [self.wrong(kind, body) for kind in self.request_schema(path)])
                self.s.refused(path, body, 400, field)
        self.assertIsNotNone(self.wrong("Completion", {**self.s.ok(TEXT, P), "more": 1}))

    # If this fails, the file is silent about a field, or speaks of one that nobody reads.
    def test_fields(self):
        table = re.findall(r'\{"(\w+)", (BOTH|TEXT|CHAT), OPENAI_(\w+),', source("openai/fields.c"))
        self.assertGreater(len(table), 70)
        for schema, where, base, path in (("CompletionRequest", "TEXT", P, TEXT), ("ChatRequest", "CHAT", M, CHAT)):
            props = self.props(schema)
            self.assertEqual(set(props), {name for name, at, _ in table if at in ("BOTH", where)})
            for name, at, how in table:
                if at in ("BOTH", where) and how in ("REFUSED", "NEVER"):
                    self.assertEqual(props[name], {"$ref": "#/components/schemas/" + how.capitalize()}, name)
                    for value in (True, "x", [1], {"a": 1}, 1) + ((False, [], {}) if how == "NEVER" else ()):
                        self.assertIsNotNone(self.wrong(schema, {**base, name: value}))
                        self.s.refused(path, {**base, name: value}, 400, name)

        # a look-up draws nothing that a request has a say in
        own = set(self.props("LookupRequest"))
        for name, _, how in table:
            with self.subTest(lookup=name):
                self.assertEqual(name in own, how == "TAKEN" or name in ("model", "priority", "cache_salt"))
                if name not in own:
                    self.assertIsNotNone(self.wrong("LookupRequest", {"key": "k1", name: 1}))
                    self.assertIsNone(self.wrong("LookupRequest", {"key": "k1", name: []}))
                    self.s.refused("/v1/lookup", {"key": "k1", name: 1}, 400, name, "look-up")

    # If this fails, what the file says of an option is not what the engine takes.
    def test_options(self):
        own = re.search(r"own\[\] = \{(.*?)\}", source("openai/more.c"), re.S).group(1)
        rows = json.loads(subprocess.run([BIN, "options", "--json"], check=True, capture_output=True).stdout)["options"]
        rows = {o["name"]: o for o in rows if o["scope"] != "engine"}
        props = self.props("Forkcast")
        self.assertEqual(set(props), set(rows) | set(re.findall(r'"(\w+)"', own)))
        for name, o in rows.items():
            p = props[name]
            with self.subTest(option=name):
                if o["choices"]:
                    self.assertEqual(p["enum"], o["choices"] + [None])
                elif o["kind"] in ("int", "float"):
                    self.assertEqual((p["type"], p["minimum"], p["maximum"]), (["integer" if o["kind"] == "int" else "number", "null"], o["min"], o["max"]))
                elif o["kind"] == "bool":
                    self.assertEqual(p["type"], ["boolean", "null"])
                elif o["kind"] == "ids":
                    self.assertEqual(p["anyOf"][0], {"$ref": "#/components/schemas/Ids"})
                else:
                    self.assertIn(p["type"], {"texts": (["string", "array", "null"],), "biases": (["object", "null"],), "int64": (["integer", "null"],),
                                              "uint64": (["integer", "null"],)}.get(o["kind"], (["string", "null"],)))

    # If this fails, a path is nowhere described, or nowhere served.
    def test_routes(self):
        served = {(m.lower(), p) for m, p in re.findall(r'\.method = "(\w+)", \.path = "([^"]+)"', source("serve/routes.c"))}
        described = {(m, re.sub(r"\{\w+\}", "{}", p)) for p, item in self.doc["paths"].items() for m in item}
        self.assertEqual(served, described)
        ids = [o["operationId"] for item in self.doc["paths"].values() for o in item.values()]
        self.assertEqual(len(ids), len(set(ids)))
        for item in self.doc["paths"].values():
            for o in item.values():
                self.assertIn("200", o["responses"])
                self.assertIn("default", o["responses"])
        version = json.loads(self.s.get("/version").body)["version"]
        self.assertEqual(self.doc["info"]["version"], version)

    def test_references(self):
        jsonschema.Draft202012Validator.check_schema({"$defs": self.schemas})
        used = set(re.findall(r'"\$ref": "#/components/([^"]+)"', json.dumps(self.doc)))
        for ref in used:
            at = self.doc["components"]
            for part in ref.split("/"):
                self.assertIn(part, at, ref)
                at = at[part]
        chunks = {"CompletionChunk", "ChatChunk", "ForkcastEvent"}  # of streams, which OpenAPI 3.1 has no word for
        self.assertEqual({"schemas/" + name for name in self.schemas if name not in chunks} - used, set())

    @classmethod
    def answers(cls):
        """Schemas that answers are of."""
        out = {"CompletionChunk", "ChatChunk", "ForkcastEvent", "Error"}
        for item in cls.doc["paths"].values():
            for o in item.values():
                out.update(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(o["responses"]["200"])))
        return out

    # If this fails, this test leaves out a kind of answer.
    def test_z_all_were_seen(self):
        self.assertEqual(self.seen, self.answers())


if __name__ == "__main__":
    main()
