#!/usr/bin/env bash
# gpu - everything that needs a GPU, on a machine that has one, nvcc, python3 and nothing else that can be installed:
#   tests/gpu.sh pack               here: builds for sm_90a, packs programs and libraries into build/gpu-pack.tar.xz
#   tests/gpu.sh test [STEP...]     there: PTX wrappers against their twins, kernel tests at full sizes, parity with the CPU
#   tests/gpu.sh sanitize [STEP...] there: the kernel tests at small sizes under compute-sanitizer
#   tests/gpu.sh bench [STEP...]    there: the device's limits, kernels and whole requests against the clock
#   tests/gpu.sh report [NAME]      anywhere: what they wrote as report.md; with NAME as bench/results/NAME.json and .md
# test, sanitize and bench end by themselves within 8 minutes (FORKCAST_GPU_SECONDS) and write as they go to $OUT (else
# build/gpu-results): results.jsonl, a line for each step; report.txt, the same to read; log.txt, all that was printed.
# A step that fails or is left out makes the exit status 1; the others run all the same. From here to there travel the tree
# and the archive: `git ls-files --cached --others --exclude-standard` and build/gpu-pack.tar.xz, unpacked by the first verb.
set -euo pipefail
cd "$(dirname "$0")/.."

archive=build/gpu-pack.tar.xz
most_bytes=$((60 << 20)) # archive and tree together

die() { printf 'gpu: %s\n' "$*" >&2; exit 1; }

# Shared libraries of programs that a machine without our packages lacks: neither the C library, nor C++'s, nor CUDA's.
libraries_of() {
    ldd "$@" 2>/dev/null | awk '/=> \//{print $3}' | sort -u |
        grep -vE '/lib(c|m|dl|rt|pthread|gcc_s|stdc\+\+|cuda|cudart|cublas|cublasLt|nccl)\.so'
}

pack() {
    local at=build/gpu/pack tree size
    mkdir -p build
    if ! { cmake -S . -B build/gpu -G Ninja -DCMAKE_BUILD_TYPE=Release -DFORKCAST_CUDA=ON -DFORKCAST_TESTS=ON \
        -DCMAKE_CUDA_ARCHITECTURES=90a && ninja -C build/gpu gpu_programs emu_conform bench_service program; } >build/gpu.log 2>&1; then
        tail -40 build/gpu.log
        die "the build failed: build/gpu.log"
    fi
    ! grep -A4 'warning' build/gpu.log || die "the build warns: build/gpu.log"
    rm -rf "$at"
    mkdir -p "$at/bin" "$at/lib"
    find build/gpu/tests/gpu -maxdepth 1 -type f -perm -u+x -exec cp {} "$at/bin" \;
    cp build/gpu/forkcast build/gpu/bench/bench_service build/gpu/libforkcast_cuda.so "$at/bin"
    libraries_of "$at"/bin/* | xargs cp -L -t "$at/lib"
    strip "$at"/bin/* "$at"/lib/*
    git describe --always --dirty=-changed --abbrev=7 --exclude='*' >"$at/commit"
    tar -C build/gpu --sort=name --owner=0 --group=0 -cf - pack | xz --lzma2=preset=1,dict=128MiB >"$archive" # programs are much alike
    tree=$(git ls-files -z --cached --others --exclude-standard | xargs -0 stat -c %s | awk '{n += $1} END{print n}')
    size=$(stat -c %s "$archive")
    printf '%s: %d programs, %d libraries, %d bytes; the tree %d; together %d of the %d that may travel\n' "$archive" \
        "$(find "$at/bin" -type f | wc -l)" "$(find "$at/lib" -type f | wc -l)" "$size" "$tree" $((size + tree)) "$most_bytes"
    [ $((size + tree)) -le "$most_bytes" ] || die "archive and tree are larger than what may travel"
}

unpack() {
    [ -f "$archive" ] || die "there is no $archive; tests/gpu.sh pack makes it, on a machine with the packages of test.sh"
    if [ ! build/gpu-pack/stamp -nt "$archive" ]; then
        rm -rf build/gpu-pack
        mkdir -p build/gpu-pack
        tar -C build/gpu-pack --strip-components=1 -xJf "$archive"
        touch build/gpu-pack/stamp
    fi
}

case ${1:-} in
pack) pack ;;
test | sanitize | bench)
    unpack
    exec python3 tests/gpu/drive.py build/gpu-pack "$@"
    ;;
report) exec python3 tests/gpu/report.py "${@:2}" ;;
-h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' ;;
*)
    "$0" --help >&2
    exit 2
    ;;
esac
