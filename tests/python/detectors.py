"""PySceneDetect's own detectors on frames from a pipe.

Standard input: a line "width height", then frames of packed BGR. Standard output: one JSON object
with the cuts of each detector and the content score of every frame.
"""

import json
import sys

import numpy
from scenedetect import FrameTimecode
from scenedetect.detectors import (
    AdaptiveDetector,
    ContentDetector,
    HashDetector,
    HistogramDetector,
    ThresholdDetector,
)

source = sys.stdin.buffer
width, height = map(int, source.readline().split())
detectors = {
    "content": ContentDetector(),
    "adaptive": AdaptiveDetector(),
    "content_10": ContentDetector(threshold=10.0),
    "adaptive_all": AdaptiveDetector(adaptive_threshold=1.5, min_scene_len=3, window_width=3),
    "content_20_skip": ContentDetector(threshold=20.0),
    "content_30_skip": ContentDetector(threshold=30.0),
    "threshold": ThresholdDetector(),
    "threshold_bright": ThresholdDetector(threshold=100, fade_bias=-0.4, min_scene_len=2,
                                          min_out_length=3, add_final_scene=True),
    "threshold_white": ThresholdDetector(threshold=130, fade_bias=1.0,
                                         method=ThresholdDetector.Method.CEILING),
    "hash": HashDetector(),
    "hash_fine": HashDetector(threshold=0.2, size=16, lowpass=3, min_scene_len=4),
    "histogram": HistogramDetector(),
    "histogram_fine": HistogramDetector(threshold=0.05, bins=256, min_scene_len=4),
}
# Frames left out between two that a detector sees (PySceneDetect's `frame_skip`).
skips = {"content_20_skip": 1, "content_30_skip": 2}
cuts = {name: [] for name in detectors}
scores = []
index = 0
while frame := source.read(width * height * 3):
    image = numpy.frombuffer(frame, numpy.uint8).reshape(height, width, 3)
    # Whole frames are what the detectors count in; the rate does not enter.
    now = FrameTimecode(index, fps=25.0)
    for name, detector in detectors.items():
        if index % (skips.get(name, 0) + 1):
            continue
        cuts[name] += [cut.frame_num for cut in detector.process_frame(now, image)]
    scores.append(float(detectors["content"]._frame_score))
    index += 1
if index:
    last = FrameTimecode(index - 1, fps=25.0)
    for name, detector in detectors.items():
        cuts[name] += [cut.frame_num for cut in detector.post_process(last)]
json.dump({"cuts": cuts, "scores": scores}, sys.stdout)
