#!/usr/bin/env bash
# Compiles the router. Needs clang and libbpf-dev (scripts/setup.sh --dev); only to change src/router/router.bpf.c.
set -euo pipefail
cd "$(dirname "$0")/.."
arch="$(uname -m)"
clang -O2 -g -mcpu=v3 -target bpf -Wall -Wextra -Wno-unused-parameter -I"/usr/include/${arch}-linux-gnu" \
  -c src/router/router.bpf.c -o src/router/router.bpf.o
llvm-strip -g src/router/router.bpf.o
