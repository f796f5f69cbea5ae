//! Opening ONNX Runtime. A process can do that once, so this is a program of its own with one test.

use curate_models::{ModelError, Runtime, hub::Hub};
use tempfile::TempDir;

#[test]
fn a_library_that_is_missing_or_damaged_is_an_error_and_another_try_may_succeed() {
    let folder = TempDir::new().unwrap();
    let hub = Hub::open(folder.path()).unwrap();
    let error = Runtime::open(&hub).unwrap_err();
    assert!(matches!(error, ModelError::Missing(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("model `onnxruntime` is not there"), "{text}");
    assert!(text.contains("run `curate models pull default`"), "{text}");

    // A file of the right size that is no library.
    let model = hub.models().iter().find(|model| model.id == "onnxruntime").unwrap();
    let file = model.files.iter().find(|file| file.path == "libonnxruntime.so").unwrap();
    std::fs::create_dir(folder.path().join("onnxruntime")).unwrap();
    let path = folder.path().join("onnxruntime/libonnxruntime.so");
    std::fs::File::create(&path).unwrap().set_len(file.bytes).unwrap();
    let text = Runtime::open(&hub).unwrap_err().to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    assert!(text.contains("`curate models verify onnxruntime`"), "{text}");

    let Some(models) = curate_testing::models() else { return };
    let hub = Hub::open(models).unwrap();
    match Runtime::open(&hub) {
        Ok(_) => {}
        Err(ModelError::Missing(missing)) => {
            return curate_testing::skip("ONNX Runtime", &missing.to_string());
        }
        Err(error) => panic!("{error}"),
    }
    // Once open it stays open, whatever becomes of the hub.
    assert!(Runtime::open(&Hub::open(folder.path()).unwrap()).is_ok());
}
