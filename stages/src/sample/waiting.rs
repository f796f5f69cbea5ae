//! Frames about which it is not known yet whether they begin a clip.
//!
//! A detector makes up its mind some frames later, so frames wait, as the decoder gave them out and
//! at no cost, until they are settled. That is rarely more than two; when a flickering picture
//! makes it more, the oldest are turned into the small pictures that somebody may want of them, so
//! that no more than [`MOST_DECODED`] of the decoder's buffers are held.

use std::collections::VecDeque;

use curate_media::{
    Converter, Filter, Frame as Decoded, GreyConverter, MediaError, PictureKind, PixelFormat, Size,
};
use curate_pipeline::{Frame, FrameNeed, Grey, Grid, Pairs, Vectors};

use super::raster::raster;

/// Decoded frames that may wait. A full-size grey picture is no smaller than what it is made of,
/// so there is no limit when such are wanted.
const MOST_DECODED: usize = 8;

/// What to make of frames, and what that reuses.
pub(super) struct Views {
    pub(super) need: FrameNeed,
    /// The need's grid and the thumbnails'.
    pub(super) grid: Grid,
    large: Converter,
    grey: GreyConverter,
}

impl Views {
    pub(super) fn new(need: FrameNeed, grid: Grid) -> Self {
        let large = Converter::new(PixelFormat::Rgb8);
        Self { need, grid, large, grey: GreyConverter::default() }
    }

    fn picture(&mut self, frame: &Decoded, size: Size) -> Result<Frame, MediaError> {
        let picture = frame.picture(&mut self.large, size, Filter::Area, true)?;
        let (width, height) = (picture.width, picture.height);
        Ok(Frame { pts: frame.pts, width, height, rgb: picture.data })
    }

    fn on_grid(&mut self, frame: &Decoded) -> Result<Frame, MediaError> {
        let (width, height) = frame.display_size();
        self.picture(frame, fit(width, height, self.grid.max_side))
    }

    fn for_pair(&mut self, frame: &Decoded, need: Pairs) -> Result<Frame, MediaError> {
        let (width, height) = frame.display_size();
        self.picture(frame, fit_short(width, height, need.short_side))
    }
}

/// A frame in whatever form it waits.
enum Form {
    Decoded(Decoded),
    Made(Box<Made>),
}

/// Everything that may be asked of a frame.
struct Made {
    grid: Frame,
    pair: Option<Frame>,
    kind: PictureKind,
    vectors: Option<Vectors>,
}

/// One frame of a unit.
pub(crate) struct Waiting {
    /// Number of the frame in its unit.
    pub(super) index: u64,
    pub(super) pts: i64,
    form: Form,
}

impl Waiting {
    /// The frame for the grid.
    pub(super) fn on_grid(&self, views: &mut Views) -> Result<Frame, MediaError> {
        match &self.form {
            Form::Decoded(frame) => views.on_grid(frame),
            Form::Made(made) => Ok(made.grid.clone()),
        }
    }

    /// The frame for a pair.
    pub(super) fn for_pair(&self, views: &mut Views, need: Pairs) -> Result<Frame, MediaError> {
        match &self.form {
            Form::Decoded(frame) => views.for_pair(frame, need),
            // Nobody asks for what was not needed.
            Form::Made(made) => Ok(made.pair.as_ref().unwrap_or(&made.grid).clone()),
        }
    }

    /// The frame in full size and grey.
    pub(super) fn grey(&self, views: &mut Views) -> Result<Option<Grey>, MediaError> {
        let Form::Decoded(frame) = &self.form else { return Ok(None) };
        let (size, data) = frame.grey(&mut views.grey)?;
        Ok(Some(Grey { pts: self.pts, width: size.width, height: size.height, data }))
    }

    pub(super) fn kind(&self) -> PictureKind {
        match &self.form {
            Form::Decoded(frame) => frame.kind(),
            Form::Made(made) => made.kind,
        }
    }

    /// The codec's vectors to earlier frames, without the time between.
    pub(super) fn vectors(&self) -> Option<Vectors> {
        match &self.form {
            Form::Decoded(frame) => raster(frame),
            Form::Made(made) => made.vectors.clone(),
        }
    }

    fn make(&mut self, views: &mut Views) -> Result<(), MediaError> {
        let Form::Decoded(frame) = &self.form else { return Ok(()) };
        let need = views.need;
        let made = Made {
            grid: views.on_grid(frame)?,
            pair: need.pairs.map(|pairs| views.for_pair(frame, pairs)).transpose()?,
            kind: frame.kind(),
            vectors: need.vectors.and_then(|_| raster(frame)),
        };
        self.form = Form::Made(Box::new(made));
        Ok(())
    }
}

/// The frames that wait, in order.
#[derive(Default)]
pub(super) struct Queue(VecDeque<Waiting>);

impl Queue {
    pub(super) fn push(
        &mut self,
        index: u64,
        frame: Decoded,
        views: &mut Views,
    ) -> Result<(), MediaError> {
        self.0.push_back(Waiting { index, pts: frame.pts, form: Form::Decoded(frame) });
        if self.0.len() > MOST_DECODED && views.need.chain.is_none() {
            let oldest = self.0.len() - 1 - MOST_DECODED;
            self.0[oldest].make(views)?;
        }
        Ok(())
    }

    /// The next frame, if its number is below `end`.
    pub(super) fn pop_before(&mut self, end: u64) -> Option<Waiting> {
        self.0.pop_front_if(|waiting| waiting.index < end)
    }
}

/// The largest size of the same shape whose longer side is at most `max_side`; never larger.
pub(crate) fn fit(width: u32, height: u32, max_side: u32) -> Size {
    shrink(width, height, f64::from(max_side) / f64::from(width.max(height).max(1)))
}

/// The largest size of the same shape whose shorter side is at most `short_side`, and whose longer
/// side is no more than [`Pairs::MOST_ASPECT`] times that; never larger.
fn fit_short(width: u32, height: u32, short_side: u32) -> Size {
    let short = f64::from(short_side) / f64::from(width.min(height).max(1));
    let long =
        f64::from(short_side) * f64::from(Pairs::MOST_ASPECT) / f64::from(width.max(height).max(1));
    shrink(width, height, short.min(long))
}

fn shrink(width: u32, height: u32, by: f64) -> Size {
    let side = |side: u32| (f64::from(side) * by.min(1.0)).round().max(1.0) as u32;
    Size::new(side(width), side(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_keep_their_shape() {
        assert_eq!(fit(1920, 1080, 320), Size::new(320, 180));
        assert_eq!(fit(100, 60, 320), Size::new(100, 60));
        assert_eq!(fit_short(1920, 1080, 256), Size::new(455, 256));
        assert_eq!(fit_short(1080, 1920, 256), Size::new(256, 455));
        assert_eq!(fit_short(320, 180, 256), Size::new(320, 180));
        assert_eq!(fit_short(8000, 400, 256), Size::new(1024, 51));
        assert_eq!(fit_short(5000, 1, 256), Size::new(1024, 1));
    }
}
