#!/usr/bin/env bash
# libforkcast.so exports what engine/forkcast.h declares, and nothing else; a program that knows only the header links and runs.
set -euo pipefail
build=${FORKCAST_BUILD:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
nm -D --defined-only "$build/libforkcast.so" | awk '$2 ~ /[A-Z]/ {print $3}' | sed 's/@.*//' | sort >"$dir/exported"
grep -oE '^FC_API [^(]*\bfc_[a-z_0-9]+\(' engine/forkcast.h | grep -oE 'fc_[a-z_0-9]+\($' | tr -d '(' | sort >"$dir/declared"
[ -s "$dir/declared" ] || { echo "no declarations found in engine/forkcast.h"; exit 1; }
if ! diff "$dir/declared" "$dir/exported"; then
    echo "left: declared in engine/forkcast.h; right: exported by libforkcast.so"
    exit 1
fi
cat >"$dir/user.c" <<'C'
#include "forkcast.h"
#include <stdio.h>
int main(void) {
    fc_engine_options o = {0};
    fc_engine *e = 0;
    fc_status st = fc_engine_open(&o, &e);
    printf("forkcast %s: %s: %s\n", fc_version(), fc_status_string(st), fc_last_error());
    return st == FC_ERR_ARG ? 0 : 1;
}
C
"${CC:-gcc}" -std=c99 -Wall -Wextra -Werror -pedantic -Iengine "$dir/user.c" -L"$build" -lforkcast -Wl,-rpath,"$(cd "$build" && pwd)" -o "$dir/user"
"$dir/user"
echo "$(wc -l <"$dir/exported") functions are exported"
