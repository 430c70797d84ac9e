#!/usr/bin/env bash
# Prepares a Debian or Ubuntu machine: npm packages, Debian packages, build. Does only what is missing.
#   setup.sh          what running Baton and its lab needs
#   setup.sh --test   and what the tests and benchmarks need
#   setup.sh --dev    and what changing the router's eBPF program needs
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(libbpf1 iproute2 util-linux curl procps ethtool openssl)
for flag in "$@"; do
  case "$flag" in
    --test) packages+=(tcpdump nginx apache2 apache2-utils wrk haproxy chromium gnutls-bin) ;;
    --dev) packages+=(clang llvm libbpf-dev bpftool) ;;
    *) echo "setup.sh: unknown option $flag (--test, --dev)" >&2; exit 2 ;;
  esac
done

need_node() {
  echo "setup.sh: Node.js 20 or later and npm are needed: https://nodejs.org/" >&2
  exit 1
}
command -v node >/dev/null && command -v npm >/dev/null || need_node
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || need_node

installed() { dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }

missing=()
if command -v dpkg-query >/dev/null; then
  for package in "${packages[@]}"; do installed "$package" || missing+=("$package"); done
else
  echo "setup.sh: not a Debian system; these must be there: ${packages[*]}" >&2
fi

# Debian starts a service as soon as it is installed. While this file is there, none is.
policy=/usr/sbin/policy-rc.d
install_packages() {
  local guard=""
  if [ ! -e "$policy" ]; then
    guard="$policy"
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
  if [ -n "$guard" ]; then rm -f "$guard"; trap - EXIT; fi
}

if [ "${#missing[@]}" -gt 0 ]; then
  echo "setup.sh: installing Debian packages: ${missing[*]}"
  if [ "$(id -u)" -ne 0 ]; then
    echo "setup.sh: that needs root: sudo apt-get install ${missing[*]}" >&2
    exit 1
  fi
  install_packages
fi

# node_modules is complete when it was made from this very lock file.
stamp=node_modules/.setup-stamp
lock=$(sha256sum package.json package-lock.json | sha256sum)
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$lock" ]; then
  echo "setup.sh: installing npm packages"
  npm ci --no-audit --no-fund
  printf '%s\n' "$lock" >"$stamp"
fi

npm run --silent build
