//! ONNX Runtime, opened once from the hub.
//!
//! The library is loaded from the path that the hub gives and from nowhere else. `ort` would load
//! one by itself at the first call, from wherever the system finds one, and panic when it finds
//! none; so a [`Runtime`] exists only after the library has been loaded and its version checked, and
//! sessions are made from a `Runtime` only.
//!
//! How sessions run is decided here, for all of them:
//! * `threads` threads inside an operator, one operator at a time. The pipeline has one budget of
//!   CPU threads, and operators side by side would go past it.
//! * Threads sleep when they have nothing to do instead of spinning: a spinning thread takes a core
//!   from the decoder between two batches.
//! * The memory arena stays on. Without it RAFT-small takes a tenth more time and its peak for
//!   batches of four pairs of 256x448 is 440 MiB instead of 300, as buffers that could follow each
//!   other in one block each get their own (`benches/session_settings.py`).
//! * Plans of memory by shape are off: sizes of videos vary, each shape would keep a plan, and they
//!   save nothing measurable.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use ort::{
    environment::Environment,
    logging::LogLevel,
    session::{Session, builder::SessionBuilder},
};

use crate::{error::ModelError, hub::Hub};

/// ONNX Runtime, ready to make sessions.
#[derive(Clone, Debug)]
pub struct Runtime {
    environment: Environment,
}

/// A process has one ONNX Runtime; a second cannot be opened even after the first is gone, so it
/// stays.
static OPEN: Mutex<Option<Runtime>> = Mutex::new(None);

/// The hub's model that is the library, and the library's file in it.
const LIBRARY: (&str, &str) = ("onnxruntime", "libonnxruntime.so");

impl Runtime {
    /// Opens the library in the hub; the second time gives what is open already.
    ///
    /// # Errors
    /// [`ModelError::Missing`] when the library has not been pulled, or what keeps it from loading.
    pub fn open(hub: &Hub) -> Result<Self, ModelError> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*open {
            return Ok(runtime.clone());
        }
        let path = std::path::absolute(hub.path(LIBRARY.0, LIBRARY.1)?)
            .map_err(|source| ModelError::Io { path: hub.dir().to_owned(), source })?;
        let runtime = load(path)?;
        *open = Some(runtime.clone());
        Ok(runtime)
    }

    /// A builder with the settings of every session.
    pub(crate) fn builder(&self, threads: usize) -> Result<SessionBuilder, ort::Error> {
        let cpu = ort::ep::CPU::default().with_arena_allocator(true).build();
        Ok(Session::builder(&self.environment)?
            .with_execution_providers([cpu])?
            .with_intra_threads(threads.max(1))?
            .with_inter_threads(1)?
            .with_parallel_execution(false)?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            .with_memory_pattern(false)?
            .with_log_level(LogLevel::Warning)?)
    }
}

fn load(path: PathBuf) -> Result<Runtime, ModelError> {
    let builder = match ort::init_from(&path) {
        Ok(builder) => builder,
        Err(source) => return Err(ModelError::Library { path, source }),
    };
    let environment = builder
        .with_name("curate")
        .with_telemetry(false)
        .build()
        .map_err(|source| ModelError::Onnx { during: "starting ONNX Runtime", source })?;
    Ok(Runtime { environment })
}
