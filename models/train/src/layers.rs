//! Configurations in layers: what a file says lies over what its stage says, over what always holds.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::data::DataConfig;

/// Reads TOML texts, each over the ones before it, and then what a file says.
///
/// # Errors
/// What is wrong, with its key.
pub(crate) fn layered<C: DeserializeOwned>(layers: &[&str], said: Table) -> Result<C, Vec<String>> {
    let mut all = Table::new();
    for layer in layers {
        lay(&mut all, toml::from_str(layer).map_err(|error| vec![error.to_string()])?);
    }
    lay(&mut all, said);
    serde_path_to_error::deserialize(Value::Table(all)).map_err(|error| {
        let key = error.path().to_string();
        let what = error.into_inner().to_string();
        vec![if key == "." { what } else { format!("`{key}`: {}", what.trim_end()) }]
    })
}

/// Lays a table over another: what it says counts.
fn lay(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => lay(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

/// Data without a share of its clips, and that share alone; `None` where the share is 0.
///
/// Ids of clips are hashes in hexadecimal digits: those below a bound are a random share, the same on
/// every machine and in every version of the table. Clips of one source may be on both sides: a table
/// of few sources could not be shared out otherwise.
pub(crate) fn hold_out(data: &DataConfig, share: f64) -> (DataConfig, Option<DataConfig>) {
    if share <= 0.0 {
        return (data.clone(), None);
    }
    let bound = (share * f64::from(u32::MAX)) as u32;
    let side = |side: &str| {
        let filter = format!("({}) AND clip_id {side} '{bound:08x}'", data.filter);
        DataConfig { filter, ..data.clone() }
    };
    (side(">="), Some(side("<")))
}
