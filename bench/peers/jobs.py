"""Cases that engines are measured on, with token ids for all of them, and how fast the machine's limits allow one to be."""
import json
import random
import re
import subprocess

RECIPE = "examples/recipes/interests-taxonomy.json"
TAXONOMY = "examples/interests.tsv"
USAGE = "generate:P:G, prefill:P, score:P:L[:CANDIDATES], taxonomy[:PAIRS[:N]]"


class Model:
    """What a case needs of a GGUF, by forkcast's own commands."""

    def __init__(self, program, path):
        self.program, self.path = program, path
        r = json.loads(self.run("inspect", path, "--json"))
        c = r["config"]
        self.bytes, self.vocab = r["bytes"], c["vocab"]
        self.head = c["vocab"] * c["dim"]
        matrices = sum(t["shape"][0] * t["shape"][1] for t in r["tensors"] if len(t["shape"]) == 2)
        self.layers = matrices - self.head * (1 if c["tied"] else 2)  # without the head; an embedding is read, not multiplied
        self.attention = 4 * c["heads"] * c["head_dim"] * c["layers"]  # operations of one row over one position
        self.words = None

    def run(self, *args, text=None):
        out = subprocess.run([self.program, *args], input=text, capture_output=True, text=True)
        if out.returncode:
            raise SystemExit(f"forkcast {args[0]}: {out.stderr.strip()}")
        return out.stdout

    def ids(self, text, *flags):
        return json.loads(self.run("tokenize", "--model", self.path, "--file", "-", "--json", *flags, text=text))

    def find_words(self):
        """(text, id) of words of one token with the blank before them, so that a text of such words is known to be as many tokens."""
        if self.words is None:
            with open(TAXONOMY) as f:
                r = self.ids(re.sub(r"[^a-z]+", " ", f.read()))
            pairs = list(zip(r["token_strs"], r["tokens"]))
            self.words = sorted({p for p, after in zip(pairs, pairs[1:]) if re.fullmatch(" [a-z]{3,}", p[0]) and after[0].startswith(" ")})
        return self.words


def parse(text, ns):
    """One case without ids for each n of each job named; SystemExit says what is wrong."""
    out = []
    for part in text.split(","):
        name, *numbers = part.split(":")
        try:
            numbers = [int(x) for x in numbers]
        except ValueError:
            numbers = [0]
        if min(numbers, default=1) < 1:
            raise SystemExit(f"job {part}: numbers are positive; known are {USAGE}")
        if name == "generate" and len(numbers) == 2:
            out += [{"job": name, "P": numbers[0], "G": numbers[1], "n": n} for n in ns]
        elif name == "prefill" and len(numbers) == 1:
            out.append({"job": name, "P": numbers[0], "n": 1})
        elif name == "score" and 2 <= len(numbers) <= 3:
            out.append({"job": name, "P": numbers[0], "L": numbers[1], "n": (numbers + [64])[2]})
        elif name == "taxonomy" and len(numbers) <= 2:
            pairs, n = (numbers + [4, 64][len(numbers):])
            out.append({"job": name, "pairs": pairs, "n": n})
        else:
            raise SystemExit(f"job {part}: known are {USAGE}")
    return out


def case(model, what, run):
    """A case with ids, as peer.py has it. Each run has a prompt of its own, so that no cache knows it; the same for every engine."""
    rng = random.Random(f"{sorted(what.items())} {run}")
    full = {"job": what["job"], "seed": run + 1, "n": what["n"]}
    if what["job"] == "taxonomy":
        return {**full, "tokens": 8, "end": model.ids("\n")["tokens"][-1], "pairs": [taxonomy_pair(model, rng) for _ in range(what["pairs"])]}
    full["prompt"] = [rng.randrange(100, min(model.vocab, 40000)) for _ in range(what["P"])]
    if what["job"] == "generate":
        full["tokens"] = what["G"]
    if what["job"] == "score":
        words, drawn = model.find_words(), {}
        while len(drawn) < what["n"]:
            c = rng.choices(words, k=what["L"])
            drawn["".join(w for w, _ in c)] = [i for _, i in c]
        full["candidates"] = list(drawn.values())
    return full


def taxonomy_pair(model, rng):
    """Two names, and the recipe's prompts for them."""
    with open(TAXONOMY) as f:
        names = [line.rstrip("\n").split("\t")[1:3] for line in f if line.strip() and not line.startswith("#")]
    with open(RECIPE) as f:
        recipe = json.load(f)
    two = rng.sample(names, 2)
    history, keywords = ", ".join(n for n, _ in two), "; ".join(k for _, k in two)
    fill = {role: recipe[role]["template"].replace("{history}", history).replace("{keywords}", keywords) for role in ("novelty", "alignment")}
    return {"history": [n for n, _ in two], **{role: model.ids(text, "--special", "--add-special")["tokens"] for role, text in fill.items()}}


def limit(model, limits, what, full, counts):
    """Seconds that limits allow for the rows that forkcast computed. A pass of rows takes the longer of its arithmetic (2 int8
    operations a weight and row, those of the head only where logits are needed; attention in f32) and of reading the file once."""
    def seconds(rows, heads, positions):
        linear = 2 * (rows * model.layers + heads * model.head) / (limits["gops_int8"] * 1e9)
        attention = rows * positions * model.attention / (limits["gflops_f32"] * 1e9)
        return max(linear + attention, model.bytes / (limits["read_gbs_dram"] * 1e9))

    def prompt(length):
        return seconds(length, 1, (length + 1) / 2)

    if what["job"] == "taxonomy":  # which pass a row was in is not counted: one pass each of prompt, draws and scores is the least
        total = 0
        for p in full["pairs"]:
            share = 1 / len(full["pairs"])
            tails = counts["rows_score"] * share - len(p["alignment"])
            total += prompt(len(p["novelty"])) + prompt(len(p["alignment"]))
            total += seconds(counts["rows_decode"] * share, counts["rows_decode"] * share, len(p["novelty"])) + seconds(tails, tails, len(p["alignment"]))
        return total
    P = what["P"]
    if what["job"] == "score":
        tails = counts["rows_score"] - P
        return prompt(P) + seconds(tails, tails, P + what["L"] / 2)
    return prompt(P) + sum(seconds(what["n"], what["n"], P + g) for g in range(1, what.get("G", 1)))
