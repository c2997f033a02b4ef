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
#include <forkcast.h>
#include <pthread.h>
#include <stdio.h>
int main(void) {
    fc_engine_options o = {0};
    fc_engine *e = 0;
    fc_status st = fc_engine_open(&o, &e);
    printf("forkcast %s: %s: %s\n", fc_version(), fc_status_string(st), fc_last_error());
    return st == FC_ERR_ARG && pthread_equal(pthread_self(), pthread_self()) ? 0 : 1;
}
C
# README's own program and its own command, but for the place of the build.
sed -n '/^```c$/,/^```$/p' README.md | grep -v '^```' >"$dir/best.c"
command=$(grep -m 1 '^gcc -std=c99 best.c' README.md)
[ -s "$dir/best.c" ] && [ -n "$command" ] || { echo "README.md has no C program, or no command for it"; exit 1; }
cmp engine/forkcast.h "$build/include/forkcast.h"
build=$(cd "$build" && pwd)
sanitize=$(sed -n 's/^FORKCAST_SANITIZE:STRING=//p' "$build/CMakeCache.txt")
flags=${sanitize:+-fsanitize=$sanitize}
for name in user best; do
    # shellcheck disable=SC2086
    (cd "$dir" && ln -sfn "$build" build &&
        eval "${command//best/$name}" -Wall -Wextra -Werror -pedantic $flags)
done
"$dir/user"
"$build/forkcast" tiny "$dir/tiny.gguf" --seed 1 2>/dev/null
"$dir/best" "$dir/tiny.gguf" "My favourite season is" >"$dir/ranked"
head -1 "$dir/ranked" | grep -q '^1 ' || { echo "README.md's program ranks nothing:"; cat "$dir/ranked"; exit 1; }
echo "$(wc -l <"$dir/exported") functions are exported; README.md's program compiles and ranks"
