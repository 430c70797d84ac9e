#!/usr/bin/env bash
# Installs what is missing, builds, and shows a three-node cluster answering over one connection.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" -ne 0 ]; then
  echo "demo.sh: the demonstration needs root (network namespaces, eBPF): sudo npm run demo" >&2
  exit 1
fi
bash scripts/setup.sh
exec node dist/src/tools/cli/demo.js
