"""The openai package against a server: ADDRESS, and one of --max-requests 1 to be turned away by. Prints what was done."""
import asyncio
import sys
import threading
import time
import urllib.request

import openai
from openai import AsyncOpenAI, OpenAI

URL, NARROW = sys.argv[1:3]
done = 0


def check(ok, what):
    global done
    assert ok, what
    done += 1


def raises(kind, param, call, **kw):
    try:
        call(**kw)
    except kind as e:
        check(e.body["param"] == param and str(e.code) == str(e.status_code), (e.body, e.code))
        return
    raise AssertionError(f"{kw} was taken")


def metric(name):
    with urllib.request.urlopen(URL + "/metrics") as f:
        return sum(float(line.rsplit(" ", 1)[1]) for line in f.read().decode().splitlines() if line.startswith(name))


def wait_for(name, value):
    end = time.monotonic() + 20
    while metric(name) != value:
        assert time.monotonic() < end, f"{name} is {metric(name)}"
        time.sleep(0.02)


def models(c):
    m = c.models.list().data[0]
    check(m.owned_by == "forkcast" and c.models.retrieve(m.id).id == m.id, m)
    raises(openai.NotFoundError, "model", c.models.retrieve, model="none")
    return m.id


def completions(c, m):
    p = dict(model=m, prompt="the night of the craft", max_tokens=8, seed=3)
    a = c.completions.create(**p, n=2, best_of=8, logprobs=2)
    check(len(a.choices) == 2 and a.choices[0].score >= a.choices[1].score, a)
    check(a.best_of["n"] == 8 and a.usage.total_tokens == a.usage.prompt_tokens + a.usage.completion_tokens, a)
    check(len(a.choices[0].logprobs.tokens) == len(a.choices[0].logprobs.token_logprobs), a)
    check(a._request_id and a._request_id in a.id, a._request_id)
    check([x.text for x in c.completions.create(**p, n=2, best_of=8).choices] == [x.text for x in a.choices], "again")
    check(c.completions.create(**p, extra_body={"forkcast": {"constraint": "off", "all": True}, "best_of": 3}).best_of["all_candidates"], "extra_body")
    for how in (dict(n=2), dict(n=2, best_of=8)):  # live, and chosen at the end
        whole = c.completions.create(**p, **how)
        chunks = list(c.completions.create(**p, **how, stream=True, stream_options={"include_usage": True}))
        text = {0: "", 1: ""}
        for k in chunks:
            for x in k.choices:
                text[x.index] += x.text
        check(chunks[-1].usage == whole.usage and not chunks[-1].choices, chunks[-1])
        check(sorted(text.values()) == sorted(x.text for x in whole.choices), text)
        check(sum(x.finish_reason is not None for k in chunks for x in k.choices) == 2, chunks)


def chats(c, m):
    p = dict(model=m, messages=[{"role": "user", "content": "the night"}], max_completion_tokens=8, seed=3)
    a = c.chat.completions.create(**p, n=2, extra_body={"best_of": 6}, logprobs=True, top_logprobs=2)
    check(a.choices[0].score >= a.choices[1].score and len(a.choices[0].logprobs.content[0].top_logprobs) == 2, a)
    check(a.choices[0].message.role == "assistant", a)
    text = "".join(x.delta.content or "" for k in c.chat.completions.create(**p, stream=True) for x in k.choices)
    check(text == c.chat.completions.create(**p).choices[0].message.content, text)


def errors(c, m):
    p = dict(model=m, prompt="x")
    raises(openai.BadRequestError, "n", c.completions.create, **p, n=0)
    raises(openai.BadRequestError, "best_of", c.completions.create, **p, n=4, best_of=2)
    raises(openai.BadRequestError, "suffix", c.completions.create, **p, suffix="y")
    raises(openai.BadRequestError, "tools", c.chat.completions.create, model=m, messages=[{"role": "user", "content": "x"}], tools=[{"type": "function", "function": {"name": "f"}}])
    raises(openai.NotFoundError, "model", c.completions.create, model="none", prompt="x")


def retries():
    """Two at once at a server that takes one: who is turned away waits as long as Retry-After says, and is answered."""
    c = OpenAI(base_url=NARROW + "/v1", api_key="none", max_retries=60)
    m, answers = c.models.list().data[0].id, []

    def ask():
        answers.append(c.completions.create(model=m, prompt="x", max_tokens=400, extra_body={"ignore_eos": True}, n=8))
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check(len(answers) == 3, answers)


async def streams(m):
    async with AsyncOpenAI(base_url=URL + "/v1", api_key="none", max_retries=0) as c:
        async def one(k):
            n = 0
            async for chunk in await c.completions.create(model=m, prompt="the night", max_tokens=32, seed=k, stream=True, extra_body={"ignore_eos": True}):
                n += len(chunk.choices)
            return n
        check(min(await asyncio.gather(*[one(k) for k in range(50)])) > 1, "50 streams at once")
        before = metric('forkcast_cancelled_total{reason="client"}')
        s = await c.completions.create(model=m, prompt="the night", max_tokens=1500, n=4, stream=True, extra_body={"ignore_eos": True})
        async for _ in s:
            break
        await s.close()
        await asyncio.to_thread(wait_for, 'forkcast_cancelled_total{reason="client"}', before + 1)
        await asyncio.to_thread(wait_for, 'forkcast_kv_pages{state="used"}', 0)
        check(True, "a stream that is closed")


client = OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0)
model = models(client)
completions(client, model)
chats(client, model)
errors(client, model)
retries()
asyncio.run(streams(model))
print(f"{openai.__version__}: completions, chats, streams (50 at once), errors, retries after 429, a stream closed early: {done} checks")
