#!/usr/bin/env bash
# What idle MQTT connections cost, each with one subscription: resident memory for each beyond that
# of the program alone; then how long one event takes to reach all of them, again and again, while
# others publish with QoS 1.
#
#   bench/mqtt_idle.sh [CONNECTIONS] [EVENTS] [RATE]     default 10000 10 5000
# RATE is how many events a second the others publish. PROGRAM is the gateway; without it, it is built.
set -euo pipefail
cd "$(dirname "$0")/.."
connections=${1:-10000} events=${2:-10} rate=${3:-5000}
if [ -z "${PROGRAM:-}" ]; then
    cargo build --release -q -p eg-gateway
    PROGRAM=$PWD/target/release/event-gateway
fi
# Both sides need a descriptor for each connection, and a few more.
needed=$((connections + 500))
if [ "$(ulimit -n)" != unlimited ] && [ "$(ulimit -n)" -lt $needed ]; then
    ulimit -n $needed || { echo "$connections connections need ulimit -n $needed" >&2; exit 1; }
fi
scratch=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$scratch"' EXIT

"$PROGRAM" serve --dev --data "$scratch/data" --http 127.0.0.1:18080 --mqtt 127.0.0.1:18830 \
    --admin 127.0.0.1:18081 >"$scratch/log" 2>&1 &
gateway=$!
pids+=($gateway)
for _ in $(seq 100); do
    if grep -q ^ready "$scratch/log"; then break; fi
    sleep 0.1
done
resident_kib() { awk '/^VmRSS/ {print $2}' /proc/$gateway/status; }
# Connections that the gateway has; descriptors below 50 are its own.
open() { ls /proc/$gateway/fd | wc -l; }
load() { "$PROGRAM" -o json bench mqtt --target 127.0.0.1:18830 --qos 1 --payload 256 "$@"; }

sleep 2
before=$(open)
base=$(resident_kib)
# A loopback address has too few ports for very many connections, and a limit of its own here.
load --connections 1 --subscribers "$connections" --local-addresses 20 --topic fan/out --rate 1 \
    --settle 8 --warmup 0 --duration "$events" >"$scratch/fan" &
fan=$!
while [ "$(open)" -lt $((before + connections)) ]; do
    kill -0 $fan 2>/dev/null || { echo "the connections could not be opened" >&2; exit 1; }
    sleep 0.1
done
sleep 3
idle=$(resident_kib)
echo "resident: $((base / 1024)) MiB alone, $((idle / 1024)) MiB with $connections idle connections:" \
    "$(((idle - base) * 1024 / connections)) bytes each"
load --connections 8 --rate "$rate" --topic 'other/{client}' --warmup 5 --duration "$events" >"$scratch/others"
wait $fan
after=$(resident_kib)
python3 - "$scratch/fan" "$scratch/others" "$connections" "$(((after - base) * 1024 / connections))" <<'PYTHON'
import json, sys
fan, others = (json.load(open(path)) for path in sys.argv[1:3])
got, latency = fan["deliveries"], fan["deliveries"]["latency_ms"]
print(f"one event to {sys.argv[3]} subscribers, {got['received']} deliveries: the last one after"
      f" {latency['max']:.0f} ms at most, half of them after {latency['p50']:.0f} ms;"
      f" missing {got['missing']}, twice {got['duplicates']}")
latency = others["latency_ms"]
print(f"meanwhile acknowledged to others: {others['acknowledged_per_s']:.0f} a second, p50 {latency['p50']:.1f} ms,"
      f" p99 {latency['p99']:.1f} ms, longest {latency['max']:.0f} ms {others['errors'] or ''}")
print(f"resident beyond the program alone afterwards: {sys.argv[4]} bytes for each connection")
PYTHON
