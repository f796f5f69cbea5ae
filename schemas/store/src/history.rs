//! Versions by name, and back to one.
//!
//! A tag keeps its version from garbage collection. Going back makes a new version that equals an old
//! one, so nothing is lost by it and it can be taken back in turn. The ledger follows: units whose clips
//! are not in the restored version are forgotten, so that the next run computes them again.

use curate_schemas::Micros;
use lance::Dataset;

use crate::{Alone, Pending, Result, Store, StoreError, error::At as _, gate::Gate};

/// One version of the clips.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionInfo {
    /// Its number.
    pub version: u64,
    /// When it was committed.
    pub at: Micros,
    /// The tags that name it, sorted.
    pub tags: Vec<String>,
}

impl Store {
    /// The versions of the clips that can be read, oldest first.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn versions(&self) -> Pending<'_, Vec<VersionInfo>> {
        Box::pin(async move {
            let path = self.layout().clips();
            let clips = self.latest_clips().await?;
            let versions = clips.versions().await.at("list the versions of", &path)?;
            let tags = clips.tags().list().await.at("list the tags of", &path)?;
            let mut versions: Vec<VersionInfo> = versions
                .iter()
                .map(|known| VersionInfo {
                    version: known.version,
                    at: Micros(known.timestamp.timestamp_micros()),
                    tags: {
                        let named = tags.iter().filter(|(_, tag)| tag.version == known.version);
                        let mut names: Vec<String> = named.map(|(name, _)| name.clone()).collect();
                        names.sort();
                        names
                    },
                })
                .collect();
            versions.sort_by_key(|known| known.version);
            Ok(versions)
        })
    }

    /// The version that a tag names, or that a number is.
    ///
    /// # Errors
    /// [`StoreError::NoTag`] when the word is neither a number nor a tag.
    pub fn version_of<'a>(&'a self, word: &'a str) -> Pending<'a, u64> {
        Box::pin(async move {
            if let Ok(number) = word.parse() {
                return Ok(number);
            }
            let path = self.layout().clips();
            let clips = self.latest_clips().await?;
            let tags = clips.tags().list().await.at("list the tags of", &path)?;
            if let Some(tag) = tags.get(word) {
                return Ok(tag.version);
            }
            let mut known: Vec<String> = tags.into_keys().collect();
            known.sort();
            Err(StoreError::NoTag { path, tag: word.to_owned(), known })
        })
    }

    /// Names a version (the newest when `None`), which garbage collection then keeps. A tag that is there
    /// already is moved. The version that it names now.
    ///
    /// # Errors
    /// When there is no such version, or the name is not one that Lance takes (letters, digits, `.`, `-`,
    /// `_`; not a number alone, which would be taken for a version).
    pub fn tag<'a>(&'a self, name: &'a str, version: Option<u64>) -> Pending<'a, u64> {
        Box::pin(async move {
            let path = self.layout().clips();
            let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if name.is_empty() || !name.chars().all(fits) || name.parse::<u64>().is_ok() {
                return Err(StoreError::BadTag { tag: name.to_owned() });
            }
            let _gate = Gate::shared(self.layout()).await?;
            let clips = self.clips_at(version).await?;
            let version = clips.version_id();
            let tags = clips.tags();
            let is_there = tags.list().await.at("list the tags of", &path)?.contains_key(name);
            let written = if is_there {
                tags.update(name, version).await
            } else {
                tags.create(name, version).await
            };
            written.at("tag a version of", &path)?;
            Ok(version)
        })
    }

    /// Takes a tag away.
    ///
    /// # Errors
    /// [`StoreError::NoTag`] when there is none of this name.
    pub fn untag<'a>(&'a self, name: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            if name.parse::<u64>().is_ok() {
                return Err(StoreError::BadTag { tag: name.to_owned() });
            }
            self.version_of(name).await?;
            let _gate = Gate::shared(self.layout()).await?;
            let path = self.layout().clips();
            self.latest_clips().await?.tags().delete(name).await.at("delete a tag of", &path)
        })
    }

    /// Makes the clips what they were in a version, thresholds included, as a new version; its number.
    /// Units whose clips are gone by this are forgotten.
    ///
    /// # Errors
    /// [`StoreError::NoVersion`] when there is no such version.
    pub fn restore(&self, alone: Alone, version: u64) -> Pending<'_, u64> {
        Box::pin(async move {
            let path = self.layout().clips();
            let mut clips = self.clips_at(Some(version)).await?;
            // Thresholds that were not in the metadata yet when that version was made.
            let judge = self.judge_under_way(&clips).await?;
            clips.restore().await.at("restore a version of", &path)?;
            if let Some(judge) = judge {
                self.write_judge(&judge).await?;
            }
            // The ledger is mended by whoever comes next as well, if this ends here.
            drop(alone);
            self.recover(None).await?;
            Ok(self.latest_clips().await?.version_id())
        })
    }

    /// The clips in a version; the newest when `None`.
    pub(crate) async fn clips_at(&self, version: Option<u64>) -> Result<Dataset> {
        let clips = self.latest_clips().await?;
        let Some(version) = version else { return Ok(clips) };
        let path = self.layout().clips();
        // Lance names its own files and lines, which tell nobody more.
        clips.checkout_version(version).await.map_err(|error| match error {
            lance::Error::DatasetNotFound { .. } | lance::Error::NotFound { .. } => {
                StoreError::NoVersion { path, version }
            }
            error => {
                StoreError::Lance { action: "read a version of", path, source: Box::new(error) }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GcOptions, testing::Table};

    #[tokio::test]
    async fn a_tag_names_a_version_and_keeps_it() {
        let table = Table::new().await;
        let store = &table.store;
        table.add("a", &[0]).await;
        let first = store.tag("first", None).await.unwrap();
        table.add("a", &[1]).await;
        let second = store.tag("second", None).await.unwrap();
        assert!(second > first);
        assert_eq!(store.version_of("first").await.unwrap(), first);
        assert_eq!(store.version_of("7").await.unwrap(), 7);
        let error = store.version_of("third").await.unwrap_err().to_string();
        assert!(error.contains("`third`") && error.contains("first, second"), "{error}");
        for bad in ["", "12", "a/b", "ü"] {
            assert!(matches!(store.tag(bad, None).await, Err(StoreError::BadTag { .. })), "{bad}");
        }
        store.gc(&GcOptions::default()).await.unwrap();
        let kept: Vec<(u64, Vec<String>)> = store
            .versions()
            .await
            .unwrap()
            .into_iter()
            .filter(|known| !known.tags.is_empty())
            .map(|known| (known.version, known.tags))
            .collect();
        assert_eq!(kept, [(first, vec!["first".to_owned()]), (second, vec!["second".to_owned()])]);
        // Moved, and taken away.
        assert_eq!(store.tag("first", Some(second)).await.unwrap(), second);
        store.untag("second").await.unwrap();
        assert!(store.untag("second").await.is_err());
        assert_eq!(store.version_of("first").await.unwrap(), second);
        assert!(matches!(store.tag("x", Some(99)).await, Err(StoreError::NoVersion { .. })));
    }

    #[tokio::test]
    async fn going_back_takes_the_ledger_along_and_can_be_taken_back() {
        let table = Table::new().await;
        let store = &table.store;
        table.add("a", &[0]).await;
        let before = store.tag("before", None).await.unwrap();
        table.add("a", &[1, 2]).await;
        let after = store.tag("after", None).await.unwrap();
        let alone = store.alone().await.unwrap();
        let judge = serde_json::json!({"motion": 0.7});
        let changes = crate::Changes::of(&["status"]);
        store.rejudge(&alone, &changes, &judge).await.unwrap();

        let back = store.restore(alone, before).await.unwrap();
        assert!(back > after);
        assert_eq!(table.counts().await, (3, 1));
        assert_eq!(store.meta().await.unwrap().judge, crate::testing::meta().judge);
        store.restore(store.alone().await.unwrap(), after).await.unwrap();
        assert_eq!(table.counts().await, (9, 3));
        let alone = store.alone().await.unwrap();
        assert!(matches!(store.restore(alone, 99).await, Err(StoreError::NoVersion { .. })));
    }
}
