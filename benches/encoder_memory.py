#!/usr/bin/env python3
"""Memory of `form = "transcode"`: what a clip takes against what is reckoned with, and many at a time.

    make bench-encoder-memory    (builds what it needs and calls this)
    benches/encoder_memory.py CURATE VIDEO

With little memory a run transcodes one clip at a time, and says how much it reckoned with if that cost it
time; what a clip took is the run's peak less that of the same run with copies. Then more workers than this
machine has cores for, with three clips for each and the default memory: the peak may be that and a base,
which is the peak of the run with copies. The sources have many references and few key frames, so that
decoders hold much too.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile

from curate import write_recipe

# Height, codec, preset, pixel format.
CASES = [
    (360, "h264", "medium", "yuv420p"), (720, "h264", "medium", "yuv420p"),
    (1080, "h264", "medium", "yuv420p"), (720, "h264", "ultrafast", "yuv420p"),
    (720, "h264", "veryfast", "yuv420p"), (720, "h264", "veryslow", "yuv420p"),
    (720, "h264", "medium", "yuv420p10le"), (360, "h265", "medium", "yuv420p"),
    (720, "h265", "medium", "yuv420p"), (720, "h265", "ultrafast", "yuv420p"),
    (360, "av1", "8", "yuv420p"), (720, "av1", "8", "yuv420p"), (1080, "av1", "10", "yuv420p"),
]
# What many workers do: height, codec, preset, and the rest of the settings.
CROWDS = [(1080, "h264", "medium", ""), (1080, "h265", "ultrafast", ""),
          (2160, "h264", "ultrafast", "\nshort_side = 64")]
WORKERS = 8


def peak(curate, folder, name, source, output, run, seconds):
    """Peak MiB of a run, and what it said."""
    stages = ('[[stage]]\nkind = "scenes"\nmin_s = 0.4\n'
              f'detectors = [{{ kind = "fixed", seconds = {seconds} }}]\n')
    recipe, _ = write_recipe(folder, name, [source], output, f"[run]\n{run}\n{stages}")
    with open(os.path.join(folder, f"{name}.log"), "w+", encoding="utf-8") as log:
        process = subprocess.Popen([curate, "run", recipe], stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        log.seek(0)
        said = log.read()
        if os.waitstatus_to_exitcode(status) != 0:
            sys.exit(said)
    return usage.ru_maxrss / 1024, said


def transcode(codec, preset, pixels, rest=""):
    return (f'form = "transcode"\n[output.transcode]\ncodec = "{codec}"\npreset = "{preset}"\n'
            f'pixel_format = "{pixels}"{rest}')


def make(video, height, target):
    """12 s of the video at a height."""
    subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-stream_loop", "-1", "-i", video, "-map", "0:v:0",
         "-t", "12", "-vf", f"scale={height * 16 // 9}:{height}", "-r", "25", "-c:v", "libx264",
         "-preset", "ultrafast", "-refs", "5", "-bf", "3", "-g", "250", target], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("curate")
    parser.add_argument("video")
    args = parser.parse_args()
    within = True
    with tempfile.TemporaryDirectory() as folder:
        little = 'cpus = 2\nmemory = "32MiB"'
        sources, bases = {}, {}
        for height in sorted({case[0] for case in CASES + CROWDS}):
            sources[height] = os.path.join(folder, f"{height}.mp4")
            make(args.video, height, sources[height])
            bases[height], _ = peak(args.curate, folder, f"copy{height}", sources[height],
                                    'form = "copy"', little, 4.0)
        print("height codec preset     pixels        took MiB  reckoned MiB", flush=True)
        for number, (height, codec, preset, pixels) in enumerate(CASES):
            most, said = peak(args.curate, folder, f"case{number}", sources[height],
                              transcode(codec, preset, pixels), little, 4.0)
            told = re.search(r"up to (\d+) MiB for a clip", said)
            print(f"{height:<6} {codec:<5} {preset:<10} {pixels:<12} {most - bases[height]:9.0f} "
                  f"{told.group(1) if told else '-':>13}", flush=True)
        for number, (height, codec, preset, rest) in enumerate(CROWDS):
            many = f"cpus = {WORKERS}"
            base, _ = peak(args.curate, folder, f"base{number}", sources[height], 'form = "copy"',
                           many, 0.5)
            most, said = peak(args.curate, folder, f"many{number}", sources[height],
                              transcode(codec, preset, "yuv420p", rest), many, 0.5)
            fits = most <= 1024 + base
            within = within and fits
            print(f"{height} {codec} {preset}, {WORKERS} workers: {most:.0f} MiB <= memory 1024 MiB + "
                  f"base {base:.0f} MiB: {fits}", flush=True)
            print("".join(f"    {line}\n" for line in said.splitlines() if "stood still" in line),
                  end="", flush=True)
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
