#!/usr/bin/env python3
"""How right `motion` and `camera_motion` are where the truth is known.

    make bench-motion            (installs what it needs and calls this)
    benches/motion_sweep.py CURATE VIDEO [--keep FOLDER] [METHOD...]

Renders pans, tilts, zooms and rolls of stills (the first frame of VIDEO, and a made texture) at 0,
0.02, 0.1, 0.3 and 1 frame diagonals per second, at three resolutions and three frame rates, as H.264, runs
the pipeline over them, and compares the table with what was rendered. Then clips with a square that
moves by itself over a panning background.
"""

import argparse
import contextlib
import csv
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
RENDER = os.path.join(HERE, "..", "tests", "python", "render_motion.py")
SPEEDS = (0.02, 0.1, 0.3, 1.0)
KINDS = ("pan_left", "pan_right", "tilt_up", "tilt_down", "zoom_in", "zoom_out", "roll")
SIZES = ((320, 180), (640, 360), (1280, 720))
RATES = (24, 30, 60)
MOST_OFF = 0.15
# The square's share of the frame, the pan, and the square's own way across and down, in diagonals/s.
SUBJECTS = ((0.05, 0.1, 0.0, 0.2), (0.1, 0.1, 0.0, 0.15), (0.2, 0.1, -0.1, 0.1),
            (0.2, 0.02, 0.2, 0.0), (0.3, 0.1, 0.0, 0.1), (0.2, 0.0, 0.1, 0.1))


def jobs(video, folder):
    """What is rendered: each a job for the renderer, and what is true of it."""
    # A fast zoom leaves a still soon.
    seconds = {0.3: 1.5, 1.0: 0.6}
    made = []
    for (width, height), fps, still in itertools.product(SIZES, RATES, (video, "noise:1")):
        for kind, speed in [("static", 0.0), *itertools.product(KINDS, SPEEDS)]:
            made.append({"still": still, "width": width, "height": height, "fps": fps,
                         "seconds": seconds.get(speed, 1.6), "kind": kind, "speed": speed})
    for (share, pan, dx, dy), (width, height) in itertools.product(SUBJECTS, SIZES):
        made.append({"still": video, "width": width, "height": height, "fps": 25, "seconds": 1.6,
                     "kind": "pan_right" if pan else "static", "speed": pan,
                     "object": {"share": share, "dx": dx, "dy": dy}})
    for number, job in enumerate(made):
        job["out"] = os.path.join(folder, f"{number:04}.mp4")
    return made


def measured(curate, videos, folder, method):
    """The table's columns, by file name; the table goes to `folder`."""
    recipe = os.path.join(folder, f"{method}.toml")
    with open(recipe, "w", encoding="utf-8") as file:
        file.write(f'[input]\npaths = [{json.dumps(videos)}]\n[output]\npath = "{method}"\n'
                   'form = "none"\n[[stage]]\nkind = "scenes"\nmin_s = 0.0\n'
                   'detectors = [{ kind = "content", threshold = 1e9 }]\n'
                   f'[[stage]]\nkind = "motion"\nmethod = "{method}"\nkeep = {{}}\n')
    subprocess.run([curate, "run", recipe], check=True, capture_output=True)
    sql = ("select source_uri, motion, motion_camera, motion_subject, camera_motion from clips")
    rows = subprocess.run([curate, "query", os.path.join(folder, method), sql, "--format", "csv"],
                          capture_output=True, text=True, check=True).stdout
    return {row["source_uri"].rsplit("/", 1)[1]: row for row in csv.DictReader(io.StringIO(rows))}


def ranks(values):
    order = sorted(values)
    return [order.index(value) + (order.count(value) - 1) / 2 for value in values]


def correlation(a, b):
    a, b = ranks(a), ranks(b)
    middle = (len(a) - 1) / 2
    over = sum((x - middle) * (y - middle) for x, y in zip(a, b))
    return over / (sum((x - middle) ** 2 for x in a) * sum((y - middle) ** 2 for y in b)) ** 0.5


def report(rows):
    """Prints errors, by one property of the jobs after another."""
    def line(name, some):
        off = sorted(abs(float(row["motion"]) / job["speed"] - 1) for job, row in some)
        right = sum(row["camera_motion"] == job["kind"] for job, row in some) / len(some)
        within = sum(value <= MOST_OFF for value in off) / len(off)
        print(f"| {name} | {len(some)} | {off[len(off) // 2]:.1%} | {off[int(0.95 * (len(off) - 1))]:.1%} "
              f"| {off[-1]:.1%} | {within:.1%} | {right:.1%} |")

    moving = [(job, row) for job, row in rows if job["speed"] > 0]
    print("\n| clips | | off by, median | 95 % | most | within 15 % | class right |\n"
          "|---|---|---|---|---|---|---|")
    for name, key in (("speed", lambda job: job["speed"]), ("kind", lambda job: job["kind"]),
                      ("rate", lambda job: job["fps"]), ("height", lambda job: job["height"])):
        for value in sorted({key(job) for job, _ in moving}):
            line(f"{name} {value}", [(job, row) for job, row in moving if key(job) == value])
    line("all that move", moving)
    still = [(job, row) for job, row in rows if job["speed"] == 0]
    most = max(float(row["motion"]) for _, row in still)
    right = sum(row["camera_motion"] == "static" for _, row in still)
    print(f"\n{len(still)} still clips: motion at most {most:.4f}, {right} of them static")
    print(f"rank correlation with the truth over {len(rows)} clips: "
          f"{correlation([job['speed'] for job, _ in rows], [float(r['motion']) for _, r in rows]):.4f}")
    classes = sum(row["camera_motion"] == job["kind"] for job, row in rows) / len(rows)
    print(f"camera class right: {classes:.2%}")
    for job, row in rows:
        if job["speed"] and abs(float(row["motion"]) / job["speed"] - 1) > MOST_OFF:
            print(f"  off: {job['kind']} at {job['speed']}, {job['height']} rows, {job['fps']} fps, "
                  f"{os.path.basename(job['still'])}: {float(row['motion']):.4f} {row['camera_motion']}")


def subjects(rows):
    print("\n| square | pan | its own way | height | camera | subject | wanted |\n|---|---|---|---|---|---|---|")
    for job, row in rows:
        thing, pan = job["object"], job["speed"]
        # Seen from the camera, the square moves against the background as well.
        wanted = thing["share"] * ((thing["dx"] + pan) ** 2 + thing["dy"] ** 2) ** 0.5
        print(f"| {thing['share']:.0%} | {pan} | {thing['dx']}, {thing['dy']} | {job['height']} | "
              f"{float(row['motion_camera']):.4f} | {float(row['motion_subject']):.4f} | {wanted:.4f} |")


def render(made):
    """Renders what is not there yet, two at a time: a renderer keeps to one thread."""
    missing = [job for job in made if not os.path.exists(job["out"])]
    halves = [subprocess.Popen([sys.executable, RENDER], stdin=subprocess.PIPE, text=True)
              for _ in range(2)]
    for number, half in enumerate(halves):
        half.stdin.write(json.dumps(missing[number::2]))
        half.stdin.close()
    if any(half.wait() for half in halves):
        sys.exit("the videos could not be rendered")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("curate")
    parser.add_argument("video")
    parser.add_argument("methods", nargs="*", default=["auto"])
    parser.add_argument("--keep")
    wanted = parser.parse_intermixed_args()
    curate, video = os.path.abspath(wanted.curate), os.path.abspath(wanted.video)
    with tempfile.TemporaryDirectory() as work, contextlib.ExitStack() as stack:
        videos = wanted.keep or stack.enter_context(tempfile.TemporaryDirectory())
        videos = os.path.abspath(videos)
        os.makedirs(videos, exist_ok=True)
        made = jobs(video, videos)
        render(made)
        for method in wanted.methods:
            found = measured(curate, videos, work, method)
            rows = [(job, found[os.path.basename(job["out"])]) for job in made]
            print(f"\nmethod {method}, {len(rows)} clips")
            report([(job, row) for job, row in rows if "object" not in job])
            subjects([(job, row) for job, row in rows if "object" in job])


if __name__ == "__main__":
    main()
