//! Text to token numbers: a `tokenizer.json`, or the `spiece.model` that T5's checkpoints have.
//!
//! A `spiece.model` is a protocol buffer with pieces, their log probabilities, and the table of a
//! normaliser. It is turned into what `tokenizers` reads, as `transformers` does for T5.

use std::{fs, path::Path, str::FromStr as _};

use serde_json::json;
use tokenizers::{PostProcessor as _, Tokenizer, TruncationParams};

use super::EncoderError;

/// The number of padding, in both families.
const PAD: u32 = 0;

/// A tokenizer for texts of at most so many tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    tokenizer: Tokenizer,
    length: usize,
}

/// Numbers of a text's tokens, padded, and how many are no padding.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) ids: Vec<u32>,
    pub(super) count: usize,
}

impl Tokens {
    pub(super) fn open(path: &Path, length: usize) -> Result<Self, EncoderError> {
        let wrong = |problem: String| EncoderError::Tokenizer { path: path.to_owned(), problem };
        let bytes = fs::read(path)
            .map_err(|source| EncoderError::Read { path: path.to_owned(), source })?;
        let is_model = path.extension().is_some_and(|extension| extension == "model");
        let text = if is_model {
            let model =
                Pieces::read(&bytes).ok_or_else(|| wrong("no sentencepiece model".into()))?;
            model.tokenizer_json()
        } else {
            String::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?
        };
        let mut tokenizer = Tokenizer::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let marks = tokenizer.get_post_processor().map_or(0, |after| after.added_tokens(false));
        if length <= marks {
            // Cutting a text to less than its marks is a panic there.
            return Err(EncoderError::Tokens { path: path.to_owned(), tokens: length, marks });
        }
        // Cuts before the mark of the end, which is kept.
        let truncation = TruncationParams { max_length: length, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|error| wrong(error.to_string()))?;
        tokenizer.with_padding(None);
        Ok(Self { tokenizer, length })
    }

    /// The numbers of a text, padded to the length.
    pub(super) fn row(&self, text: &str) -> Result<Row, EncoderError> {
        let encoding = self.tokenizer.encode(text, true);
        let encoding = encoding.map_err(|error| EncoderError::Text {
            text: text.to_owned(),
            problem: error.to_string(),
        })?;
        let mut ids = encoding.get_ids().to_vec();
        let count = ids.len();
        ids.resize(self.length, PAD);
        Ok(Row { ids, count })
    }

    /// One more than the largest number.
    pub(super) fn vocabulary(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }
}

/// What a `spiece.model` holds.
#[derive(Debug, Default)]
struct Pieces {
    /// With log probabilities.
    pieces: Vec<(String, f32)>,
    unknown: usize,
    charsmap: Vec<u8>,
}

/// Numbers of fields, and what a piece's type says of the unknown one.
mod field {
    pub(super) const PIECES: u64 = 1;
    pub(super) const NORMALIZER: u64 = 3;
    pub(super) const PIECE_TEXT: u64 = 1;
    pub(super) const PIECE_SCORE: u64 = 2;
    pub(super) const PIECE_TYPE: u64 = 3;
    pub(super) const CHARSMAP: u64 = 2;
    pub(super) const UNKNOWN: u64 = 2;
}

/// The value of a field.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Pieces {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut model = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            match next(&mut rest)? {
                (field::PIECES, Value::Bytes(piece)) => model.piece(piece)?,
                (field::NORMALIZER, Value::Bytes(mut normalizer)) => {
                    while !normalizer.is_empty() {
                        if let (field::CHARSMAP, Value::Bytes(map)) = next(&mut normalizer)? {
                            model.charsmap = map.to_vec();
                        }
                    }
                }
                _ => {}
            }
        }
        (!model.pieces.is_empty()).then_some(model)
    }

    fn piece(&mut self, mut bytes: &[u8]) -> Option<()> {
        let (mut text, mut score) = (String::new(), 0.0);
        while !bytes.is_empty() {
            match next(&mut bytes)? {
                (field::PIECE_TEXT, Value::Bytes(bytes)) => {
                    text = String::from_utf8(bytes.to_vec()).ok()?
                }
                (field::PIECE_SCORE, Value::Number(bits)) => score = f32::from_bits(bits as u32),
                (field::PIECE_TYPE, Value::Number(field::UNKNOWN)) => {
                    self.unknown = self.pieces.len()
                }
                _ => {}
            }
        }
        self.pieces.push((text, score));
        Some(())
    }

    /// A `tokenizer.json` that does the same: normalise, cut at spaces, take the most probable
    /// pieces, end with `</s>`.
    fn tokenizer_json(&self) -> String {
        let end = self.pieces.iter().position(|(text, _)| text == "</s>").unwrap_or(1);
        let special = |id: usize| {
            json!({
                "id": id, "content": self.pieces[id].0, "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false,
            })
        };
        let known =
            [PAD as usize, end, self.unknown].into_iter().filter(|id| *id < self.pieces.len());
        let added: Vec<_> = known.map(special).collect();
        let normalizer = if self.charsmap.is_empty() {
            json!(null)
        } else {
            json!({ "type": "Precompiled", "precompiled_charsmap": base64(&self.charsmap) })
        };
        let spaces = json!({
            "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true,
        });
        json!({
            "version": "1.0",
            "added_tokens": added,
            "normalizer": normalizer,
            "pre_tokenizer": { "type": "Sequence", "pretokenizers": [{ "type": "WhitespaceSplit" }, spaces] },
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [
                    { "Sequence": { "id": "A", "type_id": 0 } },
                    { "SpecialToken": { "id": "</s>", "type_id": 0 } },
                ],
                "pair": [
                    { "Sequence": { "id": "A", "type_id": 0 } },
                    { "Sequence": { "id": "B", "type_id": 0 } },
                ],
                "special_tokens": { "</s>": { "id": "</s>", "ids": [end], "tokens": ["</s>"] } },
            },
            "decoder": spaces,
            "model": { "type": "Unigram", "unk_id": self.unknown, "vocab": self.pieces, "byte_fallback": false },
        })
        .to_string()
    }
}

/// The next field of a protocol buffer; `None` when it is damaged.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let key = varint(bytes)?;
    let mut take = |count: usize| {
        let (taken, rest) = bytes.split_at_checked(count)?;
        *bytes = rest;
        Some(taken)
    };
    let value = match key & 7 {
        0 => Value::Number(varint(bytes)?),
        1 => Value::Number(u64::from_le_bytes(take(8)?.try_into().ok()?)),
        2 => {
            let count = usize::try_from(varint(bytes)?).ok()?;
            let (taken, rest) = bytes.split_at_checked(count)?;
            *bytes = rest;
            Value::Bytes(taken)
        }
        5 => Value::Number(u64::from(u32::from_le_bytes(take(4)?.try_into().ok()?))),
        _ => return None,
    };
    Some((key >> 3, value))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The normaliser's table goes through JSON as text.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut word = [0; 3];
        word[..group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes([0, word[0], word[1], word[2]]);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{EncoderError, Pieces, Tokens, base64};

    #[test]
    fn a_text_has_room_for_its_marks_and_a_token() {
        let pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u{2581}a", -1.0)];
        let pieces = pieces.map(|(text, score)| (text.to_owned(), score)).to_vec();
        let model = Pieces { pieces, unknown: 2, charsmap: Vec::new() };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, model.tokenizer_json()).unwrap();
        for length in [0, 1] {
            let error = Tokens::open(&path, length).unwrap_err();
            assert!(matches!(error, EncoderError::Tokens { marks: 1, .. }), "{error}");
            assert!(error.to_string().contains("give at least 2"), "{error}");
        }
        let row = Tokens::open(&path, 2).unwrap().row("a a a").unwrap();
        assert_eq!((row.ids, row.count), (vec![3, 1], 2));
    }

    #[test]
    fn bytes_are_written_as_everywhere() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn what_is_no_model_is_refused() {
        assert!(Pieces::read(b"").is_none());
        assert!(Pieces::read(b"\x0a\xff\xff\xff\xff\xff").is_none());
        assert!(Pieces::read(b"{\"version\": \"1.0\"}").is_none());
    }
}
