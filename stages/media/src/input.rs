//! An open file and its packets: the owning side of FFmpeg's demuxer.
//!
//! FFmpeg's own safe wrappers want UTF-8 paths and have no interrupt callback, so the few calls
//! are made directly. A path goes in as its bytes behind `file:`, so that no name is taken for a
//! protocol ("rec:1.mp4", "-", "http:"). The settings are those of the `ffmpeg` program, because
//! "as many frames as ffmpeg" is what this crate promises.

mod seek;

use std::{
    ffi::{CStr, CString, c_int},
    fs,
    io::Read as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    ptr,
    sync::Arc,
    time::Duration,
};

use curate_schemas::TimeBase;
use ffmpeg_next::ffi;

use crate::{
    Access, DecodeOptions, MediaError,
    access::Watch,
    error::describe,
    log::{Tap, init},
    packet::Packet,
    probe::text,
    still,
};

/// What a read came to.
pub(crate) enum Read {
    /// A packet of the wanted stream.
    Packet,
    /// The file ended as it should.
    End,
    /// The demuxer gave up; what was read so far is good.
    Failed(String),
}

/// A demuxer with one wanted stream.
pub(crate) struct Input {
    context: *mut ffi::AVFormatContext,
    /// Kept alive for the interrupt callback.
    watch: Arc<Watch>,
    tap: Tap,
    path: PathBuf,
    stream: usize,
    /// Entries of the stream's index when it was chosen.
    entries: c_int,
    /// Whether it has told something that it tells once only, or reading failed.
    is_spent: bool,
}

// SAFETY: a demuxer has no ties to the thread that opened it; it is used by one owner at a time.
unsafe impl Send for Input {}

impl Input {
    /// Opens a file and reads its header, without looking further for what the header leaves out.
    pub(crate) fn open_header(path: &Path, access: &Access) -> Result<Self, MediaError> {
        init();
        let io = |source| MediaError::Io { path: path.to_owned(), source };
        // Asked of the system first: whether a failure is the disk's or the file's decides
        // whether trying again makes sense, and FFmpeg's answer does not tell.
        // Pipes and devices are refused before they can block.
        let about = fs::metadata(path).map_err(io)?;
        if !about.is_file() {
            let what = if about.is_dir() { "it is a folder" } else { "it is not a regular file" };
            return Err(io(std::io::Error::new(std::io::ErrorKind::InvalidInput, what)));
        }
        let mut head = [0; 12];
        let mut file = fs::File::open(path).map_err(io)?;
        if file.read_exact(&mut head).is_ok() && is_heif(&head) {
            let reason = "AVIF and HEIC pictures are not read, as FFmpeg 5 neither joins their tiles nor \
                          turns them upright: convert it to PNG or JPEG";
            return Err(MediaError::Open { path: path.to_owned(), reason: reason.to_owned() });
        }
        let mut url = b"file:".to_vec();
        url.extend_from_slice(path.as_os_str().as_bytes());
        let url = CString::new(url)
            .map_err(|error| io(std::io::Error::new(std::io::ErrorKind::InvalidInput, error)))?;

        let watch = Arc::new(Watch::new(access.clone()));
        let tap = Tap::new();
        let fail = |code: c_int| MediaError::Open {
            path: path.to_owned(),
            reason: tap.last().unwrap_or_else(|| describe(code)),
        };
        let mut context;
        // SAFETY: plain calls of the demuxing API in its documented order; the callback's data is
        // the `Watch` stored beside the context. avformat_open_input frees the context when it
        // fails, and the dictionary is ours either way.
        unsafe {
            context = ffi::avformat_alloc_context();
            if context.is_null() {
                return Err(MediaError::Memory { during: "opening a file" });
            }
            (*context).interrupt_callback = watch.callback();
            (*context).opaque = tap.token();
            let mut options = ptr::null_mut();
            ffi::av_dict_set(&raw mut options, c"scan_all_pmts".as_ptr(), c"1".as_ptr(), 0);
            let code = ffi::avformat_open_input(
                &raw mut context,
                url.as_ptr(),
                ptr::null(),
                &raw mut options,
            );
            ffi::av_dict_free(&raw mut options);
            if code < 0 {
                watch.check()?;
                return Err(fail(code));
            }
        }
        // From here on dropping closes it.
        Ok(Self {
            context,
            watch,
            tap,
            path: path.to_owned(),
            stream: usize::MAX,
            entries: 0,
            is_spent: false,
        })
    }

    /// Opens a file and reads as much of it as FFmpeg needs to know its streams, which may mean
    /// decoding some of it.
    pub(crate) fn open(path: &Path, access: &Access) -> Result<Self, MediaError> {
        let most = DecodeOptions::default().most_pixels_aligned();
        Self::open_header(path, access)?.look(most)
    }

    /// Reads on until FFmpeg knows the streams; what is decoded for it has so many pixels at most.
    pub(crate) fn look(self, most_pixels: i64) -> Result<Self, MediaError> {
        let mut input = self;
        // What is said while looking at streams is no fault of the file's.
        let tap = std::mem::replace(&mut input.tap, Tap::new());
        let mut options: Vec<*mut ffi::AVDictionary> = vec![ptr::null_mut(); input.streams()];
        // SAFETY: the context is open, there is a dictionary for each stream that it has so far,
        // and the dictionaries are ours to free.
        let code = unsafe {
            for options in &mut options {
                ffi::av_dict_set_int(options, c"max_pixels".as_ptr(), most_pixels, 0);
            }
            let code = ffi::avformat_find_stream_info(input.context, options.as_mut_ptr());
            for options in &mut options {
                ffi::av_dict_free(options);
            }
            code
        };
        input.watch.check()?;
        if input.streams() == 0 {
            let reason = tap.last().unwrap_or_else(|| describe(code.min(0)));
            return Err(MediaError::Open { path: input.path.clone(), reason });
        }
        input.tap = tap;
        Ok(input)
    }

    /// Whether the header alone states, for every video stream, a length of at most `limit`.
    pub(crate) fn states_at_most(&self, limit: Duration) -> bool {
        let mut lengths = (0..self.streams())
            .filter(|index| {
                let kind = self.parameters(*index).codec_type;
                kind == ffi::AVMediaType::AVMEDIA_TYPE_VIDEO
            })
            .map(|index| {
                let stream = self.stream(index);
                let base = TimeBase::new(stream.time_base.num, stream.time_base.den)?;
                (stream.duration > 0).then(|| base.seconds(stream.duration))
            })
            .peekable();
        lengths.peek().is_some()
            && lengths.all(|length| length.is_some_and(|length| length <= limit.as_secs_f64()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(crate) fn context(&self) -> &ffi::AVFormatContext {
        // SAFETY: open until drop, and only changed through `&mut self`.
        unsafe { &*self.context }
    }

    pub(crate) fn streams(&self) -> usize {
        self.context().nb_streams as usize
    }

    pub(crate) fn stream(&self, index: usize) -> &ffi::AVStream {
        assert!(index < self.streams(), "stream {index} of {}", self.streams());
        // SAFETY: FFmpeg keeps `nb_streams` valid pointers in the array.
        unsafe { &**self.context().streams.add(index) }
    }

    pub(crate) fn parameters(&self, index: usize) -> &ffi::AVCodecParameters {
        // SAFETY: every stream owns its parameters from creation to the end.
        unsafe { &*self.stream(index).codecpar }
    }

    /// The wanted stream's seconds per tick.
    pub(crate) fn time_base(&self) -> TimeBase {
        let base = self.stream(self.stream).time_base;
        TimeBase::new(base.num, base.den).unwrap_or(TimeBase { num: 1, den: 1_000_000 })
    }

    /// Has the demuxer hand out the packets of one stream only.
    pub(crate) fn select(&mut self, wanted: usize) {
        self.stream = wanted;
        for index in 0..self.streams() {
            let discard = if index == wanted {
                ffi::AVDiscard::AVDISCARD_NONE
            } else {
                ffi::AVDiscard::AVDISCARD_ALL
            };
            // SAFETY: a valid stream pointer (see `stream`), and `self` is borrowed mutably.
            unsafe { (**(*self.context).streams.add(index)).discard = discard };
        }
        self.entries = self.count_entries();
    }

    /// FFmpeg's name of the container.
    pub(crate) fn container(&self) -> String {
        // SAFETY: an open demuxer has a format, and its name is a constant string.
        text(unsafe { (*self.context().iformat).name }).unwrap_or_default()
    }

    /// Whether the file is a still picture, as the container says.
    pub(crate) fn is_still(&self) -> bool {
        still::is_still(&self.container(), &self.path)
    }

    /// Whether times may begin anew within a file of this container.
    pub(crate) fn may_restart(&self) -> bool {
        // SAFETY: an open demuxer has a format.
        unsafe { (*self.context().iformat).flags & ffi::AVFMT_TS_DISCONT as c_int != 0 }
    }

    /// Has the demuxer fill in the presentation times that MPEG program and transport streams leave
    /// out: those that follow from decode times. Where a container knows decode times only, as
    /// AVI does, nothing follows from them, and what FFmpeg would fill in is wrong.
    pub(crate) fn complete_times(&mut self) {
        // SAFETY: an open demuxer has a format, and its name is a constant string.
        let format = unsafe { CStr::from_ptr((*self.context().iformat).name) };
        if format == c"mpeg" || format == c"mpegts" {
            // SAFETY: the context is open, and `self` is borrowed mutably.
            unsafe { (*self.context).flags |= ffi::AVFMT_FLAG_GENPTS };
        }
    }

    /// Whether it gives the same packets after a seek as one that was opened just now would: MP4 and its
    /// kin do as long as all that they know of a packet is in the header's tables, and these are whole
    /// ([`tell_of_every_sample`](crate::tables::tell_of_every_sample)). Others, and these where fragments
    /// follow, learn while they read.
    pub(crate) fn is_as_opened(&self) -> bool {
        let has_tables = self.container().contains("mp4") && self.stream(self.stream).nb_frames > 0;
        has_tables && !self.is_spent && self.count_entries() == self.entries
    }

    /// Entries of the chosen stream's index.
    fn count_entries(&self) -> c_int {
        // SAFETY: a valid stream, whose index is only counted.
        unsafe { ffi::avformat_index_get_entries_count(self.stream(self.stream)) }
    }

    /// How many error lines the demuxer logged.
    pub(crate) fn complaints(&self) -> u64 {
        self.tap.count()
    }

    /// The demuxer's newest error line.
    pub(crate) fn last_complaint(&self) -> Option<String> {
        self.tap.last()
    }

    /// What was wrong with reading to the end: why it stopped early, or what was complained of beyond
    /// the first `known` complaints.
    pub(crate) fn failure(&self, stopped: Option<String>, known: u64) -> Option<String> {
        let complained = self.complaints() > known;
        stopped.or_else(|| complained.then(|| self.last_complaint().unwrap_or_default()))
    }

    /// Reads the next packet of the wanted stream into `packet`.
    pub(crate) fn read(&mut self, packet: &mut Packet) -> Result<Read, MediaError> {
        loop {
            self.watch.check()?;
            packet.clear();
            // SAFETY: both are valid, and the packet is blank.
            let code = unsafe { ffi::av_read_frame(self.context, packet.as_mut_ptr()) };
            if code == ffi::AVERROR(ffi::EAGAIN) {
                continue;
            }
            if code == ffi::AVERROR_EOF {
                return Ok(Read::End);
            }
            if code < 0 {
                self.is_spent = true;
                self.watch.check()?;
                let reason = self.last_complaint().unwrap_or_else(|| describe(code));
                return Ok(Read::Failed(reason));
            }
            if packet.stream() == self.stream {
                // It is told once, and not again to whoever comes back to this place.
                self.is_spent |= packet.new_configuration().is_some();
                return Ok(Read::Packet);
            }
        }
    }
}

/// Whether a file begins as HEIF pictures do (ISO 23008-12; AVIF and HEIC are kinds of it): with a box
/// of its type, and in it one of their brands.
fn is_heif(head: &[u8; 12]) -> bool {
    let brands = [b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1"];
    &head[4..8] == b"ftyp" && brands.iter().any(|brand| head[8..] == brand[..])
}

impl Drop for Input {
    fn drop(&mut self) {
        // SAFETY: opened by us and not closed before.
        unsafe { ffi::avformat_close_input(&raw mut self.context) };
    }
}
