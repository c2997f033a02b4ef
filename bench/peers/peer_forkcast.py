"""forkcast by bench/bench_service, an engine that stays; see peer.py, whose FOLDER is here the build."""
import json
import os
import subprocess

import peer

RECIPE = "examples/recipes/interests-taxonomy.json"
ROWS = ("rows_prefill", "rows_decode", "rows_score")


def ids(numbers):
    return " ".join(map(str, numbers))


def main():
    name, folder, model, threads = peer.arguments()
    kv = os.environ["FORKCAST_KV"]
    service = subprocess.Popen([os.path.join(folder, "bench", "bench_service"), model, str(threads), RECIPE, f"kv={kv}"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)

    def said():
        line = service.stdout.readline()
        if not line:
            raise RuntimeError(f"bench_service ended: {service.wait()}")
        return json.loads(line)

    def ask(*words):
        print(*words, file=service.stdin, flush=True)
        return said()

    def answer(case):
        if case["job"] == "taxonomy":
            each = [ask(f"taxonomy {case['n']} {case['seed']}\t" + "\t".join(pair["history"])) for pair in case["pairs"]]
            counts = {"prompts": len(each)}
        elif case["job"] == "score":
            each = [ask("score", " | ".join(map(ids, [case["prompt"], *case["candidates"]])))]
            counts = {"tokens": sum(map(len, case["candidates"]))}
        else:
            n, tokens = (1, 1) if case["job"] == "prefill" else (case["n"], case["tokens"])
            each = [ask("generate", n, tokens, case["seed"], ids(case["prompt"]))]
            counts = {"tokens": n * tokens}
        more = {"loglik": each[0]["loglik"]} if case["job"] == "score" else {}
        counts.update({k: sum(one[k] for one in each) for k in ROWS})
        return {"seconds": {"total": sum(one["seconds"] for one in each)}, "counts": counts, **more}

    said()  # ready
    version = subprocess.run([os.path.join(folder, "forkcast"), "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]
    peer.serve(name, version, f"the GGUF; KV {kv}", answer)


if __name__ == "__main__":
    main()
