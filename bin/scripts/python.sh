#!/usr/bin/env bash
# Puts the Python packages of tests/python/requirements.txt into a folder: python.sh DEST
#
# Into a folder of its own and not into the system (which Debian refuses), so that nothing on the
# machine changes. With the same requirements there already it changes nothing and needs no network.
set -euo pipefail

say() { printf 'python: %s\n' "$*"; }

(($# == 1)) || { say "usage: $0 DEST" >&2; exit 1; }
dest=$1
requirements=$(dirname "${BASH_SOURCE[0]}")/../../tests/python/requirements.txt
stamp=$dest/.requirements

if [[ -f $stamp ]] && cmp --quiet "$requirements" "$stamp"; then
  say "the packages of the tests are in $dest"
  exit 0
fi
say "installing the packages of the tests into $dest"
rm -rf "$dest.part"
mkdir -p "$(dirname "$dest")"
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts \
  --root-user-action=ignore --only-binary=:all: --target "$dest.part" --requirement "$requirements"
cp "$requirements" "$dest.part/.requirements"
rm -rf "$dest"
mv "$dest.part" "$dest"
say "done"
