"""forkcast by its own program; see peer.py, whose FOLDER is here the build with build/forkcast.

It loads the model in each call, which timings_ms.total leaves out: that is from submit to answer. In `taxonomy`, where peers live on and
their prefix caches may know the few-shot part of a prompt, bench/bench_taxonomy does too.
"""
import json
import os
import subprocess
import tempfile

import peer

RECIPE = "examples/recipes/interests-taxonomy.json"
ROWS = ("rows_prefill", "rows_decode", "rows_score")


def main():
    name, folder, model, threads = peer.arguments()
    program = os.path.join(folder, "forkcast")

    def call(*args):
        out = subprocess.run([program, *args, "--threads", str(threads), "--json"], capture_output=True, text=True)
        if out.returncode:
            raise RuntimeError(out.stderr.strip())
        r = json.loads(out.stdout)
        return r, {"seconds": {"total": r["timings_ms"]["total"] / 1000}, "counts": {k: r["accounting"][k] for k in ROWS}}

    def written(suffix, text):
        f = tempfile.NamedTemporaryFile("w", suffix=suffix)
        f.write(text)
        f.flush()
        return f

    services = {}  # by n

    def service(n):
        if n not in services:
            args = [os.path.join(folder, "bench", "bench_taxonomy"), RECIPE, model, str(threads), str(n)]
            services[n] = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            services[n].stdout.readline()  # ready
        return services[n]

    def answer(case):
        if case["job"] == "taxonomy":
            whole = {"seconds": {"total": 0}, "counts": {"prompts": len(case["pairs"]), **dict.fromkeys(ROWS, 0)}}
            for pair in case["pairs"]:
                p = service(case["n"])
                print(case["seed"], *pair["history"], sep="\t", file=p.stdin, flush=True)
                one = json.loads(p.stdout.readline())
                whole["seconds"]["total"] += one["seconds"]
                for k in ROWS:
                    whole["counts"][k] += one[k]
            return whole
        with written(".ids", " ".join(map(str, case["prompt"]))) as ids:
            if case["job"] == "score":
                with written(".txt", "".join(t + "\n" for t in case["texts"])) as texts:
                    r, a = call("score", "--model", model, "--prompt-ids", ids.name, "--candidates", texts.name, "--mode", "loglik-sum")
                all_ = r["all_candidates"]
                if [c["tokens"] for c in all_] != case["candidates"]:
                    raise RuntimeError("the candidates' texts are other ids than the peers were given")
                return {**a, "loglik": [c["score"] for c in all_]}
            n, tokens = (1, 1) if case["job"] == "prefill" else (case["n"], case["tokens"])
            _, a = call("bestof", "--novelty", model, "--alignment", "none", "--prompt-ids", ids.name, "-n", str(n), "-k", "1",
                        "--max-tokens", str(tokens), "--ignore-eos", "--seed", str(case["seed"]))
            a["counts"]["tokens"] = n * tokens
            return a

    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]
    peer.serve(name, version, "the GGUF; KV bf16", answer)


if __name__ == "__main__":
    main()
