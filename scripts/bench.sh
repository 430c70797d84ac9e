#!/usr/bin/env bash
# Runs the benchmarks: npm run bench -- [NAME...] [--json]
set -euo pipefail
cd "$(dirname "$0")/.."
# Standard output is for results only.
bash scripts/setup.sh --test >&2
exec node dist/bench/main.js "$@"
