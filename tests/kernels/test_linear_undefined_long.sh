#!/usr/bin/env bash
# linear's inner loops as they ship, under UBSan alone. AddressSanitizer's build has one copy of them with variables; all
# others have one for each number of rows and panels (FC_ONE_COPY in kernels/linear/levels.h).
set -euo pipefail
build=${FORKCAST_BUILD:-build}/undefined
cmake -S . -B "$build" -G Ninja -DFORKCAST_TESTS=ON -DFORKCAST_CUDA=OFF -DFORKCAST_SANITIZE=undefined >/dev/null
ninja -C "$build" test_linear test_linear_precise
nm "$build/tests/test_linear" >"$build/symbols"
for copy in F32_6 Q4_ZERO_2_6; do # AVX2: rows; AVX-512: panels, rows
    if ! grep -q " $copy\$" "$build/symbols"; then
        echo "$copy is not in test_linear: these are not the loops that ship"
        exit 1
    fi
done
"$build/tests/test_linear"
"$build/tests/test_linear_precise"
