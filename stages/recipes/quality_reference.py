"""Quality of frames as the published implementations have it.

    quality_reference.py MODEL RANGE FRAME...

MODEL and RANGE are OpenCV's brisque_model_live.yml and brisque_range_live.yml. A FRAME is a picture
that OpenCV reads, or PATH:WIDTHxHEIGHT for raw bytes: blue, green and red, or grey if there are only
WIDTH * HEIGHT of them. Prints a JSON object from each FRAME to its numbers:

* `brisque`: `cv2.quality.QualityBRISQUE_compute` without Intel's IPP; `brisque_ipp`: with it, which
  OpenCV's wheels use by default and whose roundings differ in the third decimal, and by up to three
  points where much of a picture is flat.
* `niqe`: `skvideo.measure.niqe` of the grey picture; null under 194 pixels.
* `laplacian_variance`, `mean`, `contrast`, `colourfulness`: in a line of NumPy each; `colourfulness`
  is null for grey frames.

Needs opencv-contrib-python-headless, numpy, scipy, pillow, and scikit-video 1.1.11 (installed without
its dependencies). That release is from 2018: what it needs and today's NumPy and SciPy lack is put
back below. Against Python 3.7 with NumPy 1.16.6, SciPy 1.2.3 and Pillow 6.2.2, where it runs as it
is, its scores are the same to 1e-4.
"""

import json
import sys
import types

import cv2
import numpy as np
import scipy
from PIL import Image


def revive_skvideo():
    """Makes `skvideo.measure.niqe` work, and compute as with the NumPy of its time."""
    np.int, np.float = int, float
    scipy.misc = types.ModuleType("scipy.misc")
    sys.modules["scipy.misc"] = scipy.misc

    def imresize(picture, size, interp, mode):
        assert (size, interp, mode) == (0.5, "bicubic", "F")
        image = Image.fromarray(picture.astype(np.float32))
        return np.array(image.resize((image.width // 2, image.height // 2), Image.BICUBIC))

    scipy.misc.imresize = imresize
    import skvideo.measure
    import skvideo.utils.mscn

    def window(reach, sigma):
        # Until NumPy 2 a 32-bit scalar times a Python float was a 64-bit one, and so the weights.
        squared = float(np.float32(sigma) * np.float32(sigma))
        weights = np.exp(-0.5 * np.arange(-reach, reach + 1.0) ** 2 / squared)
        return list(weights / weights.sum())

    skvideo.utils.mscn.gen_gauss_window = window
    return skvideo.measure.niqe


def read(frame):
    """The frame in colour, or None if it has none, and in grey."""
    path, _, size = frame.rpartition(":")
    if not path:
        color = cv2.imread(frame, cv2.IMREAD_COLOR)
        return color, cv2.cvtColor(color, cv2.COLOR_BGR2GRAY)
    width, height = map(int, size.split("x"))
    samples = np.fromfile(path, np.uint8)
    if samples.size == width * height:
        return None, samples.reshape(height, width)
    color = samples.reshape(height, width, 3)
    return color, cv2.cvtColor(color, cv2.COLOR_BGR2GRAY)


def colourfulness(picture):
    blue, green, red = np.moveaxis(picture.astype(float), 2, 0)
    first, second = red - green, (red + green) / 2 - blue
    deviation = np.hypot(first.std(), second.std())
    return float(deviation + 0.3 * np.hypot(first.mean(), second.mean()))


def main():
    model, ranges, *frames = sys.argv[1:]
    niqe = revive_skvideo()
    cv2.setNumThreads(1)

    def brisque(picture, ipp):
        cv2.ipp.setUseIPP(ipp)
        return cv2.quality.QualityBRISQUE_compute(picture, model, ranges)[0]

    numbers = {}
    for frame in frames:
        color, grey = read(frame)
        numbers[frame] = {
            "brisque": brisque(grey, ipp=False),
            "brisque_ipp": brisque(grey, ipp=True),
            "niqe": float(niqe(grey)[0]) if min(grey.shape) >= 194 else None,
            "laplacian_variance": float(cv2.Laplacian(grey, cv2.CV_64F).var()),
            "mean": float(grey.mean() / 255),
            "contrast": float(grey.std() / 255),
            "colourfulness": None if color is None else colourfulness(color),
        }
    print(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
