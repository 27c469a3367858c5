#!/usr/bin/env bash
# How soon the gateway is ready with many events stored, also after a kill; and how much memory it
# holds with idle connections open and many events waiting for a subscriber that is dead.
#
#   bench/resident.sh [EVENTS] [WAITING] [CONNECTIONS]     default 10000000 1000000 5000
set -euo pipefail
cd "$(dirname "$0")/.."
events=${1:-10000000} waiting=${2:-1000000} connections=${3:-5000}
cargo build --release -q -p eg-gateway
gateway=$PWD/target/release/event-gateway
scratch=$(mktemp -d)
trap 'kill $pid ${idle:-} 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$scratch"' EXIT
export EVENT_GATEWAY_SERVER=http://127.0.0.1:18081

# Starts the gateway on the store $1 and says how long it took to be ready.
start() {
    local begun
    begun=$(date +%s%N)
    coproc serve { exec "$gateway" serve --dev --data "$1" --http 127.0.0.1:18080 \
        --mqtt 127.0.0.1:18830 --admin 127.0.0.1:18081 2>>"$scratch/log"; }
    pid=$serve_PID
    while read -r line <&"${serve[0]}"; do [ "$line" = ready ] && break; done
    echo "$2: ready after $((($(date +%s%N) - begun) / 1000000)) ms"
}
ask() { curl -s "$EVENT_GATEWAY_SERVER/graphql" -H 'content-type: application/json' -d "{\"query\": \"$1\"}"; }
stored() { ask '{ nextSequence }' | tr -dc 0-9; }
# Publishes until $1 events are stored.
fill() {
    while [ "$(stored)" -le "$1" ]; do
        "$gateway" -o json bench mqtt --target 127.0.0.1:18830 --warmup 0 --duration 5 >/dev/null
    done
}

start "$scratch/many" "an empty store"
fill "$events"
echo "$(($(stored) - 1)) events stored, $(du -sh "$scratch/many" | cut -f1)"
kill -TERM $pid; wait $pid || true
start "$scratch/many" "after an orderly stop"
kill -KILL $pid; wait $pid 2>/dev/null || true
start "$scratch/many" "after a kill"
"$gateway" -o json bench mqtt --target 127.0.0.1:18830 --warmup 0 --duration 2 >/dev/null &
load=$!
sleep 1
kill -KILL $pid; wait $pid 2>/dev/null || true
wait $load 2>/dev/null || true
start "$scratch/many" "after a kill under load"
kill -KILL $pid; wait $pid 2>/dev/null || true

start "$scratch/few" "an empty store"
"$gateway" subscription create dead --endpoint http://127.0.0.1:9/ >/dev/null
fill "$waiting"
coproc idlers { exec python3 bench/idle.py 18830 "$connections"; }
idle=$idlers_PID
read -r _ <&"${idlers[0]}"
sleep 3
ask '{ subscription(name: \"dead\") { state waiting retrying } }'
echo
echo "resident: $(awk '/VmRSS/ {print int($2 / 1024)}' /proc/$pid/status) MiB with $connections idle connections"
awk '/VmHWM/ {print "at its highest: " int($2 / 1024) " MiB"}' /proc/$pid/status
