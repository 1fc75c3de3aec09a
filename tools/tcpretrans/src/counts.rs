// SPDX-License-Identifier: MIT OR Apache-2.0
//! `-c`: the flows, which the kernel counts.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

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
    netns: u32,
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

    fn look_up(&mut self, owners: &mut Owners) -> Result<()> {
        self.known = owners.complete(origin!(self.count.origin))?;
        self.known.origin.netns = self.netns;
        Ok(())
    }
}

/// How often it is looked who owns the flows that are new.
const LOOK: Duration = Duration::from_secs(1);

/// Counts until the end of the session, then reports.
pub fn run(
    session: &mut Session,
    attached: Attached<TcpretransSkel<'static>>,
    mut owners: Owners,
    args: &Args,
) -> Result<()> {
    let format = args.general.format(false);
    let interval = (args.owner || format == Format::Json).then_some(LOOK);
    session.ready()?;
    let mut known = HashMap::new();
    let mut rows = Vec::new();
    session.intervals(attached, interval, None, |skel, _| {
        rows = flows(&skel.maps.counts, &mut owners, &mut known)?;
        Ok(())
    })?;
    owners.look_again();
    for row in rows.iter_mut().filter(|row| row.known.owner.is_none()) {
        row.look_up(&mut owners)?;
    }
    if format == Format::Text {
        header(args, session.out.buffer());
    }
    let table = table(args, format);
    for row in &rows {
        table.row(row, session.out.buffer());
    }
    session.out.flush()
}

/// All IPv4 flows, then all IPv6 flows, each by ascending count. What is known
/// of a flow stays in `known`: its process may be gone by the end.
fn flows(
    map: &impl MapCore,
    owners: &mut Owners,
    known: &mut HashMap<Vec<u8>, Known>,
) -> Result<Vec<Row>> {
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
        let mut row = Row {
            flow: flow!(key.flow),
            netns: key.netns,
            count,
            known: known.remove(&bytes).unwrap_or_default(),
        };
        if row.known.owner.is_none() {
            row.look_up(owners)?;
        }
        known.insert(bytes, row.known.clone());
        rows.push(row);
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
