"""From windows of 100 frames to whole videos, and from probabilities to cuts.

For: one plain statement of both, which `check.py` compares with the package and which the Rust code
(`models/src/transnet.rs`) does frame by frame.

A video is padded with 25 copies of its first frame and, at the end, with copies of its last frame: 25,
and as many more as bring its length to a multiple of 50. Windows of 100 begin at every 50th padded
frame. Of each window the predictions 25 to 74 count, which are those of 50 frames of the video; what
belongs to padding at the end is dropped. So window k, of ceil(n / 50), decides on frames 50 k to
50 k + 49 and has seen frames 50 k - 25 to 50 k + 74.
"""

from __future__ import annotations

import numpy as np

WINDOW, HOP, BEFORE = 100, 50, 25
THRESHOLD = 0.5


def indices(frames: int) -> list[np.ndarray]:
    """The frames of each window: padding is an index beyond either end, moved back to it."""
    return [
        np.clip(np.arange(WINDOW) + first - BEFORE, 0, frames - 1) for first in range(0, frames, HOP)
    ]


def predict(network, video: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both probabilities of every frame. `network` takes [1, 100, 27, 48, 3] and gives two of [1, 100]."""
    made = [network(video[index][None]) for index in indices(len(video))]
    counted = slice(BEFORE, BEFORE + HOP)
    single, many = (np.concatenate([out[0, counted] for out in outs])[: len(video)] for outs in zip(*made))
    return single, many


def cuts(single: np.ndarray, threshold: float = THRESHOLD) -> list[int]:
    """The frames on which new scenes begin.

    A transition is a run of frames above (not at) the threshold, and the next scene begins on the first
    frame behind it: at a hard cut one frame is above, the last of the old scene. A run from the first
    frame on has no scene before it and one up to the last frame has none behind it: no cuts.
    """
    is_above = np.concatenate([[False], np.asarray(single) > threshold])
    ends = np.flatnonzero(is_above[:-1] & ~is_above[1:])
    starts = np.flatnonzero(~is_above[:-1] & is_above[1:])
    # Each end has a start before it; both are frames of the video.
    return [int(end) for start, end in zip(starts, ends) if start > 0]
