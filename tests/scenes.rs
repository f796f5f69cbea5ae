//! Scene detection against PySceneDetect's own detector classes, on the same decoded frames.

use std::{
    collections::BTreeMap,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
};

use curate_media::{Converter, DecodeOptions, Decoder, Filter, PixelFormat, analysis_size};
use curate_stages::scenes::{Delta, Detector, DetectorConfig, Scorer};
use curate_testing::{python, shared};

use crate::util::{Folder, curate, said};

/// The detectors of `tests/python/detectors.py`.
fn detectors() -> BTreeMap<&'static str, DetectorConfig> {
    let read = |text: &str| toml::from_str::<DetectorConfig>(text).unwrap();
    BTreeMap::from([
        ("content", read("kind = 'content'")),
        ("adaptive", read("kind = 'adaptive'")),
        ("content_10", read("kind = 'content'\nthreshold = 10.0")),
        (
            "adaptive_all",
            read("kind = 'adaptive'\nthreshold = 1.5\nmin_scene_frames = 3\nwindow = 3"),
        ),
        ("content_20_skip", read("kind = 'content'\nthreshold = 20.0\nframe_skip = 1")),
        ("content_30_skip", read("kind = 'content'\nthreshold = 30.0\nframe_skip = 2")),
        ("threshold", read("kind = 'threshold'")),
        (
            "threshold_bright",
            read(
                "kind = 'threshold'\nthreshold = 100\nfade_bias = -0.4\nmin_scene_frames = 2\n\
                 min_out_frames = 3\nfinal_scene = true",
            ),
        ),
        (
            "threshold_white",
            read("kind = 'threshold'\nthreshold = 130\nfade_bias = 1.0\nfade_to = 'white'"),
        ),
        ("hash", read("kind = 'hash'")),
        (
            "hash_fine",
            read("kind = 'hash'\nthreshold = 0.2\nsize = 16\nlowpass = 3\nmin_scene_frames = 4"),
        ),
        ("histogram", read("kind = 'histogram'")),
        (
            "histogram_fine",
            read("kind = 'histogram'\nthreshold = 0.05\nbins = 256\nmin_scene_frames = 4"),
        ),
    ])
}

/// Decodes a file once and feeds every analysis picture to both; gives our cuts by detector and
/// the PTS of all frames.
fn check(path: &Path) -> (BTreeMap<&'static str, Vec<u64>>, Vec<i64>) {
    let mut theirs = python("detectors.py").unwrap();
    let mut child = theirs
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut decoder = Decoder::open(path, &DecodeOptions::default()).unwrap();
    let mut converter = Converter::new(PixelFormat::Bgr8);
    let configs = detectors();
    let mut scorer = Scorer::new(&configs.values().cloned().collect::<Vec<_>>());
    let mut running: BTreeMap<_, _> =
        configs.iter().map(|(name, config)| (*name, (config.build(), Vec::new()))).collect();
    let (mut scores, mut times, mut size) = (Vec::new(), Vec::new(), None);
    {
        let mut pipe = BufWriter::new(child.stdin.take().unwrap());
        while let Some(frame) = decoder.next_frame().unwrap() {
            let size = *size.get_or_insert_with(|| {
                let size = analysis_size(frame.width(), frame.height());
                writeln!(pipe, "{} {}", size.width, size.height).unwrap();
                size
            });
            let picture = frame.picture(&mut converter, size, Filter::Linear, false).unwrap();
            pipe.write_all(&picture.data).unwrap();
            let index = times.len() as u64;
            let seen = scorer.push_picture(index, &picture).unwrap();
            let Delta { hue, saturation, value, .. } = seen.deltas[0].1;
            scores.push((hue + saturation + value) / 3.0);
            for (detector, cuts) in running.values_mut() {
                cuts.extend(detector.push(index, seen).unwrap());
            }
            times.push(frame.pts);
        }
    }
    let answer = said(&child.wait_with_output().unwrap());
    assert_eq!(answer.code, Some(0), "{}: {}", path.display(), answer.err);
    let answer: serde_json::Value = serde_json::from_str(&answer.out).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let theirs: Vec<f64> = serde_json::from_value(answer["scores"].clone()).unwrap();
    assert_eq!(theirs.len(), scores.len(), "{name}");
    let off = theirs.iter().zip(&scores).filter(|(a, b)| (*a - *b).abs() > 1e-9).count();
    assert_eq!(off, 0, "{name}: {off} of {} scores differ", scores.len());
    let last = times.len().saturating_sub(1) as u64;
    let ended = |(detector, mut cuts): (Detector, Vec<u64>)| {
        cuts.extend(detector.finish(last));
        cuts
    };
    let ours: BTreeMap<_, _> =
        running.into_iter().map(|(name, running)| (name, ended(running))).collect();
    for (detector, cuts) in &ours {
        let theirs: Vec<u64> = serde_json::from_value(answer["cuts"][detector].clone()).unwrap();
        assert_eq!(*cuts, theirs, "{name}: cuts of {detector}");
    }
    (ours, times)
}

fn videos(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_video = |path: &PathBuf| {
        path.extension().is_some_and(|end| ["mp4", "mkv", "webm"].iter().any(|known| end == *known))
    };
    let mut paths: Vec<_> = entries.filter(is_video).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no videos in {}", folder.display());
    paths
}

#[test]
fn detectors_equal_pyscenedetects_on_the_shared_scenes() {
    if python("detectors.py").is_none() {
        return;
    }
    let Some(media) = shared("media") else { return };
    let mut cuts = BTreeMap::<&str, usize>::new();
    for path in videos(&media.join("scenes")) {
        for (detector, found) in check(&path).0 {
            *cuts.entry(detector).or_default() += found.len();
        }
    }
    // Equality says something only where there are cuts.
    assert!(cuts.values().all(|found| *found >= 4), "{cuts:?}");
}

#[test]
fn detectors_equal_pyscenedetects_on_the_demo_clips() {
    if python("detectors.py").is_none() {
        return;
    }
    let Some(samples) = curate_testing::samples() else { return };
    for path in videos(&samples) {
        check(&path);
    }
}

/// What the table says equals what the detectors say.
#[test]
fn a_run_cuts_where_the_detectors_cut() {
    if python("detectors.py").is_none() {
        return;
    }
    let Some(media) = shared("media") else { return };
    let path = media.join("scenes/compose_hard17_vfr_drop3.mp4");
    let (cuts, times) = check(&path);
    let mut wanted: Vec<u64> = cuts["content"].iter().chain(&cuts["adaptive"]).copied().collect();
    wanted.push(0);
    wanted.sort_unstable();
    wanted.dedup();
    let wanted: Vec<i64> = wanted.iter().map(|frame| times[*frame as usize]).collect();

    let folder = Folder::new();
    let over = path.to_str().unwrap().to_owned();
    let recipe = folder.recipe_over("p.toml", &over, "out", "");
    let text = std::fs::read_to_string(&recipe).unwrap();
    let united = "detectors = [{ kind = 'content' }, { kind = 'adaptive' }]\nmax_s = 1e6\n";
    std::fs::write(&recipe, format!("{text}{united}")).unwrap();
    assert_eq!(curate(&["run", &recipe]).code, Some(0));
    let rows = folder.rows("out", "select start_pts from clips order by 1");
    let starts: Vec<i64> = rows.lines().skip(1).map(|line| line.parse().unwrap()).collect();
    assert_eq!(starts, wanted);
}
