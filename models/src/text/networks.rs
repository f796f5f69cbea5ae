//! PP-OCR's two networks on ONNX Runtime: one finds lines of text, the other reads them.
//!
//! Both files carry their weights and take any size; they run one picture at a time, as frames of
//! several sizes come by and lines are as wide as they are.

use std::path::Path;

use ort::{inputs, session::Session, value::TensorRef};

use super::{
    Alphabet, DbOptions, LINE_HEIGHT, LineImage, ProbabilityMap, Reading, TextBox, normalise,
    text_boxes,
};
use crate::{
    Runtime,
    error::{InputError, ModelError},
    hub::Hub,
};

/// The hub's model.
pub const PP_OCR: &str = "pp-ocr-v6-small";
const DETECTOR: &str = "PP-OCRv6_det_small.onnx";
const READER: &str = "PP-OCRv6_rec_small.onnx";

fn failed(during: &'static str) -> impl Fn(ort::Error) -> ModelError {
    move |source| ModelError::Onnx { during, source }
}

fn open(runtime: &Runtime, path: &Path, threads: usize) -> Result<Session, ModelError> {
    let failed = failed("opening PP-OCR");
    runtime.builder(threads).map_err(&failed)?.commit_from_file(path).map_err(&failed)
}

/// The first output of a network for a picture of three planes.
fn run(
    session: &mut Session,
    planes: &[f32],
    (width, height): (u32, u32),
    during: &'static str,
) -> Result<(Vec<i64>, Vec<f32>), ModelError> {
    let failed = failed(during);
    let shape = [1, 3, height as usize, width as usize];
    let input = TensorRef::from_array_view((shape, planes)).map_err(&failed)?;
    let outputs = session.run(inputs![input]).map_err(&failed)?;
    let (shape, values) = outputs[0].try_extract_tensor::<f32>().map_err(&failed)?;
    Ok((shape.to_vec(), values.to_vec()))
}

/// Finds lines of text.
#[derive(Debug)]
pub struct TextDetector {
    session: Session,
    options: DbOptions,
}

impl TextDetector {
    /// Loads the detector from the hub, to run on so many threads.
    ///
    /// # Errors
    /// [`ModelError::Missing`] when it has not been pulled, or what keeps it from loading.
    pub fn load(hub: &Hub, threads: usize) -> Result<Self, ModelError> {
        let runtime = Runtime::open(hub)?;
        let session = open(&runtime, &hub.path(PP_OCR, DETECTOR)?, threads)?;
        Ok(Self { session, options: DbOptions::default() })
    }

    /// The lines of text in a frame. `bgr` is the frame resized to `size`, which is
    /// [`input_size`](super::input_size)'s; boxes are in pixels of the `frame`, width and height.
    ///
    /// # Errors
    /// When the bytes are not of such a picture, or ONNX Runtime fails.
    pub fn detect(
        &mut self,
        bgr: &[u8],
        size: (u32, u32),
        frame: (u32, u32),
    ) -> Result<Vec<TextBox>, ModelError> {
        let (width, height) = size;
        let input = InputError::Bytes { bytes: bgr.len(), width, height };
        if bgr.len() as u64 != u64::from(width) * u64::from(height) * 3 {
            return Err(input.into());
        }
        let (_, map) = run(&mut self.session, &normalise(bgr), size, "looking for text")?;
        let map = ProbabilityMap::new(&map, width, height).ok_or(input)?;
        Ok(text_boxes(&map, frame, &self.options))
    }
}

/// Reads lines of text.
#[derive(Debug)]
pub struct LineReader {
    session: Session,
    alphabet: Alphabet,
}

impl LineReader {
    /// Loads the reader from the hub, to run on so many threads.
    ///
    /// # Errors
    /// As [`TextDetector::load`].
    pub fn load(hub: &Hub, threads: usize) -> Result<Self, ModelError> {
        let runtime = Runtime::open(hub)?;
        let session = open(&runtime, &hub.path(PP_OCR, READER)?, threads)?;
        let characters = session
            .metadata()
            .map_err(failed("reading PP-OCR's characters"))?
            .custom("character")
            .unwrap_or_default();
        Ok(Self { session, alphabet: Alphabet::new(&characters) })
    }

    /// Reads a line that was cut out.
    ///
    /// # Errors
    /// When ONNX Runtime fails, or the network has other classes than its list of characters.
    pub fn read(&mut self, line: &LineImage) -> Result<Reading, ModelError> {
        let size = (line.width, LINE_HEIGHT);
        let (shape, values) = run(&mut self.session, &line.values, size, "reading text")?;
        let classes = self.alphabet.classes();
        if shape.last().is_none_or(|found| *found != classes as i64) {
            let message = format!("PP-OCR's reader has {shape:?} values, not {classes} classes");
            return Err(failed("reading text")(ort::Error::new(message)));
        }
        Ok(self.alphabet.read(&values))
    }
}
