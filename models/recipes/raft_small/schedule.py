"""What training does when: crop sizes and motions by progress, the learning rate, and progress itself.

Progress goes from 0 to 1. With a number of steps it is simply counted. With an end time it follows the CPU time
that training really got: on a machine that others use, one step may take a third of a second or ten, and a
schedule that followed the wall clock would spend the best learning rates while nothing was learned (it did:
0.147 of a first run went by in 200 steps, 0.020 of it in 200 others).
"""

import math
import time
from dataclasses import dataclass

PAUSE_S = 20.0  # a longer step means that the process was stopped; the excess says nothing about its usual share
SHARE_S = 400.0  # horizon over which the share of a core is averaged


@dataclass
class Stage:
    """A part of training: until which progress, sizes drawn from, pairs per process, updates, largest motion."""

    until: float
    sizes: list
    pairs: int
    updates: int
    largest_px: float


STAGES = [
    Stage(0.15, [(128, 192), (128, 160), (144, 160)], 2, 5, 12),
    Stage(0.50, [(128, 192), (144, 176), (192, 128)], 2, 5, 24),
    Stage(0.78, [(128, 192), (144, 192), (160, 160)], 2, 5, 36),
    Stage(1.00, [(160, 224), (176, 240), (224, 160)], 2, 6, 60),
]


def stage_at(progress):
    return next(stage for stage in STAGES if progress < stage.until or stage.until == 1)


def rate_at(progress, largest):
    """One cycle: linear rise over the first 4 %, then a cosine down to a thousandth."""
    rise = 0.04
    if progress < rise:
        return largest * (0.05 + 0.95 * progress / rise)
    return largest * (0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * (progress - rise) / (1 - rise))))


class Clock:
    """Progress after each step: step / steps, or the share done of the CPU time expected until `until`.

    What is left is expected from the share of a core that the process got lately, so it reaches 1 at `until`
    whatever happens; when less CPU time comes than expected, the end of the schedule is passed more quickly.
    """

    def __init__(self, progress, steps, until, wall=time.time, cpu=time.process_time):
        self.progress, self.steps, self.until, self.wall, self.cpu = progress, steps, until, wall, cpu
        self.last_wall, self.last_cpu, self.share = wall(), cpu(), None

    def tick(self, step):
        if self.steps:
            self.progress = min(step / self.steps, 1.0)
            return self.progress
        wall, cpu = self.wall(), self.cpu()
        passed, spent = max(min(wall - self.last_wall, PAUSE_S), 1e-3), cpu - self.last_cpu
        self.last_wall, self.last_cpu = wall, cpu
        got = spent / passed
        self.share = got if self.share is None else self.share + (got - self.share) * (1 - math.exp(-passed / SHARE_S))
        left = (self.until - wall) * self.share
        self.progress += (1 - self.progress) * spent / (spent + left) if left > 0 else 1
        self.progress = min(self.progress, 1.0)
        return self.progress
