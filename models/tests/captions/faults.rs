//! What a fault says, how far it reaches, and what it keeps to itself.

use std::time::Duration;

use curate_models::caption::{
    CaptionError, Client, ClientConfig, ClipFault, Endpoint, RunFault, Secret,
};
use curate_testing::chat::{ChatServer, Fault, Faults, Manners, Schema};

use crate::{block_on, cache, check, config, request, truth};

#[test]
fn without_a_server_the_run_ends_and_says_what_to_do() {
    // Nobody listens there: the port is reserved for a service of the past, and privileged.
    let url = "http://me:hunter2hunter2@127.0.0.1:1/v1?api-key=abcdefgh".to_owned();
    let mut config = ClientConfig::new("m", Endpoint::open(&url));
    config.bounds.give_up = Duration::from_millis(200);
    config.bounds.rest = Duration::from_millis(5);
    let client = Client::new(config, None).unwrap();
    let results = block_on(client.ask_all((0..20).map(request).collect()));
    for result in &results {
        let Err(CaptionError::Run(fault @ RunFault::Unreachable { .. })) = result else {
            panic!("{result:?}")
        };
        let text = format!("{fault} {fault:?}");
        assert!(text.contains("start the server") && text.contains("refused"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("abcdefgh"), "{text}");
    }
}

#[test]
fn what_concerns_every_clip_ends_the_run() {
    let fault = |manners: Manners, key: Option<&str>| {
        let server = ChatServer::start(manners);
        let mut config = config(&server);
        config.endpoints[0].key = key.map(Secret::new);
        config.endpoints[0].key_name = key.map(|_| "CAPTION_KEY".to_owned());
        let client = Client::new(config, None).unwrap();
        let results = block_on(client.ask_all((0..30).map(request).collect()));
        assert!(results.iter().any(|result| matches!(result, Err(CaptionError::Run(_)))));
        (client.fault().unwrap(), server.log())
    };
    let wants_key = Manners { key: Some("right-key-0815".to_owned()), ..Manners::default() };
    let (access, log) = fault(wants_key.clone(), Some("wrong-key-4711"));
    assert!(matches!(access, RunFault::Access { status: 401, .. }));
    assert!(access.to_string().contains("$CAPTION_KEY"), "{access}");
    // The server says the key; the message does not.
    let text = format!("{access} {access:?}");
    assert!(!text.contains("wrong-key-4711") && text.contains("***"), "{text}");
    assert!(log.requests < 30);
    let (access, _) = fault(wants_key, None);
    assert!(access.to_string().contains("`api_key_env`"), "{access}");

    let refuse = |status, message| {
        fault(Manners { refuse: Some((status, message)), ..Manners::default() }, None).0
    };
    assert!(matches!(refuse("404 Not Found", "no model"), RunFault::Address { .. }));
    assert!(matches!(refuse("307 Temporary Redirect", "there"), RunFault::Address { .. }));
    assert!(matches!(refuse("402 Payment Required", "pay"), RunFault::Account { .. }));
    let every = refuse("400 Bad Request", "image_url is not supported");
    assert!(every.to_string().contains("image_url is not supported"), "{every}");
    assert!(matches!(every, RunFault::EveryClip { .. }));
    // As llama.cpp puts it.
    let every = refuse("500 Internal Server Error", "image input is not supported - hint: ...");
    assert!(matches!(every, RunFault::EveryClip { .. }), "{every}");
}

#[test]
fn a_key_goes_to_its_server_and_nowhere_else() {
    let folder = tempfile::TempDir::new().unwrap();
    let key = "right-key-0815";
    let server = ChatServer::start(Manners { key: Some(key.to_owned()), ..Manners::default() });
    let mut config = config(&server);
    config.endpoints[0].key = Some(Secret::new(key));
    assert!(!format!("{config:?}").contains(key));
    let client = Client::new(config, cache(folder.path())).unwrap();
    let reply = block_on(client.ask(&request(7))).unwrap();
    let call = server.log().last.unwrap();
    assert_eq!(call.header("authorization"), Some("Bearer right-key-0815"));
    assert_eq!(call.header("x-request-id"), Some(format!("curate-{:032x}.1", 7).as_str()));
    assert!(!format!("{reply:?}").contains(key));
    let mut files = 0;
    for folder in std::fs::read_dir(folder.path()).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            assert!(!text.contains(key) && text.contains("small thing"), "{text}");
            files += 1;
        }
    }
    assert_eq!(files, 1);
}

#[test]
fn schemas_are_given_up_where_the_server_rejects_them() {
    for (schema, most) in [(Schema::Rejected, 248), (Schema::Ignored, 200)] {
        let server = ChatServer::start(Manners { schema, ..Manners::default() });
        let client = Client::new(config(&server), None).unwrap();
        let results = block_on(client.ask_all((0..200).map(request).collect()));
        assert_eq!(check(&results), 0);
        assert!(results.iter().flatten().all(|reply| !reply.confirmed));
        // Those that were under way when the first was rejected are rejected too.
        let requests = server.log().requests;
        assert!((200..=most).contains(&requests), "{schema:?}: {requests}");
    }
}

#[test]
fn a_refused_clip_fails_alone_and_a_mixed_up_server_is_named() {
    let only =
        |fault| Manners { faults: Faults::default().with(fault, 1000), ..Manners::default() };
    let ask = |manners| {
        let server = ChatServer::start(manners);
        let mut config = config(&server);
        config.retries.attempts = 3;
        let client = Client::new(config, None).unwrap();
        match block_on(client.ask(&request(1))) {
            Err(CaptionError::Clip(fault)) => (fault, server.log().requests),
            other => panic!("{other:?}"),
        }
    };
    let (fault, requests) = ask(only(Fault::Refuse));
    assert_eq!((fault.kind(), requests), ("refused", 1));
    let (fault, requests) = ask(only(Fault::WrongClip));
    assert_eq!((fault.kind(), requests), ("wrong_clip", 3));
    assert!(fault.to_string().contains("do not trust"), "{fault}");
    let (fault, _) = ask(only(Fault::Garbage));
    assert!(matches!(fault, ClipFault::BadReply { attempts: 3, .. }), "{fault}");
    let (fault, _) = ask(only(Fault::Error));
    assert!(matches!(fault, ClipFault::GaveUp { attempts: 3, .. }), "{fault}");
    let slow = Manners {
        faults: Faults { slow: Duration::from_secs(30), ..Faults::default() }
            .with(Fault::Slow, 1000),
        ..Manners::default()
    };
    let server = ChatServer::start(slow);
    let mut config = config(&server);
    config.retries.timeout = Duration::from_millis(60);
    config.retries.attempts = 2;
    let client = Client::new(config, None).unwrap();
    let fault = block_on(client.ask(&request(1))).unwrap_err();
    assert!(fault.to_string().contains("no answer after 2 attempts"), "{fault}");
}

#[test]
fn a_server_that_says_when_is_left_alone_until_then() {
    // Every first request of a clip is told to wait.
    let manners = Manners {
        faults: Faults::default().with(Fault::ThrottleFor, 1000),
        retry_after: "Retry-After: 1\r\n",
        ..Manners::default()
    };
    let server = ChatServer::start(manners);
    let mut config = config(&server);
    config.retries.longest_pause = Duration::from_millis(300);
    let client = Client::new(config, None).unwrap();
    let started = std::time::Instant::now();
    block_on(async {
        let asking = tokio::spawn({
            let client = client.clone();
            async move { client.ask(&request(5)).await }
        });
        while server.log().requests == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.behave(Manners::default());
        let reply = asking.await.unwrap().unwrap();
        assert_eq!(reply.text, truth(5));
    });
    assert!(started.elapsed() >= Duration::from_millis(300), "it asked too early");
    let stats = client.stats();
    assert_eq!((stats.requests, stats.throttled), (2, 1), "{stats:?}");
}
