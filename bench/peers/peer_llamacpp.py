"""llama.cpp, and ik_llama.cpp where it has the same programs; see peer.py.

generate, prefill: llama-batched-bench -pps -kvu, the prompt shared by sequence copy in one KV cache; random ids stand for what would be drawn, so nothing
is sampled. G tokens take G-1 passes, as elsewhere: the prompt's pass gives the first.
score, taxonomy: by the library, through its Python bindings: the prompt is decoded once in sequence 0 and copied to n others, which
are decoded together. Timed is what the library does; log-softmax in numpy is not.
"""
import glob
import json
import os
import subprocess

import peer

BATCH, UBATCH = 2048, 512


def results(text):
    """t_pp and t_tg, seconds, of each case: lines of JSON; ik_llama.cpp writes them, or its table, among its messages."""
    names = None
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        if line.startswith("{"):
            yield json.loads(line)
        elif "T_PP s" in cells:
            names = cells
        elif names and len(cells) == len(names) and cells[0].isdigit():
            row = dict(zip(names, cells))
            yield {"t_pp": float(row["T_PP s"]), "t_tg": float(row["T_TG s"])}


def bench(folder, model, threads, prompt, n, tokens, more):
    program = os.path.abspath(os.path.join(folder, "build", "bin", "llama-batched-bench"))
    command = [program, *more, "-m", os.path.abspath(model), "-c", str(prompt + n * tokens + 256), "-b", str(BATCH), "-ub", str(UBATCH), "-npp", str(prompt), "-ntg", str(max(tokens - 1, 1)),
               "-npl", str(n), "-pps", "-t", str(threads), "-tb", str(threads), "--output-format", "jsonl"]
    out = subprocess.run(command, capture_output=True, text=True, cwd=folder)  # ik_llama.cpp leaves a log where it is
    lines = list(results(out.stdout + out.stderr))
    if out.returncode or not lines:
        raise RuntimeError(f"llama-batched-bench: exit {out.returncode}: {out.stderr.strip()[-300:]}")
    return lines[-1]["t_pp"] + (lines[-1]["t_tg"] if tokens > 1 else 0)


class Library:
    """The bindings' ctypes layer; only what is used."""

    def __init__(self, folder, model, threads):
        os.environ["LLAMA_CPP_LIB_PATH"] = os.path.join(os.path.abspath(folder), "build", "bin")
        import llama_cpp
        import numpy
        self.l, self.np, self.threads = llama_cpp.llama_cpp, numpy, threads
        self.version = llama_cpp.__version__
        self.l.llama_backend_init()
        self.model = self.l.llama_model_load_from_file(model.encode(), self.l.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"{model}: llama.cpp does not load it")
        self.vocab = self.l.llama_vocab_n_tokens(self.l.llama_model_get_vocab(self.model))

    def context(self, sequences, cells):
        p = self.l.llama_context_default_params()
        p.n_ctx, p.n_seq_max, p.n_batch, p.n_ubatch, p.kv_unified = cells, sequences, BATCH, UBATCH, True
        p.n_threads = p.n_threads_batch = self.threads
        context = self.l.llama_init_from_model(self.model, p)
        if not context:
            raise RuntimeError("llama_init_from_model failed")
        return context

    def decode(self, context, batch, rows):
        """rows of (id, position, sequence, whether its logits are wanted)"""
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, wanted
            batch.seq_id[i][0] = sequence
        batch.n_tokens = len(rows)
        start = peer.clock()
        status = self.l.llama_decode(context, batch)
        self.l.llama_synchronize(context)
        if status:
            raise RuntimeError(f"llama_decode: {status}")
        return peer.clock() - start

    def share(self, context, batch, prompt, n):
        """The prompt in sequence 0, and n - 1 copies of it."""
        seconds = 0
        for at in range(0, len(prompt), BATCH):
            rows = [(t, i, 0, i == len(prompt) - 1) for i, t in enumerate(prompt)][at:at + BATCH]
            seconds += self.decode(context, batch, rows)
        start = peer.clock()
        memory = self.l.llama_get_memory(context)
        for i in range(1, n):
            self.l.llama_memory_seq_cp(memory, 0, i, -1, -1)
        return seconds + peer.clock() - start

    def logprobs(self, context, outputs, ids):
        """Of ids[i] at output i of the last decode."""
        rows = self.np.ctypeslib.as_array(self.l.llama_get_logits(context), (outputs, self.vocab))
        return [float(r[t] - r.max() - self.np.log(self.np.exp(r - r.max()).sum())) for r, t in zip(rows, ids)]

    def score(self, prompt, candidates):
        context = self.context(len(candidates), len(prompt) + sum(map(len, candidates)) + 256)
        batch = self.l.llama_batch_init(BATCH, 0, 1)
        seconds = self.share(context, batch, prompt, len(candidates))
        first = self.np.ctypeslib.as_array(self.l.llama_get_logits_ith(context, -1), (self.vocab,))
        normal = float(first.max() + self.np.log(self.np.exp(first - first.max()).sum()))
        loglik = [float(first[c[0]]) - normal for c in candidates]
        rows = [(t, len(prompt) + k, i, True) for i, c in enumerate(candidates) for k, t in enumerate(c[:-1])]
        wanted = [(i, t) for i, c in enumerate(candidates) for t in c[1:]]
        for at in range(0, len(rows), BATCH):
            part = wanted[at:at + BATCH]
            seconds += self.decode(context, batch, rows[at:at + BATCH])
            for (i, _), p in zip(part, self.logprobs(context, len(part), [t for _, t in part])):
                loglik[i] += p
        self.l.llama_batch_free(batch)
        self.l.llama_free(context)
        return loglik, seconds

    def generate(self, prompt, n, tokens, seed, end):
        context = self.context(n, len(prompt) + n * tokens + 256)
        batch = self.l.llama_batch_init(BATCH, 0, 1)
        sampler = self.l.llama_sampler_chain_init(self.l.llama_sampler_chain_default_params())
        self.l.llama_sampler_chain_add(sampler, self.l.llama_sampler_init_top_k(50))
        self.l.llama_sampler_chain_add(sampler, self.l.llama_sampler_init_dist(seed))
        seconds = self.share(context, batch, prompt, n)
        drawn, live, output = [[] for _ in range(n)], list(range(n)), [-1] * n  # output: the row of each one's logits
        for position in range(len(prompt), len(prompt) + tokens):
            start = peer.clock()
            ids = [self.l.llama_sampler_sample(sampler, context, output[i]) for i in live]
            seconds += peer.clock() - start
            for i, t in zip(live, ids):
                drawn[i].append(t)
            live = [i for i, t in zip(live, ids) if t != end]
            if not live or position + 1 == len(prompt) + tokens:
                break
            output = {i: at for at, i in enumerate(live)}
            seconds += self.decode(context, batch, [(drawn[i][-1], position, i, True) for i in live])
        self.l.llama_sampler_free(sampler)
        self.l.llama_batch_free(batch)
        self.l.llama_free(context)
        return [c[:-1] if c[-1] == end else c for c in drawn], seconds


def main():
    name, folder, model, threads = peer.arguments()
    bindings = glob.glob(os.path.join(folder, "lib", "python*", "site-packages", "forkcast_llama_cpp.pth"))
    library = Library(folder, model, threads) if bindings else None

    def generate(prompt, n, tokens, seed, end=None):
        if end is None:
            return None, bench(folder, model, threads, len(prompt), n, tokens, ["-kvu"] if library else [])  # ik_llama.cpp's KV is always so
        if not library:
            raise peer.Cannot("its Python bindings are not installed")
        return library.generate(prompt, n, tokens, seed, end)

    def score(prompt, candidates):
        if not library:
            raise peer.Cannot("its Python bindings are not installed")
        return library.score(prompt, candidates)

    version = "unknown"
    if library:
        version = f"llama-cpp-python {library.version}"
    elif os.path.exists(os.path.join(folder, "VERSION")):
        with open(os.path.join(folder, "VERSION")) as f:
            version = f.read().strip()
    peer.serve(name, version, "the GGUF; KV f16", peer.answers_by(generate, score))


if __name__ == "__main__":
    main()
