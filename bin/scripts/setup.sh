#!/usr/bin/env bash
# Installs what the build needs from the system, and only what is missing. Safe to run again:
# with everything in place it changes nothing and needs no network. Packages that are named as
# arguments are installed as well.
set -euo pipefail

packages=(
  libavcodec-dev libavformat-dev libavutil-dev libavfilter-dev libavdevice-dev
  libswscale-dev libswresample-dev libopencv-dev
  clang libclang-dev          # the FFmpeg and OpenCV bindings are generated from headers
  protobuf-compiler libprotobuf-dev
  cmake pkg-config
  ffmpeg                      # tests and benches compare with the command of the same version
)
packages+=("$@")
rust_needed=1.95

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

if [[ $(uname -m) != x86_64 ]]; then
  fail "this builds on x86-64 only so far (this machine is $(uname -m))"
fi
if ! command -v cargo >/dev/null; then
  fail "cargo is not on PATH: install Rust $rust_needed or newer (rustup), then run this again"
fi
rust_found=$(cargo --version | awk '{ print $2 }')
if [[ $(printf '%s\n' "$rust_needed" "$rust_found" | sort -V | head -n 1) != "$rust_needed" ]]; then
  fail "cargo is $rust_found but $rust_needed is needed: run \`rustup update stable\`"
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
  fail "python3 with pip is needed for the sample clips: on Debian, install python3-pip"
fi
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  fail "this is not Debian or a relative of it: install by other means what these packages hold:
  ${packages[*]}"
fi

# The C and C++ compilers may have come by any way; only their absence matters.
if ! command -v cc >/dev/null || ! command -v c++ >/dev/null; then
  packages+=(build-essential)
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  say "cargo $rust_found, all ${#packages[@]} system packages are there"
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    fail "root is needed to install: ${missing[*]} (no sudo here: run \`apt-get install\` as root)"
  fi
  as_root=(sudo)
fi
say "installing: ${missing[*]}"
# A machine that has just started often installs something of its own: wait for it.
"${as_root[@]}" apt-get -o DPkg::Lock::Timeout=600 update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get -o DPkg::Lock::Timeout=600 install --yes --quiet --no-install-recommends "${missing[@]}"
say "done"
