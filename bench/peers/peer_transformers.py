"""Hugging Face transformers; see peer.py.

The prompt is computed once and its KV repeated for n candidates, which generate() with num_return_sequences would not do: it computes
the prompt n times. The loop of draws is ours, the model's forward and cache are theirs.
"""
import torch
import transformers

import peer


def main():
    name, folder, model, threads = peer.arguments()
    torch.set_num_threads(threads)
    lm = transformers.AutoModelForCausalLM.from_pretrained(peer.hugging_face(folder, model), dtype=torch.bfloat16).eval()

    def prefill(prompt):
        return lm(input_ids=torch.tensor([prompt]), use_cache=True, logits_to_keep=1)

    @torch.inference_mode()
    def generate(prompt, n, tokens, seed, end=None):
        torch.manual_seed(seed)
        start = peer.clock()
        out = prefill(prompt)
        cache, logits = out.past_key_values, out.logits[:, -1].expand(n, -1)
        if n > 1:
            cache.batch_repeat_interleave(n)
        drawn, ended = [], torch.zeros(n, dtype=torch.bool)
        for k in range(tokens):
            ids = torch.multinomial(torch.softmax(logits.float(), -1), 1)
            drawn.append(ids)
            ended |= ids[:, 0] == end
            if k + 1 == tokens or ended.all():
                break
            logits = lm(input_ids=ids, past_key_values=cache, use_cache=True).logits[:, -1]
        seconds = peer.clock() - start
        return [c[:c.index(end)] if end in c else c for c in torch.cat(drawn, 1).tolist()], seconds

    @torch.inference_mode()
    def score(prompt, candidates):
        longest = max(map(len, candidates))
        ids = torch.tensor([c + [0] * (longest - len(c)) for c in candidates])  # what is behind a candidate is not seen by it
        start = peer.clock()
        out = prefill(prompt)
        cache, logits = out.past_key_values, out.logits.expand(len(candidates), -1, -1)
        if longest > 1:
            cache.batch_repeat_interleave(len(candidates))
            logits = torch.cat([logits, lm(input_ids=ids[:, :-1], past_key_values=cache, use_cache=True).logits], 1)
        logits = logits.float()
        logprobs = logits.gather(2, ids[:, :, None])[:, :, 0] - logits.logsumexp(2)
        seconds = peer.clock() - start
        return [float(p[:len(c)].sum()) for p, c in zip(logprobs, candidates)], seconds

    peer.serve(name, transformers.__version__ + ", torch " + torch.__version__, "the GGUF made bf16; KV bf16", peer.answers_by(generate, score))


if __name__ == "__main__":
    main()
