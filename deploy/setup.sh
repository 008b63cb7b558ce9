#!/usr/bin/env bash
# Makes the keys and the signed directory of the sample network in DIR, beside copies of the
# configurations. Here one machine plays every operator: see README.md for a network of several.
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
    echo "cannot run $dispers: build it (cargo build --release --features full) and set DISPERS=.build/release/dispers" >&2
    exit 69
fi
dispers=$(command -v "$dispers")
dispers=$(realpath "$dispers")

umask 077
mkdir -p "$1"
cd "$1"
if [ -e root.key ]; then
    echo "$1 has keys already: choose an empty folder, or remove it" >&2
    exit 64
fi
root=$("$dispers" keys new root --name root --output root.key 2>root.told)
for sample in "$samples"/*.toml; do
    sed "s/ROOT-KEY/$root/" "$sample" >"$(basename "$sample")"
done

# Fingerprints go to NAME.told: nobody has to compare here.
new() {
    "$dispers" keys new "$1" --name "$2" --output "$2.key" >"$2.pub" 2>"$2.told" || {
        cat "$2.told" >&2
        exit 1
    }
}
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

# ceremony ROLE NAME: its three nodes make a threshold key, of which two are needed. The shares are
# NAME/share-1.key and so on, the public part is NAME.pub; in between, NAME/*.enrolment and
# NAME/*.dealing are what the members send each other.
ceremony() {
    local role=$1 name=$2 number
    mkdir "$name"
    "$dispers" keys ceremony start --network sample --role "$role" --needed 2 \
        --members "$role-1.pub" "$role-2.pub" "$role-3.pub" >"$name/ceremony.toml"
    for number in 1 2 3; do
        "$dispers" keys ceremony enrol "$name/ceremony.toml" --keys "$role-$number.key" \
            --secret "$name/$number.secret" >"$name/$number.enrolment" 2>/dev/null
    done
    for number in 1 2 3; do
        "$dispers" keys ceremony deal "$name/ceremony.toml" --keys "$role-$number.key" \
            --enrolments "$name"/*.enrolment >"$name/$number.dealing"
    done
    for number in 1 2 3; do
        "$dispers" keys ceremony finish "$name/ceremony.toml" --secret "$name/$number.secret" \
            --enrolments "$name"/*.enrolment --dealings "$name"/*.dealing \
            --output "$name/share-$number.key" >"$name/$number.pub"
    done
    # Every member printed the same.
    cmp "$name/1.pub" "$name/2.pub"
    cmp "$name/1.pub" "$name/3.pub"
    cp "$name/1.pub" "$name.pub"
}
ceremony concept-indexor indexors
ceremony data-aggregator aggregators

"$dispers" directory new directory.toml --output directory.bin
"$dispers" directory sign directory.bin --key root.key
"$dispers" directory verify directory.bin --root "$root" >/dev/null
echo "the network is ready in $PWD; start it with: $samples/run.sh $PWD" >&2
