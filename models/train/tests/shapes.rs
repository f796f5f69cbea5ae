//! The judge is judged: true clips, true clips after what a small autoencoder does to them, clips
//! that show nothing, and labels that are not those of the clips.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use curate_media::{Filter, Picture, PixelFormat, Size, resize};
use curate_ops::Rng;
use curate_train::shapes::{
    Film, Judge, Scene, Score, Seen, SetSpec, ShapesError, draw_prompts, read_prompts,
    write_prompts, write_set,
};

const SIZE: u32 = 64;
const FRAMES: u32 = 24;
const CLIPS: u64 = 200;

fn scenes(seed: u64, count: u64) -> Vec<Scene> {
    (0..count).map(|stream| Scene::draw(&mut Rng::with_stream(seed, stream))).collect()
}

fn look(pixels: &[u8], size: u32) -> Seen {
    let film = Film { pixels, width: size, height: size };
    Judge::new().unwrap().look(&film).unwrap()
}

/// Shares of directions, colours, and both that the judge gets right in this many clips.
fn shares(seed: u64, count: u64, change: impl Fn(Vec<u8>) -> Vec<u8>) -> [f64; 3] {
    let mut right = [0.0; 3];
    for scene in scenes(seed, count) {
        let seen = look(&change(scene.render(SIZE, FRAMES)), SIZE);
        let is = [seen.direction == Some(scene.direction), seen.color == Some(scene.color)];
        for (right, is) in right.iter_mut().zip([is[0], is[1], is[0] && is[1]]) {
            *right += f64::from(u8::from(is)) / count as f64;
        }
    }
    right
}

/// Every picture at a quarter of its size and back: what is left of edges by an autoencoder that
/// shrinks eight times and was hardly trained.
fn blurred(pixels: &[u8]) -> Vec<u8> {
    let picture = |data: &[u8]| Picture {
        width: SIZE,
        height: SIZE,
        format: PixelFormat::Rgb8,
        data: data.to_vec(),
    };
    let quarter = Size::new(SIZE / 4, SIZE / 4);
    pixels
        .chunks_exact(SIZE as usize * SIZE as usize * 3)
        .flat_map(|data| {
            let small = resize(&picture(data), quarter, Filter::Area).unwrap();
            resize(&small, Size::new(SIZE, SIZE), Filter::Linear).unwrap().data
        })
        .collect()
}

/// Noise of this many levels on every value, and a brightness that flickers from picture to picture.
fn noisy(pixels: Vec<u8>, levels: f64) -> Vec<u8> {
    let mut rng = Rng::new(5);
    let mut flicker = 0.0;
    pixels
        .into_iter()
        .enumerate()
        .map(|(index, value)| {
            if index % (SIZE as usize * SIZE as usize * 3) == 0 {
                flicker = levels * rng.normal();
            }
            (f64::from(value) + flicker + levels * rng.normal()).round().clamp(0.0, 255.0) as u8
        })
        .collect()
}

#[test]
fn true_clips_are_judged_right() {
    let shares = shares(101, CLIPS, |pixels| pixels);
    assert!(shares[2] >= 0.98, "direction, colour, both: {shares:?}");
}

#[test]
fn any_eight_pictures_are_enough() {
    let eight = SIZE as usize * SIZE as usize * 3 * 8;
    for start in [0, 2] {
        let shares = shares(102, CLIPS, |pixels| pixels[start * eight..][..eight].to_vec());
        assert!(shares[2] >= 0.98, "direction, colour, both: {shares:?}");
    }
}

#[test]
fn blurred_clips_are_judged_right() {
    let shares = shares(103, CLIPS, |pixels| blurred(&pixels));
    assert!(shares[2] >= 0.98, "direction, colour, both: {shares:?}");
}

#[test]
fn noisy_blurred_clips_are_judged_right() {
    let shares = shares(104, 60, |pixels| noisy(blurred(&pixels), 6.0));
    assert!(shares[2] >= 0.95, "direction, colour, both: {shares:?}");
}

#[test]
fn backwards_is_the_other_direction() {
    let area = SIZE as usize * SIZE as usize * 3;
    let opposite = shares(105, 40, |pixels| {
        pixels.chunks_exact(area).rev().flat_map(<[u8]>::to_vec).collect()
    });
    assert!(opposite[0] == 0.0 && opposite[1] >= 0.98, "{opposite:?}");
}

#[test]
fn labels_of_other_clips_are_right_by_chance_only() {
    let scenes = scenes(106, CLIPS);
    let (mut direction, mut color) = (0, 0);
    for (index, scene) in scenes.iter().enumerate() {
        let other = &scenes[(index + 1) % scenes.len()];
        let seen = look(&scene.render(SIZE, FRAMES), SIZE);
        direction += usize::from(seen.direction == Some(other.direction));
        color += usize::from(seen.color == Some(other.color));
    }
    // 25 % and 12.5 %, and three standard deviations.
    assert!((32..=68).contains(&direction), "{direction} directions of {CLIPS}");
    assert!((11..=39).contains(&color), "{color} colours of {CLIPS}");
}

#[test]
fn what_is_not_there_is_not_seen() {
    for (index, scene) in scenes(107, 15).iter().enumerate() {
        let empty = Scene { radius: -1.0, ..scene.clone() }.render(SIZE, FRAMES);
        let seen = look(&noisy(empty, 4.0 * (index % 3) as f64), SIZE);
        assert_eq!((seen.color, seen.direction), (None, None), "{scene:?}: {seen:?}");
        // A shape that stands still has a colour, but no direction.
        let still = scene.render(SIZE, 1).repeat(FRAMES as usize);
        let seen = look(&noisy(still, 2.0), SIZE);
        assert_eq!((seen.color, seen.direction), (Some(scene.color), None), "{scene:?}: {seen:?}");
    }
}

#[test]
fn other_sizes_and_speeds_are_judged_alike() {
    for size in [32, 96, 256] {
        for scene in scenes(108, 20) {
            let seen = look(&scene.render(size, 12), size);
            let step = scene.speed.sides_per_frame();
            let along = seen.velocity[usize::from(scene.direction.step()[0] == 0.0)].abs();
            // Flow falls short inside of a shape, which looks the same everywhere.
            assert!((0.4..1.2).contains(&(along / step)), "{size}: {along} for {step}");
            let right = (seen.direction, seen.color);
            assert_eq!(right, (Some(scene.direction), Some(scene.color)), "{size}: {seen:?}");
        }
    }
}

#[test]
fn prompts_come_back_and_are_no_captions_of_the_set() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prompts.jsonl");
    let prompts = draw_prompts(64, 9);
    assert_eq!(prompts[..8], draw_prompts(8, 9)[..]);
    assert_ne!(prompts, draw_prompts(64, 10));
    write_prompts(&path, &prompts).unwrap();
    assert_eq!(read_prompts(&path).unwrap(), prompts);
    std::fs::write(&path, "{\"prompt\":\"a\",\"color\":\"red\"}\n\n{\"prompt\":\"b\"}\n").unwrap();
    let error = read_prompts(&path).unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("line 3"), "{error}");
    std::fs::write(&path, "{\"prompt\":\"a\",\"color\":\"mauve\"}\n").unwrap();
    assert!(read_prompts(&path).unwrap_err().to_string().contains("mauve"));
}

fn spec(count: u32, seed: u64) -> SetSpec {
    SetSpec { count, seed, size: 64, frames: 12, fps: 8, only_color: None, threads: 2 }
}

#[test]
fn a_longer_set_begins_with_the_shorter_one() {
    let folder = tempfile::tempdir().unwrap();
    let [short, long] = ["short", "long"].map(|name| folder.path().join(name));
    assert_eq!(write_set(&short, &spec(3, 4)).unwrap().made, 3);
    assert_eq!(write_set(&long, &SetSpec { threads: 1, ..spec(6, 4) }).unwrap().made, 6);
    for index in 0..3 {
        let name = format!("clips/{index:06}.mp4");
        let bytes = |folder: &std::path::Path| std::fs::read(folder.join(&name)).unwrap();
        assert_eq!(bytes(&short), bytes(&long), "{name}");
    }
    assert_eq!(write_set(&short, &spec(3, 4)).unwrap().made, 0);
    assert!(matches!(write_set(&short, &spec(3, 5)), Err(ShapesError::OtherSet(_))));
    for other in [SetSpec { frames: 14, ..spec(3, 4) }, SetSpec { fps: 4, ..spec(3, 4) }] {
        assert!(matches!(write_set(&short, &other), Err(ShapesError::OtherSet(_))));
    }
    std::fs::remove_file(short.join("clips/000001.mp4")).unwrap();
    assert_eq!(write_set(&short, &spec(3, 4)).unwrap().made, 3);
    assert!(matches!(
        write_set(&folder.path().join("odd"), &SetSpec { size: 65, ..spec(3, 4) }),
        Err(ShapesError::Setting { key: "size", .. })
    ));
}

#[test]
fn a_folder_is_scored_against_its_own_prompts_only() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path(), &spec(12, 6)).unwrap();
    let clips = folder.path().join("clips");
    let prompts = read_prompts(&folder.path().join("manifest.jsonl")).unwrap();
    let score = Score::of_folder(&clips, &prompts, 2).unwrap();
    assert_eq!((score.both.right, score.both.of), (12, 12), "{score:?}");
    assert!(score.sheet().unwrap().len() > 10_000);
    // A clip that is gone is wrong; one of another prompt, or too many, are refused.
    std::fs::remove_file(clips.join("000003.mp4")).unwrap();
    let score = Score::of_folder(&clips, &prompts, 2).unwrap();
    assert_eq!((score.both.right, score.direction.right, score.color.of), (11, 11, 12));
    assert!(Score::of_folder(&clips, &prompts[..5], 2).unwrap_err().is_usage());
    std::fs::write(clips.join("000001.json"), "{\"prompt\":\"something else\"}").unwrap();
    let error = Score::of_folder(&clips, &prompts, 2).unwrap_err();
    assert!(error.to_string().contains("something else"), "{error}");
}
