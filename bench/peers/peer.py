"""What programs of peers share: a loop that reads one JSON case a line and writes one JSON answer a line.

Each is started as PROGRAM NAME FOLDER MODEL.gguf THREADS, where FOLDER is build/peers/NAME, loads the model once and says
{"name", "version", "weights"}. Cases, with token ids everywhere:

  {"job": "generate", "prompt": [..], "n": 16, "tokens": 32, "seed": 1}     tokens of each of n candidates, end tokens as any other
  {"job": "prefill", "prompt": [..], "seed": 1}                             one token
  {"job": "score", "prompt": [..], "candidates": [[..], ..]}  log-likelihood of each
  {"job": "taxonomy", "pairs": [{"history": [..], "novelty": [..], "alignment": [..]}, ..], "n": 64, "tokens": 8, "end": 198, "seed": 1}

Answers: {"seconds": {"total": ..}, "counts": {"tokens": ..}}, with "loglik", one sum a candidate, for score; {"cannot": why};
{"error": what went wrong}.
"""
import json
import os
import subprocess
import sys
import time


class Cannot(Exception):
    """What this engine has no way to do."""


def arguments():
    """Standard output is for answers alone: what libraries print goes to standard error."""
    global answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name, folder, model, threads = sys.argv[1:5]
    return name, folder, model, int(threads)


def say(message):
    print(json.dumps(message), file=answers, flush=True)


def serve(name, version, weights, answer):
    """answer(case) makes an answer as above."""
    say({"name": name, "version": version, "weights": weights})
    for line in sys.stdin:
        case = json.loads(line)
        try:
            say(answer(case))
        except Cannot as e:
            say({"cannot": str(e)})
        except Exception as e:  # the driver says it and goes on with the others
            say({"error": f"{type(e).__name__}: {e}"})


def answers_by(generate, score):
    """generate(prompt, n, tokens, seed, end=None) gives n lists of ids, without the id end, which ends a candidate, and seconds;
    score(prompt, candidates) gives one sum of log-probabilities each, and seconds."""
    return lambda case: answer(case, generate, score)


def answer(case, generate, score):
    if case["job"] == "score":
        loglik, seconds = score(case["prompt"], case["candidates"])
        return {"seconds": {"total": seconds}, "counts": {"tokens": sum(map(len, case["candidates"]))}, "loglik": loglik}
    if case["job"] == "taxonomy":
        total = tokens = scored = 0
        for pair in case["pairs"]:
            drawn, seconds = generate(pair["novelty"], case["n"], case["tokens"], case["seed"], case["end"])
            distinct = list(dict.fromkeys(tuple(c) for c in drawn if c))
            loglik, more = score(pair["alignment"], [list(c) for c in distinct])
            if not all(x == x for x in loglik) or len(loglik) != len(distinct):
                raise ValueError("a score is missing")
            total, tokens, scored = total + seconds + more, tokens + sum(map(len, drawn)), scored + len(distinct)
        return {"seconds": {"total": total}, "counts": {"prompts": len(case["pairs"]), "tokens": tokens, "scored": scored}}
    n, tokens = (1, 1) if case["job"] == "prefill" else (case["n"], case["tokens"])
    drawn, seconds = generate(case["prompt"], n, tokens, case["seed"])
    if drawn is not None and [len(c) for c in drawn] != [tokens] * n:
        raise ValueError(f"asked for {n} candidates of {tokens} tokens, got {[len(c) for c in drawn]}")
    return {"seconds": {"total": seconds}, "counts": {"tokens": n * tokens}}


def clock():
    return time.perf_counter()


def hugging_face(folder, model):
    """A folder of the GGUF's weights in bfloat16, for engines that read no GGUF; made once, beside the peers."""
    out = os.path.join(os.path.dirname(os.path.abspath(folder)), "hf", os.path.splitext(os.path.basename(model))[0])
    if not os.path.exists(os.path.join(out, "config.json")):
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gguf_to_hf.py")
        python = os.path.join(os.path.dirname(os.path.abspath(folder)), "transformers", "bin", "python")
        if not os.path.exists(python):
            sys.exit(f"{python} is not there; bench/peers/install.sh transformers makes it")
        subprocess.run([python, program, model, out], check=True)
    return out
