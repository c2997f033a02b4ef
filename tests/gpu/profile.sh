#!/usr/bin/env bash
# profile - seconds and bytes of each kernel of a request's last steps, by ncu, on random weights of a published shape; to
# $OUT/profile-NAME.csv: profile.sh NAME MODEL KERNELS LINE, a line as bench_service reads it, which is asked twice.
set -euo pipefail
out=${OUT:-build/gpu-results}
export LD_LIBRARY_PATH=$PWD/build/gpu-pack/lib PATH=$PATH:/usr/local/cuda/bin
printf '%s\n%s\n' "$4" "$4" | ncu --cache-control none --clock-control none --metrics gpu__time_duration.sum,dram__bytes_read.sum,dram__bytes_write.sum \
    --launch-skip "$3" --launch-count 400 --csv --log-file "$out/profile-$1.csv" build/gpu-pack/bin/bench_service "$2" 0 examples/recipes/interests-loglik.json
