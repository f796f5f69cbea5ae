#!/usr/bin/env python3
"""What commits cost a run: hundreds of them, each of one unit, against few of many.

    make bench-commits            (builds what it needs and calls this)
    benches/commits.py CURATE [--files 300]

Files of the same two seconds, so that decoding is next to nothing. The cost of a commit must not grow with
the number of commits before it, and memory must not either: both are compared between a third of the
files and all of them. The table must hold every clip afterwards.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

from curate import call, rows, write_recipe


def measure(curate, folder, name, source, commit_units):
    """Seconds, peak MiB and clips of one run."""
    recipe, out = write_recipe(folder, name, [source], 'form = "copy"',
                               f'[run]\ncommit_units = {commit_units}\n[[stage]]\nkind = "scenes"\n'
                               'min_s = 0.5\n')
    start = time.monotonic()
    with open(os.path.join(folder, f"{name}.log"), "w+", encoding="utf-8") as log:
        run = subprocess.Popen([curate, "run", recipe], stdout=log, stderr=log)
        _, status, usage = os.wait4(run.pid, 0)
        if os.waitstatus_to_exitcode(status) != 0:
            log.seek(0)
            sys.exit(log.read())
    seconds, peak = time.monotonic() - start, usage.ru_maxrss / 1024
    clips = rows(curate, out, "select count(*) as n from clips where status = 'kept'")[0]["n"]
    files = sum(entry.endswith(".lance") for entry in os.listdir(f"{out}/clips.lance/data"))
    print(f"{name:<22} {seconds:6.1f} s  {peak:6.0f} MiB  {clips:4} clips, {files:4} data files written",
          flush=True)
    return seconds, peak, clips


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("curate")
    parser.add_argument("--files", type=int, default=300)
    args = parser.parse_args()
    counts = [args.files // 3, args.files]
    with tempfile.TemporaryDirectory() as folder:
        small = os.path.join(folder, "small.mp4")
        call(["ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-t", "2", "-i",
              "testsrc2=size=160x90:rate=25", "-c:v", "libx264", "-pix_fmt", "yuv420p", small])
        single, together = {}, {}
        for count in counts:
            many = os.path.join(folder, f"many{count}")
            os.makedirs(many)
            for number in range(count):
                # Files of the same bytes at other places are other sources.
                os.link(small, os.path.join(many, f"{number:04}.mp4"))
            together[count] = measure(args.curate, folder, f"{count} files together", many, 10_000)
            single[count] = measure(args.curate, folder, f"{count} files singly", many, 1)
        per_commit = {count: 1000 * (single[count][0] - together[count][0]) / count
                      for count in counts}
        few, all_ = counts
        memory = single[all_][1] / single[few][1]
        print(f"a commit costs {per_commit[few]:.1f} ms in a run of {few}, {per_commit[all_]:.1f} ms in "
              f"one of {all_}; memory {memory:.2f} times")
        is_whole = all(single[count][2] == together[count][2] == count for count in counts)
        return 0 if is_whole and per_commit[all_] <= 1.5 * per_commit[few] and memory <= 1.1 else 1


if __name__ == "__main__":
    sys.exit(main())
