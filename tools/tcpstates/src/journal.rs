// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries for the systemd journal, through its native protocol: a datagram of
//! `FIELD=value` lines to journald's socket.

use std::cell::Cell;
use std::io;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use common::escape::{c_bytes, printable};
use common::net::{address, is_ipv4, tcp_state};

use crate::Row;

/// A journald that does not read must not hold up the tool.
const PATIENCE: Duration = Duration::from_millis(100);

const SOCKET: &str = "/run/systemd/journal/socket";

/// A connection to journald.
pub struct Journal {
    socket: UnixDatagram,
    /// journald adds a root's OBJECT_COMM itself.
    is_root: bool,
    refused: Cell<u64>,
}

impl Journal {
    pub fn connect() -> Result<Self> {
        let socket = UnixDatagram::unbound().context("--journal: open socket")?;
        socket.connect(SOCKET).with_context(|| {
            format!("--journal: no systemd journal here: connect {SOCKET} (is systemd-journald running?)")
        })?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            is_root: common::probe::is_root(),
            refused: Cell::new(0),
        })
    }

    /// Writes one entry.
    pub fn send(&self, row: &Row) -> Result<()> {
        let mut entry = Vec::with_capacity(512);
        self.fields(row, &mut |name, value| {
            // Values are escaped, so that none has a newline of its own, which
            // would need the protocol's binary form. A Vec takes everything.
            let _ = writeln!(entry, "{name}={value}");
        });
        match self.socket.send(&entry) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.refused.set(self.refused.get() + 1);
                Ok(())
            }
            result => result
                .map(drop)
                .with_context(|| format!("--journal: write to {SOCKET}")),
        }
    }

    /// Entries that journald was too slow to take.
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    fn fields(&self, row: &Row, put: &mut impl FnMut(&str, &str)) {
        let event = &row.event;
        let comm = printable(c_bytes(&event.comm));
        let source = address(event.family, &event.laddr);
        let destination = address(event.family, &event.raddr);
        let (old, new) = (tcp_state(event.oldstate), tcp_state(event.newstate));
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let ip = if is_ipv4(event.family) {
            "IPV4"
        } else {
            "IPV6"
        };

        put(
            "MESSAGE",
            &format!(
                "{comm} {source} {} \u{2192} {destination} {} {old} \u{2192} {new}",
                event.lport, event.rport
            ),
        );
        put("SYSLOG_IDENTIFIER", "tcpstates");
        put("PRIORITY", "5");
        put("_SOURCE_REALTIME_TIMESTAMP", &now.as_micros().to_string());
        put("OBJECT_PID", &event.tgid.to_string());
        if !self.is_root {
            put("OBJECT_COMM", &comm);
        }
        put(&format!("OBJECT_{ip}_SOURCE_ADDRESS"), &source.to_string());
        put(
            &format!("OBJECT_{ip}_DESTINATION_ADDRESS"),
            &destination.to_string(),
        );
        put("OBJECT_TCP_SOURCE_PORT", &event.lport.to_string());
        put("OBJECT_TCP_DESTINATION_PORT", &event.rport.to_string());
        put("OBJECT_TCP_OLD_STATE", &old);
        put("OBJECT_TCP_NEW_STATE", &new);
        put(
            "OBJECT_TCP_SPAN_TIME",
            &(event.duration_ns / 1000).to_string(),
        );
    }
}
