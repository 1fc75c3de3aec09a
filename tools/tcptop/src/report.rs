// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reports as top shows them.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::rc::Rc;

use common::columns::{Format, Table, Value, column, json_field};
use common::origin::{add_place_fields, owner_comm, owner_pid};
use common::output::{Output, is_terminal};
use common::time::{utc_now, wall_clock};

use crate::bytes::Row;
use crate::{Args, Sort};

/// Cursor to the top left, the screen and what has scrolled away erased: what
/// clear(1) writes to today's terminals.
const CLEAR: &[u8] = b"\x1b[H\x1b[2J\x1b[3J";

pub struct Report {
    format: Format,
    clear: bool,
    summary: bool,
    sort: Sort,
    rows: usize,
    v4: Table<Row>,
    v6: Table<Row>,
}

impl Report {
    pub fn new(args: &Args) -> Self {
        let format = args.general.format(false);
        Self {
            format,
            clear: !args.noclear && is_terminal(),
            summary: !args.nosummary,
            sort: args.sort,
            rows: args.rows.map_or(usize::MAX, |rows| rows as usize),
            v4: table(format, "LADDR", "RADDR", 21),
            v6: table(format, "LADDR6", "RADDR6", 32),
        }
    }

    pub fn banner(&self, seconds: u64, out: &mut Output) {
        if self.format == Format::Text {
            out.line(&format!(
                "Tracing... Output every {seconds} secs. Hit Ctrl-C to end"
            ));
        }
    }

    pub fn write(&self, mut rows: Vec<Row>, out: &mut Vec<u8>) {
        rows.sort_by_key(|row| {
            Reverse(match self.sort {
                Sort::All => row.sent + row.received,
                Sort::Sent => row.sent,
                Sort::Received => row.received,
            })
        });
        rows.truncate(self.rows);
        if self.format == Format::Json {
            let time = Rc::from(utc_now());
            for row in &mut rows {
                row.time = Rc::clone(&time);
                self.v4.row(row, out);
            }
            return;
        }
        if self.clear {
            out.extend_from_slice(CLEAR);
        } else {
            out.push(b'\n');
        }
        if self.summary {
            // With its newline: the classic leaves a line empty.
            let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
            let _ = writeln!(out, "{:<8} loadavg: {load}", wall_clock());
        }
        let (v4, v6): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.flow.saddr.is_ipv4());
        if !v4.is_empty() {
            block(&self.v4, &v4, out);
        }
        if !v6.is_empty() {
            out.push(b'\n');
            block(&self.v6, &v6, out);
        }
    }
}

fn block(table: &Table<Row>, rows: &[&Row], out: &mut Vec<u8>) {
    table.header(out);
    for row in rows {
        table.row(row, out);
    }
}

fn end(addr: IpAddr, port: u16) -> Value<'static> {
    format!("{addr}:{port}").into()
}

fn table(format: Format, local: &'static str, remote: &'static str, width: usize) -> Table<Row> {
    let mut table = Table::new(format);
    table
        .add(json_field("time", |row: &Row| {
            Value::Str(Cow::Borrowed(&row.time))
        }))
        .add(
            column("PID", |row: &Row| owner_pid(row.known.owner.as_ref()))
                .left(7)
                .key("pid"),
        )
        .add(
            column("COMM", |row: &Row| owner_comm(row.known.owner.as_ref()))
                .left(12)
                .cut()
                .key("comm"),
        )
        .add(json_field("ip", |row| Value::Uint(row.flow.ip_version())))
        .add(column(local, |row: &Row| end(row.flow.saddr, row.flow.sport)).left(width))
        .add(json_field("saddr", |row| Value::Ip(row.flow.saddr)))
        .add(json_field("sport", |row| {
            Value::Uint(row.flow.sport.into())
        }))
        .add(column(remote, |row: &Row| end(row.flow.daddr, row.flow.dport)).left(width))
        .add(json_field("daddr", |row| Value::Ip(row.flow.daddr)))
        .add(json_field("dport", |row| {
            Value::Uint(row.flow.dport.into())
        }))
        .add(
            column("RX_KB", |row: &Row| Value::Uint(row.received / 1024))
                .right(6)
                .json("rx_bytes", |row| Value::Uint(row.received)),
        )
        .add(
            column("TX_KB", |row: &Row| Value::Uint(row.sent / 1024))
                .right(6)
                .json("tx_bytes", |row| Value::Uint(row.sent)),
        );
    add_place_fields(&mut table);
    table
}
