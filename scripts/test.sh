#!/usr/bin/env bash
# Everything a change must pass: setup, lint, build, all tests. Arguments choose tests: npm test -- lab http
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf dist
bash scripts/setup.sh --test
npm run --silent lint

# An argument is a folder below test/, or the last part of its path: protocol/http, http.
folders=("$@")
if [ "${#folders[@]}" -eq 0 ]; then folders=(.); fi
tests_of() {
  if [ -d "dist/test/$1" ]; then find "dist/test/$1" -name '*.test.js'; else find dist/test -path "*/$1/*.test.js"; fi
}
mapfile -t files < <(for folder in "${folders[@]}"; do tests_of "$folder"; done | sort -u)
if [ "${#files[@]}" -eq 0 ]; then
  echo "test.sh: no tests in ${folders[*]}" >&2
  exit 1
fi

# One file at a time: tests measure, and labs share the machine's cores.
minutes=60
status=0
timeout --kill-after=30 "${minutes}m" node --test --test-concurrency=1 --test-reporter=spec "${files[@]}" || status=$?
if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
  echo "test.sh: the tests did not end within ${minutes} minutes" >&2
fi
exit "$status"
