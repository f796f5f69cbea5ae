//! An owned compressed packet.
//!
//! A thin owner over FFmpeg's structure: what the rest of the crate needs to know of a packet, as
//! plain values, with "unknown" as `None` instead of a magic number.

use ffmpeg_next::ffi;

use crate::MediaError;

/// A demuxed packet; its data are reference counted by FFmpeg.
pub(crate) struct Packet(*mut ffi::AVPacket);

// SAFETY: packets are plain data with atomically counted buffers.
unsafe impl Send for Packet {}

fn known(time: i64) -> Option<i64> {
    (time != ffi::AV_NOPTS_VALUE).then_some(time)
}

impl Packet {
    pub(crate) fn new() -> Result<Self, MediaError> {
        // SAFETY: a plain allocation.
        let packet = unsafe { ffi::av_packet_alloc() };
        if packet.is_null() {
            return Err(MediaError::Memory { during: "a packet" });
        }
        Ok(Self(packet))
    }

    fn get(&self) -> &ffi::AVPacket {
        // SAFETY: allocated in `new`, freed in `drop`.
        unsafe { &*self.0 }
    }

    #[expect(clippy::needless_pass_by_ref_mut, reason = "FFmpeg writes through the pointer")]
    pub(crate) fn as_mut_ptr(&mut self) -> *mut ffi::AVPacket {
        self.0
    }

    pub(crate) fn as_ptr(&self) -> *const ffi::AVPacket {
        self.0
    }

    /// Another owner of the same data.
    pub(crate) fn reference(&self) -> Result<Self, MediaError> {
        let copy = Self::new()?;
        // SAFETY: a blank packet and a valid one.
        if unsafe { ffi::av_packet_ref(copy.0, self.0) } < 0 {
            return Err(MediaError::Memory { during: "a packet" });
        }
        Ok(copy)
    }

    /// Frees the contents.
    pub(crate) fn clear(&mut self) {
        // SAFETY: a valid packet.
        unsafe { ffi::av_packet_unref(self.0) };
    }

    pub(crate) fn stream(&self) -> usize {
        usize::try_from(self.get().stream_index).unwrap_or(usize::MAX)
    }

    pub(crate) fn pts(&self) -> Option<i64> {
        known(self.get().pts)
    }

    pub(crate) fn dts(&self) -> Option<i64> {
        known(self.get().dts)
    }

    /// Presentation time, or decode time where the container knows no other.
    pub(crate) fn time(&self) -> Option<i64> {
        self.pts().or_else(|| self.dts())
    }

    /// Ticks, 0 if unknown.
    pub(crate) fn duration(&self) -> i64 {
        self.get().duration.max(0)
    }

    pub(crate) fn is_key(&self) -> bool {
        self.get().flags & ffi::AV_PKT_FLAG_KEY != 0
    }

    /// Whether the container says that its frame is decoded but not shown.
    pub(crate) fn is_hidden(&self) -> bool {
        self.get().flags & ffi::AV_PKT_FLAG_DISCARD != 0
    }

    /// Whether the demuxer found that it is not whole.
    pub(crate) fn is_corrupt(&self) -> bool {
        self.get().flags & ffi::AV_PKT_FLAG_CORRUPT != 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.get().size <= 0 || self.get().data.is_null()
    }

    pub(crate) fn data(&self) -> &[u8] {
        if self.is_empty() {
            return &[];
        }
        // SAFETY: FFmpeg guarantees `size` readable bytes at `data`.
        unsafe { std::slice::from_raw_parts(self.get().data, self.get().size as usize) }
    }

    /// The bytes for writing, copied first if something else refers to them.
    pub(crate) fn data_mut(&mut self) -> Result<&mut [u8], MediaError> {
        if self.is_empty() {
            return Ok(&mut []);
        }
        // SAFETY: a valid packet; after success the buffer is ours alone.
        unsafe {
            if ffi::av_packet_make_writable(self.0) < 0 {
                return Err(MediaError::Memory { during: "a packet" });
            }
            Ok(std::slice::from_raw_parts_mut((*self.0).data, (*self.0).size as usize))
        }
    }

    /// The decoder configuration that comes into force with this packet, if it changes.
    pub(crate) fn new_configuration(&self) -> Option<&[u8]> {
        let mut size = 0;
        // SAFETY: side data belongs to the packet and lives as long as it.
        unsafe {
            let data = ffi::av_packet_get_side_data(
                self.0,
                ffi::AVPacketSideDataType::AV_PKT_DATA_NEW_EXTRADATA,
                &raw mut size,
            );
            (!data.is_null()).then(|| std::slice::from_raw_parts(data, size))
        }
    }

    /// How long its picture is shown, in ticks.
    pub(crate) fn set_duration(&mut self, duration: i64) {
        // SAFETY: a valid packet that `self` owns.
        unsafe { (*self.0).duration = duration };
    }

    /// Sets both times and the duration, in the ticks of the stream it is going to.
    pub(crate) fn set_times(&mut self, pts: i64, dts: i64, duration: i64) {
        // SAFETY: a valid packet that `self` owns.
        let packet = unsafe { &mut *self.0 };
        packet.pts = pts;
        packet.dts = dts;
        packet.duration = duration;
        packet.pos = -1;
        packet.stream_index = 0;
        packet.flags &= !ffi::AV_PKT_FLAG_DISCARD;
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: allocated by av_packet_alloc and freed once.
        unsafe { ffi::av_packet_free(&raw mut self.0) };
    }
}
