//! `caption` through the real binary, with a server that misbehaves.

use std::fs;

use curate_testing::{
    chat::{ChatServer, Fault, Faults, Manners},
    make, program,
};

use crate::util::{CURATE, Folder, Said, said};

/// A film that looks different in every second: clips that look the same share an answer.
fn film(folder: &Folder, name: &str, seconds: u32, filter: &str) {
    let look = "-f lavfi -i testsrc2=size=320x180:rate=25";
    let line = format!("{look} -t {seconds} -vf {filter} -c:v libx264 -preset veryfast");
    make(&folder.path("videos"), name, &line);
}

/// A recipe that asks a server, and its answers in a folder of its own.
fn recipe(folder: &Folder, server: &ChatServer, out: &str, more: &str) -> String {
    let recipe = folder.recipe(&format!("{out}.toml"), out, "");
    let text = fs::read_to_string(&recipe).unwrap();
    let url = server.url();
    let rest = format!(
        "detectors = [{{ kind = \"fixed\", seconds = 1.0 }}]\nmin_s = 0.5\n\
         [[stage]]\nkind = \"caption\"\nbackend = \"openai\"\nendpoints = [\"{url}\"]\n\
         model = \"m\"\nframes = 2\ncache = \"answers\"\nreject = []\n{more}\n"
    );
    fs::write(&recipe, format!("{text}{rest}")).unwrap();
    recipe
}

fn run(recipe: &str) -> Said {
    said(
        &program(CURATE)
            .args(["run", recipe])
            .env("CAPTION_KEY", "sk-very-secret")
            .output()
            .unwrap(),
    )
}

/// Says whose clip it was asked about.
fn manners() -> Manners {
    Manners {
        words: |question| format!("a caption that belongs to {}", question.mark),
        ..Manners::default()
    }
}

/// How many clips there are, and how many have their own caption.
fn own_captions(folder: &Folder, out: &str) -> String {
    folder.rows(
        out,
        "select count(*) as clips, count(*) filter (where caption = 'a caption that belongs to ' || clip_id) \
         as own from clips",
    )
}

#[test]
fn every_caption_is_on_its_clip_whatever_the_server_does() {
    let folder = Folder::new();
    film(&folder, "a.mp4", 35, "null");
    film(&folder, "b.mp4", 25, "hflip,hue=h=90");
    // Rare enough that no clip meets six in a row.
    let faults = [
        (Fault::ThrottleFor, 60),
        (Fault::Error, 40),
        (Fault::Cut, 30),
        (Fault::Drop, 20),
        (Fault::Garbage, 30),
        (Fault::WrongClip, 30),
        (Fault::Slow, 60),
    ];
    let faults =
        faults.into_iter().fold(Faults::default(), |all, (fault, rate)| all.with(fault, rate));
    let server =
        ChatServer::start(Manners { faults, key: Some("sk-very-secret".to_owned()), ..manners() });
    let keyed = "api_key_env = \"CAPTION_KEY\"\nrequests = 16";
    let first = recipe(&folder, &server, "out", keyed);
    let done = run(&first);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert_eq!(own_captions(&folder, "out"), "clips,own\n60,60\n");
    let log = server.log();
    assert!(log.most_in_flight <= 16, "{log:?}");
    assert!(log.faults.len() >= 3, "the faults were met: {:?}", log.faults);

    // The same clips again, into another table: nothing is asked.
    let asked = server.log().requests;
    let second = recipe(&folder, &server, "again", keyed);
    let again = run(&second);
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert_eq!(own_captions(&folder, "again"), "clips,own\n60,60\n");
    assert_eq!(server.log().requests, asked);

    // The key is nowhere.
    let mut files = vec![folder.path("out"), folder.path("answers")];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let bytes = fs::read(&path).unwrap();
            let is_there = bytes.windows(14).any(|window| window == b"sk-very-secret");
            assert!(!is_there, "{}", path.display());
        }
    }
}

#[test]
fn a_budget_stops_the_run_and_the_next_one_goes_on() {
    let folder = Folder::new();
    film(&folder, "a.mp4", 12, "null");
    let server = ChatServer::start(manners());
    let poor = recipe(&folder, &server, "out", "budget = { tokens = 3000 }\nrequests = 2");
    let mut runs = 0;
    loop {
        let done = run(&poor);
        runs += 1;
        if done.code == Some(0) {
            break;
        }
        assert_eq!(done.code, Some(1), "{}", done.err);
        assert!(done.err.contains("budget"), "{}", done.err);
        assert!(runs < 30, "it does not get on: {}", done.err);
    }
    assert!(runs > 1, "the budget was never spent");
    assert_eq!(own_captions(&folder, "out"), "clips,own\n12,12\n");
    assert_eq!(server.log().requests, 12, "nothing was asked twice");
}

#[test]
fn a_server_that_refuses_us_stops_the_run_with_what_to_do() {
    let folder = Folder::new();
    film(&folder, "a.mp4", 3, "null");
    let server = ChatServer::start(Manners { key: Some("another".to_owned()), ..manners() });
    let wrong = recipe(&folder, &server, "out", "api_key_env = \"CAPTION_KEY\"");
    let done = run(&wrong);
    assert_eq!(done.code, Some(1), "{}", done.err);
    assert!(done.err.contains("$CAPTION_KEY") && !done.err.contains("very-secret"), "{}", done.err);
    let unset = recipe(&folder, &server, "none", "api_key_env = \"NO_SUCH_VARIABLE\"");
    let done = run(&unset);
    assert_eq!(done.code, Some(2), "{}", done.err);
    assert!(done.err.contains("`NO_SUCH_VARIABLE` is not set"), "{}", done.err);
}

#[test]
fn refusals_are_flagged_and_dropped_and_the_question_is_in_the_row() {
    let folder = Folder::new();
    film(&folder, "a.mp4", 2, "null");
    let server = ChatServer::start(Manners {
        words: |_| "I'm sorry, but I cannot help with describing this video.".to_owned(),
        ..Manners::default()
    });
    let recipe = recipe(&folder, &server, "out", "");
    let text = fs::read_to_string(&recipe).unwrap();
    fs::write(&recipe, text.replace("reject = []", "reject = [\"refusal\"]")).unwrap();
    let done = run(&recipe);
    let rows = folder
        .rows("out", "select distinct status, drop_reason, prompt_hash is not null from clips");
    // Whether the client refuses the answer itself or the row is flagged, no such caption is kept.
    assert!(!rows.contains("kept"), "{rows}{}", done.err);
}

#[test]
fn prompts_are_spelled_out_and_kept_where_nothing_fits() {
    let server = ChatServer::start(Manners {
        words: |question| {
            let is_fine = question.text.contains("a dog");
            let long = "A brown dog runs along a wide beach in soft morning light, its fur wet, while \
                        low waves roll in behind it and the camera follows at the height of its eyes.";
            if is_fine { long } else { "I'm sorry, I cannot help with that." }.to_owned()
        },
        ..Manners::default()
    });
    let ask = |prompt: &str| {
        let mut command = program(CURATE);
        let args = ["prompt", prompt, "--endpoint", &server.url(), "--model", "m"];
        said(&command.args(args).output().unwrap())
    };
    let long = ask("a dog");
    assert_eq!(long.code, Some(0), "{}", long.err);
    assert!(long.out.starts_with("A brown dog runs"), "{}", long.out);
    let kept = ask("a cat");
    assert_eq!((kept.code, kept.out.as_str()), (Some(3), "a cat\n"), "{}", kept.err);
    let mut wrong = program(CURATE);
    wrong.args(["prompt", "a dog", "--endpoint", "ftp://x", "--model", "m"]);
    assert_eq!(said(&wrong.output().unwrap()).code, Some(2));
}
