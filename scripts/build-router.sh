#!/usr/bin/env bash
# Compiles the router. Needs clang and libbpf-dev (scripts/setup.sh --dev); only to change
# src/kernel/router/router.bpf.c or what it includes.
# With an argument: writes the object there and nothing else (test/kernel/router/object.test.ts compares it).
set -euo pipefail
cd "$(dirname "$0")/../src/kernel/router"
object="${1:-router.bpf.o}"
arch="$(uname -m)"
clang -O2 -g -mcpu=v3 -target bpf -Wall -Wextra -Wno-unused-parameter -fdebug-prefix-map="$PWD"=. \
  -I"/usr/include/${arch}-linux-gnu" \
  -c router.bpf.c -o "$object"
llvm-strip -g "$object"
if [ "$#" -eq 0 ]; then
  # What the object was made from and by: without the compiler, a stale object is still noticed.
  sha256sum router.bpf.c router.h bpf/*.h router.bpf.o >router.bpf.sha256
  clang --version | head -n 1 >router.bpf.clang
fi
