//! Motion through the command: against the released score, on pictures whose motion is known, and
//! on clips that are found in different places.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use curate_testing::{make, python, samples, shared};
use serde_json::{Value as Json, json};

use crate::util::{Folder, curate, said};

/// A recipe over `videos` that takes whole files for clips and measures their motion.
fn recipe(folder: &Folder, over: &str, out: &str, motion: &str) -> String {
    let path = folder.recipe_over(&format!("{out}.toml"), over, out, "");
    let text = std::fs::read_to_string(&path).unwrap();
    let whole = "detectors = [{ kind = 'content', threshold = 1e9 }]\nmin_s = 0.0\nmax_s = 1e6\n";
    std::fs::write(&path, format!("{text}{whole}[[stage]]\nkind = \"motion\"\n{motion}\n"))
        .unwrap();
    path
}

/// Columns of all clips, by the name of the file.
fn rows(folder: &Folder, out: &str, columns: &str) -> BTreeMap<String, Vec<String>> {
    let sql = format!("select source_uri, {columns} from clips order by start_pts");
    let rows = folder.rows(out, &sql);
    rows.lines()
        .skip(1)
        .map(|line| {
            let mut fields = line.split(',').map(str::to_owned);
            let uri = fields.next().unwrap();
            (uri.rsplit('/').next().unwrap().to_owned(), fields.collect())
        })
        .collect()
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not a number"))
}

/// The score of the released recipe, by our program and by OpenCV's Python module: to one in the
/// fifth digit after the point (the release prints five), or two millionths of a large score. Both
/// add up in single precision, in another order.
///
/// Files that name their colours are compared without the names: OpenCV follows them since version
/// 5 only, and the released scores are older.
#[test]
fn the_released_score_is_reproduced() {
    let (Some(samples), Some(media)) = (samples(), shared("media")) else { return };
    let mut videos: Vec<PathBuf> = ["bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4"]
        .iter()
        .map(|name| samples.join(name))
        .collect();
    // MPEG-4 in AVI at 23.976, VP9, a portrait.
    let clips = ["ax_sample.avi", "ax_bear-vp9.webm", "ax_sample_portrait.mp4"];
    videos.extend(clips.iter().map(|name| media.join("clips").join(name)));
    let folder = Folder::new();
    // A turned picture at 29.97, and 12.5 frames per second.
    let named = [
        ("turned.mp4", "ax_internal_emulator_transformer_output_270_rotated.mp4"),
        ("slow.mp4", "ax_sample_12_5fps_720p_1s.mp4"),
    ];
    for (name, file) in named {
        let unnamed = "-an -c:v copy -bsf:v h264_metadata=matrix_coefficients=2";
        let path = media.join("clips").join(file);
        let line = format!("-i {} {unnamed}", path.display());
        videos.push(make(&folder.path("videos"), name, &line));
        std::os::unix::fs::symlink(
            std::fs::canonicalize(path).unwrap(),
            folder.path("videos").join(file),
        )
        .unwrap();
    }
    // Shorter than half a second: the last frame is the second one.
    videos.push(make(
        &folder.path("videos"),
        "short.mp4",
        "-f lavfi -i mandelbrot=s=320x180:rate=25 -t 0.4 -c:v libx264 -pix_fmt yuv420p",
    ));
    let Some(mut theirs) = python("motion_score.py") else { return };
    let theirs = said(&theirs.args(&videos).output().unwrap());
    assert_eq!(theirs.code, Some(0), "{}", theirs.err);
    let theirs: Json = serde_json::from_str(&theirs.out).unwrap();

    for video in &videos {
        let name = video.file_name().unwrap().to_str().unwrap();
        let place = folder.path("videos").join(name);
        if !place.exists() {
            std::os::unix::fs::symlink(std::fs::canonicalize(video).unwrap(), place).unwrap();
        }
    }
    let recipe = recipe(&folder, "videos", "out", "preset = 'easyanimate'");
    assert_eq!(curate(&["run", &recipe]).code, Some(0));
    let ours = rows(&folder, "out", "motion_px_mean, drop_reason");
    for (unnamed, named) in named {
        assert_eq!(ours[unnamed], ours[named], "colours are not followed");
    }
    for video in &videos {
        let theirs = theirs[video.to_str().unwrap()].as_f64().unwrap();
        let name = video.file_name().unwrap().to_str().unwrap();
        let [ours, reason] = &ours[name][..] else { panic!("two columns") };
        let off = (number(ours) - theirs).abs();
        println!("{name}: {ours}, and {theirs:.5} by Python; off by {off:.1e}");
        assert!(off <= 1e-5 + 2e-6 * theirs, "{name}: off by {off:.1e}");
        let wanted = if theirs < 3.0 {
            "too_still"
        } else if theirs > 8.0 {
            "too_much_motion"
        } else {
            ""
        };
        assert_eq!(reason, wanted, "{name}");
    }
}

/// Renders videos whose motion is known.
fn render(jobs: &[Json]) -> Option<()> {
    let mut command = python("render_motion.py")?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(json!(jobs).to_string().as_bytes()).unwrap();
    let said = said(&child.wait_with_output().unwrap());
    assert_eq!(said.code, Some(0), "{}", said.err);
    Some(())
}

fn job(out: &Path, kind: &str, speed: f64, fps: u32) -> Json {
    // A fast zoom leaves a still soon.
    let seconds = if speed > 0.5 { 0.6 } else { 1.5 };
    json!({
        "out": out, "still": "noise:3", "width": 320, "height": 180, "fps": fps,
        "seconds": seconds, "kind": kind, "speed": speed,
    })
}

/// A part of `make bench-motion`: stills under known camera motion.
#[test]
fn known_camera_motion_is_measured() {
    let folder = Folder::new();
    let mut jobs = Vec::new();
    let mut truth = BTreeMap::new();
    for (kind, speeds) in [
        ("static", &[0.0][..]),
        ("pan_left", &[0.1]),
        ("pan_right", &[0.02, 1.0]),
        ("tilt_up", &[0.02]),
        ("tilt_down", &[0.3]),
        ("zoom_in", &[0.02, 1.0]),
        ("zoom_out", &[0.1]),
        ("roll", &[0.02, 0.3, 1.0]),
    ] {
        for (index, speed) in speeds.iter().enumerate() {
            let name = format!("{kind}_{speed}.mp4");
            let fps = [24, 60][index % 2];
            jobs.push(job(&folder.path("videos").join(&name), kind, *speed, fps));
            truth.insert(name, (kind, *speed));
        }
    }
    if render(&jobs).is_none() {
        return;
    }
    let recipe = recipe(&folder, "videos", "out", "keep = {}");
    assert_eq!(curate(&["run", &recipe]).code, Some(0));
    let found = rows(&folder, "out", "motion, camera_motion, motion_subject, motion_method");
    for (name, (kind, speed)) in &truth {
        let [motion, class, subject, method] = &found[name][..] else { panic!("four columns") };
        println!("{name}: {motion} {class}, subject {subject}");
        let off = (number(motion) - speed).abs();
        assert!(off <= 0.15 * speed + 0.001, "{name}: {motion}");
        assert_eq!(class, kind, "{name}");
        assert_eq!(method, "dis");
        assert!(number(subject) <= 0.15 * speed + 0.002, "{name}: subject {subject}");
    }
}

/// A square that covers an eighth of the picture and moves over a background that pans.
#[test]
fn a_subject_is_told_from_the_camera() {
    let folder = Folder::new();
    let (camera, share, down) = (0.1, 0.125, 0.15);
    let name = "subject.mp4";
    let mut job = job(&folder.path("videos").join(name), "pan_right", camera, 30);
    job["object"] = json!({ "share": share, "dx": 0.0, "dy": down });
    if render(&[job]).is_none() {
        return;
    }
    let recipe = recipe(&folder, "videos", "out", "pairs = 8");
    assert_eq!(curate(&["run", &recipe]).code, Some(0));
    let found = rows(&folder, "out", "motion, motion_camera, motion_subject, camera_motion");
    let [motion, found_camera, subject, class] = &found[name][..] else { panic!("four columns") };
    println!("motion {motion}, camera {found_camera}, subject {subject}, {class}");
    let near = |text: &str, wanted: f64, share: f64| (number(text) / wanted - 1.0).abs() < share;
    assert!(near(found_camera, camera, 0.1), "camera {found_camera}");
    assert!(near(motion, (1.0 - share) * camera + share * down, 0.15), "motion {motion}");
    // Seen from the camera, the square moves down and to the right.
    assert!(near(subject, share * camera.hypot(down), 0.3), "subject {subject}");
    assert_eq!(class, "pan_right");
}

/// The same frames give the same values, wherever in a film they are; also when its edges are trimmed,
/// and more frames have been seen than belong to it.
#[test]
fn a_clip_has_the_same_values_in_every_film() {
    let folder = Folder::new();
    // The scene between others of these lengths, so that it begins at odd places.
    let film = |name: &str, before: f64, after: f64| {
        let look =
            |length: f64, look: &str| format!("-f lavfi -t {length} -i {look}=s=320x180:rate=25 ");
        let inputs =
            look(before, "testsrc2") + &look(4.0, "mandelbrot") + &look(after, "rgbtestsrc");
        let parts: Vec<usize> = [before, 4.0, after]
            .iter()
            .enumerate()
            .filter(|(_, s)| **s > 0.0)
            .map(|p| p.0)
            .collect();
        let formats: String = parts.iter().map(|p| format!("[{p}]format=yuv420p[v{p}];")).collect();
        let joined: String = parts.iter().map(|p| format!("[v{p}]")).collect();
        let graph = format!("{formats}{joined}concat=n={}:v=1[out]", parts.len());
        let lossless = "-map [out] -c:v libx264 -qp 0 -preset ultrafast -g 40 -bf 2";
        let line = format!("{inputs} -filter_complex {graph} {lossless}");
        make(&folder.path("videos"), name, &line);
    };
    film("alone.mp4", 0.0, 0.0);
    film("later.mp4", 3.32, 0.0);
    film("within.mp4", 1.16, 1.0);
    film("within_too.mp4", 2.6, 2.04);
    for (out, method, trim_s) in
        [("dis", "dis", 0.0), ("farneback", "farneback", 0.0), ("trimmed", "dis", 0.2)]
    {
        let path = folder.recipe(&format!("{out}.toml"), out, "");
        let text = std::fs::read_to_string(&path).unwrap();
        let motion = format!(
            "trim_s = {trim_s}\n[[stage]]\nkind = \"motion\"\nmethod = \"{method}\"\nkeep = {{}}\n"
        );
        std::fs::write(&path, text + &motion).unwrap();
        assert_eq!(curate(&["run", &path]).code, Some(0));
        let columns = "motion, motion_px_p95, motion_camera, motion_subject, camera_motion";
        let sql = format!(
            "select source_uri, {columns} from clips where num_frames between 85 and 100 \
             order by source_uri"
        );
        let rows = folder.rows(out, &sql);
        let values: BTreeMap<&str, &str> = rows
            .lines()
            .skip(1)
            .map(|line| line.rsplit('/').next().unwrap().split_once(',').unwrap())
            .collect();
        assert_eq!(values.len(), 4, "{rows}");
        assert!(!values["alone.mp4"].starts_with("0.0,"), "{rows}");
        assert_eq!(values["within.mp4"], values["within_too.mp4"], "{out}");
        if trim_s == 0.0 {
            assert_eq!(values["alone.mp4"], values["later.mp4"], "{out}");
            assert_eq!(values["alone.mp4"], values["within.mp4"], "{out}");
        } else {
            assert_ne!(values["alone.mp4"], values["within.mp4"], "nothing was trimmed");
        }
    }
}

/// Codecs without vectors are not measured by `mvs`, and a still clip of one that has some is still.
#[test]
fn motion_vectors_are_never_a_wrong_zero() {
    let folder = Folder::new();
    let videos = folder.path("videos");
    let moving = "-f lavfi -t 2 -i testsrc2=s=320x180:rate=25 -pix_fmt yuv420p";
    make(&videos, "h264.mp4", &format!("{moving} -c:v libx264 -bf 2"));
    make(&videos, "mpeg4.mp4", &format!("{moving} -c:v mpeg4 -q:v 3"));
    make(&videos, "mpeg2.ts", &format!("{moving} -c:v mpeg2video -q:v 3"));
    make(&videos, "vp9.webm", &format!("{moving} -c:v libvpx-vp9 -deadline realtime -cpu-used 8"));
    make(&videos, "intra.mov", &format!("{moving} -c:v mjpeg -q:v 3"));
    let still = "-f lavfi -t 2 -i smptehdbars=s=320x180:rate=25 -pix_fmt yuv420p -c:v libx264";
    make(&videos, "still.mp4", still);
    let recipe = recipe(&folder, "videos", "out", "method = 'mvs'");
    assert_eq!(curate(&["run", &recipe]).code, Some(0));
    let found = rows(&folder, "out", "motion, motion_method, drop_reason");
    for name in ["h264.mp4", "mpeg4.mp4", "mpeg2.ts"] {
        assert!(number(&found[name][0]) > 0.005, "{name}: {:?}", found[name]);
    }
    for name in ["vp9.webm", "intra.mov"] {
        assert_eq!(found[name], ["", "mvs", ""], "{name}");
    }
    assert!(number(&found["still.mp4"][0]) < 0.001, "{:?}", found["still.mp4"]);
    assert_eq!(found["still.mp4"][2], "too_still");
}
