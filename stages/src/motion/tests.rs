use curate_pipeline::{Frame, FramePair, Frames, Grey, Later, Vectors, Verdict, testing};

use super::*;

/// A texture that has moved to the left by so many pixels.
fn texture(moved: f64, width: u32, height: u32) -> Vec<u8> {
    let level = |x: f64, y: f64| {
        128.0
            + 40.0 * (0.21 * x + 0.05 * y).sin()
            + 35.0 * (0.07 * x - 0.19 * y + 1.0).sin()
            + 25.0 * (0.31 * x + 0.23 * y + 2.0).sin()
    };
    (0..height)
        .flat_map(|y| (0..width).map(move |x| level(f64::from(x) + moved, f64::from(y)) as u8))
        .collect()
}

fn frame(moved: f64) -> Frame {
    let rgb = texture(moved, 192, 108).into_iter().flat_map(|level| [level; 3]).collect();
    Frame { pts: 0, width: 192, height: 108, rgb }
}

/// A clip at 25 frames per second that pans to the right, in all forms that a method may ask for.
fn clip(pixels_per_s: f64) -> Item {
    let row = Clip::default()
        .with(c::TB_NUM, 1)
        .with(c::TB_DEN, 25)
        .with(c::START_PTS, 100)
        .with(c::END_PTS, 150)
        .with(c::NUM_FRAMES, 50);
    let later = |gap_s: f64| Later { frame: frame(gap_s * pixels_per_s), gap_s };
    let pair = FramePair { first: frame(0.0), near: later(0.04), far: Some(later(0.12)) };
    let grey = |pts: i64| Grey {
        pts,
        width: 192,
        height: 108,
        data: texture((pts - 100) as f64 / 25.0 * pixels_per_s, 192, 108),
    };
    let vectors = Vectors {
        pts: 112,
        gap_s: 0.08,
        width: 192,
        height: 108,
        cell: 16,
        columns: 12,
        rows: 7,
        dx: vec![(-0.08 * pixels_per_s) as f32; 84],
        dy: vec![0.0; 84],
        known: vec![256.0; 84],
    };
    let frames = Frames {
        pairs: vec![pair.clone(), pair],
        chain: vec![grey(100), grey(112), grey(124)],
        vectors: vec![vectors.clone(), vectors],
        ..Frames::default()
    };
    testing::item(row, frames)
}

fn config(text: &str) -> (MotionConfig, Vec<String>) {
    let mut problems = Problems::default();
    problems.enter("[motion]");
    let config: MotionConfig = read_table(&text.parse().unwrap(), &mut problems);
    config.validate(&mut problems);
    (config, problems.into_errors().iter().map(ToString::to_string).collect())
}

#[test]
fn the_contract_holds() {
    for settings in [
        "method = 'dis'\nkeep = { min = 0.05, max = 1.0 }",
        "method = 'farneback'",
        "method = 'mvs'\nkeep = {}",
        "preset = 'easyanimate'",
        "pairs = 1\ngap_s = 0.1\nsize = 128\nkeep_px = { min = 1.0 }",
    ] {
        testing::assert_stage_contract(&ENTRY, settings, || {
            let nothing = testing::item(Clip::default(), Frames::default());
            vec![clip(0.0), clip(30.0), nothing, clip(90.0)]
        });
    }
}

/// Measures one clip.
fn measured(settings: &str, item: Item) -> Clip {
    let (config, problems) = config(settings);
    assert!(problems.is_empty(), "{problems:?}");
    let (mut run, stop) = (curate_pipeline::RunConfig::default(), curate_pipeline::Stop::default());
    run.resolve(1, &mut Problems::default());
    let context = BuildContext {
        run: &run,
        split_id: "",
        need: config.frames(),
        stop: &stop,
        base: std::path::Path::new("."),
        models: std::path::Path::new("."),
    };
    let Ok(Stage::Map(mut map)) = config.build(&context) else { panic!("not a map") };
    let mut item = item;
    map.map(&mut item).unwrap();
    item.clip
}

#[test]
fn every_method_sees_the_same_pan() {
    // Half a pixel from one frame to the next.
    let truth = 12.5 / 192.0_f64.hypot(108.0);
    for (method, tolerance) in [("dis", 0.1), ("farneback", 0.25), ("mvs", 1e-6)] {
        let clip = measured(&format!("method = '{method}'"), clip(12.5));
        let motion = f64::from(*clip.get(c::MOTION).unwrap());
        assert!((motion / truth - 1.0).abs() < tolerance, "{method}: {motion}, not {truth}");
        assert_eq!(clip.get(c::MOTION_METHOD).unwrap(), method);
        assert_eq!(clip.get(c::CAMERA_MOTION).unwrap(), "pan_right", "{method}");
        let (camera, subject) = (clip.get(c::MOTION_CAMERA), clip.get(c::MOTION_SUBJECT));
        assert!(camera > subject, "{method}: {camera:?} and {subject:?}");
    }
    // Pixels are those of each method.
    let px = |method: &str| {
        let clip = measured(&format!("method = '{method}'"), clip(12.5));
        f64::from(*clip.get(c::MOTION_PX_MEAN).unwrap())
    };
    assert!((px("dis") / (12.5 * 0.125) - 1.0).abs() < 0.1, "{}", px("dis"));
    assert!((px("mvs") - 0.5).abs() < 1e-6, "{}", px("mvs"));
    assert!((px("farneback") / 6.0 - 1.0).abs() < 0.25, "{}", px("farneback"));
}

#[test]
fn what_cannot_be_measured_is_null_and_passes() {
    for method in ["dis", "farneback", "mvs"] {
        let settings = format!("method = '{method}'\nkeep = {{ min = 0.1 }}");
        let clip = measured(&settings, testing::item(Clip::default(), Frames::default()));
        assert_eq!(clip.get(c::MOTION), None, "never a wrong zero");
        assert_eq!(clip.get(c::MOTION_METHOD).unwrap(), method);
        assert_eq!(config(&settings).0.judge(&clip), Verdict::Keep);
    }
}

#[test]
fn a_chain_that_outgrew_memory_fails_its_clip_alone() {
    let frames = Frames { is_chain_too_big: true, ..Frames::default() };
    let item = testing::item(Clip::default(), frames);
    let found = farneback::Farneback::default().measure(&[&item, &clip(9.0)]).unwrap();
    assert_eq!(found[0].as_ref().unwrap_err().kind, "memory");
    assert!(found[1].is_ok());
}

fn judged(settings: &str, motion: f32, px: f32) -> Verdict {
    let clip = Clip::default().with(c::MOTION, motion).with(c::MOTION_PX_MEAN, px);
    config(settings).0.judge(&clip)
}

#[test]
fn both_sides_and_both_values_are_judged() {
    let still = Verdict::Drop { reason: "too_still" };
    let shaky = Verdict::Drop { reason: "too_much_motion" };
    assert_eq!(judged("", 0.001, 0.0), still);
    assert_eq!(judged("", 9.0, 0.0), Verdict::Keep);
    assert_eq!(judged("keep = { max = 1.0 }", 0.0, 0.0), Verdict::Keep);
    assert_eq!(judged("keep = { max = 1.0 }", 1.5, 0.0), shaky);
    assert_eq!(judged("keep_px = { min = 2.0, max = 4.0 }", 0.3, 1.0), still);
    assert_eq!(judged("keep_px = { min = 2.0, max = 4.0 }", 0.3, 5.0), shaky);
    // The released rule looks at the released score only.
    let released = "preset = 'easyanimate'";
    assert_eq!(judged(released, 0.0, 5.0), Verdict::Keep);
    assert_eq!(judged(released, 0.3, 2.9), still);
    assert_eq!(judged(released, 0.3, 8.1), shaky);
    assert_eq!(config(released).0.measuring(), json!({ "method": "farneback" }));
    assert_eq!(judged("preset = 'easyanimate'\nkeep_px = {}", 0.0, 99.0), Verdict::Keep);
}

#[test]
fn thresholds_are_not_part_of_what_is_measured() {
    let measuring = |text: &str| config(text).0.measuring();
    assert_eq!(measuring("keep = { min = 0.3 }"), measuring(""));
    assert_eq!(measuring("method = 'auto'"), measuring("method = 'dis'"));
    assert_ne!(measuring("size = 128"), measuring(""));
    let raft = measuring("method = 'raft-small'");
    assert_eq!(measuring("method = 'raft-small'\nweights = 'own'"), raft);
    assert_ne!(measuring("method = 'raft-small'\nweights = 'torchvision'"), raft);
    assert_ne!(measuring("method = 'raft-small'\nupdates = 6"), raft);
    assert_ne!(measuring("method = 'raft-small'\nprefilter = 'dis'"), raft);
    assert_eq!(measuring("method = 'mvs'\nsize = 128"), measuring("method = 'mvs'"));
}

#[test]
fn networks_say_which_models_they_need() {
    let models = |text: &str| config(text).0.models();
    assert_eq!(models("method = 'dis'"), [""; 0]);
    assert_eq!(models("method = 'raft-small'"), ["onnxruntime", "raft-small"]);
    let published = "method = 'raft-small'\nweights = 'torchvision'";
    assert_eq!(models(published), ["onnxruntime", "raft-small-torchvision"]);
    assert_eq!(models("method = 'raft-large'"), ["onnxruntime", "raft-large-torchvision"]);
}

#[test]
fn wrong_settings_are_reported_whole() {
    let (_, problems) = config(
        "method = 'raft-large'\nweights = 'own'\npairs = 0\ngap_s = -1.0\nsize = 4\nkeep = { min = 2.0, max = 1.0 }\n\
         keep_px = { min = -1.0 }",
    );
    assert_eq!(problems.len(), 6, "{problems:?}");
    let (_, problems) = config("method = 'dsi'\nkeep = { mim = 1.0 }\nprefilter = 'mvs'");
    let all = problems.join("\n");
    assert!(all.contains("did you mean \"dis\"?"), "{all}");
    assert!(all.contains("did you mean `min`?"), "{all}");
    assert!(all.contains("only spares RAFT work"), "{all}");
}
