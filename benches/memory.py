#!/usr/bin/env python3
"""Peak memory of `curate run`: many videos against few, a long one against a short one.

    make bench-memory            (builds what it needs and calls this)
    benches/memory.py CURATE VIDEO [--memory 1GiB]

Ten and a hundred times thirty files of the same four seconds, and ten minutes and an hour of
one video, made by stream copy. Every run is a process of its own; peak memory is what the system says
of it. `[run] memory` bounds what is in flight; the base is the peak of a run over one short clip.
Long videos are worked on two minutes at a time, so that both lengths keep every worker busy, and
commit while they do.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

from curate import write_recipe

STAGES = ('[[stage]]\nkind = "scenes"\n[[stage]]\nkind = "motion"\nmethod = "dis"\n'
          'keep = { min = 0.0 }\n')


def measure(curate, folder, name, source, memory):
    """Peak MiB and seconds of one run."""
    recipe, _ = write_recipe(folder, name, [source], 'form = "copy"\nunit_minutes = 2',
                             f'[run]\nmemory = "{memory}"\n{STAGES}')
    start = time.monotonic()
    with open(os.path.join(folder, f"{name}.log"), "w+", encoding="utf-8") as log:
        run = subprocess.Popen([curate, "run", recipe], stdout=log, stderr=log)
        _, status, usage = os.wait4(run.pid, 0)
        if os.waitstatus_to_exitcode(status) not in (0, 3):
            log.seek(0)
            sys.exit(log.read())
    peak = usage.ru_maxrss / 1024
    print(f"{name:<12} {peak:8.0f} MiB   {time.monotonic() - start:6.1f} s", flush=True)
    return peak


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-nostdin", "-y", "-v", "error", *arguments], check=True)


def looped(video, seconds, target):
    """The video over and over, by stream copy."""
    ffmpeg("-stream_loop", "-1", "-i", video, "-map", "0:v:0", "-t", str(seconds), "-c", "copy",
           target)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("curate")
    parser.add_argument("video")
    parser.add_argument("--memory", default="1GiB")
    args = parser.parse_args()
    limit = 1024 if args.memory == "1GiB" else int(re.sub(r"\D", "", args.memory))
    with tempfile.TemporaryDirectory() as folder:
        small = os.path.join(folder, "small.mp4")
        ffmpeg("-i", args.video, "-map", "0:v:0", "-vf", "scale=640:-2", "-t", "4", "-c:v",
               "libx264", "-preset", "veryfast", small)
        peaks = {"base": measure(args.curate, folder, "base", small, args.memory)}
        for count in (300, 3000):
            many = os.path.join(folder, f"many{count}")
            os.makedirs(many)
            for number in range(count):
                # Files of the same bytes at other places are other sources.
                os.link(small, os.path.join(many, f"{number:04}.mp4"))
            peaks[count] = measure(args.curate, folder, f"files{count}", many, args.memory)
        for minutes in (10, 60):
            path = os.path.join(folder, f"m{minutes}.mp4")
            looped(small, 60 * minutes, path)
            peaks[f"{minutes} min"] = measure(args.curate, folder, f"minutes{minutes}", path,
                                              args.memory)
        many, long = peaks[3000] / peaks[300], peaks["60 min"] / peaks["10 min"]
        most = max(peaks.values())
        print(f"3000 files / 300 files: {many:.2f}; 60 min / 10 min: {long:.2f}")
        print(f"largest peak {most:.0f} MiB <= memory {limit} MiB + base {peaks['base']:.0f} MiB: "
              f"{most <= limit + peaks['base']}")
        return 0 if many <= 1.10 and long <= 1.10 and most <= limit + peaks["base"] else 1


if __name__ == "__main__":
    sys.exit(main())
