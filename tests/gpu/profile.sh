#!/usr/bin/env bash
# profile - seconds and bytes of 400 kernels, by ncu, behind SKIP others that are left out, to $OUT/profile-NAME.csv:
# profile.sh NAME MODEL SKIP LINE: MODEL as like:llama-3.1-8b, LINE as bench_service reads it, which is asked twice.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# = 4 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
[ -d build/gpu-pack ] || { echo 'profile: unpacked by the first tests/gpu.sh test, sanitize or bench' >&2; exit 1; }
out=${OUT:-build/gpu-results}
mkdir -p "$out"
export LD_LIBRARY_PATH=$PWD/build/gpu-pack/lib PATH=$PATH:/usr/local/cuda/bin
printf '%s\n%s\n' "$4" "$4" | ncu --cache-control none --clock-control none --metrics gpu__time_duration.sum,dram__bytes_read.sum,dram__bytes_write.sum \
    --launch-skip "$3" --launch-count 400 --csv --log-file "$out/profile-$1.csv" build/gpu-pack/bin/bench_service "$2" 0 examples/recipes/interests-loglik.json
