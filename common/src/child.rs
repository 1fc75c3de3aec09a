// SPDX-License-Identifier: MIT OR Apache-2.0
//! `--exec`: a command that begins when it is being traced.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, exit};

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe2};

use crate::usage;

/// A child process that has its pid already, but runs the command only when
/// told to. When this is dropped before, the command never runs; afterwards the
/// command goes on by itself, and gets the terminal's Ctrl-C as we do.
pub struct Child {
    pid: Pid,
    command: String,
    /// A byte starts the command; the end of the pipe calls it off.
    gate: Option<File>,
    /// Gives the errno of an exec that failed.
    failure: File,
}

impl Child {
    /// Forks; must be called while the process has just one thread.
    pub fn prepare(command: &[OsString]) -> Result<Self> {
        let Some((program, arguments)) = command.split_first() else {
            usage!("--exec: no command");
        };
        let (told, gate) = pipe()?;
        let (failure, failed) = pipe()?;
        // SAFETY: this process has one thread, so that the child finds every
        // lock free and may do what the parent may.
        #[allow(unsafe_code)]
        let side = unsafe { fork() }.context("fork")?;
        match side {
            ForkResult::Parent { child } => Ok(Self {
                pid: child,
                command: program.to_string_lossy().into_owned(),
                gate: Some(gate),
                failure,
            }),
            ForkResult::Child => {
                drop((gate, failure));
                let mut command = Command::new(program);
                command.args(arguments);
                run_when_told(command, told, failed)
            }
        }
    }

    /// The process id of the command.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Runs the command. Returns when it runs, or with why it cannot.
    pub fn start(&mut self) -> Result<()> {
        if let Some(mut gate) = self.gate.take() {
            // If the child was killed meanwhile, its end is reported as such.
            let _ = gate.write_all(&[1]);
        }
        let mut errno = [0; 4];
        if self.failure.read_exact(&mut errno).is_err() {
            return Ok(()); // closed by the exec
        }
        Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)))
            .with_context(|| format!("--exec: {}", self.command))
    }

    /// Whether the command has ended.
    pub fn has_ended(&self) -> bool {
        !matches!(
            waitpid(self.pid, Some(WaitPidFlag::WNOHANG)),
            Ok(WaitStatus::StillAlive)
        )
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.gate.take().is_some() {
            let _ = waitpid(self.pid, None);
        }
    }
}

/// The reader and the writer of a pipe that an exec closes.
fn pipe() -> Result<(File, File)> {
    let (reader, writer): (OwnedFd, OwnedFd) = pipe2(OFlag::O_CLOEXEC).context("pipe")?;
    Ok((reader.into(), writer.into()))
}

/// The child's life up to the command. exec gives the command the default
/// signal mask and SIGPIPE.
fn run_when_told(mut command: Command, mut told: File, mut failed: File) -> ! {
    if told.read_exact(&mut [0]).is_ok() {
        let errno = command.exec().raw_os_error().unwrap_or(libc::EINVAL);
        let _ = failed.write_all(&errno.to_ne_bytes());
    }
    exit(127)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_is_a_usage_error() {
        let error = Child::prepare(&[]).err().unwrap();
        assert!(error.downcast_ref::<crate::error::Usage>().is_some());
    }
}
