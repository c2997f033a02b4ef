"""CTranslate2; see peer.py. It samples num_hypotheses of one prompt, and scores whole sequences: the prompt once a candidate."""
import json
import os
import subprocess
import sys

import ctranslate2

import peer


def converted(folder, model):
    """Made once, by its converter, from the Hugging Face folder; weights int8, as its CPU users have them."""
    out = os.path.join(folder, os.path.splitext(os.path.basename(model))[0])
    if not os.path.exists(os.path.join(out, "model.bin")):
        command = [sys.executable, "-m", "ctranslate2.converters.transformers", "--model", peer.hugging_face(folder, model), "--output_dir", out,
                   "--quantization", "int8", "--force"]
        subprocess.run(command, check=True)
    return out


def main():
    name, folder, model, threads = peer.arguments()
    path = converted(folder, model)
    generator = ctranslate2.Generator(path, device="cpu", compute_type="int8", inter_threads=1, intra_threads=threads)
    with open(os.path.join(path, "vocabulary.json"), encoding="utf-8") as f:
        words = json.load(f)

    def strings(ids):
        return [words[i] for i in ids]

    def generate(prompt, n, tokens, seed, end=None):
        ctranslate2.set_random_seed(seed)
        start_tokens = [strings(prompt)]
        start = peer.clock()
        r = generator.generate_batch(start_tokens, max_length=tokens, min_length=tokens if end is None else 0, num_hypotheses=n, beam_size=1,
                                     sampling_topk=50, sampling_temperature=1.0, include_prompt_in_result=False,
                                     end_token=None if end is None else [words[end]])
        seconds = peer.clock() - start
        drawn = [list(c) for c in r[0].sequences_ids]
        return [c[:c.index(end)] if end in c else c for c in drawn], seconds

    def score(prompt, candidates):
        inputs = [strings(prompt + c) for c in candidates]
        start = peer.clock()
        out = generator.score_batch(inputs, max_batch_size=2048, batch_type="tokens")
        seconds = peer.clock() - start
        return [float(sum(o.log_probs[-len(c):])) for o, c in zip(out, candidates)], seconds

    peer.serve(name, ctranslate2.__version__, "the GGUF made bf16, then int8; KV f32", peer.answers_by(generate, score))


if __name__ == "__main__":
    main()
