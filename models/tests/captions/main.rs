//! The caption client against a server that does everything wrong.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod laws;
mod words;

use std::{path::Path, sync::Arc, time::Duration};

use curate_models::caption::{
    Answer, Bounds, Cache, CaptionError, Client, ClientConfig, Endpoint, Media, Prompt, Reply,
    Request, Retries, Sampling,
};
use curate_testing::chat::{ChatServer, Fault, Faults, caption};

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap().block_on(future)
}

pub(crate) fn frames(index: usize) -> Vec<Arc<[u8]>> {
    let frame = |n: usize| {
        let text = format!("clip {index} frame {n} ");
        text.repeat(8 + index % 5).into_bytes().into()
    };
    (0..2).map(frame).collect()
}

pub(crate) fn request(index: usize) -> Request {
    Request {
        clip_id: format!("{index:032x}"),
        part: String::new(),
        media: Media::Frames(frames(index)),
        prompt: Prompt::new("What is to be seen?"),
        sampling: Sampling { max_tokens: 64, ..Sampling::default() },
        answer: Answer::Json,
    }
}

pub(crate) fn truth(index: usize) -> String {
    caption(frames(index).iter().map(|frame| &frame[..]))
}

/// Quick retries: nothing here waits for real.
pub(crate) fn config(server: &ChatServer) -> ClientConfig {
    let mut config = ClientConfig::new("m", Endpoint::open(&server.url()));
    config.retries = Retries {
        attempts: 12,
        pause: Duration::from_millis(2),
        longest_pause: Duration::from_millis(40),
        timeout: Duration::from_secs(20),
        deadline: Duration::from_secs(60),
    };
    config.bounds = Bounds {
        requests: 24,
        bytes: 40_000,
        start: 8,
        rest: Duration::from_millis(5),
        give_up: Duration::from_secs(30),
    };
    config
}

pub(crate) fn cache(folder: &Path) -> Option<Cache> {
    Some(Cache::open(folder, 1 << 30).unwrap())
}

pub(crate) fn bad_day(seed: u64) -> Faults {
    Faults {
        seed,
        delay: Duration::from_millis(4),
        slow: Duration::from_millis(30),
        ..Faults::default()
    }
    .with(Fault::Throttle, 30)
    .with(Fault::ThrottleFor, 30)
    .with(Fault::Error, 60)
    .with(Fault::Slow, 20)
    .with(Fault::Cut, 40)
    .with(Fault::Drop, 30)
    .with(Fault::Garbage, 40)
    .with(Fault::WrongClip, 60)
}

/// Every caption is on its clip; gives how many clips have none.
pub(crate) fn check(results: &[Result<Reply, CaptionError>]) -> usize {
    let mut missing = 0;
    for (index, result) in results.iter().enumerate() {
        match result {
            Ok(reply) => {
                assert_eq!(reply.clip_id, format!("{index:032x}"));
                assert_eq!(reply.text, truth(index), "the caption of clip {index} is another's");
            }
            Err(CaptionError::Clip(_)) => missing += 1,
            Err(CaptionError::Run(fault)) => panic!("{fault}"),
        }
    }
    missing
}

/// All at once, so that only the client keeps within its bounds.
pub(crate) async fn ask_at_once(client: &Client, clips: usize) -> Vec<Result<Reply, CaptionError>> {
    let ask = |index| {
        let client = client.clone();
        tokio::spawn(async move { client.ask(&request(index)).await })
    };
    let asked: Vec<_> = (0..clips).map(ask).collect();
    let mut results = Vec::new();
    for task in asked {
        results.push(task.await.unwrap());
    }
    results
}
