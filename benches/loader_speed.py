#!/usr/bin/env python3
"""How near a training run's loader comes to plain decoding.

    benches/loader_speed.py CURATE VIDEO..

The loader reads 17 frames in a row from random places of clips, crops and scales them to 256 pixels,
with two threads (`curate buckets --read`): from copied clips, which must be decoded from the keyframe
before, and from transcoded ones, whose keyframes are close. Beside it ffmpeg decodes the same videos
from end to end and scales them to the same size, two processes of one thread at a time: the speed that
a loader would have which never decodes a frame in vain. Frames per second of both, in turns, and
their ratio.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from curate import rows, run, write_recipe

ROUNDS, SIZE, FRAMES, BATCH = 3, 256, 17, 2
STAGE = '[[stage]]\nkind = "scenes"\nmin_s = 1\n'


def table(curate, folder, videos, form):
    recipe, out = write_recipe(folder, form, videos, f'form = "{form}"', STAGE)
    run(curate, recipe)
    return out


def load(curate, out, epochs):
    """Frames and samples that the loader delivers in a second."""
    count = rows(curate, out, "select count(*) as n from clips where status = 'kept'")[0]["n"]
    text = subprocess.run(
        [curate, "buckets", out, "--for", "vae", "--size", str(SIZE), "--frames", str(FRAMES),
         "--batch", str(BATCH), "--workers", "2", "--read", str(max(count * epochs // BATCH, 1)),
         "--json"], capture_output=True, text=True, check=True).stdout
    last = json.loads(text.splitlines()[-1])
    return last["frames_per_s"], last["samples_per_s"]


def decode(videos):
    """Frames that ffmpeg decodes and scales in a second."""

    def one(video):
        said = subprocess.run(
            ["ffmpeg", "-nostdin", "-v", "error", "-threads", "1", "-filter_threads", "1", "-i", video,
             "-vf", f"scale={SIZE}:{SIZE}:flags=area", "-pix_fmt", "rgb24", "-fps_mode", "passthrough",
             "-f", "null", "-progress", "-", "-"], capture_output=True, text=True, check=False).stdout
        return int(said.rpartition("frame=")[2].split()[0])

    start = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        frames = sum(pool.map(one, videos))
    return frames / (time.monotonic() - start)


def median(values):
    return sorted(values)[len(values) // 2]


def main():
    curate, videos = os.path.realpath(sys.argv[1]), [os.path.realpath(v) for v in sys.argv[2:]]
    if not videos:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        tables = {form: table(curate, folder, videos, form) for form in ("copy", "transcode")}
        found = {name: [] for name in ("ffmpeg", *tables)}
        samples = {form: [] for form in tables}
        for _ in range(ROUNDS):
            found["ffmpeg"].append(decode(videos))
            for form, out in tables.items():
                frames, clips = load(curate, out, 4)
                found[form].append(frames)
                samples[form].append(clips)
        limit = median(found["ffmpeg"])
        print(f"ffmpeg, end to end: {limit:.0f} frames/s")
        for form in tables:
            speed = median(found[form])
            print(f"{form}: {speed:.0f} frames/s, {median(samples[form]):.1f} samples/s, "
                  f"{speed / limit:.2f} of ffmpeg")


if __name__ == "__main__":
    main()
