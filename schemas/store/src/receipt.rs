//! Receipts: the promise that staged work will get into the table.
//!
//! A receipt is one file of JSON lines, `_runs/<run>/receipts/<id>.jsonl`: first what was staged,
//! then one line per ledger row. It appears by rename, so it is whole or not there. Ledger rows
//! are written through Arrow's JSON and not through a struct of our own, so that a new column of
//! the ledger cannot be forgotten here; floats come back bit for bit.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, Write as _},
    path::{Path, PathBuf},
};

use arrow::json::{LineDelimitedWriter, ReaderBuilder};
use curate_schemas::{
    UnitId, UnitRow, batch,
    units::{CLIPS, UNIT_ID, UNITS},
};
use lance_table::format::Fragment;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Former, Lease, Result, Staged, StoreError,
    error::{At as _, BoxError, gone_is_fine},
};

/// A file that was staged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// Its path inside the dataset.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    id: String,
    run: String,
    clip_units: Vec<UnitId>,
    fragments: Vec<Fragment>,
    files: Vec<StagedFile>,
    units: usize,
    /// What units' new rows take the place of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    former: BTreeMap<UnitId, Former>,
}

/// Staged clips together with the ledger rows of their units (and of units without clips).
#[derive(Debug)]
pub struct Receipt {
    path: PathBuf,
    head: Head,
    units: Vec<UnitRow>,
}

impl Receipt {
    /// Writes the receipt. When this returns, the work survives the process: a later
    /// [`crate::Store::recover`] finishes it.
    ///
    /// `units` has one row for every unit that was finished, with or without clips.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] when rows and staged clips do not agree, [`StoreError::Io`] when
    /// the file cannot be written. Nothing was promised then.
    pub fn write(lease: &Lease, units: Vec<UnitRow>, staged: Staged) -> Result<Self> {
        Self::replacing(lease, units, staged, BTreeMap::new())
    }

    /// As [`Receipt::write`], for units of which some are in the table already: their former rows go
    /// in the commit that brings the new ones. Every key must be one of `units`.
    ///
    /// # Errors
    /// As [`Receipt::write`].
    pub fn replacing(
        lease: &Lease,
        units: Vec<UnitRow>,
        staged: Staged,
        former: BTreeMap<UnitId, Former>,
    ) -> Result<Self> {
        let Staged { fragments, files, clips } = staged;
        check(&units, &clips)?;
        let id = Uuid::new_v4().simple().to_string();
        let folder = lease.dir().receipts();
        let path = folder.join(format!("{id}.jsonl"));
        let head = Head {
            id,
            run: lease.run().to_owned(),
            clip_units: clips.into_keys().collect(),
            fragments,
            files,
            units: units.len(),
            former,
        };
        let text = encode(&head, &units, &path)?;
        let draft = path.with_extension("tmp");
        fs::write(&draft, text).at("write", &draft)?;
        fs::rename(&draft, &path).at("rename", &draft)?;
        Ok(Self { path, head, units })
    }

    /// Reads a receipt back; `None` when it is gone, because another process finished it.
    ///
    /// # Errors
    /// [`StoreError::Receipt`] when it is not a receipt.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let text = match fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.at("read", path)?,
        };
        let (head, units) = decode(&text)
            .map_err(|source| StoreError::Receipt { path: path.to_owned(), source })?;
        Ok(Some(Self { path: path.to_owned(), head, units }))
    }

    /// Deletes the receipt. Idempotent.
    ///
    /// # Errors
    /// When the file is there and cannot be deleted.
    pub fn discard(self) -> Result<()> {
        gone_is_fine(fs::remove_file(&self.path)).at("delete", &self.path)
    }

    /// The receipt's name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.head.id
    }

    /// The run that wrote it.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.head.run
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The units that have clips here, in order.
    #[must_use]
    pub fn clip_units(&self) -> &[UnitId] {
        &self.head.clip_units
    }

    /// The ledger rows of all units.
    #[must_use]
    pub fn units(&self) -> &[UnitRow] {
        &self.units
    }

    /// What the rows of some of its units take the place of.
    pub(crate) fn former(&self) -> &BTreeMap<UnitId, Former> {
        &self.head.former
    }

    pub(crate) fn fragments(&self) -> &[Fragment] {
        &self.head.fragments
    }

    /// Checks that the staged files are there, whole.
    pub(crate) fn check_files(&self, dataset: &Path) -> Result<()> {
        for file in &self.head.files {
            let path = dataset.join(&file.path);
            if !fs::metadata(&path).is_ok_and(|meta| meta.len() == file.bytes) {
                return Err(StoreError::StagedFileGone { path, receipt: self.path.clone() });
            }
        }
        Ok(())
    }
}

/// The unit a ledger row is about.
pub(crate) fn unit_of(row: &UnitRow) -> &str {
    row.get(UNIT_ID).map(String::as_str).unwrap_or_default()
}

/// One row per unit, and each row's number of clips is the number that was staged.
fn check(units: &[UnitRow], staged: &BTreeMap<UnitId, usize>) -> Result<()> {
    let mut ledger = BTreeMap::new();
    for row in units {
        let clips = row.get(CLIPS).map_or(-1, |clips| i64::from(*clips));
        if ledger.insert(unit_of(row), clips).is_some() {
            ledger.insert(unit_of(row), -1);
        }
    }
    for (unit, clips) in staged {
        let row = ledger.remove(unit.as_str()).unwrap_or(-1);
        if usize::try_from(row) != Ok(*clips) {
            return Err(StoreError::Mismatch { unit: unit.clone(), staged: *clips, ledger: row });
        }
    }
    match ledger.into_iter().find(|(_, clips)| *clips != 0) {
        None => Ok(()),
        Some((unit, ledger)) => {
            let unit = UnitId::parse(unit).at("read", Path::new("the ledger rows"))?;
            Err(StoreError::Mismatch { unit, staged: 0, ledger })
        }
    }
}

fn encode(head: &Head, units: &[UnitRow], path: &Path) -> Result<Vec<u8>> {
    let rows = batch::from_rows(&UNITS, units.iter().map(UnitRow::row)).at("encode", path)?;
    let lines = || -> Result<Vec<u8>, BoxError> {
        let mut text = serde_json::to_vec(head)?;
        text.write_all(b"\n")?;
        let mut writer = LineDelimitedWriter::new(&mut text);
        writer.write(&rows)?;
        writer.finish()?;
        drop(writer);
        Ok(text)
    };
    lines().map_err(|source| StoreError::Receipt { path: path.to_owned(), source })
}

fn decode(text: &[u8]) -> Result<(Head, Vec<UnitRow>), BoxError> {
    let mut text = text;
    let mut line = String::new();
    text.read_line(&mut line)?;
    let head: Head = serde_json::from_str(&line)?;
    let mut units = Vec::with_capacity(head.units);
    for rows in ReaderBuilder::new(UNITS.arrow_schema()).build(text)? {
        units.extend(batch::to_rows(&UNITS, &rows?)?.into_iter().filter_map(UnitRow::from_row));
    }
    if units.len() == head.units {
        Ok((head, units))
    } else {
        Err(format!("it promises {} ledger rows and has {}", head.units, units.len()).into())
    }
}

#[cfg(test)]
mod tests {
    use curate_schemas::units::{DURATION_S, ERROR_MESSAGE};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{unit, unit_row};

    proptest! {
        #[test]
        fn a_receipt_is_read_back_bit_for_bit(
            seconds in proptest::num::f64::NORMAL, message in "\\PC{0,20}\n?", index in 0..9_u32,
        ) {
            let rows = vec![
                unit_row("a", index, 0),
                unit_row("b", index, 2).with(DURATION_S, seconds).with(ERROR_MESSAGE, message),
            ];
            let head = Head {
                id: "id".to_owned(),
                run: "run".to_owned(),
                clip_units: vec![unit("b", index)],
                fragments: vec![Fragment::new(0)],
                files: vec![],
                units: rows.len(),
                former: BTreeMap::from([(unit("b", index), Former::by(["r".to_owned()]))]),
            };
            let text = encode(&head, &rows, Path::new("receipt")).unwrap();
            let (again, units) = decode(&text).unwrap();
            prop_assert_eq!(units, rows);
            prop_assert_eq!(again.clip_units, head.clip_units);
            prop_assert_eq!(again.fragments, head.fragments);
            prop_assert_eq!(again.former, head.former);
        }
    }

    #[test]
    fn what_is_not_a_receipt_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        assert!(Receipt::read(&path).unwrap().is_none());
        fs::write(&path, "{").unwrap();
        let error = Receipt::read(&path).unwrap_err();
        assert!(error.to_string().contains("x.jsonl"), "{error}");
    }
}
