//! One server: a request to it, and what its answer means.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use reqwest::{Url, header, redirect};

use super::{
    ClientConfig, ClipFault, Endpoint, EndpointError, Request, Retries, RunFault,
    budget::Hold,
    chat::{self, Answered, Expect, Form, Misread},
    course::Course,
    endpoint::is_local,
    retry::retry_after,
};

/// No caption is longer; what sends more is no caption server.
const LONGEST_ANSWER: usize = 4 << 20;

/// A server and what was found out about it.
pub(super) struct Server {
    pub(super) endpoint: Endpoint,
    address: Url,
    http: reqwest::Client,
    authorization: Option<header::HeaderValue>,
    /// It rejected a schema and took the same request without.
    pub(super) refuses_schema: AtomicBool,
    /// It has kept to a schema.
    pub(super) keeps_schema: AtomicBool,
}

/// A request that the server says is wrong.
pub(super) struct Rejection {
    pub(super) status: u16,
    pub(super) message: String,
    /// Whether it asked for a schema, which may be what is wrong.
    pub(super) had_schema: bool,
}

/// What became of one attempt.
pub(super) enum Outcome {
    Answered(Answered),
    /// The server has no time.
    Busy(Option<Duration>, String),
    /// There is no server.
    Down(String),
    /// The server or the way to it failed.
    Failed(Option<Duration>, String),
    /// An answer that is of no use came.
    Unusable(String),
    WrongClip(String),
    /// The request itself is refused.
    Rejected(Rejection),
    Clip(ClipFault),
    Run(RunFault),
}

impl Server {
    /// `index` is its place in the list, for errors.
    pub(super) fn new(
        endpoint: &Endpoint,
        index: usize,
        config: &ClientConfig,
    ) -> Result<Self, EndpointError> {
        let address = endpoint.address(index)?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("curate/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.retries.timeout.min(Duration::from_secs(20)))
            // A redirected POST becomes a GET, and would take the key along.
            .redirect(redirect::Policy::none());
        if is_local(&address) {
            builder = builder.no_proxy();
        }
        let setup = |error: reqwest::Error| EndpointError::Setup(error.without_url().to_string());
        let authorization = match &endpoint.key {
            Some(key) => {
                let bad = |_| EndpointError::Key { name: endpoint.key_name.clone() };
                let text = format!("Bearer {}", key.expose());
                let mut value = header::HeaderValue::try_from(text).map_err(bad)?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Ok(Self {
            endpoint: endpoint.clone(),
            address,
            http: builder.build().map_err(setup)?,
            authorization,
            refuses_schema: AtomicBool::new(false),
            keeps_schema: AtomicBool::new(false),
        })
    }

    /// One request.
    pub(super) async fn attempt(
        &self,
        config: &ClientConfig,
        request: &Request,
        course: &Course,
        mut hold: Hold<'_>,
    ) -> Outcome {
        let Retries { timeout, deadline, .. } = config.retries;
        let left = deadline.saturating_sub(course.spent());
        let takes_schema = course.without_schema.is_none() && !self.refuses_schema.load(Relaxed);
        let form = Form::of(request.answer, takes_schema);
        let body = chat::body(request, &config.model, &config.style, form);
        let mut post = self
            .http
            .post(self.address.clone())
            .timeout(timeout.min(left).max(Duration::from_millis(1)))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.to_string());
        drop(body);
        if let Ok(id) = header::HeaderValue::try_from(chat::request_id(request, course.attempts)) {
            post = post.header("x-request-id", id);
        }
        if let Some(authorization) = &self.authorization {
            post = post.header(header::AUTHORIZATION, authorization);
        }
        hold.sent();
        let sent = post.send().await;
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => {
                if error.is_connect() {
                    hold.free();
                    return Outcome::Down(self.endpoint.scrub(&chain(error)));
                }
                return Outcome::Failed(None, self.endpoint.scrub(&chain(error)));
            }
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) if status.is_success() => {
                    return Outcome::Failed(None, self.endpoint.scrub(&chain(error)));
                }
                // What it said about the error is of less interest than the error.
                Err(_) => break,
            }
            if bytes.len() > LONGEST_ANSWER {
                return Outcome::Unusable(format!("the answer is over {LONGEST_ANSWER} bytes"));
            }
        }
        if !status.is_success() {
            // Servers charge for answers, not for errors.
            hold.free();
            return self.refusal(config, form, (status.as_u16(), &headers, &bytes));
        }
        let must_keep_form = self.keeps_schema.load(Relaxed);
        let expect = Expect { form, must_keep_form, attempt: course.attempts };
        match chat::read(request, &headers, &bytes, expect) {
            Ok(answered) => {
                hold.settle(answered.usage);
                Outcome::Answered(answered)
            }
            Err(Misread::Garbage(problem)) => Outcome::Unusable(problem),
            Err(Misread::WrongClip(found)) => Outcome::WrongClip(self.endpoint.scrub(&found)),
            Err(Misread::Clip(fault)) => Outcome::Clip(fault),
        }
    }

    /// What a status other than success means.
    fn refusal(
        &self,
        config: &ClientConfig,
        form: Form,
        (status, headers, bytes): (u16, &header::HeaderMap, &[u8]),
    ) -> Outcome {
        let endpoint = self.endpoint.to_string();
        let message = self.endpoint.scrub(&chat::message(bytes));
        let wait = retry_after(headers, SystemTime::now())
            .map(|wait| wait.min(config.retries.longest_pause));
        let said = || format!("{endpoint} answered {status}: {message}");
        let rejected = |status, message| {
            let had_schema = form == Form::Schema;
            Outcome::Rejected(Rejection { status, message, had_schema })
        };
        match status {
            401 | 403 => {
                let key_name = self.endpoint.key_name.clone();
                Outcome::Run(RunFault::Access { endpoint, status, message, key_name })
            }
            402 => Outcome::Run(RunFault::Account { endpoint, status, message }),
            429 if chat::is_quota(bytes) => {
                Outcome::Run(RunFault::Account { endpoint, status, message })
            }
            300..=399 | 404 | 405 => {
                let model = config.model.clone();
                Outcome::Run(RunFault::Address { endpoint, model, status, message })
            }
            429 => Outcome::Busy(wait, said()),
            503 if wait.is_some() => Outcome::Busy(wait, said()),
            // llama.cpp answers so to pictures for a model without eyes.
            500 | 501 if chat::is_unsupported(&message) => rejected(status, message),
            408 | 409 | 425 | 500..600 => Outcome::Failed(wait, said()),
            _ => rejected(status, message),
        }
    }
}

/// reqwest's own words end before the cause, and begin with an address that may hold a secret.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
