//! `curate versions`, `tag` and `restore`.

use std::{io::Write as _, path::Path};

use arrow::temporal_conversions::timestamp_s_to_datetime;
use curate_store::Store;

use crate::{Exit, progress::say};

pub(crate) async fn versions(out: &Path) -> anyhow::Result<Exit> {
    let store = Store::open(out).await?;
    let mut stdout = std::io::stdout().lock();
    for known in store.versions().await? {
        let at = time(known.at.0);
        writeln!(stdout, "{:>8}  {at}  {}", known.version, known.tags.join(" "))?;
    }
    Ok(Exit::Complete)
}

/// A time in microseconds since 1970 as `2026-11-26 01:02:03`, UTC.
pub(super) fn time(micros: i64) -> String {
    let seconds = micros.div_euclid(1_000_000);
    timestamp_s_to_datetime(seconds).map_or_else(String::new, |time| time.to_string())
}

pub(crate) async fn tag(
    out: &Path,
    name: &str,
    version: Option<u64>,
    delete: bool,
) -> anyhow::Result<Exit> {
    let store = Store::open(out).await?;
    if delete {
        store.untag(name).await?;
        say(&format!("`{name}` names no version any more"));
    } else {
        let version = store.tag(name, version).await?;
        say(&format!("`{name}` names version {version}; `curate gc` keeps it"));
    }
    Ok(Exit::Complete)
}

pub(crate) async fn restore(out: &Path, version: &str) -> anyhow::Result<Exit> {
    let store = Store::open(out).await?;
    let number = store.version_of(version).await?;
    let alone = store.alone().await?;
    let before = store.versions().await?.last().map_or(0, |newest| newest.version);
    let made = store.restore(alone, number).await?;
    say(&format!(
        "version {made} equals version {number}; `curate restore {} {before}` takes it back",
        out.display()
    ));
    Ok(Exit::Complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(0), "1970-01-01 00:00:00");
        assert_eq!(time(951_782_400_999_999), "2000-02-29 00:00:00");
        assert_eq!(time(-1), "1969-12-31 23:59:59");
    }
}
