#!/usr/bin/env python3
"""What a prefilter spares RAFT, and whether the same clips are kept.

    make bench-prefilter
    benches/prefilter.py CURATE FOLDER [--prefilter dis] [--max-seconds 20]

Two runs over the same videos, with `method = "raft-small"`, without and with the prefilter, clip form
"none", everything between 1 and 10 s long kept by `scenes`. Printed are the share of clips with the
same verdict, those that differ, how many clips the prefilter decided, and the seconds of both runs.
"""

import argparse
import csv
import io
import os
import subprocess
import tempfile
import time

RECIPE = """[input]
paths = [{paths}]
[output]
path = "{out}"
form = "none"
[[stage]]
kind = "scenes"
min_s = 1.0
[[stage]]
kind = "motion"
method = "raft-small"
pairs = 2
keep = {{ min = 0.008, max = 1.0 }}
{more}
"""


def run(curate, folder, out, paths, more):
    recipe = os.path.join(folder, f"{out}.toml")
    with open(recipe, "w", encoding="utf-8") as file:
        file.write(RECIPE.format(out=out, more=more, paths=", ".join(f'"{p}"' for p in paths)))
    start = time.monotonic()
    done = subprocess.run([curate, "run", recipe], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(done.stderr)
    took = time.monotonic() - start
    sql = ("select clip_id, source_uri, start_s, status, motion, motion_method from clips "
           "where drop_stage is null or drop_stage = 'motion' order by 1")
    text = subprocess.run([curate, "query", os.path.join(folder, out), sql, "--format", "csv"],
                          capture_output=True, text=True, check=True).stdout
    return took, {row["clip_id"]: row for row in csv.DictReader(io.StringIO(text))}


def seconds(path):
    text = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of",
                           "csv=p=0", path], capture_output=True, text=True, check=False).stdout
    try:
        return float(text)
    except ValueError:
        return 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("curate")
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--prefilter", default="dis")
    parser.add_argument("--max-seconds", type=float, default=40)
    args = parser.parse_args()
    files = sorted(os.path.abspath(os.path.join(folder, name))
                   for folder in args.folders for name in os.listdir(folder))
    files = [f for f in files if 0 < seconds(f) <= args.max_seconds]
    with tempfile.TemporaryDirectory() as folder:
        plain, all_ = run(args.curate, folder, "plain", files, "")
        spared, some = run(args.curate, folder, "spared", files, f'prefilter = "{args.prefilter}"')
    assert all_.keys() == some.keys(), "not the same clips"
    differ = [key for key in all_ if all_[key]["status"] != some[key]["status"]]
    decided = sum(row["motion_method"] == args.prefilter for row in some.values())
    agree = 1 - len(differ) / max(1, len(all_))
    print(f"{len(files)} videos, {len(all_)} clips reached motion; same verdict: {100 * agree:.1f} %")
    for key in differ:
        a, b = all_[key], some[key]
        name = os.path.basename(a["source_uri"])
        print(f"  {name} at {float(a['start_s']):.2f} s: raft {a['motion']} {a['status']}, "
              f"with the prefilter {b['motion']} ({b['motion_method']}) {b['status']}")
    print(f"{args.prefilter} decided {decided} of {len(all_)} clips; {plain:.1f} s without it, "
          f"{spared:.1f} s with it, {100 * (1 - spared / plain):.0f} % saved")


if __name__ == "__main__":
    main()
