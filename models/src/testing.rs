//! What tests of this crate share.

use std::{collections::BTreeMap, path::PathBuf};

use flate2::{Compression, Crc, write::DeflateEncoder};
use safetensors::{Dtype, tensor::TensorView};
use tempfile::TempDir;

use crate::{Runtime, Weights, hub::Hub};

/// A file with these bytes in a folder of its own.
pub(crate) fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// ONNX Runtime from the models that `make test` has fetched; `None` (and a word about it) without.
pub(crate) fn runtime() -> Option<Runtime> {
    match Runtime::open(&Hub::open(curate_testing::models()?).unwrap()) {
        Ok(runtime) => Some(runtime),
        Err(crate::ModelError::Missing(missing)) => {
            curate_testing::skip("ONNX Runtime", &missing.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Tensors of float32: shape and elements.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Tensors of zeros.
pub(crate) fn tensors(shapes: &[(&str, &[usize])]) -> Tensors {
    let zeros = shapes.iter().map(|(name, shape)| {
        ((*name).to_owned(), (shape.to_vec(), vec![0.0; shape.iter().product()]))
    });
    zeros.collect()
}

/// A checkpoint of these tensors, in memory.
pub(crate) fn weights(tensors: &Tensors) -> Weights {
    Weights::from_bytes("made here", checkpoint(tensors)).unwrap()
}

/// A safetensors file of these tensors.
pub(crate) fn checkpoint(tensors: &Tensors) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors
        .values()
        .map(|(_, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, (shape, _)), bytes)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// FNV-1a of a text: seeds of what the recipes' Python generates as well.
pub(crate) fn fnv1a(bytes: impl AsRef<[u8]>) -> u64 {
    bytes.as_ref().iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Output number `k` of splitmix64 started at `seed`.
pub(crate) fn hash(seed: u64, k: u64) -> u64 {
    let mut z = seed.wrapping_add((k + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Picture 1 or 2, three bytes for each pixel: a smooth texture and some noise.
pub(crate) fn picture(which: usize, width: usize, height: usize) -> Vec<u8> {
    let texture = fnv1a("texture");
    let noise = fnv1a(format!("noise{which}"));
    let knot = |channel: usize, j: usize, i: usize| {
        hash(texture, ((channel * 4096 + j) * 4096 + i) as u64) >> 56
    };
    let (right, down) = if which == 1 { (64, 64) } else { (59, 66) };
    let mut rgb = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                let (u, v) = (x + right, y + down);
                let (i, a, j, b) = (u / 16, (u % 16) as u64, v / 16, (v % 16) as u64);
                let along = |j| (16 - a) * knot(c, j, i) + a * knot(c, j, i + 1);
                let smooth = ((16 - b) * along(j) + b * along(j + 1)) >> 8;
                let at = ((c * height + y) * width + x) as u64;
                let level = smooth as i64 + (hash(noise, at) >> 59) as i64 - 16;
                rgb.push(level.clamp(0, 255) as u8);
            }
        }
    }
    rgb
}

/// So many values in [-0.125, 0.125), from a name.
pub(crate) fn tensor(name: &str, count: usize) -> Vec<f32> {
    let seed = fnv1a(name);
    let unit = |k: usize| (hash(seed, k as u64) >> 40) as f32 / 16_777_216.0;
    (0..count).map(|k| (unit(k) * 2.0 - 1.0) * 0.125).collect()
}

/// The weight of this name and shape by the rule of `recipes/raft_graphs`, without its gains: kernels of
/// four dimensions by what goes in, scales around 1, all else as [`tensor`].
pub(crate) fn weight(name: &str, shape: &[usize]) -> Vec<f32> {
    let values = tensor(name, shape.iter().product());
    let is_scale =
        shape.len() == 1 && (name.ends_with(".weight") || name.ends_with(".running_var"));
    let change: Box<dyn Fn(f32) -> f32> = match shape {
        // From [-0.125, 0.125), exactly.
        _ if is_scale => Box::new(|value| (value * 8.0 + 1.0) * 0.5 + 0.5),
        [_, inputs @ ..] if shape.len() == 4 => {
            let reach = (3.0 / inputs.iter().product::<usize>() as f64).sqrt() as f32;
            Box::new(move |value| value * 8.0 * reach)
        }
        _ => return values,
    };
    values.into_iter().map(change).collect()
}

/// Writes zip archives.
#[derive(Default)]
pub(crate) struct Zip {
    /// Give sizes and offsets in ZIP64 records.
    pub(crate) is_wide: bool,
    /// The archive's comment.
    pub(crate) comment: &'static [u8],
}

impl Zip {
    /// An archive of members: name, bytes, whether to deflate.
    pub(crate) fn write(&self, members: &[(&str, &[u8], bool)]) -> Vec<u8> {
        let (mut out, mut list) = (Vec::new(), Vec::new());
        for (name, bytes, is_deflated) in members {
            let packed = if *is_deflated { deflate(bytes) } else { bytes.to_vec() };
            let mut crc = Crc::new();
            crc.update(bytes);
            let header = out.len() as u64;
            let method: u16 = if *is_deflated { 8 } else { 0 };
            let name_bytes = (name.len() as u16).to_le_bytes();
            // A local header with an extra field, as PyTorch uses to align its members.
            out.extend(b"PK\x03\x04\x14\0\0\0");
            out.extend(method.to_le_bytes());
            out.extend([0; 4]);
            out.extend(crc.sum().to_le_bytes());
            out.extend((packed.len() as u32).to_le_bytes());
            out.extend((bytes.len() as u32).to_le_bytes());
            out.extend(name_bytes);
            out.extend(6_u16.to_le_bytes());
            out.extend(name.as_bytes());
            out.extend(b"FB\x02\0ZZ");
            out.extend(&packed);

            let wide = [bytes.len() as u64, packed.len() as u64, header];
            let narrow = |value: u64| if self.is_wide { u32::MAX } else { value as u32 };
            let mut extra = Vec::new();
            if self.is_wide {
                extra.extend([1, 0, 24, 0]);
                extra.extend(wide.iter().flat_map(|value| value.to_le_bytes()));
            }
            list.extend(b"PK\x01\x02\x14\0\x14\0\0\0");
            list.extend(method.to_le_bytes());
            list.extend([0; 4]);
            list.extend(crc.sum().to_le_bytes());
            list.extend(narrow(packed.len() as u64).to_le_bytes());
            list.extend(narrow(bytes.len() as u64).to_le_bytes());
            list.extend(name_bytes);
            list.extend((extra.len() as u16).to_le_bytes());
            list.extend([0; 10]);
            list.extend(narrow(header).to_le_bytes());
            list.extend(name.as_bytes());
            list.extend(extra);
        }
        let (start, bytes) = (out.len() as u64, list.len() as u64);
        out.extend(list);
        if self.is_wide {
            let wide_at = out.len() as u64;
            out.extend(b"PK\x06\x06");
            out.extend([0; 36]);
            out.extend(bytes.to_le_bytes());
            out.extend(start.to_le_bytes());
            out.extend(b"PK\x06\x07\0\0\0\0");
            out.extend(wide_at.to_le_bytes());
            out.extend([0; 4]);
        }
        let narrow = |value: u64| if self.is_wide { u32::MAX } else { value as u32 };
        out.extend(b"PK\x05\x06\0\0\0\0");
        out.extend([members.len() as u8, 0, members.len() as u8, 0]);
        out.extend(narrow(bytes).to_le_bytes());
        out.extend(narrow(start).to_le_bytes());
        out.extend((self.comment.len() as u16).to_le_bytes());
        out.extend(self.comment);
        out
    }
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
