//! Classifier-free guidance (Ho and Salimans, arXiv 2207.12598) and when CLIP tokens take part.

use candle_core::{DType, Tensor};

use super::DiffusionError;

/// How strongly the output follows the text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guidance {
    /// 1 is the plain conditional output and needs no second half of the batch. The published
    /// scripts use 7.
    pub scale: f64,
}

impl Default for Guidance {
    fn default() -> Self {
        Self { scale: 7.0 }
    }
}

impl Guidance {
    /// Whether the model is run without the text, too.
    #[must_use]
    pub fn is_double(self) -> bool {
        self.scale > 1.0
    }

    /// Joins the outputs `[2B, C, ...]` of a batch that is `[without text; with text]` to
    /// `[B, C, ...]`: without + scale * (with - without), in f32.
    ///
    /// # Errors
    /// When the batch is odd.
    pub fn join(self, output: &Tensor) -> Result<Tensor, DiffusionError> {
        let batch = output.dim(0)?;
        if !batch.is_multiple_of(2) {
            return Err(DiffusionError::Shape {
                tensor: "the guided output",
                shape: output.dims().to_vec(),
                expected: "an even batch, half without and half with the text".into(),
            });
        }
        let output = output.to_dtype(DType::F32)?;
        let (without, with) =
            (output.narrow(0, 0, batch / 2)?, output.narrow(0, batch / 2, batch / 2)?);
        Ok((&without + ((with - &without)? * self.scale)?)?)
    }
}

/// Whether CLIP tokens take part in a call of the model, of `calls` in all: in the last `ratio` of
/// them (0.5 in the published pipeline). Where they do not, both the embedding and its mask are
/// zero. Samplers that call the model more often than once per step count their calls.
#[must_use]
pub fn clip_is_active(call: usize, calls: usize, ratio: f64) -> bool {
    call as f64 >= calls as f64 * (1.0 - ratio)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::{Guidance, clip_is_active};

    #[test]
    fn guidance_goes_from_one_output_past_the_other() {
        let output = Tensor::new(&[[1.0_f32], [3.0]], &Device::Cpu).unwrap();
        let joined =
            |scale| Guidance { scale }.join(&output).unwrap().to_vec2::<f32>().unwrap()[0][0];
        assert!((joined(0.0) - 1.0).abs() < 1e-6);
        assert!((joined(1.0) - 3.0).abs() < 1e-6);
        assert!((joined(7.0) - 15.0).abs() < 1e-6);
        let odd = Tensor::new(&[[1.0_f32]], &Device::Cpu).unwrap();
        assert!(Guidance::default().join(&odd).is_err());
    }

    #[test]
    fn clip_takes_part_in_the_last_half() {
        let active = |calls, ratio| {
            (0..calls).filter(|call| clip_is_active(*call, calls, ratio)).collect::<Vec<_>>()
        };
        assert_eq!(active(4, 0.5), [2, 3]);
        assert_eq!(active(5, 0.5), [3, 4]);
        assert_eq!(active(3, 1.0), [0, 1, 2]);
        assert!(active(3, 0.0).is_empty());
    }
}
