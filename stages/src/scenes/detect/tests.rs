//! Examples at the detectors' edges, and the law that settled frames never become cuts.

use proptest::prelude::*;

use super::{config::*, *};

fn seen(score: f64) -> Seen {
    let delta = Delta { hue: score, saturation: score, value: score, edges: 0.0 };
    Seen { deltas: vec![(0, delta)], ..Seen::default() }
}

fn cuts(config: &DetectorConfig, scores: &[f64]) -> Vec<u64> {
    let mut detector = config.build();
    (0_u64..).zip(scores).filter_map(|(i, s)| detector.push(i, &seen(*s)).unwrap()).collect()
}

#[test]
fn content_cuts_where_the_threshold_is_reached() {
    let mut scores = vec![0.0; 60];
    scores[20] = 27.0;
    scores[40] = 26.9;
    assert_eq!(cuts(&DetectorConfig::default(), &scores), [20]);
}

#[test]
fn a_cut_in_the_first_scene_is_not_found_too_early() {
    let mut scores = vec![0.0; 60];
    scores[10] = 90.0;
    assert_eq!(cuts(&DetectorConfig::default(), &scores), [0_u64; 0]);
}

#[test]
fn adaptive_forgives_steady_movement() {
    let adaptive = DetectorConfig::Adaptive {
        threshold: 3.0,
        min_scene_frames: 15,
        window: 2,
        min_content: 15.0,
        weights: Weights::default(),
    };
    let mut scores = vec![40.0; 60];
    assert_eq!(cuts(&adaptive, &scores), [0_u64; 0]);
    scores[30] = 200.0;
    assert_eq!(cuts(&adaptive, &scores), [30]);
}

/// A grey picture of one level.
fn level(level: u8) -> Seen {
    let picture = Picture {
        width: 4,
        height: 2,
        format: curate_media::PixelFormat::Bgr8,
        data: vec![level; 24],
    };
    Seen { picture: Some(picture), ..Seen::default() }
}

fn fades(config: &str, levels: &[u8]) -> (Vec<u64>, Option<u64>) {
    let mut detector = toml::from_str::<DetectorConfig>(config).unwrap().build();
    let mut push = |i, l: &u8| detector.push(i, &level(*l)).unwrap();
    let cuts = (0..).zip(levels).filter_map(|(i, l)| push(i, l)).collect();
    (cuts, detector.finish(levels.len() as u64 - 1))
}

#[test]
fn a_fade_is_cut_in_its_middle_or_where_the_bias_says() {
    let levels = [vec![90; 40], vec![2; 11], vec![90; 40], vec![2; 9]].concat();
    let kind = "kind = 'threshold'\n";
    assert_eq!(fades(kind, &levels), (vec![46], None)); // 45.5, to even
    assert_eq!(fades(&format!("{kind}fade_bias = -1.0"), &levels).0, [40]);
    assert_eq!(fades(&format!("{kind}fade_bias = 1.0"), &levels).0, [51]);
    assert_eq!(fades(&format!("{kind}min_out_frames = 12"), &levels).0, [0_u64; 0]);
    assert_eq!(fades(&format!("{kind}final_scene = true"), &levels).1, Some(91));
    let white: Vec<u8> = levels.iter().map(|l| 255 - l).collect();
    let to_white = "kind = 'threshold'\nthreshold = 250\nfade_to = 'white'";
    assert_eq!(fades(to_white, &white).0, [46]);
}

#[test]
fn endless_darkness_is_settled() {
    let levels = [vec![90; 40], vec![2; 3000], vec![90; 40]].concat();
    let (cuts, end) = fades("kind = 'threshold'\nfinal_scene = true", &levels);
    assert_eq!((cuts, end), (vec![40 + threshold::LONGEST_FADE / 2], None));
}

#[test]
fn fixed_cuts_do_not_drift() {
    let mut detector = DetectorConfig::Fixed { seconds: 0.5 }.build();
    let cut = |i: u64| {
        let seconds = i as f64 * 1001.0 / 30_000.0;
        detector.push(i, &Seen { seconds, ..Seen::default() }).unwrap()
    };
    let cuts: Vec<u64> = (0..=1000).filter_map(cut).collect();
    let wanted: Vec<u64> =
        (1..=66).map(|n| (f64::from(n) * 0.5 * 30_000.0 / 1001.0).ceil() as u64).collect();
    assert_eq!(cuts, wanted);
}

#[test]
fn key_frames_are_cuts_when_scenes_are_long_enough() {
    let mut detector = DetectorConfig::Keyframe { min_scene_frames: 15 }.build();
    let cut = |i: u64| {
        let is_key = [0, 12, 30, 40, 50].contains(&i);
        detector.push(i, &Seen { is_key, ..Seen::default() }).unwrap()
    };
    assert_eq!((0..60).filter_map(cut).collect::<Vec<_>>(), [30, 50]);
}

#[test]
fn settings_that_mean_nothing_are_named() {
    let faults = |text: &str| toml::from_str::<DetectorConfig>(text).unwrap().faults();
    for good in ["content", "adaptive", "threshold", "hash", "histogram", "keyframe", "list"] {
        assert_eq!(faults(&format!("kind = '{good}'")), [""; 0], "{good}");
    }
    for bad in [
        "kind = 'content'\nthreshold = nan",
        "kind = 'adaptive'\nwindow = 0",
        "kind = 'threshold'\nfade_bias = 2.0",
        "kind = 'hash'\nsize = 3\nlowpass = 1",
        "kind = 'histogram'\nbins = 1",
        "kind = 'fixed'\nseconds = 0.0",
    ] {
        assert_eq!(faults(bad).len(), 1, "{bad}");
    }
}

proptest! {
    #[test]
    fn no_fade_is_cut_on_a_settled_frame(
        stretches in proptest::collection::vec((any::<bool>(), 1..40_usize), 1..30),
        bias in -1.0..1.0_f64, min_scene_frames in 0..20_u64, final_scene in any::<bool>(),
    ) {
        let config = DetectorConfig::Threshold {
            threshold: 12, min_scene_frames, fade_bias: bias, fade_to: FadeTo::Black,
            min_out_frames: 3, final_scene,
        };
        let mut detector = config.build();
        let levels: Vec<u8> =
            stretches.iter().flat_map(|(dark, n)| vec![if *dark { 0 } else { 99 }; *n]).collect();
        let mut settled = 0;
        for (frame, value) in (0_u64..).zip(&levels) {
            if let Some(cut) = detector.push(frame, &level(*value)).unwrap() {
                prop_assert!(cut >= settled && cut <= frame, "{cut}, {settled} settled");
            }
            let now = detector.settled(frame);
            prop_assert!(now >= settled && now <= frame + 1);
            settled = now;
        }
        if let Some(cut) = detector.finish(levels.len() as u64 - 1) {
            prop_assert!(cut >= settled, "{cut}, {settled} settled");
        }
    }

    #[test]
    fn no_cut_falls_on_a_settled_frame(
        scores in proptest::collection::vec(prop_oneof![Just(0.0), Just(60.0), 0.0..60.0], 1..300),
        min_scene_frames in 0..20_u64, window in 1..5_usize, adaptive in any::<bool>(), suppress in any::<bool>(),
    ) {
        let filter = if suppress { FlashFilter::Suppress } else { FlashFilter::Merge };
        let config = if adaptive {
            DetectorConfig::Adaptive {
                threshold: 1.5, min_scene_frames, window, min_content: 15.0, weights: Weights::default(),
            }
        } else {
            DetectorConfig::Content { threshold: 27.0, min_scene_frames, weights: Weights::default(), filter, frame_skip: 0 }
        };
        let mut detector = config.build();
        let mut settled = 0;
        let mut last = None;
        for (frame, score) in (0_u64..).zip(&scores) {
            if let Some(cut) = detector.push(frame, &seen(*score)).unwrap() {
                prop_assert!(cut >= settled, "a cut at {cut}, but {settled} was settled");
                prop_assert!(last.is_none_or(|last| cut > last));
                last = Some(cut);
            }
            let now = detector.settled(frame);
            prop_assert!(now >= settled && now <= frame + 1);
            prop_assert!(frame + 1 - now <= min_scene_frames.max(window as u64) + 1, "memory must stay bounded");
            settled = now;
        }
    }
}
