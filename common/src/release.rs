// SPDX-License-Identifier: MIT OR Apache-2.0
//! An end without a wait. When the last descriptor of a classic tracepoint is
//! closed, the kernel waits for every CPU (tens of milliseconds), and with
//! several tracepoints does so one after the other. That is for a child to sit
//! out.

use std::fs::File;
use std::io::Read as _;

use nix::unistd::{ForkResult, fork, pipe};

/// Lets this process close its descriptors at no cost: a child has them too
/// and is gone, with all that they held, soon after this process. Call it just
/// before the end. Without a child (no memory, no process left) the end takes
/// its time.
pub fn in_background() {
    let Ok((gone, alive)) = pipe() else {
        return;
    };
    // SAFETY: the child only closes, reads a pipe and leaves, all of which is
    // safe whatever other threads did at the time of the fork.
    #[allow(unsafe_code)]
    let Ok(side) = (unsafe { fork() }) else {
        return;
    };
    match side {
        // Open until this process has ended.
        ForkResult::Parent { .. } => std::mem::forget(alive),
        ForkResult::Child => {
            drop(alive);
            // Whoever reads our output must not wait for the child.
            for standard in 0..3 {
                let _ = nix::unistd::close(standard);
            }
            let _ = File::from(gone).read(&mut [0]);
            // SAFETY: ends the child at once, without the parent's exit handlers.
            #[allow(unsafe_code)]
            unsafe {
                libc::_exit(0)
            }
        }
    }
}
