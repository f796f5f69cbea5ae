//! Pictures that were made, not decoded, as a clip: what generators and procedural sets write.
//!
//! They take the way of transcoded clips (`render.rs`, `encode.rs`), so that the same pictures
//! always give the same bytes. Packets are kept until the end, pictures are not: memory grows with
//! what is written only.

use curate_schemas::{Span, TimeBase};
use ffmpeg_next::ffi;

use crate::{
    Encoding, Frame, MediaError, Picture, PixelFormat, clip::in_one_file, encode::Encoder,
    frame::AvFrame, init, mux::Like, packet::Packet, probe::ffmpeg_int, render::Renderer,
};

/// Encodes pictures, one after the other, as an MP4 in memory.
pub struct ClipWriter {
    encoding: Encoding,
    frame_time: TimeBase,
    running: Option<(Renderer, Encoder)>,
    packets: Vec<Packet>,
    frames: i64,
}

impl std::fmt::Debug for ClipWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClipWriter({} frames so far)", self.frames)
    }
}

impl ClipWriter {
    /// A writer of pictures of which each is shown for `frame_time`, so 1/24 for 24 per second.
    #[must_use]
    pub const fn new(encoding: Encoding, frame_time: TimeBase) -> Self {
        Self { encoding, frame_time, running: None, packets: Vec::new(), frames: 0 }
    }

    /// Appends a picture. All are shown at the first one's size, less an odd row or column.
    ///
    /// # Errors
    /// `convert` for pictures that are none, `filter` and `encode` with their reasons.
    pub fn push(&mut self, picture: &Picture) -> Result<(), MediaError> {
        picture.shape()?;
        let format = match picture.format {
            PixelFormat::Bgr8 => ffi::AVPixelFormat::AV_PIX_FMT_BGR24,
            PixelFormat::Rgb8 => ffi::AVPixelFormat::AV_PIX_FMT_RGB24,
        };
        let size = (ffmpeg_int(picture.width)?, ffmpeg_int(picture.height)?);
        let pixels = AvFrame::packed(size, format, 3, &picture.data)?;
        let frame = Frame::made(pixels, self.frames, self.frame_time);
        let (mut renderer, open) = match self.running.take() {
            Some((renderer, encoder)) => (renderer, Some(encoder)),
            None => {
                init();
                (Renderer::new(&frame, &self.encoding)?, None)
            }
        };
        let shown = renderer.render(&frame)?;
        let encoder = match open {
            Some(encoder) => encoder,
            None => {
                let fps = self.frame_time.seconds(1).recip();
                Encoder::open(&self.encoding, shown.get(), self.frame_time, Some(fps))?
            }
        };
        let (_, encoder) = self.running.insert((renderer, encoder));
        encoder.encode(Some((&shown, self.frames)), &mut self.packets)?;
        self.frames += 1;
        Ok(())
    }

    /// The file.
    ///
    /// # Errors
    /// `mux` when there was no picture; `encode` and `mux` with their reasons.
    pub fn finish(mut self) -> Result<Vec<u8>, MediaError> {
        let Some((_, mut encoder)) = self.running.take() else {
            return Err(MediaError::mux("there is no picture to write"));
        };
        encoder.encode(None, &mut self.packets)?;
        for packet in &mut self.packets {
            packet.set_duration(1);
        }
        let length = Span { start: 0, end: self.frames, time_base: self.frame_time };
        in_one_file(Like::Encoder(&encoder), self.packets, &length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Converter, DecodeOptions, Decoder, Filter};

    /// A picture whose right part is red, and the more of it the later.
    fn picture(time: u32) -> Picture {
        let data = (0..48 * 64)
            .flat_map(|at| if at % 64 >= 60 - 4 * time { [220, 30, 40] } else { [90, 100, 120] })
            .collect();
        Picture { width: 64, height: 48, format: PixelFormat::Rgb8, data }
    }

    fn film(frames: u32) -> Vec<u8> {
        let tick = TimeBase::new(1001, 24_000).unwrap();
        let mut writer = ClipWriter::new(Encoding { crf: 8.0, ..Encoding::default() }, tick);
        (0..frames).for_each(|time| writer.push(&picture(time)).unwrap());
        writer.finish().unwrap()
    }

    #[test]
    fn pictures_come_back_at_their_times() {
        let bytes = film(12);
        assert_eq!(bytes, film(12), "the same pictures gave other bytes");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.mp4");
        std::fs::write(&path, bytes).unwrap();
        let mut decoder = Decoder::open(&path, &DecodeOptions::default()).unwrap();
        let fps = decoder.info().video.avg_fps.unwrap();
        assert!((fps - 24_000.0 / 1001.0).abs() < 1e-6, "{fps}");
        let mut converter = Converter::new(PixelFormat::Rgb8);
        let mut time = 0;
        while let Some(frame) = decoder.next_frame().unwrap() {
            assert!((frame.seconds() - f64::from(time) * 1001.0 / 24_000.0).abs() < 1e-9);
            let wanted = picture(time);
            let seen = frame.picture(&mut converter, wanted.size(), Filter::Linear, true).unwrap();
            let far = wanted.data.iter().zip(&seen.data).filter(|(a, b)| a.abs_diff(**b) > 12);
            // Colours have half of the size, so edges are soft.
            let share = far.count() as f64 / seen.data.len() as f64;
            assert!(share < 0.04, "picture {time}: {share}");
            time += 1;
        }
        assert_eq!(time, 12);
    }

    #[test]
    fn nothing_and_nonsense_are_refused() {
        let tick = TimeBase::new(1, 8).unwrap();
        assert!(ClipWriter::new(Encoding::default(), tick).finish().is_err());
        let short = Picture { data: vec![0; 7], ..picture(0) };
        assert!(ClipWriter::new(Encoding::default(), tick).push(&short).is_err());
    }
}
