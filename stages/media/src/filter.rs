//! A chain of FFmpeg's filters: frames in, frames out.
//!
//! libavfilter is loaded when the first frame needs it instead of being linked: it brings over a
//! hundred libraries along, which would cost every start of the program a twentieth of a second,
//! and most runs never need it. Its structures come from the bindings; its functions are looked up
//! by name in the library of the same major version.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_uint, c_void},
    ptr,
    sync::OnceLock,
};

use curate_schemas::TimeBase;
use ffmpeg_next::ffi;
use libloading::Library;

use crate::{MediaError, PixelAspect, error::describe, frame::AvFrame};

/// Declares the functions of libavfilter that are used, and how they are looked up.
macro_rules! api {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        struct Api {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            /// Keeps the functions in memory.
            _library: Library,
        }

        impl Api {
            fn load() -> Result<Self, libloading::Error> {
                let name = format!("libavfilter.so.{}", ffi::LIBAVFILTER_VERSION_MAJOR);
                // SAFETY: FFmpeg's own library, whose start-up code does nothing but registration;
                // the types are those of the headers of this major version.
                unsafe {
                    let library = Library::new(name)?;
                    Ok(Self {
                        $($name: *library.get(concat!(stringify!($name), "\0").as_bytes())?,)*
                        _library: library,
                    })
                }
            }
        }
    };
}

api! {
    avfilter_graph_alloc: fn() -> *mut ffi::AVFilterGraph;
    avfilter_graph_free: fn(*mut *mut ffi::AVFilterGraph);
    avfilter_get_by_name: fn(*const c_char) -> *const ffi::AVFilter;
    avfilter_graph_alloc_filter:
        fn(*mut ffi::AVFilterGraph, *const ffi::AVFilter, *const c_char) -> *mut ffi::AVFilterContext;
    avfilter_init_str: fn(*mut ffi::AVFilterContext, *const c_char) -> c_int;
    avfilter_inout_alloc: fn() -> *mut ffi::AVFilterInOut;
    avfilter_inout_free: fn(*mut *mut ffi::AVFilterInOut);
    avfilter_graph_parse_ptr: fn(
        *mut ffi::AVFilterGraph, *const c_char, *mut *mut ffi::AVFilterInOut,
        *mut *mut ffi::AVFilterInOut, *mut c_void
    ) -> c_int;
    avfilter_graph_config: fn(*mut ffi::AVFilterGraph, *mut c_void) -> c_int;
    av_buffersrc_parameters_alloc: fn() -> *mut ffi::AVBufferSrcParameters;
    av_buffersrc_parameters_set:
        fn(*mut ffi::AVFilterContext, *mut ffi::AVBufferSrcParameters) -> c_int;
    av_buffersrc_add_frame_flags:
        fn(*mut ffi::AVFilterContext, *mut ffi::AVFrame, c_int) -> c_int;
    av_buffersink_get_frame: fn(*mut ffi::AVFilterContext, *mut ffi::AVFrame) -> c_int;
}

fn api() -> Result<&'static Api, MediaError> {
    static API: OnceLock<Result<Api, String>> = OnceLock::new();
    API.get_or_init(|| Api::load().map_err(|error| error.to_string())).as_ref().map_err(|reason| {
        MediaError::Filter { during: "loading libavfilter", reason: reason.clone() }
    })
}

/// Why FFmpeg's filters cannot be used on this machine, if so.
#[must_use]
pub fn filters_fault() -> Option<String> {
    api().err().map(|error| error.to_string())
}

/// Whether this FFmpeg has a filter, by its name (such as `bwdif`). None is there where
/// [`filters_fault`] says why.
#[must_use]
pub fn has_filter(name: &str) -> bool {
    let (Ok(api), Ok(name)) = (api(), CString::new(name)) else { return false };
    // SAFETY: a lookup by name in FFmpeg's own table.
    unsafe { !(api.avfilter_get_by_name)(name.as_ptr()).is_null() }
}

/// A running chain.
pub(crate) struct Chain {
    api: &'static Api,
    graph: *mut ffi::AVFilterGraph,
    source: *mut ffi::AVFilterContext,
    sink: *mut ffi::AVFilterContext,
    /// Size and pixel format of the frames it takes.
    takes: (c_int, c_int, c_int),
}

// SAFETY: a graph has no ties to the thread that made it; it is used by one owner at a time.
unsafe impl Send for Chain {}

fn takes(frame: &ffi::AVFrame) -> (c_int, c_int, c_int) {
    (frame.width, frame.height, frame.format)
}

impl Chain {
    /// A chain, in the words of FFmpeg's `-vf`, for frames like this one.
    ///
    /// # Errors
    /// `filter` if libavfilter is absent, or refuses the chain or the frames.
    pub(crate) fn new(
        frame: &ffi::AVFrame,
        (time_base, aspect): (TimeBase, PixelAspect),
        chain: &str,
    ) -> Result<Self, MediaError> {
        let api = api()?;
        // SAFETY: an allocation that `drop` frees, together with all filters in it.
        let graph = unsafe { (api.avfilter_graph_alloc)() };
        if graph.is_null() {
            return Err(MediaError::Memory { during: "a filter" });
        }
        let nobody = ptr::null_mut();
        let mut made = Self { api, graph, source: nobody, sink: nobody, takes: takes(frame) };
        // SAFETY: the graph was just allocated. One thread: the stages share out the processors.
        unsafe { (*graph).nb_threads = 1 };
        made.source = made.filter(c"buffer", c"in")?;
        made.sink = made.filter(c"buffersink", c"out")?;
        let ratio = |num, den| ffi::AVRational { num, den };
        // SAFETY: the parameters are FFmpeg's allocation and freed here; the filter is not set up
        // yet, which is when its parameters may be given.
        unsafe {
            let about = (api.av_buffersrc_parameters_alloc)();
            if about.is_null() {
                return Err(MediaError::Memory { during: "a filter" });
            }
            (*about).format = frame.format;
            (*about).width = frame.width;
            (*about).height = frame.height;
            (*about).time_base = ratio(time_base.num, time_base.den);
            let side = |side: u32| c_int::try_from(side).unwrap_or(1);
            (*about).sample_aspect_ratio = ratio(side(aspect.num), side(aspect.den));
            let code = (api.av_buffersrc_parameters_set)(made.source, about);
            ffi::av_free(about.cast());
            check(code, "describing frames")?;
            check((api.avfilter_init_str)(made.source, ptr::null()), "setting up a filter")?;
            check((api.avfilter_init_str)(made.sink, ptr::null()), "setting up a filter")?;
        }
        made.connect(chain)?;
        // SAFETY: a graph whose ends are connected.
        let code = unsafe { (api.avfilter_graph_config)(graph, ptr::null_mut()) };
        check(code, "setting up filters")?;
        Ok(made)
    }

    fn filter(&self, kind: &CStr, name: &CStr) -> Result<*mut ffi::AVFilterContext, MediaError> {
        // SAFETY: a filter from FFmpeg's own table, added to our graph, which owns it.
        let filter = unsafe {
            let kind = (self.api.avfilter_get_by_name)(kind.as_ptr());
            (self.api.avfilter_graph_alloc_filter)(self.graph, kind, name.as_ptr())
        };
        if filter.is_null() { Err(MediaError::Memory { during: "a filter" }) } else { Ok(filter) }
    }

    fn connect(&self, chain: &str) -> Result<(), MediaError> {
        let refuse = |_| MediaError::Filter {
            during: "reading a chain of filters",
            reason: format!("{chain:?} holds a zero"),
        };
        let text = CString::new(chain).map_err(refuse)?;
        // SAFETY: the two ends are FFmpeg's allocations with names of its own; the parser takes
        // what it connects and leaves the rest, which is freed.
        let code = unsafe {
            let mut ends = [(self.source, c"in"), (self.sink, c"out")].map(|(filter, name)| {
                let end = (self.api.avfilter_inout_alloc)();
                if !end.is_null() {
                    (*end).name = ffi::av_strdup(name.as_ptr());
                    (*end).filter_ctx = filter;
                    (*end).pad_idx = 0;
                    (*end).next = ptr::null_mut();
                }
                end
            });
            let code = if ends.iter().any(|end| end.is_null()) {
                ffi::AVERROR(ffi::ENOMEM)
            } else {
                let [from, to] = &mut ends;
                (self.api.avfilter_graph_parse_ptr)(
                    self.graph,
                    text.as_ptr(),
                    to,
                    from,
                    ptr::null_mut(),
                )
            };
            for end in &mut ends {
                (self.api.avfilter_inout_free)(end);
            }
            code
        };
        check(code, "reading a chain of filters")
    }

    /// Whether the chain takes frames of this size and format.
    pub(crate) fn takes(&self, frame: &ffi::AVFrame) -> bool {
        self.takes == takes(frame)
    }

    /// Gives it a frame, of which it keeps a reference, or tells it that there are no more.
    pub(crate) fn push(&mut self, frame: Option<&AvFrame>) -> Result<(), MediaError> {
        const KEEP_REFERENCE: c_uint = 8; // AV_BUFFERSRC_FLAG_KEEP_REF
        let frame = frame.map_or(ptr::null_mut(), AvFrame::as_ptr);
        // SAFETY: a configured source, and null or a valid frame, which is not changed.
        let code = unsafe {
            (self.api.av_buffersrc_add_frame_flags)(self.source, frame, KEEP_REFERENCE as c_int)
        };
        check(code, "filtering")
    }

    /// The next frame that is ready.
    pub(crate) fn pull(&mut self) -> Result<Option<AvFrame>, MediaError> {
        let mut frame = AvFrame::new()?;
        // SAFETY: a configured sink and a blank frame.
        let code = unsafe { (self.api.av_buffersink_get_frame)(self.sink, frame.as_mut_ptr()) };
        if code == ffi::AVERROR(ffi::EAGAIN) || code == ffi::AVERROR_EOF {
            return Ok(None);
        }
        check(code, "filtering")?;
        Ok(Some(frame))
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` and freed once, with its filters.
        unsafe { (self.api.avfilter_graph_free)(&raw mut self.graph) };
    }
}

fn check(code: c_int, during: &'static str) -> Result<(), MediaError> {
    if code < 0 {
        return Err(MediaError::Filter { during, reason: describe(code) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_looked_up_by_name() {
        assert_eq!(filters_fault(), None);
        assert!(has_filter("scale") && has_filter("format"));
        assert!(!has_filter("no such filter") && !has_filter("zero\0inside"));
    }
}
