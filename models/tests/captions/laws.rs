//! What holds over thousands of clips: every caption is on its clip, the bounds are kept, a spent budget
//! and a dead server cost nothing that was done, and nothing is asked twice.

use std::time::Duration;

use curate_models::caption::{Bounds, Budget, CaptionError, Client, Endpoint, Price, RunFault};
use curate_testing::chat::{ChatServer, Fault, Faults, Manners};
use proptest::prelude::*;

use crate::{ask_at_once, bad_day, block_on, cache, check, config, request, truth};

#[test]
fn thousands_of_clips_on_a_bad_day() {
    const CLIPS: usize = 3000;
    let folder = tempfile::TempDir::new().unwrap();
    let servers = [1, 2].map(|seed| {
        ChatServer::start(Manners { faults: bad_day(seed), echo: seed == 1, ..Manners::default() })
    });
    let mut config = config(&servers[0]);
    config.endpoints.push(Endpoint::open(&servers[1].url()));
    let requests = || (0..CLIPS).map(request).collect::<Vec<_>>();
    let client = Client::new(config.clone(), cache(folder.path())).unwrap();
    let results = block_on(client.ask_all(requests()));
    assert_eq!(check(&results), 0, "{:?}", client.stats());
    assert!(results.iter().flatten().all(|reply| reply.confirmed && !reply.from_cache));
    let (logs, stats) = (servers.each_ref().map(ChatServer::log), client.stats());
    let asked: u64 = logs.iter().map(|log| log.requests).sum();
    assert!(stats.requests >= asked && asked > CLIPS as u64, "{stats:?}");
    assert!(stats.wrong_clip > 100 && stats.throttled > 100 && stats.failed > 300, "{stats:?}");
    for log in &logs {
        assert_eq!(log.faults.len(), 8, "{:?}", log.faults);
        assert!(log.requests > 500, "both work: {}", log.requests);
        assert!((2..=24).contains(&log.most_in_flight), "{}", log.most_in_flight);
    }

    // A second run, another process: nothing is asked.
    let client = Client::new(config, cache(folder.path())).unwrap();
    let again = block_on(client.ask_all(requests()));
    assert_eq!(check(&again), 0);
    assert!(again.iter().flatten().all(|reply| reply.from_cache && reply.confirmed));
    assert_eq!(client.stats().requests, 0);
    let asked_now: u64 = servers.iter().map(|server| server.log().requests).sum();
    assert_eq!(asked_now, asked);
}

/// Bytes that the largest single request here takes.
const LARGEST: usize = 2500;

/// A server with faults of any kind and rate, and bounds of any size.
fn any_day() -> impl Strategy<Value = (Faults, Bounds, bool)> {
    let rates = prop::collection::vec(0_u64..70, 9);
    let bounds = (1_usize..20, 300_usize..12_000, 4_usize..20);
    (any::<u64>(), rates, 2_u64..8, bounds, any::<bool>()).prop_map(
        |(seed, rates, delay, (requests, bytes, start), echo)| {
            let mut faults = Faults { seed, ..Faults::default() };
            faults.per_mille.copy_from_slice(&rates);
            faults.delay = Duration::from_millis(delay);
            faults.slow = Duration::from_millis(25);
            let rest = Duration::from_millis(3);
            let bounds = Bounds { requests, bytes, start, rest, ..Bounds::default() };
            (faults, bounds, echo)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whatever the server does: a caption is on its clip or there is none, and no more is under way
    /// than the bounds allow, as the server measures it.
    #[test]
    fn a_caption_is_on_its_clip((faults, bounds, echo) in any_day()) {
        const CLIPS: usize = 150;
        let server = ChatServer::start(Manners { faults, echo, ..Manners::default() });
        let mut config = config(&server);
        config.bounds = bounds;
        config.retries.attempts = 5;
        let client = Client::new(config, None).unwrap();
        let results = block_on(ask_at_once(&client, CLIPS));
        prop_assert_eq!(results.len(), CLIPS);
        let missing = check(&results);
        prop_assert!(missing < CLIPS / 2, "{missing} are missing");
        let log = server.log();
        prop_assert!(log.most_in_flight <= bounds.requests, "{}", log.most_in_flight);
        // A single body may be larger than the bound, alone.
        prop_assert!(log.most_bytes <= bounds.bytes.max(LARGEST), "{} {:?}", log.most_bytes, bounds);
        prop_assert_eq!(log.in_flight, 0);
    }
}

#[test]
fn a_spent_budget_stops_cleanly_and_the_next_run_goes_on() {
    const CLIPS: usize = 400;
    let folder = tempfile::TempDir::new().unwrap();
    let server = ChatServer::start(Manners { faults: bad_day(3), ..Manners::default() });
    let mut done = 0;
    let mut runs = 0;
    while done < CLIPS {
        runs += 1;
        assert!(runs < 30, "the budget never reaches");
        let before = server.log();
        let mut config = config(&server);
        let limit = 25_000;
        let price = Price { prompt: 1.0, completion: 2.0 };
        config.budget = Budget { tokens: Some(limit), price, ..Budget::default() };
        let client = Client::new(config, cache(folder.path())).unwrap();
        let results = block_on(client.ask_all((0..CLIPS).map(request).collect()));
        let mut answered = 0;
        for (index, result) in results.iter().enumerate() {
            match result {
                Ok(reply) => {
                    assert_eq!(reply.text, truth(index));
                    answered += 1;
                }
                Err(CaptionError::Run(RunFault::Budget(spent))) => {
                    assert_eq!(spent.tokens, Some(limit));
                }
                Err(other) => panic!("{other}"),
            }
        }
        let (stats, log) = (client.stats(), server.log());
        let charged = log.tokens - before.tokens;
        assert!(charged <= stats.spent.tokens, "{charged} {stats:?}");
        assert!(stats.spent.tokens <= limit, "{stats:?}");
        assert!(stats.from_cache as usize >= done, "nothing is asked twice: {stats:?}");
        assert!(answered > done, "every run gets further: {answered} after {done}");
        assert_eq!(answered < CLIPS, client.fault().is_some());
        done = answered;
    }
    assert!(runs > 2, "{runs}");
}

#[test]
fn lost_answers_cost_what_was_set_aside_and_never_more_than_there_is() {
    let lost = Manners { faults: Faults::default().with(Fault::Cut, 1000), ..Manners::default() };
    let server = ChatServer::start(lost);
    let mut config = config(&server);
    config.bounds.start = 24;
    config.budget = Budget { tokens: Some(3000), ..Budget::default() };
    let client = Client::new(config, None).unwrap();
    let results = block_on(ask_at_once(&client, 30));
    assert!(
        results.iter().all(|result| matches!(result, Err(CaptionError::Run(RunFault::Budget(_)))))
    );
    let (spent, requests) = (client.stats().spent.tokens, server.log().requests);
    assert!(spent <= 3000 && spent + 1000 > 3000, "{spent}");
    // 64 tokens to write, and two frames and a question to read.
    assert_eq!(requests, spent / (64 + 2 * 256 + 104));
}

#[test]
fn the_breaker_opens_and_closes_again() {
    let server = ChatServer::start(Manners { down: true, ..Manners::default() });
    let mut config = config(&server);
    config.retries.attempts = 1000;
    config.retries.deadline = Duration::from_secs(60);
    let client = Client::new(config, None).unwrap();
    let results = block_on(async {
        let asking = tokio::spawn({
            let client = client.clone();
            async move { client.ask_all((0..40).map(request).collect()).await }
        });
        while client.stats().servers[0].1 < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(server.log().requests, 0);
        server.behave(Manners::default());
        asking.await.unwrap()
    });
    assert_eq!(check(&results), 0);
    assert_eq!(server.log().requests, 40);
}
