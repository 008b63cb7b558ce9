#!/usr/bin/env bash
# Starts every service of the sample network in DIR, each as its own process, and stops them all on
# Ctrl-C. Logs go to DIR/NAME.log.
#
#   deploy/run.sh DIR            with DISPERS=path/to/dispers where it is not in PATH
set -euo pipefail

if [ $# -ne 1 ] || [ ! -e "$1/directory.bin" ]; then
    echo "usage: run.sh DIR, a folder that setup.sh made" >&2
    exit 64
fi
dispers=$(command -v "${DISPERS:-dispers}") || {
    echo "cannot find dispers: set DISPERS=path/to/dispers" >&2
    exit 69
}
dispers=$(realpath "$dispers")
cd "$1"

umask 077
pids=()
stop() {
    trap - INT TERM EXIT
    kill -TERM "${pids[@]}" 2>/dev/null || true
    wait || true
}
trap stop INT TERM EXIT

start() {
    "$dispers" serve "$1" --config "$2.toml" 2>"$2.log" &
    pids+=($!)
}
start conductor conductor
start target-finder target-finder
start target target
for number in 1 2 3; do
    start concept-indexor "concept-indexor-$number"
    start data-aggregator "data-aggregator-$number"
done
start stack host-1
start stack host-2

echo "${#pids[@]} services run; logs are in $PWD/*.log; Ctrl-C stops them" >&2
# The first that ends takes the others with it: a network that lacks one is not what was asked for.
wait -n
echo "a service ended: see the last lines of $PWD/*.log" >&2
tail -qn 1 ./*.log >&2
exit 1
