//! `curate refilter` as a user sees it.

use crate::util::{Folder, curate, start};

/// A recipe with a filter whose value every clip has.
fn recipe(folder: &Folder, name: &str, out: &str, min_fps: &str) -> String {
    let recipe = folder.recipe(name, out, "");
    let text = std::fs::read_to_string(&recipe).unwrap();
    let filter = format!("{text}[[stage]]\nkind = \"probe\"\nmin_fps = {min_fps}\n");
    std::fs::write(&recipe, filter).unwrap();
    recipe
}

const VERDICTS: &str = "select status, drop_stage, drop_reason, count(*) as n from clips group by 1, 2, 3 order by 1, 2, 3";

/// All but the verdicts, bytes included.
fn the_rest(folder: &Folder, out: &str) -> Vec<String> {
    let rows = folder.rows(out, "select * from clips order by clip_id");
    let mut lines: Vec<String> = rows.lines().map(str::to_owned).collect();
    let place = |name: &str| lines[0].split(',').position(|column| column == name).unwrap();
    let verdict = ["status", "drop_stage", "drop_reason"].map(place);
    for line in &mut lines {
        let kept = line.split(',').enumerate().filter(|(i, _)| !verdict.contains(i));
        *line = kept.map(|(_, cell)| cell).collect::<Vec<_>>().join(",");
    }
    // A query does not show bytes.
    let ids = folder.rows(out, "select clip_id from clips where video_form = 'copy' order by 1");
    for id in ids.lines().skip(1) {
        let path = folder.path("bytes");
        let said = curate(&["extract", &folder.text(out), id, "-o", path.to_str().unwrap()]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        lines.push(format!("{id} {}", blake3::hash(&std::fs::read(path).unwrap())));
    }
    lines
}

#[test]
fn a_threshold_moves_and_moves_back() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4, 14, 2]);
    let run = recipe(&folder, "p.toml", "out", "20");
    assert_eq!(curate(&["run", &run]).code, Some(0));
    let out = folder.text("out");
    let first = folder.rows("out", VERDICTS);
    assert_eq!(first, "status,drop_stage,drop_reason,n\ndropped,scenes,too_short,1\nkept,,,3\n");
    let (before, rest) = (folder.canonical("out"), the_rest(&folder, "out"));

    let dry = curate(&["refilter", &out, "--set", "probe.min_fps=30", "--dry-run"]);
    assert_eq!(dry.code, Some(0), "{}", dry.err);
    assert!(dry.out.contains("3 verdicts change: 0 newly kept, 3 newly dropped"), "{}", dry.out);
    assert!(dry.out.contains("nearest to probe fps at least 30"), "{}", dry.out);
    assert_eq!(folder.canonical("out"), before, "a dry run writes nothing");

    let said = curate(&["refilter", &out, "--set", "probe.min_fps=30"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(
        folder.rows("out", VERDICTS),
        "status,drop_stage,drop_reason,n\ndropped,probe,too_slow,3\ndropped,scenes,too_short,1\n"
    );
    assert_eq!(the_rest(&folder, "out"), rest, "only verdicts change");
    // The recipe is now behind the table, and a run says so instead of mixing two thresholds.
    let refused = curate(&["run", &run]);
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert!(refused.err.contains("30"), "{}", refused.err);

    // A looser length admits the short clip; it has no bytes yet, and that is said.
    let both =
        curate(&["refilter", &out, "--set", "probe.min_fps=none", "--set", "scenes.min_s=1"]);
    assert_eq!(both.code, Some(0), "{}", both.err);
    assert!(both.out.contains("4 newly kept"), "{}", both.out);
    assert!(both.out.contains("lacks bytes"), "{}", both.out);
    assert_eq!(folder.rows("out", VERDICTS), "status,drop_stage,drop_reason,n\nkept,,,4\n");

    let back = ["--set", "probe.min_fps=20", "--set", "scenes.min_s=3"];
    let said = curate(&[&["refilter", &out][..], &back].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(folder.canonical("out"), before);
    assert_eq!(curate(&["run", &run]).code, Some(0), "recipe and table agree again");
}

#[test]
fn a_sheet_shows_what_was_chosen() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4, 2]);
    let run = recipe(&folder, "p.toml", "out", "20");
    assert_eq!(curate(&["run", &run]).code, Some(0));
    let (out, file) = (folder.text("out"), folder.text("s.jpg"));
    let said = curate(&["sheet", &out, "--where", "status = 'dropped'", "-o", &file]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("1 clips"), "{}", said.err);
    assert!(std::fs::read(file).unwrap().starts_with(&[0xff, 0xd8]));
    let none = curate(&["sheet", &out, "--where", "status = 'lost'"]);
    assert_eq!(none.code, Some(2), "{}", none.err);
    assert_eq!(curate(&["sheet", &out, "--where", "stats = 1"]).code, Some(2));
}

#[test]
fn mistakes_are_named_and_write_nothing() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4]);
    let run = recipe(&folder, "p.toml", "out", "20");
    assert_eq!(curate(&["run", &run]).code, Some(0));
    let (out, before) = (folder.text("out"), folder.canonical("out"));
    for (set, words) in [
        ("prob.min_fps=1", "no stage `prob`"),
        ("probe.min_fsp=1", "did you mean `min_fps`"),
        ("probe.min_fps=fast", "min_fps"),
        ("probe.min_fps=-1", "0 or more"),
        ("probe.min_fps", "write it like"),
        ("probe.min_fps=", "no value"),
        ("probe.min_fps=nan", "no number"),
        ("scenes.min_s=none", "always has a value"),
        ("clip.form=none", "no stage `clip`"),
        ("scenes.max_s=5", "max_s"),
    ] {
        let said = curate(&["refilter", &out, "--set", set]);
        assert_eq!(said.code, Some(2), "{set}: {}", said.err);
        assert!(said.err.contains(words), "{set}: {}", said.err);
    }
    assert_eq!(curate(&["refilter", &out]).code, Some(2));
    assert_eq!(folder.canonical("out"), before);
}

#[test]
fn kills_leave_the_old_or_the_new_version() {
    let folder = Folder::new();
    for index in 0..4 {
        folder.video(&format!("{index}.mp4"), &[4, 3, 6]);
    }
    let run = recipe(&folder, "p.toml", "out", "20");
    assert_eq!(curate(&["run", &run]).code, Some(0));
    let out = folder.text("out");
    let kept = folder.canonical("out");
    let set =
        |fps: &str| ["refilter", &out, "--set", &format!("probe.min_fps={fps}")].map(str::to_owned);
    let args = |fps: &str| set(fps);
    let call = |fps: &str| {
        let args = args(fps);
        curate(&args.each_ref().map(String::as_str)).code
    };
    assert_eq!(call("30"), Some(0));
    let dropped = folder.canonical("out");
    assert_ne!(kept, dropped);
    let started = std::time::Instant::now();
    assert_eq!(call("20"), Some(0));
    let mut whole = started.elapsed();
    let kills = curate_testing::rounds("CURATE_SOAK_KILLS", 6);
    let (mut met, mut tries) = (0, 0_u32);
    while met < kills {
        tries += 1;
        assert!(u64::from(tries) < 20 * kills, "only {met} of {tries} kills met a living process");
        let (fps, from, to) =
            if tries % 2 == 1 { ("30", &kept, &dropped) } else { ("20", &dropped, &kept) };
        let args = args(fps);
        let mut child = start(&args.each_ref().map(String::as_str));
        std::thread::sleep(whole.mul_f64((f64::from(tries) * 0.618_034).fract()));
        if child.try_wait().unwrap().is_none() {
            met += 1;
        } else {
            whole = whole.mul_f64(0.9);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let now = folder.canonical("out");
        assert!(now == *from || now == *to, "something between old and new");
        assert_eq!(call(fps), Some(0), "the rerun completes");
        assert_eq!(folder.canonical("out"), *to);
    }
}
