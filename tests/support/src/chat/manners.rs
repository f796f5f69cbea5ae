//! How the server behaves, and what it says.

use std::time::Duration;

use serde_json::Value as Json;

use super::Call;

/// What the server does with `response_format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Schema {
    /// It keeps to it.
    #[default]
    Taken,
    /// It answers 400.
    Rejected,
    /// It answers as if nothing had been asked for.
    Ignored,
}

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct Manners {
    /// What goes wrong.
    pub faults: Faults,
    /// Whether it repeats the request's id, in a header and in the answer's id.
    pub echo: bool,
    /// What it does with a schema.
    pub schema: Schema,
    /// The only key it takes.
    pub key: Option<String>,
    /// Whether it closes every connection without a word.
    pub down: bool,
    /// Answers everything with this status and message.
    pub refuse: Option<(&'static str, &'static str)>,
    /// Headers that say when to come back, each line ended by `\r\n`.
    pub retry_after: &'static str,
    /// What it says.
    pub words: fn(&Question) -> String,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            faults: Faults::default(),
            echo: false,
            schema: Schema::Taken,
            key: None,
            down: false,
            refuse: None,
            retry_after: "Retry-After: 0\r\n",
            words: |question| caption(question.media.iter().map(Vec::as_slice)),
        }
    }
}

/// A thing that goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// 429 without a word about when to come back.
    Throttle,
    /// 429 with the headers of [`Manners::retry_after`].
    ThrottleFor,
    /// 500, 502 or 503.
    Error,
    /// The answer comes late.
    Slow,
    /// The answer breaks off.
    Cut,
    /// The connection is closed without an answer.
    Drop,
    /// Something that is no answer, with status 200.
    Garbage,
    /// The answer to another clip's question.
    WrongClip,
    /// The model does not want to.
    Refuse,
}

impl Fault {
    /// All of them, in the order of [`Faults::per_mille`].
    pub const ALL: [Self; 9] = [
        Self::Throttle,
        Self::ThrottleFor,
        Self::Error,
        Self::Slow,
        Self::Cut,
        Self::Drop,
        Self::Garbage,
        Self::WrongClip,
        Self::Refuse,
    ];

    /// Its name in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Throttle => "429",
            Self::ThrottleFor => "429 with Retry-After",
            Self::Error => "5xx",
            Self::Slow => "slow",
            Self::Cut => "cut off",
            Self::Drop => "dropped",
            Self::Garbage => "garbage",
            Self::WrongClip => "wrong clip",
            Self::Refuse => "refused",
        }
    }
}

/// How often what goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Decides for which clip and attempt what is drawn.
    pub seed: u64,
    /// In so many of a thousand requests, for each of [`Fault::ALL`].
    pub per_mille: [u64; 9],
    /// Every answer takes up to so long, so that later requests are answered first.
    pub delay: Duration,
    /// A slow one takes this much longer.
    pub slow: Duration,
}

impl Faults {
    /// Sets how often one fault happens.
    #[must_use]
    pub fn with(mut self, fault: Fault, per_mille: u64) -> Self {
        for (known, rate) in Fault::ALL.iter().zip(&mut self.per_mille) {
            if *known == fault {
                *rate = per_mille;
            }
        }
        self
    }

    pub(super) fn draw(&self, mark: &str, nth: u32) -> Option<Fault> {
        let mut at = self.hash(mark, nth, 1) % 1000;
        for (fault, rate) in Fault::ALL.into_iter().zip(self.per_mille) {
            match at.checked_sub(rate) {
                Some(rest) => at = rest,
                None => return Some(fault),
            }
        }
        None
    }

    pub(super) fn delay(&self, mark: &str, nth: u32) -> (Duration, Duration) {
        let share = (self.hash(mark, nth, 2) % 1000) as f64 / 1000.0;
        (self.delay.mul_f64(share), self.slow)
    }

    fn hash(&self, mark: &str, nth: u32, what: u64) -> u64 {
        let mut z = fnv(mark.as_bytes()) ^ self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = z.wrapping_add((u64::from(nth) << 8 | what).wrapping_mul(0xbf58_476d_1ce4_e5b9));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A request as the server understands it.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// What stands in `user`: the clip, and the part.
    pub mark: String,
    /// What the answer must repeat, where a schema says so.
    pub tag: Option<String>,
    /// The header `x-request-id`.
    pub id: String,
    /// The model asked for.
    pub model: String,
    /// All text of the user's message.
    pub text: String,
    /// All pictures, or the video.
    pub media: Vec<Vec<u8>>,
    /// The wanted chance.
    pub temperature: f64,
    /// The wanted repetition of it.
    pub seed: Option<u64>,
}

impl Question {
    pub(super) fn of(call: &Call) -> Self {
        let json: Json = serde_json::from_slice(&call.body).unwrap_or_default();
        let mut question = Self {
            mark: json["user"].as_str().unwrap_or_default().to_owned(),
            tag: json["response_format"]["json_schema"]["schema"]["properties"]["clip"]["enum"][0]
                .as_str()
                .map(str::to_owned),
            id: call.header("x-request-id").unwrap_or_default().to_owned(),
            model: json["model"].as_str().unwrap_or_default().to_owned(),
            temperature: json["temperature"].as_f64().unwrap_or_default(),
            seed: json["seed"].as_u64(),
            ..Self::default()
        };
        let messages = json["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        for message in messages.iter().filter(|message| message["role"] == "user") {
            match &message["content"] {
                Json::String(text) => question.text.push_str(text),
                parts => parts.as_array().into_iter().flatten().for_each(|part| question.add(part)),
            }
        }
        question
    }

    fn add(&mut self, part: &Json) {
        if let Some(text) = part["text"].as_str() {
            self.text.push_str(text);
        }
        let urls = [&part["image_url"]["url"], &part["video_url"]["url"]];
        for url in urls.into_iter().filter_map(Json::as_str) {
            let (_, data) = url.split_once(";base64,").unwrap_or_default();
            self.media.push(base64(data));
        }
    }

    /// Tokens read and written: some number that grows with both.
    pub(super) fn usage(&self, words: &str) -> (u64, u64) {
        let bytes: usize = self.media.iter().map(Vec::len).sum();
        let read = self.text.len() / 4 + bytes / 100 + 10;
        (read as u64, words.split_whitespace().count() as u64)
    }
}

/// What the server says about a clip of these files.
pub fn caption<'a>(media: impl IntoIterator<Item = &'a [u8]>) -> String {
    let hash = media.into_iter().fold(0, |hash: u64, file| hash.rotate_left(7) ^ fnv(file));
    format!("A small thing with the number {hash:016x} moves slowly over a wide green field.")
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes().filter_map(digit) {
        bits = (bits << 6 | u32::from(digit)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
