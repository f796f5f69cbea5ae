#!/usr/bin/env python3
"""Transcoded clips: the same bytes every time, how fast, and what they save a training loader.

    make bench-transcode         (builds what it needs and calls this)
    benches/transcode.py CURATE READS_BENCH VIDEO..

Three things. Bytes: the table's clips after runs with one and with all workers must be equal.
Throughput: `curate run` with form = "transcode" (scene detection, cutting, encoding, the table)
against `ffmpeg` encoding the very same spans with the same settings, one thread each and as many at
a time as there are cores. Reading: 17 frames in a row from random places of copied and of transcoded
clips, in milliseconds.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from curate import rows, run, write_recipe

STAGE = '[[stage]]\nkind = "scenes"\nmin_s = 1\n'
ROUNDS = 3


def recipe(folder, name, videos, form, run=""):
    return write_recipe(folder, name, videos, f'form = "{form}"', f"[run]\n{run}\n{STAGE}")


def timed(curate, path):
    start = time.monotonic()
    run(curate, path)
    return time.monotonic() - start


def clips(curate, out):
    sql = ("select clip_id, source_uri, start_s, end_s, num_frames from clips "
           "where status = 'kept' order by clip_id")
    return rows(curate, out, sql)


def extract(curate, out, kept, folder):
    os.makedirs(folder)
    paths = []
    for row in kept:
        path = os.path.join(folder, row["clip_id"] + ".mp4")
        subprocess.run([curate, "extract", out, row["clip_id"], "-o", path],
                       capture_output=True, check=True)
        paths.append(path)
    return paths


def digest(paths):
    whole = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            whole.update(hashlib.sha256(file.read()).digest())
    return whole.hexdigest()[:16]


def by_ffmpeg(row, folder):
    """The same span with the same settings; x264's defaults are ours."""
    source = row["source_uri"].removeprefix("file://")
    target = os.path.join(folder, row["clip_id"] + ".mp4")
    subprocess.run(["ffmpeg", "-nostdin", "-y", "-v", "error", "-threads", "1", "-ss",
                    f"{row['start_s']:.6f}", "-i", source, "-frames:v", str(row["num_frames"]),
                    "-an", "-c:v", "libx264", "-preset", "medium", "-crf", "18", "-g", "16",
                    "-pix_fmt", "yuv420p", "-threads", "1", target], check=True)


def reads(bench, paths):
    text = subprocess.run([bench, "17", "200", *paths], capture_output=True, text=True,
                          check=True).stdout
    return [float(number) for number in text.split()]


def main():
    curate, bench, *videos = sys.argv[1:]
    videos = [os.path.abspath(video) for video in videos]
    cores = os.cpu_count()
    with tempfile.TemporaryDirectory() as folder:
        digests, walls = {}, []
        for workers in (1, cores):
            path, out = recipe(folder, f"w{workers}", videos, "transcode", f"cpus = {workers}")
            took = timed(curate, path)
            if workers == cores:
                walls.append(took)
            kept = clips(curate, out)
            encoded = extract(curate, out, kept, os.path.join(folder, f"x{workers}"))
            digests[workers] = digest(encoded)
        for again in range(1, ROUNDS):
            path, out = recipe(folder, f"again{again}", videos, "transcode")
            walls.append(timed(curate, path))
            kept = clips(curate, out)
            digests[f"run {again + 1}"] = digest(
                extract(curate, out, kept, os.path.join(folder, f"y{again}")))
        same = len(set(digests.values())) == 1
        print(f"{len(kept)} clips, {sum(row['num_frames'] for row in kept)} frames")
        print(f"bytes: {'equal' if same else 'DIFFERENT'} in {len(digests)} runs "
              f"(1 and {cores} CPUs): {sorted(set(digests.values()))}")

        theirs = []
        for again in range(ROUNDS):
            target = os.path.join(folder, f"ffmpeg{again}")
            os.makedirs(target)
            start = time.monotonic()
            with ThreadPoolExecutor(cores) as pool:
                list(pool.map(lambda row: by_ffmpeg(row, target), kept))
            theirs.append(time.monotonic() - start)
        ours, other = sorted(walls)[len(walls) // 2], sorted(theirs)[ROUNDS // 2]
        print(f"seconds: curate run (detection, cutting, encoding, table) {ours:.2f}, "
              f"ffmpeg encoding the same spans {other:.2f}: {other / ours:.2f} of its speed")

        path, out = recipe(folder, "copy", videos, "copy")
        run(curate, path)
        copied = extract(curate, out, clips(curate, out), os.path.join(folder, "copied"))
        for name, paths in (("copy", copied), ("transcode", encoded)):
            mean, median, tail = reads(bench, paths)
            size = sum(os.path.getsize(path) for path in paths) / 1e6
            print(f"17 frames from a random place, {name}: mean {mean:.1f} ms, median {median:.1f}, "
                  f"95 % {tail:.1f}; {size:.1f} MB")
        return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
