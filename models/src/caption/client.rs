//! Asking servers, carefully. See [`Client`].
//!
//! One call of [`Client::ask`] is one question: look into the cache; wait at the [`gate`](super::gate)
//! for a server; set aside what it may cost; send; read; check whose answer it is; and if it was none,
//! pause and begin again, until it is clear who is at fault: the clip, or everything.
//!
//! The state of a request lives on the stack of its own future, and HTTP gives back each answer on
//! the connection of its question. There is no table of pending requests in which two could be
//! swapped; what a server or a proxy swaps is found by the echo ([`chat`]).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{
    Bounds, Budget, Cache, CacheError, CaptionError, ClipFault, Endpoint, EndpointError, Media,
    Reply, Request, Retries, RunFault, Spent, Style, Usage,
    budget::Purse,
    cache::Entry,
    chat::{self, Answered},
    course::{Course, Next},
    gate::Gate,
    server::Server,
};

/// Tokens of a picture when nothing is known yet: a tile of InternVL or Qwen-VL at 448 pixels.
const TOKENS_OF_FRAME: u64 = 256;

/// What a client needs to know.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The model's name as the servers know it.
    pub model: String,
    /// How requests are laid out for it.
    pub style: Style,
    /// Servers that have it; each gets what it can take.
    pub endpoints: Vec<Endpoint>,
    /// Bounds of what is under way.
    pub bounds: Bounds,
    /// How often and how long a clip is tried.
    pub retries: Retries,
    /// What the run may cost.
    pub budget: Budget,
    /// For the chance in pauses.
    pub seed: u64,
}

impl ClientConfig {
    /// Everything by default but the model and its server.
    #[must_use]
    pub fn new(model: &str, endpoint: Endpoint) -> Self {
        Self {
            model: model.to_owned(),
            style: Style::default(),
            endpoints: vec![endpoint],
            bounds: Bounds::default(),
            retries: Retries::default(),
            budget: Budget::default(),
            seed: 0,
        }
    }
}

/// What a client has done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Questions asked of it.
    pub asked: u64,
    /// Answered from the cache.
    pub from_cache: u64,
    /// Requests sent.
    pub requests: u64,
    /// Requests that were told to wait (429, 503).
    pub throttled: u64,
    /// Requests that failed or brought nothing of use.
    pub failed: u64,
    /// Answers that were for another clip.
    pub wrong_clip: u64,
    /// Answers that could not be kept on disk.
    pub uncached: u64,
    /// For each server: how many requests it may get at once now, and how often it was left alone.
    pub servers: Vec<(usize, u64)>,
    /// What was spent, earlier runs included where the budget was told of them.
    pub spent: Spent,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) asked: AtomicU64,
    pub(super) from_cache: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) throttled: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) wrong_clip: AtomicU64,
    pub(super) uncached: AtomicU64,
}

pub(super) struct Inner {
    pub(super) config: ClientConfig,
    pub(super) servers: Vec<Server>,
    pub(super) gate: Gate,
    /// Of all clients that work for one run.
    purse: Arc<Purse>,
    cache: Option<Cache>,
    pub(super) counters: Counters,
    /// Clips rejected while none has been accepted.
    pub(super) rejected: AtomicU32,
    pub(super) has_accepted: AtomicBool,
}

/// Asks servers that speak `/chat/completions`. Cheap to clone; clones share everything.
///
/// Needs a tokio runtime with time and I/O.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

impl Client {
    /// Makes a client. Answers are kept in `cache`, if there is one.
    ///
    /// # Errors
    /// When an address or a key cannot be used; nothing is sent yet.
    pub fn new(config: ClientConfig, cache: Option<Cache>) -> Result<Self, EndpointError> {
        let purse = Arc::new(Purse::new(config.budget));
        Self::with_purse(config, cache, purse)
    }

    /// Makes another client that spends from the same budget; its own does not count.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn beside(
        &self,
        config: ClientConfig,
        cache: Option<Cache>,
    ) -> Result<Self, EndpointError> {
        Self::with_purse(config, cache, Arc::clone(&self.0.purse))
    }

    fn with_purse(
        config: ClientConfig,
        cache: Option<Cache>,
        purse: Arc<Purse>,
    ) -> Result<Self, EndpointError> {
        if config.endpoints.is_empty() {
            return Err(EndpointError::None);
        }
        let servers = config.endpoints.iter().enumerate();
        let servers: Result<Vec<_>, _> =
            servers.map(|(index, endpoint)| Server::new(endpoint, index, &config)).collect();
        let names = config.endpoints.iter().map(ToString::to_string).collect();
        let inner = Inner {
            servers: servers?,
            gate: Gate::new(names, config.bounds),
            purse,
            cache,
            counters: Counters::default(),
            rejected: AtomicU32::new(0),
            has_accepted: AtomicBool::new(false),
            config,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// The model's name, as asked for.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.0.config.model
    }

    /// The hash of everything that is asked but the clip.
    #[must_use]
    pub fn prompt_hash(&self, request: &Request) -> String {
        request.prompt_hash(&self.0.config.model, &self.0.config.style)
    }

    /// Asks one question.
    ///
    /// # Errors
    /// A [`ClipFault`] when this clip has no caption, a [`RunFault`] when none can be had any more.
    pub async fn ask(&self, request: &Request) -> Result<Reply, CaptionError> {
        self.0.ask(request).await
    }

    /// Asks many questions side by side; the answers are in the order of the questions. After a fault
    /// of the run no new request is sent, those under way are awaited (and kept in the cache), and
    /// questions that the cache can answer still are.
    ///
    /// Dropping the future gives up what is under way.
    pub async fn ask_all(&self, requests: Vec<Request>) -> Vec<Result<Reply, CaptionError>> {
        // Each answer has its place from the beginning: none can move up into another's.
        let given_up = || ClipFault::GaveUp {
            attempts: 0,
            spent: Duration::ZERO,
            problem: "the question was given up".to_owned(),
        };
        let mut results: Vec<Result<Reply, CaptionError>> = Vec::new();
        results.resize_with(requests.len(), || Err(given_up().into()));
        let mut waiting = requests.into_iter().enumerate();
        let mut tasks = JoinSet::new();
        loop {
            while tasks.len() < self.0.config.bounds.requests.max(1) {
                let Some((index, request)) = waiting.next() else { break };
                let client = self.clone();
                tasks.spawn(async move { (index, client.ask(&request).await) });
            }
            match tasks.join_next().await {
                Some(Ok((index, result))) => results[index] = result,
                Some(Err(error)) => {
                    if let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
                None => break,
            }
        }
        results
    }

    /// What has happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = &self.0.counters;
        Stats {
            asked: counters.asked.load(Relaxed),
            from_cache: counters.from_cache.load(Relaxed),
            requests: counters.requests.load(Relaxed),
            throttled: counters.throttled.load(Relaxed),
            failed: counters.failed.load(Relaxed),
            wrong_clip: counters.wrong_clip.load(Relaxed),
            uncached: counters.uncached.load(Relaxed),
            servers: self.0.gate.lanes(),
            spent: self.0.purse.spent(),
        }
    }

    /// The fault that ended the run, if one has.
    #[must_use]
    pub fn fault(&self) -> Option<RunFault> {
        self.0.gate.fault()
    }
}

impl Inner {
    async fn ask(&self, request: &Request) -> Result<Reply, CaptionError> {
        self.counters.asked.fetch_add(1, Relaxed);
        let Self { config, .. } = self;
        let key = request.content_key(&config.model, &config.style);
        if let Some(entry) = self.cache.as_ref().and_then(|cache| cache.get(&key)) {
            self.counters.from_cache.fetch_add(1, Relaxed);
            return Ok(self.reply(request, &entry, true));
        }
        let answered = self.answer(request).await?;
        let model = answered.model.as_deref().unwrap_or(&config.model);
        let mut entry = Entry::new(&answered.text, model, answered.usage.unwrap_or_default());
        entry.truncated = answered.truncated;
        entry.confirmed = answered.confirmed;
        if let Some(cache) = &self.cache {
            // A full disk costs money later, but not this caption.
            let kept: Result<(), CacheError> = cache.put(&key, &entry);
            self.counters.uncached.fetch_add(u64::from(kept.is_err()), Relaxed);
        }
        Ok(self.reply(request, &entry, false))
    }

    fn reply(&self, request: &Request, entry: &Entry, from_cache: bool) -> Reply {
        Reply {
            clip_id: request.clip_id.clone(),
            text: entry.text.clone(),
            model: entry.model.clone(),
            truncated: entry.truncated,
            confirmed: entry.confirmed,
            from_cache,
            usage: entry.usage(),
            prompt_hash: request.prompt_hash(&self.config.model, &self.config.style),
        }
    }

    /// Tries until there is an answer or it is clear that there will be none.
    async fn answer(&self, request: &Request) -> Result<Answered, CaptionError> {
        let _presence = self.gate.attend();
        let mut course = Course::new();
        loop {
            let before = Instant::now();
            let mut permit = self.gate.enter(chat::body_bytes(request)).await?;
            let hold = self.purse.hold(guess(request)).await;
            let hold = hold.map_err(|spent| self.gate.fail(spent.into()))?;
            course.waited += before.elapsed();
            course.attempts += 1;
            permit.begin();
            self.counters.requests.fetch_add(1, Relaxed);
            let server = &self.servers[permit.lane];
            let outcome = server.attempt(&self.config, request, &course, hold).await;
            match self.judge(request, permit, &mut course, outcome)? {
                Next::Done(answered) => return Ok(*answered),
                Next::Again => {}
                Next::Pause(pause) => tokio::time::sleep(pause).await,
            }
        }
    }
}

/// What a request will cost at most, before any has told.
fn guess(request: &Request) -> Usage {
    let words = request.prompt.text.len() + request.prompt.system.as_ref().map_or(0, String::len);
    let frames = match &request.media {
        Media::None => 0,
        Media::Frames(frames) => frames.len() as u64,
        Media::Video(_) => 8,
    };
    let prompt = words as u64 / 4 + 100 + frames * TOKENS_OF_FRAME;
    Usage { prompt, completion: u64::from(request.sampling.max_tokens) }
}
