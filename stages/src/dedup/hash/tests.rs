//! The hash on made pictures; on films it is measured by `benches/dedup_rates.py`.

use proptest::prelude::*;

use super::*;

/// Evenly spread numbers from 0 to 1.
fn random(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A clip of soft blobs that move; `size` in pixels.
struct Scene {
    blobs: Vec<[f64; 6]>,
}

impl Scene {
    fn new(seed: u64, speed: f64) -> Self {
        let mut next = random(seed + 1);
        let mut blob = || {
            let [x, y, reach, level] = [next(), next(), 0.04 + 0.2 * next(), next() - 0.5];
            [x, y, reach, level, speed * (next() - 0.5), speed * (next() - 0.5)]
        };
        Self { blobs: (0..16).map(|_| blob()).collect() }
    }

    fn at(&self, x: f64, y: f64, t: f64) -> f64 {
        let blob = |[bx, by, reach, level, dx, dy]: &[f64; 6]| {
            let away = (x - bx - dx * t).powi(2) + (y - by - dy * t).powi(2);
            90.0 * level * (-away / (reach * reach)).exp()
        };
        120.0 + self.blobs.iter().map(blob).sum::<f64>()
    }

    fn frames(&self, count: usize, (width, height): (usize, usize)) -> Vec<Grey> {
        made(count, (width, height), |x, y, t| {
            self.at((x + 0.5) / width as f64, (y + 0.5) / height as f64, t)
        })
    }
}

/// Frames by the level at a pixel and a time from 0 to 1.
fn made(
    count: usize,
    (width, height): (usize, usize),
    level: impl Fn(f64, f64, f64) -> f64,
) -> Vec<Grey> {
    let frame = |at: usize| {
        let t = (at as f64 + 0.5) / count as f64;
        let pixel = |i: usize| {
            level((i % width) as f64, (i / width) as f64, t).round().clamp(0.0, 255.0) as u8
        };
        Grey::new(width, height, (0..width * height).map(pixel).collect()).unwrap()
    };
    (0..count).map(frame).collect()
}

/// Each frame with samples moved: `from` gives for a place where its sample comes from.
fn moved(
    frames: &[Grey],
    size: (usize, usize),
    from: impl Fn(usize, usize) -> Option<(usize, usize)>,
) -> Vec<Grey> {
    let one = |frame: &Grey| {
        let pixel = |i: usize| {
            from(i % size.0, i / size.0).map_or(16, |(x, y)| frame.samples()[y * frame.width() + x])
        };
        Grey::new(size.0, size.1, (0..size.0 * size.1).map(pixel).collect()).unwrap()
    };
    frames.iter().map(one).collect()
}

#[test]
fn bits_are_of_different_waves_and_parities_agree() {
    let mut waves = ORDER.to_vec();
    waves.sort_unstable();
    waves.dedup();
    assert_eq!(waves.len(), 64);
    assert!(!waves.contains(&(0, 0)));
    assert!((28..=36).contains(&MIRROR.count_ones()));
    let mut changes: Vec<_> = CHANGES[STILL..].to_vec();
    for (bit, (time, coarse)) in changes.iter().enumerate() {
        assert_eq!(ORDER[bit + STILL].1 % 2, ORDER[*coarse].1 % 2);
        assert!((1..TIMES).contains(time));
    }
    changes.sort_unstable();
    changes.dedup();
    assert_eq!(changes.len(), 64 - STILL);
}

#[test]
fn a_constant_has_no_projection_and_waves_are_apart() {
    assert!(project(&[200.0; SIDE * SIDE]).iter().all(|value| value.abs() < 1e-9));
    let of_wave = project(&std::array::from_fn(|i| {
        // What the weights of (2, 3) stand for, without the fading.
        let fade = |at: usize| WEIGHTS[0][at] / WEIGHTS[0][SIDE / 2];
        let (y, x) = (i / SIDE, i % SIDE);
        WEIGHTS[2][y] / fade(y) * WEIGHTS[3][x] / fade(x)
    }));
    for (value, waves) in of_wave.iter().zip(ORDER) {
        let wanted = if waves == (2, 3) { 1.0 } else { 0.0 };
        assert!((value - wanted).abs() < 1e-9, "{waves:?}: {value}");
    }
}

#[test]
fn copies_are_close_and_others_far() {
    for seed in 0..6 {
        for speed in [0.0, 0.6] {
            let scene = Scene::new(seed, speed);
            let size = (160, 90);
            let frames = scene.frames(FRAMES, size);
            let hash = phash(&frames).unwrap();
            let to = |frames: &[Grey]| distance(hash, phash(frames).unwrap());
            assert!(to(&scene.frames(FRAMES, (100, 75))) <= 3, "resized");
            let fewer = to(&scene.frames(7, size));
            assert!(fewer <= 6, "other frames: {fewer}");
            let boxed =
                moved(&frames, (160, 130), |x, y| (20..110).contains(&y).then(|| (x, y - 20)));
            assert!(to(&boxed) <= 1, "letterboxed");
            let pillared =
                moved(&frames, (200, 90), |x, y| (15..175).contains(&x).then(|| (x - 15, y)));
            assert!(to(&pillared) <= 1, "pillarboxed");
            let cropped = moved(&frames, (152, 86), |x, y| Some((x + 4, y + 2)));
            assert!(to(&cropped) <= 12, "cropped: {}", to(&cropped));
            let dimmer = made(FRAMES, size, |x, y, t| {
                0.7 * scene.at((x + 0.5) / 160.0, (y + 0.5) / 90.0, t) + 20.0
            });
            assert!(to(&dimmer) <= 4, "dimmer: {}", to(&dimmer));
            let other = phash(&Scene::new(seed + 100, speed).frames(FRAMES, size)).unwrap();
            assert!(distance(hash, other) > 14, "{seed}: {}", distance(hash, other));
        }
    }
}

#[test]
fn the_same_things_at_other_times_are_far() {
    let mut frames = Scene::new(3, 1.0).frames(FRAMES, (160, 90));
    let hash = phash(&frames).unwrap();
    frames.reverse();
    assert!(distance(hash, phash(&frames).unwrap()) > 10);
    // In a still shot there is no time to tell apart, and one frame is as good as all.
    let still = Scene::new(3, 0.0).frames(FRAMES, (160, 90));
    assert_eq!(phash(&still), phash(&still[..1]));
    assert_eq!(phash(&still), phash(&still[..5]));
}

#[test]
fn what_shows_nothing_has_no_hash() {
    let size = (160, 90);
    assert_eq!(phash(&[]), None);
    for level in [0.0, 7.0, 16.0, 120.0, 255.0] {
        assert_eq!(phash(&made(FRAMES, size, |_, _, _| level)), None, "{level}");
        let noise = made(FRAMES, size, |x, y, t| {
            level + 4.0 * random((x + 200.0 * y + 20_000.0 * t) as u64)() - 2.0
        });
        assert_eq!(phash(&noise), None, "{level} and noise");
    }
    let fade = made(FRAMES, size, |_, _, t| 255.0 * t);
    assert_eq!(phash(&fade), None);
    assert!(phash(&Scene::new(1, 0.0).frames(1, (3, 2))).is_none_or(|hash| hash != 0));
}

#[test]
fn frames_of_another_size_are_left_out() {
    let mut frames = Scene::new(3, 0.0).frames(3, (160, 90));
    let hash = phash(&frames);
    frames.insert(1, Scene::new(4, 0.0).frames(1, (80, 90)).remove(0));
    assert_eq!(phash(&frames), hash);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn mirroring_is_a_change_of_known_bits(
        seed in 0_u64..1_000_000, width in 33_usize..120, height in 33_usize..80, speed in 0.0..1.0,
    ) {
        let frames = Scene::new(seed, speed).frames(5, (width, height));
        let turned = moved(&frames, (width, height), |x, y| Some((width - 1 - x, y)));
        let (hash, turned) = (phash(&frames).unwrap(), phash(&turned).unwrap());
        // A projection of nothing has a sign all the same.
        prop_assert!((turned ^ mirrored(hash)).count_ones() <= 1);
        prop_assert_eq!(mirrored(mirrored(hash)), hash);
        prop_assert!(distance(hash, turned) <= 1);
    }

    #[test]
    fn distance_is_the_same_both_ways(a in any::<u64>(), b in any::<u64>()) {
        prop_assert_eq!(distance(a, b), distance(b, a));
        prop_assert_eq!(distance(a, mirrored(b)), distance(a, b));
        prop_assert_eq!(distance(a, a), 0);
    }
}
