#!/usr/bin/env bash
# From publisher to subscriber over MQTT 5, the gateway beside mosquitto with the same load
# generator, in turns: QoS 0 and 1, 1:1, 10:1 and 1:50, and 1:1 at an even rate. In each run a
# publisher has so many publications on their way to all subscribers at once (the window), so
# that nothing piles up, and what is measured is what goes through; nothing may be missing.
#
# mosquitto keeps everything in memory and nothing on the disk, which is its default (persistence
# false; with it, it writes its memory down every 30 minutes). The limits that would slow it down
# are lifted. The gateway commits every event to the disk (fsync), QoS 0 too, before it delivers.
#
#   bench/mqtt.sh [SECONDS]     how long each run measures (default 5)
# PROGRAM is the gateway; without it, it is built.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-5}
if [ -z "${PROGRAM:-}" ]; then
    cargo build --release -q -p eg-gateway
    PROGRAM=$PWD/target/release/event-gateway
fi
command -v mosquitto >/dev/null || { echo "install it with: apt-get install mosquitto" >&2; exit 1; }
scratch=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$scratch"' EXIT

# start NAME PORT COMMAND...: runs it, and waits for its port.
start() {
    local name=$1 port=$2
    shift 2
    "$@" >"$scratch/$name.log" 2>&1 &
    pids+=($!)
    for _ in $(seq 100); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return; fi
        sleep 0.1
    done
    echo "$name did not start:" >&2
    cat "$scratch/$name.log" >&2
    exit 1
}
cat >"$scratch/mosquitto.conf" <<'CONFIG'
listener 18840 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 0
max_inflight_messages 0
CONFIG
start mosquitto 18840 mosquitto -c "$scratch/mosquitto.conf"
start gateway 18830 "$PROGRAM" serve --dev --data "$scratch/data" --http 127.0.0.1:18080 \
    --mqtt 127.0.0.1:18830 --admin 127.0.0.1:18081

cat >"$scratch/compare.py" <<'PYTHON'
import json, sys
name, *reports = sys.argv[1:]
rates = []
for broker, path in zip(["mosquitto", "event-gateway"], reports):
    with open(path) as file:
        report = json.load(file)
    got = report["deliveries"]
    bad = {key: got[key] for key in ["missing", "duplicates", "out_of_order", "foreign"] if got[key]}
    latency = got["latency_ms"]
    print(f"{name:22} {broker:14} {got['received_per_s']:>10,.0f}/s  p50 {latency['p50']:8.2f} ms"
          f"  p99 {latency['p99']:8.2f} ms  {bad or ''} {report['errors'] or ''}")
    rates.append((got["received_per_s"], latency["p99"]))
print(f"= {name} event-gateway / mosquitto: received {rates[1][0] / rates[0][0]:.2f},"
      f" p99 {rates[1][1] / rates[0][1]:.2f}", flush=True)
PYTHON
# compare NAME ARGUMENTS...: the same load on both, one after the other.
compare() {
    local name=$1
    shift
    for at in mosquitto:18840 gateway:18830; do
        "$PROGRAM" -o json bench mqtt --target "127.0.0.1:${at#*:}" --duration "$seconds" \
            --payload 256 "$@" >"$scratch/${at%:*}.json"
    done
    python3 "$scratch/compare.py" "$name" "$scratch/mosquitto.json" "$scratch/gateway.json"
}
for qos in 0 1; do
    compare "QoS $qos, 1:1" --qos $qos --connections 1 --subscribers 1 --window 200
    compare "QoS $qos, 10:1" --qos $qos --connections 10 --subscribers 1 --window 64
    compare "QoS $qos, 1:50" --qos $qos --connections 1 --subscribers 50 --window 64
    compare "QoS $qos, 1:1, 10,000/s" --qos $qos --connections 1 --subscribers 1 --rate 10000
done
