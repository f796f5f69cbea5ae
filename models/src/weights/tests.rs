//! Checkpoints written by PyTorch (`tests/fixtures/state_dict.py`), and damaged ones.

use proptest::prelude::*;

use super::*;
use crate::testing::file;

fn fixture(name: &str) -> PathBuf {
    curate_testing::root().join("models/tests/fixtures").join(name)
}

#[test]
fn a_file_of_an_old_version_reads_as_one_of_a_new() {
    let old = Weights::open(&fixture("state_dict_legacy.pth")).unwrap();
    let twin = Weights::open(&fixture("state_dict.safetensors")).unwrap();
    for name in twin.names() {
        assert_eq!(old.shape(name), twin.shape(name), "{name}");
        assert_eq!(old.f32(name).unwrap(), twin.f32(name).unwrap(), "{name}");
    }
    let whole = std::fs::read(fixture("state_dict_legacy.pth")).unwrap();
    // Cut off anywhere, it is an error that names the file, and no panic.
    for length in (0..whole.len()).step_by(7) {
        let (_folder, path) = file("old.pth", &whole[..length]);
        let error = Weights::open(&path).unwrap_err().to_string();
        assert!(error.contains("old.pth"), "{error}");
    }
}

#[test]
fn a_pth_file_reads_as_its_safetensors_twin() {
    let torch = Weights::open(&fixture("state_dict.pth")).unwrap();
    let twin = Weights::open(&fixture("state_dict.safetensors")).unwrap();
    let names: Vec<&str> = twin.names().collect();
    assert_eq!(names.len(), 16, "{names:?}");
    for name in names {
        assert_eq!(torch.shape(name), twin.shape(name), "{name}");
        assert_eq!(torch.f32(name).unwrap(), twin.f32(name).unwrap(), "{name}");
    }
    // The counter of batches is there and is no weight.
    let others: Vec<&str> = torch.names().filter(|name| twin.shape(name).is_none()).collect();
    assert_eq!(others, ["1.num_batches_tracked"]);
    let error = torch.f32("1.num_batches_tracked").unwrap_err().to_string();
    assert!(error.contains("not a tensor of floating-point numbers"), "{error}");
    let error = torch.f32("absent").unwrap_err().to_string();
    assert!(error.contains("state_dict.pth has no tensor `absent`"), "{error}");
}

#[test]
fn a_state_dict_inside_a_training_checkpoint_is_found() {
    let training = Weights::open(&fixture("training.pth")).unwrap();
    let twin = Weights::open(&fixture("state_dict.safetensors")).unwrap();
    assert_eq!(training.names().collect::<Vec<_>>(), ["half", "transposed"]);
    assert_eq!(training.f32("transposed").unwrap(), twin.f32("transposed").unwrap());
}

#[test]
fn every_floating_type_of_safetensors_is_read() {
    use safetensors::{Dtype, tensor::TensorView};
    let halves: Vec<u8> = [1.5_f32, -0.25]
        .iter()
        .flat_map(|value| half::f16::from_f32(*value).to_le_bytes())
        .collect();
    let brains: Vec<u8> = [3.0_f32, -7.0]
        .iter()
        .flat_map(|value| half::bf16::from_f32(*value).to_le_bytes())
        .collect();
    let doubles: Vec<u8> = [0.1_f64, 1e300].iter().flat_map(|value| value.to_le_bytes()).collect();
    let view = |dtype, bytes| TensorView::new(dtype, vec![2], bytes).unwrap();
    let tensors = [
        ("half", view(Dtype::F16, &halves)),
        ("brain", view(Dtype::BF16, &brains)),
        ("double", view(Dtype::F64, &doubles)),
        ("bytes", view(Dtype::U8, &[1, 2])),
    ];
    let bytes = safetensors::serialize(tensors, None).unwrap();
    let weights = Weights::from_bytes("made here", bytes.clone()).unwrap();
    assert_eq!(weights.f32("half").unwrap(), [1.5, -0.25]);
    assert_eq!(weights.f32("brain").unwrap(), [3.0, -7.0]);
    assert_eq!(weights.f32("double").unwrap(), [0.1, f32::INFINITY]);
    assert!(weights.f32("bytes").is_err());
    assert_eq!(weights.sha256().unwrap(), digest::of_bytes(&bytes));

    let error = Weights::from_bytes("made here", bytes[..bytes.len() - 1].to_vec()).unwrap_err();
    assert!(error.to_string().contains("made here is cut off"), "{error}");
    for other in [&b"<html>not found</html>"[..], b"", &[0xff; 16]] {
        let (_folder, path) = file("weights.pth", other);
        let error = Weights::open(&path).unwrap_err().to_string();
        assert!(error.contains("weights.pth"), "{error}");
    }
}

/// A state dict of one tensor, with the pickle and the archive written by hand.
fn checkpoint(shape: &[u8], strides: &[u8], class: &str) -> Result<Weights, WeightsError> {
    let mut pickle = b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
    pickle.extend(b"X\x07\0\0\0storagectorch\n");
    pickle.extend(class.as_bytes());
    pickle.extend(b"\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQK\0(");
    for tuple in [shape, strides] {
        pickle.extend(tuple.iter().flat_map(|size| [b'K', *size]));
        pickle.extend(b"t(");
    }
    pickle.pop();
    pickle.extend(b"\x89}tRs.");
    let data: Vec<u8> = (0..6_u8).flat_map(|value| f32::from(value).to_le_bytes()).collect();
    let members = [("a/data.pkl", &pickle[..], false), ("a/data/0", &data[..], false)];
    let (_folder, path) = file("a.pth", &crate::testing::Zip::default().write(&members));
    Weights::open(&path)
}

#[test]
fn tensors_stay_within_their_storage() {
    let read = |shape, strides| checkpoint(shape, strides, "FloatStorage")?.f32("w");
    assert_eq!(read(&[2, 3], &[3, 1]).unwrap(), [0., 1., 2., 3., 4., 5.]);
    assert_eq!(read(&[3, 2], &[1, 3]).unwrap(), [0., 3., 1., 4., 2., 5.]);
    assert!(read(&[2, 0], &[1, 1]).unwrap().is_empty());
    for (shape, strides) in [
        (&[2, 3][..], &[4, 1][..]),
        (&[7], &[1]),
        // Any amount of memory out of six numbers.
        (&[255, 255], &[0, 0]),
    ] {
        let error = read(shape, strides).unwrap_err().to_string();
        assert!(error.contains("`w` does not lie in its storage"), "{error}");
    }
    let integers = checkpoint(&[1], &[1], "LongStorage").unwrap();
    assert!(integers.f32("w").is_err());
}

#[test]
fn a_pickle_that_would_run_something_does_nothing() {
    // `os.system("true")` beside nothing else, as a pickle would call it.
    let pickle = b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.";
    let error = pickle::state_dict(pickle).unwrap_err();
    assert!(matches!(error, PickleError::NoTensors), "{error}");
    // Nested deeper than any stack.
    let mut deep = b"\x80\x02N".to_vec();
    deep.extend(std::iter::repeat_n(0x85, 1_000_000));
    deep.push(b'.');
    assert!(matches!(pickle::state_dict(&deep), Err(PickleError::NoTensors)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any damage is an error or is harmless; nothing panics or takes the memory.
    #[test]
    fn damaged_checkpoints_never_panic(at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
        for name in ["state_dict.pth", "training.pth", "state_dict.safetensors"] {
            let mut bytes = std::fs::read(fixture(name)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = to;
            let cut = cut.index(bytes.len());
            for bytes in [&bytes[..], &bytes[..cut]] {
                let (_folder, path) = file(name, bytes);
                if let Ok(weights) = Weights::open(&path) {
                    for name in weights.names() {
                        weights.f32(name).map(drop).unwrap_or_default();
                    }
                }
            }
        }
    }

    /// The same for the pickle alone, where checksums do not stand before it.
    #[test]
    fn damaged_pickles_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let bytes = std::fs::read(fixture("training.pth")).unwrap();
        let (_folder, path) = file("a.pth", &bytes);
        let mut archive = crate::archive::Archive::open(&path).unwrap();
        let member = archive.member("training/data.pkl").unwrap();
        let mut pickle = Vec::new();
        archive.read(&member, &mut pickle).unwrap();
        for (at, to) in changes {
            let at = at.index(pickle.len());
            pickle[at] = to;
        }
        pickle::state_dict(&pickle).map(drop).unwrap_or_default();
    }
}
