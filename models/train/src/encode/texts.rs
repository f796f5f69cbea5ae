//! Embeddings of captions, and of the empty one.

use std::collections::BTreeMap;

use candle_core::{DType, Device};
use curate_schemas::{
    Clip,
    columns::{CLIP_ID, TEXT_KEY, TEXT_TOKENS},
};

use super::{
    Tell, Text, Write,
    pieces::{self, Work},
};
use crate::{
    TrainError,
    data::{Bucket, TextEntry, TextKey, text_hash},
};

/// Rows whose captions are encoded together.
const ROWS: usize = 16;

/// One text's embeddings, `[count, channels]`.
struct One {
    count: usize,
    channels: usize,
    values: Vec<f32>,
}

/// Encodes the captions of the rows that lack embeddings. How many rows were written.
pub(super) fn encode(
    text: &Text,
    work: &Work<'_>,
    (write, tell): (Write<'_>, Tell<'_>),
    failures: &mut BTreeMap<String, String>,
) -> Result<u64, TrainError> {
    // Nothing is decoded, so size and bucket do not matter.
    let shape =
        |bucket: &Bucket| Bucket { frames: 0, height: 0, width: 0, has_text: false, ..*bucket };
    let plans = pieces::plans(work.rows, &work.missing, ROWS, shape);
    let columns = &["text_tokens", "text_key"];
    let empty = all(text, &[""])?;
    work.run(("captions", columns, false), plans, (write, tell), failures, |_, content| {
        let texts: Vec<&str> =
            content.captions.iter().flatten().map(|(_, text)| text.as_str()).collect();
        let mut encoded = all(text, &texts)?.into_iter();
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for (clip, captions) in content.clips.into_iter().zip(&content.captions) {
            let (mut entries, mut packed, mut channels) = (Vec::new(), Vec::new(), 0);
            let mine: Vec<One> = encoded.by_ref().take(captions.len()).collect();
            let named = captions.iter().map(|(column, text)| (*column, text.as_str()));
            let named = named.zip(&mine).chain([("", "")].into_iter().zip(&empty));
            for ((column, text), one) in named {
                channels = one.channels;
                packed.extend(TextKey::pack(&one.values));
                let (column, hash) = (column.to_owned(), text_hash(text));
                entries.push(TextEntry { column, hash, count: one.count });
            }
            let key = TextKey {
                encoder: text.hash.clone(),
                tokens: text.tokens,
                channels,
                texts: entries,
            };
            bytes += packed.len();
            rows.push(
                Clip::default()
                    .with(CLIP_ID, clip.clip_id)
                    .with(TEXT_TOKENS, packed)
                    .with(TEXT_KEY, key.json()),
            );
        }
        Ok((rows, bytes))
    })
}

/// Embeddings of texts without their padding.
fn all(text: &Text, texts: &[&str]) -> Result<Vec<One>, TrainError> {
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let encoded = text.network.encode(texts)?;
    let tokens = encoded.tokens.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    let (count, length, channels) = tokens.dims3()?;
    let values = tokens.flatten_all()?.to_vec1::<f32>()?;
    let mask = encoded.mask.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    let mask = mask.to_vec2::<f32>()?;
    let one = |number: usize| {
        let count = mask[number].iter().filter(|kept| **kept > 0.5).count();
        let from = number * length * channels;
        One { count, channels, values: values[from..from + count * channels].to_vec() }
    };
    Ok((0..count).map(one).collect())
}
