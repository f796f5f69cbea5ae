"""Textures and shapes that need no photograph: 1/f noise, tilings, gradients, checks, strokes, and cut-outs.

They fill what a few dozen photographs lack: flat areas (aperture problem), repeated patterns (ambiguity), hard
straight edges and thin lines. Images are uint8 RGB; masks are uint8, 255 inside.
"""

import cv2
import numpy as np

SIZE = 384


def noise(rng):
    """Power spectrum 1/f^s, as natural images have (s about 1), in three loosely tied colour channels."""
    s = rng.uniform(0.8, 2.0)
    n = SIZE
    f = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None])
    amplitude = 1 / np.maximum(f, 1 / n) ** s
    planes = [np.fft.irfft2(amplitude * np.exp(2j * np.pi * rng.random(f.shape)), (n, n)) for _ in range(3)]
    planes = np.stack([p / p.std() for p in planes], -1)
    planes = planes[..., :1] * rng.uniform(0, 1) + planes
    planes = planes / planes.std() * rng.uniform(0.08, 0.28) + rng.uniform(0.25, 0.75, 3)
    return to_u8(planes)


def gradient(rng):
    """A colour ramp; nearly nothing to hold on to."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE - 0.5
    a = rng.uniform(0, 2 * np.pi)
    t = np.cos(a) * x + np.sin(a) * y if rng.random() < 0.6 else np.hypot(x - rng.normal(0, 0.2), y)
    t = np.clip(t + 0.5, 0, 1)[..., None]
    image = colour(rng) * t + colour(rng) * (1 - t)
    return to_u8(image + rng.normal(0, rng.uniform(0, 0.01), image.shape))


def checks(rng):
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    a, cell = rng.uniform(0, np.pi), rng.uniform(8, 48)
    u, v = np.cos(a) * x + np.sin(a) * y, np.cos(a) * y - np.sin(a) * x
    on = (np.floor(u / cell) + np.floor(v / (cell * rng.uniform(0.5, 2)))) % 2
    if rng.random() < 0.4:  # stripes
        on = (u / cell % 1 < rng.uniform(0.2, 0.8)).astype(float)
    image = on[..., None] * colour(rng) + (1 - on[..., None]) * colour(rng)
    return to_u8(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2)) + uneven(rng))


def tiles(rng):
    """Bricks or plates with joints, each of slightly different colour."""
    w, h, joint = int(rng.integers(16, 80)), int(rng.integers(12, 60)), int(rng.integers(1, 5))
    base, spread = colour(rng), rng.uniform(0.02, 0.15)
    image = np.empty((SIZE, SIZE, 3))
    image[:] = colour(rng)
    for row, top in enumerate(range(0, SIZE, h)):
        shift = (row % 2) * w // 2
        for left in range(-shift, SIZE, w):
            image[top + joint:top + h, max(left + joint, 0):max(left + w, 0)] = base + rng.normal(0, spread, 3)
    return to_u8(cv2.GaussianBlur(image, (0, 0), 0.7) + uneven(rng))


def writing(rng):
    """Lines of characters and strokes on a plain or uneven ground."""
    image = np.empty((SIZE, SIZE, 3))
    image[:] = colour(rng)
    image = np.ascontiguousarray((np.clip(image + uneven(rng), 0, 1) * 255).astype(np.uint8))
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:-"
    size = rng.uniform(0.4, 2.2)
    for top in range(int(size * 26), SIZE, int(size * 34) + 4):
        line = "".join(rng.choice(list(letters + "      ")) for _ in range(60))
        ink = [int(c) for c in colour(rng) * 255]
        cv2.putText(image, line, (int(rng.integers(0, 60)), top), int(rng.choice([0, 2, 3, 4, 6])), size, ink,
                    int(rng.integers(1, 4)), cv2.LINE_AA)
    return image


def scribble(rng):
    """Many lines, discs and boxes: hard edges at all angles."""
    image = np.empty((SIZE, SIZE, 3), np.uint8)
    image[:] = (colour(rng) * 255).astype(np.uint8)
    for _ in range(int(rng.integers(20, 160))):
        ink = [int(c) for c in colour(rng) * 255]
        p, q = (tuple(int(v) for v in rng.integers(-20, SIZE + 20, 2)) for _ in range(2))
        kind, thick = rng.integers(3), int(rng.integers(1, 6))
        if kind == 0:
            cv2.line(image, p, q, ink, thick, cv2.LINE_AA)
        elif kind == 1:
            cv2.circle(image, p, int(rng.integers(3, 40)), ink, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(image, p, tuple(int(a + b) for a, b in zip(p, rng.integers(5, 70, 2))), ink, -1)
    return image


def texture(rng):
    r = rng.random()
    if r < 0.4:
        return noise(rng)
    return [gradient, checks, tiles, writing, scribble][int((r - 0.4) / 0.6 * 5)](rng)


def colour(rng):
    return np.clip(rng.uniform(0, 1) + rng.normal(0, 0.2, 3), 0, 1)


def uneven(rng):
    """Light that falls off over the image, so that even flat patterns are not perfectly flat."""
    coarse = rng.normal(0, rng.uniform(0, 0.12), (4, 4, 1)).astype(np.float32)
    return cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)[..., None]


def to_u8(image):
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def mask(rng, n=192):
    """A shape in an n x n square: blob, polygon, ellipse, thin structure, ring, or writing."""
    m = np.zeros((n, n), np.uint8)
    kind = rng.random()
    if kind < 0.3:  # blob: a circle with a few random harmonics
        t = np.linspace(0, 2 * np.pi, 90, endpoint=False)
        r = np.ones_like(t)
        for k in range(1, 7):
            r += rng.normal(0, 0.35 / k) * np.cos(k * t + rng.uniform(0, 2 * np.pi))
        r = np.clip(r, 0.15, 2) * n * 0.24
        cv2.fillPoly(m, [np.stack([n / 2 + r * np.cos(t), n / 2 + r * np.sin(t)], 1).astype(np.int32)], 255)
    elif kind < 0.5:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 10))))
        r = rng.uniform(0.12, 0.48, len(angles)) * n
        points = np.stack([n / 2 + r * np.cos(angles), n / 2 + r * np.sin(angles)], 1)
        cv2.fillPoly(m, [points.astype(np.int32)], 255)
    elif kind < 0.66:
        axes = tuple(int(v) for v in rng.uniform(0.1, 0.48, 2) * n)
        cv2.ellipse(m, (n // 2, n // 2), axes, rng.uniform(0, 180), 0, 360, 255, -1)
    elif kind < 0.86:  # branches, poles, wires
        for _ in range(int(rng.integers(1, 8))):
            points = np.cumsum(rng.normal(0, n * 0.12, (5, 2)), 0) + n / 2
            if rng.random() < 0.5:
                points = points[[0, -1]]
            cv2.polylines(m, [points.astype(np.int32)], False, 255, int(rng.integers(1, 8)))
    elif kind < 0.94:  # ring: something is seen through it
        r = int(rng.uniform(0.2, 0.45) * n)
        cv2.circle(m, (n // 2, n // 2), r, 255, int(rng.integers(3, max(4, r // 2))))
    else:
        cv2.putText(m, "".join(rng.choice(list("ABCEKRSXZ248&"), 3)), (4, n * 2 // 3), 2, n / 70, 255, n // 24)
    return m
