//! Frames of a file, whatever it is: the one analysis decode.
//!
//! Behind it are FFmpeg (`stream.rs`) and, for what FFmpeg before 8 does not read, animated WebP
//! (`webp.rs`). Interlaced pictures are made whole here, so that nobody after it sees fields.

use std::path::Path;

use curate_schemas::TimeBase;

use crate::{
    DecodeOptions, Frame, MediaError, SourceInfo, Stats, fields::Fields, stream::Stream,
    webp::Animation,
};

/// Where frames come from.
enum Source {
    Stream(Box<Stream>),
    WebP(Box<Animation>),
}

/// Decodes one video track.
pub struct Decoder {
    source: Source,
    fields: Fields,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let frames = self.stats().frames;
        write!(f, "Decoder({}, {frames} frames so far)", self.info().video.codec)
    }
}

impl Decoder {
    /// Opens a file for decoding.
    ///
    /// # Errors
    /// Those of [`probe`](crate::probe()), `unsupported_codec`, and `decode` if the decoder does
    /// not start.
    pub fn open(path: &Path, options: &DecodeOptions) -> Result<Self, MediaError> {
        let source = match Animation::open(path, options)? {
            Some(animation) => Source::WebP(Box::new(animation)),
            None => Source::Stream(Box::new(Stream::open(path, options)?)),
        };
        Ok(Self { source, fields: Fields::new(options.interlaced) })
    }

    /// What the file is.
    #[must_use]
    pub fn info(&self) -> &SourceInfo {
        match &self.source {
            Source::Stream(stream) => stream.info(),
            Source::WebP(animation) => animation.info(),
        }
    }

    /// Seconds per tick of the frames' PTS.
    #[must_use]
    pub fn time_base(&self) -> TimeBase {
        self.info().video.time_base
    }

    /// What decoding came to so far; complete after [`next_frame`](Self::next_frame) gave `None`.
    #[must_use]
    pub fn stats(&self) -> Stats {
        match &self.source {
            Source::Stream(stream) => stream.stats(),
            Source::WebP(animation) => animation.stats(),
        }
    }

    /// Whether something was wrong so far: with several threads the frames may differ from run to run
    /// then.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        let stats = self.stats();
        stats.errors > 0 || stats.complaints > 0
    }

    /// The next frame in presentation order, or `None` at the end.
    ///
    /// # Errors
    /// `timeout` if no frame came within the deadline, `cancelled`, `memory`, `interlaced` where
    /// that is refused, `filter`. Damaged data is skipped and counted instead.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, MediaError> {
        if let Source::Stream(stream) = &self.source {
            stream.arm();
        }
        loop {
            if let Some(frame) = self.fields.next() {
                return Ok(Some(frame));
            }
            if self.fields.has_ended() {
                return Ok(None);
            }
            let decoded = match &mut self.source {
                Source::Stream(stream) => stream.next_frame()?,
                Source::WebP(animation) => animation.next_frame()?,
            };
            match decoded {
                Some(frame) => self.fields.push(frame)?,
                None => self.fields.end()?,
            }
        }
    }
}
