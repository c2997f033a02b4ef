"""A server's /openapi.json, from standard input, with a right body for each operation that takes one, so that what is generated around it
is answered and not refused alone: models that are served, streams by the way they are asked for, names that a table has."""
import json
import sys

DRAWN = {"model": "m", "n": 2, "best_of": 4, "max_tokens": 8, "seed": 3}
SCORE = {"model": "m", "text_1": "the night", "text_2": ["of the craft", "x"]}
RANK = {"model": "m", "query": "the night", "documents": ["of the craft", "x"], "top_n": 1}
BODIES = {
    "/v1/completions": [{**DRAWN, "prompt": "the night", "logprobs": 1}, {**DRAWN, "prompt": ["a", "b"], "stream": True, "stream_options": {"include_usage": True}}],
    "/v1/chat/completions": [{**DRAWN, "messages": [{"role": "user", "content": "the night"}]}],
    "/score": [SCORE], "/v1/score": [SCORE], "/rerank": [RANK], "/v1/rerank": [RANK], "/v2/rerank": [RANK],
    "/v1/lookup": [{"key": "k1"}],
    "/tokenize": [{"model": "m", "prompt": "the night"}], "/detokenize": [{"model": "m", "tokens": [65, 66]}],
}

d = json.load(sys.stdin)
for path, bodies in BODIES.items():
    d["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"] = {f"right{i}": {"value": b} for i, b in enumerate(bodies)}
json.dump(d, sys.stdout)
