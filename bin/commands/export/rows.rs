//! A clip's row for export, as JSON.

use arrow::temporal_conversions::timestamp_us_to_datetime;
use curate_schemas::{
    Clip, Value,
    columns::{self as c, CLIPS},
};
use serde_json::{Map, Value as Json};

/// Columns that are no metadata: bytes, tensors, and a vector as long as everything else together.
const LEFT_OUT: [&str; 5] = [
    c::VIDEO.name(),
    c::THUMB.name(),
    c::EMBEDDING.name(),
    c::LATENTS.name(),
    c::TEXT_TOKENS.name(),
];

/// The columns of an exported row.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    CLIPS.columns.iter().map(|spec| spec.name).filter(|name| !LEFT_OUT.contains(name))
}

/// What the row says, without what it does not; the manifest's own columns are an object.
pub(super) fn json(clip: &Clip) -> Map<String, Json> {
    let mut row = Map::new();
    for name in names() {
        let value = CLIPS.position(name).and_then(|position| clip.row().cell(position));
        let value = match value {
            None => continue,
            Some(Value::Utf8(text)) if name == c::EXTRA.name() || name == c::STAGE_KEYS.name() => {
                serde_json::from_str(text).unwrap_or_else(|_| Json::from(text.clone()))
            }
            Some(Value::Utf8(text)) => Json::from(text.clone()),
            Some(Value::Bool(value)) => Json::from(*value),
            Some(Value::I32(value)) => Json::from(*value),
            Some(Value::I64(value)) => Json::from(*value),
            // JSON readers keep 53 bits.
            Some(Value::U64(value)) => Json::from(format!("{value:016x}")),
            Some(Value::F32(value)) => short(*value),
            Some(Value::F64(value)) => Json::from(*value),
            Some(Value::Timestamp(at)) => {
                let time = timestamp_us_to_datetime(at.0);
                time.map_or(Json::Null, |time| {
                    Json::from(format!("{}Z", time.to_string().replace(' ', "T")))
                })
            }
            Some(Value::Utf8List(list)) => Json::from(list.clone()),
            Some(Value::Bytes(_) | Value::Vector(_)) => continue,
        };
        row.insert(name.to_owned(), value);
    }
    row
}

/// A number with as many digits as it has.
fn short(value: f32) -> Json {
    value.to_string().parse::<f64>().map_or(Json::Null, Json::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_what_they_hold() {
        let clip = Clip::default()
            .with(c::CLIP_ID, "00".repeat(16))
            .with(c::MOTION, 0.1)
            .with(c::PHASH, u64::MAX - 1)
            .with(c::EXTRA, "{\"licence\": \"CC-BY\"}".to_owned())
            .with(c::THUMB, vec![1, 2, 3]);
        let row = json(&clip);
        assert_eq!(row["motion"].to_string(), "0.1");
        assert_eq!(row["phash"], "fffffffffffffffe");
        assert_eq!(row["extra"]["licence"], "CC-BY");
        assert!(!row.contains_key("thumb") && !row.contains_key("caption"));
    }
}
