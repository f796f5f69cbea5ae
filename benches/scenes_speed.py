#!/usr/bin/env python3
"""Scene detection against the decode limit and PySceneDetect, in one go, as ratios.

    make bench-scenes            (installs what it needs and calls this)
    benches/scenes_speed.py CURATE VIDEO [--rounds 5] [--frames 4000]

The video is repeated by stream copy to at least so many frames. Then three programs read it in
turn, several times over: `ffmpeg -f null` (decoding alone: the limit), `curate run` with the clip
form "none" (decoding, scoring every frame, thumbnails, the table), and PySceneDetect's command
line. All get the same number of decoder threads. Printed are the medians of CPU and wall seconds,
and the share of the decode limit that curate reaches.
"""

import os
import re
import shutil
import statistics
import sys
import tempfile

from curate import call, decode, frames_of, measure, repeat, speed_arguments


def main():
    parser = speed_arguments(__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=min(os.cpu_count(), 16))
    args = parser.parse_args()
    if not 1 <= args.threads <= 16:
        parser.error("--threads must be 1 to 16, which all three programs can use")

    with tempfile.TemporaryDirectory() as folder:
        looped = os.path.join(folder, "looped.mp4")
        repeat(args.video, args.frames, looped)
        width, height, frames = frames_of(looped)
        print(f"{os.path.basename(args.video)} repeated to {frames} frames of {width}x{height}, "
              f"{args.threads} decoder threads, {args.rounds} rounds, {os.cpu_count()} cores")
        recipe = os.path.join(folder, "recipe.toml")
        with open(recipe, "w", encoding="utf-8") as file:
            file.write(f'[input]\npaths = ["looped.mp4"]\n[output]\npath = "out"\nform = "none"\n'
                       f'[run]\nworkers = 1\ndecode_threads = {args.threads}\n'
                       f'[[stage]]\nkind = "scenes"\n')
        programs = {
            "ffmpeg -f null": decode(looped, args.threads),
            "curate run": [args.curate, "run", recipe],
            "scenedetect": [sys.executable, "-m", "scenedetect", "-q", "-i", looped, "-o", folder,
                            "detect-content", "list-scenes", "-q"],
        }
        if shutil.which("ffmpeg") is None:
            sys.exit("there is no ffmpeg")
        # How OpenCV's FFmpeg backend is told.
        environment = os.environ | {"OPENCV_FFMPEG_CAPTURE_OPTIONS": f"threads;{args.threads}"}
        seconds = {name: ([], []) for name in programs}
        ratio = None
        for round_ in range(args.rounds + 1):
            for name, command in programs.items():
                shutil.rmtree(os.path.join(folder, "out"), ignore_errors=True)
                wall, cpu, said = measure(lambda command=command: call(command, env=environment))
                if round_ > 0:  # the first one warms the caches
                    seconds[name][0].append(wall)
                    seconds[name][1].append(cpu)
                found = re.search(r"analysis frames decoded / source frames: (.*?);", said)
                ratio = found.group(1) if found else ratio
        medians = {name: tuple(map(statistics.median, both)) for name, both in seconds.items()}
        limit = seconds["ffmpeg -f null"]

        def share(name, which):
            """Median over the rounds of limit / program: a slow minute hits both."""
            pairs = zip(limit[which], seconds[name][which], strict=True)
            return statistics.median(base / own for base, own in pairs)

        print(f"{'':16} {'wall s':>8} {'CPU s':>8} {'frames/s':>9} {'of the limit, wall':>19} "
              f"{'CPU':>6}")
        for name, (wall, cpu) in medians.items():
            print(f"{name:16} {wall:8.2f} {cpu:8.2f} {frames / wall:9.0f} "
                  f"{share(name, 0):19.2f} {share(name, 1):6.2f}")
        print(f"analysis frames decoded / source frames: {ratio}")


if __name__ == "__main__":
    main()
