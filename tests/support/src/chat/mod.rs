//! A server that speaks `/v1/chat/completions`, and misbehaves as told: for tests of captions.
//!
//! What it says about a clip is a function of the clip's own bytes ([`caption`]), so a test can tell
//! for every row whether the caption is on its clip. Faults are drawn by a hash of a seed, the clip
//! and how often the clip has come, not by the order of requests, so a run can be repeated. The server
//! counts what a client must not exceed: requests and bytes under way.
//!
//! One thread for each connection, kept alive, plain HTTP/1.1. Decided against an HTTP crate: half of
//! the faults are things that such a crate prevents.

mod http;
mod manners;

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};

pub use http::Call;
pub use manners::{Fault, Faults, Manners, Question, Schema, caption};

/// A server on a port of its own; it stops when dropped.
pub struct ChatServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    manners: Mutex<Manners>,
    log: Mutex<Log>,
    is_over: AtomicBool,
}

/// What the server has seen.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Requests that were read whole.
    pub requests: u64,
    /// Requests for each clip and part, by what stood in `user`.
    pub by_mark: BTreeMap<String, u32>,
    /// Requests under way now.
    pub in_flight: usize,
    /// The most requests under way at once.
    pub most_in_flight: usize,
    /// Bytes of bodies under way now.
    pub bytes: usize,
    /// The most bytes of bodies under way at once.
    pub most_bytes: usize,
    /// Tokens of all answers that were made, also of those that got lost.
    pub tokens: u64,
    /// How often each fault was done.
    pub faults: BTreeMap<&'static str, u64>,
    /// The last request: its headers and its body.
    pub last: Option<Call>,
    /// The question before, which a server that mixes up answers would answer.
    previous: Option<Question>,
}

impl ChatServer {
    /// Starts one.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let shared = Arc::new(Shared {
            manners: Mutex::new(manners),
            log: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        named("chat server", move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if serving.is_over.load(Relaxed) {
                    break;
                }
                let shared = Arc::clone(&serving);
                named("chat connection", move || shared.serve(&connection));
            }
        });
        Self { address, shared }
    }

    /// Its address, up to `/v1`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Changes its manners from the next request on.
    pub fn behave(&self, manners: Manners) {
        *lock(&self.shared.manners) = manners;
    }

    /// What it has seen so far.
    #[must_use]
    pub fn log(&self) -> Log {
        lock(&self.shared.log).clone()
    }
}

impl Drop for ChatServer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

fn named(name: &str, work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name(name.to_owned());
    drop(thread.spawn(work).expect("a thread"));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Answers on one connection until either side has enough.
    fn serve(&self, connection: &TcpStream) {
        let timeout = Some(Duration::from_millis(100));
        if connection.set_read_timeout(timeout).and(connection.set_nodelay(true)).is_err() {
            return;
        }
        let mut kept = Vec::new();
        loop {
            match http::read(connection, &mut kept, &self.is_over) {
                Some(call) => {
                    if !self.answer(connection, &call) {
                        return;
                    }
                }
                None => return,
            }
        }
    }

    /// Answers one request; gives whether the connection stays open.
    fn answer(&self, connection: &TcpStream, call: &Call) -> bool {
        let manners = lock(&self.manners).clone();
        if manners.down {
            return false;
        }
        let size = call.body.len();
        let question = Question::of(call);
        let (nth, previous) = {
            let mut log = lock(&self.log);
            log.requests += 1;
            log.in_flight += 1;
            log.bytes += size;
            log.most_in_flight = log.most_in_flight.max(log.in_flight);
            log.most_bytes = log.most_bytes.max(log.bytes);
            log.last = Some(call.clone());
            let nth = log.by_mark.entry(question.mark.clone()).or_default();
            *nth += 1;
            let nth = *nth;
            let previous = log.previous.replace(question.clone());
            (nth, previous.filter(|other| other.mark != question.mark))
        };
        let fault = manners.faults.draw(&question.mark, nth);
        let (delay, extra) = manners.faults.delay(&question.mark, nth);
        if let Some(fault) = fault {
            *lock(&self.log).faults.entry(fault.name()).or_default() += 1;
        }
        let delay = if fault == Some(Fault::Slow) { delay + extra } else { delay };
        let is_there = wait(connection, delay);
        let reply = self.reply(&manners, call, &question, previous.as_ref(), fault, nth);
        {
            // Before the answer leaves: the client may send its next request at once.
            let mut log = lock(&self.log);
            log.in_flight -= 1;
            log.bytes -= size;
        }
        is_there && send(connection, &reply)
    }

    fn reply(
        &self,
        manners: &Manners,
        call: &Call,
        question: &Question,
        previous: Option<&Question>,
        fault: Option<Fault>,
        nth: u32,
    ) -> Reply {
        if !call.path.ends_with("/chat/completions") {
            return Reply::error("404 Not Found", "no such address");
        }
        let authorization = call.header("authorization");
        if let Some(key) = &manners.key
            && authorization != Some(&format!("Bearer {key}"))
        {
            let said = format!("wrong key: {}", authorization.unwrap_or("none"));
            return Reply::error("401 Unauthorized", &said);
        }
        if manners.schema == Schema::Rejected && question.tag.is_some() {
            return Reply::error("400 Bad Request", "response_format is not supported");
        }
        if let Some((status, message)) = manners.refuse {
            return Reply::error(status, message);
        }
        let throttled = || Reply::error("429 Too Many Requests", "slow down");
        match fault {
            Some(Fault::Throttle) => return throttled(),
            Some(Fault::ThrottleFor) => {
                return Reply { headers: manners.retry_after.to_owned(), ..throttled() };
            }
            Some(Fault::Error) => {
                let errors =
                    ["500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable"];
                return Reply::error(errors[nth as usize % 3], "it broke");
            }
            Some(Fault::Drop) => return Reply { is_dropped: true, ..throttled() },
            _ => {}
        }
        let invented = Question {
            mark: "someone-else".to_owned(),
            tag: Some("000000000000".to_owned()),
            id: "curate-someone-else.1".to_owned(),
            ..question.clone()
        };
        let about = match fault {
            Some(Fault::WrongClip) => previous.unwrap_or(&invented),
            _ => question,
        };
        let words = (manners.words)(about);
        let usage = question.usage(&words);
        lock(&self.log).tokens += usage.0 + usage.1;
        let content = match &about.tag {
            // What is asked for decides the form; whose answer it is, the mix-up.
            Some(tag) if question.tag.is_some() && manners.schema == Schema::Taken => {
                json!({ "clip": tag, "text": words }).to_string()
            }
            _ => words,
        };
        let mut json = json!({
            "id": "chatcmpl-0815",
            "object": "chat.completion",
            "model": question.model,
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": content },
                "finish_reason": "stop",
            }],
            "usage": { "prompt_tokens": usage.0, "completion_tokens": usage.1 },
        });
        let mut headers = String::new();
        if manners.echo {
            json["id"] = json!(format!("chatcmpl-{}", about.id));
            headers = format!("X-Request-Id: {}\r\n", about.id);
        }
        match fault {
            Some(Fault::Refuse) => {
                json["choices"][0]["message"] = json!({ "content": null, "refusal": "I cannot." });
            }
            Some(Fault::Garbage) => return Reply::ok(headers, garbage(nth, &json)),
            _ => {}
        }
        let body = json.to_string().into_bytes();
        let is_cut = fault == Some(Fault::Cut);
        Reply { is_cut, ..Reply::ok(headers, body) }
    }
}

/// Answers that are none, in turn.
fn garbage(nth: u32, json: &Json) -> Vec<u8> {
    let text = json.to_string();
    match nth % 4 {
        0 => b"<html><body>It works!</body></html>".to_vec(),
        1 => b"{\"choices\": []}".to_vec(),
        2 => text.as_bytes()[..text.len() / 2].to_vec(),
        _ => vec![0xff; 64],
    }
}

struct Reply {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
    /// The connection ends in the middle of the body.
    is_cut: bool,
    /// Nothing is said at all.
    is_dropped: bool,
}

impl Reply {
    fn ok(headers: String, body: Vec<u8>) -> Self {
        Self { status: "200 OK", headers, body, is_cut: false, is_dropped: false }
    }

    fn error(status: &'static str, message: &str) -> Self {
        let body = json!({ "error": { "message": message, "type": "error", "code": null } });
        Self { status, ..Self::ok(String::new(), body.to_string().into_bytes()) }
    }
}

/// Sends an answer; gives whether the connection stays open.
fn send(mut connection: &TcpStream, reply: &Reply) -> bool {
    if reply.is_dropped {
        return false;
    }
    let Reply { status, headers, body, is_cut, .. } = reply;
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(if *is_cut { &body[..body.len() / 2] } else { body });
    connection.write_all(&bytes).is_ok() && !is_cut
}

/// Waits, or until the client has gone. Gives whether it is still there.
fn wait(connection: &TcpStream, delay: Duration) -> bool {
    let until = Instant::now() + delay;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        if left > Duration::from_millis(20) && http::has_gone(connection) {
            return false;
        }
        std::thread::sleep(left.min(Duration::from_millis(20)));
    }
}
