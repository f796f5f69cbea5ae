//! The loader as a trainer sees it: what comes does not depend on threads, interruptions or broken clips.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use curate_schemas::{
    Clip,
    columns::{
        CAPTION, CAPTION_RAW, CLIP_ID, FPS, HEIGHT, KIND, NUM_FRAMES, VIDEO, VIDEO_FORM, WIDTH,
    },
};
use proptest::prelude::*;

use super::{
    testing::{COLORS, Memory, Table, clips, config},
    *,
};

/// What came: ids, captions and a sum of the pixels of each sample.
type Seen = Vec<(u64, Bucket, Vec<ClipRef>, Vec<f64>)>;

fn open(clips: &[Clip], config: &DataConfig, resume: Option<&LoaderState>) -> Loader {
    Loader::open(Arc::new(Memory(clips.to_vec())), config, 3, resume).unwrap()
}

/// A number that depends on every pixel of a sample, and on its place.
fn sums(batch: &Batch) -> Vec<f64> {
    let pixels = batch.pixels.tensor().flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
    let sum = |pixels: &Vec<f32>| {
        let placed = pixels.iter().enumerate();
        placed.map(|(at, value)| f64::from(*value) * (1.0 + (at % 97) as f64)).sum()
    };
    pixels.iter().map(sum).collect()
}

fn seen(loader: &mut Loader, batches: usize) -> Seen {
    let mut seen = Vec::new();
    for _ in 0..batches {
        let batch = loader.next().unwrap();
        let sums = sums(&batch);
        seen.push((batch.number, batch.bucket, batch.clips, sums));
    }
    seen
}

/// Rows of two sizes and lengths, of which one has other colours than its frames have.
fn mixed(count: usize) -> Vec<Clip> {
    let mut clips = clips(count, 20);
    for (number, clip) in clips.iter_mut().enumerate() {
        if number % 3 == 0 {
            clip.set(WIDTH, 32);
            clip.set(HEIGHT, 64);
        }
    }
    clips
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_loader_goes_on_from_anywhere_with_any_number_of_threads(
        stop in 0..12_usize, batch in 1..4_usize, workers in 1..5_usize, memory in 1..300_000_u64,
        draws in any::<bool>(),
    ) {
        let clips = mixed(7);
        let config = DataConfig {
            batch,
            workers: 1,
            frames: 16,
            random_frame_crop: draws,
            random_ratio_crop: draws,
            caption_dropout: 0.3,
            ..config()
        };
        let straight = seen(&mut open(&clips, &config, None), 12);
        let config = DataConfig { workers, memory, ..config };
        let mut first = open(&clips, &config, None);
        let mut parts = seen(&mut first, stop);
        let state = serde_json::to_string(first.state()).unwrap();
        drop(first);
        let state: LoaderState = serde_json::from_str(&state).unwrap();
        parts.extend(seen(&mut open(&clips, &config, Some(&state)), 12 - stop));
        prop_assert_eq!(parts, straight);
    }
}

/// Each film's colour is its caption; both come together whatever the order.
#[test]
fn captions_stay_with_their_clip() {
    let table = Table::new(&clips(9, 20));
    let config = DataConfig { workers: 3, batch: 4, ..config() };
    let mut loader = Loader::open(table.rows(), &config, 1, None).unwrap();
    let mut by_clip: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for _ in 0..12 {
        let batch = loader.next().unwrap();
        let pixels = batch.pixels.tensor();
        assert_eq!(pixels.dims(), [4, 3, 8, batch.bucket.height, batch.bucket.width]);
        let means = pixels.mean((2, 3, 4)).unwrap().to_vec2::<f32>().unwrap();
        for (clip, mean) in batch.clips.iter().zip(&means) {
            let (_, color) = COLORS.iter().find(|(name, _)| *name == clip.caption).unwrap();
            for (found, wanted) in mean.iter().zip(color) {
                assert!((found - (wanted / 127.5 - 1.0)).abs() < 0.05, "{clip:?}: {mean:?}");
            }
            by_clip.entry(clip.clip_id.clone()).or_default().insert(clip.caption.clone());
        }
    }
    assert_eq!(by_clip.len(), 9);
    assert!(by_clip.values().all(|captions| captions.len() == 1));
}

#[test]
fn a_filter_and_a_version_decide_which_rows_are_seen() {
    let all = clips(8, 20);
    let table = Table::new(&all[..6]);
    let old = table.rows();
    table.add(&all[6..]);
    let ids = |rows: Arc<TableRows>, filter: &str| {
        let config = DataConfig { filter: filter.to_owned(), batch: 1, ..config() };
        let mut loader = Loader::open(rows, &config, 1, None).unwrap();
        let count = loader.rows().entries.len();
        let ids: BTreeSet<String> =
            (0..count).map(|_| loader.next().unwrap().clips[0].clip_id.clone()).collect();
        assert_eq!(ids.len(), count, "each row once in an epoch");
        ids
    };
    let of = |keep: &dyn Fn(&Clip) -> bool, clips: &[Clip]| -> BTreeSet<String> {
        clips
            .iter()
            .filter(|clip| keep(clip))
            .map(|clip| clip.get(CLIP_ID).unwrap().clone())
            .collect()
    };
    let is_red = |clip: &Clip| clip.get(CAPTION).is_some_and(|caption| caption == "red");
    assert_eq!(ids(table.rows(), "status = 'kept'"), of(&|_| true, &all));
    assert_eq!(ids(table.rows(), "caption = 'red'"), of(&is_red, &all));
    assert_eq!(ids(Arc::clone(&old), "status = 'kept'"), of(&|_| true, &all[..6]));
    assert_eq!(ids(old, "caption <> 'red'"), of(&|clip| !is_red(clip), &all[..6]));
    let none = DataConfig { filter: "motion > 5".to_owned(), ..config() };
    let none = Loader::open(table.rows(), &none, 1, None).unwrap_err();
    assert!(none.to_string().contains("motion > 5"), "{none}");
    let wrong = DataConfig { filter: "motoin > 5".to_owned(), ..config() };
    assert!(Loader::open(table.rows(), &wrong, 1, None).unwrap_err().is_usage());
}

#[test]
fn a_broken_clip_is_named_and_another_takes_its_place() {
    let mut clips = clips(6, 20);
    let good = clips[1].get(VIDEO).unwrap().clone();
    let half = good[..good.len() / 3].to_vec();
    clips[0].set(VIDEO, b"this is no video".to_vec());
    clips[2].set(VIDEO, half);
    clips[4].set(NUM_FRAMES, 500);
    let broken: BTreeSet<String> =
        [0, 2, 4].iter().map(|number| clips[*number].get(CLIP_ID).unwrap().clone()).collect();
    let config = DataConfig { frames: 16, caption_dropout: 0.0, ..config() };
    let mut loader = open(&clips, &config, None);
    let first = seen(&mut loader, 12);
    let came = first.iter().flat_map(|(_, _, clips, _)| clips);
    for clip in came.clone() {
        // The long one has frames where its row says, now and then.
        assert!(!broken.contains(&clip.clip_id) || clip.clip_id == *clips[4].get(CLIP_ID).unwrap());
    }
    assert_eq!(came.count(), 24);
    let report = loader.report();
    assert!(report.failures.keys().all(|clip| broken.contains(clip)), "{:?}", report.failures);
    assert!(report.failures.len() >= 2, "{:?}", report.failures);
    let config = DataConfig { workers: 4, ..config };
    assert_eq!(seen(&mut open(&clips, &config, None), 12), first);

    clips.iter_mut().for_each(|clip| clip.set(VIDEO, b"none of them".to_vec()));
    let error = open(&clips, &config, None).next().unwrap_err();
    assert!(matches!(error, DataError::AllFailed { .. }), "{error}");
}

#[test]
fn rows_that_cannot_be_used_are_counted_by_reason() {
    let mut clips = clips(9, 20);
    clips[0].set(VIDEO_FORM, "none".to_owned());
    clips[1].put(WIDTH, None);
    clips[2].put(CAPTION, None);
    clips[3].set(CAPTION, "  ".to_owned());
    clips[4].set(NUM_FRAMES, 7);
    clips[5].put(FPS, None);
    clips[6].set(FPS, 10.0);
    clips[7].set(KIND, "image".to_owned());
    let config = DataConfig { fps: Some(25.0), image_share: Some(0.0), ..config() };
    let wanted = Wanted { captions: true, ..Wanted::default() };
    let source = Arc::new(Memory(clips));
    let rows = Rows::read(&*source, &config, &wanted).unwrap();
    assert_eq!(rows.entries.len(), 1);
    let expected = [
        (Unusable::NoBytes, 1),
        (Unusable::NoSize, 1),
        (Unusable::NoCaption, 2),
        (Unusable::NoFrameRate, 1),
        (Unusable::FewFrames, 1),
        (Unusable::TooShort, 1),
        (Unusable::Image, 1),
    ];
    assert_eq!(rows.unusable, BTreeMap::from(expected));
    let images = DataConfig { image_share: Some(0.5), fps: None, ..config.clone() };
    assert_eq!(Rows::read(&*source, &images, &wanted).unwrap().buckets.len(), 2);
    let all = Memory(source.0[8..].to_vec());
    let error = Rows::read(&all, &images, &wanted).unwrap_err();
    assert!(error.to_string().contains("no image"), "{error}");
    let single = DataConfig { frames: 1, image_share: None, ..config };
    let single = Rows::read(&all, &DataConfig { fps: None, ..single }, &wanted).unwrap();
    assert!(single.buckets[0].is_image && single.buckets[0].frames == 1);
}

#[test]
fn captions_are_drawn_by_weight_and_dropped() {
    let mut clips = clips(4, 20);
    clips.iter_mut().for_each(|clip| clip.set(CAPTION_RAW, "raw".to_owned()));
    let captions = BTreeMap::from([("caption".to_owned(), 3.0), ("caption_raw".to_owned(), 1.0)]);
    let config = DataConfig { captions, caption_dropout: 0.2, batch: 4, frames: 1, ..config() };
    let mut loader = open(&clips, &config, None);
    let mut counts = BTreeMap::<&str, usize>::new();
    for _ in 0..250 {
        for clip in loader.next().unwrap().clips {
            let kind = match clip.caption.as_str() {
                "" => "dropped",
                "raw" => "raw",
                _ => "caption",
            };
            *counts.entry(kind).or_default() += 1;
        }
    }
    assert!((150..250).contains(&counts["dropped"]), "{counts:?}");
    assert!((160..240).contains(&counts["raw"]), "{counts:?}");
    assert!((540..660).contains(&counts["caption"]), "{counts:?}");
}
