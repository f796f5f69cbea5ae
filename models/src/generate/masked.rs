//! What a network of 12 channels is told of known frames: latents of a mask, and of the video with
//! unknown frames blacked out (the published pipeline, and section 3.2 of the paper).
//!
//! The mask is a video of its own, 1 where nothing is known, its three channels alike and its values
//! not moved to [-1, 1]: as published. Both videos are drawn from the VAE's posteriors.
//!
//! The published pipeline encodes two whole videos even when no frame is known. Where slices are
//! encoded by themselves, those without a known frame are all alike and are encoded once.

use candle_core::{DType, Device, Tensor};

use super::{GenerateError, Known, Settings};
use crate::vae::{Chunking, Session as _, SliceVae};

/// What unknown frames are in the masked video.
const BLACK: f64 = -1.0;

/// Moments of a mask's and a masked video's latents, `[1, 8, F, h, w]` each.
#[derive(Clone, Debug)]
pub struct MaskedVideo {
    /// Of the mask.
    pub mask: Tensor,
    /// Of the masked video.
    pub video: Tensor,
}

impl MaskedVideo {
    /// Encodes both; `settings` say how long and large the clip is.
    ///
    /// # Errors
    /// When known frames are of another size, or candle fails.
    pub fn new(
        vae: &SliceVae,
        settings: &Settings,
        known: &Known,
        (device, dtype): (&Device, DType),
    ) -> Result<Self, GenerateError> {
        let layout = Layout::new(settings, known, (device, dtype));
        Ok(Self {
            mask: moments(vae, &layout, |from, count| layout.mask(from, count))?,
            video: moments(vae, &layout, |from, count| layout.video(from, count))?,
        })
    }
}

/// Which frames are known.
struct Layout<'a> {
    settings: &'a Settings,
    start: Option<&'a Tensor>,
    end: Option<&'a Tensor>,
    /// The first unknown frame, and the first known one after it.
    unknown: std::ops::Range<usize>,
    device: &'a Device,
    dtype: DType,
}

impl<'a> Layout<'a> {
    fn new(settings: &'a Settings, known: &'a Known, (device, dtype): (&'a Device, DType)) -> Self {
        let count = |frames: Option<&Tensor>| frames.map_or(0, |frames| frames.dims()[1]);
        let (start, end) = (known.start.as_ref(), known.end.as_ref());
        let unknown = count(start)..settings.frames - count(end);
        Self { settings, start, end, unknown, device, dtype }
    }

    fn is_unknown(&self, from: usize, count: usize) -> bool {
        self.unknown.start <= from && from + count <= self.unknown.end
    }

    fn constant(&self, value: f64, count: usize) -> Result<Tensor, GenerateError> {
        let shape = (1, 3, count, self.settings.height, self.settings.width);
        Ok(Tensor::full(value as f32, shape, self.device)?.to_dtype(self.dtype)?)
    }

    /// Frames of the mask.
    fn mask(&self, from: usize, count: usize) -> Result<Tensor, GenerateError> {
        self.pieces(from, count, |range, is_unknown| {
            self.constant(f64::from(u8::from(is_unknown)), range.len())
        })
    }

    /// Frames of the masked video.
    fn video(&self, from: usize, count: usize) -> Result<Tensor, GenerateError> {
        self.pieces(from, count, |range, is_unknown| {
            if is_unknown {
                return self.constant(BLACK, range.len());
            }
            let (frames, first) = match (self.start, self.end) {
                (Some(start), _) if range.start < self.unknown.start => (start, 0),
                (_, Some(end)) => (end, self.unknown.end),
                _ => return self.constant(BLACK, range.len()),
            };
            let frames = frames.narrow(1, range.start - first, range.len())?.unsqueeze(0)?;
            Ok(frames.to_device(self.device)?.to_dtype(self.dtype)?)
        })
    }

    /// Joins the known and unknown parts of a span.
    fn pieces(
        &self,
        from: usize,
        count: usize,
        make: impl Fn(std::ops::Range<usize>, bool) -> Result<Tensor, GenerateError>,
    ) -> Result<Tensor, GenerateError> {
        let to = from + count;
        let (first, last) = (self.unknown.start.clamp(from, to), self.unknown.end.clamp(from, to));
        let mut parts = Vec::new();
        for (range, is_unknown) in [(from..first, false), (first..last, true), (last..to, false)] {
            if !range.is_empty() {
                parts.push(make(range, is_unknown)?);
            }
        }
        Ok(Tensor::cat(&parts, 2)?)
    }
}

/// Moments of a video that is made a piece at a time.
fn moments(
    vae: &SliceVae,
    layout: &Layout<'_>,
    frames: impl Fn(usize, usize) -> Result<Tensor, GenerateError>,
) -> Result<Tensor, GenerateError> {
    let total = layout.settings.frames;
    let passes = vae.config().encoder_passes(total)?;
    let are_alone = matches!(vae.config().chunking, Chunking::Slice { .. });
    let mut session = vae.encoding(total)?;
    // By number of frames: an image and a slice.
    let mut plain: Vec<(usize, Tensor)> = Vec::new();
    let (mut parts, mut from) = (Vec::new(), 0);
    for pass in passes {
        let count = pass.frames;
        let is_plain = are_alone && layout.is_unknown(from, count);
        let seen = plain.iter().find(|(frames, _)| is_plain && *frames == count);
        let piece = match seen {
            Some((_, piece)) => Some(piece.clone()),
            None if are_alone => {
                let piece = vae.moments(&frames(from, count)?)?;
                if is_plain {
                    plain.push((count, piece.clone()));
                }
                Some(piece)
            }
            None => {
                parts.extend(session.push(&frames(from, count)?)?);
                None
            }
        };
        parts.extend(piece);
        from += count;
    }
    if !are_alone {
        parts.extend(session.finish()?);
    }
    Ok(Tensor::cat(&parts, 2)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        generate::ModelCard,
        params::Params,
        vae::{SliceVae, VaeConfig},
    };

    fn settings(frames: usize) -> Settings {
        let card = ModelCard::published(&crate::dit::Config::tiny());
        Settings { width: 16, height: 16, frames, ..Settings::of(&card) }
    }

    fn ramp(count: usize, from: f32) -> Tensor {
        let values: Vec<f32> =
            (0..3 * count * 256).map(|i| from + (i % 97) as f32 / 97.0 - 0.5).collect();
        Tensor::from_vec(values, (3, count, 16, 16), &Device::Cpu).unwrap()
    }

    /// As the published pipeline does it: both videos whole.
    fn whole(vae: &SliceVae, settings: &Settings, known: &Known) -> [Tensor; 2] {
        let count = |frames: &Option<Tensor>| frames.as_ref().map_or(0, |f| f.dims()[1]);
        let (first, last) = (count(&known.start), count(&known.end));
        let middle = settings.frames - first - last;
        let black = Tensor::full(-1.0_f32, (3, middle, 16, 16), &Device::Cpu).unwrap();
        let parts: Vec<Tensor> =
            [known.start.clone(), Some(black), known.end.clone()].into_iter().flatten().collect();
        let video = Tensor::cat(&parts, 1).unwrap().unsqueeze(0).unwrap();
        let mask: Vec<f32> = (0..settings.frames)
            .map(|frame| f32::from(u8::from(frame >= first && frame < first + middle)))
            .collect();
        let mask = Tensor::from_vec(mask, (1, 1, settings.frames, 1, 1), &Device::Cpu).unwrap();
        let mask = mask.broadcast_as((1, 3, settings.frames, 16, 16)).unwrap();
        [&mask.contiguous().unwrap(), &video].map(|video| vae.moments(video).unwrap())
    }

    #[test]
    fn slices_that_are_alike_are_encoded_once_and_nothing_else_changes() {
        for name in ["tiny", "tiny-carried"] {
            let config = VaeConfig::preset(name).unwrap();
            let mut params = Params::seeded(3, &Device::Cpu);
            let vae = params.build(|scope| SliceVae::new(&config, scope)).unwrap();
            for (frames, start, end) in [(25, 0, 0), (25, 1, 0), (25, 4, 3), (17, 0, 9)] {
                let settings = settings(frames);
                let known = Known {
                    start: (start > 0).then(|| ramp(start, 0.1)),
                    end: (end > 0).then(|| ramp(end, -0.2)),
                };
                let masked =
                    MaskedVideo::new(&vae, &settings, &known, (&Device::Cpu, DType::F32)).unwrap();
                let wanted = whole(&vae, &settings, &known);
                for (found, wanted) in [&masked.mask, &masked.video].into_iter().zip(&wanted) {
                    let gap = (found - wanted).unwrap().abs().unwrap().max_all().unwrap();
                    let gap = gap.to_scalar::<f32>().unwrap();
                    assert!(gap < 1e-5, "{name} {frames} {start} {end}: {gap}");
                }
            }
        }
    }
}
