//! The wire, without a server.

use std::sync::Arc;

use super::*;
use crate::caption::{Prompt, request::tests::request};

fn expect(form: Form) -> Expect {
    Expect { form, must_keep_form: true, attempt: 1 }
}

fn answer(content: &str) -> Json {
    json!({
        "id": "chatcmpl-1",
        "model": "served",
        "choices": [{ "message": { "content": content }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 7, "completion_tokens": 3 },
    })
}

fn read_json(request: &Request, answer: &Json, form: Form) -> Result<Answered, Misread> {
    let bytes = serde_json::to_vec(answer).unwrap();
    read(request, &HeaderMap::new(), &bytes, expect(form))
}

#[test]
fn frames_come_in_order_with_the_question_where_the_style_wants_it() {
    let mut request = request("a");
    request.media = Media::Frames(vec![Arc::from(&b"one"[..]), Arc::from(&b"two"[..])]);
    request.prompt.system = Some("See.".to_owned());
    let style = Style { label_frames: true, detail: Some("low".to_owned()), ..Style::default() };
    let body = body(&request, "m", &style, Form::Plain);
    assert_eq!(body["messages"][0], json!({ "role": "system", "content": "See." }));
    let parts = body["messages"][1]["content"].as_array().unwrap();
    let kinds: Vec<_> = parts.iter().map(|part| part["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["text", "text", "image_url", "text", "image_url"]);
    assert_eq!(parts[0]["text"], "What is there?");
    assert_eq!(parts[3]["text"], "Frame 2:");
    assert_eq!(parts[4]["image_url"]["url"], "data:image/jpeg;base64,dHdv");
    assert_eq!(parts[4]["image_url"]["detail"], "low");
    assert_eq!((&body["user"], &body["max_tokens"]), (&json!("a"), &json!(512)));
    assert!(body.get("response_format").is_none() && body.get("top_p").is_none());

    request.media = Media::Video(Arc::from(&b"mp4"[..]));
    let style = Style { media_first: true, newer_token_limit: true, fixed_sampling: true, ..style };
    let body = super::body(&request, "m", &style, Form::Schema);
    let parts = &body["messages"][1]["content"];
    assert_eq!(parts[0]["video_url"]["url"], "data:video/mp4;base64,bXA0");
    assert!(parts[1]["text"].as_str().unwrap().contains(&request.tag()));
    let tag = &body["response_format"]["json_schema"]["schema"]["properties"]["clip"]["enum"][0];
    assert_eq!(tag, &json!(request.tag()));
    assert_eq!(body["max_completion_tokens"], 512);
    assert!(body.get("max_tokens").is_none() && body.get("temperature").is_none());

    request.media = Media::None;
    request.prompt = Prompt::new("Hello");
    let body = super::body(&request, "m", &Style::default(), Form::Plain);
    assert_eq!(body["messages"], json!([{ "role": "user", "content": "Hello" }]));
}

#[test]
fn a_structured_answer_must_be_for_its_clip() {
    let (request, other) = (request("a"), request("b"));
    let content = |of: &Request| format!(r#"{{"clip": "{}", "text": " A dog. "}}"#, of.tag());
    let good = read_json(&request, &answer(&content(&request)), Form::Schema).unwrap();
    assert_eq!((good.text.as_str(), good.confirmed, good.structured), ("A dog.", true, true));
    assert_eq!(good.usage, Some(Usage { prompt: 7, completion: 3 }));
    let wrong = read_json(&request, &answer(&content(&other)), Form::Schema);
    assert_eq!(wrong, Err(Misread::WrongClip(other.tag())));
    let untagged = answer(r#"{"text": "A dog."}"#);
    assert_eq!(
        read_json(&request, &untagged, Form::Schema),
        Err(Misread::WrongClip(String::new()))
    );
    assert!(!read_json(&request, &untagged, Form::Words).unwrap().confirmed);
}

#[test]
fn an_echo_under_our_mark_must_be_ours() {
    let request = request("a");
    let with_id = |id: &str| {
        let mut answer = answer("A dog.");
        answer["id"] = json!(id);
        read_json(&request, &answer, Form::Plain)
    };
    assert!(!with_id("chatcmpl-17").unwrap().confirmed);
    assert!(with_id("chatcmpl-curate-a.1").unwrap().confirmed);
    assert!(with_id("chatcmpl-curate-a.1-0").unwrap().confirmed);
    for other in ["chatcmpl-curate-b.1", "curate-a.2", "curate-a.12", "curate-ab.1"] {
        assert_eq!(
            with_id(other).unwrap_err(),
            Misread::WrongClip(other.trim_start_matches("chatcmpl-").to_owned())
        );
    }
    let bytes = serde_json::to_vec(&answer("A dog.")).unwrap();
    let with_header = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", value.parse().unwrap());
        super::read(&request, &headers, &bytes, expect(Form::Plain))
    };
    assert!(with_header("curate-a.1").unwrap().confirmed);
    assert!(!with_header("req_0815").unwrap().confirmed);
    assert!(matches!(with_header("curate-b.1"), Err(Misread::WrongClip(_))));
}

#[test]
fn answers_come_in_many_wrappings() {
    let request = request("a");
    let tag = request.tag();
    let object = format!(r#"{{"clip":"{tag}","text":"A {{dog}} \"runs\"."}}"#);
    for content in [
        object.clone(),
        format!("```json\n{object}\n```"),
        format!("<think>a {{ dog?</think>\nHere it is: {object} Done."),
    ] {
        let read = read_json(&request, &answer(&content), Form::Words).unwrap();
        assert_eq!(read.text, "A {dog} \"runs\".", "{content}");
    }
    let mut parts = answer("");
    parts["choices"][0]["message"]["content"] = json!([{ "type": "text", "text": "A dog." }]);
    assert_eq!(read_json(&request, &parts, Form::Plain).unwrap().text, "A dog.");
}

#[test]
fn what_is_no_answer_is_told_apart() {
    let request = request("a");
    let garbage =
        |json: &Json, form| matches!(read_json(&request, json, form), Err(Misread::Garbage(_)));
    assert!(garbage(&json!({ "choices": [] }), Form::Plain));
    assert!(garbage(&answer(" "), Form::Plain));
    assert!(garbage(&answer("A dog."), Form::Schema));
    let lenient = Expect { must_keep_form: false, ..expect(Form::Schema) };
    let bytes = serde_json::to_vec(&answer("A dog.")).unwrap();
    let read = super::read(&request, &HeaderMap::new(), &bytes, lenient).unwrap();
    assert!(read.text == "A dog." && !read.structured && !read.confirmed);
    let bytes = &bytes[..bytes.len() / 2];
    assert!(super::read(&request, &HeaderMap::new(), bytes, lenient).is_err());

    let mut refused = answer("");
    refused["choices"][0]["message"]["refusal"] = json!("I would rather not.");
    let fault = read_json(&request, &refused, Form::Plain).unwrap_err();
    assert!(matches!(fault, Misread::Clip(ClipFault::Refused { .. })));
    let mut filtered = answer("A");
    filtered["choices"][0]["finish_reason"] = json!("content_filter");
    let fault = read_json(&request, &filtered, Form::Plain).unwrap_err();
    assert!(matches!(fault, Misread::Clip(ClipFault::Refused { .. })));
    let mut long = answer(r#"{"clip": "x", "capt"#);
    long["choices"][0]["finish_reason"] = json!("length");
    let fault = read_json(&request, &long, Form::Schema).unwrap_err();
    assert_eq!(fault, Misread::Clip(ClipFault::CutShort { max_tokens: 512 }));
    assert!(read_json(&request, &long, Form::Plain).unwrap().truncated);
}

#[test]
fn errors_are_found_in_what_servers_say() {
    assert_eq!(message(br#"{"error": {"message": "no  such\nmodel"}}"#), "no such model");
    assert_eq!(message(br#"{"detail": "gone"}"#), "gone");
    assert_eq!(message(b"<html>busy"), "<html>busy");
    assert_eq!(message(b""), "it gave no reason");
    assert_eq!(message(&vec![b'x'; 5000]).len(), 300);
    assert!(is_unsupported("image input is not supported - hint: provide the mmproj"));
    assert!(!is_unsupported("out of memory"));
    assert!(is_quota(br#"{"error": {"code": "insufficient_quota"}}"#));
    assert!(!is_quota(br#"{"error": {"code": "rate_limit_exceeded"}}"#));
}

#[test]
fn an_unfinished_answer_is_taken_as_far_as_it_goes_when_it_is_for_its_clip() {
    let (request, other) = (request("a"), request("b"));
    let read = |of: &Request, end: &str| {
        let mut answer = answer(&format!("{{\"clip\": \"{}\", \"text\": \"A dog{end}", of.tag()));
        answer["choices"][0]["finish_reason"] = json!("length");
        read_json(&request, &answer, Form::Schema)
    };
    for (end, text) in
        [(" and", "A dog and"), (" \\", "A dog"), (" \\u00e", "A dog"), ("ä", "A dogä")]
    {
        let read = read(&request, end).unwrap();
        assert_eq!(
            (read.text.as_str(), read.truncated, read.confirmed),
            (text, true, true),
            "{end}"
        );
    }
    assert_eq!(read(&other, " and"), Err(Misread::WrongClip(other.tag())));
    // From a server that begins with the text: nobody knows whose it is.
    let mut answer = answer(r#"{"text": "A dog and"#);
    answer["choices"][0]["finish_reason"] = json!("length");
    let fault = read_json(&request, &answer, Form::Schema).unwrap_err();
    assert_eq!(fault, Misread::Clip(ClipFault::CutShort { max_tokens: 512 }));
}

#[test]
fn the_tag_comes_before_the_text() {
    let body = body(&request("a"), "m", &Style::default(), Form::Schema);
    let schema = body["response_format"]["json_schema"]["schema"]["properties"].to_string();
    assert!(schema.find("clip").unwrap() < schema.find("text").unwrap(), "{schema}");
}
