#!/usr/bin/env python3
"""`scan = "keyframes"` against the exact scan: how much quicker, and how many cuts are the same.

    make bench-keyframes         (builds what it needs and calls this)
    benches/keyframes.py CURATE FOLDER [--minutes 10]

The real clips of the folder, one after the other and over and over, are encoded as one long film,
with x264's own choice of key frames (at most 250 apart, one at each cut it sees) and with one every
two seconds at least, as films are streamed. Both scans read it with the same threads.
"""

import argparse
import os
import resource
import subprocess
import tempfile
import time

from curate import first_frames, run, scenes_recipe

CLIPS = ("bbb_0_30.webm", "bbb_1080p30.mp4", "compose_hard17_640x360_25.mp4",
         "cosmos_sintel_trailer_30s.mp4")


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-nostdin", "-y", "-v", "error", *arguments], check=True)


def film(media, folder, name, minutes, options):
    """One long film of all clips."""
    parts = []
    for number, clip in enumerate(CLIPS):
        part = os.path.join(folder, f"{name}{number}.mp4")
        ffmpeg("-i", os.path.join(media, clip), "-map", "0:v:0", "-vf",
               "scale=1280:720:force_original_aspect_ratio=decrease,"
               "pad=1280:720:(ow-iw)/2:(oh-ih)/2,fps=25,setsar=1", "-c:v", "libx264", "-preset",
               "veryfast", "-crf", "23", "-pix_fmt", "yuv420p", *options, part)
        parts.append(part)
    lines = os.path.join(folder, f"{name}.txt")
    with open(lines, "w", encoding="utf-8") as file:
        file.write("".join(f"file '{part}'\n" for part in parts))
    once, whole = os.path.join(folder, f"{name}.once.mp4"), os.path.join(folder, f"{name}.mp4")
    ffmpeg("-f", "concat", "-safe", "0", "-i", lines, "-c", "copy", once)
    ffmpeg("-stream_loop", "-1", "-i", once, "-t", str(60 * minutes), "-c", "copy", whole)
    return whole


def scan(curate, folder, name, video, how):
    """First frames of all scenes but the first; wall and CPU seconds; the report's decode line."""
    recipe, out = scenes_recipe(folder, name, video, f'scan = "{how}"')
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    said = run(curate, recipe)
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    decoded = [line for line in said.splitlines() if "frames decoded" in line]
    return set(first_frames(curate, out)), wall, cpu, decoded[0].strip() if decoded else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("curate")
    parser.add_argument("media")
    parser.add_argument("--minutes", type=float, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, options in (("natural", []), ("streamed", ["-g", "50"])):
            video = film(args.media, folder, name, args.minutes, options)
            exact, wall, cpu, _ = scan(args.curate, folder, f"{name}-full", video, "full")
            quick, quick_wall, quick_cpu, line = scan(args.curate, folder, f"{name}-keys", video,
                                                      "keyframes")
            same = len(exact & quick)
            f1 = 2 * same / max(len(exact) + len(quick), 1)
            print(f"{name}: {len(exact)} cuts by the exact scan, {len(quick)} by key frames, {same} "
                  f"the same: F1 {f1:.3f}")
            print(f"  wall {wall:.1f} s and {quick_wall:.1f} s: {wall / quick_wall:.2f} times as fast; "
                  f"CPU {cpu:.1f} s and {quick_cpu:.1f} s: {cpu / quick_cpu:.2f}")
            print(f"  {line}")


if __name__ == "__main__":
    main()
