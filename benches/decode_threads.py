#!/usr/bin/env python3
"""Several videos at once with one decoder thread each, or one after the other with several?

    make bench-decode-threads    (builds what it needs and calls this)
    benches/decode_threads.py CURATE VIDEO [--rounds 5] [--frames 4000]

As many copies of the video, repeated by stream copy to at least so many frames, as there are cores (at most 8).
`curate run` and `ffmpeg -f null` go through them both ways, in turn, and curate a third time as it shares out
the cores by itself. Printed are the medians of wall and CPU seconds.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile

from curate import call, decode, measure, repeat, speed_arguments


def main():
    parser = speed_arguments(__doc__.splitlines()[0])
    args = parser.parse_args()
    cores = min(os.cpu_count(), 8)

    with tempfile.TemporaryDirectory() as folder:
        videos = os.path.join(folder, "videos")
        os.makedirs(videos)
        paths = [os.path.join(videos, f"{number}.mp4") for number in range(cores)]
        repeat(args.video, args.frames, paths[0])
        for path in paths[1:]:
            os.link(paths[0], path)

        def in_turn():
            for path in paths:
                call(decode(path, cores))

        def at_once():
            running = [subprocess.Popen(decode(path, 1)) for path in paths]
            if any(program.wait() for program in running):
                sys.exit("ffmpeg failed")

        def curate(name, settings):
            recipe = os.path.join(folder, f"{name}.toml")
            with open(recipe, "w", encoding="utf-8") as file:
                file.write(f'[input]\npaths = ["videos"]\n[output]\npath = "out"\nform = "none"\n'
                           f'[run]\n{settings}'
                           f'[[stage]]\nkind = "scenes"\n')

            return lambda: call([args.curate, "run", recipe])

        ways = {f"ffmpeg, in turn, {cores} threads": in_turn,
                "ffmpeg, at once, 1 thread each": at_once,
                f"curate, 1 worker of {cores} threads":
                    curate("turn", f"workers = 1\ndecode_threads = {cores}\n"),
                f"curate, {cores} workers of 1 thread":
                    curate("once", f"workers = {cores}\ndecode_threads = 1\n"),
                "curate, by itself": curate("itself", "")}
        seconds = {name: [] for name in ways}
        for round_ in range(args.rounds + 1):
            for name, run in ways.items():
                shutil.rmtree(os.path.join(folder, "out"), ignore_errors=True)
                wall, cpu, _ = measure(run)
                if round_ > 0:  # the first one warms the caches
                    seconds[name].append((wall, cpu))
        print(f"{cores} videos of {os.path.basename(args.video)}, {args.rounds} rounds")
        for name, took in seconds.items():
            wall, cpu = map(statistics.median, zip(*took, strict=True))
            print(f"{name:36} wall {wall:6.2f} s   CPU {cpu:6.2f} s")


if __name__ == "__main__":
    main()
