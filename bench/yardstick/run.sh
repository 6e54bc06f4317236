#!/bin/sh
# Compares the load tool and the echo backend with a C client and server of the same work: closed loop, 64 B, 100 connections,
# the server on core 0, the client on core 1. Rounds are interleaved, so that drift of the machine hits both. The figure is the ratio
# of the best rounds, since what else runs on the machine can only lower a rate. Exits with 1 where it is under 0.9.
#
#     bench/yardstick/run.sh [ROUNDS [SECONDS]]
set -eu
rounds=${1:-5} seconds=${2:-3}
cd "$(dirname "$0")"
dir=$(mktemp -d)
pids=
trap 'for p in $pids; do kill "$p" 2>/dev/null || :; done; rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM
cc -O2 -o "$dir/server" server.c
cc -O2 -o "$dir/client" client.c
(cd ../.. && go build -o "$dir/sluice" ./cmd/sluice)
taskset -c 0 "$dir/server" 9071 & pids="$pids $!"
taskset -c 0 "$dir/sluice" echo -listen 127.0.0.1:9072 >"$dir/echo.log" & pids="$pids $!"
for port in 9071 9072; do
  tries=0
  until "$dir/sluice" bench -url "ws://127.0.0.1:$port/" -c 1 -n 1 >"$dir/try" 2>&1; do
    tries=$((tries + 1))
    if [ $tries = 50 ]; then cat "$dir/try"; exit 1; fi
    sleep 0.1
  done
done

# rate FILE: messages a second, from the report of the load tool.
rate() { sed -n 's/.*"messages_per_second": \([0-9]*\).*/\1/p' "$1"; }
best() { sort -n "$1" | tail -n 1; }

for round in $(seq "$rounds"); do
  taskset -c 1 "$dir/client" 9071 100 64 "$seconds" >>"$dir/c"
  taskset -c 1 "$dir/sluice" bench -json -url ws://127.0.0.1:9072/ -c 100 -size 64 -d "${seconds}s" >"$dir/json"
  rate "$dir/json" >>"$dir/go"
  echo "round $round: C $(tail -n 1 "$dir/c"), Go $(tail -n 1 "$dir/go") messages a second"
done
c=$(best "$dir/c") go=$(best "$dir/go")
awk -v c="$c" -v go="$go" 'BEGIN { r = go / c; printf "best: C %d, Go %d, ratio %.2f\n", c, go, r; exit r < 0.9 }'
