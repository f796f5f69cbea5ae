//! File URIs: the spelling of a path that is stored in the table and hashed into ids.
//!
//! A name on disk is bytes, not text, so a URI escapes every byte outside letters, digits and
//! `-._~/`. Nothing is lost, two names never collide, and the result equals what Python's
//! `Path.as_uri()` gives. This spelling is part of the table's contract: changing it changes ids.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The `file://` URI of an absolute path.
#[must_use]
pub fn from_path(path: &Path) -> String {
    format!("file://{}", percent_encode(path.as_os_str().as_bytes(), ESCAPED))
}

/// The path that a `file://` URI names on this machine; `None` for anything else.
#[must_use]
pub fn to_path(uri: &str) -> Option<PathBuf> {
    local(uri.as_bytes())
}

fn local(uri: &[u8]) -> Option<PathBuf> {
    let rest = without_prefix(uri, b"file://")?;
    let path = without_prefix(rest, b"localhost").unwrap_or(rest);
    path.starts_with(b"/")
        .then(|| PathBuf::from(OsString::from_vec(percent_decode(path).collect())))
}

fn without_prefix<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// What a path in a configuration or manifest refers to.
#[derive(Debug, PartialEq)]
pub(super) enum Reference {
    /// A path on this machine, absolute or not.
    Local(PathBuf),
    /// A URL with another scheme or on another host.
    Remote,
}

/// Reads a path or `file://` URI. Bytes, as a CSV may hold names that are not UTF-8.
pub(super) fn reference(text: OsString) -> Reference {
    if let Some(path) = local(text.as_bytes()) {
        Reference::Local(path)
    } else if has_scheme(text.as_bytes()) {
        Reference::Remote
    } else {
        Reference::Local(text.into())
    }
}

fn has_scheme(text: &[u8]) -> bool {
    let Some(end) = text.windows(3).position(|window| window == b"://") else { return false };
    text[..end].first().is_some_and(u8::is_ascii_alphabetic)
        && text[..end].iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spelling_is_stable() {
        // These strings are hashed into ids: a change here is a breaking change.
        let check = |path: &[u8], uri: &str| {
            let path = PathBuf::from(OsString::from_vec(path.to_vec()));
            assert_eq!(from_path(&path), uri);
            assert_eq!(to_path(uri), Some(path));
        };
        check(b"/videos/a-b_c.~1.mp4", "file:///videos/a-b_c.~1.mp4");
        check(b"/my videos/50%+#1?.mp4", "file:///my%20videos/50%25%2B%231%3F.mp4");
        check("/vidéo.mp4".as_bytes(), "file:///vid%C3%A9o.mp4");
        check(b"/bad\xff.mp4", "file:///bad%FF.mp4");
    }

    #[test]
    fn references() {
        let check = |text: &str, expect: Option<&str>| {
            let expect = expect.map_or(Reference::Remote, |path| Reference::Local(path.into()));
            assert_eq!(reference(text.into()), expect, "{text}");
        };
        check("a/b.mp4", Some("a/b.mp4"));
        check("12:30://odd.mp4", Some("12:30://odd.mp4"));
        check("FILE:///a%20b.mp4", Some("/a b.mp4"));
        check("file://localhost/a.mp4", Some("/a.mp4"));
        check("file://elsewhere/a.mp4", None);
        check("https://example.org/a.mp4", None);
        check("s3://bucket/a.mp4", None);
    }

    proptest! {
        #[test]
        fn any_name_survives(name in prop::collection::vec(1_u8..=255, 0..40)) {
            let mut bytes = b"/".to_vec();
            bytes.extend(name);
            let path = PathBuf::from(OsString::from_vec(bytes));
            let back = to_path(&from_path(&path)).unwrap();
            prop_assert_eq!(back.as_os_str(), path.as_os_str());
        }
    }
}
