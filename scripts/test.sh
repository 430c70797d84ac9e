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
mapfile -t files < <(for folder in "${folders[@]}"; do tests_of "$folder"; done | sed 's:/\./:/:' | sort -u)
if [ "${#files[@]}" -eq 0 ]; then
  echo "test.sh: no tests in ${folders[*]}" >&2
  exit 1
fi

# Tests that neither build labs nor measure share the machine's cores. A lab waits most of the time (for links, losses,
# time-outs), so two run at a time. Each of the others has the machine for itself.
plain=() labs=() alone=()
for file in "${files[@]}"; do
  case "${file#dist/test/}" in
    whole/cluster/* | whole/migrate/*) labs+=("$file") ;;
    whole/* | kernel/* | tools/* | bench/* | examples/*) alone+=("$file") ;;
    *) plain+=("$file") ;;
  esac
done

minutes=60
end=$((SECONDS + minutes * 60))
failed=0
# How many files at a time, then the files.
run() {
  local status=0
  if [ "$#" -eq 1 ]; then return; fi
  timeout --kill-after=30 "$((end - SECONDS))" node --test --test-concurrency="$1" --test-reporter=spec "${@:2}" || status=$?
  if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
    echo "test.sh: the tests did not end within ${minutes} minutes" >&2
    exit "$status"
  fi
  if [ "$status" -ne 0 ]; then failed=$status; fi
}
run "$(nproc)" "${plain[@]}"
run 2 "${labs[@]}"
run 1 "${alone[@]}"
exit "$failed"
