#!/usr/bin/env bash
# test_races - TSan sees each missing order of races.cpp, at its line, and nothing where none is missing. Builds the emulator
# and that one file by itself, with each compiler whose TSan knows fibres.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=tests/cuda_emu
dir=/tmp/emu_t/races; mkdir -p $dir
trap 'rm -rf "$dir"' EXIT

libs=(-lpthread)
[ "$(uname -m)" = x86_64 ] || libs+=(-lboost_context)
tried=0
for cxx in g++ clang++; do
    command -v $cxx >/dev/null || continue
    flags=(-std=c++17 -g -O1 -I$here/include -I. -DFC_CUDA_EMU -DFC_EMU_TSAN -ffp-contract=off)
    echo 'int main() {}' | $cxx -fsanitize=thread -xc++ - -o "$dir/empty" 2>/dev/null && "$dir/empty" || continue
    tried=$((tried + 1))
    for f in emu emu_pool emu_sync emu_async; do $cxx "${flags[@]}" -c $here/$f.cpp -o "$dir/$f.o" & done
    $cxx "${flags[@]}" -fsanitize=thread -c $here/races.cpp -o "$dir/races.o"
    wait
    $cxx -fsanitize=thread "$dir"/{emu,emu_pool,emu_sync,emu_async,races}.o -o "$dir/races" "${libs[@]}"
    if ! "$dir/races" good >"$dir/log" 2>&1; then
        cat "$dir/log"
        echo "$cxx: TSan reports a race where there is none"
        exit 1
    fi
    for name in $("$dir/races" list); do
        line=$(grep -n "race: $name \*/" $here/races.cpp | cut -d: -f1)
        if "$dir/races" "$name" >"$dir/log" 2>&1; then
            echo "$cxx: $name: no report"
            exit 1
        fi
        if ! grep -q 'data race' "$dir/log" || ! grep -q "races.cpp:$line" "$dir/log"; then
            cat "$dir/log"
            echo "$cxx: $name: the report does not name line $line"
            exit 1
        fi
    done
    echo "$cxx: $("$dir/races" list | wc -l) missing orders, each reported at its line; none where they are there"
done
if [ $tried = 0 ]; then
    echo "skipped: no compiler here has a working -fsanitize=thread"
    exit 77
fi
