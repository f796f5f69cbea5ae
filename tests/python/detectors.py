"""PySceneDetect's own detectors on frames from a pipe.

Standard input: a line "width height", then frames of packed BGR. Standard output: one JSON object
with the cuts of each detector and the content score of every frame.
"""

import json
import sys

import numpy
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector

source = sys.stdin.buffer
width, height = map(int, source.readline().split())
detectors = {
    "content": ContentDetector(),
    "adaptive": AdaptiveDetector(),
    "content_10": ContentDetector(threshold=10.0),
    "adaptive_all": AdaptiveDetector(adaptive_threshold=1.5, min_scene_len=3, window_width=3),
}
cuts = {name: [] for name in detectors}
scores = []
index = 0
while frame := source.read(width * height * 3):
    image = numpy.frombuffer(frame, numpy.uint8).reshape(height, width, 3)
    # Whole frames are what the detectors count in; the rate does not enter.
    now = FrameTimecode(index, fps=25.0)
    for name, detector in detectors.items():
        cuts[name] += [cut.frame_num for cut in detector.process_frame(now, image)]
    scores.append(float(detectors["content"]._frame_score))
    index += 1
json.dump({"cuts": cuts, "scores": scores}, sys.stdout)
