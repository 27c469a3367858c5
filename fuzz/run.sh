#!/usr/bin/env bash
# Feeds one target with what nobody sends on purpose, for so long, at the lowest priority. What it
# found before is tried first; an input that breaks something is left in fuzz/artifacts.
#
#   fuzz/run.sh [TARGET] [SECONDS]     default mqtt_connection 1800
# Needs cargo-fuzz (cargo install cargo-fuzz); the pinned compiler does.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-mqtt_connection} seconds=${2:-1800}
RUSTC_BOOTSTRAP=1 nice -n 19 cargo fuzz run "$target" -- -max_total_time="$seconds" -max_len=4096 \
    -timeout=20 -rss_limit_mb=2048 -print_final_stats=1
