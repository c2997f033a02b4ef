"""What nvcc made of kernels/**/*.cu: no warning, no spill, no local memory, the instructions that must be there, and
kernels/RESOURCES.md says what is measured. `FORKCAST_BUILD=build/test python3 tests/kernels/test_cuda_static.py --write` makes that file again.

Registers come from what ptxas said during the build (kernels/cuda/keep_words.sh), instructions from cuobjdump, which is a package of PyPI
where the toolkit lacks it. Threads and shared memory of a launch are those of the tests under emulation, as far as they have run.
"""
import collections
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("FORKCAST_BUILD", "build/test"))
OBJECTS = os.path.join(BUILD, "kernels/cuda/CMakeFiles/forkcast_cuda.dir")
DOCUMENT = "kernels/RESOURCES.md"
ARCHS = ("sm_80", "sm_90a")

# What must be in a kernel's machine code: (file, kernel, instructions; a tuple: one of them). Each line must find a kernel once its file exists.
# LDGSTS is cp.async, LDSM ldmatrix, HMMA and IMMA the tensor cores' products; HGMMA those of warpgroups, UBLKCP a bulk copy, SYNCS its barriers,
# UCGABAR those of clusters.
WIDE, PRODUCT = "LDG.E.128", "HMMA.16816.F32.BF16"
GROUPS = [("HGMMA.64x128x16.F32.BF16", "HGMMA.64x64x16.F32.BF16", "HGMMA.64x32x16.F32.BF16"), "UBLKCP.S.G.MULTICAST", "SYNCS", "UCGABAR_WAIT", "USETMAXREG"]
REQUIRED = [
    ("kernels/attn/attn.cu", r"attn_kernel<(2|11|12), \d+, \d+>", [PRODUCT, "LDSM", "LDGSTS.E.BYPASS.128"]),
    ("kernels/attn/attn.cu", r"attn_kernel<0, \d+, \d+>", ["LDGSTS.E.BYPASS.128"]),
    ("kernels/attn/attn_wide.cu", r"wide_kernel<(64|128)>", ["HGMMA.64x64x16.F32.BF16", "LDGSTS.E.BYPASS.128", "SYNCS", "USETMAXREG"]),
    ("kernels/linear/linear.cu", r"(few|many)_kernel<.*>", [PRODUCT, "LDGSTS.E.BYPASS.128"]),
    ("kernels/linear/linear.cu", r"float_kernel<.*>", [WIDE]),
    ("kernels/linear/linear_wgmma.cu", r"wgmma_kernel<[2-7], \d+, (true|false), [12]>", GROUPS),
    ("kernels/linear/linear_wgmma.cu", r"wgmma_kernel<[23], 128, (true|false), [12]>", ["HGMMA.64x128x16.F32.BF16"]),
    ("kernels/head/head_wgmma.cu", r"tile_kernel<[2-7], \d+, (true|false), [12]>", GROUPS),
    ("kernels/head/head_wgmma.cu", r"tile_kernel<[23], 128, (true|false), [12]>", ["HGMMA.64x128x16.F32.BF16"]),
    ("kernels/linear/linear_pick.cu", r"pick_kernel<.*>", [PRODUCT, "LDGSTS.E.BYPASS.128"]),
    ("kernels/head/head_tiles.cu", r"tile_kernel<[2-7], \d, \d>", [PRODUCT, "LDGSTS.E.BYPASS.128"]),
    ("kernels/head/head_tiles.cu", r"tile_kernel<[01], \d, \d>", [WIDE]),
    ("kernels/draw/draw.cu", r"draw_sums", [WIDE]),
    ("kernels/logprob/logprob.cu", r"(logprob|top)_sums", [WIDE]),
    ("kernels/lora/lora.cu", r"shrink_kernel<.*>", [WIDE]),
    ("kernels/rmsnorm/rmsnorm.cu", r"rmsnorm_kernel<.*>", ["SHFL", "BAR.SYNC"]),
    ("kernels/kv/kv_copy.cu", r"kv_copy_kernel<uint4>", [WIDE, "STG.E.128"]),
    ("kernels/rows/rows_copy.cu", r"rows_copy_kernel<true>", [WIDE, "STG.E.128"]),
    ("kernels/glu/glu.cu", r"glu_kernel<true>", [WIDE, "STG.E.128"]),
    ("kernels/softcap/softcap.cu", r"softcap_kernel<true>", [WIDE, "STG.E.128"]),
]
FORBIDDEN = ("LDL", "STL")  # loads and stores of local memory
HOPPER = ("kernels/attn/attn_wide.cu", "kernels/linear/linear_wgmma.cu", "kernels/head/head_wgmma.cu")  # their kernels trap where they are not for sm_90a
# What must be done between two waits for products, so that it is done beside these: (file, kernel, instruction, how often). ptxas would rather
# wait first. In attention 32 exponentials are a tile's weights, and 32 of another path the hyperbolic tangents of soft caps.
BESIDE = [("kernels/attn/attn_wide.cu", r"wide_kernel<(64|128)>", "MUFU.EX2", 64)]
PRODUCTS, WAIT = "HGMMA", "WARPGROUP.DEPBAR"

# Of one multiprocessor: registers, threads, blocks, bytes of shared memory, of which each block takes 1 KiB for itself.
LIMITS = {"sm_80": (65536, 2048, 32, 164 << 10), "sm_90a": (65536, 2048, 32, 228 << 10)}

Kernel = collections.namedtuple("Kernel", "registers barriers shared stack stores loads")


def skip(why):
    print(f"skipped: {why}", flush=True)
    sys.exit(77)


def nvcc():
    try:
        with open(os.path.join(BUILD, "CMakeCache.txt")) as f:
            found = re.search(r"^CMAKE_CUDA_COMPILER:\w+=(.+)$", f.read(), re.M)
    except OSError:
        skip(f"{BUILD} is no build folder")
    if not found or found[1].endswith("NOTFOUND") or not os.path.isdir(OBJECTS):
        skip("nvcc was not found")
    said = subprocess.run([found[1], "--version"], check=True, capture_output=True, text=True).stdout
    return re.search(r"release [\d.]+, V([\d.]+)", said)[1]


def sources():
    return sorted(glob.glob("kernels/**/*.cu", recursive=True))


def object_of(source):
    """CMake writes what lies above its folder as __."""
    return os.path.join(OBJECTS, os.path.relpath(source, "kernels/cuda").replace("..", "__") + ".o")


def plain(names):
    """{mangled: demangled}, without nvcc's own name for a file's static part."""
    names = sorted(names)
    out = subprocess.run(["c++filt"], input="\n".join(names), check=True, capture_output=True, text=True).stdout.splitlines()
    return {m: re.sub(r"\b_INTERNAL_\w+::|\(anonymous namespace\)::|^void ", "", p) for m, p in zip(names, out)}


def shorten(name):
    """Without the parameters' types."""
    depth, at = 0, len(name)
    for i, c in enumerate(name):  # the parenthesis that opens the parameters: not one inside template arguments
        depth += (c == "<") - (c == ">")
        if c == "(" and depth == 0:
            at = i
            break
    return re.sub(r"\((?:bool|int|unsigned int|fc_\w+)\)", "", name[:at])  # f<(int)4>: f<4>


def parse(text):
    """{(arch, mangled name): Kernel}, and the lines that are no report."""
    kernels, strange, at, frame = {}, [], None, (0, 0, 0)
    for line in text.splitlines():
        if m := re.match(r"ptxas info\s*: Compiling entry function '(\S+)' for '(\w+)'", line):
            at, frame = (m[2], m[1]), (0, 0, 0)
        elif m := re.match(r" +(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            frame = tuple(max(a, int(b)) for a, b in zip(frame, m.groups()))  # functions that it calls have their own
        elif (m := re.match(r"ptxas info\s*: Used (\d+) registers(.*)", line)) and at:
            barriers, shared = re.search(r"used (\d+) barriers", m[2]), re.search(r"(\d+) bytes smem", m[2])
            kernels[at] = Kernel(int(m[1]), int(barriers[1]) if barriers else 0, int(shared[1]) if shared else 0, *frame)
        elif not re.match(r"ptxas info| *\d+ bytes cumulative stack|\s*$", line):
            strange.append(line)
    return kernels, strange


def measured():
    """{(source, arch, name): Kernel} of every source, and what else nvcc said."""
    found, strange = {}, []
    for source in sources():
        words = object_of(source) + ".ptxas"
        if not os.path.exists(words):
            raise SystemExit(f"{words} is missing: build {BUILD} first")
        if os.path.getmtime(words) < os.path.getmtime(source):
            raise SystemExit(f"{source} is newer than its object: build {BUILD} first")
        with open(words) as f:
            kernels, other = parse(f.read())
        names = plain({m for _, m in kernels})
        found.update({(source, arch, names[m]): k for (arch, m), k in kernels.items()})
        strange += [f"{source}: {line}" for line in other]
    return found, strange


def launches():
    """{kernel: {(threads, dynamic shared bytes)}} of the tests under emulation (tests/cuda_emu/util_launches.cpp), and the tests that have not
    run since they were built."""
    found, not_run = collections.defaultdict(set), []
    for program in sorted(p for p in glob.glob(os.path.join(BUILD, "tests/cuda_emu/emu_test_*")) if os.access(p, os.X_OK)):
        path = os.path.join(BUILD, "launches", os.path.basename(program) + ".tsv")
        if not os.path.exists(path) or os.path.getmtime(program) > os.path.getmtime(path):
            not_run.append(os.path.basename(program))
            continue
        with open(path) as f:
            rows = f.read().splitlines()[1:]
        symbols = subprocess.run(["nm", program], check=True, capture_output=True, text=True).stdout
        at = {int(m[1], 16): m[2] for m in re.finditer(r"^([0-9a-f]+) [tTwW] (\S+)$", symbols, re.M)}
        rows = [row.split("\t") for row in rows]
        names = plain({at[int(place, 16)] for place, _, _ in rows})
        for place, threads, shared in rows:
            found[names[at[int(place, 16)]]].add((int(threads), int(shared)))
    return found, not_run


def resident(arch, k, threads, shared):
    """Blocks that one multiprocessor holds at once."""
    registers, most_threads, blocks, bytes_ = LIMITS[arch]
    warps = -(-threads // 32)
    a_warp = -(-k.registers * 32 // 256) * 256
    return min(blocks, most_threads // (warps * 32), registers // (a_warp * warps), bytes_ // (1024 + k.shared + -(-shared // 128) * 128))


def document(version, found, launched):
    lines = ["# What each CUDA kernel takes", "",
             "Made by `tests/kernels/test_cuda_static.py --write` from what ptxas " + version + " says and from the launches of the tests under emulation; a "
             "test holds it to that. No kernel spills a register or has local memory. `sm_80 / sm_90a` where they differ. Blocks a multiprocessor: how many are "
             "resident at once at that launch, by registers, threads and shared memory; -: no test under emulation launches it. A kernel's shapes: the header of its folder.", "",
             "| file | kernel | registers | barriers | threads a block | shared bytes a block | blocks a multiprocessor |", "|---|---|---|---|---|---|---|"]

    def both(values):
        return " / ".join(dict.fromkeys(str(v) for v in values)) or "-"
    for source, name in sorted({(s, n) for s, _, n in found}, key=lambda x: (x[0], shorten(x[1]))):
        ks = [(arch, found[source, arch, name]) for arch in ARCHS if (source, arch, name) in found]
        at = sorted(launched.get(name, ()))
        largest = max(at, key=lambda x: (x[1], x[0])) if at else None
        lines.append(f"| `{os.path.relpath(source, 'kernels')}` | `{shorten(name)}` | {both(k.registers for _, k in ks)} | {both(k.barriers for _, k in ks)} | "
                     f"{both(sorted({t for t, _ in at}))} | {both([largest[1] + ks[0][1].shared] if largest else [])} | "
                     f"{both(resident(arch, k, *largest) for arch, k in ks) if largest else '-'} |")
    return "\n".join(lines) + "\n"


def cuobjdump():
    """A path, or None: the toolkit's, or PyPI's in the build folder."""
    place = os.path.join(BUILD, "cuda-tools")
    for at in (shutil.which("cuobjdump"), "/usr/local/cuda/bin/cuobjdump", *glob.glob(os.path.join(place, "nvidia/*/bin/cuobjdump"))):
        if at and os.access(at, os.X_OK):
            return at
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "--target", place, "nvidia-cuda-cuobjdump", "nvidia-cuda-nvdisasm"]
    try:
        p = subprocess.run(install, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return next(iter(glob.glob(os.path.join(place, "nvidia/*/bin/cuobjdump"))), None) if p.returncode == 0 else None


def disassembled(tool, source):
    """{(arch, kernel): its instructions}, without predicates and operands: LDG.E.128."""
    env = {**os.environ, "PATH": os.path.dirname(tool) + os.pathsep + os.environ["PATH"]}  # nvdisasm lies beside it
    found, arch, at = {}, None, None
    with subprocess.Popen([tool, "-sass", object_of(source)], stdout=subprocess.PIPE, text=True, env=env) as p:
        for line in p.stdout:  # hundreds of thousands
            if line.startswith("        /*"):
                words = line.split(None, 3)  # /*0040*/ @P0 IMAD.MOV.U32 R7, ...; a line of the code's second half has one word
                if len(words) > 2:
                    at.append(sys.intern((words[2] if words[1][0] == "@" else words[1]).rstrip(";")))
            elif m := re.match(r"\s*code for (sm_\w+)", line):
                arch = m[1]
            elif m := re.match(r"\s*Function : (\S+)", line):
                at = found.setdefault((arch, m[1]), [])
    if p.returncode:
        raise SystemExit(f"{tool} -sass {object_of(source)}: exit status {p.returncode}")
    names = plain({m for _, m in found})
    return {(arch, shorten(names[m])): v for (arch, m), v in found.items()}


class Static(unittest.TestCase):
    maxDiff = None

    def test_nothing_spills(self):
        found, strange = measured()
        self.assertEqual(strange, [], "nvcc said more than its report")
        for (source, arch, name), k in found.items():
            with self.subTest(source=source, arch=arch, kernel=shorten(name)):
                self.assertEqual((k.stack, k.stores, k.loads), (0, 0, 0), "bytes of stack frame, of spill stores and of spill loads")
        for source in sources():
            with open(source) as f:
                if "__global__" not in f.read():
                    continue
            self.assertEqual({arch for s, arch, _ in found if s == source}, set(ARCHS), f"{source}: architectures that it was compiled for")

    def test_resources_are_measured(self):
        version, (found, _) = nvcc(), measured()
        with open(DOCUMENT) as f:
            text = f.read()
        if f"ptxas {version} says" not in text:
            self.skip(f"{DOCUMENT} is not of nvcc {version}")
        launched, not_run = launches()
        if not_run or not launched:
            print(f"skipped: threads and shared memory: {len(not_run)} tests under emulation have not run since they were built: {' '.join(not_run[:3])}", flush=True)
            text, mine = (re.sub(r"( \| [^|\n]+){3} \|$", " |", t, flags=re.M) for t in (text, document(version, found, launched)))
        else:
            mine = document(version, found, launched)
        self.assertEqual(text, mine, f"run tests/kernels/test_cuda_static.py --write and commit {DOCUMENT}")

    def test_instructions(self):
        tool = cuobjdump()
        if not tool:
            self.skip("cuobjdump was not found, and PyPI's (nvidia-cuda-cuobjdump) could not be had: no machine code was looked at")
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            codes = list(pool.map(lambda source: disassembled(tool, source), sources()))
        for source, code in zip(sources(), codes):
            for (arch, name), listing in code.items():
                instructions = set(listing)
                with self.subTest(source=source, arch=arch, kernel=name):
                    if not (source in HOPPER and arch != "sm_90a"):
                        self.assertGreater(len(instructions), 4)
                    self.assertEqual(sorted(i for i in instructions if i.startswith(FORBIDDEN)), [])
            for _, kernel, wanted in (r for r in REQUIRED if r[0] == source):
                those = [(k, set(i)) for k, i in code.items() if re.fullmatch(kernel, k[1])]
                self.assertEqual({k[0] for k, _ in those}, set(ARCHS), f"{source}: {kernel} names no kernel")
                for k, instructions in those:
                    if source in HOPPER and k[0] != "sm_90a":
                        self.assertTrue(any(i.startswith("BPT.TRAP") for i in instructions), f"{k}: does not trap")
                        continue
                    for w in wanted:
                        with self.subTest(source=source, arch=k[0], kernel=k[1], instruction=w):
                            self.assertTrue(any(i.startswith(w) for i in instructions), f"{w} is not in it")
            for _, kernel, instruction, often in (b for b in BESIDE if b[0] == source):
                for (arch, name), listing in ((k, v) for k, v in code.items() if k[0] == "sm_90a" and re.fullmatch(kernel, k[1])):
                    with self.subTest(source=source, kernel=name, beside=instruction):
                        waits = [i for i, v in enumerate(listing) if v.startswith((PRODUCTS, WAIT))]
                        between = [listing[i:j] for i, j in zip(waits, waits[1:]) if listing[i].startswith(WAIT) and listing[j].startswith(WAIT)]
                        self.assertGreaterEqual(max((part.count(instruction) for part in between), default=0), often)

    def test_wrappers_are_compared_with_their_twins(self):
        """A wrapper of kernels/cuda/*.cuh without a kernel in tests/gpu/conform_*.cuh is one that no machine with a GPU checks."""
        text, found = "", set()
        for path in glob.glob("tests/gpu/conform_*.cuh"):
            with open(path) as f:
                text += f.read()
        for path in sorted(glob.glob("kernels/cuda/*.cuh")):
            with open(path) as f:
                header = f.read()
            bodies = re.split(r"^(?=(?:template <[^;{]*>\s*)?static __device__ __forceinline__ )", header, flags=re.M)[1:]
            found |= {m[1] for body in bodies if "FC_CUDA_EMU" in body.split("\n}")[0] and (m := re.search(r"[ *](fc_\w+)\(", body))}
            found |= set(re.findall(r"^#define (fc_\w+)\(.*emu_", header, re.M))
        for name in sorted(found):
            with self.subTest(wrapper=name):
                self.assertRegex(text, rf"\b{name}\b")
        self.assertGreater(len(found), 15)

    def skip(self, why):
        print(f"skipped: {why}", flush=True)
        self.skipTest(why)


if __name__ == "__main__":
    os.chdir(ROOT)
    NVCC = nvcc()
    if sys.argv[1:] == ["--write"]:
        with open(DOCUMENT, "w") as out:
            out.write(document(NVCC, measured()[0], launches()[0]))
    else:
        unittest.main()
