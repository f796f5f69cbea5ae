//! Getting to a place in a file: to a packet with which decoding may begin.

use std::ffi::c_int;

use ffmpeg_next::ffi;

use super::{Input, Read};
use crate::{MediaError, nal::Nal, packet::Packet};

/// Codecs of pictures with a palette that lies in the container.
const PALETTED: &[ffi::AVCodecID] = &[
    ffi::AVCodecID::AV_CODEC_ID_8BPS,
    ffi::AVCodecID::AV_CODEC_ID_CINEPAK,
    ffi::AVCodecID::AV_CODEC_ID_MSRLE,
    ffi::AVCodecID::AV_CODEC_ID_MSVIDEO1,
    ffi::AVCodecID::AV_CODEC_ID_QPEG,
    ffi::AVCodecID::AV_CODEC_ID_QTRLE,
    ffi::AVCodecID::AV_CODEC_ID_TSCC,
];

impl Input {
    /// Moves to a key packet at or before `pts` and returns it; the next read gives the one after
    /// it. `None`: there is none to find, and the file is read from its beginning again.
    ///
    /// Containers seek by decode time, by byte guesses or not at all, so the landing is checked
    /// and the target moved back until it is right.
    pub(crate) fn seek_before(&mut self, pts: i64) -> Result<Option<Packet>, MediaError> {
        let base = self.time_base();
        let start = self.stream(self.stream).start_time;
        let start = if start == ffi::AV_NOPTS_VALUE { 0 } else { start };
        let steps: &[f64] =
            if self.has_entries() { &[0.0, 1.0, 4.0, 16.0, 64.0, 256.0] } else { &[] };
        for back_seconds in steps {
            let target = pts.saturating_sub(base.ticks(*back_seconds));
            // SAFETY: an open context and one of its streams.
            let code = unsafe {
                ffi::av_seek_frame(
                    self.context,
                    self.stream as c_int,
                    target,
                    ffi::AVSEEK_FLAG_BACKWARD,
                )
            };
            if code < 0 {
                self.watch.check()?;
                break;
            }
            if let Some(packet) = self.next_key()?
                && packet.time().is_some_and(|time| time <= pts)
            {
                return Ok(Some(packet));
            }
            if target <= start {
                break;
            }
        }
        let wanted = self.stream;
        let flags = self.context().flags;
        *self = Self::open(&self.path, self.watch.access())?;
        if wanted >= self.streams() {
            return Err(MediaError::Decode {
                during: "seeking",
                reason: "the file changed while it was read".to_owned(),
            });
        }
        self.select(wanted);
        if flags & ffi::AVFMT_FLAG_GENPTS != 0 {
            self.complete_times();
        }
        Ok(None)
    }

    /// Like [`seek_before`](Self::seek_before), but moves on to the key packet at `pts` itself if
    /// there is one: transport streams are entered well before the wanted place.
    pub(crate) fn seek_to(&mut self, pts: i64) -> Result<Option<Packet>, MediaError> {
        let first = self.seek_before(pts)?;
        if !self.has_entries() || first.as_ref().is_some_and(|packet| packet.time() == Some(pts)) {
            return Ok(first);
        }
        let mut packet = Packet::new()?;
        while matches!(self.read(&mut packet)?, Read::Packet) {
            if packet.is_key() && packet.time() == Some(pts) && !packet.is_empty() {
                return Ok(Some(packet));
            }
            if packet.dts().or(packet.pts()).is_some_and(|time| time > pts) {
                break;
            }
        }
        self.seek_before(pts)
    }

    /// Like [`seek_to`](Self::seek_to), for whoever wants whole pictures from `pts` on: where they are
    /// renewed bit by bit from a key packet on, all are until the next one, and FFmpeg waits for a few more.
    pub(crate) fn seek_whole(&mut self, pts: i64) -> Result<Option<Packet>, MediaError> {
        let mut first = self.seek_to(pts)?;
        for _ in 0..2 {
            let refresh = first.as_ref().filter(|key| self.is_refresh(key));
            let Some(time) = refresh.and_then(Packet::time) else { break };
            first = self.seek_before(time.saturating_sub(1))?;
        }
        Ok(first)
    }

    /// Whether decoding may begin at key packets. If not, it begins where the file does: FFmpeg calls
    /// every packet of some codecs a key packet, except in MP4 and its kin, which have a list; and
    /// hands out a file's palette with its first packet only.
    pub(crate) fn has_entries(&self) -> bool {
        use ffi::AVCodecID as C;
        let parameters = self.parameters(self.stream);
        let codec = parameters.codec_id;
        let is_old = [C::AV_CODEC_ID_H261, C::AV_CODEC_ID_H263, C::AV_CODEC_ID_H263P];
        let unmarked = is_old.contains(&codec) && !self.container().contains("mp4")
            || [C::AV_CODEC_ID_RPZA, C::AV_CODEC_ID_SMC].contains(&codec);
        // 33 to 40 bits are 1 to 8 of grey in QuickTime, which has a palette for them too.
        let has_palette = PALETTED.contains(&codec)
            && matches!(parameters.bits_per_coded_sample, 1..=8 | 33..=40)
            || codec == C::AV_CODEC_ID_RAWVIDEO
                && parameters.format == ffi::AVPixelFormat::AV_PIX_FMT_PAL8 as c_int;
        !unmarked && !has_palette
    }

    /// Whether a refresh of H.264 begins with a packet of the chosen stream.
    pub(crate) fn is_refresh(&self, packet: &Packet) -> bool {
        Nal::new(self.parameters(self.stream)).is_some_and(|nal| nal.is_refresh(packet.data()))
    }

    fn next_key(&mut self) -> Result<Option<Packet>, MediaError> {
        let mut packet = Packet::new()?;
        while matches!(self.read(&mut packet)?, Read::Packet) {
            if packet.is_key() && !packet.is_empty() {
                return Ok(Some(packet));
            }
        }
        Ok(None)
    }
}
