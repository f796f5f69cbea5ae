//! Forms of clips, still pictures and ways of reading, through the real binary.

use std::fs;

use curate_testing::{ffmpeg, make};

use crate::util::{Folder, Said, curate};

/// Writes a recipe over `videos` from its sections.
pub(crate) fn recipe(folder: &Folder, name: &str, input: &str, output: &str, rest: &str) -> String {
    let text = format!(
        "[input]\npaths = [\"videos\"]\n{input}\n[output]\npath = \"{name}\"\n{output}\n{rest}\n"
    );
    let path = format!("{name}.toml");
    fs::write(folder.path(&path), text).unwrap();
    folder.text(&path)
}

pub(crate) const SCENES: &str = "[[stage]]\nkind = \"scenes\"\nmin_s = 2.0";

pub(crate) fn run(recipe: &str, code: i32) -> Said {
    let said = curate(&["run", recipe]);
    assert_eq!(said.code, Some(code), "{}", said.err);
    said
}

/// The bytes of a clip of the table.
fn extract(folder: &Folder, out: &str, id: &str) -> Vec<u8> {
    let path = folder.path("clip");
    let said = curate(&["extract", &folder.text(out), id, "-o", path.to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    fs::read(path).unwrap()
}

#[test]
fn transcoded_clips_have_the_same_bytes_however_many_workers_made_them() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4, 1, 3]);
    folder.video("b.mp4", &[5]);
    let mut bytes: Vec<Vec<Vec<u8>>> = Vec::new();
    for cpus in [1, 2, 4] {
        let out = format!("out{cpus}");
        let output =
            "form = \"transcode\"\n[output.transcode]\npreset = \"veryfast\"\nkey_every = 8";
        let rest = format!("[run]\ncpus = {cpus}\n{SCENES}");
        let said = run(&recipe(&folder, &out, "", output, &rest), 0);
        assert!(said.err.contains("decoded again to write clips"), "{}", said.err);
        let ids = folder.rows(&out, "select clip_id from clips where status = 'kept' order by 1");
        bytes.push(ids.lines().skip(1).map(|id| extract(&folder, &out, id)).collect());
        let forms = "select distinct video_form from clips where status = 'kept'";
        assert_eq!(folder.rows(&out, forms).trim(), "video_form\ntranscode");
    }
    assert_eq!(bytes[0].len(), 3);
    assert!(bytes[0] == bytes[1] && bytes[1] == bytes[2]);
}

#[test]
fn encoders_wait_for_memory_and_the_run_says_how_much_would_do() {
    let folder = Folder::new();
    let source = "-f lavfi -i testsrc2=s=640x360:r=25:d=6 -c:v libx264 -preset ultrafast";
    fs::create_dir_all(folder.path("videos")).unwrap();
    make(&folder.path("videos"), "a.mp4", source);
    let seconds = "[[stage]]\nkind = \"scenes\"\nmin_s = 0.5\ndetectors = [{ kind = \"fixed\", seconds = 1.0 }]";
    let mut bytes: Vec<Vec<Vec<u8>>> = Vec::new();
    // One clip takes 30 MiB, and transcoding may take half of it all.
    for (memory, waits) in [("32MiB", true), ("1GiB", false)] {
        let rest = format!("[run]\ncpus = 4\nmemory = \"{memory}\"\n{seconds}");
        let said = run(&recipe(&folder, memory, "", "form = \"transcode\"", &rest), 0);
        let told = "for a clip): 4 at a time take `[run] memory = \"256MiB\"`";
        assert_eq!(said.err.contains(told), waits, "{}", said.err);
        let ids = folder.rows(memory, "select clip_id from clips where status = 'kept' order by 1");
        bytes.push(ids.lines().skip(1).map(|id| extract(&folder, memory, id)).collect());
    }
    assert_eq!(bytes[0].len(), 6);
    assert!(bytes[0] == bytes[1]);
}

#[test]
fn other_settings_of_the_encoder_are_a_backfill_and_impossible_ones_an_error() {
    let folder = Folder::new();
    folder.video("a.mp4", &[3]);
    let with = |crf: &str| {
        let output = format!(
            "form = \"transcode\"\n[output.transcode]\npreset = \"ultrafast\"\ncrf = {crf}"
        );
        recipe(&folder, "out", "", &output, SCENES)
    };
    run(&with("18"), 0);
    let size = || {
        let id = folder.rows("out", "select clip_id from clips");
        extract(&folder, "out", id.lines().nth(1).unwrap()).len()
    };
    let large = size();
    let said = curate(&["run", &with("40")]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("--backfill"), "{}", said.err);
    let said = curate(&["run", &with("40"), "--backfill"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(size() < large);
    let said = curate(&["check", &with("99")]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("[output.transcode] crf"), "{}", said.err);
}

#[test]
fn bytes_of_dropped_clips_are_stored_where_that_is_asked_for() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4, 1]);
    let rest = format!("{SCENES}\n[[stage]]\nkind = \"motion\"\nkeep = {{ min = 0.0 }}");
    run(&recipe(&folder, "kept", "", "", &rest), 0);
    run(&recipe(&folder, "all", "", "bytes = \"all\"", &rest), 0);
    let sql =
        "select status, video_form, motion_method is null as unmeasured from clips order by 1";
    assert_eq!(
        folder.rows("kept", sql).lines().collect::<Vec<_>>(),
        ["status,video_form,unmeasured", "dropped,,true", "kept,copy,false"]
    );
    assert_eq!(
        folder.rows("all", sql).lines().collect::<Vec<_>>(),
        ["status,video_form,unmeasured", "dropped,copy,true", "kept,copy,false"],
        "bytes are stored, and nothing is measured for that"
    );
    let dropped = folder.rows("all", "select clip_id from clips where status = 'dropped'");
    assert!(!extract(&folder, "all", dropped.lines().nth(1).unwrap()).is_empty());
    // Let in by another threshold, it lacks what was not measured, and nothing else.
    let said = curate(&["refilter", &folder.text("all"), "--set", "scenes.min_s=0.5"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let path = recipe(&folder, "all", "", "bytes = \"all\"", &rest.replace("2.0", "0.5"));
    let said = curate(&["run", &path, "--backfill"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let sql = "select count(*) from clips where status = 'kept' and video_form = 'copy' \
               and motion_method is not null";
    assert_eq!(folder.rows("all", sql).lines().nth(1), Some("2"));
    // And a run over it again finds nothing to do.
    let said = run(&path, 0);
    assert!(said.err.contains("nothing was decoded"), "{}", said.err);
    // The other way round: the same table, and bytes are filled in.
    let path = recipe(&folder, "kept", "", "bytes = \"all\"", &rest);
    let said = run(&path, 3);
    assert!(said.err.contains("clip: 1 clips not measured"), "{}", said.err);
    let said = curate(&["run", &path, "--backfill"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let sql = "select status, video_form from clips order by 1";
    assert_eq!(folder.rows("kept", sql), "status,video_form\ndropped,copy\nkept,copy\n");
    let path = recipe(&folder, "none", "", "bytes = \"none\"", SCENES);
    run(&path, 0);
    assert_eq!(
        folder.rows("none", "select distinct video_form from clips where status = 'kept'").trim(),
        "video_form\nnone"
    );
}

/// A row says how large its clip is, whatever the file begins with.
#[test]
fn a_clip_has_one_size() {
    let folder = Folder::new();
    let part = |size: &str, offset: f64| {
        let how = "-c:v libx264 -preset veryfast -g 25 -bf 2";
        let line =
            format!("-f lavfi -i testsrc2=s={size}:r=25:d=4 {how} -output_ts_offset {offset}");
        fs::read(make(folder.path("").as_path(), &format!("{size}.ts"), &line)).unwrap()
    };
    let both = [part("176x144", 0.0), part("128x96", 4.2)].concat();
    fs::write(folder.path("videos/both.ts"), both).unwrap();
    for form in ["copy", "transcode"] {
        run(&recipe(&folder, form, "", &format!("form = \"{form}\""), SCENES), 0);
        let sql = "select width, height, num_frames, status from clips order by start_pts";
        let rows = folder.rows(form, sql);
        assert_eq!(rows, "width,height,num_frames,status\n176,144,100,kept\n128,96,100,kept\n");
        let ids = folder.rows(form, "select clip_id from clips order by start_pts");
        for (id, size) in ids.lines().skip(1).zip([(176, 144), (128, 96)]) {
            extract(&folder, form, id);
            let clip = folder.text("clip");
            let seen = ffmpeg(["-i", &clip, "-pix_fmt", "gray", "-f", "rawvideo", "-"]);
            assert_eq!(seen.len(), 100 * size.0 * size.1, "{form}: {size:?}");
        }
    }
}

#[test]
fn still_pictures_are_clips_of_one_frame() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4]);
    let videos = folder.path("videos");
    make(&videos, "b.png", "-f lavfi -i testsrc2=s=640x360 -frames:v 1");
    make(&videos, "c.gif", "-f lavfi -i testsrc2=s=64x36:r=10:d=4");
    let rest = format!("{SCENES}\n[[stage]]\nkind = \"motion\"\nkeep = {{ min = 0.0 }}");
    let said = run(&recipe(&folder, "plain", "", "form = \"none\"", &rest), 0);
    assert!(said.err.contains("left aside: 1 other_type"), "{}", said.err);
    for form in ["copy", "transcode"] {
        let output = format!("form = \"{form}\"");
        let code = if form == "copy" { 3 } else { 0 };
        run(&recipe(&folder, form, "images = true", &output, &rest), code);
        let sql = "select kind, status, video_form, num_frames, width, height, motion is null as still, \
                   thumb is null as bare from clips order by source_uri";
        let rows = folder.rows(form, sql);
        let rows: Vec<&str> = rows.lines().skip(1).collect();
        assert_eq!(rows[1], "image,kept,image,1,640,360,true,false");
        let fate = if form == "copy" { "video,failed," } else { "video,kept," };
        assert!(rows[2].starts_with(fate), "a GIF is video, and is not copied: {}", rows[2]);
        let id = folder.rows(form, "select clip_id from clips where kind = 'image'");
        let bytes = extract(&folder, form, id.lines().nth(1).unwrap());
        assert_eq!(bytes, fs::read(videos.join("b.png")).unwrap());
    }
}

#[test]
fn interlaced_sources_and_tracks_are_read_as_the_recipe_says() {
    let folder = Folder::new();
    let fields =
        "-f lavfi -i testsrc2=s=320x240:r=50:d=4,interlace -c:v libx264 -flags +ildct+ilme";
    make(&folder.path("videos"), "a.mp4", fields);
    run(&recipe(&folder, "made", "", "form = \"none\"", SCENES), 0);
    assert_eq!(folder.rows("made", "select status from clips").lines().nth(1), Some("kept"));
    let input = "interlaced = \"refuse\"";
    run(&recipe(&folder, "refused", input, "form = \"none\"", SCENES), 3);
    let units = folder.rows("refused", "select status, error_kind from units");
    assert_eq!(units.lines().nth(1), Some("failed,interlaced"));
    run(&recipe(&folder, "track", "track = 3", "form = \"none\"", SCENES), 3);
    let units = folder.rows("track", "select status, error_kind from units");
    assert_eq!(units.lines().nth(1), Some("failed,no_track"));
    // How sources are read decides which clips there are.
    let path = recipe(&folder, "made", "track = 0", "form = \"none\"", SCENES);
    let said = curate(&["run", &path]);
    assert_eq!(said.code, Some(2), "{}", said.err);
}

#[test]
fn a_plan_estimates_without_writing() {
    let folder = Folder::new();
    for name in ["a.mp4", "b.mp4", "c.mp4", "d.mp4"] {
        folder.video(name, &[4, 1]);
    }
    let path = recipe(&folder, "out", "", "", SCENES);
    let said = curate(&["plan", &path, "--sources", "2", "--json"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let plan: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((plan["sources"].as_u64(), plan["sampled_sources"].as_u64()), (Some(4), Some(2)));
    assert_eq!((plan["clips"].as_f64(), plan["kept"].as_f64()), (Some(8.0), Some(4.0)));
    assert!((plan["video_seconds"].as_f64().unwrap() - 20.0).abs() < 0.1, "{plan}");
    let table = plan["table_bytes"].as_f64().unwrap();
    let videos: u64 = fs::read_dir(folder.path("videos"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(table > 0.3 * videos as f64 && table < 2.0 * videos as f64, "{table} of {videos}");
    assert!(!folder.path("out").exists());
    let said = curate(&["plan", &path]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("estimate"), "{}", said.out);
}

#[test]
fn recordings_that_overlap_are_partial_and_no_clip_shows_the_other_one() {
    let folder = Folder::new();
    let part = |look: &str, offset: f64| {
        let how = "-c:v libx264 -preset veryfast -g 5 -bf 2 -bsf:v dump_extra";
        let line = format!("-f lavfi -i {look}=s=96x64:r=25:d=4 {how} -output_ts_offset {offset}");
        fs::read(make(folder.path("").as_path(), &format!("{look}.ts"), &line)).unwrap()
    };
    let both = [part("testsrc2", 0.0), part("testsrc", 3.2)].concat();
    fs::write(folder.path("videos/both.ts"), both).unwrap();
    let scenes = SCENES.replace("2.0", "0.1");
    let rest = format!("{scenes}\ndetectors = [{{ kind = \"fixed\", seconds = 0.4 }}]");
    for form in ["copy", "transcode"] {
        let said = run(&recipe(&folder, form, "", &format!("form = \"{form}\""), &rest), 3);
        let units = folder.rows(form, "select status, error_kind, error_message from units");
        assert!(units.contains("partial,inexact_times,"), "{units}");
        assert!(units.contains("of 200 frames have times that go back"), "{units}");
        let failed = "select distinct error_kind from clips where status = 'failed'";
        assert_eq!(folder.rows(form, failed), "error_kind\ntimes\n");
        let count = |status: &str| -> u32 {
            let sql = format!("select count(*) from clips where status = '{status}'");
            folder.rows(form, &sql).lines().nth(1).unwrap().parse().unwrap()
        };
        let (kept, failed) = (count("kept"), count("failed"));
        assert!(kept >= 14, "{kept} clips are kept");
        let told = said.err.lines().find_map(|line| line.strip_suffix(" failed: times"));
        let told: Option<u32> = told.and_then(|count| count.trim().parse().ok());
        assert_eq!(told, Some(failed), "the funnel counts them: {}", said.err);
    }
}

/// A copy would keep wrong times, so that it is no advice where the container has them.
#[test]
fn wrong_times_are_told_with_what_mends_them() {
    let folder = Folder::new();
    // A picture a second, and each has its decode time.
    let line = "-f lavfi -i testsrc2=s=96x64:r=1:d=80 -c:v libx264 -g 10 -bf 3 \
                -x264-params b-adapt=0:scenecut=0";
    let timed = make(&folder.path(""), "timed.mp4", line);
    let line = format!("-i {} -c copy -bsf:v setts=pts=DTS", timed.display());
    make(&folder.path("videos"), "back.mkv", &line);
    let told = "select error_kind, error_message from units";
    run(&recipe(&folder, "out", "", "", SCENES), 3);
    let said = folder.rows("out", told);
    assert!(said.contains("times,") && said.contains("setpts=N/FRAME_RATE/TB"), "{said}");
    let line = format!("-i {} -vf setpts=N/FRAME_RATE/TB", folder.text("videos/back.mkv"));
    make(&folder.path("videos"), "mended.mp4", &line);
    fs::remove_file(folder.path("videos/back.mkv")).unwrap();
    run(&recipe(&folder, "mended", "", "", SCENES), 0);
    let frames = "select sum(frames_source) as n from units";
    assert_eq!(folder.rows("mended", frames), "n\n80\n");
}

#[test]
fn two_recordings_in_one_file_make_no_clips_and_say_how_to_part_them() {
    let folder = Folder::new();
    let color = |color| {
        let line = format!("-f lavfi -i color={color}:s=64x64:r=25:d=4 -c:v libx264");
        fs::read(make(folder.path("").as_path(), &format!("{color}.ts"), &line)).unwrap()
    };
    fs::create_dir_all(folder.path("videos")).unwrap();
    fs::write(folder.path("videos/both.ts"), [color("red"), color("blue")].concat()).unwrap();
    folder.video("whole.mp4", &[3]);
    for (name, rest) in [("full", ""), ("keys", "scan = \"keyframes\"")] {
        run(&recipe(&folder, name, "", "", &format!("{SCENES}\n{rest}")), 3);
        let units = "select error_kind, error_message from units where status = 'failed'";
        let failed = folder.rows(name, units);
        assert!(failed.contains("times,") && failed.contains("start anew"), "{failed}");
        // Its times would be those of the other recording.
        let clips = folder
            .rows(name, "select count(*) as clips from clips where source_uri like '%both.ts'");
        assert_eq!(clips.trim(), "clips\n0");
        let kept = folder.rows(name, "select count(*) as clips from clips where status = 'kept'");
        assert_eq!(kept.trim(), "clips\n1");
    }
}

#[test]
fn a_cut_file_is_partial_and_bare_motion_jpeg_is_video_when_it_is_named() {
    let folder = Folder::new();
    let videos = folder.path("videos");
    let whole =
        make(&videos, "cut.avi", "-f lavfi -i testsrc2=s=96x64:r=25:d=4 -c:v ffv1 -g 1 -slices 4");
    let bytes = fs::read(&whole).unwrap();
    fs::write(&whole, &bytes[..bytes.len() * 6 / 10]).unwrap();
    make(&folder.path(""), "bare.mjpeg", "-f lavfi -i testsrc2=s=96x64:r=25:d=4 -c:v mjpeg");
    let text = "[input]\npaths = [\"videos\", \"bare.mjpeg\"]\n[output]\npath = \"out\"\n\
                form = \"none\"\n[[stage]]\nkind = \"scenes\"\nmin_s = 1.0";
    fs::write(folder.path("both.toml"), text).unwrap();
    run(&folder.text("both.toml"), 3);
    let units = "select status, frames_decoded as frames from units order by source_uri";
    let units = folder.rows("out", units);
    let [bare, cut] = units.lines().skip(1).collect::<Vec<_>>()[..] else {
        panic!("two units are expected: {units}");
    };
    assert_eq!(bare, "ok,100");
    let frames = cut.strip_prefix("partial,").and_then(|frames| frames.parse::<u32>().ok());
    assert!(frames.is_some_and(|frames| (40..70).contains(&frames)), "{cut}");
}

/// The container says how long a frame is shown; the next unit's first frame says it better.
#[test]
fn units_of_a_film_of_varying_rate_meet() {
    let folder = Folder::new();
    let look = "select=not(mod(n\\,10))+between(t\\,3.8\\,4.6)+between(t\\,7.9\\,8.6)";
    let how = "-c:v libx264 -bf 2 -g 200 -force_key_frames 4.2,8.2";
    let line = format!("-f lavfi -i testsrc2=s=160x120:r=50:d=16 -vf {look} -vsync vfr {how}");
    let timed = make(&folder.path(""), "v.mp4", &line);
    make(&folder.path("videos"), "v.mkv", &format!("-i {} -c copy", timed.display()));
    let output = "form = \"copy\"\nunit_minutes = 0.066";
    let scenes = "[[stage]]\nkind = \"scenes\"\nmin_s = 0.01\n\
                  detectors = [{ kind = \"fixed\", seconds = 20.0 }]";
    run(&recipe(&folder, "out", "", output, scenes), 0);
    let spans = folder.spans("out");
    assert!(spans.len() >= 3, "{spans:?}");
    assert!(spans.windows(2).all(|two| two[0].1 == two[1].0), "{spans:?}");
}
