// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors that decide the exit code. Everything else is [`anyhow::Error`] and
//! ends the tool with 1 and one line on stderr.

use std::fmt;
use std::io;

/// The arguments cannot be meant: exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// `Err` with a [`Usage`] made of a format string.
#[macro_export]
macro_rules! usage {
    ($($arg:tt)*) => {
        return Err($crate::error::Usage(format!($($arg)*)).into())
    };
}

/// Whether `error` comes from a reader that closed our stdout: a normal end.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// The system's error behind `error`, if there is one.
pub fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(code) = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error)
        {
            return Some(code);
        }
        if let Some(code) = error.downcast_ref::<nix::Error>() {
            return Some(*code as i32);
        }
        cause = error.source();
    }
    None
}
