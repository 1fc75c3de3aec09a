// SPDX-License-Identifier: MIT OR Apache-2.0
//! An event as a row.

use std::net::IpAddr;
use std::rc::Rc;

use common::columns::{Column, Format, Table, Value, column, json_field};
use common::flow::{Flow, HasFlow, add_flow_fields};
use common::net::tcp_state;
use common::origin::{HasOrigin, Known, add_origin_fields, owner_comm, owner_pid};
use common::symbols::stack_json;
use common::time::{EventClock, wall_clock};
use nix::errno::Errno;

use crate::Args;
use crate::skel::types::tcpretrans_event;

/// An event as it is shown.
pub struct Row {
    pub event: tcpretrans_event,
    pub flow: Flow,
    pub known: Known,
    pub clock: EventClock,
    pub stack: Vec<Rc<str>>,
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

/// BCC's form of an end.
fn end(addr: IpAddr, port: u16) -> Value<'static> {
    format!("{addr}:{port}").into()
}

pub fn table(args: &Args, format: Format) -> Table<Row> {
    let mut table = Table::new(format);
    table
        .add(json_field("time", |row: &Row| {
            row.clock.utc(row.event.ts_ns).into()
        }))
        .add(column("TIME", |_| wall_clock().into()).left(8))
        .add(
            column("PID", |row: &Row| Value::Uint(row.event.tgid.into()))
                .left(7)
                .key("pid"),
        )
        .add(column("IP", |row: &Row| Value::Uint(row.flow.ip_version())).left(2))
        .add(
            column("LADDR:LPORT", |row: &Row| {
                end(row.flow.saddr, row.flow.sport)
            })
            .left(20),
        )
        .add(
            column("T", |row: &Row| {
                char::from(row.event.kind).to_string().into()
            })
            .separator("> ")
            .key("type"),
        )
        .add(
            column("RADDR:RPORT", |row: &Row| {
                end(row.flow.daddr, row.flow.dport)
            })
            .left(20),
        );
    add_flow_fields(&mut table);
    let state = column("STATE", |row: &Row| Value::Str(tcp_state(row.event.state))).key("state");
    let padded = args.sequence || args.owner;
    table
        .add(if padded { state.left(12) } else { state })
        .add(sequence(args))
        .add(json_field("segments", |row| {
            Value::Uint(row.event.segments.into())
        }))
        .add(json_field("bytes", |row| {
            Value::Uint(row.event.bytes.into())
        }))
        .add(json_field("err", |row| error(row.event.err)))
        .add(json_field("total_retrans", |row| match row.event.kind {
            b'S' => Value::Missing,
            _ => Value::Uint(row.event.total_retrans.into()),
        }))
        .add(json_field("ifindex", |row| match row.event.ifindex {
            0 => Value::Missing,
            index => Value::Uint(index.into()),
        }))
        .add(json_field("dev", |row| match row.event.ifindex {
            0 => Value::Missing,
            _ => Value::Name(&row.event.dev),
        }));
    if args.owner {
        table
            .add(column("OWNER", |row: &Row| owner_pid(row.known.owner.as_ref())).left(7))
            .add(column("OWNER-COMM", |row: &Row| {
                owner_comm(row.known.owner.as_ref())
            }));
    }
    add_origin_fields(&mut table);
    if args.stack {
        table.add(json_field("stack", |row: &Row| {
            Value::Json(stack_json(&row.stack))
        }));
    }
    table
}

/// A probe has no segment of its own: BCC shows 0. BCC pads the title alone.
fn sequence(args: &Args) -> Column<Row> {
    let text = |row: &Row| Value::Uint(row.event.seq.into());
    let json = |row: &Row| match row.event.kind {
        b'L' => Value::Missing,
        _ => Value::Uint(row.event.seq.into()),
    };
    match (args.sequence, args.owner) {
        (true, false) => column("SEQ       ", text).json("seq", json),
        (true, true) => column("SEQ", text).left(10).json("seq", json),
        (false, _) => json_field("seq", json),
    }
}

/// What the kernel said of an attempt: the name of an errno, or that the
/// queueing discipline of this host dropped it (`NET_XMIT_DROP`).
fn error(err: i32) -> Value<'static> {
    match err {
        0 => Value::Missing,
        1 => "NET_XMIT_DROP".into(),
        ..0 => format!("{:?}", Errno::from_raw(-err)).into(),
        other => other.to_string().into(),
    }
}
