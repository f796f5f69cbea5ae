//! What the allocator keeps of freed memory: as little as it can in a run, everything in training.

#[cfg(target_env = "gnu")]
use std::ffi::c_int;

use crate::log::init;

/// Has glibc give memory back: it keeps what was freed for later, for every thread its own, and raises
/// the sizes it keeps as it goes, so that a run over an hour of film took 1.6 times the memory of one
/// over ten minutes. With settings of our own these sizes stay.
pub(crate) fn return_memory() {
    #[cfg(target_env = "gnu")]
    {
        // From this size on blocks are mapped by themselves; frames of 640x360 are larger. Among small
        // blocks they would leave holes that are seldom whole again: with 1 MiB an hour of film takes 2 %
        // more memory, and 6 % less time (docs/LOG.md).
        const LARGE: c_int = 256 << 10;
        // Half of what a process may map in Linux's default setting; threads need some too.
        const MOST_MAPPED: c_int = 32 << 10;
        // What an arena may keep at its end.
        const KEPT: c_int = 1 << 20;
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let arenas = c_int::try_from(cores).unwrap_or(c_int::MAX).max(2);
        // SAFETY: plain settings of the allocator, which may be changed at any time.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
            libc::mallopt(libc::M_MMAP_MAX, MOST_MAPPED);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
            libc::mallopt(libc::M_ARENA_MAX, arenas);
        }
    }
}

/// Has glibc keep what was freed, for work that takes and frees the same large tensors at each step:
/// asking the system for them again, page by page, took about half of a training step (docs/LOG.md).
///
/// The process then stays as large as its largest step. It sets up the libraries first ([`init`]),
/// since their setting is the other way round.
pub fn keep_memory() {
    init();
    #[cfg(target_env = "gnu")]
    {
        // The largest that glibc takes, for blocks that go back to the system by themselves.
        const LARGE: c_int = 32 << 20;
        // SAFETY: plain settings of the allocator, which may be changed at any time.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
            libc::mallopt(libc::M_TRIM_THRESHOLD, c_int::MAX);
            libc::mallopt(libc::M_TOP_PAD, LARGE);
        }
    }
}
