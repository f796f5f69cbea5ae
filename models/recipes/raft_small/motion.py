"""Random motions with exact inverses for synthetic scenes.

A motion maps pixel coordinates of frame 1, taken from the image centre, to those of frame 2. It is a
homography H = exp(s G), so its inverse is exp(-s G), exactly; the generator G picks the kind (shift, zoom,
roll, affine, tilted plane) and s is solved for, so that the mean displacement over an area is what was asked.
A smooth non-rigid part may come before it: x2 = H(x1 + d(x1)).

Decided against: dense flow from two random depth maps (needs hole filling, and its edges are not exact), and
drawing matrix entries directly (their size then says nothing about pixels, and zooms are nearly always small).
"""

import cv2
import numpy as np


def exp_matrix(a):
    """Matrix exponential of a 3x3 by scaling, a Taylor series and squaring (entries here are small)."""
    a = a / 64.0
    out, term = np.eye(3), np.eye(3)
    for k in range(1, 8):
        term = term @ a / k
        out = out + term
    for _ in range(6):
        out = out @ out
    return out


def apply_homography(h, x, y):
    w = h[2, 0] * x + h[2, 1] * y + h[2, 2]
    w = np.where(w > 0.05, w, 0.05)
    return (h[0, 0] * x + h[0, 1] * y + h[0, 2]) / w, (h[1, 0] * x + h[1, 1] * y + h[1, 2]) / w


def generator(rng, radius):
    """A random direction in the algebra of homographies; `radius` (pixels) balances its parts."""
    g = np.zeros((3, 3))
    kind = rng.random()
    angle = rng.uniform(0, 2 * np.pi)
    shift = np.array([np.cos(angle), np.sin(angle)])
    if kind < 0.35:  # pan or tilt, with a trace of everything else
        g[:2, 2] = shift
        g[:2, :2] = rng.normal(0, 0.08 / radius, (2, 2))
    elif kind < 0.50:  # zoom
        g[0, 0] = g[1, 1] = rng.choice([-1, 1]) / radius
        g[:2, 2] = shift * rng.uniform(0, 0.5)
    elif kind < 0.62:  # roll
        g[0, 1] = rng.choice([-1, 1]) / radius
        g[1, 0] = -g[0, 1]
        g[:2, 2] = shift * rng.uniform(0, 0.5)
    elif kind < 0.82:  # any affine motion
        g[:2, 2] = shift * rng.uniform(0.2, 1)
        g[:2, :2] = rng.normal(0, 0.35 / radius, (2, 2))
    else:  # camera moving past a tilted plane: translation times plane normal is of rank one
        normal = np.array([*rng.normal(0, 0.6 / radius, 2), 1.0])
        move = np.array([*(shift * rng.uniform(0.3, 1)), rng.normal(0, 0.4 / radius)])
        g = np.outer(move, normal)
    return g


def motion(rng, mean_px, radius_x, radius_y):
    """(H, its inverse) whose mean displacement over a box of those half sides is `mean_px`, on a 5 x 5 grid with the
    border (the mean over all pixels is up to a quarter less for zooms and rolls)."""
    if mean_px == 0:
        return np.eye(3), np.eye(3)
    radius = max(radius_x, radius_y)
    g = generator(rng, radius)
    # Beyond 0.4 of the radius only the shift may grow: nothing in video zooms threefold between two frames.
    linear_share = min(1.0, 0.4 * radius / mean_px)
    if linear_share < 1:
        g[:2, 2] /= max(np.hypot(*g[:2, 2]), 1e-6)
        g[:2, :2] *= linear_share
        g[2] *= linear_share
    x, y = np.meshgrid(np.linspace(-radius_x, radius_x, 5), np.linspace(-radius_y, radius_y, 5))
    s = mean_px
    for _ in range(5):
        u, v = apply_homography(exp_matrix(s * g), x, y)
        now = np.hypot(u - x, v - y).mean()
        s *= np.clip(mean_px / max(now, 1e-6), 0.3, 3)
    return exp_matrix(s * g), exp_matrix(-s * g)


def is_tame(pair, width, height):
    """Whether both homographies keep away from their horizon over the whole image.

    Near it coordinates grow without bound, and OpenCV's reflecting borders walk them back one image width at a
    time: a single such layer can take minutes to draw.
    """
    x, y = np.array([-1, -1, 1, 1]) * width / 2, np.array([-1, 1, -1, 1]) * height / 2
    return all((h[2, 0] * x + h[2, 1] * y + h[2, 2] > 0.3 * abs(h[2, 2])).all() and h[2, 2] > 0.1 for h in pair)


def about(centre_x, centre_y, pair):
    """The same motion, with its origin at another point."""
    to = np.array([[1, 0, centre_x], [0, 1, centre_y], [0, 0, 1.0]])
    back = np.array([[1, 0, -centre_x], [0, 1, -centre_y], [0, 0, 1.0]])
    return to @ pair[0] @ back, to @ pair[1] @ back


def magnitude(rng, largest):
    """Mean displacement in px: still, below a pixel, usual, and large up to `largest`, all often enough."""
    r = rng.random()
    if r < 0.08:
        return 0.0
    if r < 0.26:
        return rng.uniform(0, 1)
    if r < 0.56:
        return float(np.exp(rng.uniform(np.log(1), np.log(min(8, largest)))))
    if r < 0.86:
        return float(np.exp(rng.uniform(np.log(3), np.log(largest * 0.6))))
    return rng.uniform(0.4, 1) * largest


class Displacement:
    """A smooth displacement field d, at most a few px, and the inverse of x + d(x)."""

    def __init__(self, rng, height, width, largest_px):
        # The field reaches over the image's border because points of frame 2 may come from outside frame 1.
        self.pad = 64
        self.height, self.width = height, width
        rows, columns = height + 2 * self.pad, width + 2 * self.pad
        cells = int(rng.integers(3, 8))
        coarse = rng.normal(0, 1, (cells + 1, cells + 1, 2)).astype(np.float32)
        field = cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)
        # The slope stays below 0.4, so that x + d(x) cannot fold and its inverse iteration converges.
        slope = max(np.abs(np.diff(field, axis=0)).max(), np.abs(np.diff(field, axis=1)).max(), 1e-6)
        self.field = field * min(largest_px / max(np.abs(field).max(), 1e-6), 0.4 / slope)

    def at(self, x, y):
        """d at centred coordinates."""
        u = (x + (self.width - 1) / 2 + self.pad).astype(np.float32)
        v = (y + (self.height - 1) / 2 + self.pad).astype(np.float32)
        d = cv2.remap(self.field, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return d[..., 0], d[..., 1]

    def undo(self, x, y):
        """The points that x + d(x) brings to (x, y), by fixed-point iteration."""
        u, v = x, y
        for _ in range(8):
            dx, dy = self.at(u, v)
            u, v = x - dx, y - dy
        return u, v
