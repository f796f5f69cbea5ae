"""How well TransNet V2 finds the hand-verified cuts of some videos: F1 of the published weights.

Frames are those that were decoded, each once. `GT.json` names the first frame of each new shot
(`hard_cuts`), transitions over several frames (`gradual`, [start, end)) and places where neither a cut nor
its absence counts (`ignore`). A detection matches a hard cut at most `--within` frames away, or a
transition that it is inside of or that near to. A transition that nobody finds counts as missed only with
`--gradual`: most of those here are fades and titles within a shot.

    python evaluate.py GT.json [--gradual] [--package]
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

import transnet
import windows
from weightless import GRAPHS
from reference import Reference, Session, frames_of, passed_through


def score(found: list[int], truth: dict, within: int, count_gradual: bool) -> tuple[int, int, int, list, list]:
    """How many are right, too many and missed; and the latter two themselves."""
    ranges = [(g["start"], g["end"]) for g in truth["gradual"]]
    near = lambda frame, spans: any(a - within <= frame <= b + within for a, b in spans)
    left, missed = list(found), []
    for cut in truth["hard_cuts"]:
        best = min(left, key=lambda frame: abs(frame - cut), default=None)
        if best is not None and abs(best - cut) <= within:
            left.remove(best)
        else:
            missed.append(cut)
    right = len(truth["hard_cuts"]) - len(missed)
    if count_gradual:
        for span in ranges:
            inside = [frame for frame in left if near(frame, [span])]
            right += bool(inside)
            missed += [] if inside else [span]
    extra = [frame for frame in left if not near(frame, ranges) and not near(frame, truth["ignore"])]
    return right, len(extra), len(missed), extra, missed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("truth", type=Path)
    parser.add_argument("--graphs", type=Path, default=GRAPHS)
    parser.add_argument("--within", type=int, default=2)
    parser.add_argument("--gradual", action="store_true")
    parser.add_argument("--package", action="store_true", help="the package, and frames as it reads them")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[windows.THRESHOLD])
    args = parser.parse_args()
    torch.set_num_threads(2)
    reference = Reference()
    session = Session(args.graphs / f"{transnet.NAME}.onnx", reference.weights(), 2)
    total = {threshold: np.zeros(3, int) for threshold in args.thresholds}
    for name, truth in json.loads(args.truth.read_text())["videos"].items():
        path = args.truth.parent / name
        video = frames_of(path) if args.package else passed_through(path)
        single, _ = reference.video(video) if args.package else windows.predict(session, video)
        for threshold in args.thresholds:
            found = windows.cuts(single, threshold)
            right, extra, missed, *which = score(found, truth, args.within, args.gradual)
            total[threshold] += (right, extra, missed)
            counts = f"{right} right, {extra} too many {which[0]}, {missed} missed {which[1]}"
            print(f"{threshold} {name}, {len(video)} frames of {truth['frames']}: {counts}", flush=True)
    for threshold, (right, extra, missed) in total.items():
        f1 = 2 * right / (2 * right + extra + missed)
        print(f"{threshold}: F1 {f1:.4f}, {right} right, {extra} too many, {missed} missed")


if __name__ == "__main__":
    main()
