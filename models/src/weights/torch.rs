//! PyTorch's checkpoints: zip archives as `torch.save` has written them since version 1.6.

use std::{collections::BTreeMap, fs::File, path::Path};

use super::{
    Entry, PickleError, WeightsError,
    pickle::{Tensor, state_dict},
};
use crate::archive::Archive;

/// The pickle describes tensors and holds none, so it is small: 100 kB for a thousand of them.
const MOST_PICKLE_BYTES: u64 = 256 << 20;

/// Opens a `.pth` file and lists its tensors.
pub(super) fn open(path: &Path) -> Result<(File, BTreeMap<String, Entry>), WeightsError> {
    let mut archive = Archive::open(path)?;
    let wrong = |source| WeightsError::Pickle { path: path.to_owned(), source };
    // The members lie in one folder, named after the file that was written.
    let pickle = archive
        .members()
        .iter()
        .find(|member| member.name.split_once('/').is_some_and(|(_, name)| name == "data.pkl"));
    let pickle = pickle.cloned().ok_or_else(|| wrong(PickleError::Absent))?;
    let folder = pickle.name.trim_end_matches("data.pkl").to_owned();
    if let Ok(order) = archive.member(&format!("{folder}byteorder")) {
        let mut text = Vec::new();
        archive.read(&order, &mut text)?;
        if text != b"little" {
            return Err(wrong(PickleError::ByteOrder));
        }
    }
    if pickle.bytes > MOST_PICKLE_BYTES {
        return Err(wrong(PickleError::TooLarge));
    }
    let mut bytes = Vec::new();
    archive.read(&pickle, &mut bytes)?;
    let mut entries = BTreeMap::new();
    for (name, tensor) in state_dict(&bytes).map_err(wrong)?.0 {
        let entry = place(&mut archive, &folder, &tensor)?;
        let entry = entry.ok_or_else(|| wrong(PickleError::Tensor(name.clone())))?;
        entries.insert(name, entry);
    }
    Ok((archive.into_file(), entries))
}

/// Where a tensor's elements lie; `None` when they cannot lie where the pickle says.
fn place(
    archive: &mut Archive,
    folder: &str,
    tensor: &Tensor,
) -> Result<Option<Entry>, WeightsError> {
    let member = archive.member(&format!("{folder}data/{}", tensor.storage))?;
    let Some(start) = archive.offset(&member)? else { return Ok(None) };
    Ok(within(tensor, start, member.bytes / tensor.element.bytes() as u64))
}

/// The same for a storage of `contained` elements that begins at a byte of the file.
pub(super) fn within(tensor: &Tensor, start: u64, contained: u64) -> Option<Entry> {
    let (elements, last) = (product(&tensor.shape)?, tensor.last()?);
    // A tensor with more elements than its storage repeats some; weights do not, and a few bytes
    // could claim any amount of memory that way.
    if elements as u64 > contained || (elements > 0 && last >= contained) {
        return None;
    }
    let row_major = row_major(&tensor.shape);
    Some(Entry {
        element: tensor.element,
        strides: (elements > 1 && tensor.strides != row_major).then(|| tensor.strides.clone()),
        shape: tensor.shape.clone(),
        start: start + tensor.offset as u64 * tensor.element.bytes() as u64,
    })
}

fn product(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))
}

fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis].max(1);
    }
    strides
}

impl Tensor {
    /// The place of the last element in the storage, in elements.
    fn last(&self) -> Option<u64> {
        let mut last = self.offset;
        for (size, stride) in self.shape.iter().zip(&self.strides) {
            last = last.checked_add(size.saturating_sub(1).checked_mul(*stride)?)?;
        }
        u64::try_from(last).ok()
    }
}
