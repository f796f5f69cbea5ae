#!/usr/bin/env python3
"""Cuts of `curate run` against PySceneDetect's command line and against the true cuts.

    make bench-scenes            (installs what it needs and calls this)
    benches/scenes_quality.py CURATE TRUTH.json FOLDER

TRUTH.json gives for each video the first frames of new shots (`hard_cuts`, 0-based, in decode
order), the stretches of gradual changes and those to `ignore`. A found cut within one frame of a
hard cut is right; one inside such a stretch is not counted either way. For every video: the cuts that only one of
the two programs found, then precision, recall and F1 of both. Last, whether the four encodings of one film
(the same cuts as H.264, H.265, 10-bit AV1, and with every third frame left out) are cut at the same
times.
"""

import csv
import io
import json
import os
import subprocess
import sys
import tempfile

from curate import first_frames, rows, run, scenes_recipe


# By our names, PySceneDetect's commands.
DETECTORS = {"content": "content", "adaptive": "adaptive", "hash": "hash", "histogram": "hist",
             "threshold": "threshold"}
# What PySceneDetect has nothing to set beside.
NETWORK = "transnetv2"
ENCODINGS = ("compose_hard17_640x360_25.mp4", "compose_hard17_hevc.mp4",
             "compose_hard17_av1_10bit.mkv", "compose_hard17_vfr_drop3.mp4")


def by_curate(curate, video, detector, folder):
    """First frames of all scenes but the first."""
    settings = f'detectors = [{{ kind = "{detector}" }}]'
    recipe, out = scenes_recipe(folder, detector, video, settings)
    run(curate, recipe)
    return first_frames(curate, out)


def cut_times(curate, video):
    """Seconds at which scenes but the first begin."""
    with tempfile.TemporaryDirectory() as folder:
        by_curate(curate, video, "content", folder)
        out = os.path.join(folder, "content")
        found = rows(curate, out, "select start_s from clips order by start_pts")
        return [row["start_s"] for row in found[1:]]


def by_scenedetect(video, detector, folder):
    """As `by_curate`; None when it cannot read the file (it then ends well all the same)."""
    subprocess.run([sys.executable, "-m", "scenedetect", "-q", "-i", video, "-o", folder,
                    f"detect-{DETECTORS[detector]}", "list-scenes", "-q", "-s", "-f", "scenes.csv"],
                   capture_output=True, check=True)
    if not os.path.exists(os.path.join(folder, "scenes.csv")):
        return None
    with open(os.path.join(folder, "scenes.csv"), encoding="utf-8") as file:
        rows = list(csv.DictReader(io.StringIO(file.read())))
    return [int(row["Start Frame"]) - 1 for row in rows[1:]]


def score(found, truth):
    """True positives, false positives, misses."""
    left = set(truth["hard_cuts"])
    unjudged = [(g["start"], g["end"]) for g in truth.get("gradual", [])] + truth.get("ignore", [])
    right = wrong = 0
    for cut in found:
        match = next((hard for hard in sorted(left) if abs(hard - cut) <= 1), None)
        if match is not None:
            left.discard(match)
            right += 1
        elif not any(start - 1 <= cut <= end + 1 for start, end in unjudged):
            wrong += 1
    return right, wrong, len(left)


def network(curate, truth, media):
    """TransNet V2 against the true cuts, over the same videos."""
    print(f"\n{NETWORK}: against the true cuts (right, wrong, missed)")
    sums = [0, 0, 0]
    for name in sorted(truth):
        video = os.path.abspath(os.path.join(media, name))
        if os.path.exists(video):
            with tempfile.TemporaryDirectory() as folder:
                counts = score(by_curate(curate, video, NETWORK, folder), truth[name])
            print(f"  {name}: {counts}", flush=True)
            sums = [a + b for a, b in zip(sums, counts)]
    right, wrong, missed = sums
    precision, recall = right / max(right + wrong, 1), right / max(right + missed, 1)
    print(f"  precision {precision:.3f}, recall {recall:.3f}, "
          f"F1 {2 * precision * recall / max(precision + recall, 1e-9):.3f}")


def main():
    curate, truth_path, media = sys.argv[1:]
    with open(truth_path, encoding="utf-8") as file:
        truth = json.load(file)["videos"]
    for detector in DETECTORS:
        print(f"\n{detector}: cuts of curate and of PySceneDetect's command line")
        sums = {"curate": [0, 0, 0], "scenedetect": [0, 0, 0]}
        for name in sorted(truth):
            video = os.path.abspath(os.path.join(media, name))
            if not os.path.exists(video):
                continue
            with tempfile.TemporaryDirectory() as folder:
                ours = by_curate(curate, video, detector, folder)
                theirs = by_scenedetect(video, detector, folder)
            if theirs is None:
                print(f"  {name}: {len(ours)} cuts, and PySceneDetect cannot read it; not counted "
                      f"below; against the truth {score(ours, truth[name])} (right, wrong, missed)")
                continue
            only_ours = sorted(set(ours) - set(theirs))
            only_theirs = sorted(set(theirs) - set(ours))
            print(f"  {name}: {len(ours)} and {len(theirs)} cuts"
                  + (f", only ours {only_ours}" if only_ours else "")
                  + (f", only theirs {only_theirs}" if only_theirs else ""))
            for who, cuts in (("curate", ours), ("scenedetect", theirs)):
                sums[who] = [a + b for a, b in zip(sums[who], score(cuts, truth[name]))]
        for who, (right, wrong, missed) in sums.items():
            precision = right / max(right + wrong, 1)
            recall = right / max(right + missed, 1)
            f1 = 2 * precision * recall / max(precision + recall, 1e-9)
            print(f"  {who:12} precision {precision:.3f} ({wrong} wrong), "
                  f"recall {recall:.3f} ({missed} missed of {right + missed}), F1 {f1:.3f}")
    network(curate, truth, media)
    print("\ncontent: the four encodings of compose_hard17")
    found = {name: cut_times(curate, os.path.abspath(os.path.join(media, name)))
             for name in ENCODINGS}
    first = found[ENCODINGS[0]]
    for name, times in found.items():
        # Of frames that were left out, the next one is the first of a scene.
        apart = max((abs(a - b) for a, b in zip(first, times)), default=0.0)
        print(f"  {name}: {len(times)} cuts, at most {apart:.3f} s from those of the first")


if __name__ == "__main__":
    main()
