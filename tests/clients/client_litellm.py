"""The litellm package against a server: ADDRESS. Prints what was done."""
import importlib.metadata
import json
import os
import sys
import urllib.request

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # read when it is imported
import litellm

URL = sys.argv[1]
with urllib.request.urlopen(URL + "/v1/models") as f:
    MODEL = json.load(f)["data"][0]["id"]
done = 0


def check(ok, what):
    global done
    assert ok, what
    done += 1


def scores(choices):
    return [c.score if hasattr(c, "score") else c.provider_specific_fields["score"] for c in choices]


def text(p):
    a = litellm.text_completion(model="hosted_vllm/" + MODEL, prompt="the night", n=2, best_of=8, **p)
    s = scores(a.choices)
    check(len(s) == 2 and s[0] >= s[1], a)
    once = litellm.text_completion(model="hosted_vllm/" + MODEL, prompt="the night", **p).choices[0].text
    chunks = litellm.text_completion(model="hosted_vllm/" + MODEL, prompt="the night", stream=True, **p)
    check("".join(c.choices[0].text or "" for c in chunks) == once, once)


def chat(p):
    m = [{"role": "user", "content": "the night"}]
    a = litellm.completion(model="hosted_vllm/" + MODEL, messages=m, n=2, best_of=8, **p)
    s = scores(a.choices)
    check(len(s) == 2 and s[0] >= s[1] and a.usage.total_tokens > 0, a)
    once = litellm.completion(model="hosted_vllm/" + MODEL, messages=m, **p).choices[0].message.content
    chunks = litellm.completion(model="hosted_vllm/" + MODEL, messages=m, stream=True, **p)
    check("".join(c.choices[0].delta.content or "" for c in chunks) == once, once)


def rerank():
    docs = ["a cat", "the night of the craft", "x"]
    for provider, base in (("hosted_vllm", "/v1"), ("jina_ai", "/v1/rerank"), ("cohere", "/v2/rerank")):
        a = litellm.rerank(model=f"{provider}/{MODEL}", query="the night", documents=docs, top_n=2, api_base=URL + base, api_key="none")
        r = [x["relevance_score"] for x in a.results]
        check(len(r) == 2 and r[0] >= r[1], a)


def errors(p):
    try:
        litellm.text_completion(model="hosted_vllm/" + MODEL, prompt="x", n=0, **{**p, "max_retries": 0})
    except litellm.BadRequestError as e:
        check("n" in str(e), e)
    else:
        raise AssertionError("n = 0 was taken")


given = dict(api_base=URL + "/v1", api_key="none", max_tokens=8, seed=3)
text(given)
chat(given)
rerank()
errors(given)
print(f"{importlib.metadata.version('litellm-core')}: completions, chats, streams, rerank as hosted_vllm, jina_ai and cohere: {done} checks")
