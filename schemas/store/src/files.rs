//! Which files on disk belong to the table.
//!
//! Worked out from the versions themselves and not from Lance's clean-up, so that it can judge
//! that clean-up: [`crate::Store::gc`] is right when this finds nothing.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use lance::{Dataset, index::DatasetIndexExt as _};
use lance_table::io::deletion::relative_deletion_file_path;

use crate::{Pending, Result, Store, error::At as _, layout::entries};

impl Store {
    /// The files inside the two datasets that no version refers to: what a process that died has
    /// left, or what one that lives has staged. Sorted.
    ///
    /// # Errors
    /// When a version or a folder cannot be read.
    pub fn unreferenced_files(&self) -> Pending<'_, Vec<PathBuf>> {
        Box::pin(async move {
            let mut found = Vec::new();
            let datasets = [
                (self.layout().clips(), self.latest_clips().await?),
                (self.layout().units(), self.latest_units().await?),
            ];
            for (path, dataset) in datasets {
                let referenced = referenced(&dataset).await.at("read the versions of", &path)?;
                walk(&path, &mut |file| {
                    let inside = file.strip_prefix(&path).unwrap_or(file);
                    if !inside.ancestors().any(|part| referenced.contains(part)) {
                        found.push(file.to_owned());
                    }
                })?;
            }
            found.sort();
            Ok(found)
        })
    }
}

/// Files, and folders that count as a whole, to which some version refers; relative paths.
async fn referenced(dataset: &Dataset) -> lance::Result<BTreeSet<PathBuf>> {
    // Tags, branches and the hint at the newest version belong to no single version.
    let shared = ["_refs", "_versions/latest_version_hint.json"];
    let mut paths: BTreeSet<PathBuf> = shared.into_iter().map(PathBuf::from).collect();
    for known in dataset.version_refs().await? {
        let version = dataset.checkout_version(known.version).await?;
        if let Some(name) = version.manifest_location().path.filename() {
            paths.insert(Path::new("_versions").join(name));
        }
        if let Some(name) = &version.manifest().transaction_file {
            paths.insert(Path::new("_transactions").join(name));
        }
        for index in version.load_indices().await?.iter() {
            paths.insert(Path::new("_indices").join(index.uuid.to_string()));
        }
        for fragment in version.iter_fragments() {
            for file in &fragment.files {
                let data = Path::new("data").join(&file.path);
                paths.insert(data.with_extension(""));
                paths.insert(data);
            }
            if let Some(deletions) = &fragment.deletion_file {
                paths.insert(relative_deletion_file_path(fragment.id, deletions).into());
            }
        }
    }
    Ok(paths)
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path)) -> Result<()> {
    for path in entries(folder)? {
        if path.is_dir() {
            walk(&path, visit)?;
        } else {
            visit(&path);
        }
    }
    Ok(())
}
