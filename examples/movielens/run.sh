#!/usr/bin/env bash
# run - the whole example, after ./quickstart.sh: data, best-of-n on held-out triples, measures, plots, films for a user.
#
# usage: examples/movielens/run.sh [--train] [--publish] [--triples N] [--pairs N] [--user U]
#
#   --train      trains both adapters first, into build/movielens/adapters, and uses these
#   --publish    puts result, plots and tables into examples/movielens, whose README they are
#   --triples N  held-out triples asked about (400)
#   --pairs N    histories in the table (200); 0: all 10,712
#   --user U     whose films are shown at the end (1)
#
# Everything else goes to build/movielens. What is there is kept: downloads, environments, trained adapters, answers and
# rows of a run that was stopped.
set -euo pipefail
cd "$(dirname "$0")/../.."

die() { printf 'run: %s\n' "$1" >&2; exit "${2:-1}"; } # TEXT [STATUS]
say() { printf '== %s\n' "$*"; }

here=examples/movielens work=build/movielens model=models/SmolLM2-135M-Instruct.Q4_1.gguf
forkcast=${FORKCAST_BUILD:-build}/forkcast adapters=$here/adapters train= publish= triples=400 pairs=200 user=1
while [ $# -gt 0 ]; do
    case "$1" in
    -h | --help) sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --train) train=1; shift ;;
    --publish) publish=1; shift ;;
    --triples) triples=${2:?--triples needs a number}; shift 2 ;;
    --pairs) pairs=${2:?--pairs needs a number}; shift 2 ;;
    --user) user=${2:?--user needs a number}; shift 2 ;;
    *) die "unknown option $1; --help says more" 2 ;;
    esac
done
[ -x "$forkcast" ] && [ -f "$model" ] || die "$forkcast or $model is not there: ./quickstart.sh makes and fetches them"
mkdir -p "$work"

environment() { # NAME REQUIREMENTS
    [ -e "$work/$1/installed" ] && return
    say "$1: Python packages of $2"
    python3 -m venv "$work/$1" || die "python3 has no venv (Debian: python3-venv)"
    "$work/$1/bin/python" -m pip --disable-pip-version-check -q install -r "$here/$2"
    touch "$work/$1/installed" # last: a broken install goes on where it ended
}
python() { PYTHONDONTWRITEBYTECODE=1 "$work/$1/bin/python" "$here/$2" "${@:3}"; } # ENVIRONMENT PROGRAM ARGS...

environment venv requirements.txt
[ -f "$work/films.tsv" ] || python venv fetch.py
if [ -n "$train" ]; then adapters=$work/adapters; fi
say "clusters, triples, recipes"
python venv prepare.py --adapters "$adapters"

if [ -n "$train" ]; then
    environment train requirements-train.txt
    [ -d "$work/base" ] || "$work/train/bin/python" bench/peers/gguf_to_hf.py "$model" "$work/base" float32
    for role in novelty alignment; do
        [ -f "$adapters/$role/training.json" ] && continue
        say "training: $role"
        python train "train_$role.py" --out "$adapters/$role"
    done
    say "adapters, held against peft"
    python train check_adapters.py --adapters "$adapters" --forkcast "$forkcast"
fi
[ -d "$adapters/novelty" ] && [ -d "$adapters/alignment" ] || die "$adapters has no adapters; --train makes them"

say "best of n for $triples held-out triples"
python venv ask.py --forkcast "$forkcast" --triples "$triples"
say "the table"
python venv bulk.py --forkcast "$forkcast" --pairs "$pairs" --user "$user"
say "measures"
python venv experiment.py
python venv items.py
python venv plots.py
if [ -n "$publish" ]; then
    mkdir -p "$here/plots"
    cp "$work/result.json" "$work/items.json" "$work/bulk.json" "$here"
    cp "$work"/plots/*.svg "$here/plots"
    python venv report.py --write
fi
say "films for user $user: their last two clusters are looked up"
python venv items.py --forkcast "$forkcast" --user "$user" --table "$work/clusters.table"
