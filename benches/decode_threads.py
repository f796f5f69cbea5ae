#!/usr/bin/env python3
"""Several videos at once with one decoder thread each, or one after the other with several?

    make bench-decode-threads    (builds what it needs and calls this)
    benches/decode_threads.py CURATE VIDEO [--rounds 5] [--frames 4000]

As many copies of the video, repeated by stream copy to at least so many frames, as there are cores (at most 8).
`curate run` and `ffmpeg -f null` go through them both ways, in turn. Printed are the medians of wall and CPU
seconds.
"""

import argparse
import os
import resource
import statistics
import shutil
import subprocess
import sys
import tempfile
import time


def measure(run):
    """Wall and CPU seconds of a function that waits for its programs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    run()
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def call(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed with {done.returncode}:\n{done.stdout}")


def decode(path, threads):
    return ["ffmpeg", "-nostdin", "-v", "error", "-threads", str(threads), "-i", path,
            "-f", "null", "-"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("curate")
    parser.add_argument("video")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=4000)
    args = parser.parse_args()
    cores = min(os.cpu_count(), 8)

    with tempfile.TemporaryDirectory() as folder:
        videos = os.path.join(folder, "videos")
        os.makedirs(videos)
        paths = [os.path.join(videos, f"{number}.mp4") for number in range(cores)]
        counted = subprocess.run(
            ["ffprobe", "-v", "error", "-select_streams", "v:0", "-count_packets", "-show_entries",
             "stream=nb_read_packets", "-of", "csv=p=0", args.video],
            capture_output=True, text=True, check=True).stdout
        loops = -(-args.frames // int(counted.strip().strip(","))) - 1
        call(["ffmpeg", "-v", "error", "-stream_loop", str(loops), "-i", args.video, "-map",
              "0:v:0", "-c", "copy", paths[0]])
        for path in paths[1:]:
            os.link(paths[0], path)

        def in_turn():
            for path in paths:
                call(decode(path, cores))

        def at_once():
            running = [subprocess.Popen(decode(path, 1)) for path in paths]
            if any(program.wait() for program in running):
                sys.exit("ffmpeg failed")

        def curate(workers, threads):
            recipe = os.path.join(folder, f"{workers}.toml")
            with open(recipe, "w", encoding="utf-8") as file:
                file.write(f'[input]\npaths = ["videos"]\n[output]\npath = "out"\nform = "none"\n'
                           f'[run]\nworkers = {workers}\ndecode_threads = {threads}\n'
                           f'[[stage]]\nkind = "scenes"\n')

            def run():
                call([args.curate, "run", recipe])

            return run

        ways = {f"ffmpeg, in turn, {cores} threads": in_turn,
                "ffmpeg, at once, 1 thread each": at_once,
                f"curate, 1 worker of {cores} threads": curate(1, cores),
                f"curate, {cores} workers of 1 thread": curate(cores, 1)}
        seconds = {name: [] for name in ways}
        for round_ in range(args.rounds + 1):
            for name, run in ways.items():
                shutil.rmtree(os.path.join(folder, "out"), ignore_errors=True)
                took = measure(run)
                if round_ > 0:  # the first one warms the caches
                    seconds[name].append(took)
        print(f"{cores} videos of {os.path.basename(args.video)}, {args.rounds} rounds")
        for name, took in seconds.items():
            wall, cpu = map(statistics.median, zip(*took, strict=True))
            print(f"{name:36} wall {wall:6.2f} s   CPU {cpu:6.2f} s")


if __name__ == "__main__":
    main()
