//! Writing an export's files, each whole or not at all.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
};

use anyhow::Context as _;
use arrow::{
    array::{ArrayRef, BinaryArray, RecordBatch, RecordBatchOptions, StringArray, StructArray},
    datatypes::{DataType, Field, Fields, Schema},
};
use curate_schemas::{
    Clip, ClipId, batch,
    columns::{self as c, CLIPS},
};
use curate_store::{Query, Store};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use serde_json::{Value as Json, json};

use super::{Choice, Shard, numbered, rows};
use crate::{
    cli::{ExportForm, Format},
    commands::{clips::ending, query},
};

/// Clips that are in memory together.
const AT_ONCE: usize = 8;

/// Writes an export's files.
pub(super) struct Writer<'a> {
    pub(super) store: &'a Store,
    pub(super) version: u64,
    pub(super) folder: &'a Path,
    pub(super) form: ExportForm,
}

/// How many files were written, and how many were there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) new: u64,
    pub(super) old: u64,
}

/// A file to be renamed when it is whole, with the rights that files of this user have.
fn part(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let rights = fs::Permissions::from_mode(0o666);
    tempfile::Builder::new().prefix(".part-").permissions(rights).tempfile_in(folder)
}

/// Writes a file aside and puts it in its place when it is whole.
fn aside(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&File>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(context)?;
    let file = part(folder).with_context(context)?;
    let mut buffered = BufWriter::new(file.as_file());
    fill(&mut buffered)?;
    buffered.flush().with_context(context)?;
    drop(buffered);
    file.persist(path).with_context(context)?;
    Ok(())
}

/// Writes these bytes, whole or not at all.
pub(super) fn whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    aside(path, |file| Ok(file.write_all(bytes)?))
}

impl Writer<'_> {
    pub(super) async fn write(
        &self,
        query: &Query,
        shards: &[Shard],
        choice: &Choice,
    ) -> anyhow::Result<Written> {
        let mut written = Written::default();
        match self.form {
            ExportForm::Webdataset => {
                for (index, shard) in shards.iter().enumerate() {
                    let path = self.folder.join(numbered("clips", index, "tar"));
                    if written.is_due(&path) {
                        self.tar(&path, shard).await?;
                    }
                }
            }
            ExportForm::Parquet => {
                for (index, shard) in shards.iter().enumerate() {
                    let name = format!("data/train-{index:05}-of-{:05}.parquet", shards.len());
                    let path = self.folder.join(name);
                    if written.is_due(&path) {
                        self.parquet(&path, shard).await?;
                    }
                }
            }
            ExportForm::Folder | ExportForm::Easyanimate => {
                self.files(shards, &mut written).await?;
            }
            ExportForm::Csv | ExportForm::Jsonl => {
                let is_csv = self.form == ExportForm::Csv;
                let path = self.folder.join(if is_csv { "clips.csv" } else { "clips.jsonl" });
                if written.is_due(&path) {
                    let names: Vec<&str> = rows::names().collect();
                    let sql = format!(
                        "select {} from clips where ({}) order by clip_id",
                        names.join(", "),
                        choice.filter
                    );
                    let rows = query.sql(&sql).await?;
                    let context = || format!("cannot write {}", path.display());
                    let file = part(self.folder).with_context(context)?;
                    let format = if is_csv { Format::Csv } else { Format::Json };
                    query::write(rows, format, file.as_file()).await?;
                    file.persist(&path).with_context(context)?;
                }
            }
        }
        Ok(written)
    }

    async fn clips(&self, ids: &[ClipId]) -> anyhow::Result<Vec<Clip>> {
        Ok(self.store.whole_clips(Some(self.version), ids).await?)
    }

    async fn tar(&self, path: &Path, shard: &Shard) -> anyhow::Result<()> {
        let file = part(self.folder).with_context(|| format!("cannot write {}", path.display()))?;
        let mut tar = tar::Builder::new(BufWriter::new(file.as_file()));
        for ids in shard.ids.chunks(AT_ONCE) {
            for mut clip in self.clips(ids).await? {
                let id = clip.get(c::CLIP_ID).cloned().unwrap_or_default();
                let video = clip.take(c::VIDEO).unwrap_or_default();
                let caption = clip.get(c::CAPTION).cloned().unwrap_or_default();
                let row = Json::Object(rows::json(&clip)).to_string();
                append(&mut tar, &format!("{id}.{}", ending(&clip)), &video)?;
                append(&mut tar, &format!("{id}.txt"), caption.as_bytes())?;
                append(&mut tar, &format!("{id}.json"), row.as_bytes())?;
            }
        }
        tar.into_inner()?.flush()?;
        file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }

    async fn files(&self, shards: &[Shard], written: &mut Written) -> anyhow::Result<()> {
        let mut list = Vec::new();
        for ids in shards.iter().flat_map(|shard| shard.ids.chunks(AT_ONCE)) {
            for mut clip in self.clips(ids).await? {
                let id = clip.get(c::CLIP_ID).cloned().unwrap_or_default();
                let name = format!("clips/{id}.{}", ending(&clip));
                let video = clip.take(c::VIDEO).unwrap_or_default();
                let path = self.folder.join(&name);
                if written.is_due_of(&path, video.len()) {
                    whole(&path, &video)?;
                }
                let caption = clip.get(c::CAPTION).cloned().unwrap_or_default();
                if self.form == ExportForm::Easyanimate {
                    let kind = clip.get(c::KIND).map_or("video", String::as_str);
                    list.push(json!({
                        "file_path": name, "text": caption, "type": kind,
                        "width": clip.get(c::WIDTH), "height": clip.get(c::HEIGHT),
                    }));
                    continue;
                }
                let text = self.folder.join(format!("clips/{id}.txt"));
                if written.is_due_of(&text, caption.len()) {
                    whole(&text, caption.as_bytes())?;
                }
                let mut row = rows::json(&clip);
                row.insert("file_name".to_owned(), Json::from(name));
                list.push(Json::Object(row));
            }
        }
        if self.form == ExportForm::Easyanimate {
            let text = serde_json::to_string_pretty(&list)?;
            return whole(&self.folder.join("train.json"), text.as_bytes());
        }
        aside(&self.folder.join("metadata.jsonl"), |file| {
            list.iter().try_for_each(|row| Ok(writeln!(file, "{row}")?))
        })
    }

    async fn parquet(&self, path: &Path, shard: &Shard) -> anyhow::Result<()> {
        let folder = path.parent().unwrap_or(self.folder);
        fs::create_dir_all(folder)?;
        let file = part(folder).with_context(|| format!("cannot write {}", path.display()))?;
        let mut writer: Option<ArrowWriter<File>> = None;
        for ids in shard.ids.chunks(AT_ONCE) {
            let batch = with_video(self.clips(ids).await?)?;
            let writer = match &mut writer {
                Some(writer) => writer,
                None => {
                    let properties = WriterProperties::builder()
                        .set_compression(Compression::ZSTD(ZstdLevel::default()))
                        .build();
                    let made =
                        ArrowWriter::try_new(file.reopen()?, batch.schema(), Some(properties))?;
                    writer.insert(made)
                }
            };
            writer.write(&batch)?;
            // Clips are large: a row group of many would be in memory whole.
            writer.flush()?;
        }
        if let Some(writer) = writer {
            writer.close()?;
        }
        file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }
}

impl Written {
    /// Whether a file must be written, which is counted.
    fn is_due(&mut self, path: &Path) -> bool {
        self.count(path.is_file())
    }

    /// Whether a file of so many bytes must be written, which is counted.
    fn is_due_of(&mut self, path: &Path, bytes: usize) -> bool {
        self.count(path.metadata().is_ok_and(|about| about.len() == bytes as u64))
    }

    fn count(&mut self, is_there: bool) -> bool {
        self.old += u64::from(is_there);
        self.new += u64::from(!is_there);
        !is_there
    }
}

fn append(
    tar: &mut tar::Builder<impl std::io::Write>,
    name: &str,
    bytes: &[u8],
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    // The same clips give the same bytes.
    header.set_mode(0o644);
    header.set_mtime(0);
    tar.append_data(&mut header, name, bytes)
}

/// Rows with the column `video` as Hugging Face's `Video` feature has it: a file's bytes and its name.
fn with_video(mut clips: Vec<Clip>) -> anyhow::Result<RecordBatch> {
    let mut videos: Vec<Option<Vec<u8>>> = Vec::with_capacity(clips.len());
    let mut paths = Vec::with_capacity(clips.len());
    for clip in &mut clips {
        let id = clip.get(c::CLIP_ID).cloned().unwrap_or_default();
        paths.push(Some(format!("{id}.{}", ending(clip))));
        videos.push(clip.take(c::VIDEO));
    }
    let names: Vec<&str> = rows::names().collect();
    let plain = batch::from_rows_of(&CLIPS, &names, clips.iter().map(Clip::row))?;
    let parts = Fields::from(vec![
        Field::new("bytes", DataType::Binary, true),
        Field::new("path", DataType::Utf8, true),
    ]);
    let bytes: BinaryArray = videos.iter().map(Option::as_deref).collect();
    let arrays: Vec<ArrayRef> = vec![Arc::new(bytes), Arc::new(StringArray::from(paths))];
    let video = StructArray::try_new(parts.clone(), arrays, None)?;
    let mut fields: Vec<Arc<Field>> =
        vec![Arc::new(Field::new("video", DataType::Struct(parts), true))];
    let mut columns: Vec<ArrayRef> = vec![Arc::new(video)];
    fields.extend(plain.schema().fields().iter().cloned());
    columns.extend(plain.columns().iter().cloned());
    let options = RecordBatchOptions::new().with_row_count(Some(clips.len()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}
