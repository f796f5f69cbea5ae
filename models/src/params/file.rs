//! Writing checkpoints: safetensors, one tensor in memory at a time.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::{self, File},
    io,
    path::Path,
};

use candle_core::{DType, Tensor};
use safetensors::{Dtype, View};

use super::{Params, ParamsError};

/// A tensor on its way into a file.
struct Written<'a> {
    tensor: &'a Tensor,
    dtype: Dtype,
}

impl View for Written<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        self.tensor.dims()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        // `View` has no way to fail. A tensor that cannot be fetched from its device gives too few
        // bytes, which `save` finds by the file's length.
        bytes(self.tensor).unwrap_or_default().into()
    }

    fn data_len(&self) -> usize {
        self.tensor.elem_count() * self.tensor.dtype().size_in_bytes()
    }
}

fn bytes(tensor: &Tensor) -> candle_core::Result<Vec<u8>> {
    let flat = tensor.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::F64 => flat.to_vec1::<f64>()?.iter().flat_map(|x| x.to_le_bytes()).collect(),
        DType::F16 => flat.to_vec1::<half::f16>()?.iter().flat_map(|x| x.to_le_bytes()).collect(),
        DType::BF16 => flat.to_vec1::<half::bf16>()?.iter().flat_map(|x| x.to_le_bytes()).collect(),
        _ => flat.to_vec1::<f32>()?.iter().flat_map(|x| x.to_le_bytes()).collect(),
    })
}

impl Params {
    /// Writes all tensors, with `notes` in the file's header (its configuration, say). The file
    /// appears whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written, or a tensor holds no floating-point numbers.
    pub fn save(&self, path: &Path, notes: &[(&str, &str)]) -> Result<(), ParamsError> {
        let tensors = self.iter().map(|(name, var, _)| (name, var.as_tensor()));
        save_tensors(path, tensors, notes)
    }
}

/// Writes tensors to a safetensors file that appears whole or not at all.
///
/// # Errors
/// Those of [`Params::save`].
pub fn save_tensors<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
    notes: &[(&str, &str)],
) -> Result<(), ParamsError> {
    let mut views = Vec::new();
    let mut wanted = 0;
    for (name, tensor) in tensors {
        let dtype = match tensor.dtype() {
            DType::F64 => Dtype::F64,
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            dtype => return Err(ParamsError::Type { name: name.to_owned(), dtype }),
        };
        let view = Written { tensor, dtype };
        wanted += view.data_len() as u64;
        views.push((name, view));
    }
    let failed = |source| ParamsError::Write { path: path.to_owned(), source };
    let notes: HashMap<String, String> =
        notes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let notes = (!notes.is_empty()).then_some(notes);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    safetensors::serialize_to_file(views, notes, &part)
        .map_err(|error| failed(io::Error::other(error)))?;
    let file = File::open(&part).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() <= wanted {
        return Err(failed(io::Error::other("a tensor could not be fetched from its device")));
    }
    file.sync_all().map_err(failed)?;
    fs::rename(&part, path).map_err(failed)
}
