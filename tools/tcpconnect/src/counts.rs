// SPDX-License-Identifier: MIT OR Apache-2.0
//! `-c`: the connects per address pair and port, which the kernel counts.

use std::cmp::Reverse;

use anyhow::{Context, Result};
use common::columns::{Format, Table, Value, column};
use common::event::decode;
use common::flow;
use common::flow::Flow;
use libbpf_rs::{MapCore, MapFlags};

use crate::skel::types::flow as kernel_flow;

struct Row {
    flow: Flow,
    connects: u64,
}

/// IPv4, then IPv6, each by descending count. Text begins with an empty line.
pub fn report(map: &impl MapCore, lport: bool, format: Format, out: &mut Vec<u8>) -> Result<()> {
    let mut rows = Vec::new();
    for key in map.keys() {
        let value = map
            .lookup(&key, MapFlags::ANY)
            .context("read map: counts")?
            .and_then(|value| value.try_into().ok());
        let Some(value) = value else {
            continue;
        };
        let (key, _) = decode::<kernel_flow>(&key)?;
        rows.push(Row {
            flow: flow!(key),
            connects: u64::from_ne_bytes(value),
        });
    }
    rows.sort_by_key(|row| (row.flow.ip_version(), Reverse(row.connects), row.flow));
    let table = table(lport, format);
    if format == Format::Text {
        out.push(b'\n');
    }
    table.header(out);
    for row in &rows {
        table.row(row, out);
    }
    Ok(())
}

fn table(lport: bool, format: Format) -> Table<Row> {
    let mut table = Table::new(format);
    table
        .add(
            column("LADDR", |row: &Row| Value::Ip(row.flow.saddr))
                .left(25)
                .key("saddr"),
        )
        .add(
            column("RADDR", |row: &Row| Value::Ip(row.flow.daddr))
                .left(25)
                .key("daddr"),
        );
    if lport {
        table.add(
            column("LPORT", |row: &Row| Value::Uint(row.flow.sport.into()))
                .left(20)
                .key("sport"),
        );
    }
    table
        .add(
            column("RPORT", |row: &Row| Value::Uint(row.flow.dport.into()))
                .left(20)
                .key("dport"),
        )
        .add(
            column("CONNECTS", |row: &Row| Value::Uint(row.connects))
                .left(10)
                .key("connects"),
        );
    table
}
