//! PyTorch's checkpoints as `torch.save` wrote them before version 1.6, which much of what was
//! published in those years still is: torchvision's VGG, the heads of LPIPS.
//!
//! Five pickles follow each other: a number that marks the format, its version, the sizes of C's
//! types, the state dict, and the names of storages in the order in which they lie behind it. Each
//! storage is the number of its elements in eight bytes, then the elements.
//!
//! Source: `_legacy_save` in `torch/serialization.py`.

use std::{collections::BTreeMap, fs::File, os::unix::fs::FileExt as _, path::Path};

use super::{
    Entry, PickleError, WeightsError,
    pickle::{names, state_dict},
    torch::within,
};

/// What such a file begins with: the pickle of 0x1950a86a20f9469cfc6c.
pub(super) const MAGIC: [u8; 15] = *b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";

/// Where the pickles have to end. They describe tensors and hold none.
const MOST_PICKLE_BYTES: u64 = 16 << 20;

/// Lists the tensors of such a file, of `length` bytes.
pub(super) fn list(
    file: &File,
    length: u64,
    path: &Path,
) -> Result<BTreeMap<String, Entry>, WeightsError> {
    let io = |source| WeightsError::Io { path: path.to_owned(), source };
    let wrong = |source| WeightsError::Pickle { path: path.to_owned(), source };
    let mut head = vec![0; length.min(MOST_PICKLE_BYTES) as usize];
    file.read_exact_at(&mut head, 0).map_err(io)?;
    let mut at = MAGIC.len();
    // Version and sizes.
    for _ in 0..2 {
        at += names(&head[at..]).map_err(wrong)?.1;
    }
    let (tensors, bytes) = state_dict(&head[at..]).map_err(wrong)?;
    at += bytes;
    let (order, bytes) = names(&head[at..]).map_err(wrong)?;
    let mut at = (at + bytes) as u64;
    let mut elements = BTreeMap::new();
    for tensor in tensors.values() {
        elements.insert(tensor.storage.as_str(), tensor.element);
    }
    // First byte and number of elements of each storage.
    let mut places = BTreeMap::new();
    for name in &order {
        let mut count = [0; 8];
        if at + 8 > length {
            return Err(wrong(PickleError::Short));
        }
        file.read_exact_at(&mut count, at).map_err(io)?;
        let count = u64::from_le_bytes(count);
        // The size of elements of a storage that no tensor lies in is known to its pickle alone, so
        // nothing behind it can be found.
        let Some(element) = elements.get(name.as_str()) else { break };
        let end =
            count.checked_mul(element.bytes() as u64).and_then(|bytes| (at + 8).checked_add(bytes));
        let end = end.filter(|end| *end <= length).ok_or_else(|| wrong(PickleError::Short))?;
        places.insert(name.as_str(), (at + 8, count));
        at = end;
    }
    let mut entries = BTreeMap::new();
    for (name, tensor) in &tensors {
        let place = places.get(tensor.storage.as_str());
        let entry = place.and_then(|(start, count)| within(tensor, *start, *count));
        let entry = entry.ok_or_else(|| wrong(PickleError::Tensor(name.clone())))?;
        entries.insert(name.clone(), entry);
    }
    Ok(entries)
}
