#!/usr/bin/env bash
# What checking payloads costs: MQTT 5 with QoS 1 to a declared channel, 256 bytes of JSON with ten
# fields, with the check of the schema off and on, in turns, and to a topic that nobody declares.
#
#   bench/validated.sh [SECONDS] [ROUNDS]     how long each run measures (default 5), how often (3)
# PROGRAM is the gateway; without it, it is built.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-5}
rounds=${2:-3}
if [ -z "${PROGRAM:-}" ]; then
    cargo build --release -q -p eg-gateway
    PROGRAM=$PWD/target/release/event-gateway
fi
scratch=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$scratch"' EXIT

python3 - "$scratch" <<'PYTHON'
import json, sys
fields = {"press": "press-1", "celsius": 71.25, "bar": 12, "state": "running", "shift": 2, "good": 10451,
    "bad": 3, "operator": "a.miller", "checked": True, "note": ""}
fields["note"] = "n" * (256 - len(json.dumps(fields)))
kinds = {str: "string", float: "number", int: "integer", bool: "boolean"}
properties = {name: {"type": kinds[type(value)]} for name, value in fields.items()}
properties["state"]["enum"] = ["running", "stopped"]
properties["celsius"] |= {"minimum": -40, "maximum": 400}
properties["note"]["maxLength"] = 500
payload = {"type": "object", "required": list(fields), "properties": properties}
for check in ["off", "reject"]:
    message = {"name": "press.state", "contentType": "application/json", "payload": payload}
    channel = {"address": check + "/{press}/state", "messages": {"state": message}}
    document = {"asyncapi": "3.0.0", "info": {"title": check, "version": "1"}, "channels": {"c": channel}}
    spec = {"data": json.dumps(document), "eventSpecType": "ASYNC_API", "format": "JSON"}
    query = 'mutation($in: ApplicationInput!) { createApplication(in: $in) { id } }'
    definition = {"name": check, "payloadCheck": check.upper(), "spec": spec}
    application = {"name": check, "eventAPIs": [definition]}
    with open(f"{sys.argv[1]}/{check}", "w") as file:
        json.dump({"query": query, "variables": {"in": application}}, file)
with open(f"{sys.argv[1]}/payload", "w") as file:
    file.write(json.dumps(fields))
PYTHON

"$PROGRAM" serve --dev --data "$scratch/data" --http 127.0.0.1:28080 --mqtt 127.0.0.1:28830 \
    --admin 127.0.0.1:28081 >"$scratch/log" 2>&1 &
pids+=($!)
for _ in $(seq 100); do
    if grep -q ^ready "$scratch/log"; then break; fi
    sleep 0.1
done
for check in off reject; do
    curl -sf http://127.0.0.1:28081/graphql -H 'content-type: application/json' --data @"$scratch/$check" |
        tee "$scratch/answer" | grep -q '"createApplication":{"id"' || { cat "$scratch/answer" >&2; exit 1; }
done
for _ in $(seq "$rounds"); do
    for topic in off reject undeclared; do
        "$PROGRAM" -o json bench mqtt --target 127.0.0.1:28830 --connections 32 --window 64 --qos 1 \
            --duration "$seconds" --topic "$topic/{client}/state" --payload-file "$scratch/payload" |
            python3 -c 'import json,sys; r=json.load(sys.stdin); assert not r["errors"], r; print(r["acknowledged_per_s"])' \
            >>"$scratch/rates-$topic"
    done
done
python3 - "$scratch" <<'PYTHON'
import statistics, sys
rate = {}
for topic in ["undeclared", "off", "reject"]:
    with open(f"{sys.argv[1]}/rates-{topic}") as file:
        rate[topic] = statistics.median(map(float, file))
print(f"a topic that nobody declares    {rate['undeclared']:.0f}")
print(f"a declared channel, unchecked   {rate['off']:.0f}")
print(f"a declared channel, checked     {rate['reject']:.0f}")
print(f"= checked / unchecked {rate['reject'] / rate['off']:.2f}")
PYTHON
