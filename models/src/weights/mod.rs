//! Checkpoints: tensors by name, from `.safetensors` files and PyTorch's `.pth` files.
//!
//! A `.pth` file is a zip archive with a pickle that describes the tensors and one member of bytes
//! for each storage; before version 1.6 it was a row of pickles with the storages behind them
//! (`legacy.rs`). Pickles are read as data (`pickle.rs`) and never executed.
//!
//! Only names and places are kept; a tensor is read when it is asked for, so the peak is one tensor
//! more than what the network itself keeps. Decided against `candle`'s reader of pickles: it would
//! bring a second tensor library and its matrix products into a crate that has no use for them yet,
//! and into every build of the stages.

mod error;
mod legacy;
mod pickle;
mod torch;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use safetensors::tensor::Metadata;

use crate::hub::{Content, digest};

pub use self::error::{CutOff, PickleError, WeightsError};

/// What the elements of a tensor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F16,
    Bf16,
    F32,
    F64,
    /// Something that is no weight, such as a counter; with its size in bytes.
    Other(u8),
}

impl Element {
    const fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::Other(bytes) => bytes as usize,
        }
    }
}

/// Where a tensor lies.
#[derive(Clone, Debug)]
struct Entry {
    element: Element,
    shape: Vec<usize>,
    /// Steps between neighbours along each dimension, in elements; `None` for row-major.
    strides: Option<Vec<usize>>,
    /// Offset of the first element in bytes.
    start: u64,
}

impl Entry {
    fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Elements from the first to the last, those in between that belong to others included.
    fn span(&self) -> usize {
        match &self.strides {
            None => self.elements(),
            Some(_) if self.elements() == 0 => 0,
            Some(strides) => {
                let last = self.shape.iter().zip(strides).map(|(size, stride)| (size - 1) * stride);
                last.sum::<usize>() + 1
            }
        }
    }
}

#[derive(Debug)]
enum Bytes {
    File(File),
    Memory(Cow<'static, [u8]>),
}

/// The tensors of a checkpoint.
#[derive(Debug)]
pub struct Weights {
    /// Where they come from, for messages.
    origin: String,
    path: Option<PathBuf>,
    bytes: Bytes,
    entries: BTreeMap<String, Entry>,
    /// What the header of a safetensors file has beside tensors.
    notes: BTreeMap<String, String>,
}

impl Weights {
    /// Opens a checkpoint; its content, not its name, tells the format.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let io = |source| WeightsError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let begins_with = |magic: &[u8]| {
            let mut first = vec![0; magic.len()];
            file.read_exact_at(&mut first, 0).is_ok() && first == magic
        };
        let is_legacy = begins_with(&legacy::MAGIC);
        if begins_with(b"PK\x03\x04") {
            let (file, entries) = torch::open(path)?;
            return Ok(Self {
                origin: path.display().to_string(),
                path: Some(path.to_owned()),
                bytes: Bytes::File(file),
                entries,
                notes: BTreeMap::new(),
            });
        }
        let length = file.metadata().map_err(io)?.len();
        let mut weights = Self {
            origin: path.display().to_string(),
            path: Some(path.to_owned()),
            bytes: Bytes::File(file),
            entries: BTreeMap::new(),
            notes: BTreeMap::new(),
        };
        match &weights.bytes {
            Bytes::File(file) if is_legacy => weights.entries = legacy::list(file, length, path)?,
            _ => weights.index(length)?,
        }
        Ok(weights)
    }

    /// A safetensors file in memory; `origin` names it in messages.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn from_bytes(
        origin: &str,
        bytes: impl Into<Cow<'static, [u8]>>,
    ) -> Result<Self, WeightsError> {
        let bytes = bytes.into();
        let length = bytes.len() as u64;
        let mut weights = Self {
            origin: origin.to_owned(),
            path: None,
            bytes: Bytes::Memory(bytes),
            entries: BTreeMap::new(),
            notes: BTreeMap::new(),
        };
        weights.index(length)?;
        Ok(weights)
    }

    /// A file of the hub.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn from_hub(content: &Content) -> Result<Self, WeightsError> {
        match content {
            Content::File(path) => Self::open(path),
            Content::Embedded(bytes) => Self::from_bytes("the built-in weights", *bytes),
        }
    }

    /// Reads a safetensors header: its length in eight bytes, then JSON.
    fn index(&mut self, length: u64) -> Result<(), WeightsError> {
        let short = |origin: &str, expected, tensor| WeightsError::Short {
            origin: origin.to_owned(),
            bytes: length,
            expected,
            tensor,
        };
        if length < 8 {
            return Err(short(&self.origin, 8, CutOff::Header));
        }
        let mut size = [0; 8];
        self.read(0, &mut size)?;
        let header_bytes = u64::from_le_bytes(size);
        // A file of another kind has any number here; the limit is the format's own.
        let data = header_bytes.checked_add(8).filter(|_| header_bytes <= 100_000_000);
        let Some(data) = data.filter(|data| *data <= length) else {
            let source = serde::de::Error::custom("the length of its header is wrong");
            return Err(WeightsError::Format { origin: self.origin.clone(), source });
        };
        let mut header = vec![0; header_bytes as usize];
        self.read(8, &mut header)?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|source| WeightsError::Format { origin: self.origin.clone(), source })?;
        let expected = data.saturating_add(metadata.data_len() as u64);
        if expected > length {
            let mut tensors: Vec<_> = metadata.tensors().into_iter().collect();
            tensors.sort_by_key(|(_, info)| info.data_offsets);
            let is_cut = |end: usize| data.saturating_add(end as u64) > length;
            let first = tensors.into_iter().find(|(_, info)| is_cut(info.data_offsets.1));
            let tensor = first.map_or(CutOff::Header, |(name, info)| CutOff::Tensor {
                name,
                shape: info.shape.clone(),
            });
            return Err(short(&self.origin, expected, tensor));
        }
        let entries = metadata.tensors().into_iter().map(|(name, info)| {
            use safetensors::Dtype as D;
            let element = match info.dtype {
                D::F16 => Element::F16,
                D::BF16 => Element::Bf16,
                D::F32 => Element::F32,
                D::F64 => Element::F64,
                other => Element::Other((other.bitsize() / 8).max(1) as u8),
            };
            let start = data + info.data_offsets.0 as u64;
            (name, Entry { element, shape: info.shape.clone(), strides: None, start })
        });
        self.entries = entries.collect();
        self.notes = metadata
            .metadata()
            .iter()
            .flatten()
            .map(|(key, note)| (key.clone(), note.clone()))
            .collect();
        Ok(())
    }

    /// Where the weights come from, in words.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// What whoever wrote a safetensors file noted in its header under this key.
    #[must_use]
    pub fn note(&self, key: &str) -> Option<&str> {
        self.notes.get(key).map(String::as_str)
    }

    /// A tensor's shape.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| &entry.shape[..])
    }

    /// The file, if the weights are in one.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Where a tensor begins in its file, in bytes, if it can be mapped: float32, row-major.
    pub(crate) fn f32_place(&self, name: &str) -> Option<u64> {
        let entry = self.entries.get(name)?;
        let is_plain = entry.element == Element::F32 && entry.strides.is_none();
        (is_plain && matches!(self.bytes, Bytes::File(_))).then_some(entry.start)
    }

    /// A tensor's elements, row-major; other floating-point types are converted.
    ///
    /// # Errors
    /// When there is no such tensor, it holds no floating-point numbers, or it cannot be read.
    pub fn f32(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let entry = self.entries.get(name).ok_or_else(|| WeightsError::NoTensor {
            origin: self.origin.clone(),
            name: name.to_owned(),
        })?;
        let mut bytes = vec![0; entry.span() * entry.element.bytes()];
        self.read(entry.start, &mut bytes)?;
        let values = match entry.element {
            Element::F32 => convert(&bytes, f32::from_le_bytes),
            Element::F16 => convert(&bytes, |two| half::f16::from_le_bytes(two).to_f32()),
            Element::Bf16 => convert(&bytes, |two| half::bf16::from_le_bytes(two).to_f32()),
            Element::F64 => convert(&bytes, |eight| f64::from_le_bytes(eight) as f32),
            Element::Other(_) => {
                return Err(WeightsError::Type {
                    origin: self.origin.clone(),
                    name: name.to_owned(),
                });
            }
        };
        Ok(match &entry.strides {
            None => values,
            Some(strides) => gather(&values, &entry.shape, strides),
        })
    }

    /// The SHA-256 of the whole checkpoint, for the record of what measured a value.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn sha256(&self) -> Result<String, WeightsError> {
        match (&self.bytes, &self.path) {
            (Bytes::Memory(bytes), _) => Ok(digest::of_bytes(bytes)),
            (Bytes::File(_), path) => {
                let path = path.clone().unwrap_or_default();
                digest::of_file(&path).map_err(|source| WeightsError::Io { path, source })
            }
        }
    }

    fn read(&self, start: u64, to: &mut [u8]) -> Result<(), WeightsError> {
        let read = match &self.bytes {
            Bytes::File(file) => file.read_exact_at(to, start),
            Bytes::Memory(bytes) => {
                let start = usize::try_from(start).unwrap_or(usize::MAX);
                let from = bytes.get(start..).and_then(|rest| rest.get(..to.len()));
                from.map(|from| to.copy_from_slice(from))
                    .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
        };
        read.map_err(|source| WeightsError::Io {
            path: self.path.clone().unwrap_or_else(|| self.origin.clone().into()),
            source,
        })
    }
}

fn convert<const N: usize>(bytes: &[u8], to: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| to(*chunk)).collect()
}

/// Elements in row-major order out of any other.
fn gather(values: &[f32], shape: &[usize], strides: &[usize]) -> Vec<f32> {
    let mut offsets = vec![0];
    for (size, stride) in shape.iter().zip(strides) {
        offsets = offsets
            .iter()
            .flat_map(|offset| (0..*size).map(move |index| offset + index * stride))
            .collect();
    }
    offsets.iter().map(|offset| values[*offset]).collect()
}

#[cfg(test)]
mod tests;
