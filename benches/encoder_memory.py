#!/usr/bin/env python3
"""Memory of `form = "transcode"`: what one encoder takes against what is reckoned with, and many.

    make bench-encoder-memory    (builds what it needs and calls this)
    benches/encoder_memory.py CURATE VIDEO

A run with little memory encodes one clip at a time, and says how much it reckoned with; what an encoder
took is its peak less that of the same run with copies. Then as many workers as a larger machine has,
with the default memory: the peak may be that and a base, which is the peak of the run with copies.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile

from curate import write_recipe

STAGES = '[[stage]]\nkind = "scenes"\nmin_s = 2.0\ndetectors = [{ kind = "fixed", seconds = 3.0 }]\n'
# Height, codec, preset, pixel format.
CASES = [
    (360, "h264", "medium", "yuv420p"), (720, "h264", "medium", "yuv420p"),
    (1080, "h264", "medium", "yuv420p"), (720, "h264", "ultrafast", "yuv420p"),
    (720, "h264", "veryfast", "yuv420p"), (720, "h264", "veryslow", "yuv420p"),
    (720, "h264", "medium", "yuv420p10le"), (360, "h265", "medium", "yuv420p"),
    (720, "h265", "medium", "yuv420p"), (720, "h265", "ultrafast", "yuv420p"),
    (360, "h265", "slow", "yuv420p"), (360, "av1", "8", "yuv420p"), (720, "av1", "8", "yuv420p"),
    (1080, "av1", "8", "yuv420p"), (360, "av1", "4", "yuv420p"),
]
WORKERS = 8


def peak(curate, folder, name, source, output, run):
    """Peak MiB of a run, and what it said."""
    recipe, _ = write_recipe(folder, name, [source], output, f"[run]\n{run}\n{STAGES}")
    with open(os.path.join(folder, f"{name}.log"), "w+", encoding="utf-8") as log:
        process = subprocess.Popen([curate, "run", recipe], stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        log.seek(0)
        said = log.read()
        if os.waitstatus_to_exitcode(status) != 0:
            sys.exit(said)
    return usage.ru_maxrss / 1024, said


def transcode(codec, preset, pixels):
    return (f'form = "transcode"\n[output.transcode]\ncodec = "{codec}"\npreset = "{preset}"\n'
            f'pixel_format = "{pixels}"')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("curate")
    parser.add_argument("video")
    args = parser.parse_args()
    within = True
    with tempfile.TemporaryDirectory() as folder:
        little = 'cpus = 2\nmemory = "32MiB"'
        sources, bases = {}, {}
        for height in sorted({case[0] for case in CASES}):
            sources[height] = os.path.join(folder, f"{height}.mp4")
            subprocess.run(
                ["ffmpeg", "-nostdin", "-v", "error", "-stream_loop", "-1", "-i", args.video, "-map",
                 "0:v:0", "-t", "9", "-vf", f"scale={height * 16 // 9}:{height}", "-r", "25", "-c:v",
                 "libx264", "-preset", "veryfast", sources[height]], check=True)
            bases[height], _ = peak(args.curate, folder, f"copy{height}", sources[height],
                                    'form = "copy"', little)
        print("height codec preset     pixels        took MiB  reckoned MiB", flush=True)
        for number, (height, codec, preset, pixels) in enumerate(CASES):
            most, said = peak(args.curate, folder, f"case{number}", sources[height],
                              transcode(codec, preset, pixels), little)
            told = re.search(r"takes up to (\d+) MiB", said)
            # A build that lets none wait tells nothing, and has two at a time.
            print(f"{height:<6} {codec:<5} {preset:<10} {pixels:<12} {most - bases[height]:9.0f} "
                  f"{told.group(1) if told else '-':>13}", flush=True)
        for height, codec, preset in ((720, "h264", "medium"), (1080, "h264", "medium"),
                                      (1080, "h265", "ultrafast")):
            many = f"cpus = {WORKERS}"
            base, _ = peak(args.curate, folder, f"base{height}{codec}", sources[height],
                           'form = "copy"', many)
            most, _ = peak(args.curate, folder, f"many{height}{codec}", sources[height],
                           transcode(codec, preset, "yuv420p"), many)
            fits = most <= 1024 + base
            within = within and fits
            print(f"{height} {codec} {preset}, {WORKERS} workers: {most:.0f} MiB <= memory 1024 MiB + "
                  f"base {base:.0f} MiB: {fits}", flush=True)
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
