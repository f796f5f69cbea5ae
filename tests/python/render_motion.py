"""Renders videos of stills under camera motion whose speed is known exactly.

    render_motion.py < JOBS.json

JOBS.json is a list of {"out", "still", "width", "height", "fps", "seconds", "kind", "speed"} and,
for a moving subject, "object": {"share", "dx", "dy"}.

`speed` is the mean speed of a pixel of the picture in frame diagonals per second. `kind` is the
camera's: pan_left, pan_right, tilt_up, tilt_down, zoom_in, zoom_out, roll, static. A zoom grows by the same factor in
equal times. Each frame is warped from the still itself, with sub-pixel positions, from four samples
a pixel, and beyond the still's edges it goes on mirrored. An object is a square with another part
of the still on it, covering `share` of the frame, that moves by (dx, dy) diagonals per second.

`still` is a video, of which the first frame is taken, or "noise:SEED" for a made texture.
The videos are H.264, near lossless.
"""

import json
import os
import subprocess
import sys

import cv2
import numpy as np

FINE = 2  # samples per pixel, in each direction


def still(source, height):
    """The still, as high as the frames."""
    if source.startswith("noise:"):
        random = np.random.default_rng(int(source[6:]))
        picture = np.zeros((720, 1280, 3), np.float32)
        for octave in range(7):
            size = (5 << octave, 9 << octave)
            layer = random.standard_normal((*size, 3)).astype(np.float32)
            layer = cv2.resize(layer, (1280, 720), interpolation=cv2.INTER_CUBIC)
            picture += layer * 0.75 ** octave
        picture = np.clip(128 + 40 * picture, 0, 255).astype(np.uint8)
    else:
        reader = cv2.VideoCapture(source)
        there, picture = reader.read()
        if not there:
            sys.exit(f"no frame in {source}")
    width = round(picture.shape[1] * height / picture.shape[0])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def warp(picture, matrix, size):
    """The picture under `matrix` (frame to still, in pixels from the middle of both)."""
    width, height = size
    whole = np.array([[1 / FINE, 0, (1 / FINE - 1) / 2 - (width - 1) / 2],
                      [0, 1 / FINE, (1 / FINE - 1) / 2 - (height - 1) / 2], [0, 0, 1]])
    back = np.array([[1, 0, (picture.shape[1] - 1) / 2], [0, 1, (picture.shape[0] - 1) / 2],
                     [0, 0, 1]])
    to_still = (back @ matrix @ whole)[:2]
    fine = cv2.warpAffine(picture, to_still, (width * FINE, height * FINE),
                          flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                          borderMode=cv2.BORDER_REFLECT)
    return cv2.resize(fine, size, interpolation=cv2.INTER_AREA)


def camera(kind, speed, seconds, size):
    """Frame to still after `seconds` (0 in the middle of the video)."""
    width, height = size
    diagonal = np.hypot(width, height)
    x, y = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    rate = speed * diagonal / np.hypot(x, y).mean()
    way = speed * diagonal * seconds
    grown, turn = 1.0, 0.0
    dx = {"pan_right": way, "pan_left": -way}.get(kind, 0.0)
    dy = {"tilt_down": way, "tilt_up": -way}.get(kind, 0.0)
    if kind == "zoom_in":
        grown = np.exp(-rate * seconds)
    elif kind == "zoom_out":
        grown = np.exp(rate * seconds)
    elif kind == "roll":
        turn = rate * seconds
    cos, sin = np.cos(turn) * grown, np.sin(turn) * grown
    return np.array([[cos, sin, dx], [-sin, cos, dy], [0, 0, 1]])


def frames(job):
    size = (job["width"], job["height"])
    picture = still(job["still"], job["height"])
    count = round(job["seconds"] * job["fps"])
    diagonal = np.hypot(*size)
    for number in range(count):
        seconds = (number - (count - 1) / 2) / job["fps"]
        frame = warp(picture, camera(job["kind"], job["speed"], seconds, size), size)
        if "object" in job:
            thing = job["object"]
            side = np.sqrt(thing["share"] * size[0] * size[1])
            middle = [thing["dx"] * diagonal * seconds, thing["dy"] * diagonal * seconds]
            # Another part of the still rides on the square.
            ride = np.array([[1, 0, picture.shape[1] / 3 - middle[0]],
                             [0, 1, picture.shape[0] / 4 - middle[1]], [0, 0, 1]])
            over = warp(picture[:, ::-1].copy(), ride, size)
            x, y = np.meshgrid(np.arange(size[0]) - (size[0] - 1) / 2 - middle[0],
                               np.arange(size[1]) - (size[1] - 1) / 2 - middle[1])
            cover = (np.clip(side / 2 + 0.5 - abs(x), 0, 1) *
                     np.clip(side / 2 + 0.5 - abs(y), 0, 1))[..., None]
            frame = np.round(frame * (1 - cover) + over * cover).astype(np.uint8)
        yield frame


def main():
    cv2.setNumThreads(1)
    for job in json.load(sys.stdin):
        encoder = subprocess.Popen(
            ["ffmpeg", "-nostdin", "-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "bgr24",
             "-s", f"{job['width']}x{job['height']}", "-r", str(job["fps"]), "-i", "pipe:0",
             "-c:v", "libx264", "-preset", "veryfast", "-crf", "10", "-pix_fmt", "yuv420p",
             "-threads", "1", job["out"] + ".part.mp4"], stdin=subprocess.PIPE)
        for frame in frames(job):
            encoder.stdin.write(frame.tobytes())
        encoder.stdin.close()
        if encoder.wait() != 0:
            sys.exit(f"ffmpeg did not write {job['out']}")
        os.replace(job["out"] + ".part.mp4", job["out"])


if __name__ == "__main__":
    main()
