"""Checks of the schedule with made clocks: python -m unittest test_schedule (needs nothing but Python)."""

import random
import unittest

import schedule


def run(share_at, until=7200.0, step_cpu_s=0.4, stop_at=None):
    """(progress per step, wall time per step) of a made machine that gives `share_at(wall)` of a core."""
    now = [0.0, 0.0]
    clock = schedule.Clock(0.0, None, until, wall=lambda: now[0], cpu=lambda: now[1])
    progress, walls = [], []
    while not progress or progress[-1] < 1:
        now[0] += step_cpu_s / share_at(now[0])
        now[1] += step_cpu_s
        if stop_at is not None and now[0] >= stop_at:
            now[0], stop_at = now[0] + 120, None
        progress.append(clock.tick(len(progress) + 1))
        walls.append(now[0])
    return progress, walls


class Progress(unittest.TestCase):
    def test_even_share_is_a_straight_line_and_ends_in_time(self):
        progress, walls = run(lambda wall: 0.5)
        self.assertAlmostEqual(walls[-1], 7200, delta=10)
        for p, wall in zip(progress, walls):
            self.assertAlmostEqual(p, wall / 7200, delta=0.01)

    def test_bursts_do_not_eat_the_schedule(self):
        """Ten minutes in turn at 0.05 and 0.95 of a core: steps, not minutes, drive progress."""
        progress, walls = run(lambda wall: 0.05 if wall // 600 % 2 else 0.95)
        self.assertLess(abs(walls[-1] - 7200), 30)
        slow = sum(b - a for a, b, wall in zip(progress, progress[1:], walls[1:]) if wall // 600 % 2)
        self.assertLess(slow, 0.25)
        self.assertTrue(all(a <= b for a, b in zip(progress, progress[1:])))

    def test_a_stop_of_two_minutes_is_no_jump(self):
        progress, walls = run(lambda wall: 0.5, stop_at=3000)
        self.assertLess(max(b - a for a, b in zip(progress[:-1], progress[1:-1])), 0.005)
        self.assertAlmostEqual(walls[-1], 7200, delta=10)

    def test_ends_annealed_on_a_noisy_machine(self):
        draw = random.Random(5)
        progress, _ = run(lambda wall: draw.uniform(0.02, 1))
        late = [p for p in progress if p > 0.9]
        self.assertGreater(len(late), 0.05 * len(progress))

    def test_steps_are_counted(self):
        clock = schedule.Clock(0.0, 10, None)
        self.assertEqual([clock.tick(k) for k in (1, 5, 10)], [0.1, 0.5, 1.0])


class Rate(unittest.TestCase):
    def test_one_cycle(self):
        rates = [schedule.rate_at(p / 1000, 1.0) for p in range(1001)]
        peak = rates.index(max(rates))
        self.assertEqual(peak, 40)
        self.assertTrue(all(a <= b for a, b in zip(rates[:peak], rates[1:peak + 1])))
        self.assertTrue(all(a >= b for a, b in zip(rates[peak:], rates[peak + 1:])))
        self.assertLess(rates[-1], 0.0011)

    def test_every_progress_has_a_stage(self):
        self.assertIs(schedule.stage_at(0), schedule.STAGES[0])
        self.assertIs(schedule.stage_at(1.0), schedule.STAGES[-1])


if __name__ == "__main__":
    unittest.main()
