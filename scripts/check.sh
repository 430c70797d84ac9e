#!/usr/bin/env bash
# What one runs all the time: format, lint, types, and the tests that need no root, in under a minute. `npm test` is all.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf dist
bash scripts/setup.sh
npm run --silent lint

# A test that needs root says so (test/tools/lab/root.ts); those of whole clusters all do.
export BATON_ROOTLESS=1
mapfile -t files < <(find dist/test -name '*.test.js' -not -path 'dist/test/whole/*' | sort)
exec node --test --test-concurrency="$(nproc)" --test-reporter=dot "${files[@]}"
