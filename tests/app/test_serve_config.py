"""What `forkcast serve` is told: flags over the environment over a file over defaults, for every option of both tables."""
import json
import os
import socket
import subprocess
import tempfile
import unittest

from test_option_flags import lora
from util_cli import BIN, ENV, run
from util_serve import Serve, alignment, body, main, model, novelty


def serve(*args, env=None):
    p = subprocess.run([BIN, "serve", *map(str, args)], capture_output=True, text=True, env=dict(ENV, **(env or {})), timeout=60)
    return p.returncode, p.stdout, p.stderr


def table():
    own = json.loads(subprocess.run([BIN, "options", "--serve", "--json"], check=True, capture_output=True).stdout)["options"]
    all = json.loads(subprocess.run([BIN, "options", "--json"], check=True, capture_output=True).stdout)["options"]
    return own, [o for o in all if o["scope"] == "engine"]


def other(o):
    """Three different values that the option takes, and none of them its default; as text."""
    kind = o["kind"]
    if o["name"] == "batch_invariant":
        return ["true"] * 3  # on the CPU there is nothing else
    if kind == "bool":
        return ["false", "true", "false"] if o["default"] == "true" else ["true", "false", "true"]
    if o["choices"]:
        found = [c for c in o["choices"] if c != o["default"]]
        return (found * 3)[:3]
    if kind == "int":
        return ["2000", "3000", "4000"] if o["name"] not in ("threads",) else ["2", "3", "4"]
    if kind == "bytes":
        return ["300M", "301M", "302M"]
    if o["name"] == "adapter":
        return ["a=x", "b=y", "c=z"]
    return ["first", "second", "third"]


def as_json(o, text):
    return {"bool": lambda: text == "true", "int": lambda: int(text), "texts": lambda: [text]}.get(o["kind"], lambda: text)()


class Config(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory()

    @classmethod
    def tearDownClass(cls):
        cls.dir.cleanup()

    def file(self, o):
        path = os.path.join(self.dir.name, "serve.json")
        with open(path, "w") as f:
            f.write(o if isinstance(o, str) else json.dumps(o))
        return path

    def printed(self, *args, env=None):
        code, out, err = serve("--print-config", *args, env=env)
        self.assertEqual((code, err), (0, ""), args)
        return json.loads(out)

    # If this fails, what a machine's configuration says is not what is served.
    def test_every_option_in_every_way(self):
        own, engine = table()
        defaults = self.printed()
        for o in [*own, *engine]:
            if o["name"] == "config":
                continue
            name, flag, variable = o["name"], "--" + o["flag"], "FORKCAST_" + o["name"].upper()
            by_file, by_variable, by_flag = other(o)
            if o["default"] is not None and o in own:
                self.assertEqual(defaults[name], as_json(o, o["default"]))
            else:
                self.assertNotIn(name, defaults)
            args = ("--config", self.file({name: as_json(o, by_file)}))
            self.assertEqual(self.printed(*args), {**defaults, name: as_json(o, by_file)}, name)
            env = {variable: by_variable}
            self.assertEqual(self.printed(*args, env=env), {**defaults, name: as_json(o, by_variable)}, name)
            said = [f"{flag}={by_flag}"] if o["kind"] == "bool" else [flag, by_flag]
            self.assertEqual(self.printed(*args, *said, env=env), {**defaults, name: as_json(o, by_flag)}, name)
            self.assertEqual(self.printed(*args, env={variable: ""}), {**defaults, name: as_json(o, by_file)}, name)

    def test_lists(self):
        args = ("--config", self.file({"listen": ["a:1", "b:2"], "served_model_name": ["x"]}))
        c = self.printed(*args)
        self.assertEqual((c["listen"], c["served_model_name"]), (["a:1", "b:2"], ["x"]))
        env = {"FORKCAST_LISTEN": "c:3,unix:/d", "FORKCAST_CONFIG": args[1]}
        self.assertEqual(self.printed(env=env)["listen"], ["c:3", "unix:/d"])
        self.assertEqual(self.printed("--listen", "e:5", "--listen", "f:6", env=env)["listen"], ["e:5", "f:6"])
        # what is printed says the same again
        c = self.printed("--port", 1, "--kv-pool", "5M", "--access-log=false", "--off", "fork,groups", "--max-requests", 7, "--adapter", "a=b")
        self.assertEqual(self.printed("--config", self.file(c)), c)

    def refused(self, word, *args, code=2, env=None):
        got, out, err = serve(*args, env=env)
        self.assertEqual((got, out), (code, ""), (args, err))
        self.assertIn(word, err)

    # If this fails, a slip of the pen is served for months.
    def test_errors_name_who_said_it(self):
        self.refused('--port: "70000" is not a whole number from 0 to 65535', "--port", 70000)
        self.refused('FORKCAST_PORT: "x" is not a whole number', "--print-config", env={"FORKCAST_PORT": "x"})
        path = self.file({"port": 70000})
        self.refused(path + ": port is 70000", "--print-config", "--config", path, code=1)
        self.refused('FORKCAST_ACCESS_LOG: "yes"; it is true or false', "--print-config", env={"FORKCAST_ACCESS_LOG": "yes"})
        self.refused('FORKCAST_KV_TYPE: "f8"; it is f32, bf16, int8 or fp8', "--print-config", env={"FORKCAST_KV_TYPE": "f8"})
        path = self.file({"kv_type": "f8"})
        self.refused(path + ': kv_type: "f8"', "--print-config", "--config", path)
        for o, word in (({"prot": 1}, "prot"), ({"config": "x"}, "config"), ({"n": 3}, "n: no such option"), ({"listen": "a:1"}, "a list of strings"),
                        ({"port": "1"}, "port"), ("{", "serve.json"), ("[]", "object"), ('{"port": 1, "port": 2}', "port")):
            self.refused(word, "--print-config", "--config", self.file(o), code=1)
        self.refused("usage_counts", "--print-config", "--config", self.file({"usage_counts": "some"}))
        self.refused("/nowhere", "--config", "/nowhere", code=1)
        self.refused("--port: listen is given too", "--port", 1, "--listen", "a:2")
        self.refused('--adapter: "x" is not NAME=FOLDER', "--adapter", "x")
        self.refused('adapter: "a" is given twice', "--adapter", "a=x", "--adapter", "a=y")
        self.refused('"a" is a served_model_name, too', "--adapter", "a=x", "--served-model-name", "a")
        self.refused("unknown option --n", "--n", 4)
        self.refused("max_body: 4194304 bytes; they are at most half of max_memory, which is 7 MiB", "--max-memory", 7)
        self.refused("--novelty: a model is needed")
        self.refused("--alignment: a model is needed, or none", "--novelty", novelty())
        self.refused("it needs an alignment model", "--novelty", novelty(), "--alignment", "none", "--alignment-adapter", "x")

    def test_check(self):
        good = ("--check-config", "--novelty", novelty(), "--alignment", alignment())
        self.assertEqual(serve(*good), (0, "the configuration is in order\n", ""))
        self.refused("/nowhere", *good, "--taxonomy", "/nowhere", code=1)
        self.refused("/nowhere", *good, "--recipe", "/nowhere", code=1)
        self.refused("/nowhere", *good, "--api-key-file", "/nowhere", code=1)
        self.refused("/nowhere: there is no such file", "--check-config", "--novelty", "/nowhere", "--alignment", "none", code=1)
        keys = os.path.join(self.dir.name, "keys")
        with open(keys, "w") as f:
            f.write("sk-secret-0001\nshort\n")
        code, out, err = serve(*good, "--api-key-file", keys)
        self.assertEqual((code, out), (1, ""))
        self.assertNotIn("secret", err)

    # If this fails, a configuration is called in order, and the service does not start, or lets nobody in.
    def test_check_reads_what_is_named(self):
        good = ("--check-config", "--novelty", novelty(), "--alignment", novelty())
        folder = os.path.join(self.dir.name, "adapter")
        lora(folder, 1.0)
        said = (0, "the configuration is in order\n", "")
        self.assertEqual(serve(*good, "--adapter", "a=" + folder), said)
        self.refused("nothing: not a folder with an adapter_config.json", *good, "--adapter", f"a={self.dir.name}/nothing", code=1)
        self.refused("nothing: not a folder", *good, "--alignment-adapter", f"{self.dir.name}/nothing", code=1)
        wide = model("wide", "--seed", 1, "--dim", 128)
        self.refused("64 x 2; 128 x 2 are expected", "--check-config", "--novelty", wide, "--alignment", "none", "--adapter", "a=" + folder, code=1)
        for address in ("127.0.0.1:0", "[::1]:8000", "localhost:8000", f"unix:{self.dir.name}/s"):
            self.assertEqual(serve(*good, "--listen", address), said, address)
        for address, word, code in (("8000", "an address is HOST:PORT", 2), ("localhost:x", "HOST:PORT", 2), ("no.such.host.invalid:80", "no.such.host.invalid:80: ", 2),
                                    ("unix:" + "x" * 200, "a socket's path has", 2), ("unix:" + novelty(), "something that is no socket", 2)):
            self.refused(word, *good, "--listen", address, code=code)
        self.refused("no.such.host.invalid:8000: ", *good, "--host", "no.such.host.invalid")
        with socket.socket() as taken:  # it is not taken: the service that runs may be the one that is checked for
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            self.assertEqual(serve(*good, "--port", taken.getsockname()[1]), said)
        for origin in ("https://app.example", "http://localhost:3000", "chrome-extension://abc"):
            self.assertEqual(serve(*good, "--allowed-origin", origin), said, origin)
        for origin in ("app.example", "https://app.example/", "https://App.example", "*", "null", "https://"):
            self.refused(f'--allowed-origin: "{origin}" is no origin', *good, "--allowed-origin", origin)
            self.refused("is no origin", *good[1:], "--allowed-origin", origin)  # nor is it served
        self.assertEqual(serve(*good, "--allowed-host", "*", "--allowed-host", "a.example"), said)
        self.refused('--allowed-host: "http://a" is no name of a host', *good, "--allowed-host", "http://a")

    # If this fails, FORKCAST_MAX_REQUEST=8 is a server with the default, and nobody hears of it.
    def test_variables_that_are_none(self):
        env = {"FORKCAST_MAX_REQUEST": "8", "FORKCAST_Port": "1", "FORKCAST_MAX_REQUESTS": "9", "FORKCAST_KV_POOL": "", "forkcast_port": "1"}
        code, out, err = serve("--print-config", env=env)
        self.assertEqual((code, json.loads(out)["max_requests"]), (0, 9))
        self.assertRegex(err, r"\Aforkcast: warning: FORKCAST_(MAX_REQUEST, FORKCAST_Port|Port, FORKCAST_MAX_REQUEST): no option has this name; .*\n\Z")
        with Serve("--novelty", novelty(), "--alignment", "none", "--access-log=false", env=env) as s:
            self.assertIn("FORKCAST_MAX_REQUEST", s.logged())

    # If this fails, a server is open to a whole network, and looks like one that is not.
    def test_open_to_others(self):
        keys = os.path.join(self.dir.name, "some-keys")
        with open(keys, "w") as f:
            f.write("a-key-of-the-test-0123456789\n")
        models = ("--novelty", novelty(), "--alignment", "none", "--access-log=false")
        with Serve(*models, "--host", "0.0.0.0") as s:
            self.assertIn(f"warning: 0.0.0.0:{s.address.split(':')[1]}: open to others, and without --api-key-file", s.logged())
        for args in (("--host", "0.0.0.0", "--api-key-file", keys), ("--host", "127.0.0.1")):
            with Serve(*models, *args) as s:
                self.assertEqual(s.logged(), "")
        with Serve(*models, "--listen", f"unix:{self.dir.name}/open", address=()) as s:
            self.assertEqual(s.logged(), "")

    # If this fails, an option is read and does nothing.
    def test_what_they_change(self):
        path = self.file({"max_best_of": 3, "max_prompts": 2, "chat_max_tokens": 5, "max_body": 1024, "usage_counts": "all", "access_log": False,
                          "served_model_name": ["one", "two"], "ctx": 64})
        with Serve("--novelty", novelty(), "--alignment", "none", "--config", path, "--allowed-origin", "https://a.example") as s:
            s.refused("/v1/completions", {"prompt": "x", "n": 4}, 400, "n", "at most 3")
            s.refused("/v1/completions", {"prompt": ["x"] * 3}, 400, "prompt", "at most 2")
            s.refused("/v1/completions", {"prompt": "x" * 1100}, 413)
            a = s.ok("/v1/completions", {"prompt": "x", "n": 1, "best_of": 3, "max_tokens": 4, "ignore_eos": True})
            self.assertEqual((a["usage"]["completion_tokens"], a["model"]), (12, "one"))
            a = s.ok("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "ignore_eos": True, "model": "two"})
            self.assertEqual((a["usage"]["completion_tokens"], a["model"]), (5, "two"))
            models = json.loads(s.get("/v1/models").body)["data"]
            self.assertEqual([(m["id"], m["root"], m["max_model_len"]) for m in models], [("one", "novelty", 64), ("two", "novelty", 64)])
            a = s.get("/version", b"Origin: https://a.example")
            self.assertEqual(a.headers["access-control-allow-origin"], "https://a.example")
            self.assertEqual(s.logged(), "")
            raw = b"GET /version HTTP/1.1\r\nHost: evil.example\r\n\r\n"
            a = s.ask(raw)
            self.assertEqual(a.status, 421)
            self.assertIn("--allowed-host", a.error()["message"])
        with Serve("--novelty", novelty(), "--alignment", "none", "--allowed-host", "evil.example", "--idle-ms", 100, "--head-ms", 100) as s:
            self.assertEqual(s.ask(raw).status, 200)
            with s.connect() as c:
                self.assertTrue(c.closed(2))
            with s.connect() as c:
                c.send(raw[:20])
                self.assertEqual(c.answer().status, 408)
            with s.connect() as c:
                c.send(body("/v1/completions", {"prompt": "x"})[:-3])
                self.assertFalse(c.closed(0.3))  # its body has a time of its own


if __name__ == "__main__":
    main()
