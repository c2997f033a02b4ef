"""What fixed small jobs cost, whatever the machine's speed: rows and bytes, which the program counts, and instructions of each
operator and of planning, which valgrind counts on the AVX2 level. bench/costs.json has what they were; a number that is more
than TOLERANCE away fails. Who means it runs `FORKCAST_BUILD=build/test python3 tests/engine/test_costs.py --write`.
"""
import collections
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD = os.environ.get("FORKCAST_BUILD", "build")
PROGRAM = os.path.join(BUILD, "forkcast")
COSTS = "bench/costs.json"
TOLERANCE = 0.02  # of instructions: what another place of a branch or a register costs; rows and bytes are exact
FUNCTIONS = ("fc_linear_cpu", "fc_linear_pick_cpu", "fc_attn_cpu", "fc_rope_kv_cpu", "fc_rmsnorm_cpu", "fc_embed_cpu", "fc_draw_cpu",
             "fc_head_draw_cpu", "fc_head_lse_cpu", "fc_logprob_cpu", "fc_list_logprob_cpu", "fc_top_logprobs_cpu",
             "fc_batch_list", "fc_sampler_add", "fc_flight_land")
ROWS = ("rows_prefill", "rows_decode", "rows_score", "rows_reused", "scores_cached", "rows_replayed", "redraws", "rows_flat_prefill",
        "rows_flat_decode", "rows_flat_score", "kv_bytes")
PROMPT = " ".join(["the house of the craft of the night and of the day"] * 3)
CASES = {
    "best of 16, Q8_0, scored": ["--prompt", PROMPT, "-n", "16", "--max-tokens", "12", "--ignore-eos"],
    "one candidate, Q8_0": ["--prompt", PROMPT, "-n", "1", "-k", "1", "--max-tokens", "16", "--ignore-eos", "--alignment", "none"],
    "taxonomy, masked, whole log-probs": ["--prompt", PROMPT, "-n", "12", "--constraint", "mask", "--taxonomy", "TAXONOMY",
                                          "--full-logprob", "--max-tokens", "64"],
    "filters, penalties, alternatives": ["--prompt", PROMPT, "-n", "8", "--max-tokens", "8", "--top-k", "40", "--top-p", "0.9",
                                         "--repetition-penalty", "1.1", "--top-logprobs", "3", "--ignore-eos", "--alignment", "none"],
}


def compiler():
    """Of the build folder, as cmake found it: instructions are known for one."""
    path = next(os.path.join(d, f) for d, _, files in os.walk(os.path.join(BUILD, "CMakeFiles")) for f in files
                if f == "CMakeCCompiler.cmake")
    with open(path) as f:
        said = dict(re.findall(r'set\((CMAKE_C_COMPILER_ID|CMAKE_C_COMPILER_VERSION) "([^"]+)"\)', f.read()))
    with open(os.path.join(BUILD, "CMakeCache.txt")) as f:
        kept = dict(re.findall(r"^(CMAKE_BUILD_TYPE|FORKCAST_SANITIZE):\w+=(.+)$", f.read(), re.M))
    words = [said["CMAKE_C_COMPILER_ID"], said["CMAKE_C_COMPILER_VERSION"], kept.get("CMAKE_BUILD_TYPE", "")]
    return " ".join(words + ([kept["FORKCAST_SANITIZE"]] if "FORKCAST_SANITIZE" in kept else []))


def instructions(path):
    """Inclusive, by function, from callgrind's own file: a line of costs belongs to the last fn=, with what its calls cost."""
    names, cost, fn, calls = {}, collections.Counter(), None, False
    with open(path) as f:
        for line in f:
            m = re.match(r"(c?fn)=\((\d+)\)(?: (.+))?$", line)
            if m:
                if m[3]:
                    names[m[2]] = m[3]
                if m[1] == "fn":
                    fn = names[m[2]]
                else:
                    callee = names[m[2]]
            elif line.startswith("calls="):
                calls = True
            elif calls:
                cost[(fn, callee)] += int(line.split()[1])
                calls = False
    out = collections.Counter()
    for (_, callee), n in cost.items():
        name = callee.split("'")[0]
        if name in FUNCTIONS:
            out[name] += n
    return dict(sorted(out.items()))


def measure(count):
    """{case: {"rows": {...}, "instructions": {...}}}; count: whether valgrind counts."""
    out = {}
    with tempfile.TemporaryDirectory() as d:
        models = [os.path.join(d, f"{i}.gguf") for i in range(2)]
        for i, m in enumerate(models):
            subprocess.run([PROGRAM, "tiny", m, "--type", "Q8_0", "--seed", str(i), "--dim", "128", "--head-dim", "32"], check=True,
                           capture_output=True)
        names = os.path.join(d, "names.tsv")
        with open(names, "w") as f:
            f.write("a\tname\tkeywords\n")
            pairs = [(a, b) for a in ("light", "dark", "old", "new") for b in ("house", "night", "craft", "day")]
            f.write("".join(f"{i}\t{a} {b}\t{a}\n" for i, (a, b) in enumerate(pairs)))
        for case, flags in CASES.items():
            flags = [names if f == "TAXONOMY" else f for f in flags]
            args = [PROGRAM, "bestof", "--novelty", models[0], *flags, "--seed", "5", "--threads", "1", "--cpu", "avx2", "--backend",
                    "cpu", "--score-rows", "64", "--json"]
            if "--alignment" not in flags:
                args += ["--alignment", models[1]]
            trace = os.path.join(d, "trace")
            if count:
                args = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={trace}", "--quiet", *args]
            said = subprocess.run(args, capture_output=True, text=True)
            if said.returncode:
                raise RuntimeError(f"{' '.join(args)}: {said.returncode}: {said.stderr}")
            account = json.loads(said.stdout)["accounting"]
            out[case] = {"rows": {k: account[k] for k in ROWS}}
            if count:
                out[case]["instructions"] = instructions(trace)
    return out


def has_avx2():
    with open("/proc/cpuinfo") as f:
        flags = f.read()
    return "avx2" in flags and "fma" in flags


class Costs(unittest.TestCase):
    def test_costs_are_what_they_were(self):
        with open(COSTS) as f:
            known = json.load(f)
        counts = shutil.which("valgrind") is not None and known["compiler"] == compiler()
        if not counts:
            print(f"skipped: instructions are known for {known['compiler']} under valgrind; this is {compiler()}"
                  f"{'' if shutil.which('valgrind') else ', without valgrind'}")
        now, wrong = measure(counts), []
        self.assertEqual(list(now), list(known["cases"]))
        for case, was in known["cases"].items():
            for kind, value in was["rows"].items():
                if now[case]["rows"][kind] != value:
                    wrong.append(f"{case}: {kind} is {now[case]['rows'][kind]}, was {value}")
            for name in sorted(set(was["instructions"]) | set(now[case].get("instructions", {}))) if counts else ():
                before, after = was["instructions"].get(name, 0), now[case]["instructions"].get(name, 0)
                if abs(after - before) > TOLERANCE * before:
                    wrong.append(f"{case}: {name} takes {after} instructions, took {before}: {after / max(before, 1) - 1:+.1%}")
        if wrong:
            self.fail("\n" + "\n".join(wrong) + f"\n{sys.argv[0]} --write makes {COSTS} anew, if that is meant")


if __name__ == "__main__":
    if not has_avx2():
        print("skipped: this processor has no AVX2")
        sys.exit(77)
    if sys.argv[1:] == ["--write"]:
        with open(COSTS, "w") as f:
            json.dump({"compiler": compiler(), "level": "avx2, 1 thread", "cases": measure(True)}, f, indent=1)
            f.write("\n")
    else:
        unittest.main()
