//! What causal convolutions remember from chunk to chunk.
//!
//! The authors' V4 report has it in place of neighbouring latents: each convolution along time keeps
//! the last frames of its input, and the next chunk is put behind them. The result is that of the
//! whole video at once, in the memory of one chunk, as long as nothing else looks across frames.
//!
//! Slots are found by the order of calls, which is the same for each chunk. Decided against slots
//! inside the layers: a network could then serve one video at a time, and tiles would mix.

use candle_core::Tensor;
use curate_ops::{PadMode, pad_time};

/// The memory of one pass over a video, or over one tile of it.
#[derive(Clone, Debug, Default)]
pub struct Carry {
    slots: Vec<Tensor>,
    next: usize,
}

impl Carry {
    /// At the first frame of a video.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Must come before each chunk.
    pub(super) fn rewind(&mut self) {
        self.next = 0;
    }

    /// Bytes that are kept for the next chunk.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let bytes = |slot: &Tensor| slot.elem_count() * slot.dtype().size_in_bytes();
        self.slots.iter().map(bytes).sum()
    }

    /// Puts `x` behind what the same layer kept of the chunk before, and keeps the last `kept`
    /// frames of the two. At the first chunk the first frame, `reach` times over, takes that place.
    ///
    /// What is kept is off the graph: gradients stay within a chunk.
    pub(super) fn join(
        &mut self,
        x: &Tensor,
        reach: usize,
        kept: usize,
    ) -> candle_core::Result<Tensor> {
        let joined = match self.slots.get(self.next) {
            Some(before) => Tensor::cat(&[before, x], 2)?,
            None => pad_time(x, reach, 0, PadMode::Replicate)?,
        };
        let last = joined.narrow(2, joined.dim(2)? - kept, kept)?.detach().contiguous()?;
        match self.slots.get_mut(self.next) {
            Some(slot) => *slot = last,
            None => self.slots.push(last),
        }
        self.next += 1;
        Ok(joined)
    }

    /// Whether the next layer to ask has seen no frame yet.
    pub(super) fn is_first(&self) -> bool {
        self.next >= self.slots.len()
    }
}
