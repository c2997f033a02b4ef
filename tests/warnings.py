"""Has a compiler check, and not translate, what a build folder has not translated: python3 tests/warnings.py BUILD

Each source of BUILD/compile_commands.json whose object is not there, with the flags that it would be built with. Prints
what the compiler says; exit 1 where that is anything.
"""
import concurrent.futures
import json
import os
import shlex
import subprocess
import sys


def left(entry):
    """The command of a source that was not translated, or None."""
    words = shlex.split(entry["command"])
    at = words.index("-o")
    if os.path.exists(os.path.join(entry["directory"], words[at + 1])):
        return None
    words[at:at + 2] = []
    words[words.index("-c")] = "-fsyntax-only"
    return words


def checked(entry):
    words = left(entry)
    if not words:
        return None
    r = subprocess.run(words, cwd=entry["directory"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return r.stdout if r.returncode == 0 else r.stdout + f"{entry['file']}: exit {r.returncode}\n"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(os.path.join(sys.argv[1], "compile_commands.json")) as f:
        entries = json.load(f)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = [a for a in pool.map(checked, entries) if a is not None]
    said = "".join(answers)
    print(f"{said}{len(answers)} of {len(entries)} sources checked")
    sys.exit(1 if said else 0)


if __name__ == "__main__":
    main()
