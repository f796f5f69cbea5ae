//! Feeds damaged files to everything that reads files: probing, decoding, cutting, encoding, and the
//! recipe parser. Looks for crashes, hangs and panics.
//!
//! `cargo bench --bench fuzz -- --minutes 60 --seed 1 FOLDER..`: files of the folders are damaged in
//! ways that depend on the case's number alone, so a finding can be had again with `--case N`. Cases
//! run in a child process of limited memory, since a crash of a decoder takes its process along; the
//! parent notes the case and goes on behind it. Damaged files that were found to matter stay in
//! `fuzz-findings`.
#![expect(clippy::print_stdout, reason = "a report for people")]
#![expect(clippy::unwrap_used, reason = "a tool of developers may end with a panic")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::Stdio,
    sync::mpsc,
    time::{Duration, Instant},
};

use curate_media::{
    Access, Converter, Copier, DecodeOptions, Decoder, Encoding, Filter, Interlaced, KeyScan,
    MediaError, Size, copy_clip, probe, segments, transcode_clip,
};
use curate_pipeline::{Document, Problems};
use curate_schemas::Span;
use curate_stages::STAGES;
use curate_testing::program;

/// Files are cut to this length first: more would only be slower.
const MOST_BYTES: usize = 3 << 20;
/// A case that takes longer than this hangs; every call in it is told to give up after [`PATIENCE`].
const HANGING: Duration = Duration::from_secs(90);
const PATIENCE: Duration = Duration::from_secs(5);
/// The tables of an MP4, whose numbers lead everywhere.
const TABLES: [&[u8; 4]; 14] = [
    b"stsz", b"stz2", b"ctts", b"stts", b"stss", b"stsc", b"stco", b"co64", b"stsd", b"elst",
    b"mdhd", b"tkhd", b"tfhd", b"trun",
];
/// Address space of the child in KiB.
const MOST_MEMORY_KIB: u64 = 8 << 20;

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Where the name of one of the file's tables is, if it has any.
fn table(bytes: &[u8], random: &mut Random) -> Option<usize> {
    let names = bytes.windows(4).enumerate();
    let tables: Vec<usize> = names
        .filter(|(_, name)| TABLES.iter().any(|table| name == table))
        .map(|(at, _)| at)
        .collect();
    tables.get(random.below(tables.len())).copied()
}

/// Where in `bytes` damage is done: in the headers or the tables, which matter most, or anywhere.
fn place(bytes: &[u8], random: &mut Random) -> usize {
    match random.below(4) {
        0 => random.below(bytes.len()),
        1 => match table(bytes, random) {
            Some(at) => (at + random.below(64)).min(bytes.len() - 1),
            None => random.below(bytes.len()),
        },
        _ => random.below(bytes.len().min(4096)),
    }
}

/// Has a table say that it is shorter than it is.
fn shorten(bytes: &mut [u8], random: &mut Random) {
    let Some(at) = table(bytes, random) else { return };
    // Behind the name, the version and the flags; sizes have one for all samples before it.
    let count = at + if &bytes[at..at + 4] == b"stsz" { 12 } else { 8 };
    if let Some(field) = bytes.get_mut(count..count + 4) {
        let told = u32::from_be_bytes([field[0], field[1], field[2], field[3]]);
        let less = u64::from(told) * random.below(100) as u64 / 100;
        field.copy_from_slice(&(less as u32).to_be_bytes());
    }
}

/// One to eight pieces of damage.
fn damage(bytes: &mut Vec<u8>, random: &mut Random, other: &[u8]) {
    for _ in 0..=random.below(8) {
        if bytes.is_empty() {
            return;
        }
        let at = place(bytes, random);
        let length = (1 + random.below(64)).min(bytes.len() - at);
        match random.below(10) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes[at..at + length].fill([0, 0xff, 0x7f, 0x80][random.below(4)]),
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let copy = bytes[at..at + length].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            5 => bytes.truncate(at.max(16)),
            // A number of four bytes, such as a length.
            6 if at + 4 <= bytes.len() => {
                let odd = [0, 1, 7, 0x7fff_ffff, 0x8000_0000, u32::MAX, random.next() as u32];
                bytes[at..at + 4].copy_from_slice(&odd[random.below(odd.len())].to_be_bytes());
            }
            7 => {
                let from = random.below(other.len());
                let length = (1 + random.below(512)).min(other.len() - from);
                let piece = other[from..from + length].to_vec();
                let end = (at + piece.len()).min(bytes.len());
                bytes.splice(at..end, piece);
            }
            8 => shorten(bytes, random),
            _ => {
                let to = random.below(bytes.len());
                bytes.swap(at, to);
            }
        }
    }
}

/// Cuts the span that was shown, and others from there on for as long as the file is said to be, out of
/// it through one [`Copier`], one after the other. How many gave a clip.
///
/// # Panics
/// If a span gives anything else than it gives alone.
fn copies(path: &Path, shown: Span, length_s: f64, access: &Access, random: &mut Random) -> u64 {
    let time_base = shown.time_base;
    let length = time_base.ticks(length_s.clamp(0.1, 3600.0)).max(1) as usize;
    let mut spans = vec![shown];
    for _ in 0..4 {
        let start = shown.start.saturating_add(random.below(length) as i64);
        let end = start.saturating_add(1 + random.below(length / 3) as i64);
        spans.push(Span { start, end, time_base });
    }
    spans.push(spans[random.below(spans.len())]);
    let copier = Copier::default();
    let since = Instant::now();
    let mut copied = 0;
    for span in spans {
        let (used, alone) = (copier.copy(path, &span, access), copy_clip(path, &span, access));
        if [&used, &alone].iter().any(|clip| matches!(clip, Err(MediaError::Timeout { .. })))
            || since.elapsed() > PATIENCE
        {
            break;
        }
        copied += u64::from(alone.is_ok());
        let told = |clip: Result<_, MediaError>| clip.map_err(|error| error.to_string());
        assert!(told(used) == told(alone), "{span:?}: a used reader gave another clip");
    }
    copied
}

/// Everything that a run might do with a file. Errors are fine. How many clips were copied.
fn exercise(path: &Path, random: &mut Random) -> u64 {
    let access = Access::within(PATIENCE);
    let found = probe(path, &access);
    segments(path, Duration::from_secs(1), &access).ok();
    let options = DecodeOptions { threads: 2, access: access.clone(), ..DecodeOptions::default() };
    let mut span = None;
    if let Ok(mut decoder) = Decoder::open(path, &options) {
        let mut converter = Converter::default();
        let time_base = decoder.time_base();
        let since = Instant::now();
        for _ in 0..60 {
            let Ok(Some(frame)) = decoder.next_frame() else { break };
            frame.small(&mut converter, Size::new(96, 64)).ok();
            frame.picture(&mut converter, Size::new(64, 64), Filter::Area, true).ok();
            let (start, end) = (frame.pts, frame.pts.saturating_add(frame.duration));
            let span = span.get_or_insert(Span { start, end, time_base });
            span.end = end;
            if since.elapsed() > PATIENCE {
                break;
            }
        }
    }
    if let Ok(mut scan) = KeyScan::open(path, &options)
        && let Ok(Some(group)) = scan.next_group()
    {
        scan.next_group().ok();
        scan.glance(&group, &mut |_frame| Ok(true)).ok();
        scan.decode(&group, &mut |_frame| Ok(())).ok();
    }
    let Some(span) = span else { return 0 };
    let length_s = found.as_ref().ok().and_then(|info| info.duration_s).unwrap_or(4.0);
    let copied = copies(path, span, length_s, &access, random);
    if found.is_ok_and(|info| info.video.width <= 1280) {
        let preset = "ultrafast".to_owned();
        let encoding = Encoding { preset, short_side: Some(64), ..Encoding::default() };
        transcode_clip(path, &span, &encoding, Interlaced::Deinterlace, &access).ok();
    }
    copied
}

/// Everything that reading a recipe does before it looks at files.
fn parse(bytes: &[u8]) {
    let mut problems = Problems::default();
    let Some(document) = Document::parse(&String::from_utf8_lossy(bytes), &mut problems) else {
        return;
    };
    for mut table in document.stages {
        let kind = table.remove("kind");
        let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or_default().to_owned();
        for entry in STAGES.iter().filter(|entry| entry.kind == kind) {
            (entry.parse)(&mut table, &mut problems).validate(&mut problems);
        }
    }
    for problem in problems.into_errors() {
        problem.to_string();
    }
}

/// One file of the corpus, damaged as this case has it.
struct Case {
    bytes: Vec<u8>,
    extension: String,
}

fn case(files: &[PathBuf], seed: u64, number: u64) -> Case {
    let mut random = Random(seed.wrapping_mul(0x1_0000_0001).wrapping_add(number));
    random.next();
    let read = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        bytes.truncate(MOST_BYTES);
        bytes
    };
    let path = &files[random.below(files.len())];
    let other = read(&files[random.below(files.len())]);
    let mut bytes = read(path);
    damage(&mut bytes, &mut random, &other);
    let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
    Case { bytes, extension }
}

/// Runs cases from `first` on, saying the number of each before it.
fn child(files: &[PathBuf], seed: u64, first: u64, last: u64, folder: &Path) {
    curate_media::init();
    for number in first..last {
        println!("{number}");
        std::io::stdout().flush().unwrap();
        let Case { bytes, extension } = case(files, seed, number);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            if extension == "toml" {
                parse(&bytes);
                return;
            }
            let path = folder.join(format!("case.{extension}"));
            fs::write(&path, &bytes).unwrap();
            let copied = exercise(&path, &mut Random(number));
            println!("copied {copied}");
        }));
        if caught.is_err() {
            println!("panic");
            std::io::stdout().flush().unwrap();
        }
    }
}

/// What the cases came to.
#[derive(Default)]
struct Tally {
    cases: u64,
    /// Clips that were copied and compared.
    copied: u64,
    findings: Vec<(u64, String)>,
}

/// Runs children until the time is over, one after the other.
fn parent(arguments: &Arguments) -> Tally {
    let until = Instant::now() + arguments.time;
    let folder = tempfile::tempdir().unwrap();
    let mut tally = Tally::default();
    let mut next = arguments.first;
    while Instant::now() < until && next < arguments.last {
        let mut command = program("sh");
        command
            .args(["-c", &format!("ulimit -v {MOST_MEMORY_KIB}; exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().unwrap())
            .args(["--child", &next.to_string(), &arguments.last.to_string()])
            .arg(folder.path())
            .args(["--seed", &arguments.seed.to_string()])
            .args(&arguments.folders)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (send, said) = mpsc::sync_channel(64);
        let reader = std::thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || {
                lines.map_while(Result::ok).for_each(|line| send.send(line).unwrap_or_default());
            })
            .unwrap();
        let mut running = None;
        let reason = loop {
            match said.recv_timeout(HANGING) {
                Ok(line) if line == "panic" => break Some("panic".to_owned()),
                Ok(line) if line.starts_with("copied ") => {
                    tally.copied += line[7..].parse::<u64>().unwrap();
                }
                Ok(line) => {
                    running = line.parse().ok();
                    tally.cases += u64::from(running.is_some());
                    if Instant::now() >= until {
                        break None;
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => break Some("hang".to_owned()),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let status = child.wait().unwrap();
                    break (!status.success()).then(|| status.to_string());
                }
            }
        };
        child.kill().ok();
        child.wait().ok();
        drop(said);
        reader.join().ok();
        let number = running.unwrap_or(next);
        if let Some(reason) = reason {
            let Case { bytes, extension } = case(&arguments.files, arguments.seed, number);
            let kept = Path::new("fuzz-findings");
            fs::create_dir_all(kept).unwrap();
            let name = format!("seed{}-case{number}.{extension}", arguments.seed);
            fs::write(kept.join(&name), bytes).unwrap();
            println!("case {number}: {reason} (fuzz-findings/{name})");
            tally.findings.push((number, reason));
        }
        next = number + 1;
    }
    tally
}

struct Arguments {
    time: Duration,
    seed: u64,
    first: u64,
    last: u64,
    child: Option<PathBuf>,
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

fn arguments() -> Arguments {
    let mut read = Arguments {
        time: Duration::from_secs(60),
        seed: 1,
        first: 0,
        last: u64::MAX,
        child: None,
        folders: Vec::new(),
        files: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        match word.as_str() {
            "--minutes" => read.time = Duration::from_secs(60 * number()),
            "--seed" => read.seed = number(),
            "--case" => {
                read.first = number();
                read.last = read.first + 1;
            }
            "--child" => {
                (read.first, read.last) = (number(), number());
                read.child = words.next().map(PathBuf::from);
            }
            "--bench" => {}
            folder => read.folders.push(folder.into()),
        }
    }
    let mut waiting = read.folders.clone();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            read.files.push(path);
        }
    }
    read.files.sort();
    read
}

fn main() {
    let arguments = arguments();
    if arguments.files.is_empty() {
        println!("name folders with files to damage");
        return;
    }
    if let Some(folder) = &arguments.child {
        return child(&arguments.files, arguments.seed, arguments.first, arguments.last, folder);
    }
    let Tally { cases, copied, findings } = parent(&arguments);
    println!(
        "{cases} cases from {} files in {:.0} min, {copied} clips copied twice, seed {}: {} findings",
        arguments.files.len(),
        arguments.time.as_secs_f64() / 60.0,
        arguments.seed,
        findings.len()
    );
    std::process::exit(i32::from(!findings.is_empty()));
}
