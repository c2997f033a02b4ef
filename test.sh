#!/usr/bin/env bash
# test - everything that can be tested on this machine: a gcc build with all tests, then the unit tests and some servers
# under gcc's ASan + UBSan, then emulated kernels and these servers under clang's TSan; neither compiler may warn.
# About an hour on two cores, half of them compilers. The last line is "N passed, N failed". --long adds what
# is too slow for every run: all thousand scenarios of the engine on emulated CUDA take most of an hour.
set -euo pipefail
cd "$(dirname "$0")"

long=OFF
for a in "$@"; do
    case "$a" in
    --long) long=ON ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) printf 'test: unknown option %s; --long is the only one\n' "$a" >&2; exit 2 ;;
    esac
done

./quickstart.sh --no-build # packages and the model
missing=()
pkg-config --exists cmocka || missing+=(libcmocka-dev)
pkg-config --exists libcurl || missing+=(libcurl4-openssl-dev) # forkcast bench --url
command -v clang >/dev/null || missing+=(clang)
${CXX:-c++} -x c++ - -o /dev/null <<<'int main() { return 0; }' 2>/dev/null || missing+=(g++)
[ -e /usr/include/boost/context/detail/fcontext.hpp ] || missing+=(libboost-context-dev)
command -v python3 >/dev/null || missing+=(python3)
command -v valgrind >/dev/null || missing+=(valgrind) # counts instructions: tests/engine/test_costs.py
python3 -c 'import jsonschema' 2>/dev/null || missing+=(python3-jsonschema)
# 440 MB: in a run that is not long the page's test skips where there is none.
[ "$long" = OFF ] || command -v chromium >/dev/null || missing+=(chromium)
./quickstart.sh --install "${missing[@]}"

passed=0 failed=0 skipped=0 why=
# Each "skipped: ..." that a test of the last ctest run printed, behind its name: ctest itself shows it nowhere.
skips_of() {
    awk '/^[0-9]+\/[0-9]+ Test: /{name = $3} tolower($0) ~ /^(\[ )?skipped/{print "  " name ": " $0}' \
        "$1/Testing/Temporary/LastTest.log"
}
# Runs ctest in a build folder, adds its counts, prints seconds per label.
run_tests() {
    local dir=$1 name=$2 log=$1/ctest.log
    shift 2
    printf '\n== %s\n' "$name"
    set +e
    ctest --test-dir "$dir" --output-on-failure -j "$(nproc)" "$@" 2>&1 | tee "$log"
    local rc=${PIPESTATUS[0]}
    set -e
    local p f s
    p=$(grep -cE '^ *[0-9]+/[0-9]+ Test +#[0-9]+: .* +Passed ' "$log" || true)
    s=$(grep -cE '^ *[0-9]+/[0-9]+ Test +#[0-9]+: .*\*\*\*Skipped ' "$log" || true)
    f=$(grep -cE '^ *[0-9]+/[0-9]+ Test +#[0-9]+: .*\*\*\*(Failed|Timeout|Exception|Not Run)' "$log" || true)
    [ "$rc" -eq 0 ] || [ "$f" -gt 0 ] || f=1 # ctest itself failed
    [ $((p + f)) -gt 0 ] || f=1             # a run without tests is a failure
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    why+=$(skips_of "$dir")$'\n'
}

finish() { # whatever happened, the counts come last
    printf '\n%d skipped, whole or in part:\n%s\n' "$skipped" "$(grep . <<<"$why" || printf '  none')"
    printf '%d passed, %d failed\n' "$passed" "$failed"
}
# Builds everything, or $target, in build/NAME with a compiler; a warning counts as a failure.
build() {
    local name=$1 compiler=$2 log start=$SECONDS
    shift 2
    mkdir -p "build/$name"
    log=build/$name/build.log
    printf '\n== building build/%s with %s; its words go to %s\n' "$name" "$compiler" "$log"
    if ! { CC=$compiler cmake -S . -B "build/$name" -G Ninja -DFORKCAST_TESTS=ON "$@" && ninja -C "build/$name" ${target:-}; } >"$log" 2>&1; then
        tail -60 "$log"
        failed=$((failed + 1))
        finish
        exit 1
    fi
    printf '%d s\n' $((SECONDS - start))
    if grep -q 'warning:' "$log"; then
        grep -A4 'warning:' "$log" | head -40
        printf 'test: %s warns\n' "$compiler"
        failed=$((failed + 1))
    fi
}

build test gcc -DCMAKE_BUILD_TYPE=Release -DFORKCAST_TEST_LONG=$long
run_tests build/test "all tests, gcc, Release"
build sanitize gcc -DCMAKE_BUILD_TYPE=RelWithDebInfo -DFORKCAST_CUDA=OFF -DFORKCAST_SANITIZE=address,undefined
run_tests build/sanitize "unit tests and servers, ASan + UBSan" -L 'unit|threads'
# Whole engines, which are the slowest, are left out: their kernels are these ones.
target="emu_kernel_tests forkcast http_echo test_ranks" build races clang -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DFORKCAST_CUDA=OFF -DFORKCAST_SANITIZE=thread
run_tests build/races "emulated kernels, TSan" -R '^emu/' -L unit -E '^emu/test_comm$' # which has whole engines
export TSAN_OPTIONS=halt_on_error=1 # a race ends the server, so that its client sees it
run_tests build/races "servers and ranks, TSan" -L threads
printf '\n== what clang says of every source\n'
python3 tests/warnings.py build/races || failed=$((failed + 1))

finish
[ "$failed" -eq 0 ]
