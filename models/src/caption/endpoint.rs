//! Where a server is and what it must be shown, without ever showing it to anyone else.
//!
//! Keys and passwords come in as [`Secret`], which prints as `***`. Addresses may hold secrets too
//! (`https://user:password@host`, `?api-key=`), so they are printed without those parts, and what a
//! server says is searched for its own secrets before it goes into a message.

use std::fmt;

use reqwest::Url;

/// Shorter texts are no keys, and would blacken half of a message.
const SHORTEST_SECRET: usize = 6;

/// A key or password. It has no way out but into a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a key; white space around it (the newline of a file) is not part of it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why an address cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It is no address.
    #[error(
        "endpoint {index} is no address ({problem}): write it as `http://host:8000/v1`, with the \
             scheme"
    )]
    Address {
        /// Which of the endpoints, from 1. The text is not shown: it may hold a password.
        index: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// It is neither `http` nor `https`.
    #[error("endpoint {index} begins with `{scheme}:`: only http and https are spoken")]
    Scheme {
        /// Which of the endpoints, from 1.
        index: usize,
        /// What it begins with.
        scheme: String,
    },
    /// The key cannot stand in a header.
    #[error(
        "the key{} holds a character that cannot be sent: it may have been pasted with a line break",
        .name.as_ref().map(|name| format!(" in ${name}")).unwrap_or_default()
    )]
    Key {
        /// The environment variable it came from.
        name: Option<String>,
    },
    /// There is none.
    #[error("no endpoint is given: `endpoints` needs the address of a server, up to `/v1`")]
    None,
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be set up: {0}")]
    Setup(String),
}

/// A server that speaks `/chat/completions`.
#[derive(Clone)]
pub struct Endpoint {
    /// Its address up to `/v1`, or with `/chat/completions`; a query stays.
    pub url: String,
    /// Sent as `Authorization: Bearer`.
    pub key: Option<Secret>,
    /// The environment variable that the key came from (or should come from): errors name it.
    pub key_name: Option<String>,
}

impl Endpoint {
    /// A server that wants no key.
    #[must_use]
    pub fn open(url: &str) -> Self {
        Self { url: url.to_owned(), key: None, key_name: None }
    }

    /// The full address of the call.
    pub(super) fn address(&self, index: usize) -> Result<Url, EndpointError> {
        let index = index + 1;
        let mut url = Url::parse(self.url.trim())
            .map_err(|error| EndpointError::Address { index, problem: error.to_string() })?;
        if !["http", "https"].contains(&url.scheme()) {
            return Err(EndpointError::Scheme { index, scheme: url.scheme().to_owned() });
        }
        let path = url.path().trim_end_matches('/');
        if !path.ends_with("/chat/completions") {
            let path = format!("{path}/chat/completions");
            url.set_path(&path);
        }
        Ok(url)
    }

    /// `text` without anything that is secret about this server.
    pub(super) fn scrub(&self, text: &str) -> String {
        let mut secrets: Vec<String> = Vec::new();
        secrets.extend(self.key.as_ref().map(|key| key.0.clone()));
        if let Ok(url) = Url::parse(&self.url) {
            secrets.extend(url.password().map(str::to_owned));
            secrets.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
        }
        secrets.retain(|secret| secret.len() >= SHORTEST_SECRET);
        // The longest first: one may be a part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let text = secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"));
        mask_keys(&text)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.url))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self}, key: {:?}, key_name: {:?})", self.key, self.key_name)
    }
}

/// An address without user, password and the values of its query.
pub(super) fn redacted(text: &str) -> String {
    let Ok(url) = Url::parse(text.trim()) else { return "(no address)".to_owned() };
    let user = if url.username().is_empty() && url.password().is_none() { "" } else { "***@" };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let query = if url.query().is_some() { "?***" } else { "" };
    let host = url.host_str().unwrap_or_default();
    format!("{}://{user}{host}{port}{}{query}", url.scheme(), url.path())
}

/// Servers quote keys partly (`sk-abc***xyz`), which an exact search does not find.
fn mask_keys(text: &str) -> String {
    let words = text.split_inclusive(char::is_whitespace).map(|word| match word.find("sk-") {
        Some(at) if word[at..].trim_end().len() >= SHORTEST_SECRET + 3 => {
            format!("{}***{}", &word[..at], &word[word.trim_end().len()..])
        }
        _ => word.to_owned(),
    });
    words.collect()
}

/// Whether an address is on this machine: no proxy can know the way.
pub(super) fn is_local(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    host == "localhost" || host == "[::1]" || host.starts_with("127.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = Secret::new(" sk-very-secret\n");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(secret.expose(), "sk-very-secret");
        let endpoint = Endpoint {
            url: "https://me:password@example.org:8443/v1?api-key=abcdefgh".to_owned(),
            key: Some(secret),
            key_name: Some("CAPTION_KEY".to_owned()),
        };
        let printed = format!("{endpoint} {endpoint:?}");
        for hidden in ["me:p", "password", "abcdefgh", "very-secret"] {
            assert!(!printed.contains(hidden), "{printed}");
        }
        assert!(printed.contains("https://***@example.org:8443/v1?***"), "{printed}");
        assert!(printed.contains("CAPTION_KEY"), "{printed}");
        let said = "bad key sk-very-secret, or sk-ve***ret! at password/abcdefgh";
        let scrubbed = endpoint.scrub(said);
        assert_eq!(scrubbed, "bad key ***, or *** at ***/***");
    }

    #[test]
    fn the_call_is_appended_once() {
        let address = |url: &str| Endpoint::open(url).address(0).map(|url| url.to_string());
        let full = "http://host:8000/v1/chat/completions";
        assert_eq!(address("http://host:8000/v1").unwrap(), full);
        assert_eq!(address("http://host:8000/v1/").unwrap(), full);
        assert_eq!(address(full).unwrap(), full);
        assert_eq!(
            address("https://host/openai?api-version=1").unwrap(),
            "https://host/openai/chat/completions?api-version=1"
        );
        assert!(matches!(address("host:8000/v1"), Err(EndpointError::Scheme { index: 1, .. })));
        assert!(matches!(address("here"), Err(EndpointError::Address { .. })));
        let at = |url: &str| is_local(&Url::parse(url).unwrap());
        assert!(at("http://127.0.0.1:1/") && at("http://localhost/") && at("http://[::1]:2/"));
        assert!(!at("http://example.org/"));
    }
}
