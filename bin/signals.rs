//! Signals that ask a command to save and end.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use signal_hook::{
    SigId,
    consts::{SIGINT, SIGTERM},
    flag, low_level,
};

use crate::Exit;

/// What a run listens with until it can stop in order.
struct Early {
    is_asked: Arc<AtomicBool>,
    handlers: Vec<SigId>,
}

/// Signals belong to the process, and so does who hears them.
static EARLY: Mutex<Option<Early>> = Mutex::new(None);

/// Keeps a first Ctrl-C or SIGTERM for [`release`], while a run reads its recipe and looks up its
/// models; a second one ends the process, resumable, as nothing has been done yet.
pub(crate) fn hold() -> std::io::Result<()> {
    let mut early = Early { is_asked: Arc::default(), handlers: Vec::new() };
    for signal in [SIGINT, SIGTERM] {
        early.handlers.extend(listen(signal, &early.is_asked)?);
    }
    *EARLY.lock().unwrap_or_else(PoisonError::into_inner) = Some(early);
    Ok(())
}

/// Stops keeping signals, now that somebody else listens, who hears the one that was kept.
pub(crate) fn release() -> std::io::Result<()> {
    let early = EARLY.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(Early { is_asked, handlers }) = early else { return Ok(()) };
    for handler in handlers {
        low_level::unregister(handler);
    }
    if is_asked.load(Ordering::SeqCst) { low_level::raise(SIGTERM) } else { Ok(()) }
}

/// The first such signal sets the flag; one that finds it set ends the process.
fn listen(signal: i32, flag: &Arc<AtomicBool>) -> std::io::Result<[SigId; 2]> {
    // In this order: the first signal finds the flag unset and only sets it.
    let end = flag::register_conditional_shutdown(signal, Exit::Stopped as i32, Arc::clone(flag))?;
    Ok([end, flag::register(signal, Arc::clone(flag))?])
}

/// A flag that the first Ctrl-C or SIGTERM sets; the second ends the process, resumable.
pub(crate) fn stop_flag() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        listen(signal, &stop)?;
    }
    Ok(stop)
}
