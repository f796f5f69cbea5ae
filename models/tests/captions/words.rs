//! Questions about text, and about single frames: the second pass and the fallback for models that
//! see one picture at a time.

use std::{sync::Arc, time::Duration};

use curate_models::caption::{
    Answer, Cache, Client, ClientConfig, Endpoint, Media, Retries,
    rewrite::{Problem, Rewrite, Rewritten, Unfit},
    summary::Summary,
};
use curate_testing::chat::{ChatServer, Fault, Faults, Manners, Question, Schema, caption};

use crate::block_on;

fn client(server: &ChatServer, cache: Option<Cache>) -> Client {
    let mut config = ClientConfig::new("m", Endpoint::open(&server.url()));
    config.retries = Retries { pause: Duration::from_millis(1), ..Retries::default() };
    config.bounds.rest = Duration::from_millis(2);
    Client::new(config, cache).unwrap()
}

const ORIGINAL: &str = "The video shows a brown dog that runs along a beach past two boats.";

fn rewrite(words: fn(&Question) -> String, schema: Schema) -> (Rewritten, u64) {
    let server = ChatServer::start(Manners { words, schema, ..Manners::default() });
    let rewritten =
        block_on(Rewrite::captions().run(&client(&server, None), "a", ORIGINAL)).unwrap();
    (rewritten, server.log().requests)
}

#[test]
fn a_caption_is_rewritten_once_it_is_fit() {
    // Unfit twice: as a template, and with a dog's name that nobody gave it.
    let words = |question: &Question| match question.seed {
        Some(0) => "The clip shows a brown dog that runs along a beach past two boats.".to_owned(),
        Some(1) => "A brown dog called Rex runs along a beach past two boats.".to_owned(),
        _ => "A brown dog runs along a beach past two boats.".to_owned(),
    };
    let (rewritten, requests) = rewrite(words, Schema::Taken);
    assert_eq!(rewritten.text, "A brown dog runs along a beach past two boats.");
    assert_eq!((rewritten.attempts, rewritten.problem, requests), (3, None, 3));
    assert_eq!(rewritten.model.as_deref(), Some("m"));
    assert_eq!(rewritten.prompt_hash.len(), 32);
}

#[test]
fn the_original_stays_when_no_answer_is_fit() {
    let (rewritten, requests) =
        rewrite(|_| "I'm sorry, I cannot do that.".to_owned(), Schema::Taken);
    assert_eq!((rewritten.text.as_str(), rewritten.model), (ORIGINAL, None));
    assert_eq!(rewritten.problem, Some(Problem::Unfit(Unfit::Refusal)));
    assert_eq!((rewritten.attempts, requests), (4, 4));

    let server = ChatServer::start(Manners {
        faults: Faults::default().with(Fault::Refuse, 1000),
        ..Manners::default()
    });
    let rewritten =
        block_on(Rewrite::captions().run(&client(&server, None), "a", ORIGINAL)).unwrap();
    assert_eq!(rewritten.text, ORIGINAL);
    assert!(matches!(rewritten.problem, Some(Problem::Fault(_))), "{rewritten:?}");
}

#[test]
fn a_server_without_schemas_is_asked_for_json_in_words() {
    // It finds in the question how to answer, as a model would.
    let words = |question: &Question| {
        let at = question.text.find("{\"clip\"").unwrap();
        let object = question.text[at..].replace("...", "A dog runs along a beach past boats.");
        format!("Certainly! ```json\n{object}\n```")
    };
    let (rewritten, requests) = rewrite(words, Schema::Rejected);
    assert_eq!(rewritten.text, "A dog runs along a beach past boats.");
    // One rejected, one answered.
    assert_eq!((rewritten.attempts, requests), (1, 2));
}

#[test]
fn a_prompt_is_spelt_out() {
    let words = |question: &Question| {
        assert!(question.text.contains("\n\nIdea: a dog"), "{}", question.text);
        "A brown dog trots along a wet beach at dusk, and the camera follows it closely.".to_owned()
    };
    let server = ChatServer::start(Manners { words, ..Manners::default() });
    let spelt =
        block_on(Rewrite::prompts().run(&client(&server, None), "prompt", "a dog")).unwrap();
    assert!(spelt.text.starts_with("A brown dog trots"), "{spelt:?}");
}

#[test]
fn frames_are_described_one_by_one_and_summed_up() {
    // The summary repeats what it was given, so that the test sees what that was.
    let words = |question: &Question| match question.media.as_slice() {
        [] => question.text.lines().filter(|line| line.contains("number")).collect(),
        media => caption(media.iter().map(Vec::as_slice)),
    };
    let faults = Faults { seed: 5, delay: Duration::from_millis(15), ..Faults::default() }
        .with(Fault::WrongClip, 200)
        .with(Fault::Cut, 100);
    let server = ChatServer::start(Manners { words, faults, ..Manners::default() });
    let folder = tempfile::TempDir::new().unwrap();
    let client = client(&server, Some(Cache::open(folder.path(), 1 << 20).unwrap()));
    let frames: Vec<Arc<[u8]>> = (0..6).map(|n| format!("frame {n}").into_bytes().into()).collect();
    let media = Media::Frames(frames.clone());
    let summary = Summary { answer: Answer::Json, ..Summary::default() };
    let run = || block_on(summary.run(&client, &client, "a", &media)).unwrap();
    let made = run();
    let truths: Vec<String> = frames.iter().map(|frame| caption([&frame[..]])).collect();
    assert_eq!(made.frames, truths);
    let lines: String =
        truths.iter().enumerate().map(|(index, text)| format!("{}. {text}", index + 1)).collect();
    assert_eq!(made.reply.text, lines);
    assert_eq!(made.reply.clip_id, "a");
    let requests = server.log().requests;
    assert!(requests >= 7);
    assert_eq!(run().reply.text, lines);
    assert_eq!(server.log().requests, requests, "the second time all is remembered");
    assert!(block_on(summary.run(&client, &client, "a", &Media::None)).is_err());
}
