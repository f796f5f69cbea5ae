//! Ids: what names a source, a unit and a clip, and why copies and reruns get the same names.
//!
//! Ids are content-free hashes (BLAKE3, 128 bits, lower-case hex) of what identifies a thing, so
//! any process on any machine computes the same id without asking a coordinator.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Span;

/// An id that does not have the expected form.
#[derive(Debug, Error)]
#[error("`{text}` is not {expected}")]
pub struct IdError {
    text: String,
    expected: &'static str,
}

/// Hash of several fields, each prefixed by its length so that no two lists of fields collide.
///
/// Returns 32 lower-case hexadecimal characters (128 bits).
#[must_use]
pub fn fingerprint<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = blake3::Hasher::new();
    for field in fields {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    }
    let hash = hasher.finalize();
    blake3::Hash::to_hex(&hash).as_str()[..32].to_owned()
}

/// A 64-bit hash of a key that never changes between versions of `curate`.
///
/// The exactly-once commit compares these hashes between processes that may run different builds.
#[must_use]
pub fn stable_hash64(key: &str) -> u64 {
    let hash = blake3::hash(key.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

fn is_hash(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// Names a source: hash of its canonical URI, size and entity tag, or of its bytes.
    SourceId
}
id! {
    /// Names a unit: `source_id/0007`, a segment of a source that begins at an IDR frame.
    UnitId
}
id! {
    /// Names a clip: hash of source, span, time base and split recipe.
    ClipId
}

impl SourceId {
    /// Id from where a source is and how big it is. The modification time is left out on purpose:
    /// copying a data set must not change its ids.
    #[must_use]
    pub fn from_location(uri: &str, size: u64, etag: Option<&str>) -> Self {
        let size = size.to_le_bytes();
        Self(fingerprint([
            b"location".as_slice(),
            uri.as_bytes(),
            &size,
            etag.unwrap_or("").as_bytes(),
        ]))
    }

    /// Id from the hash of a source's bytes.
    #[must_use]
    pub fn from_content(content: &[u8; 32]) -> Self {
        Self(fingerprint([b"content".as_slice(), content]))
    }
}

impl UnitId {
    /// The id of segment `index` of a source.
    #[must_use]
    pub fn new(source: &SourceId, index: u32) -> Self {
        Self(format!("{source}/{index:04}"))
    }

    /// Reads an id back.
    ///
    /// # Errors
    /// When `text` is not `<32 hex digits>/<number>`.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let valid = text.split_once('/').is_some_and(|(source, index)| {
            is_hash(source) && index.len() >= 4 && index.bytes().all(|b| b.is_ascii_digit())
        });
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError { text: text.to_owned(), expected: "a unit id (<source id>/<number>)" })
        }
    }

    /// The source this unit belongs to.
    #[must_use]
    pub fn source(&self) -> SourceId {
        SourceId(self.0.split('/').next().unwrap_or_default().to_owned())
    }

    /// Which of `count` shards this unit belongs to: the same on every machine.
    #[must_use]
    pub fn shard(&self, count: u32) -> u32 {
        (stable_hash64(&self.0) % u64::from(count.max(1))) as u32
    }
}

impl ClipId {
    /// The id of the clip that `span` cuts out of `source` under the split recipe `split_id`.
    #[must_use]
    pub fn new(source: &SourceId, span: &Span, split_id: &str) -> Self {
        Self(fingerprint([
            source.as_str().as_bytes(),
            &span.start.to_le_bytes(),
            &span.end.to_le_bytes(),
            &span.time_base.num.to_le_bytes(),
            &span.time_base.den.to_le_bytes(),
            split_id.as_bytes(),
        ]))
    }

    /// Reads an id back. Capital letters are taken for small ones.
    ///
    /// # Errors
    /// When `text` is not 32 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let id = text.to_ascii_lowercase();
        if is_hash(&id) {
            Ok(Self(id))
        } else {
            Err(IdError { text: text.to_owned(), expected: "a clip id (32 hexadecimal digits)" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TimeBase;

    #[test]
    fn ids_are_stable_between_versions() {
        // These strings are in users' tables: a change here is a breaking change.
        let source = SourceId::from_location("file:///videos/a.mp4", 1234, None);
        assert_eq!(source.as_str().len(), 32);
        let unit = UnitId::new(&source, 7);
        assert_eq!(unit.as_str(), format!("{source}/0007"));
        assert_eq!(unit.source(), source);
        assert_eq!(UnitId::parse(unit.as_str()).unwrap(), unit);
        assert_eq!(stable_hash64("abc"), 0x3351_4638_acb3_3764);
    }

    #[test]
    fn every_part_of_a_clip_matters() {
        let source = SourceId::from_content(&[1; 32]);
        let span = Span { start: 0, end: 10, time_base: TimeBase { num: 1, den: 25 } };
        let id = ClipId::new(&source, &span, "recipe");
        assert_ne!(id, ClipId::new(&source, &Span { end: 11, ..span }, "recipe"));
        assert_ne!(id, ClipId::new(&source, &span, "other"));
        assert_ne!(id, ClipId::new(&SourceId::from_content(&[2; 32]), &span, "recipe"));
        assert_eq!(ClipId::parse(id.as_str()).unwrap(), id);
        assert!(ClipId::parse("'; drop table clips").is_err());
    }

    #[test]
    fn field_boundaries_matter() {
        assert_ne!(fingerprint([b"ab".as_slice(), b"c"]), fingerprint([b"a".as_slice(), b"bc"]));
    }

    #[test]
    fn shards_partition_the_units() {
        let source = SourceId::from_content(&[3; 32]);
        for index in 0..100 {
            let unit = UnitId::new(&source, index);
            assert!(unit.shard(3) < 3);
            assert_eq!(unit.shard(1), 0);
        }
    }
}
