#!/usr/bin/env bash
# keep_words - runs a compiler as it was called; what ptxas says of each kernel (-Xptxas=-v) goes to OBJECT.ptxas beside the
# object, warnings and errors go on to the terminal. tests/kernels/test_cuda_static.py reads the files.
set -u
object=
for ((i = 1; i < $#; i++)); do
    [ "${!i}" = -o ] && { next=$((i + 1)); object=${!next}; }
done
"$@" 2>"$object.words"
rc=$?
grep -vE '^ptxas info|^ +[0-9]+ bytes (stack frame|cumulative stack)' "$object.words" >&2
mv "$object.words" "$object.ptxas"
exit "$rc"
