//! Examples at the detectors' edges, and the law that settled frames never become cuts.

use proptest::prelude::*;

use super::*;

fn delta(score: f64) -> Delta {
    Delta { hue: score, saturation: score, value: score, edges: 0.0 }
}

fn cuts(config: DetectorConfig, scores: &[f64]) -> Vec<u64> {
    let mut detector = config.build();
    (0_u64..).zip(scores).filter_map(|(i, s)| detector.push(i, &delta(*s))).collect()
}

#[test]
fn content_cuts_where_the_threshold_is_reached() {
    let mut scores = vec![0.0; 60];
    scores[20] = 27.0;
    scores[40] = 26.9;
    assert_eq!(cuts(DetectorConfig::default(), &scores), [20]);
}

#[test]
fn a_cut_in_the_first_scene_is_not_found_too_early() {
    let mut scores = vec![0.0; 60];
    scores[10] = 90.0;
    assert_eq!(cuts(DetectorConfig::default(), &scores), [0_u64; 0]);
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
    assert_eq!(cuts(adaptive, &scores), [0_u64; 0]);
    scores[30] = 200.0;
    assert_eq!(cuts(adaptive, &scores), [30]);
}

proptest! {
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
            DetectorConfig::Content { threshold: 27.0, min_scene_frames, weights: Weights::default(), filter }
        };
        let mut detector = config.build();
        let mut settled = 0;
        let mut last = None;
        for (frame, score) in (0_u64..).zip(&scores) {
            if let Some(cut) = detector.push(frame, &delta(*score)) {
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
