//! Listing whole trees and manifests, as a run does.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::Path,
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, BinaryArray, Float64Array, Int64Array, StringArray},
    datatypes::{DataType, Field, Schema},
};
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;

use super::*;

fn tree(files: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        write(&dir, file, file);
    }
    dir
}

fn write(dir: &TempDir, file: &str, content: &str) {
    let path = dir.path().join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn config(paths: &[&str]) -> InputConfig {
    InputConfig { paths: paths.iter().map(|&path| path.to_owned()).collect(), ..Default::default() }
}

fn list(dir: &TempDir, config: &InputConfig) -> Vec<Listing> {
    open(config, dir.path(), Path::new("out")).unwrap().collect()
}

/// One line per listing: `path`, `path: reason` or `path! kind`.
fn check(dir: &TempDir, config: &InputConfig, expect: &[&str]) {
    let root = dir.path().canonicalize().unwrap();
    let name = |path: &Path| {
        let path = path.strip_prefix(dir.path()).or(path.strip_prefix(&root)).unwrap_or(path);
        path.to_string_lossy().into_owned()
    };
    let listed: Vec<String> = list(dir, config)
        .into_iter()
        .map(|listing| match listing {
            Listing::Source(source) => name(&source.path),
            Listing::Skipped { path, reason } => format!("{}: {}", name(&path), reason.word()),
            Listing::Failed(failure) => format!("{}! {}", name(&failure.path), failure.kind.word()),
        })
        .collect();
    assert_eq!(listed, expect);
}

fn problems(dir: &TempDir, config: &InputConfig) -> Vec<String> {
    let errors = open(config, dir.path(), Path::new("out")).err().expect("problems");
    let root = format!("{}/", dir.path().display());
    errors.iter().map(|error| error.to_string().replace(&root, "")).collect()
}

fn sources(dir: &TempDir, config: &InputConfig) -> Vec<Source> {
    let only = |listing| if let Listing::Source(source) = listing { Some(source) } else { None };
    list(dir, config).into_iter().filter_map(only).collect()
}

#[test]
fn a_folder_is_listed_by_name_and_other_types_are_counted() {
    let dir = tree(&["v/b.MP4", "v/a/z.webm", "v/c.txt", "v/noext", "v/.x.mp4", "v/B.mkv"]);
    let expect = ["v/.x.mp4: hidden", "v/B.mkv", "v/a/z.webm", "v/b.MP4", "v/c.txt: other_type"];
    check(&dir, &config(&["v"]), &[&expect[..], &["v/noext: other_type"]].concat());

    let flat = InputConfig { recursive: false, ..config(&["v"]) };
    let expect = ["v/.x.mp4: hidden", "v/B.mkv", "v/a: subfolder", "v/b.MP4"];
    check(&dir, &flat, &[&expect[..], &["v/c.txt: other_type", "v/noext: other_type"]].concat());

    let texts = InputConfig { extensions: Some(vec![".TXT".to_owned()]), ..config(&["v/*"]) };
    let expect = ["v/B.mkv: other_type", "v/a/z.webm: other_type", "v/b.MP4: other_type"];
    check(&dir, &texts, &[&expect[..], &["v/c.txt", "v/noext: other_type"]].concat());
}

#[test]
fn a_file_named_explicitly_is_always_tried() {
    let dir = tree(&["a.dat", "b.dat", "c[1].dat"]);
    check(&dir, &config(&["b.dat"]), &["b.dat"]);
    check(&dir, &config(&["*.dat"]), &["a.dat", "b.dat", "c[1].dat"]);
    check(&dir, &config(&["c[1].dat"]), &["c[1].dat"]);
    check(&dir, &config(&["?.d*"]), &["a.dat: other_type", "b.dat: other_type"]);
}

#[test]
fn the_same_file_is_listed_once() {
    let dir = tree(&["v/a.mp4", "v/b.mp4"]);
    symlink("a.mp4", dir.path().join("v/link.mp4")).unwrap();
    let uri = uri::from_path(&dir.path().join("v/b.mp4"));
    check(
        &dir,
        &config(&["v/../v/b.mp4", "v", "v", &uri, "v/l*.mp4"]),
        &[
            "v/../v/b.mp4",
            "v/a.mp4",
            "v/b.mp4: duplicate",
            "v/link.mp4: duplicate",
            "v: visited_folder",
            "v/b.mp4: duplicate",
            "v/link.mp4: duplicate",
        ],
    );
}

#[test]
fn links_are_followed_and_cycles_end() {
    let dir = tree(&["v/a.mp4", "elsewhere/b.mp4", "elsewhere/blob"]);
    let link = |target: &str, name: &str| symlink(target, dir.path().join(name)).unwrap();
    link("../elsewhere", "v/folder");
    link("../elsewhere/blob", "v/named.mp4");
    link("..", "elsewhere/up");
    link("nowhere.mp4", "v/x_dangling.mp4");
    link("nowhere", "v/x_dangling");
    link("nowhere.txt", "v/x_dangling.txt");
    link("y_loop.mp4", "v/y_loop.mp4");
    check(
        &dir,
        &config(&["v"]),
        &[
            "v/a.mp4",
            "v/folder/b.mp4",
            "v/folder/blob: other_type",
            "v/folder/up/elsewhere: visited_folder",
            "v/folder/up/v: visited_folder",
            "v/named.mp4",
            "v/x_dangling! dangling_link",
            "v/x_dangling.mp4! dangling_link",
            "v/x_dangling.txt: other_type",
            "v/y_loop.mp4! unreadable",
        ],
    );
    let found = &sources(&dir, &config(&["v/named.mp4"]))[0];
    assert!(found.uri.ends_with("/elsewhere/blob"), "{}", found.uri);
}

#[test]
fn names_that_are_not_utf8_work() {
    let dir = tree(&[]);
    let name = OsStr::from_bytes(b"caf\xe9 1.mp4");
    fs::write(dir.path().join(name), "x").unwrap();
    fs::write(dir.path().join("list.csv"), b"path,caption\ncaf\xe9 1.mp4,a caf\xc3\xa9\n").unwrap();
    for paths in [".", "*.mp4", "list.csv"] {
        let found = sources(&dir, &config(&[paths]));
        assert_eq!(found.len(), 1, "{paths}");
        assert_eq!(found[0].path.file_name(), Some(name));
        assert!(found[0].uri.ends_with("/caf%E9%201.mp4"), "{}", found[0].uri);
        assert_eq!(uri::to_path(&found[0].uri), Some(found[0].path.canonicalize().unwrap()));
    }
}

#[test]
fn the_output_folder_is_never_read() {
    let dir = tree(&["v/a.mp4", "v/out/b.mp4", "v/out2/c.mp4", "l.csv"]);
    symlink("out", dir.path().join("v/link")).unwrap();
    fs::write(dir.path().join("l.csv"), "path\nv/out/b.mp4\n").unwrap();
    let list = |paths: &[&str], out: &str| {
        open(&config(paths), dir.path(), Path::new(out)).map(Iterator::collect::<Vec<_>>)
    };
    let listed = list(&["v", "l.csv", "v/*/b.mp4"], "v/out").unwrap();
    let inside =
        |listing: &&Listing| matches!(listing, Listing::Skipped { reason: Skip::InsideOutput, .. });
    assert_eq!(listed.iter().filter(inside).count(), 5, "{listed:?}");
    assert_eq!(listed.len(), 7);
    // Not there yet, or the input itself: the first is fine, the second is a mistake.
    assert_eq!(list(&["v/a.mp4"], "v/a.mp4.out/new").unwrap().len(), 1);
    let error = list(&["v/out", "v/a.mp4"], "v").unwrap_err();
    assert_eq!(error.len(), 2);
    assert!(error[0].to_string().contains("lies in the output folder"), "{}", error[0]);
}

#[test]
fn ids() {
    let dir = tree(&["a.mp4"]);
    write(&dir, "copy.mp4", "a.mp4");
    let by_place = sources(&dir, &config(&["a.mp4", "copy.mp4"]));
    let place = SourceId::from_location(&by_place[0].uri, 5, None);
    assert_eq!((by_place.len(), &by_place[0].id), (2, &place));
    assert_eq!((by_place[0].bytes, by_place[0].mtime.is_some()), (5, true));
    let content = InputConfig { id: IdFrom::Content, ..config(&["a.mp4", "copy.mp4"]) };
    check(&dir, &content, &["a.mp4", "copy.mp4: duplicate"]);
    let id = SourceId::from_content(blake3::hash(b"a.mp4").as_bytes());
    assert_eq!(sources(&dir, &content)[0].id, id);
}

#[test]
fn all_problems_are_reported_together() {
    let dir = tree(&["videos/a.mp4", "bad.csv", "empty.jsonl", "l.csv", "x.json"]);
    fs::write(dir.path().join("bad.csv"), "clip,words\na,b\n").unwrap();
    fs::write(dir.path().join("empty.jsonl"), "").unwrap();
    fs::write(dir.path().join("l.csv"), "path,path\n").unwrap();
    let paths = [
        "vidoes",
        "~/v",
        "v/*.mp4",
        "v[.mp4",
        "s3://b/a",
        "bad.csv",
        "empty.jsonl",
        "l.csv",
        "x.json",
    ];
    let bad = InputConfig {
        base: Some("nowhere".to_owned()),
        extensions: Some(vec!["a/b".to_owned()]),
        ..config(&paths)
    };
    let expect = "\
`input.extensions`: `a/b` is not an extension: write it like \"mp4\"
`input.base`: `nowhere` is not a folder
`input.paths[0]`: nothing is at `vidoes`; did you mean `videos`?
`input.paths[1]`: nothing is at `~/v`; `~` is not expanded: write the whole path
`input.paths[2]`: `v/*.mp4` matches nothing
`input.paths[3]`: `v[.mp4` is not a pattern: Pattern syntax error near position 1: invalid range pattern
`input.paths[4]`: `s3://b/a` is not on this machine: download it first, remote sources are not read yet
`input.paths[5]`: manifest `bad.csv`: no column is known to hold the path: it has `clip`, `words`; \
set `input.uri_column` to the right one
`input.paths[6]`: manifest `empty.jsonl`: is empty
`input.paths[7]`: manifest `l.csv`: two columns are called `path`: rename one
`input.paths[8]`: `x.json` is not a form of manifest that is read: use CSV, JSON lines (one object \
per line, `.jsonl`) or Parquet";
    assert_eq!(problems(&dir, &bad).join("\n"), expect);
    assert_eq!(problems(&dir, &config(&[])).len(), 1);

    let misspelt = InputConfig { uri_column: Some("clips".to_owned()), ..config(&["bad.csv"]) };
    let problem = problems(&dir, &misspelt).remove(0);
    assert!(problem.ends_with("it has `clip`, `words`; did you mean `clip`?"), "{problem}");
}

#[test]
fn a_configuration_reads_as_documented() {
    let read: InputConfig = toml::from_str("paths = ['a']\nid = 'content'").unwrap();
    assert_eq!(read, InputConfig { id: IdFrom::Content, ..config(&["a"]) });
    assert!(toml::from_str::<InputConfig>("pths = ['a']").is_err());
}

mod manifests;
