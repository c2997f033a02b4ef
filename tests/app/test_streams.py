"""Where texts come from and go to: files, pipes, devices, full disks, closed pipes, terminals.

Runs against tiny models that it makes itself. Standard library alone.
"""
import json
import os
import pty
import select
import subprocess
import sys
import tempfile
import time
import unittest

BIN = os.path.join(os.environ.get("FORKCAST_BUILD", "build"), "forkcast")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run(*args, stdin=b"", **kw):
    p = subprocess.run([BIN, *map(str, args)], input=stdin, stdout=kw.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE,
                       timeout=120, **kw)
    return p.returncode, p.stdout, p.stderr.decode("utf-8", "replace")


def on_terminal(*args, stream="stderr"):
    """What the program shows on one stream that is a terminal; the other one is read apart."""
    try:
        master, slave = pty.openpty()
    except OSError as e:  # a container without /dev/pts
        print(f"skipped: no terminal is to be had here: {e}", flush=True)
        raise unittest.SkipTest(f"no terminal is to be had here: {e}")
    other = "stdout" if stream == "stderr" else "stderr"
    p = subprocess.Popen([BIN, *map(str, args)], stdin=subprocess.DEVNULL, **{stream: slave, other: subprocess.PIPE})
    os.close(slave)
    shown, end = b"", time.monotonic() + 120
    while time.monotonic() < end:
        if not select.select([master], [], [], 1)[0]:
            if p.poll() is not None:
                break
            continue
        try:
            more = os.read(master, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not more:
            break
        shown += more
    rest = p.communicate(timeout=60)[0 if other == "stdout" else 1]
    os.close(master)
    return p.returncode, shown.decode("utf-8", "replace"), rest


class Streams(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.model = cls.path("model.gguf")
        code, _, err = run("tiny", cls.model, "--seed", 1)
        assert code == 0, err
        cls.bestof = ("bestof", "--novelty", cls.model, "--alignment", cls.model, "--prompt", "Hello", "-n", 5)
        cls.score = ("score", "--model", cls.model, "--prompt", "Hello", "--candidates", cls.path("candidates.txt"))
        with open(cls.path("candidates.txt"), "w") as f:
            f.write("one\ntwo\nthree\n")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder.name, name)

    def commands(self):
        """One that answers with each kind of output."""
        m = self.model
        return [("--help",), ("--version",), ("bestof", "--help"), self.bestof, (*self.bestof, "--json"), self.score,
                (*self.score, "--json"), ("run", "--model", m, "--prompt", "Hello", "--max-tokens", 4),
                ("run", "--model", m, "--prompt", "Hello", "--max-tokens", 4, "--json"), ("tokenize", "--model", m, "Hello"),
                ("inspect", m), ("doctor",), ("convert", m, self.path("w.gguf"), "--type", "F16", "--json"),
                ("tiny", self.path("w.gguf"), "--json")]

    # ---- output

    # If this fails, a script takes an answer that was cut off by a full disk for a whole one.
    def test_a_full_disk_is_an_error(self):
        for args in self.commands():
            with open("/dev/full", "wb") as full:
                code, _, err = run(*args, stdout=full)
            self.assertEqual(code, 1, args)
            self.assertIn("standard output: No space left", err, args)

    # If this fails, `forkcast ... | head -1` ends in an error message, or computes what nobody reads.
    def test_a_closed_pipe_ends_quietly(self):
        for args in self.commands():
            r, w = os.pipe()
            os.close(r)
            code, _, err = run(*args, stdout=w)
            os.close(w)
            self.assertEqual((code, err), (1, ""), args)

    # If this fails, every script that reads standard error gets control characters.
    def test_no_progress_without_a_terminal(self):
        for args in self.commands():
            code, _, err = run(*args)
            self.assertEqual(code, 0, err)
            self.assertNotIn("\r", err)
            self.assertNotIn("loading", err)

    # If this fails, a person does not know whether the program works or hangs.
    def test_progress_on_a_terminal(self):
        many = ("--ignore-eos", "--max-tokens", 3)
        for args, words in (((*self.bestof, *many), ["loading", self.model, "5 of 5 candidates drawn", "scored"]),
                            ((*self.bestof, *many, "--json"), ["loading", "5 of 5 candidates drawn", "scored"]),
                            (self.score, ["loading", "3 of 3 candidates scored"]),
                            ((*self.score, "--json"), ["loading", "3 of 3 candidates scored"]),
                            (("run", "--model", self.model, "--prompt", "Hello", *many, "--json"), ["loading", "3 tokens drawn"]),
                            (("run", "--model", self.model, "--prompt", "Hello", *many), ["loading", "3 new tokens"]),
                            (("convert", self.model, self.path("p.gguf"), "--type", "F16"), ["100 %", "p.gguf: 0."]),
                            (("tiny", self.path("p.gguf")), ["100 %", "p.gguf: 0."])):
            code, shown, out = on_terminal(*args)
            self.assertEqual(code, 0, shown)
            self.assertRegex(shown, r"\r *\r([^\r]*\r\n)*[^\r]*$", "the line is not taken away")
            for w in words:
                self.assertIn(w, shown, args)
            if "--json" in args:
                json.loads(out)
            elif args[0] in ("bestof", "score"):  # the answer is the same; the last line of bestof has times
                self.assertEqual(out.splitlines()[:-1], run(*args)[1].splitlines()[:-1])

    def test_an_error_stands_on_a_line_of_its_own(self):
        code, shown, _ = on_terminal(*self.bestof, "--max-tokens", 100000)
        self.assertEqual(code, 2)
        self.assertRegex(shown, r"\r *\rforkcast bestof: [^\r\n]*\r\n$")

    # If this fails, the shell's prompt stands behind a decoded text, or a pipe gets a byte that is not in it.
    def test_decode_ends_its_line_on_a_terminal_alone(self):
        ids = run("tokenize", "--model", self.model, "Hello")[1].decode()
        args = ("tokenize", "--model", self.model, "--decode", ids)
        self.assertEqual(run(*args)[1], b"Hello")
        self.assertEqual(on_terminal(*args, stream="stdout")[1], "Hello\r\n")

    # ---- input

    def answer(self, *args, **kw):
        code, out, err = run(*args, **kw)
        self.assertEqual(code, 0, err)
        return out

    # If this fails, a text that a program makes must be stored in a file first.
    def test_pipes_and_devices_are_read(self):
        text = b"Hello there"
        m = self.model
        want = self.answer("tokenize", "--model", m, text.decode())
        self.assertEqual(self.answer("tokenize", "--model", m, "--file", "/dev/stdin", stdin=text), want)
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        for args in (("tokenize", "--model", m, "--file", fifo),
                     ("run", "--model", m, "--max-tokens", 3, "--json", "--prompt-file", fifo)):
            p = subprocess.Popen([BIN, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            with open(fifo, "wb") as f:
                f.write(text)
            out, err = p.communicate(timeout=60)
            self.assertEqual(p.returncode, 0, err)
            if args[0] == "tokenize":
                self.assertEqual(out, want)
            else:
                self.assertEqual(json.loads(out)["prompt"], text.decode())
        self.assertEqual(self.answer(*self.score[:-1], "/dev/stdin", stdin=b"one\ntwo\nthree\n"), self.answer(*self.score))
        code, _, err = run("run", "--model", m, "--prompt-file", "/dev/null")
        self.assertEqual(code, 2)
        self.assertIn("empty", err)
        code, _, err = run("run", "--model", m, "--prompt-file", self.folder.name)
        self.assertEqual(code, 1)
        self.assertIn("directory", err)

    # If this fails, one of two texts is silently the empty rest of the other.
    def test_standard_input_is_read_once(self):
        for option in ("--prompt-file", "--prompt-ids"):
            code, _, err = run("score", "--model", self.model, option, "-", "--candidates", "-", stdin=b"1 2 3\n")
            self.assertEqual(code, 2)
            self.assertIn(f"--candidates and {option}: both name standard input", err)

    # If this fails, half of what was typed is tokenised and the other half dropped.
    def test_tokenize_takes_one_text(self):
        m = self.model
        for args in (("--text", "a", "b"), ("--text", "a", "--file", "-"), ("b", "--file", "-")):
            code, out, err = run("tokenize", "--model", m, *args)
            self.assertEqual((code, out), (2, b""), args)
            self.assertIn("give the text once", err)

    # If this fails, an error sentence spreads over lines, or a file's bytes reach the terminal.
    def test_what_is_quoted_stays_on_the_line(self):
        ids = self.path("ids.txt")
        with open(ids, "wb") as f:
            f.write(b"5 host\x1b[2J\nname 7\n")
        code, _, err = run("run", "--model", self.model, "--prompt-ids", ids)
        self.assertEqual(code, 1)
        self.assertIn('ids.txt: id 1, "host\\x1b[2J", is not a decimal token id', err)
        self.assertEqual(err.count("\n"), 1)
        code, _, err = run("run", "--model", self.path("no\nsuch"), "--prompt", "x")
        self.assertEqual((code, err.count("\n")), (1, 1))
        self.assertIn("no\\nsuch", err)


if __name__ == "__main__":
    if not os.path.exists(BIN):
        sys.exit(f"{BIN} is not built")
    os.chdir(ROOT)
    unittest.main()
