"""OpenVINO GenAI: continuous batching, prefix cache, n return sequences; see peer.py.

score: the prompt is computed once, up to the last block that ends before its last id, and found in the prefix cache by one
request a candidate, which echoes log-probabilities of what it computes: the rest of the prompt and the candidate.
"""

import numpy as np
import openvino as ov
import openvino_genai as og

import peer

BLOCK = 32  # slots of a KV block on CPU: prefixes are found in whole blocks


def tensor(ids):
    return ov.Tensor(np.array([ids], dtype=np.int64))


def main():
    name, _, model, threads = peer.arguments()
    scheduler = og.SchedulerConfig()
    scheduler.enable_prefix_caching = True
    scheduler.cache_size = 2  # GiB
    scheduler.max_num_batched_tokens = 2048
    scheduler.max_num_seqs = 256
    pipe = og.ContinuousBatchingPipeline(model, scheduler, "CPU", {"INFERENCE_NUM_THREADS": threads})

    def generate(prompt, n, tokens, seed, end=None):
        config = og.GenerationConfig()
        config.max_new_tokens, config.num_return_sequences, config.rng_seed = tokens, n, seed
        config.do_sample, config.temperature, config.top_k = True, 1.0, 50
        if end is None:
            config.ignore_eos = True
        else:
            config.stop_token_ids = {end, *config.stop_token_ids}
        start = peer.clock()
        result = pipe.generate([tensor(prompt)], [config])[0]
        seconds = peer.clock() - start
        return [c[:c.index(end)] if end in c else c for c in map(list, result.m_generation_ids)], seconds

    def score(prompt, candidates):
        config = og.GenerationConfig()
        config.max_new_tokens = 1
        cached = (len(prompt) - 1) // BLOCK * BLOCK
        inputs = [tensor(prompt + c) for c in candidates]
        echo = og.GenerationConfig()
        echo.max_new_tokens, echo.echo, echo.logprobs = 1, True, 1
        start = peer.clock()
        if cached:
            pipe.generate([tensor(prompt[:cached])], [config])
        handles = [pipe.add_request(i, x, echo) for i, x in enumerate(inputs)]
        while pipe.has_non_finished_requests():
            pipe.step()
        logprobs = [h.read_all()[0].generated_log_probs for h in handles]
        seconds = peer.clock() - start
        if any(len(p) < len(c) + 1 for p, c in zip(logprobs, candidates)):
            raise ValueError("log-probabilities are missing")
        return [float(sum(p[-len(c) - 1:-1])) for p, c in zip(logprobs, candidates)], seconds  # the last is the id drawn

    peer.serve(name, og.__version__.split("-")[0], "the GGUF; KV as it chooses", peer.answers_by(generate, score))


if __name__ == "__main__":
    main()
