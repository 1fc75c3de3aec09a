// SPDX-License-Identifier: MIT OR Apache-2.0
//! `-c`: the flows, which the kernel counts.

use std::net::IpAddr;

use anyhow::{Context, Result};
use common::columns::{Format, Table, Value, column, json_field};
use common::event::decode;
use common::flow::{Flow, HasFlow, add_flow_fields};
use common::hooks::Attached;
use common::origin::{HasOrigin, Known, Owners, add_origin_fields, owner_comm, owner_pid};
use common::session::Session;
use common::{flow, origin};
use libbpf_rs::{MapCore, MapFlags};

use crate::Args;
use crate::skel::TcpretransSkel;
use crate::skel::types::{tcpretrans_count, tcpretrans_flow};

struct Row {
    flow: Flow,
    count: tcpretrans_count,
    known: Known,
}

impl HasFlow for Row {
    fn flow(&self) -> &Flow {
        &self.flow
    }
}

impl HasOrigin for Row {
    fn known(&self) -> &Known {
        &self.known
    }
}

impl Row {
    /// What the text form shows.
    fn total(&self) -> u64 {
        self.count.retransmits + self.count.probes + self.count.synacks
    }
}

/// Counts until the end of the session, then reports.
pub fn run(
    session: &mut Session,
    attached: Attached<TcpretransSkel<'static>>,
    mut owners: Owners,
    args: &Args,
) -> Result<()> {
    let format = args.general.format(false);
    let table = table(args, format);
    session.ready()?;
    session.intervals(
        attached,
        None,
        None,
        |skel: &TcpretransSkel<'static>, out| {
            if format == Format::Text {
                header(args, out);
            }
            for row in flows(&skel.maps.counts, &mut owners)? {
                table.row(&row, out);
            }
            Ok(())
        },
    )
}

/// All IPv4 flows, then all IPv6 flows, each by ascending count.
fn flows(map: &impl MapCore, owners: &mut Owners) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for bytes in map.keys() {
        let Some(value) = map
            .lookup(&bytes, MapFlags::ANY)
            .context("read map: counts")?
        else {
            continue;
        };
        let (key, _) = decode::<tcpretrans_flow>(&bytes)?;
        let (count, _) = decode::<tcpretrans_count>(&value)?;
        let mut known = owners.complete(origin!(count.origin))?;
        known.origin.netns = key.netns;
        rows.push(Row {
            flow: flow!(key.flow),
            count,
            known,
        });
    }
    rows.sort_by_key(|row| (row.flow.ip_version(), row.total(), row.flow));
    Ok(rows)
}

fn end(addr: IpAddr, port: u16) -> Value<'static> {
    format!("[{addr}]#{port}").into()
}

/// Its columns are not those of the rows, in BCC as well.
fn header(args: &Args, out: &mut Vec<u8>) {
    let mut titles = Table::new(Format::Text);
    titles
        .add(column("LADDR:LPORT", |()| Value::Missing).left(25))
        .add(column("RADDR:RPORT", |()| Value::Missing).left(25))
        .add(column("RETRANSMITS", |()| Value::Missing).left(10));
    if args.owner {
        titles
            .add(column("OWNER", |()| Value::Missing).left(7))
            .add(column("OWNER-COMM", |()| Value::Missing));
    }
    out.push(b'\n');
    titles.header(out);
}

fn table(args: &Args, format: Format) -> Table<Row> {
    let mut table = Table::new(format);
    table
        .add(
            column("", |row: &Row| end(row.flow.saddr, row.flow.sport))
                .left(20)
                .separator(" <-> "),
        )
        .add(column("", |row: &Row| end(row.flow.daddr, row.flow.dport)).left(20))
        .add(column("", |row: &Row| Value::Uint(row.total())).right(10));
    if args.owner {
        table
            .add(column("", |row: &Row| owner_pid(row.known.owner.as_ref())).left(7))
            .add(column("", |row: &Row| owner_comm(row.known.owner.as_ref())));
    }
    add_flow_fields(&mut table);
    table
        .add(json_field("retransmits", |row| {
            Value::Uint(row.count.retransmits)
        }))
        .add(json_field("segments", |row| {
            Value::Uint(row.count.segments)
        }))
        .add(json_field("bytes", |row| Value::Uint(row.count.bytes)))
        .add(json_field("probes", |row| Value::Uint(row.count.probes)))
        .add(json_field("synacks", |row| Value::Uint(row.count.synacks)));
    add_origin_fields(&mut table);
    table
}
