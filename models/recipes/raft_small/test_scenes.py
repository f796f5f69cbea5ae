"""Checks that the flow of synthetic scenes is exact: python -m unittest test_scenes

Needs only numpy and opencv, no texture folder. A wrong sign, a swapped inverse or a shifted centre in drawing
would train a network without any error message; here each of them fails.
"""

import unittest

import cv2
import numpy as np

import motion
import procedural
import scenes


class Motions(unittest.TestCase):
    def test_inverse_undoes_motion_and_mean_is_as_asked(self):
        rng = np.random.default_rng(1)
        y, x = np.mgrid[-60:61:5, -90:91:5].astype(float)
        for _ in range(200):
            asked = motion.magnitude(rng, 30)
            forward, inverse = motion.motion(rng, asked, 90, 60)
            u, v = motion.apply_homography(forward, x, y)
            back = motion.apply_homography(inverse, u, v)
            self.assertLess(np.abs(np.stack(back) - (x, y)).max(), 1e-6)
            self.assertAlmostEqual(np.hypot(u - x, v - y).mean(), asked, delta=0.25 * asked)

    def test_small_things_that_move_far_do_not_blow_up(self):
        """Over an area of 15 px radius moved by 60 px, size changes by less than a factor of three."""
        rng = np.random.default_rng(6)
        for _ in range(300):
            forward, inverse = motion.motion(rng, 60, 15, 15)
            for h in (forward, inverse):
                scale = np.sqrt(abs(np.linalg.det(h[:2, :2])))
                self.assertTrue(1 / 3 < scale < 3, scale)

    def test_motions_with_a_horizon_in_the_image_are_told(self):
        wild = np.array([[1, 0, 0], [0, 1, 0], [0.02, 0, 1.0]])
        self.assertFalse(motion.is_tame((wild, np.linalg.inv(wild)), 192, 128))
        self.assertTrue(motion.is_tame((np.eye(3), np.eye(3)), 192, 128))

    def test_displacement_is_undone(self):
        rng = np.random.default_rng(2)
        y, x = np.mgrid[0:96, 0:128]
        x, y = x - 63.5, y - 47.5
        for _ in range(50):
            bend = motion.Displacement(rng, 96, 128, rng.uniform(0.2, 6))
            dx, dy = bend.at(x, y)
            self.assertGreater(np.abs(dx).max(), 0.01)
            u, v = bend.undo(x + dx, y + dy)
            self.assertLess(np.hypot(u - x, v - y).max(), 0.1)


class Drawing(unittest.TestCase):
    def test_frame_2_fetched_by_flow_is_frame_1(self):
        """On a smooth texture, without lens and codec, for plain and bent layers."""
        rng = np.random.default_rng(3)
        height, width = 128, 192
        texture = cv2.GaussianBlur(procedural.noise(rng), (0, 0), 3)
        canvas = scenes.Canvas(height, width)
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        for k in range(40):
            pair = motion.motion(rng, rng.uniform(0, 12), width / 2, height / 2)
            bend = motion.Displacement(rng, height, width, 4) if k % 2 else None
            layer = scenes.Layer(*pair, bend)
            image, place = scenes.placement(rng, [texture], 0.3)
            first, second = canvas.draw(image, place, layer, cv2.BORDER_REFLECT_101)
            flow = canvas.flow(layer)
            u, v = x + flow[0], y + flow[1]
            back = cv2.remap(second, u, v, cv2.INTER_LINEAR).astype(float)
            inside = (u > 1) & (u < width - 2) & (v > 1) & (v < height - 2)
            right = np.abs(back - first)[inside].mean()
            self.assertLess(right, 1.5, f"pair {k}")
            # The opposite flow must be clearly worse wherever there is motion to speak of.
            if np.hypot(*flow).mean() > 4:
                wrong = cv2.remap(second, x - flow[0], y - flow[1], cv2.INTER_LINEAR).astype(float)
                self.assertGreater(np.abs(wrong - first)[inside].mean(), 2 * right)

    def test_pairs_repeat_for_a_seed(self):
        class Made:
            def pick(self, rng, photo_share):
                return scenes.halvings(procedural.texture(rng))

        one, two = (scenes.pair(np.random.default_rng(4), 128, 160, 20, Made()) for _ in range(2))
        for a, b in zip(one, two):
            self.assertTrue(np.array_equal(a, b))
        self.assertEqual(one[2].shape, (2, 128, 160))


if __name__ == "__main__":
    unittest.main()
