// SPDX-License-Identifier: MIT OR Apache-2.0
//! stdout: rows are collected and written in one call when they have arrived.

use std::io::{self, IsTerminal as _, Write};

use anyhow::{Context, Result};

/// Bytes per write that cost little more than the copying of them.
const WRITE_SIZE: usize = 64 << 10;

/// Whether stdout is a terminal that knows more than lines.
pub fn is_terminal() -> bool {
    std::env::var_os("TERM").is_some_and(|name| name != "dumb") && io::stdout().is_terminal()
}

/// Text for stdout that the next [`flush`](Output::flush) writes.
#[derive(Default)]
pub struct Output {
    pending: Vec<u8>,
}

impl Output {
    /// Where rows are formatted to. Writing to it cannot fail.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// One line of text.
    pub fn line(&mut self, text: &str) {
        self.pending.extend_from_slice(text.as_bytes());
        self.pending.push(b'\n');
    }

    /// Writes what is pending once it is much: the buffer stays small however
    /// many rows come at a time.
    pub fn flush_much(&mut self) -> Result<()> {
        if self.pending.len() < WRITE_SIZE {
            return Ok(());
        }
        self.flush()
    }

    /// Writes what is pending. A closed pipe is an error that
    /// [`crate::error::is_closed_pipe`] recognises.
    pub fn flush(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        let written = stdout
            .write_all(&self.pending)
            .and_then(|()| stdout.flush());
        self.pending.clear();
        written.context("write: stdout")
    }
}
