//! What is cached in a row, and how it was made.
//!
//! The key says everything that the numbers depend on; a row whose key is not what the run would
//! write is as if nothing were cached. Keys are JSON in columns of their own, so that SQL can ask for
//! them while the numbers stay where they are.
//!
//! Latents are those of one crop: the middle of the frame, the middle of the clip. A run may use
//! fewer frames than were encoded, since slices of the encoder do not see each other. Embeddings
//! are stored without padding, and that of the empty caption is stored with every row: it is a
//! fraction of a kilobyte, and a run that drops captions then needs no text encoder.
//!
//! Decided against a dataset of its own beside the table: it would have versions of its own.

use std::collections::BTreeMap;

use curate_schemas::fingerprint;
use half::f16;
use serde::{Deserialize, Serialize};

use super::{Bucket, ClipFault, DataConfig, TextWanted};

/// Which frames of a clip: part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spacing {
    /// Every how many frames one is used.
    pub stride: usize,
    /// Frames a second, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
    /// Share of the clip left out at either end.
    pub trim: f64,
}

impl Spacing {
    /// That of a configuration.
    #[must_use]
    pub fn of(config: &DataConfig) -> Self {
        let spacing = Self { stride: config.stride, fps: config.fps, trim: config.trim };
        // As it is read from a key: JSON's numbers may come back changed in their last digit.
        let text = serde_json::to_string(&spacing);
        text.and_then(|text| serde_json::from_str(&text)).unwrap_or(spacing)
    }
}

/// How numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Number {
    /// 16 bits: enough for latents, which are noisy by nature.
    F16,
    /// 32 bits, where a value is too large for 16.
    F32,
}

/// How the latents of a row were made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentsKey {
    /// Hash of the VAE.
    pub vae: String,
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// Frames.
    pub frames: usize,
    /// Which frames.
    pub spacing: Spacing,
    /// `[2 * latent channels, F, h, w]`.
    pub shape: [usize; 4],
    /// How the numbers are stored.
    pub number: Number,
}

impl LatentsKey {
    /// Reads a key; `None` when it is of another form, as one of a later version may be.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The key as text.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether the latents may take the place of a bucket's frames.
    #[must_use]
    pub fn serves(&self, vae: &str, bucket: &Bucket, spacing: &Spacing) -> bool {
        self.vae == vae
            && (self.width, self.height) == (bucket.width, bucket.height)
            && self.spacing == *spacing
            && self.latents_of(bucket.frames).is_some()
    }

    /// How many latents the first `frames` frames have; `None` if they cannot be told apart from
    /// the rest.
    #[must_use]
    pub fn latents_of(&self, frames: usize) -> Option<usize> {
        let latents = self.shape[1];
        if frames == self.frames {
            return Some(latents);
        }
        // An odd first frame is encoded by itself.
        let alone = self.frames % 2;
        if frames == 0 || frames > self.frames || frames % 2 != alone {
            return None;
        }
        let (part, whole) = ((frames - alone) * (latents - alone), self.frames - alone);
        (part % whole == 0).then_some(part / whole + alone)
    }

    /// Numbers of all latents.
    #[must_use]
    pub fn values(&self) -> usize {
        self.shape.iter().product()
    }

    /// The latents of the first `frames` frames, as f32.
    ///
    /// # Errors
    /// When the bytes are not as many as the key says.
    pub fn unpack(&self, bytes: &[u8], frames: usize) -> Result<Vec<f32>, ClipFault> {
        let width = match self.number {
            Number::F16 => 2,
            Number::F32 => 4,
        };
        let expected = self.values() * width;
        let latents = self.latents_of(frames).filter(|_| bytes.len() == expected);
        let Some(latents) = latents else {
            return Err(ClipFault::Cached { what: "latents", found: bytes.len(), expected });
        };
        let [channels, all, height, across] = self.shape;
        let plane = height * across * width;
        let mut values = Vec::with_capacity(channels * latents * height * across);
        for channel in 0..channels {
            let from = channel * all * plane;
            let part = &bytes[from..from + latents * plane];
            match self.number {
                Number::F16 => values.extend(halves(part)),
                Number::F32 => values.extend(
                    part.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
                ),
            }
        }
        Ok(values)
    }
}

/// Numbers as bytes, in 16 bits where all of them fit.
#[must_use]
pub(crate) fn pack(values: &[f32]) -> (Number, Vec<u8>) {
    let largest = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    if largest <= f32::from(f16::MAX) {
        (Number::F16, pack_halves(values))
    } else {
        (Number::F32, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}

fn pack_halves(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32())
}

/// One text of a row's embeddings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextEntry {
    /// The column that the text is in; empty for the empty text.
    pub column: String,
    /// Hash of the text as it is in the table.
    pub hash: String,
    /// Its tokens, padding not counted.
    pub count: usize,
}

/// How the embeddings of a row were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextKey {
    /// Hash of the encoder.
    pub encoder: String,
    /// Tokens that texts were cut to.
    pub tokens: usize,
    /// Numbers of a token.
    pub channels: usize,
    /// The texts, in the order of their numbers.
    pub texts: Vec<TextEntry>,
}

/// The hash of a caption.
#[must_use]
pub fn text_hash(text: &str) -> String {
    let mut hash = fingerprint([text.as_bytes()]);
    hash.truncate(16);
    hash
}

impl TextKey {
    /// Reads a key; `None` when it is of another form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The key as text.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether it has the embeddings of these captions by this encoder, and of the empty one.
    #[must_use]
    pub fn serves(&self, wanted: &TextWanted, captions: &BTreeMap<&str, &str>) -> bool {
        let has = |column: &str, text: &str| {
            let hash = text_hash(text);
            self.texts.iter().any(|entry| entry.column == column && entry.hash == hash)
        };
        self.encoder == wanted.encoder
            && self.tokens == wanted.tokens
            && has("", "")
            && captions.iter().all(|(column, text)| has(column, text))
    }

    /// The embeddings of one text, `[count, channels]`; `None` when there are none for it.
    ///
    /// # Errors
    /// When the bytes are not as many as the key says.
    pub fn unpack(&self, bytes: &[u8], column: &str) -> Result<Option<Vec<f32>>, ClipFault> {
        let width = self.channels * 2;
        let expected = self.texts.iter().map(|entry| entry.count * width).sum();
        if bytes.len() != expected {
            return Err(ClipFault::Cached { what: "embeddings", found: bytes.len(), expected });
        }
        let mut at = 0;
        for entry in &self.texts {
            let end = at + entry.count * width;
            if entry.column == column {
                return Ok(Some(halves(&bytes[at..end]).collect()));
            }
            at = end;
        }
        Ok(None)
    }

    /// Embeddings as bytes; the largest numbers that 16 bits hold take the place of larger ones.
    #[must_use]
    pub fn pack(values: &[f32]) -> Vec<u8> {
        let most = f32::from(f16::MAX);
        values
            .iter()
            .flat_map(|value| f16::from_f32(value.clamp(-most, most)).to_le_bytes())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(frames: usize, latents: usize, number: Number) -> LatentsKey {
        LatentsKey {
            vae: "v".to_owned(),
            width: 64,
            height: 32,
            frames,
            spacing: Spacing { stride: 1, fps: None, trim: 0.0 },
            shape: [2, latents, 1, 2],
            number,
        }
    }

    #[test]
    fn fewer_frames_are_the_first_latents_of_more() {
        let even = key(24, 6, Number::F16);
        assert_eq!([24, 16, 8, 4].map(|n| even.latents_of(n)), [6, 4, 2, 1].map(Some));
        assert_eq!([0, 1, 25, 23, 2].map(|n| even.latents_of(n)), [None; 5]);
        let odd = key(25, 7, Number::F16);
        assert_eq!([25, 17, 9, 1].map(|n| odd.latents_of(n)), [7, 5, 3, 1].map(Some));
        assert_eq!([8, 24].map(|n| odd.latents_of(n)), [None; 2]);
        assert_eq!(key(1, 1, Number::F16).latents_of(1), Some(1));
    }

    #[test]
    fn numbers_come_back() {
        for largest in [3.5_f32, 1e6] {
            let values: Vec<f32> = (0..24).map(|i| largest * i as f32 / 23.0).collect();
            let (number, bytes) = pack(&values);
            assert_eq!(number, if largest < 1e5 { Number::F16 } else { Number::F32 });
            let key = key(24, 6, number);
            let back = key.unpack(&bytes, 24).unwrap();
            let slack = if number == Number::F16 { 1e-3 } else { 0.0 };
            for (a, b) in values.iter().zip(&back) {
                assert!((a - b).abs() <= slack * a.abs(), "{a} {b}");
            }
            // Channels are cut apart: the first two latents (of two numbers) of each.
            let part = key.unpack(&bytes, 8).unwrap();
            assert_eq!(part, [&back[..4], &back[12..16]].concat());
            assert!(key.unpack(&bytes[1..], 24).is_err());
        }
    }

    #[test]
    fn a_key_serves_what_was_made_the_same_way() {
        let bucket = Bucket {
            is_image: false,
            height: 32,
            width: 64,
            frames: 24,
            has_latents: false,
            has_text: false,
        };
        let made = key(24, 6, Number::F16);
        assert_eq!(LatentsKey::parse(&made.text()), Some(made.clone()));
        let spacing = made.spacing;
        assert!(made.serves("v", &bucket, &spacing));
        assert!(made.serves("v", &Bucket { frames: 16, ..bucket }, &spacing));
        assert!(!made.serves("w", &bucket, &spacing));
        assert!(!made.serves("v", &Bucket { width: 32, ..bucket }, &spacing));
        assert!(!made.serves("v", &bucket, &Spacing { stride: 2, ..spacing }));
        assert_eq!(LatentsKey::parse("{\"vae\":\"v\",\"later\":1}"), None);
    }

    #[test]
    fn embeddings_belong_to_their_caption() {
        let entry = |column: &str, text: &str, count| TextEntry {
            column: column.to_owned(),
            hash: text_hash(text),
            count,
        };
        let key = TextKey {
            encoder: "e".to_owned(),
            tokens: 4,
            channels: 2,
            texts: vec![entry("caption", "a red ball", 3), entry("", "", 1)],
        };
        assert_eq!(TextKey::parse(&key.json()), Some(key.clone()));
        let bytes = TextKey::pack(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 1e9]);
        assert_eq!(key.unpack(&bytes, "caption").unwrap().unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(key.unpack(&bytes, "").unwrap().unwrap(), [7.0, 65504.0]);
        assert_eq!(key.unpack(&bytes, "caption_raw").unwrap(), None);
        assert!(key.unpack(&bytes[2..], "").is_err());
        let wanted = TextWanted { encoder: "e".to_owned(), tokens: 4 };
        assert!(key.serves(&wanted, &BTreeMap::from([("caption", "a red ball")])));
        assert!(!key.serves(&wanted, &BTreeMap::from([("caption", "a blue ball")])));
        let both = BTreeMap::from([("caption", "a red ball"), ("caption_raw", "x")]);
        assert!(!key.serves(&wanted, &both));
        assert!(!key.serves(&TextWanted { tokens: 5, ..wanted }, &BTreeMap::new()));
    }
}
