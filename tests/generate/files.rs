//! What is replaced and what never is, signals, and rows of tables.

use std::{
    fs,
    time::{Duration, Instant},
};

use curate_testing::program;

use super::{SMALL, generate, is_ready, made};
use crate::util::{CURATE, Folder, curate, said};

#[test]
fn force_replaces_clips_and_nothing_else() {
    if !is_ready() {
        return;
    }
    let folder = Folder::new();
    let foreign = "{\"name\": \"package\", \"version\": \"1.0.0\"}\n";
    fs::write(folder.path("package.json"), foreign).unwrap();
    let prompts = folder.text("list.json");
    let line = "{\"prompt\": \"x\", \"seed\": 1}\n";
    fs::write(&prompts, line).unwrap();
    let package = folder.text("package.png");
    let list = folder.text("list.png");
    for args in [&["x", "-o", &package][..], &["--prompts", &prompts, "-o", &list]] {
        let said = generate(&[args, &["--frames", "1", "--force"]].concat());
        assert_eq!(said.code, Some(2), "{}", said.err);
        assert!(said.err.contains("is no record of a clip, so it is not replaced"), "{}", said.err);
    }
    assert_eq!(fs::read_to_string(folder.path("package.json")).unwrap(), foreign);
    assert_eq!(fs::read_to_string(&prompts).unwrap(), line);
    assert!(!folder.path("package.png").exists() && !folder.path("list.png").exists());

    // A folder of frames is a clip; one with anything else in it is not.
    let frames = ["x", "-o", &folder.text("out"), "--format", "png"];
    made(&frames);
    let more = [&frames[..], &["--steps", "1", "--force"]].concat();
    made(&more);
    fs::write(folder.path("out/x-0/notes.txt"), "mine").unwrap();
    let said = generate(&[&frames[..], &["--steps", "3", "--force"]].concat());
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("is a folder with notes.txt in it"), "{}", said.err);
    assert_eq!(fs::read_dir(folder.path("out/x-0")).unwrap().count(), 17);
}

#[test]
fn the_first_signal_ends_after_a_clip_and_the_same_command_goes_on() {
    if !is_ready() {
        return;
    }
    let folder = Folder::new();
    let prompts = folder.text("prompts.txt");
    fs::write(&prompts, "a word\n".repeat(12)).unwrap();
    let out = folder.path("out");
    let args = ["--prompts", &prompts, "-o", out.to_str().unwrap(), "--format", "png"];
    let all = [&["generate"], SMALL, &args].concat();
    let mut command = program(CURATE);
    command.args(&all).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(120);
    while !out.join("0000").exists() {
        assert!(Instant::now() < until, "no clip was made");
        std::thread::sleep(Duration::from_millis(5));
    }
    let sent = program("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let told = said(&child.wait_with_output().unwrap());
    assert_eq!(told.code, Some(1), "{}", told.err);
    assert!(told.err.contains("the same command goes on"), "{}", told.err);
    let names = || -> Vec<String> {
        let entries = fs::read_dir(&out).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    let found = names();
    assert!(found.iter().all(|name| !name.contains("part")), "{found:?}");
    assert!(found.len() % 2 == 0 && found.len() < 24, "{found:?}");
    let rest = made(&args);
    assert_eq!(rest.out.lines().count(), 12 - found.len() / 2);
    assert_eq!(names().len(), 24);
}

#[test]
fn clips_with_the_same_bytes_are_one_row() {
    if !is_ready() {
        return;
    }
    let folder = Folder::new();
    let prompts = folder.text("prompts.jsonl");
    fs::write(&prompts, "{\"prompt\":\"x\",\"seed\":1}\n".repeat(2)).unwrap();
    for (table, batch) in [("one", "1"), ("two", "2")] {
        let (out, path) = (folder.text(&format!("out-{table}")), folder.text(table));
        let args = ["--prompts", &prompts, "-o", &out, "--append", &path, "--batch", batch];
        for _ in 0..2 {
            made(&args);
            let rows = folder
                .rows(table, "select count(distinct clip_id) as ids, count(*) as rows from clips");
            // A batch moves clips by rounding, but these two are alike whatever it does.
            assert_eq!(rows, "ids,rows\n1,1\n", "{table}");
        }
    }
}

#[test]
fn clips_become_rows_of_a_table_once() {
    if !is_ready() {
        return;
    }
    let folder = Folder::new();
    let (out, table) = (folder.text("out"), folder.text("table"));
    let args = ["a cat", "a dog", "-o", &out, "--append", &table];
    let said = made(&args);
    assert!(said.err.contains("1 clips are in the table"), "{}", said.err);
    let sql = "select caption, caption_model, status, num_frames, width, fps, video_form, \
               round(end_s, 3) as s from clips order by 1";
    let row = "prompt,kept,16,64,24.0,transcode,0.667";
    let wanted = format!("a cat,{row}\na dog,{row}\n");
    let rows = folder.rows("table", sql);
    assert!(rows.ends_with(&wanted), "{rows}");
    made(&args);
    assert_eq!(folder.rows("table", sql), rows);
    let id = folder.rows("table", "select clip_id from clips where caption = 'a dog'");
    let id = id.lines().last().unwrap();
    let file = folder.text("dog.mp4");
    assert_eq!(curate(&["extract", &table, id, "-o", &file]).code, Some(0));
    assert!(fs::read(&file).unwrap() == fs::read(folder.path("out/a-dog-1.mp4")).unwrap());
    let extra = "select extra from clips where caption = 'a dog'";
    let extra = folder.rows("table", extra);
    for part in ["seed\"\":1", "transformer_sha256\"\":\"\"preset tiny, seed 1", "dpm++2m"] {
        assert!(extra.contains(part), "{part}: {extra}");
    }
}

/// A limit on the size of files, which a write then meets as it would meet a full disk.
#[test]
fn a_full_disk_leaves_what_was_there() {
    if !is_ready() {
        return;
    }
    let folder = Folder::new();
    let target = folder.text("clip.mp4");
    made(&["a cat", "-o", &target]);
    let read = || [fs::read(&target).unwrap(), fs::read(folder.path("clip.json")).unwrap()];
    let before = read();
    let (small, force) = (SMALL.join(" "), "--force");
    let line = format!(
        "trap '' XFSZ; ulimit -f 1; exec {CURATE} generate 'a dog' {small} {force} -o {target}"
    );
    let full = said(&program("bash").args(["-c", &line]).output().unwrap());
    assert!(full.code != Some(0) && full.err.contains("clip.mp4"), "{}", full.err);
    assert!(read() == before, "the old clip or its record is gone");
    let names = fs::read_dir(folder.path("")).unwrap().map(|file| file.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().contains(".part")).collect();
    assert!(left.is_empty(), "{left:?}");
}
