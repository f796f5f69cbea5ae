use std::sync::Arc;

use curate_models::caption::blip::BlipFiles;
use curate_pipeline::{BatchMap as _, Map as _, Verdict, testing};

use super::*;

fn config(text: &str) -> (CaptionConfig, Vec<String>) {
    let mut problems = Problems::default();
    let mut config: CaptionConfig = read_table(&text.parse().unwrap(), &mut problems);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ask.txt"), "What is to be seen?").unwrap();
    let variable = |name: &str| (name == "KEY").then(|| "secret-value".to_owned());
    config.look_up(&Surroundings { base: folder.path(), variable }, &mut problems);
    config.validate(&mut problems);
    (config, problems.into_errors().iter().map(ToString::to_string).collect())
}

const SERVER: &str =
    "backend = \"openai\"\nendpoints = [\"http://localhost:8000/v1\"]\nmodel = \"m\"\n";

#[test]
fn what_cannot_work_is_said_before_anything_runs() {
    let refused = |text: &str, words: &str| {
        let (_, problems) = config(text);
        assert!(problems.iter().any(|problem| problem.contains(words)), "{text}: {problems:?}");
    };
    refused("backend = \"openai\"", "needs the address of a server");
    refused("backend = \"openai\"", "needs the model's name");
    refused("model = \"m\"", "the servers are not used");
    refused(&format!("{SERVER}preset = \"gpt\""), "known presets: openai");
    refused(&format!("{SERVER}prompt_file = \"nowhere.txt\""), "nowhere.txt");
    refused(&format!("{SERVER}api_key_env = \"NO_KEY\""), "`NO_KEY` is not set");
    refused(&format!("{SERVER}budget = {{ money = 5.0 }}"), "price_in");
    refused(&format!("{SERVER}frames = 0"), "must be 1 to 256");
    let keyed = SERVER.replace("http://localhost", "http://me:pass@localhost");
    refused(&keyed, "holds a password or a key");
    refused(&SERVER.replace("/v1", "/v1?api-key=123"), "holds a password or a key");
    refused("reject = [\"dull\"]", "there is no flag `dull`");
    refused("fallback = \"attributes\"", "only `source` has one");
    let good = [
        "",
        "backend = \"source\"\nfallback = \"attributes\"",
        &format!("{SERVER}api_key_env = \"KEY\"\nprompt_file = \"ask.txt\""),
        &format!("{SERVER}one_by_one = true\n[rewrite]\nmodel = \"w\""),
    ];
    for text in good {
        assert_eq!(config(text).1, [""; 0], "{text}");
    }
}

#[test]
fn the_key_and_the_server_are_no_part_of_what_is_measured_and_the_question_is() {
    let (first, _) = config(&format!("{SERVER}api_key_env = \"KEY\""));
    let (moved, _) = config(
        "backend = \"openai\"\nendpoints = [\"http://elsewhere/v1\"]\nmodel = \"m\"\nrequests = 3",
    );
    assert_eq!(first.measuring(), moved.measuring());
    assert!(!format!("{first:?}{}", first.measuring()).contains("secret-value"));
    let (asked, _) = config(&format!("{SERVER}prompt_file = \"ask.txt\""));
    assert_ne!(first.measuring(), asked.measuring());
    assert!(asked.measuring().to_string().contains("What is to be seen?"));
}

fn item(extra: Option<&str>, caption: Option<&str>) -> Item {
    let clip = Clip::default()
        .with(c::CLIP_ID, "00112233445566778899aabbccddeeff".to_owned())
        .with(c::START_S, 10.0)
        .with(c::END_S, 14.0)
        .with(c::TECHNICAL_EXPOSURE, 0.2)
        .with(c::CAMERA_MOTION, "pan_left".to_owned())
        .with(c::MOTION, 0.3);
    let mut item = testing::item(clip, curate_pipeline::Frames::default());
    let source = &mut Arc::make_mut(&mut item.unit).source;
    let changed = Arc::make_mut(source);
    changed.extra = extra.map(str::to_owned);
    changed.caption = caption.map(str::to_owned);
    item
}

fn captioned(text: &str, mut item: Item) -> Clip {
    let (config, problems) = config(text);
    assert!(problems.is_empty(), "{problems:?}");
    local::Local::new(&config).map(&mut item).unwrap();
    item.clip
}

#[test]
fn measured_values_become_a_sentence_that_says_what_it_is() {
    let clip = captioned("", item(None, None));
    assert_eq!(clip.get(c::CAPTION_MODEL).unwrap(), "attributes/1");
    let caption = clip.get(c::CAPTION).unwrap();
    assert!(caption.contains("left"), "{caption}");
    assert!(clip.get(c::CAPTION_FLAGS).unwrap().is_empty(), "{clip:?}");
    assert_eq!(captioned("", item(None, None)).get(c::CAPTION).unwrap(), caption);
}

#[test]
fn text_that_came_along_is_taken_for_the_span_of_the_clip() {
    let source = "backend = \"source\"";
    let extra = "{\"caption\": \"['one thing', 'another thing']\", \
                 \"timestamp\": \"[['0:00:00', '0:00:09'], ['0:00:09', '0:00:20']]\"}";
    let clip = captioned(source, item(Some(extra), None));
    assert_eq!(clip.get(c::CAPTION).unwrap(), "another thing");
    assert_eq!(clip.get(c::CAPTION_MODEL).unwrap(), "source");
    let clip = captioned(source, item(None, Some("a dog")));
    assert_eq!(clip.get(c::CAPTION).unwrap(), "a dog");
    assert_eq!(clip.get(c::CAPTION_FLAGS).unwrap(), &["too_short"]);
    let clip = captioned(source, item(None, None));
    assert_eq!((clip.get(c::CAPTION), clip.get(c::CAPTION_MODEL)), (None, None));
    let clip = captioned("backend = \"source\"\nfallback = \"attributes\"", item(None, None));
    assert_eq!(clip.get(c::CAPTION_MODEL).unwrap(), "attributes/1");
}

#[test]
fn flags_reject_only_what_the_recipe_says() {
    let clip =
        Clip::default().with(c::CAPTION_FLAGS, vec!["template".to_owned(), "too_short".to_owned()]);
    let verdict = |text: &str| config(text).0.judge(&clip);
    assert_eq!(verdict(""), Verdict::Keep);
    assert_eq!(verdict("reject = [\"template\"]"), Verdict::Drop { reason: "template" });
    assert_eq!(verdict("reject = []"), Verdict::Keep);
    let (config, _) = config("reject = [\"refusal\"]");
    assert_eq!(config.judge(&Clip::default()), Verdict::Keep, "what was not captioned");
}

#[test]
fn the_network_on_this_machine_describes_frames() {
    let files =
        BlipFiles::find(&curate_testing::root().join("models/tests/fixtures/blip")).unwrap();
    let (config, problems) = config("backend = \"local\"\nframes = 2");
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(config.models(), ["blip-base"]);
    let mut eyes = eyes::Eyes::of(&files, &config, 1).unwrap();
    let mut item = item(None, None);
    let frame = |pts: i64, level: u8| curate_pipeline::Frame {
        pts,
        width: 64,
        height: 48,
        rgb: (0..64 * 48 * 3).map(|at| (at % 251) as u8 ^ level).collect(),
    };
    item.frames.grid = vec![frame(0, 0), frame(1, 200)];
    item.clip.set(c::TB_NUM, 1);
    item.clip.set(c::TB_DEN, 1);
    let results = eyes.map_batch(&mut [&mut item]).unwrap();
    assert_eq!(results, [Ok(())]);
    assert_eq!(item.clip.get(c::CAPTION_MODEL).unwrap(), "blip-base");
    assert!(!item.clip.get(c::CAPTION).unwrap().is_empty());
    let (_, problems) = super::tests::config("backend = \"local\"\nframes = 0");
    assert!(problems[0].contains("must be 1 to 64"), "{problems:?}");
}
