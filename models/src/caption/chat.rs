//! The wire: a request as the JSON of `/chat/completions`, and its answer back.
//!
//! The clip's id goes out in three places (the header `x-request-id`, the field `user`, and, where
//! the server takes a schema, as a tag that the answer must repeat) and is looked for in all places
//! where it may come back. What comes back under our mark must be ours; what comes back under
//! another name (OpenAI puts an id of its own into `x-request-id`) says nothing.
//!
//! Decided against: the field `metadata`, which OpenAI refuses without `store`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::header::HeaderMap;
use serde_json::{Value as Json, json};

use super::{Answer, ClipFault, Media, Request, Style, Usage};

/// Begins every request id of ours.
const OURS: &str = "curate-";

/// How an answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As the model likes.
    Plain,
    /// In words: a JSON object.
    Words,
    /// By a schema that the server enforces.
    Schema,
}

impl Form {
    /// What to ask of a server that takes schemas or does not.
    pub(super) fn of(answer: Answer, takes_schema: bool) -> Self {
        match (answer, takes_schema) {
            (Answer::Text, _) | (Answer::Json, false) => Self::Plain,
            (Answer::StrictJson, false) => Self::Words,
            (Answer::Json | Answer::StrictJson, true) => Self::Schema,
        }
    }
}

/// The id that goes with an attempt.
pub(super) fn request_id(request: &Request, attempt: u32) -> String {
    format!("{OURS}{}.{attempt}", request.mark())
}

/// Bytes of the request, to within a few hundred.
pub(super) fn body_bytes(request: &Request) -> usize {
    let words = request.prompt.text.len() + request.prompt.system.as_ref().map_or(0, String::len);
    request.media.bytes().div_ceil(3) * 4 + words + 1024
}

/// The body of the request.
pub(super) fn body(request: &Request, model: &str, style: &Style, form: Form) -> Json {
    let mut text = request.prompt.text.clone();
    if form != Form::Plain {
        let tag = request.tag();
        text = format!(
            "{text}\n\nAnswer with nothing but a JSON object: \
                 {{\"clip\": \"{tag}\", \"text\": \"...\"}}"
        );
    }
    let media = media_parts(&request.media, style);
    let content = if media.is_empty() {
        json!(text)
    } else {
        let text = json!({ "type": "text", "text": text });
        let parts: Vec<Json> = if style.media_first {
            media.into_iter().chain([text]).collect()
        } else {
            [text].into_iter().chain(media).collect()
        };
        json!(parts)
    };
    let mut messages = Vec::new();
    if let Some(system) = &request.prompt.system {
        messages.push(json!({ "role": "system", "content": system }));
    }
    messages.push(json!({ "role": "user", "content": content }));
    let mut body = json!({ "model": model, "messages": messages, "user": request.mark() });
    let limit = if style.newer_token_limit { "max_completion_tokens" } else { "max_tokens" };
    body[limit] = json!(request.sampling.max_tokens);
    if !style.fixed_sampling {
        body["temperature"] = json!(request.sampling.temperature);
        if let Some(top_p) = request.sampling.top_p {
            body["top_p"] = json!(top_p);
        }
    }
    if let Some(seed) = request.sampling.seed {
        body["seed"] = json!(seed);
    }
    if form == Form::Schema {
        body["response_format"] = schema(&request.tag());
    }
    body
}

/// The server can write nothing but this clip's tag, so an answer with another tag is another's. The
/// tag comes first, so that an answer that is cut off has it; servers keep the order of the fields as
/// sent, which is that of the alphabet or the one below, depending on how `serde_json` is built.
fn schema(tag: &str) -> Json {
    json!({
        "type": "json_schema",
        "json_schema": {
            "name": "caption",
            "strict": true,
            "schema": {
                "type": "object",
                "properties": {
                    "clip": { "type": "string", "enum": [tag] },
                    "text": { "type": "string" },
                },
                "required": ["clip", "text"],
                "additionalProperties": false,
            },
        },
    })
}

fn media_parts(media: &Media, style: &Style) -> Vec<Json> {
    match media {
        Media::None => Vec::new(),
        Media::Video(video) => {
            let url = format!("data:video/mp4;base64,{}", STANDARD.encode(video));
            vec![json!({ "type": "video_url", "video_url": { "url": url } })]
        }
        Media::Frames(frames) => {
            let mut parts = Vec::new();
            for (index, frame) in frames.iter().enumerate() {
                if style.label_frames {
                    let label = format!("Frame {}:", index + 1);
                    parts.push(json!({ "type": "text", "text": label }));
                }
                let url = format!("data:image/jpeg;base64,{}", STANDARD.encode(frame));
                let mut image = json!({ "url": url });
                if let Some(detail) = &style.detail {
                    image["detail"] = json!(detail);
                }
                parts.push(json!({ "type": "image_url", "image_url": image }));
            }
            parts
        }
    }
}

/// An answer that could be read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answered {
    pub(super) text: String,
    pub(super) model: Option<String>,
    pub(super) truncated: bool,
    pub(super) confirmed: bool,
    /// Whether it was the object of the schema.
    pub(super) structured: bool,
    pub(super) usage: Option<Usage>,
}

/// Why an answer is of no use.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Misread {
    /// It is not what the protocol says; another try may help.
    Garbage(String),
    /// It is for another clip.
    WrongClip(String),
    /// It is final.
    Clip(ClipFault),
}

/// What is known about an answer before it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expect {
    pub(super) form: Form,
    /// Whether this server has kept to a schema before, so that it must again.
    pub(super) must_keep_form: bool,
    pub(super) attempt: u32,
}

/// Reads the answer to a request and checks that it is the answer to this request.
pub(super) fn read(
    request: &Request,
    headers: &HeaderMap,
    bytes: &[u8],
    expect: Expect,
) -> Result<Answered, Misread> {
    let garbage = |problem: &str| Misread::Garbage(problem.to_owned());
    let mut confirmed = check_headers(request, headers, expect.attempt)?;
    let json: Json = serde_json::from_slice(bytes)
        .map_err(|error| Misread::Garbage(format!("the answer is not JSON: {error}")))?;
    confirmed |= check_body(request, &json, expect.attempt)?;
    let Some(choice) = json["choices"].get(0) else {
        return Err(garbage("the answer has no `choices`"));
    };
    let message = &choice["message"];
    let refused = |reason: &str| {
        Misread::Clip(ClipFault::Refused { reason: reason.chars().take(300).collect() })
    };
    if let Some(reason) = message["refusal"].as_str().filter(|reason| !reason.is_empty()) {
        return Err(refused(reason));
    }
    let finish = choice["finish_reason"].as_str().unwrap_or_default();
    if finish == "content_filter" {
        return Err(refused("content_filter"));
    }
    let truncated = finish == "length";
    let text = without_thoughts(&content(message));
    let usage = usage(&json);
    let model = json["model"].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    let mut answered = Answered { text, model, truncated, confirmed, structured: false, usage };
    if expect.form == Form::Plain {
        return if answered.text.is_empty() {
            Err(garbage("the answer is empty"))
        } else {
            Ok(answered)
        };
    }
    let max_tokens = request.sampling.max_tokens;
    let cut_short = || Misread::Clip(ClipFault::CutShort { max_tokens });
    let found = object(&answered.text).or_else(|| unfinished(&answered.text).filter(|_| truncated));
    match found {
        Some(object) => {
            let found = object["clip"].as_str().unwrap_or_default();
            if found != request.tag() {
                if truncated && found.is_empty() {
                    return Err(cut_short());
                }
                // A model that was asked in words may leave the tag out, but not take another.
                if expect.form == Form::Schema || !found.is_empty() {
                    return Err(Misread::WrongClip(found.chars().take(64).collect()));
                }
            } else {
                answered.confirmed = true;
            }
            answered.structured = expect.form == Form::Schema;
            answered.text = caption(&object).unwrap_or_default().trim().to_owned();
            if answered.text.is_empty() {
                Err(garbage("the caption is empty"))
            } else {
                Ok(answered)
            }
        }
        None if truncated => Err(cut_short()),
        // Servers that do not know `response_format` may ignore it.
        None if request.answer == Answer::Json
            && !expect.must_keep_form
            && !answered.text.is_empty() =>
        {
            Ok(answered)
        }
        None => Err(garbage("the answer is not the JSON object that was asked for")),
    }
}

/// Whether a header repeats our mark.
fn check_headers(request: &Request, headers: &HeaderMap, attempt: u32) -> Result<bool, Misread> {
    let mut confirmed = false;
    for name in ["x-request-id", "x-client-request-id"] {
        let Some(found) = headers.get(name).and_then(|value| value.to_str().ok()) else { continue };
        confirmed |= check_id(request, found, attempt)?;
    }
    Ok(confirmed)
}

/// Whether the body repeats it: vLLM answers `chatcmpl-` and our id.
fn check_body(request: &Request, json: &Json, attempt: u32) -> Result<bool, Misread> {
    let mut confirmed = match json["id"].as_str() {
        Some(found) => check_id(request, found, attempt)?,
        None => false,
    };
    if let Some(found) = json["user"].as_str() {
        if found != request.mark() {
            return Err(Misread::WrongClip(found.chars().take(64).collect()));
        }
        confirmed = true;
    }
    Ok(confirmed)
}

fn check_id(request: &Request, found: &str, attempt: u32) -> Result<bool, Misread> {
    let Some(at) = found.find(OURS) else { return Ok(false) };
    let (found, sent) = (&found[at..], request_id(request, attempt));
    // Servers append to it (`-0`, the number of the choice), but not digits.
    let is_ours = found
        .strip_prefix(&sent)
        .is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()));
    if is_ours { Ok(true) } else { Err(Misread::WrongClip(found.chars().take(80).collect())) }
}

/// The text of a message: a string, or a list of parts.
fn content(message: &Json) -> String {
    match &message["content"] {
        Json::String(text) => text.clone(),
        Json::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// Reasoning models may think aloud before they answer.
fn without_thoughts(text: &str) -> String {
    let text = text.trim();
    match text.strip_prefix("<think>").and_then(|rest| rest.split_once("</think>")) {
        Some((_, answer)) => answer.trim().to_owned(),
        None => text.to_owned(),
    }
}

/// The first JSON object with a caption in a text, which may stand in a code fence or a sentence.
fn object(text: &str) -> Option<Json> {
    let starts = text.match_indices('{').map(|(at, _)| at);
    starts.take(8).find_map(|at| {
        let mut stream = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Json>();
        stream.next()?.ok().filter(|object| caption(object).is_some())
    })
}

/// The text in the object; models that were asked in words may call it what it is.
fn caption(object: &Json) -> Option<&str> {
    object["text"].as_str().or(object["caption"].as_str())
}

/// The object of an answer that stopped in the middle of its caption.
fn unfinished(text: &str) -> Option<Json> {
    let text = &text[text.find('{')?..];
    // An escape such as `\u00e4` may have been cut.
    (0..=6).find_map(|cut| {
        let kept = text.get(..text.len().checked_sub(cut)?)?;
        let closed: Json = serde_json::from_str(&format!("{kept}\"}}")).ok()?;
        caption(&closed).is_some().then_some(closed)
    })
}

fn usage(json: &Json) -> Option<Usage> {
    let prompt = json["usage"]["prompt_tokens"].as_u64()?;
    let completion = json["usage"]["completion_tokens"].as_u64().unwrap_or_default();
    Some(Usage { prompt, completion })
}

/// What a server says about an error: the usual places in its JSON, else its text, cut short.
pub(super) fn message(bytes: &[u8]) -> String {
    let json: Json = serde_json::from_slice(bytes).unwrap_or_default();
    let places = [&json["error"]["message"], &json["message"], &json["detail"], &json["error"]];
    let found = places.into_iter().find_map(Json::as_str).map(str::to_owned);
    let text = found.unwrap_or_else(|| String::from_utf8_lossy(bytes).into_owned());
    let words: Vec<&str> = text.split_whitespace().collect();
    let text: String = words.join(" ").chars().take(300).collect();
    if text.is_empty() { "it gave no reason".to_owned() } else { text }
}

/// Whether an error is that of an empty account, which waiting does not fill.
pub(super) fn is_quota(bytes: &[u8]) -> bool {
    let json: Json = serde_json::from_slice(bytes).unwrap_or_default();
    let words = [&json["error"]["code"], &json["error"]["type"]];
    words.into_iter().filter_map(Json::as_str).any(|word| word.contains("insufficient_quota"))
}

/// Whether an error says that the request will never do, whatever its status.
pub(super) fn is_unsupported(message: &str) -> bool {
    let message = message.to_lowercase();
    ["not supported", "unsupported", "does not support", "doesn't support"]
        .iter()
        .any(|phrase| message.contains(phrase))
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
