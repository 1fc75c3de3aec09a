// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for whatever comes first: time, data, a signal, a reader that left.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The time is up, or there is data.
    Go,
    /// SIGINT or SIGTERM came, or the reader of stdout has gone.
    Stop,
    /// A child process has changed its state.
    Child,
}

/// Turns the signals that end a tool into something to wait for.
pub struct Waiter {
    signals: SignalFd,
}

impl Waiter {
    /// From now on SIGINT, SIGTERM and SIGCHLD are only seen by [`wait`](Self::wait).
    pub fn new() -> Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD] {
            set.add(signal);
        }
        set.thread_block().context("block signals")?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .context("open signalfd")?;
        Ok(Self { signals })
    }

    /// Waits until `until`, or for data on `data`.
    pub fn wait(&self, until: Instant, data: Option<BorrowedFd<'_>>) -> Result<Wake> {
        let stdout = io::stdout();
        loop {
            let mut fds = vec![
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                // No events asked for: only the reader's end closing shows.
                PollFd::new(stdout.as_fd(), PollFlags::empty()),
            ];
            fds.extend(data.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            let ready = match poll(&mut fds, timeout(until)) {
                Err(nix::Error::EINTR) => continue,
                result => result.context("poll")?,
            };
            if ready == 0 {
                if Instant::now() >= until {
                    return Ok(Wake::Go);
                }
                continue;
            }
            let revents = |index: usize| {
                fds.get(index)
                    .and_then(PollFd::revents)
                    .unwrap_or(PollFlags::empty())
            };
            if !revents(0).is_empty() {
                return Ok(self.signal());
            }
            if revents(1).intersects(PollFlags::POLLERR | PollFlags::POLLHUP) {
                return Ok(Wake::Stop);
            }
            return Ok(Wake::Go);
        }
    }

    fn signal(&self) -> Wake {
        let mut wake = Wake::Child;
        while let Ok(Some(info)) = self.signals.read_signal() {
            if info.ssi_signo != Signal::SIGCHLD as u32 {
                wake = Wake::Stop;
            }
        }
        wake
    }
}

/// Milliseconds until `until`, rounded up so that a wait never ends early.
fn timeout(until: Instant) -> PollTimeout {
    let left = until.saturating_duration_since(Instant::now());
    let ms = left
        .as_nanos()
        .div_ceil(Duration::from_millis(1).as_nanos());
    PollTimeout::try_from(ms.min(i32::MAX as u128)).unwrap_or(PollTimeout::MAX)
}
