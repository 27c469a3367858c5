#!/usr/bin/env bash
# What authentication costs: HTTPS with a JWT of a real OpenID provider beside plain HTTP with
# nothing, on keep-alive connections, and how often the provider's keys were fetched.
#
#   bench/authenticated.sh [SECONDS]     how long each run measures (default 10)
# Needs the peers that `./check` installs (node with oidc-provider).
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-10}
cargo build --release -q -p eg-gateway
gateway=$PWD/target/release/event-gateway
scratch=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$scratch"' EXIT

# wait_for FILE TEXT: until a line of the file begins with the text.
wait_for() {
    for _ in $(seq 100); do
        if grep -q "^$2" "$1" 2>/dev/null; then return; fi
        sleep 0.1
    done
    echo "no line '$2' in $1:" >&2
    cat "$1" >&2
    exit 1
}
run() { "$gateway" -o json bench http --duration "$seconds" --source /shop "$@"; }
rate() { python3 -c 'import json,sys; r=json.load(open(sys.argv[1])); assert not r["errors"], r; print(r["acknowledged_per_s"])' "$1"; }

cp tests/peers/oidc_provider.cjs "$scratch"
ln -s "$PWD/target/peers/node/node_modules" "$scratch/node_modules"
node "$scratch/oidc_provider.cjs" >"$scratch/provider.log" 2>&1 &
pids+=($!)
wait_for "$scratch/provider.log" "issuer "
issuer=$(sed -n 's/^issuer //p' "$scratch/provider.log")
curl -sf "$issuer/token" -u device:device-secret -d grant_type=client_credentials \
    -d resource=urn:event-gateway -H 'x-token-claims: {"application": "shop"}' |
    python3 -c 'import json,sys; print(json.load(sys.stdin)["access_token"])' >"$scratch/token"

"$gateway" cert init --data "$scratch/closed" --host localhost >/dev/null
cat >"$scratch/closed.toml" <<CONFIG
[[auth.issuers]]
issuer = "$issuer"
audiences = ["event-gateway"]
application_claim = "application"
CONFIG
"$gateway" serve --config "$scratch/closed.toml" --data "$scratch/closed" --http 127.0.0.1:18080 \
    --https 127.0.0.1:18443 --mqtt 127.0.0.1:18830 --admin 127.0.0.1:18081 >"$scratch/closed.log" 2>&1 &
pids+=($!)
"$gateway" serve --dev --data "$scratch/open" --http 127.0.0.1:28080 --mqtt 127.0.0.1:28830 \
    --admin 127.0.0.1:28081 >"$scratch/open.log" 2>&1 &
pids+=($!)
wait_for "$scratch/closed.log" ready
wait_for "$scratch/open.log" ready

secret=(--token-file "$scratch/token" --ca-file "$scratch/closed/ca/ca.pem")
run --target http://127.0.0.1:28080/events >"$scratch/plain"
run --target http://127.0.0.1:18080/events --token-file "$scratch/token" >"$scratch/token-only"
run --target https://localhost:18443/events "${secret[@]}" >"$scratch/both"
echo "plain HTTP, nobody asked    $(rate "$scratch/plain")"
echo "HTTP with a JWT             $(rate "$scratch/token-only")"
echo "HTTPS with a JWT            $(rate "$scratch/both")"
python3 - "$(rate "$scratch/plain")" "$(rate "$scratch/both")" <<'PYTHON'
import sys
plain, both = map(float, sys.argv[1:])
print(f"= HTTPS with a JWT / plain HTTP {both / plain:.2f}")
PYTHON
echo "the provider's keys were fetched $(curl -s "$issuer/test/requests" |
    python3 -c 'import json,sys; print(json.load(sys.stdin).get("/jwks", 0))') time(s)"
