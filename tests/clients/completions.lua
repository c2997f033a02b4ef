-- What wrk sends: best of 4, each with a seed of its own; answers that are not 200 are counted by wrk.
local n = 0
request = function()
    n = n + 1
    return wrk.format("POST", "/v1/completions", {["Content-Type"] = "application/json"},
                      string.format('{"prompt": "the night", "n": 1, "best_of": 4, "max_tokens": 8, "seed": %d}', n))
end
