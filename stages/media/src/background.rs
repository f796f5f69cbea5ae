//! Work that is not urgent: the scheduler is told not to interrupt the decoder's threads for it.

use std::marker::PhantomData;

/// While this lives, the thread that made it does not displace others when it wakes up (Linux,
/// `SCHED_BATCH`); its share of the cores stays the same.
///
/// Frame threads of a decoder wait for each other's pictures, row by row. A thread that wakes up
/// for each frame and interrupts one of them stops the others as well, which cost a few percent of
/// all decoding where there are no more cores than decoder threads (docs/LOG.md).
#[derive(Debug)]
pub struct Background {
    /// The policy before, if it was changed.
    #[cfg(target_os = "linux")]
    former: Option<libc::c_int>,
    /// The policy is the thread's: it is given back where it was taken.
    thread: PhantomData<*const ()>,
}

impl Background {
    /// Changes the calling thread. Where the system does not allow it, nothing changes: that costs time only.
    #[must_use]
    pub fn enter() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            former: change_policy(libc::SCHED_OTHER, libc::SCHED_BATCH),
            thread: PhantomData,
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        if let Some(former) = self.former {
            change_policy(libc::SCHED_BATCH, former);
        }
    }
}

/// Gives the calling thread another policy if it has this one, and says which it had. A policy that
/// somebody chose for the whole program is left alone.
#[cfg(target_os = "linux")]
fn change_policy(from: libc::c_int, to: libc::c_int) -> Option<libc::c_int> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread, and the parameters outlive the call.
    let is_done = unsafe {
        libc::sched_getscheduler(0) == from
            && libc::sched_setscheduler(0, to, &raw const parameters) == 0
    };
    is_done.then_some(from)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_given_back() {
        // SAFETY: 0 is the calling thread.
        let policy = || unsafe { libc::sched_getscheduler(0) };
        let before = policy();
        let background = Background::enter();
        if before == libc::SCHED_OTHER {
            assert_eq!(policy(), libc::SCHED_BATCH);
        }
        drop(background);
        assert_eq!(policy(), before);
    }
}
