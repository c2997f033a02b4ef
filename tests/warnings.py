"""Has a compiler check every source, and translate none: python3 tests/warnings.py BUILD

Each of BUILD/compile_commands.json, with the flags that it would be built with; what is made in the build must be there.
Prints what the compiler says; exit 1 where that is anything.
"""
import concurrent.futures
import json
import os
import shlex
import subprocess
import sys


def checked(entry):
    words = shlex.split(entry["command"])
    at = words.index("-o")
    words[at:at + 2] = []
    words[words.index("-c")] = "-fsyntax-only"
    r = subprocess.run(words, cwd=entry["directory"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return r.stdout if r.returncode == 0 else r.stdout + f"{entry['file']}: exit {r.returncode}\n"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(os.path.join(sys.argv[1], "compile_commands.json")) as f:
        entries = json.load(f)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        said = "".join(pool.map(checked, entries))
    print(f"{said}{len(entries)} sources checked")
    sys.exit(1 if said else 0)


if __name__ == "__main__":
    main()
