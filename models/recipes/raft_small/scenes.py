"""Pairs of images with exact optical flow: textured layers that move, overlap, and are filmed badly.

A background and up to eight cut-outs get random motions (`motion.py`). Both frames are drawn from the same
textures by inverse mapping, so the flow is exact everywhere, also where a point is hidden or leaves the frame
in frame 2. Then come the things a network must not mistake for motion: soft shadows, changed exposure, blur,
noise, JPEG blocks and covered patches. `FlyingChairs` (Dosovitskiy et al. 2015, section 4) is the model;
homographies, non-rigid motion, thin shapes, photometric change and many still or sub-pixel pairs are added
because the weights measure camera motion in video, where "nothing moves" must come out as nothing.

Decided against: warping frame 1 by a flow field to get frame 2 (holes and ghost edges at occlusions), and
rendered 3-D scenes (no renderer with free assets is small enough to ask for).
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import motion
import procedural

cv2.setNumThreads(1)
MAX_FLOW = 160  # pairs with longer vectors are drawn again


class Textures:
    """The photographs of a texture folder as uint8 RGB, each with halved copies, and procedural ones."""

    def __init__(self, folder, validation, seed=7, procedural_count=96):
        with open(Path(folder) / "index.tsv") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        groups = sorted({row["group"] for row in rows})
        held_out = set(groups[4::9])
        self.photos = []
        for row in rows:
            if (row["group"] in held_out) == validation:
                self.photos.append(halvings(cv2.imread(str(Path(folder) / row["file"]))[..., ::-1]))
        rng = np.random.default_rng([seed, int(validation)])
        self.made = [halvings(procedural.texture(rng)) for _ in range(procedural_count)]

    def pick(self, rng, photo_share):
        pool = self.photos if rng.random() < photo_share else self.made
        return pool[rng.integers(len(pool))]


def halvings(image):
    levels = [np.ascontiguousarray(image)]
    while min(levels[-1].shape[:2]) > 100 and len(levels) < 4:
        h, w = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA))
    return levels


def placement(rng, levels, spread):
    """(image, homography from centred frame pixels to that image's pixels): where a texture lies in frame 1."""
    zoom = float(np.exp(rng.uniform(np.log(0.7), np.log(3.2))))  # texture pixels per frame pixel
    level = min(int(np.floor(np.log2(max(zoom, 1)) + 0.4)), len(levels) - 1)
    image = levels[level]
    zoom /= 2**level
    h, w = image.shape[:2]
    a, flip = rng.normal(0, spread), rng.choice([-1, 1])
    x, y = w * rng.uniform(0.25, 0.75), h * rng.uniform(0.25, 0.75)
    c, s = zoom * np.cos(a), zoom * np.sin(a)
    return image, np.array([[c * flip, -s, x], [s * flip, c, y], [0, 0, 1]])


@dataclass
class Layer:
    """How a layer moves: `forward` and `inverse` homographies, and an optional non-rigid part before them."""

    forward: np.ndarray
    inverse: np.ndarray
    bend: motion.Displacement | None


class Canvas:
    """One pair being drawn; coordinates are centred."""

    def __init__(self, height, width):
        self.height, self.width = height, width
        y, x = np.mgrid[0:height, 0:width]
        self.x, self.y = x - (width - 1) / 2, y - (height - 1) / 2
        self.centre = np.array([[1, 0, -(width - 1) / 2], [0, 1, -(height - 1) / 2], [0, 0, 1.0]])

    def flow(self, layer):
        u, v = self.x, self.y
        if layer.bend:
            dx, dy = layer.bend.at(u, v)
            u, v = u + dx, v + dy
        u, v = motion.apply_homography(layer.forward, u, v)
        return np.stack([u - self.x, v - self.y]).astype(np.float32)

    def source(self, layer):
        """Where each pixel of frame 2 was in frame 1."""
        u, v = motion.apply_homography(layer.inverse, self.x, self.y)
        return layer.bend.undo(u, v) if layer.bend else (u, v)

    def draw(self, image, place, layer, border):
        """The image in both frames."""
        size, flags = (self.width, self.height), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        first = cv2.warpPerspective(image, place @ self.centre, size, flags=flags, borderMode=border)
        if layer.bend is None:
            second = cv2.warpPerspective(image, place @ layer.inverse @ self.centre, size, flags=flags,
                                         borderMode=border)
        else:
            u, v = motion.apply_homography(place, *self.source(layer))
            second = cv2.remap(image, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR, borderMode=border)
        return first, second


def draw_pair(rng, height, width, largest, textures):
    """(two f32 images in 0..1, flow, camera's mean motion in px), or None where a motion went wild."""
    canvas = Canvas(height, width)
    still = rng.random() < 0.05  # nothing at all moves, only noise and light differ
    largest = min(largest, 0.3 * width)
    photo_share = rng.choice([0.9, 0.7])

    def bent(size):
        return motion.Displacement(rng, height, width, size) if size else None

    camera_px = 0.0 if still else motion.magnitude(rng, largest)
    camera = motion.motion(rng, camera_px, width / 2, height / 2)
    wobble = rng.uniform(0.2, 6) * min(1, largest / 24) if not still and rng.random() < 0.25 else 0
    if not motion.is_tame(camera, width, height):
        return None
    layer = Layer(*camera, bent(wobble))
    image, place = placement(rng, textures.pick(rng, photo_share), 0.25)
    first, second = canvas.draw(image, place, layer, cv2.BORDER_REFLECT_101)
    first, second, flow = first.astype(np.float32), second.astype(np.float32), canvas.flow(layer)

    for _ in range(int(rng.choice([0, 1, 2, 3, 4, 5, 6, 8], p=[0.12, 0.14, 0.18, 0.18, 0.14, 0.1, 0.08, 0.06]))):
        cx, cy = rng.uniform(-0.5, 0.5) * width, rng.uniform(-0.5, 0.5) * height
        radius = float(np.exp(rng.uniform(np.log(0.12), np.log(0.9)))) * height
        # Objects ride on the camera's motion, some with parallax, and most move by themselves as well.
        base = camera
        if rng.random() < 0.25:
            base = (np.eye(3), np.eye(3))
        own_px = 0.0 if still or rng.random() < 0.15 else motion.magnitude(rng, largest)
        own = motion.about(cx, cy, motion.motion(rng, own_px, radius, radius))
        wobble = rng.uniform(0.2, 4) if not still and rng.random() < 0.2 else 0
        layer = Layer(base[0] @ own[0], own[1] @ base[1], bent(wobble))
        if not motion.is_tame((layer.forward, layer.inverse), width, height):
            return None
        image, place = placement(rng, textures.pick(rng, photo_share), 0.6)
        shape = procedural.mask(rng)
        n = shape.shape[0]
        a, scale = rng.uniform(0, 2 * np.pi), n / (2 * radius)
        c, s = scale * np.cos(a), scale * np.sin(a)
        mask_place = np.array([[c, -s, n / 2], [s, c, n / 2], [0, 0, 1]]) @ np.array(
            [[1, 0, -cx], [0, 1, -cy], [0, 0, 1.0]])
        if scale > 1.5:  # small objects: halve the mask first, or thin parts flicker
            shape = cv2.blur(shape, (int(scale), int(scale)))
        texture_place = place @ np.array([[1, 0, -cx], [0, 1, -cy], [0, 0, 1.0]])
        top1, top2 = canvas.draw(image, texture_place, layer, cv2.BORDER_REFLECT_101)
        in1, in2 = canvas.draw(shape, mask_place, layer, cv2.BORDER_CONSTANT)
        first += (top1 - first) * (in1[..., None] / np.float32(255))
        second += (top2 - second) * (in2[..., None] / np.float32(255))
        flow = np.where(in1 > 127, canvas.flow(layer), flow)
    return first / 255, second / 255, flow, camera_px


def soft_shadow(rng, height, width):
    coarse = rng.normal(0, 1, (int(rng.integers(2, 5)), int(rng.integers(2, 6)))).astype(np.float32)
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return (1 - rng.uniform(0.05, 0.45) / (1 + np.exp(-4 * field)))[..., None].astype(np.float32)


def graded(image, gain, gamma, lift, tint):
    mean = image.mean()
    return np.clip((image - mean) * gain + mean, 1e-4, 1) ** gamma * tint + lift


def filmed(rng, first, second, camera_px):
    """Light, lens, sensor and codec. Most of it is common to both frames, a little differs."""
    height, width = first.shape[:2]
    if rng.random() < 0.2:
        shadow = soft_shadow(rng, height, width)
        first = first * shadow
        second = second * (shadow if rng.random() < 0.3 else soft_shadow(rng, height, width))
    gain, gamma, lift = np.exp(rng.normal(0, 0.2)), np.exp(rng.normal(0, 0.2)), rng.normal(0, 0.05)
    tint = np.exp(rng.normal(0, 0.08, 3)).astype(np.float32)
    first = graded(first, gain, gamma, lift, tint)
    drift = rng.choice([0.0, 0.03, 0.12], p=[0.45, 0.4, 0.15])
    second = graded(second, gain * np.exp(rng.normal(0, drift)), gamma * np.exp(rng.normal(0, drift)),
                    lift + rng.normal(0, drift / 2), tint * np.exp(rng.normal(0, drift / 3, 3)).astype(np.float32))
    if rng.random() < 0.06:  # haze or fade: little contrast
        fog, share = rng.uniform(0.2, 0.9), rng.uniform(0.3, 0.75)
        first, second = first * (1 - share) + fog * share, second * (1 - share) + fog * share
    r = rng.random()
    if r < 0.15:  # out of focus
        sigma = rng.uniform(0.5, 2)
        first, second = (cv2.GaussianBlur(i, (0, 0), sigma) for i in (first, second))
    elif r < 0.3 and camera_px > 1:  # exposure blur along one direction
        length = int(np.clip(camera_px * rng.uniform(0.1, 0.5), 2, 12)) | 1
        kernel = np.zeros((length, length), np.float32)
        a = rng.uniform(0, np.pi)
        half = length // 2
        reach = int(round(np.cos(a) * half)), int(round(np.sin(a) * half))
        cv2.line(kernel, (half - reach[0], half - reach[1]), (half + reach[0], half + reach[1]), 1.0)
        first, second = (cv2.filter2D(i, -1, kernel / kernel.sum()) for i in (first, second))
    if rng.random() < 0.7:
        sigma = abs(rng.normal(0, 0.015))
        first = first + rng.standard_normal(first.shape, dtype=np.float32) * sigma
        second = second + rng.standard_normal(second.shape, dtype=np.float32) * sigma
    if rng.random() < 0.2:  # something passes in front of frame 2 only
        for _ in range(int(rng.integers(1, 3))):
            y, x = int(rng.integers(0, height)), int(rng.integers(0, width))
            h, w = (rng.uniform(0.08, 0.3, 2) * height).astype(int)
            second[y:y + h, x:x + w] = second.mean((0, 1))
    images = [(np.clip(i, 0, 1) * 255 + 0.5).astype(np.uint8) for i in (first, second)]
    if rng.random() < 0.3:
        quality = int(rng.integers(30, 92))
        images = [cv2.imdecode(cv2.imencode(".jpg", i, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1) for i in images]
    return images


def pair(rng, height, width, largest, textures):
    """(frame 1, frame 2: uint8 [H, W, 3] RGB; flow: f32 [2, H, W] px). `largest` bounds the usual motion in px."""
    while True:
        drawn = draw_pair(rng, height, width, largest, textures)
        if drawn is None:
            continue
        first, second, flow, camera_px = drawn
        if np.abs(flow).max() <= MAX_FLOW:
            return *filmed(rng, first, second, camera_px), flow


def batch(rng, count, height, width, largest, textures):
    """Arrays for the network: two f32 [B, 3, H, W] in [-1, 1] and the flow f32 [B, 2, H, W]."""
    pairs = [pair(rng, height, width, largest, textures) for _ in range(count)]
    images = [np.stack([p[k] for p in pairs]).astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1 for k in (0, 1)]
    return np.ascontiguousarray(images[0]), np.ascontiguousarray(images[1]), np.stack([p[2] for p in pairs])
