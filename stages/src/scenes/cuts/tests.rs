//! What is written is read again: laws for both forms, and where lists are looked for.

use proptest::prelude::*;

use super::*;
use crate::scenes::detect::Seen;

/// The cuts that a list makes in a stream whose frames are shown at these times.
fn cuts(moments: &Moments, start_s: f64, times_s: &[f64]) -> Vec<u64> {
    let mut detector = Detector::at(moments.times(start_s));
    let mut cut = |frame, seconds| {
        let seen = Seen { seconds, ..Seen::default() };
        let cut = detector.push(frame, &seen).unwrap();
        assert!(cut.is_none_or(|cut| cut == frame) && detector.settled(frame) == frame + 1);
        cut
    };
    (0..).zip(times_s).filter_map(|(frame, seconds)| cut(frame, *seconds)).collect()
}

/// Scenes from cut to cut; the stream ends at the last time.
fn scenes(cuts: &[u64], times_s: &[f64]) -> Vec<Scene> {
    let at = |frame: u64| times_s[frame as usize] - times_s[0];
    let edges: Vec<u64> = cuts.iter().copied().chain([times_s.len() as u64 - 1]).collect();
    edges.windows(2).map(|pair| Scene { start_s: at(pair[0]), end_s: at(pair[1]) }).collect()
}

proptest! {
    /// However the rate varies, from 3 ms to 100 ms a frame, and wherever the stream's time starts.
    #[test]
    fn a_csv_gives_its_cuts_again(
        gaps in proptest::collection::vec(270..9000_i64, 2..200),
        start in 0..(1_i64 << 32),
        chosen in proptest::collection::btree_set(1..200_u64, 0..20),
    ) {
        let mut pts = start;
        let mut times = vec![start as f64 / 90_000.0];
        for gap in &gaps {
            pts += gap;
            times.push(pts as f64 / 90_000.0);
        }
        let frames = gaps.len() as u64;
        let wanted: Vec<u64> = [0].into_iter().chain(chosen.into_iter().filter(|cut| *cut < frames)).collect();
        let fps = frames as f64 / (times[gaps.len()] - times[0]);
        let text = Form::Csv.write("a", &scenes(&wanted, &times), fps);
        let moments = csv::read(&text, None).unwrap();
        prop_assert_eq!(cuts(&moments, times[0], &times[..gaps.len()]), wanted);
    }

    /// At every constant rate, the odd ones of television included.
    #[test]
    fn an_edl_gives_its_cuts_again(
        rate in prop_oneof![Just((24_000, 1001)), Just((25, 1)), Just((30_000, 1001)), Just((60, 1)), Just((120_000, 1001))],
        first in 0..400_000_u64,
        chosen in proptest::collection::btree_set(1..300_u64, 0..20),
    ) {
        let (num, den) = rate;
        let fps = f64::from(num) / f64::from(den);
        // A window of a long source, as a unit from its middle sees it.
        let times: Vec<f64> = (first..first + 301).map(|n| n as f64 * f64::from(den) / f64::from(num)).collect();
        let wanted: Vec<u64> = [0].into_iter().chain(chosen).collect();
        let listed: Vec<Scene> = scenes(&wanted, &times)
            .into_iter()
            .map(|scene| Scene { start_s: scene.start_s + times[0], end_s: scene.end_s + times[0] })
            .collect();
        let text = Form::Edl.write("a", &listed, fps);
        let moments = edl::read(&text, Some(fps)).unwrap();
        prop_assert_eq!(cuts(&moments, 0.0, &times[..300]), wanted);
    }
}

#[test]
fn cuts_before_a_unit_fall_on_its_first_frame_and_those_after_it_nowhere() {
    let moments = Moments { seconds: vec![5.0, 1.0, 2.0, 9.0], early_s: 0.0 };
    assert_eq!(cuts(&moments, 10.0, &[14.0, 14.5, 15.0, 15.5]), [0, 2]);
}

#[test]
fn lists_are_found_by_name_or_by_id_and_faults_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let lists = folder.path().join("lists");
    std::fs::create_dir(&lists).unwrap();
    let id = SourceId::from_content(&[0; 32]);
    let film = folder.path().join("videos/film.mp4");
    let subject = Subject {
        id: &id,
        path: &film,
        base: folder.path(),
        start_s: 2.0,
        fps: Some(25.0),
        length_s: Some(60.0),
        is_image: false,
    };
    let built = |missing| {
        let config = DetectorConfig::List { folder: Some("lists".into()), missing };
        config.build_for(&subject)
    };
    let cuts = || {
        let mut detector = built(Missing::Fail).unwrap();
        let seen = |frame: u64| Seen { seconds: frame as f64, ..Seen::default() };
        (0..9).filter_map(|frame| detector.push(frame, &seen(frame)).unwrap()).collect::<Vec<u64>>()
    };
    let write = |name: &str, text: &str| std::fs::write(lists.join(name), text).unwrap();

    let missing = built(Missing::Fail).unwrap_err();
    let words = missing.to_string();
    for word in ["film-Scenes.csv", "film.edl", &*lists.to_string_lossy(), "\"ignore\""] {
        assert!(words.contains(word), "{words}");
    }
    assert!(built(Missing::Ignore).is_ok());
    let picture = Subject { is_image: true, ..subject };
    assert!(
        DetectorConfig::List { folder: None, missing: Missing::Fail }.build_for(&picture).is_ok()
    );
    let error = UnitError::from(missing);
    assert_eq!((error.kind, error.transient), ("cut_list", false));

    // Each goes before the one above it.
    write("film.edl", "001 AX V C 00:00:00:00 00:00:01:00 00:00:00:00 00:00:01:00\n");
    assert_eq!(cuts(), [2, 3]);
    write("film.csv", "Start Timecode\n00:00:02.000\n");
    assert_eq!(cuts(), [4]);
    write("film-Scenes.csv", "Start Time (seconds)\n3\n");
    assert_eq!(cuts(), [5]);
    let by_id = format!("{id}.csv");
    write(&by_id, "Start Frame\n101\n");
    assert_eq!(cuts(), [6]);

    write(&by_id, "Start Frame\n1\nmany\n");
    let malformed = built(Missing::Ignore).unwrap_err().to_string();
    assert!(malformed.contains(".csv, line 3: `many`"), "{malformed}");
    write(&by_id, "Start Time (seconds)\n3600\n");
    let elsewhere = built(Missing::Ignore).unwrap_err().to_string();
    assert!(elsewhere.contains("begins at 3600.000 s"), "{elsewhere}");
}
