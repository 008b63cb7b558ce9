#!/usr/bin/env bash
# Makes the keys and the signed directory of the sample network in DIR, beside copies of the
# configurations. Here one machine makes every key: see README.md for a network of several operators.
#
#   deploy/setup.sh DIR          with DISPERS=path/to/dispers where it is not in PATH
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: setup.sh DIR" >&2
    exit 64
fi
samples=$(cd "$(dirname "$0")" && pwd)
dispers=${DISPERS:-dispers}
if ! "$dispers" --version >/dev/null 2>&1; then
    echo "cannot run $dispers: build it (cargo build --release) and set DISPERS=.build/release/dispers" >&2
    exit 69
fi
dispers=$(command -v "$dispers")
dispers=$(realpath "$dispers")

mkdir -p "$1"
cd "$1"
if [ -e root.key ]; then
    echo "$1 has keys already: choose an empty folder, or remove it" >&2
    exit 64
fi
umask 077

root=$("$dispers" keys new root --name root --output root.key)
for sample in "$samples"/*.toml; do
    sed "s/ROOT-KEY/$root/" "$sample" >"$(basename "$sample")"
done

new() { "$dispers" keys new "$1" --name "$2" --output "$2.key" >"$2.pub"; }
new conductor conductor
new target-finder target-finder
new target target
for number in 1 2 3; do
    new concept-indexor "concept-indexor-$number"
    new data-aggregator "data-aggregator-$number"
done
new stack host-1
new stack host-2
new querier querier
"$dispers" keys deal --needed 2 --members 3 --output-dir indexors >indexors.pub
"$dispers" keys deal --needed 2 --members 3 --output-dir aggregators >aggregators.pub

"$dispers" directory new directory.toml --output directory.bin
"$dispers" directory sign directory.bin --key root.key
"$dispers" directory verify directory.bin --root "$root" >/dev/null
echo "the network is ready in $PWD; start it with: $samples/run.sh $PWD" >&2
