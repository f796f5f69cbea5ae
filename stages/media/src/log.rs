//! Start-up of the native libraries, and where FFmpeg's log goes.
//!
//! FFmpeg prints to stderr by default, which belongs to the user; its lines become `tracing`
//! events with target `ffmpeg` instead. A file's own error lines are also kept beside the file,
//! because they say what a bare error number does not. FFmpeg's contexts carry one user pointer;
//! it holds a number here, looked up in a map, so a foreign context can never make the callback
//! follow a stray pointer.

use std::{
    collections::BTreeMap,
    ffi::{CStr, c_char, c_int, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use ffmpeg_next::ffi;

use crate::memory::return_memory;

/// Sets up FFmpeg and OpenCV once per process; everything in this crate calls it by itself.
///
/// FFmpeg's log is routed to `tracing` and OpenCV keeps to the calling thread: the threads of
/// this program are budgeted by its engine, not by its libraries.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        return_memory();
        // SAFETY: the callback is a plain function that lives as long as the program.
        unsafe { ffi::av_log_set_callback(Some(on_log)) };
        if let Err(error) = opencv::core::set_num_threads(1) {
            tracing::warn!(%error, "OpenCV keeps its own number of threads");
        }
    });
}

/// The error lines that FFmpeg logged for one file.
#[derive(Debug, Default)]
struct Lines {
    count: u64,
    last: Option<String>,
    /// Width and height that were refused.
    refused_size: Option<String>,
}

static TAPS: Mutex<BTreeMap<usize, Arc<Mutex<Lines>>>> = Mutex::new(BTreeMap::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Collects the error lines of the contexts that carry its token.
#[derive(Debug)]
pub(crate) struct Tap {
    id: usize,
    lines: Arc<Mutex<Lines>>,
}

impl Tap {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let lines = Arc::new(Mutex::new(Lines::default()));
        lock(&TAPS).insert(id, Arc::clone(&lines));
        Self { id, lines }
    }

    /// What to store in a context's `opaque` field: a number, never followed as a pointer.
    pub(crate) fn token(&self) -> *mut c_void {
        std::ptr::without_provenance_mut(self.id)
    }

    /// How many error lines came so far.
    pub(crate) fn count(&self) -> u64 {
        lock(&self.lines).count
    }

    /// Width and height that were refused last, with an `x` between them.
    pub(crate) fn refused_size(&self) -> Option<String> {
        lock(&self.lines).refused_size.clone()
    }

    /// The newest error line.
    pub(crate) fn last(&self) -> Option<String> {
        lock(&self.lines).last.clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        lock(&TAPS).remove(&self.id);
    }
}

/// FFmpeg's log callback, called from any of its threads.
///
/// The argument list has another type per platform; `ffi::av_log_set_callback` fixes it to the
/// one of the machine that compiles this, which for x86-64 is the pointer below.
unsafe extern "C" fn on_log(
    context: *mut c_void,
    level: c_int,
    format: *const c_char,
    arguments: *mut ffi::__va_list_tag,
) {
    let level = level & 0xff;
    if level > ffi::AV_LOG_DEBUG || (level > ffi::AV_LOG_ERROR && !wanted(level)) {
        return;
    }
    let mut text = [0_u8; 1024];
    let mut prefix = 0; // no prefix: it holds an address, which differs from run to run
    // SAFETY: FFmpeg passes a valid context, format and argument list, and the buffer's length is
    // its own; the line is ended with a zero.
    unsafe {
        ffi::av_log_format_line2(
            context,
            level,
            format,
            arguments,
            text.as_mut_ptr().cast(),
            text.len() as c_int,
            &raw mut prefix,
        );
    }
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    let line = String::from_utf8_lossy(&text[..end]);
    let line = line.trim();
    if line.is_empty() {
        return;
    }
    // A panicking subscriber must not unwind into C; its message is lost, the program goes on.
    catch_unwind(AssertUnwindSafe(|| {
        if level <= ffi::AV_LOG_ERROR {
            // SAFETY: the context is FFmpeg's own argument.
            keep(unsafe { owner(context) }, line);
        }
        emit(level, line);
    }))
    .ok();
}

/// The token in the context's user field, 0 if it has none.
///
/// # Safety
/// `context` is null or points to a structure whose first member is its `AVClass`, which is what
/// FFmpeg's log gets.
unsafe fn owner(context: *mut c_void) -> usize {
    if context.is_null() {
        return 0;
    }
    // SAFETY: the caller's promise; the class name tells which structure it is.
    unsafe {
        let class = *context.cast::<*const ffi::AVClass>();
        if class.is_null() || (*class).class_name.is_null() {
            return 0;
        }
        let name = CStr::from_ptr((*class).class_name);
        let parent = usize::try_from((*class).parent_log_context_offset).unwrap_or(0);
        if name == c"IMGUTILS" && parent > 0 {
            // What checks sizes speaks for the decoder.
            owner(context.byte_add(parent).cast::<*mut c_void>().read())
        } else if name == c"AVFormatContext" {
            (*context.cast::<ffi::AVFormatContext>()).opaque.addr()
        } else if name == c"AVCodecContext" {
            (*context.cast::<ffi::AVCodecContext>()).opaque.addr()
        } else {
            0
        }
    }
}

fn keep(id: usize, line: &str) {
    let Some(lines) = lock(&TAPS).get(&id).map(Arc::clone) else { return };
    let mut lines = lock(&lines);
    // Of what checks sizes; whoever called it complains for itself.
    if let Some(size) = line.strip_prefix("Picture size ") {
        lines.refused_size = size.split(' ').next().map(str::to_owned);
        return;
    }
    lines.count += 1;
    lines.last = Some(line.to_owned());
}

fn wanted(level: c_int) -> bool {
    use tracing::{Level, enabled};
    match rank(level) {
        Level::ERROR => enabled!(target: "ffmpeg", Level::ERROR),
        Level::WARN => enabled!(target: "ffmpeg", Level::WARN),
        Level::INFO => enabled!(target: "ffmpeg", Level::INFO),
        Level::DEBUG => enabled!(target: "ffmpeg", Level::DEBUG),
        Level::TRACE => enabled!(target: "ffmpeg", Level::TRACE),
    }
}

fn emit(level: c_int, line: &str) {
    use tracing::Level;
    match rank(level) {
        Level::ERROR => tracing::error!(target: "ffmpeg", "{line}"),
        Level::WARN => tracing::warn!(target: "ffmpeg", "{line}"),
        Level::INFO => tracing::info!(target: "ffmpeg", "{line}"),
        Level::DEBUG => tracing::debug!(target: "ffmpeg", "{line}"),
        Level::TRACE => tracing::trace!(target: "ffmpeg", "{line}"),
    }
}

/// FFmpeg's seven levels as five: "verbose" is for debugging, its "debug" for tracing.
fn rank(level: c_int) -> tracing::Level {
    const RANKS: [(c_int, tracing::Level); 4] = [
        (ffi::AV_LOG_ERROR, tracing::Level::ERROR),
        (ffi::AV_LOG_WARNING, tracing::Level::WARN),
        (ffi::AV_LOG_INFO, tracing::Level::INFO),
        (ffi::AV_LOG_VERBOSE, tracing::Level::DEBUG),
    ];
    let found = RANKS.into_iter().find(|(limit, _)| level <= *limit);
    found.map_or(tracing::Level::TRACE, |(_, rank)| rank)
}
