"""The released EasyAnimate motion score of whole videos, computed with OpenCV's Python module.

    motion_score.py VIDEO...

Prints a JSON object from each path to its score, or null where there are not two frames. The rule
(see stages/src/motion/farneback.rs): two frames a second, Farneback flow between each and the next,
mean length in pixels, mean over the flows.
"""

import json
import sys

import cv2
import numpy as np

PER_SECOND = 2.0


def score(path):
    reader = cv2.VideoCapture(path)
    rate = reader.get(cv2.CAP_PROP_FPS)
    last = int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) - 1
    step = min(int(rate / min(PER_SECOND, rate)), last)
    if step < 1:
        return None
    before, lengths, number = None, [], 0
    while True:
        there, frame = reader.read()
        if not there:
            break
        if number % step == 0:
            grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
            if before is not None:
                flow = cv2.calcOpticalFlowFarneback(before, grey, None, 0.5, 3, 15, 3, 5, 1.2, 0)
                length, _ = cv2.cartToPolar(flow[..., 0], flow[..., 1])
                lengths.append(np.mean(length))
            before = grey
        number += 1
    return float(np.mean(lengths)) if lengths else None


def main():
    cv2.setNumThreads(1)
    print(json.dumps({path: score(path) for path in sys.argv[1:]}))


if __name__ == "__main__":
    main()
